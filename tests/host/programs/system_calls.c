/* A program that puts functions of its own in place of SQLite's system calls and counts them; some fail at chosen calls. */
#include "host.h"

static int opens, locks, fail;
static int (*former_open)(const char *, int, int);
static int (*former_fcntl)(int, int, ...);
static int my_open(const char *name, int flags, int mode) {
  opens++;
  return former_open(name, flags, mode);
}
static int my_fcntl(int fd, int op, struct flock *lock) {
  if (op == F_SETLK) {
    locks++;
    if (fail && locks % fail == 0) { errno = EAGAIN; return -1; }
  }
  return former_fcntl(fd, op, lock);
}

int main(void) {
  start();
  sqlite3_vfs *vfs = sqlite3_vfs_find("unix");
  former_open = (int (*)(const char *, int, int))vfs->xGetSystemCall(vfs, "open");
  former_fcntl = (int (*)(int, int, ...))vfs->xGetSystemCall(vfs, "fcntl");
  printf("set %d", vfs->xSetSystemCall(vfs, "open", (sqlite3_syscall_ptr)my_open));
  printf(" %d\n", vfs->xSetSystemCall(vfs, "fcntl", (sqlite3_syscall_ptr)my_fcntl));
  use("calls.db", 0, "delete"), printf("opens %d locks %d\n", opens, locks);
  use("calls.db", 0, "wal"), printf("opens %d locks %d\n", opens, locks);
  /* In WAL mode SQLite would wait and try again, for ten seconds. */
  use("fails.db", 0, "delete");
  for (fail = 2; fail < 12; fail++) use("fails.db", 0, "delete"), printf("opens %d locks %d\n", opens, locks);
  fail = 0;
  printf("unset %d\n", vfs->xSetSystemCall(vfs, 0, 0));
  use("calls.db", 0, "delete"), printf("opens %d locks %d\n", opens, locks);
  return 0;
}
