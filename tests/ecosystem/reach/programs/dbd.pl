# Two connections of DBD::SQLite: the second one's write is refused.
use strict;
use warnings;
use DBI;

sub connect_to {
    my $connection = DBI->connect('dbi:SQLite:dbname=a.db', '', '', { RaiseError => 1, PrintError => 0, AutoCommit => 1 });
    $connection->sqlite_busy_timeout(0);
    return $connection;
}

my $a = connect_to();
$a->do('PRAGMA journal_mode = WAL');
$a->do('CREATE TABLE t(x)');
my $b = connect_to();
$a->do('BEGIN IMMEDIATE');
$a->do('INSERT INTO t VALUES (1)');
eval { $b->do('INSERT INTO t VALUES (2)') };
print $b->err == 5 ? "busy\n" : $@;
$a->do('COMMIT');
$b->do('INSERT INTO t VALUES (3)');
print 'done ', $a->selectrow_array('SELECT count(*) FROM t'), "\n";
$_->disconnect for $a, $b;
