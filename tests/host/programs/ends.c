/* The ways in which a program begins and ends. ends HOW: return, exit, quick, now (_exit), thread (of a second thread, by exit), pthread (main
** ends first), abort, segv, term, kill, exec (itself, which then returns), early (a database before main), late (one after it). */
#include "host.h"

static const char *how = "";
static sqlite3 *kept;

static void again(const char *name) {
  if (!strcmp(how, "late")) use(name, 0, "wal"), use("late.db", 0, "delete");
}
static void at_exit(void) { again("at_exit.db"); }
__attribute__((destructor(101))) static void last(void) { again("destructor.db"); fflush(stdout); }
__attribute__((constructor(101))) static void first(int argc, char **argv) {
  if (argc > 1 && !strcmp(argv[1], "early")) use("early.db", 0, "wal");
}
static void *ender(void *unused) {
  quiet(kept, "INSERT INTO t VALUES(2)");
  printf("the thread ends it\n");
  exit(5);
  return unused;
}
static void *after_main(void *main_thread) {
  pthread_join(*(pthread_t *)main_thread, 0);
  quiet(kept, "INSERT INTO t VALUES(3)");
  use("after.db", 0, "wal");
  exit(6);
}

int main(int argc, char **argv) {
  static pthread_t thread, self;
  how = argc > 1 ? argv[1] : "";
  start();
  atexit(at_exit);
  use("ends.db", 0, "wal");
  kept = open_named("ends.db", 0);
  run(kept, "BEGIN IMMEDIATE"), quiet(kept, "INSERT INTO t VALUES(1)");
  if (!strcmp(how, "exit")) exit(3);
  if (!strcmp(how, "quick")) quick_exit(4);
  if (!strcmp(how, "now")) _exit(7);
  if (!strcmp(how, "thread")) pthread_create(&thread, 0, ender, 0), pthread_join(thread, 0);
  if (!strcmp(how, "pthread")) self = pthread_self(), pthread_create(&thread, 0, after_main, &self), pthread_exit(0);
  if (!strcmp(how, "abort")) abort();
  if (!strcmp(how, "segv")) raise(SIGSEGV);
  if (!strcmp(how, "term")) raise(SIGTERM);
  if (!strcmp(how, "kill")) raise(SIGKILL);
  if (!strcmp(how, "exec")) execl(argv[0], argv[0], "return", (char *)0);
  return 8;
}
