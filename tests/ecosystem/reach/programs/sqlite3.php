<?php
// Two connections of PHP's SQLite3 class: the second one's write is refused.
function connect(): SQLite3
{
    $connection = new SQLite3('a.db');
    $connection->enableExceptions(true);
    return $connection;
}

$a = connect();
$a->exec('PRAGMA journal_mode = WAL');
$a->exec('CREATE TABLE t(x)');
$b = connect();
$a->exec('BEGIN IMMEDIATE');
$a->exec('INSERT INTO t VALUES (1)');
try {
    $b->exec('INSERT INTO t VALUES (2)');
} catch (Exception $error) {
    echo $b->lastErrorCode() === 5 ? "busy\n" : $error->getMessage();
}
$a->exec('COMMIT');
$b->exec('INSERT INTO t VALUES (3)');
echo 'done ', $a->querySingle('SELECT count(*) FROM t'), "\n";
$a->close();
$b->close();
