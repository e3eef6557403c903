// Two connections of better-sqlite3, or of a module with its interface, which the argument names: the second one's write is refused.
const Database = require(process.argv[2]);

const connect = () => new Database('a.db', { timeout: 0 });
const a = connect();
a.exec('PRAGMA journal_mode = WAL');
a.exec('CREATE TABLE t(x)');
const b = connect();
a.exec('BEGIN IMMEDIATE');
a.exec('INSERT INTO t VALUES (1)');
try {
  b.exec('INSERT INTO t VALUES (2)');
} catch (error) {
  console.log(error.code === 'SQLITE_BUSY' ? 'busy' : error);
}
a.exec('COMMIT');
b.exec('INSERT INTO t VALUES (3)');
console.log('done', a.prepare('SELECT count(*) AS n FROM t').get().n);
a.close();
b.close();
