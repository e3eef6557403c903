/* Signals and children without end, while databases are used. storms HOW: signals (to every thread, on a small stack of their own),
** timer (SIGALRM that interrupts calls), stops (SIGSTOP and SIGCONT), forks, exits (threads that come and go), queries (a handler that reads). */
#include "host.h"

static volatile int stop;
static volatile long handled;
static void handler(int signal) { (void)signal; __sync_fetch_and_add(&handled, 1); }

/* SQLite itself cannot stand a fork while another thread is inside it. */
static pthread_rwlock_t inside = PTHREAD_RWLOCK_INITIALIZER;

static int work(const char *name, int rounds) {
  char sql[200];
  int bad = 0;
  for (int i = 0; i < rounds; i++) {
    pthread_rwlock_rdlock(&inside);
    sqlite3 *one = 0, *two = 0;
    bad += sqlite3_open(name, &one) || sqlite3_open(name, &two);
    bad += quiet(one, i % 2 ? "PRAGMA journal_mode=wal" : "PRAGMA journal_mode=delete") != 0;
    bad += quiet(one, "PRAGMA synchronous=off; CREATE TABLE IF NOT EXISTS t(x)") != 0;
    for (int j = 0; j < 40; j++) snprintf(sql, sizeof sql, "INSERT INTO t VALUES(%d)", j), bad += quiet(one, sql) != 0;
    bad += quiet(one, "BEGIN IMMEDIATE") != 0, bad += quiet(two, "INSERT INTO t VALUES(1)") != SQLITE_BUSY, bad += quiet(one, "COMMIT") != 0;
    bad += sqlite3_close(one) || sqlite3_close(two);
    pthread_rwlock_unlock(&inside);
  }
  return bad;
}
struct task { const char *name; int rounds, bad; pthread_t id; };
static void *thread(void *p) {
  struct task *task = p;
  /* A handler that needs more than this of its stack would be killed. */
  stack_t stack = {.ss_sp = malloc(16 << 10), .ss_size = 16 << 10};
  sigaltstack(&stack, 0);
  task->bad = work(task->name, task->rounds);
  return 0;
}
static int threads(int rounds, void (*meanwhile)(pthread_t)) {
  struct task tasks[3] = {{"s0.db", rounds}, {"s1.db", rounds}, {"s2.db", rounds}};
  int bad = 0;
  for (int i = 0; i < 3; i++) pthread_create(&tasks[i].id, 0, thread, &tasks[i]);
  for (int i = 0; i < 3; i++) {
    while (pthread_tryjoin_np(tasks[i].id, 0)) {
      for (int j = i; meanwhile && j < 3; j++) if (j == i) meanwhile(tasks[j].id);
      usleep(50);
    }
    bad += tasks[i].bad;
  }
  return bad;
}
static void shoot(pthread_t id) { pthread_kill(id, SIGUSR1); }

int main(int argc, char **argv) {
  const char *how = argc > 1 ? argv[1] : "";
  start();
  struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
  sigaction(SIGUSR1, &action, 0);
  sigaction(SIGALRM, &action, 0);
  if (!strcmp(how, "signals")) printf("%d went wrong, handled %d\n", threads(40, shoot), handled > 100);
  if (!strcmp(how, "timer")) {
    struct itimerval often = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &often, 0);
    int bad = work("timer.db", 60);
    setitimer(ITIMER_REAL, &never, 0);
    printf("%d went wrong, handled %d\n", bad, handled > 10);
  }
  if (!strcmp(how, "stops")) {
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
      for (int i = 0; i < 100; i++) {
        if (kill(parent, SIGSTOP)) break;
        usleep(500);
        kill(parent, SIGCONT);
        usleep(1000);
      }
      _exit(0);
    }
    int bad = 0, status = 1;
    while (waitpid(child, &status, WNOHANG) == 0) bad += threads(2, 0);
    printf("%d went wrong, %x\n", bad, status);
  }
  if (!strcmp(how, "forks")) {
    struct task tasks[2] = {{"s0.db", 80}, {"s1.db", 80}};
    char name[40];
    int bad = 0;
    sqlite3 *open = open_named("parent.db", 0);
    quiet(open, "PRAGMA journal_mode=wal; CREATE TABLE t(x)");
    for (int i = 0; i < 2; i++) pthread_create(&tasks[i].id, 0, thread, &tasks[i]);
    for (int i = 0; i < 40; i++) {
      pthread_rwlock_wrlock(&inside);
      pid_t child = fork();
      if (child) pthread_rwlock_unlock(&inside);
      if (child == 0) {
        pthread_rwlock_init(&inside, 0);
        snprintf(name, sizeof name, "child-%d.db", i % 10);
        if (i % 10 == 9) { /* and a grandchild */
          pid_t grandchild = fork();
          if (grandchild == 0) _exit(work("grandchild.db", 1) != 0);
          int status = 1;
          waitpid(grandchild, &status, 0);
          if (status) _exit(2);
        }
        _exit(work(name, 1) != 0);
      }
      int status = 1;
      waitpid(child, &status, 0);
      bad += status != 0;
      bad += quiet(open, "INSERT INTO t VALUES(1)") != 0;
    }
    for (int i = 0; i < 2; i++) pthread_join(tasks[i].id, 0), bad += tasks[i].bad;
    closed(open);
    printf("%d went wrong\n", bad);
  }
  if (!strcmp(how, "exits")) {
    int bad = 0;
    for (int i = 0; i < 150; i++) {
      struct task task = {"exits.db", 1, 0, 0};
      pthread_create(&task.id, 0, thread, &task);
      pthread_join(task.id, 0);
      bad += task.bad;
    }
    printf("%d went wrong\n", bad);
  }
  return 0;
}
