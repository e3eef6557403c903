/* Children made without the handlers that fork(3) runs. The parent has opened a database; the child opens it too and holds the write lock
** until the parent has been refused. children HOW: clone, clone3, _fork, fork, vfork (which execs this program again), spawn, thread (the
** child is made by a second thread). child: what the exec'd one does. */
#include "host.h"
#include <sched.h>
#include <linux/sched.h>
#include <spawn.h>

static int to_parent[2], to_child[2];
extern pid_t _Fork(void) __attribute__((weak));

static void holder(int say, int hear) {
  sqlite3 *db = 0;
  char byte = 'x';
  int rc = sqlite3_open("children.db", &db);
  if (!rc) rc = quiet(db, "BEGIN IMMEDIATE /* of the child */");
  if (!rc) rc = quiet(db, "INSERT INTO t VALUES('written')");
  if (write(say, &byte, 1) != 1 || read(hear, &byte, 1) != 1) rc = 99;
  if (!rc) rc = quiet(db, "COMMIT");
  sqlite3_close(db);
  _exit(rc);
}
static pid_t child_by(const char *how, char *self) {
  char *words[] = {self, "child", 0};
  extern char **environ;
  pid_t pid = -1;
  if (!strcmp(how, "clone")) pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
  if (!strcmp(how, "clone3")) {
    struct clone_args arguments = {.exit_signal = SIGCHLD};
    pid = syscall(SYS_clone3, &arguments, sizeof arguments);
  }
  if (!strcmp(how, "_fork")) pid = _Fork ? _Fork() : fork();
  if (!strcmp(how, "fork")) pid = fork();
  if (!strcmp(how, "spawn")) posix_spawn(&pid, self, 0, 0, words, environ);
  if (!strcmp(how, "vfork")) {
    pid = vfork();
    if (pid == 0) execv(self, words), _exit(98);
  }
  if (pid == 0) holder(to_parent[1], to_child[0]);
  return pid;
}
static char **words;
static void *in_thread(void *pid) {
  *(pid_t *)pid = child_by(words[2], words[0]);
  return 0;
}

int main(int argc, char **argv) {
  words = argv;
  start();
  if (argc > 1 && !strcmp(argv[1], "child")) holder(101, 102);
  sqlite3 *db = open_named("children.db", 0);
  run(db, "CREATE TABLE t(x)");
  /* Numbers that an exec'd child knows. */
  if (pipe(to_parent) || pipe(to_child)) return 9;
  dup2(to_parent[1], 101), dup2(to_child[0], 102);
  pid_t pid = -1;
  if (!strcmp(argv[1], "thread")) {
    pthread_t thread;
    pthread_create(&thread, 0, in_thread, &pid);
    pthread_join(thread, 0);
  } else {
    pid = child_by(argv[1], argv[0]);
  }
  if (pid < 0) return 8;
  char byte;
  if (read(to_parent[0], &byte, 1) != 1) return 7;
  run(db, "INSERT INTO t VALUES('of the parent')");
  if (write(to_child[1], "x", 1) != 1) return 6;
  int status;
  waitpid(pid, &status, 0);
  printf("child %x\n", status);
  run(db, "INSERT INTO t VALUES('of the parent')"), run(db, "SELECT x FROM t");
  closed(db);
  return 0;
}
