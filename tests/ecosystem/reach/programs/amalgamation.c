/* Two connections of a SQLite that is compiled into the program: the second one's write is refused. */
#include "sqlite3.h"
#include <stdio.h>
#include <stdlib.h>

static sqlite3 *open_one(void) {
  sqlite3 *db;
  if (sqlite3_open("a.db", &db) != SQLITE_OK) {
    exit(1);
  }
  return db;
}

static void must(sqlite3 *db, const char *sql) {
  if (sqlite3_exec(db, sql, 0, 0, 0) != SQLITE_OK) {
    fprintf(stderr, "%s: %s\n", sql, sqlite3_errmsg(db));
    exit(1);
  }
}

static int row(void *unused, int count, char **values, char **names) {
  (void)unused, (void)count, (void)names;
  printf("done %s\n", values[0]);
  return 0;
}

int main(void) {
  sqlite3 *a = open_one();
  must(a, "PRAGMA journal_mode = WAL");
  must(a, "CREATE TABLE t(x)");
  sqlite3 *b = open_one();
  must(a, "BEGIN IMMEDIATE");
  must(a, "INSERT INTO t VALUES (1)");
  if (sqlite3_exec(b, "INSERT INTO t VALUES (2)", 0, 0, 0) == SQLITE_BUSY) {
    puts("busy");
  }
  must(a, "COMMIT");
  must(b, "INSERT INTO t VALUES (3)");
  sqlite3_exec(a, "SELECT count(*) FROM t", row, 0, 0);
  return sqlite3_close(a) | sqlite3_close(b);
}
