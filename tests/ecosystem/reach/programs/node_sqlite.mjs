// Two connections of Node's own `node:sqlite`: the second one's write is refused.
import { DatabaseSync } from 'node:sqlite';

const a = new DatabaseSync('a.db');
a.exec('PRAGMA journal_mode = WAL');
a.exec('CREATE TABLE t(x)');
const b = new DatabaseSync('a.db');
a.exec('BEGIN IMMEDIATE');
a.exec('INSERT INTO t VALUES (1)');
try {
  b.exec('INSERT INTO t VALUES (2)');
} catch (error) {
  console.log(error.errcode === 5 || error.message === 'database is locked' ? 'busy' : error);
}
a.exec('COMMIT');
b.exec('INSERT INTO t VALUES (3)');
console.log('done', a.prepare('SELECT count(*) AS n FROM t').get().n);
a.close();
b.close();
