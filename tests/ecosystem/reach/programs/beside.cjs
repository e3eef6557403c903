// Node's own `node:sqlite`, and beside it a module with a SQLite of its own, which the argument names. Each has a database.
const Database = require(process.argv[2]);
const { DatabaseSync } = require('node:sqlite');

const own = new Database('own.db');
own.exec('CREATE TABLE IF NOT EXISTS t(x)');
const a = new DatabaseSync('a.db');
a.exec('PRAGMA journal_mode = WAL');
a.exec('CREATE TABLE t(x)');
const b = new DatabaseSync('a.db');
a.exec('BEGIN IMMEDIATE');
own.exec('INSERT INTO t VALUES (4)');
a.exec('INSERT INTO t VALUES (1)');
try {
  b.exec('INSERT INTO t VALUES (2)');
} catch (error) {
  console.log(error.errcode === 5 ? 'busy' : error);
}
a.exec('COMMIT');
b.exec('INSERT INTO t VALUES (3)');
console.log('done', a.prepare('SELECT count(*) AS n FROM t').get().n);
own.close();
a.close();
b.close();
