/* Every hook that SQLite calls back, and what it is told. */
#include "kitchen_sink.h"
#include <string.h>

/* Optional in SQLite: null where it was built without. */
__attribute__((weak)) void *sqlite3_preupdate_hook(sqlite3 *, void (*)(void *, sqlite3 *, int, char const *, char const *, sqlite3_int64, sqlite3_int64), void *);

static int on_trace(unsigned event, void *name, void *p, void *x) {
  if (event == SQLITE_TRACE_CLOSE) {
    say("    trace %s: close", (char *)name);
  } else if (event == SQLITE_TRACE_STMT) {
    char *expanded = sqlite3_expanded_sql(p);
    say("    trace %s: statement %s / %s", (char *)name, (char *)x, expanded ? expanded : "-");
    sqlite3_free(expanded);
  } else {
    say("    trace %s: %s %s", (char *)name, event == SQLITE_TRACE_ROW ? "row" : "profile", sqlite3_sql(p));
  }
  return 0;
}

static int on_commit(void *refuse) {
  say("    commit hook");
  return *(int *)refuse;
}

static void on_rollback(void *unused) { say("    rollback hook"); }

static void on_update(void *unused, int op, const char *db, const char *table, sqlite3_int64 id) {
  say("    update hook %d %s.%s %lld", op, db, table, id);
}

static void on_preupdate(void *unused, sqlite3 *db, int op, const char *name, const char *table, sqlite3_int64 old, sqlite3_int64 new) {
  say("    preupdate hook %d %s.%s %lld %lld", op, name, table, old, new);
}

static int on_wal(void *unused, sqlite3 *db, const char *name, int pages) {
  say("    wal hook %s %d", name, pages);
  return SQLITE_OK;
}

static int on_authorize(void *unused, int action, const char *a, const char *b, const char *c, const char *d) {
  say("    authorizer %d %s %s %s %s", action, a ? a : "-", b ? b : "-", c ? c : "-", d ? d : "-");
  return action == SQLITE_DELETE && a && strcmp(a, "kept") == 0 ? SQLITE_DENY : SQLITE_OK;
}

static int on_progress(void *steps) { return ++*(int *)steps > 20; }

void hooks(void) {
  part("hooks");
  int refuse = 0, steps = 0;
  sqlite3 *db = opened("hooks.db", 0, 0);
  say("  trace: %d", sqlite3_trace_v2(db, 15, on_trace, "one"));
  sqlite3_commit_hook(db, on_commit, &refuse);
  sqlite3_rollback_hook(db, on_rollback, 0);
  sqlite3_update_hook(db, on_update, 0);
  sqlite3_wal_hook(db, on_wal, 0);
  if (sqlite3_preupdate_hook) sqlite3_preupdate_hook(db, on_preupdate, 0);
  run(db, "CREATE TABLE kept(id INTEGER PRIMARY KEY, v); INSERT INTO kept(v) VALUES(1),('two'),(3.5),(x'04'),(NULL)");
  run(db, "UPDATE kept SET v = v || '!' WHERE id < 3; SELECT * FROM kept ORDER BY id");
  refuse = 1;
  run(db, "INSERT INTO kept(v) VALUES('refused')");
  refuse = 0;
  run(db, "BEGIN; INSERT INTO kept(v) VALUES('gone'); SAVEPOINT s; DELETE FROM kept; ROLLBACK TO s; RELEASE s; ROLLBACK");
  sqlite3_set_authorizer(db, on_authorize, 0);
  run(db, "DELETE FROM kept WHERE id = 1");
  sqlite3_set_authorizer(db, 0, 0);
  sqlite3_progress_handler(db, 100, on_progress, &steps);
  run(db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n");
  sqlite3_progress_handler(db, 0, 0, 0);
  run(db, "PRAGMA journal_mode = wal; INSERT INTO kept(v) VALUES('in the wal'); PRAGMA journal_mode = delete");
  run(db, "INSERT INTO nowhere VALUES(1); SELECT 1");
  run(db, "INSERT INTO kept(id) VALUES(2)");
  shut(db);
}
