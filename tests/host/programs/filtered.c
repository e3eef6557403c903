/* A program under a strict seccomp filter, which kills it at any call that is not in ALLOW (numbers; no filter where it is unset).
**
** filtered WHEN WHAT. WHEN: early, before the first open; late, after both journal modes have been used.
** FILTER_BY names how it is installed: prctl (by default), seccomp (by syscall(3)), raw (by the instruction, as Go does).
** WHAT: all (opens, closes, refusals, a thread), or on connections that are open: same (1,000 transactions of the same statements), new
** (of ever new ones), refused (1,000 refusals). */
#include "host.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

static long raw(long number, long a, long b, long c) {
#ifdef __x86_64__
  long rc;
  register long fourth __asm__("r10") = 0;
  register long fifth __asm__("r8") = 0;
  __asm__ volatile("syscall" : "=a"(rc) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth) : "rcx", "r11", "memory");
  return rc;
#else
  return syscall(number, a, b, c, 0, 0);
#endif
}
static void filter(const char *allowed) {
  static struct sock_filter code[900];
  int n = 0;
  code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
  while (n < 800 && *allowed) {
    char *end;
    long nr = strtol(allowed, &end, 10);
    if (end == allowed) break;
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    allowed = end;
  }
  code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
  struct sock_fprog program = {n, code};
  const char *by = getenv("FILTER_BY");
  long rc = -1;
  if (!by || !strcmp(by, "prctl")) {
    rc = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
  } else if (!strcmp(by, "seccomp")) {
    rc = syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
  } else {
    rc = raw(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0) || raw(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, (long)&program);
  }
  if (rc) _exit(9);
}

static void *thread(void *unused) {
  (void)unused;
  use("thread.db", 0, "wal");
  return 0;
}
static void all(void) {
  for (int i = 0; i < 5; i++) use("wal.db", 0, "wal"), use("delete.db", 0, "delete");
  pthread_t id;
  pthread_create(&id, 0, thread, 0);
  pthread_join(id, 0);
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  const char *what = argv[2], *allowed = getenv("ALLOW");
  start();
  if (!strcmp(argv[1], "late")) all();
  sqlite3 *one = 0, *two = 0;
  char sql[200];
  sqlite3_stmt *insert = 0, *select = 0;
  if (strcmp(what, "all")) {
    one = open_named("steady.db", 0), two = open_named("steady.db", 0);
    run(one, "PRAGMA journal_mode=wal"), run(one, "PRAGMA synchronous=off"), run(one, "PRAGMA wal_autocheckpoint=100"), run(one, "CREATE TABLE t(x)"), run(two, "SELECT * FROM t");
    sqlite3_prepare_v2(one, "INSERT INTO t VALUES(?1)", -1, &insert, 0), sqlite3_prepare_v2(two, "SELECT max(x) FROM t", -1, &select, 0);
    if (!strcmp(what, "refused")) run(two, "BEGIN IMMEDIATE");
  }
  int bad = 0;
  for (int i = -200; i < 1000; i++) {
    if (i == 0) {
      syscall(SYS_getppid, 4711);
      if (allowed) filter(allowed);
      if (!strcmp(what, "all")) { all(); break; }
    }
    if (!strcmp(what, "same")) {
      bad += sqlite3_bind_int(insert, 1, i) || sqlite3_step(insert) != SQLITE_DONE || sqlite3_reset(insert);
      bad += sqlite3_step(select) != SQLITE_ROW || sqlite3_reset(select);
    } else if (!strcmp(what, "new")) {
      snprintf(sql, sizeof sql, "INSERT INTO t VALUES(%d)", i), bad += quiet(one, sql) != 0;
      snprintf(sql, sizeof sql, "SELECT %d, max(x) FROM t", i), bad += quiet(two, sql) != 0;
    } else if (!strcmp(what, "refused")) {
      bad += quiet(one, "INSERT INTO t VALUES(1)") != SQLITE_BUSY;
    }
  }
  printf("%d went wrong\n", bad);
  syscall(SYS_getpgrp, 4711);
  _exit(0);
}
