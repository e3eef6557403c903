// Two connections of Node's sqlite3 package, which calls SQLite on worker threads: the second one's write is refused.
const sqlite3 = require(process.argv[2]);

const connect = () => new Promise((resolve, reject) => {
  const connection = new sqlite3.Database('a.db', (error) => (error ? reject(error) : resolve(connection)));
});
const run = (connection, sql) => new Promise((resolve, reject) => {
  connection.run(sql, (error) => (error ? reject(error) : resolve()));
});

(async () => {
  const a = await connect();
  await run(a, 'PRAGMA journal_mode = WAL');
  await run(a, 'CREATE TABLE t(x)');
  const b = await connect();
  b.configure('busyTimeout', 0);
  await run(a, 'BEGIN IMMEDIATE');
  await run(a, 'INSERT INTO t VALUES (1)');
  await run(b, 'INSERT INTO t VALUES (2)').catch((error) => console.log(error.code === 'SQLITE_BUSY' ? 'busy' : error));
  await run(a, 'COMMIT');
  await run(b, 'INSERT INTO t VALUES (3)');
  const row = await new Promise((resolve) => a.get('SELECT count(*) AS n FROM t', (error, row) => resolve(row)));
  console.log('done', row.n);
  // One after the other: of two worker threads that close at the same time neither may be the last one, and the WAL stays.
  await new Promise((resolve) => a.close(resolve));
  await new Promise((resolve) => b.close(resolve));
})();
