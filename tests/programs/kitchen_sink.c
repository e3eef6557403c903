/* An application that uses much of SQLite, and writes down whatever SQLite tells it: every result code, row, callback and error text.
**
** Nothing that may differ between two runs is written (no pointer, no time, no random number), and threads take turns. So the transcript
** must be the same with the recorder and without it. What a VFS shim may change is left out: the default VFS's name, and the memory used.
**
** usage: kitchen_sink app|before|after [extension]
**   app     the default VFS
**   before  a VFS of its own becomes the default before anything is opened, and writes down each call it gets (kitchen_vfs.c)
**   after   the same, after a first connection was opened and closed
** An extension, if named, is loaded once before, on a connection of its own.
*/
#include "kitchen_sink.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Optional in SQLite: null where it was built without. */
__attribute__((weak)) int sqlite3_unlock_notify(sqlite3 *, void (*)(void **, int), void *);

void say(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vprintf(format, arguments);
  va_end(arguments);
  putchar('\n');
  fflush(stdout);
}

void part(const char *name) { say("== %s", name); }

static void state(sqlite3 *db, const char *what, int rc) {
  say("  %s: rc %d, code %d/%d, autocommit %d, changes %d/%d, rowid %lld: %s", what, rc, sqlite3_errcode(db),
      sqlite3_extended_errcode(db), db ? sqlite3_get_autocommit(db) : -1, db ? sqlite3_changes(db) : -1,
      db ? sqlite3_total_changes(db) : -1, db ? sqlite3_last_insert_rowid(db) : -1, sqlite3_errmsg(db));
}

static void row(sqlite3_stmt *stmt) {
  printf("    ");
  for (int i = 0; i < sqlite3_column_count(stmt); i++) {
    const unsigned char *text = sqlite3_column_text(stmt, i);
    printf("%s%s=%d:%.60s", i ? " | " : "", sqlite3_column_name(stmt, i), sqlite3_column_type(stmt, i), text ? (const char *)text : "-");
  }
  putchar('\n');
}

/* Every statement of a text, to its end. The answer is the last result code. */
int run(sqlite3 *db, const char *sql) {
  int rc = SQLITE_OK;
  say("  [%s]", sql);
  while (*sql) {
    sqlite3_stmt *stmt = 0;
    rc = sqlite3_prepare_v2(db, sql, -1, &stmt, &sql);
    if (rc == SQLITE_OK && !stmt) break;
    if (rc == SQLITE_OK) {
      while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) row(stmt);
      int finalized = sqlite3_finalize(stmt);
      if (finalized != (rc == SQLITE_DONE ? SQLITE_OK : rc)) say("  finalize: %d after %d", finalized, rc);
    }
    if (rc != SQLITE_DONE) {
      state(db, "failed", rc);
      break;
    }
  }
  return rc;
}

sqlite3 *opened(const char *name, int flags, const char *vfs) {
  sqlite3 *db = 0;
  int rc = sqlite3_open_v2(name, &db, flags ? flags : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI, vfs);
  say("  open %s: rc %d, extended %d, readonly %d: %s", name, rc, sqlite3_extended_errcode(db), sqlite3_db_readonly(db, "main"),
      sqlite3_errmsg(db));
  sqlite3_extended_result_codes(db, 1);
  return db;
}

void shut(sqlite3 *db) { say("  close: %d", sqlite3_close(db)); }

/* Callbacks */

static void on_log(void *name, int code, const char *text) { say("    log %d: %s", code, text); }

static int on_busy(void *limit, int count) {
  say("    busy %d", count);
  return count < *(int *)limit;
}

static void on_unlock(void **arguments, int count) { say("    unlock notify: %d, %s", count, (char *)arguments[0]); }

/* Parts */

static void contention(const char *mode) {
  part("contention");
  int limit = 2;
  sqlite3 *a = opened("contended.db", 0, 0), *b = opened("contended.db", 0, 0);
  sqlite3_busy_handler(b, on_busy, &limit);
  run(a, "CREATE TABLE IF NOT EXISTS t(x); DELETE FROM t");
  sqlite3_stmt *pragma = 0;
  char *sql = sqlite3_mprintf("PRAGMA journal_mode = %s", mode);
  run(a, sql);
  sqlite3_free(sql);
  run(a, "BEGIN IMMEDIATE; INSERT INTO t VALUES(1)");
  run(b, "INSERT INTO t VALUES(2)");
  run(b, "BEGIN; SELECT count(*) FROM t; INSERT INTO t VALUES(2)");
  run(a, "COMMIT");
  run(b, "INSERT INTO t VALUES(3)"); /* a stale snapshot in WAL */
  run(b, "COMMIT");
  say("  prepare: %d", sqlite3_prepare_v2(b, "SELECT x FROM t UNION ALL SELECT 7", -1, &pragma, 0));
  say("  step: %d", sqlite3_step(pragma)); /* a reader that stays */
  run(a, "INSERT INTO t VALUES(4)");        /* refused at its commit outside WAL */
  run(a, "BEGIN EXCLUSIVE; COMMIT");
  run(a, "PRAGMA journal_mode = off; PRAGMA journal_mode");
  run(a, "PRAGMA wal_checkpoint(TRUNCATE)");
  for (int how = SQLITE_CHECKPOINT_PASSIVE; how <= SQLITE_CHECKPOINT_TRUNCATE; how++) {
    int log = -7, done = -7, rc = sqlite3_wal_checkpoint_v2(a, "main", how, &log, &done);
    say("  checkpoint %d: %d, %d of %d", how, rc, done, log);
  }
  say("  reset: %d", sqlite3_finalize(pragma));
  sqlite3_busy_timeout(b, 3);
  if (!sqlite3_get_autocommit(a)) run(a, "ROLLBACK");
  run(a, "BEGIN EXCLUSIVE");
  run(b, "SELECT count(*) FROM t");
  run(b, "INSERT INTO t VALUES(5)");
  run(a, "COMMIT; PRAGMA locking_mode = exclusive; INSERT INTO t VALUES(6)");
  run(b, "SELECT count(*) FROM t");
  run(a, "PRAGMA locking_mode = normal; SELECT count(*) FROM t");
  run(b, "SELECT count(*) FROM t; PRAGMA data_version; PRAGMA integrity_check");
  shut(b);
  shut(a);
}

static void shared_cache(void) {
  part("shared cache");
  sqlite3 *a = opened("file:shared.db?cache=shared", 0, 0), *b = opened("file:shared.db?cache=shared", 0, 0);
  run(a, "CREATE TABLE t(x); INSERT INTO t VALUES(1); BEGIN; INSERT INTO t VALUES(2)");
  run(b, "SELECT * FROM t");
  if (sqlite3_unlock_notify) say("  unlock_notify: %d", sqlite3_unlock_notify(b, on_unlock, "the reader"));
  run(b, "PRAGMA read_uncommitted = 1; SELECT * FROM t; PRAGMA read_uncommitted = 0");
  run(a, "COMMIT");
  run(b, "SELECT * FROM t; BEGIN IMMEDIATE");
  run(a, "BEGIN IMMEDIATE");
  if (sqlite3_unlock_notify) say("  unlock_notify: %d", sqlite3_unlock_notify(a, on_unlock, "the writer"));
  run(b, "ROLLBACK");
  shut(b);
  run(a, "DROP TABLE t");
  shut(a);
}

static void attached(void) {
  part("attached");
  sqlite3 *db = opened("main.db", 0, 0);
  run(db, "PRAGMA temp_store = file; ATTACH 'second.db' AS second; ATTACH ':memory:' AS memory; ATTACH '' AS temporary");
  run(db, "CREATE TABLE main.t(x); CREATE TABLE second.t(x); CREATE TABLE memory.t(x); CREATE TABLE temporary.t(x); CREATE TEMP TABLE u(x)");
  run(db, "BEGIN; INSERT INTO main.t VALUES(1); INSERT INTO second.t VALUES(2); INSERT INTO memory.t VALUES(3);"
          "INSERT INTO temporary.t VALUES(4); INSERT INTO u VALUES(5); COMMIT");
  run(db, "PRAGMA cache_size = 3; CREATE TEMP TABLE big AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL "
          "SELECT i + 1 FROM n WHERE i < 3000) SELECT i, hex(zeroblob(40)) AS z FROM n; SELECT count(*), sum(i), max(z) FROM big");
  run(db, "SELECT * FROM main.t, second.t, memory.t, temporary.t, u; SELECT seq, name FROM pragma_database_list");
  run(db, "ATTACH 'no/such/directory/x.db' AS third");
  run(db, "ATTACH 'file:second.db?mode=ro' AS third; INSERT INTO third.t VALUES(9)");
  run(db, "DETACH second; DETACH second");
  run(db, "VACUUM INTO 'copy.db'; VACUUM INTO 'copy.db'");
  run(db, "VACUUM; PRAGMA page_count; PRAGMA freelist_count; PRAGMA mmap_size = 1048576; SELECT * FROM main.t");
  run(db, "PRAGMA nonsense; PRAGMA user_version = 7; PRAGMA user_version; PRAGMA quick_check; PRAGMA optimize");
  sqlite3_blob *blob = 0;
  char four[5] = "";
  run(db, "INSERT INTO main.t VALUES(zeroblob(8))");
  say("  blob: %d", sqlite3_blob_open(db, "main", "t", "x", sqlite3_last_insert_rowid(db), 1, &blob));
  say("  write: %d", sqlite3_blob_write(blob, "abcd", 4, 2));
  say("  past the end: %d", sqlite3_blob_write(blob, "abcd", 4, 6));
  int read = sqlite3_blob_read(blob, four, 4, 2);
  say("  read: %d, %s", read, four);
  say("  close: %d", sqlite3_blob_close(blob));
  shut(db);
}

static void backup(void) {
  part("backup");
  sqlite3 *from = opened("main.db", 0, 0), *to = opened("backup.db", 0, 0), *other = opened("backup.db", 0, 0);
  run(from, "CREATE TABLE big AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000) SELECT i FROM n");
  sqlite3_backup *copy = sqlite3_backup_init(to, "main", from, "main");
  for (int i = 0, rc = SQLITE_OK; (rc == SQLITE_OK || rc == SQLITE_BUSY || rc == SQLITE_LOCKED) && i < 12; i++) {
    if (i == 1) run(other, "SELECT count(*) FROM sqlite_schema");
    if (i == 2) run(from, "INSERT INTO big VALUES(-1)");
    if (i == 4) run(from, "BEGIN EXCLUSIVE");
    if (i == 5) run(from, "ROLLBACK");
    rc = sqlite3_backup_step(copy, 3);
    say("  step: %d, %d of %d left", rc, sqlite3_backup_remaining(copy), sqlite3_backup_pagecount(copy));
  }
  say("  finish: %d: %s", sqlite3_backup_finish(copy), sqlite3_errmsg(to));
  run(other, "SELECT count(*), sum(i) FROM big; PRAGMA integrity_check");
  say("  to itself: %d: %s", sqlite3_backup_init(to, "main", to, "main") != 0, sqlite3_errmsg(to));
  sqlite3_int64 size = 0;
  unsigned char *image = sqlite3_serialize(from, "main", &size, 0);
  sqlite3 *memory = opened(":memory:", 0, 0);
  say("  deserialize: %d, %lld bytes", sqlite3_deserialize(memory, "main", image, size, size, SQLITE_DESERIALIZE_FREEONCLOSE), size);
  run(memory, "SELECT count(*) FROM big; INSERT INTO big VALUES(1); PRAGMA journal_mode = wal");
  shut(memory), shut(other), shut(to), shut(from);
}

static void controls(void) {
  part("file controls");
  sqlite3 *db = opened("controls.db", 0, 0);
  run(db, "CREATE TABLE t(x); PRAGMA journal_mode = wal; INSERT INTO t VALUES(1)");
  for (int op = 1; op <= 45; op++) {
    int value = -1, rc;
    sqlite3_int64 large = -1;
    switch (op) {
    case SQLITE_FCNTL_LOCKSTATE: case SQLITE_FCNTL_LAST_ERRNO: case SQLITE_FCNTL_PERSIST_WAL: case SQLITE_FCNTL_HAS_MOVED:
    case SQLITE_FCNTL_POWERSAFE_OVERWRITE: case SQLITE_FCNTL_EXTERNAL_READER: case SQLITE_FCNTL_RESERVE_BYTES: case SQLITE_FCNTL_DATA_VERSION:
      rc = sqlite3_file_control(db, "main", op, &value);
      say("  control %d: %d, %d", op, rc, value);
      break;
    case SQLITE_FCNTL_MMAP_SIZE: case SQLITE_FCNTL_SIZE_LIMIT:
      rc = sqlite3_file_control(db, "main", op, &large);
      say("  control %d: %d, %lld", op, rc, large);
      break;
    case SQLITE_FCNTL_FILE_POINTER: case SQLITE_FCNTL_JOURNAL_POINTER: {
      sqlite3_file *file = 0;
      rc = sqlite3_file_control(db, "main", op, &file);
      int there = file && file->pMethods;
      say("  control %d: %d, version %d, sector %d, device %d", op, rc, there ? file->pMethods->iVersion : -1,
          there ? file->pMethods->xSectorSize(file) : -1, there ? file->pMethods->xDeviceCharacteristics(file) : -1);
      break;
    }
    }
  }
  say("  unknown: %d, no such database: %d", sqlite3_file_control(db, "main", 987654, 0), sqlite3_file_control(db, "none", 1, 0));
  say("  name: %s", strrchr(sqlite3_db_filename(db, "main"), '/'));
  shut(db);
}

static void errors(void) {
  part("errors");
  FILE *file = fopen("text.db", "w");
  for (int i = 0; i < 300; i++) fputs("this is not a database. ", file);
  fclose(file);
  sqlite3 *db = opened("text.db", 0, 0);
  run(db, "SELECT * FROM sqlite_schema");
  shut(db);
  db = opened("no/such/directory/x.db", 0, 0);
  say("  system errno: %d", sqlite3_system_errno(db));
  shut(db);
  db = opened("/", 0, 0);
  say("  system errno: %d", sqlite3_system_errno(db));
  shut(db);
  db = opened("none.db", SQLITE_OPEN_READONLY, 0);
  shut(db);
  db = opened("main.db", SQLITE_OPEN_READONLY, 0);
  run(db, "INSERT INTO t VALUES(1)");
  shut(db);
  db = opened("file:main.db?immutable=1", 0, 0);
  run(db, "SELECT count(*) FROM t");
  shut(db);
  db = opened("file:main.db?nolock=1", 0, 0);
  run(db, "SELECT count(*) FROM t");
  shut(db);
  db = opened("file:main.db?vfs=no-such-vfs", 0, 0);
  shut(db);
  for (int i = 0; i < 2; i++) {
    db = opened(i ? "file:main.db?vfs=unix-none" : "main.db", 0, i ? 0 : "unix-excl");
    run(db, "INSERT INTO t VALUES('named'); SELECT count(*) FROM t");
    shut(db);
  }
}

/* Threads, in turns */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turned = PTHREAD_COND_INITIALIZER;
static int turn;

static void *thread(void *number) {
  static const char *const steps[] = {"BEGIN IMMEDIATE", "BEGIN IMMEDIATE", "INSERT INTO t VALUES(1)", "SELECT count(*) FROM t",
                                      "COMMIT", "INSERT INTO t VALUES(2)", "SELECT count(*) FROM t", "SELECT count(*) FROM t"};
  int me = (int)(size_t)number;
  sqlite3 *db = 0;
  for (int step = 0; step < 10; step++) {
    pthread_mutex_lock(&mutex);
    while (turn != 2 * step + me) pthread_cond_wait(&turned, &mutex);
    pthread_mutex_unlock(&mutex);
    say(" thread %d", me);
    if (step == 0) db = opened("threads.db", 0, 0);
    else if (step == 9) shut(db);
    else run(db, steps[step - 1]);
    pthread_mutex_lock(&mutex);
    turn++;
    pthread_cond_broadcast(&turned);
    pthread_mutex_unlock(&mutex);
  }
  return 0;
}

static void threads(void) {
  part("threads");
  pthread_t both[2];
  sqlite3 *db = opened("threads.db", 0, 0);
  run(db, "CREATE TABLE t(x)");
  shut(db);
  for (int i = 0; i < 2; i++) pthread_create(&both[i], 0, thread, (void *)(size_t)i);
  for (int i = 0; i < 2; i++) pthread_join(both[i], 0);
}

static int load(const char *extension) {
  char *why = 0;
  sqlite3 *db = 0;
  int rc = sqlite3_open(":memory:", &db);
  if (!rc) rc = sqlite3_enable_load_extension(db, 1);
  if (!rc) rc = sqlite3_load_extension(db, extension, 0, &why);
  if (rc) fprintf(stderr, "cannot load %s: %d: %s\n", extension, rc, why ? why : sqlite3_errmsg(db));
  sqlite3_close(db);
  return rc;
}

int main(int count, char **arguments) {
  const char *what = count > 1 ? arguments[1] : "app";
  sqlite3_config(SQLITE_CONFIG_LOG, on_log, (void *)0);
  sqlite3_config(SQLITE_CONFIG_URI, 1);
  if (strcmp(what, "before") == 0) kitchen_vfs();
  if (count > 2 && load(arguments[2])) return 1;
  say("SQLite %s", sqlite3_libversion());
  if (strcmp(what, "after") == 0) {
    sqlite3 *db = opened("first.db", 0, 0);
    run(db, "CREATE TABLE t(x)");
    shut(db);
    kitchen_vfs();
  }
  hooks();
  contention("delete");
  contention("wal");
  contention("truncate");
  shared_cache();
  attached();
  backup();
  controls();
  errors();
  threads();
  if (strcmp(what, "app") == 0) {
    part("again");
      say("  shutdown: %d", sqlite3_shutdown());
    say("  initialize: %d", sqlite3_initialize());
    contention("wal");
  }
  return 0;
}
