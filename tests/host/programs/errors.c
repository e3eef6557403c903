/* errno after each call, which nothing in between may change; the thread's signal mask, umask, directory and name, too. */
#include "host.h"
#include <fenv.h>
#include <sys/prctl.h>

static void state(const char *what, int rc) {
  int number = errno;
  sigset_t mask;
  unsigned long long blocked = 0;
  pthread_sigmask(SIG_BLOCK, 0, &mask);
  for (int i = 1; i < 64; i++) if (sigismember(&mask, i) == 1) blocked |= 1ull << i;
  mode_t was = umask(0);
  umask(was);
  char name[17] = "", *cwd = getcwd(0, 0);
  int type = -1;
  prctl(PR_GET_NAME, name);
  pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &type);
  printf("%s: %d errno %d blocked %llx umask %o name %s slash %d rounding %d cancel %d\n", what, rc, number, blocked, was, name, strrchr(cwd, '/') != 0, fegetround(), type);
  free(cwd);
}
#define CALL(e) do { errno = 4711; int rc_ = (e); state(#e, rc_); } while (0)

int main(void) {
  start();
  sqlite3 *one = 0, *two = 0, *none = 0;
  sqlite3_stmt *statement = 0;
  umask(027);
  CALL(sqlite3_initialize());
  CALL(sqlite3_open("errors.db", &one));
  CALL(sqlite3_open_v2("no/such.db", &none, SQLITE_OPEN_READWRITE, 0));
  CALL(sqlite3_system_errno(none));
  CALL(sqlite3_close(none));
  CALL(quiet(one, "CREATE TABLE t(x)"));
  CALL(sqlite3_open("errors.db", &two));
  CALL(quiet(one, "BEGIN IMMEDIATE"));
  CALL(quiet(two, "INSERT INTO t VALUES(1)"));
  CALL(sqlite3_system_errno(two));
  CALL(quiet(one, "COMMIT"));
  CALL(quiet(one, "PRAGMA journal_mode=wal"));
  CALL(sqlite3_prepare_v2(one, "INSERT INTO t VALUES(?1)", -1, &statement, 0));
  for (int i = 0; i < 3; i++) {
    CALL(sqlite3_step(statement));
    CALL(sqlite3_reset(statement));
  }
  CALL(quiet(two, "SELECT * FROM t"));
  CALL(quiet(one, "BEGIN IMMEDIATE"));
  CALL(quiet(two, "BEGIN IMMEDIATE"));
  CALL(quiet(one, "ROLLBACK"));
  sqlite3_busy_timeout(two, 3);
  CALL(quiet(one, "BEGIN EXCLUSIVE"));
  CALL(quiet(two, "INSERT INTO t VALUES(1)"));
  CALL(quiet(one, "COMMIT"));
  CALL(sqlite3_wal_checkpoint_v2(one, 0, SQLITE_CHECKPOINT_TRUNCATE, 0, 0));
  for (int i = 0; i < 5000; i++) quiet(two, "SELECT * FROM t");
  CALL(quiet(two, "SELECT * FROM t"));
  CALL(sqlite3_finalize(statement));
  CALL(sqlite3_close(one));
  CALL(sqlite3_close(two));
  struct stat s;
  printf("mode %o\n", stat("errors.db", &s) ? 0 : s.st_mode);
  return 0;
}
