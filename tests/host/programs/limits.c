/* Limits of the process that leave less room than recording would like. limits HOW [N]:
**   memory: RLIMIT_AS is set N KiB above what the process has; what fails depends on N, how it ends does not;
**   files: RLIMIT_FSIZE is set to N KiB, with SIGXFSZ as it is;
**   stacks: threads with ever smaller stacks use SQLite, each in a child of its own; the smallest that works;
**   no-processes: RLIMIT_NPROC 0;  cpu: RLIMIT_CPU, never reached;  core: the process is not dumpable. */
#include "host.h"
#include <limits.h>
#include <sys/prctl.h>

static long kib_now(void) {
  long pages = 0;
  FILE *statm = fopen("/proc/self/statm", "r");
  if (!statm || fscanf(statm, "%ld", &pages) != 1) return 0;
  fclose(statm);
  return pages * (sysconf(_SC_PAGESIZE) / 1024);
}
static void limit(int what, rlim_t n) {
  struct rlimit limit = {n, n};
  if (setrlimit(what, &limit)) printf("setrlimit failed\n");
}
static int work(void) {
  int bad = 0;
  char sql[100];
  for (int i = 0; i < 6; i++) {
    sqlite3 *one = 0, *two = 0;
    snprintf(sql, sizeof sql, "limits-%d.db", i % 3);
    bad += sqlite3_open(sql, &one) != 0, bad += sqlite3_open(sql, &two) != 0;
    bad += quiet(one, i % 2 ? "PRAGMA synchronous=off; PRAGMA journal_mode=wal" : "PRAGMA synchronous=off; PRAGMA journal_mode=delete") != 0;
    bad += quiet(one, "CREATE TABLE IF NOT EXISTS t(x)") != 0;
    for (int j = 0; j < 100; j++) snprintf(sql, sizeof sql, "UPDATE t SET x = %d", j), bad += quiet(one, sql) != 0;
    bad += quiet(one, "BEGIN IMMEDIATE") != 0, bad += quiet(two, "INSERT INTO t VALUES(1)") != SQLITE_BUSY, bad += quiet(one, "COMMIT") != 0;
    bad += sqlite3_close(one) != 0, bad += sqlite3_close(two) != 0;
  }
  return bad;
}
static void *thread(void *unused) { (void)unused; return (void *)(long)work(); }

/* Exit code 0 where a thread with this stack does its work. A database is open already, so that the recorder is ready, as it would be. */
static int with_stack(size_t size) {
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    pthread_attr_t attributes;
    pthread_t id;
    void *bad = (void *)1;
    pthread_attr_init(&attributes);
    if (pthread_attr_setstacksize(&attributes, size) || pthread_create(&id, &attributes, thread, 0)) _exit(3);
    pthread_join(id, &bad);
    _exit(bad != 0);
  }
  int status = 1;
  waitpid(child, &status, 0);
  return status;
}

int main(int argc, char **argv) {
  const char *how = argc > 1 ? argv[1] : "";
  long n = argc > 2 ? atol(argv[2]) : 0;
  start();
  if (!strcmp(how, "memory")) {
    long now = kib_now();
    limit(RLIMIT_AS, (now + n) << 10);
    int bad = work();
    printf("%s\n", bad ? "some failed" : "all well");
    pid_t child = fork();
    if (child == 0) _exit(work() != 0);
    int status = 0;
    if (child > 0) waitpid(child, &status, 0);
    printf("child: %s\n", child < 0 ? "none" : WIFSIGNALED(status) ? "killed" : "exited");
    return 0;
  }
  if (!strcmp(how, "files")) limit(RLIMIT_FSIZE, n << 10), printf("%d went wrong\n", work());
  if (!strcmp(how, "no-processes")) limit(RLIMIT_NPROC, 0), printf("%d went wrong\n", work());
  if (!strcmp(how, "cpu")) limit(RLIMIT_CPU, 30), printf("%d went wrong\n", work());
  if (!strcmp(how, "core")) prctl(PR_SET_DUMPABLE, 0), printf("%d went wrong\n", work());
  if (!strcmp(how, "stacks")) {
    use("stacks.db", 0, "wal");
    size_t size = 96 << 10, least = size;
    for (; size >= (size_t)PTHREAD_STACK_MIN; size -= 2 << 10) {
      if (with_stack(size)) break;
      least = size;
    }
    FILE *file = fopen("least", "w");
    fprintf(file, "%zu\n", least >> 10), fclose(file);
  }
  return 0;
}
