<?php
// Two connections of PDO: the second one's write is refused.
function connect(): PDO
{
    return new PDO('sqlite:a.db', null, null, [PDO::ATTR_TIMEOUT => 0, PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
}

$a = connect();
$a->exec('PRAGMA journal_mode = WAL');
$a->exec('CREATE TABLE t(x)');
$b = connect();
$a->exec('BEGIN IMMEDIATE');
$a->exec('INSERT INTO t VALUES (1)');
try {
    $b->exec('INSERT INTO t VALUES (2)');
} catch (PDOException $error) {
    echo $error->errorInfo[1] === 5 ? "busy\n" : $error->getMessage();
}
$a->exec('COMMIT');
$b->exec('INSERT INTO t VALUES (3)');
echo 'done ', $a->query('SELECT count(*) FROM t')->fetchColumn(), "\n";
