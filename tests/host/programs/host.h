/* What the programs of tests/host have in common: a start, statements whose results are printed, and the name of a VFS.
** HOST_EXTENSION in the environment names an extension to load first. Nothing printed may depend on whether a program is traced. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static inline void start(void) {
  setvbuf(stdout, 0, _IOLBF, 0);
  const char *extension = getenv("HOST_EXTENSION");
  if (!extension) return;
  sqlite3 *db = 0;
  char *error = 0;
  sqlite3_open(":memory:", &db);
  sqlite3_enable_load_extension(db, 1);
  if (sqlite3_load_extension(db, extension, 0, &error)) printf("extension: %s\n", error ? error : "?");
  sqlite3_free(error);
  sqlite3_close(db);
}

static inline int row(void *unused, int n, char **values, char **names) {
  (void)unused, (void)names;
  for (int i = 0; i < n; i++) printf("  %s", values[i] ? values[i] : "null");
  return 0;
}

/* One statement, its rows, and its result. */
static inline int run(sqlite3 *db, const char *sql) {
  char *error = 0;
  printf("%s:", sql);
  int rc = sqlite3_exec(db, sql, row, 0, &error);
  printf(" %d %d %s\n", rc, rc ? sqlite3_extended_errcode(db) : 0, error ? error : "");
  sqlite3_free(error);
  return rc;
}

/* One statement; only its result counts. */
static inline int quiet(sqlite3 *db, const char *sql) { return sqlite3_exec(db, sql, 0, 0, 0); }

static inline sqlite3 *open_named(const char *name, const char *vfs) {
  sqlite3 *db = 0;
  int rc = sqlite3_open_v2(name, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, vfs);
  printf("open %s %s: %d %s\n", name, vfs ? vfs : "-", rc, rc ? sqlite3_errmsg(db) : "");
  return db;
}

static inline void closed(sqlite3 *db) { printf("close: %d\n", sqlite3_close(db)); }

/* Two connections in this journal mode: rows, refusals, a rollback, a vacuum. */
static inline void use(const char *name, const char *vfs, const char *mode) {
  char sql[200];
  sqlite3 *one = open_named(name, vfs), *two = open_named(name, vfs);
  snprintf(sql, sizeof sql, "PRAGMA journal_mode=%s", mode);
  quiet(one, "PRAGMA synchronous=off"), quiet(two, "PRAGMA synchronous=off");
  if (run(one, sql) == 0) {
    run(one, "CREATE TABLE IF NOT EXISTS t(x)");
    run(one, "INSERT INTO t VALUES(1)");
    run(one, "BEGIN IMMEDIATE");
    run(two, "INSERT INTO t VALUES(2)");
    run(two, "SELECT count(*) FROM t");
    run(one, "INSERT INTO t SELECT randomblob(900) FROM t, t, t, t, t, t LIMIT 100");
    run(one, "ROLLBACK");
    run(two, "DELETE FROM t WHERE x = 1");
    run(one, "SELECT count(*) FROM t");
    run(one, "VACUUM");
    run(one, "PRAGMA integrity_check");
  }
  closed(one), closed(two);
}
