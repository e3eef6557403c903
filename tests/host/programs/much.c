/* Much of what a recorder has to do: opens and closes, both journal modes, refusals, waits, a fork, threads, many statements, a failing open. */
#include "host.h"

static void *thread(void *name) {
  char sql[100];
  sqlite3 *db = 0;
  int bad = sqlite3_open(name, &db);
  bad += quiet(db, "PRAGMA journal_mode=wal; CREATE TABLE IF NOT EXISTS t(x)") != 0;
  for (int i = 0; i < 30; i++) snprintf(sql, sizeof sql, "INSERT INTO t VALUES(%d)", i), bad += quiet(db, sql) != 0;
  bad += sqlite3_close(db);
  return (void *)(long)bad;
}

int main(int argc, char **argv) {
  int texts = argc > 1 ? atoi(argv[1]) : 300;
  char sql[200];
  start();
  use("delete.db", 0, "delete"), use("wal.db", 0, "wal"), use("excl.db", "unix-excl", "truncate");
  sqlite3 *one = open_named("wal.db", 0), *two = open_named("wal.db", 0);
  int bad = 0;
  for (int i = 0; i < texts; i++) {
    snprintf(sql, sizeof sql, "SELECT %d, count(*) FROM t", i);
    bad += quiet(one, sql) != 0;
  }
  printf("%d texts, %d failed\n", texts, bad);
  sqlite3_busy_timeout(two, 5);
  run(one, "BEGIN IMMEDIATE"), run(two, "INSERT INTO t VALUES(7)"), run(one, "COMMIT"), run(two, "INSERT INTO t VALUES(8)");
  run(two, "PRAGMA wal_checkpoint(truncate)");
  run(one, "ATTACH 'delete.db' AS other"), run(one, "INSERT INTO other.t VALUES(1)");
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    use("child.db", 0, "wal"), use("wal.db", 0, "wal");
    fflush(stdout), _exit(7);
  }
  int status;
  waitpid(child, &status, 0);
  printf("child %x\n", status);
  pthread_t threads[3];
  char *names[] = {"t0.db", "t1.db", "t2.db"};
  void *result;
  for (int i = 0; i < 3; i++) pthread_create(&threads[i], 0, thread, names[i]);
  for (int i = 0; i < 3; i++) pthread_join(threads[i], &result), printf("thread %d: %ld failed\n", i, (long)result);
  sqlite3 *nobody = 0;
  int rc = sqlite3_open_v2("no/such.db", &nobody, SQLITE_OPEN_READWRITE, 0);
  printf("no such: %d %d %d\n", rc, sqlite3_extended_errcode(nobody), sqlite3_system_errno(nobody));
  closed(nobody), closed(one), closed(two);
  return 0;
}
