/* Threads that are cancelled (deferred) while they work on SQLite; whatever is being recorded of them, nothing may abort or hang.
**
** cancelled WORK ROUNDS. WORK: texts (ever new statements), refused, sleeps (in the busy handler), writes, wal, opens.
** What bare SQLite cannot stand is not done: close(2) is a cancellation point and SQLite calls it with a global mutex, and what maps a -shm
** file does so too, so that threads are not to be cancelled there. Each thread has a database of its own where it writes. */
#include "host.h"

static const char *work;
static volatile int up;
static int number;

static void enabled(int on) {
  int was;
  pthread_setcancelstate(on ? PTHREAD_CANCEL_ENABLE : PTHREAD_CANCEL_DISABLE, &was);
}

static void *worker(void *unused) {
  (void)unused;
  char sql[200], name[60];
  sqlite3 *db = 0;
  enabled(0);
  int writes = !strcmp(work, "writes") || !strcmp(work, "wal");
  snprintf(name, sizeof name, writes ? "cancelled-%d.db" : "cancelled.db", number);
  sqlite3_open(name, &db);
  if (writes) {
    if (*work == 'w' && work[1] == 'a') quiet(db, "PRAGMA journal_mode=wal; PRAGMA wal_autocheckpoint=4");
    quiet(db, "CREATE TABLE t(x); INSERT INTO t VALUES(0); SELECT * FROM t");
  }
  if (!strcmp(work, "sleeps")) sqlite3_busy_timeout(db, 1000000);
  up = 1;
  enabled(1);
  for (int i = 0;; i++) {
    if (!strcmp(work, "texts")) snprintf(sql, sizeof sql, "SELECT %d, %d, count(*) FROM t", number, i);
    else if (!strcmp(work, "refused")) snprintf(sql, sizeof sql, "INSERT INTO t VALUES(%d, %d)", number, i);
    else snprintf(sql, sizeof sql, "UPDATE t SET x = %d", i % 50);
    if (!strcmp(work, "opens")) {
      sqlite3 *other = 0;
      snprintf(name, sizeof name, "opened-%d.db", i % 7);
      sqlite3_open(name, &other);
      quiet(other, sql);
      enabled(0);
      sqlite3_close(other);
      enabled(1);
    }
    quiet(db, sql);
    pthread_testcancel();
  }
  return 0;
}

int main(int argc, char **argv) {
  work = argc > 1 ? argv[1] : "texts";
  int rounds = argc > 2 ? atoi(argv[2]) : 50, cancelled = 0;
  unsigned seed = 4711;
  start();
  sqlite3 *db = 0;
  sqlite3_open("cancelled.db", &db);
  quiet(db, "CREATE TABLE t(x, y); INSERT INTO t VALUES(1, 1)");
  if (!strcmp(work, "refused") || !strcmp(work, "sleeps")) quiet(db, "BEGIN IMMEDIATE");
  for (number = 0; number < rounds; number++) {
    pthread_t thread;
    void *result = 0;
    up = 0;
    pthread_create(&thread, 0, worker, 0);
    while (!up) usleep(50);
    usleep(rand_r(&seed) % 2000);
    pthread_cancel(thread);
    pthread_join(thread, &result);
    cancelled += result == PTHREAD_CANCELED;
  }
  printf("cancelled %d of %d\n", cancelled, rounds);
  /* What goes on afterwards still works. */
  sqlite3 *after = 0;
  sqlite3_open("after.db", &after);
  run(after, "CREATE TABLE t(x)"), run(after, "PRAGMA journal_mode=wal"), run(after, "INSERT INTO t VALUES(1)");
  closed(after);
  _exit(0);
}
