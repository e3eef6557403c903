// Two connections of Bun's own `bun:sqlite`: the second one's write is refused.
import { Database } from 'bun:sqlite';

const a = new Database('a.db');
a.exec('PRAGMA journal_mode = WAL');
a.exec('CREATE TABLE t(x)');
const b = new Database('a.db');
a.exec('BEGIN IMMEDIATE');
a.exec('INSERT INTO t VALUES (1)');
try {
  b.exec('INSERT INTO t VALUES (2)');
} catch (error) {
  console.log(error.code === 'SQLITE_BUSY' ? 'busy' : error);
}
a.exec('COMMIT');
b.exec('INSERT INTO t VALUES (3)');
console.log('done', a.query('SELECT count(*) AS n FROM t').get().n);
a.close();
b.close();
