/* A program that gives something up: before its first open (early) or between two (late). dropped WHAT WHEN: user, root (the directory's),
** directory, mounts (its own, with an empty file system over /tmp and /proc), pids (a pid namespace), network, writable (memory that can be
** executed, for good), mask (umask 0777), environment, locked (every page is in memory, and no more may be). */
#include "host.h"
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>

static void drop(const char *what) {
  int rc = 0;
  if (!strcmp(what, "user")) rc = chmod(".", 0777) || setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534);
  if (!strcmp(what, "root")) rc = chroot(".");
  if (!strcmp(what, "directory")) rc = mkdir("below", 0700) || chdir("below");
  if (!strcmp(what, "mounts")) {
    rc = unshare(CLONE_NEWNS) || mount("none", "/", 0, MS_REC | MS_PRIVATE, 0) || mount("none", "/tmp", "tmpfs", 0, 0);
    rc = rc || mount("none", "/proc", "tmpfs", 0, 0);
  }
  if (!strcmp(what, "pids")) {
    rc = unshare(CLONE_NEWPID);
    fflush(stdout);
    pid_t child = rc ? 0 : fork();
    if (child) {
      int status = 1;
      waitpid(child, &status, 0);
      _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 99);
    }
    printf("pid %d\n", rc ? -1 : getpid());
  }
  if (!strcmp(what, "network")) rc = unshare(CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC);
  if (!strcmp(what, "writable")) rc = prctl(65 /* PR_SET_MDWE */, 1, 0, 0, 0);
  if (!strcmp(what, "mask")) umask(0777);
  if (!strcmp(what, "environment")) rc = clearenv();
  if (!strcmp(what, "locked")) {
    struct rlimit limit = {8 << 20, 8 << 20};
    rc = chmod(".", 0777) || setrlimit(RLIMIT_MEMLOCK, &limit) || setresuid(65534, 65534, 65534) || mlockall(MCL_FUTURE);
  }
  printf("%s: %s\n", what, rc ? strerror(errno) : "done");
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  start();
  if (!strcmp(argv[2], "late")) use("before.db", 0, "wal");
  drop(argv[1]);
  use("after.db", 0, "wal"), use("after.db", "unix-excl", "delete");
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) use("child.db", 0, "wal"), fflush(stdout), _exit(0);
  int status = 1;
  if (child > 0) waitpid(child, &status, 0);
  printf("child %d %x\n", child > 0, status);
  return 0;
}
