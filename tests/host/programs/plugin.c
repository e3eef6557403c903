/* A module to load at run time. Compiled with
**   -DCONSTRUCTOR, -DDESTRUCTOR: a thread opens a database there and is joined;
**   -DSLOW: the constructor waits until `released` says that a database was opened meanwhile;
**   -DVERSION=n: what `version()` answers. */
#include "host.h"

#ifndef VERSION
#define VERSION 1
#endif

static int work(const char *name) {
  sqlite3 *db = 0;
  int rc = sqlite3_open(name, &db);
  if (!rc) rc = quiet(db, "PRAGMA journal_mode=wal; CREATE TABLE IF NOT EXISTS t(x); INSERT INTO t VALUES(1)");
  sqlite3_close(db);
  return rc;
}
int version(void) { return work("plugin.db") ? -1 : VERSION; }

static inline void *worker(void *name) {
  printf("worker wrote: %d\n", work(name));
  return 0;
}
static inline void threaded(char *name) {
  pthread_t thread;
  pthread_create(&thread, 0, worker, name);
  pthread_join(thread, 0);
}
#ifdef CONSTRUCTOR
__attribute__((constructor)) static void loading(void) { threaded("constructor.db"); }
#endif
#ifdef DESTRUCTOR
__attribute__((destructor)) static void unloading(void) { threaded("destructor.db"); }
#endif
#ifdef SLOW
extern int inside, released;
__attribute__((constructor)) static void slow(void) {
  __atomic_store_n(&inside, 1, __ATOMIC_SEQ_CST);
  while (!__atomic_load_n(&released, __ATOMIC_SEQ_CST)) usleep(100);
}
#endif
