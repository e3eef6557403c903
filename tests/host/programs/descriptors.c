/* Descriptors that are the program's. descriptors HOW:
**   second: 0, 1 and 2 are closed, and its data file has number 2;
**   last: one more descriptor than there are may be open, and one thread needs it while another runs new statements;
**   none: at the limit, with a database that is open already;
**   closefrom: everything from 3 on is closed, then a database is opened; and once more while one is open;
**   numbers: the numbers that open(2) gives, between whatever SQLite does;
**   reused: what was the recorder's number, if it had one, is the program's now. */
#include "host.h"
#include <dirent.h>


static void second(void) {
  close(0), close(1), close(2);
  int first = open("/dev/null", O_RDONLY), report = open("report", O_RDWR | O_CREAT | O_TRUNC, 0600);
  int data = open("data.bin", O_RDWR | O_CREAT | O_TRUNC, 0600);
  if (first != 0 || report != 1 || data != 2) _exit(9);
  int bad = write(data, "HEADER--", 8) != 8;
  char sql[100];
  for (int i = 0; i < 3; i++) {
    sqlite3 *db = 0;
    snprintf(sql, sizeof sql, "second-%d.db", i);
    bad += sqlite3_open(sql, &db) || quiet(db, "PRAGMA journal_mode=wal; CREATE TABLE IF NOT EXISTS t(x)");
    for (int j = 0; j < 200; j++) snprintf(sql, sizeof sql, "INSERT INTO t VALUES(%d)", j), bad += quiet(db, sql);
    bad += write(data, "PAYLOAD!", 8) != 8;
    sqlite3_close(db);
  }
  char buffer[5000];
  lseek(data, 0, SEEK_SET);
  ssize_t n = read(data, buffer, sizeof buffer - 1);
  buffer[n > 0 ? n : 0] = 0;
  dprintf(1, "%d failed; the data file has %zd bytes: %s\n", bad, n, buffer);
}

static volatile int stop;
static void *statements(void *db) {
  char sql[100];
  long bad = 0;
  for (long i = 0; !stop; i++) snprintf(sql, sizeof sql, "SELECT %ld, count(*) FROM t", i), bad += quiet(db, sql) != 0;
  return (void *)bad;
}
static void limited(int more) {
  int top = open("/dev/null", O_RDONLY);
  struct rlimit limit = {top + more, top + more};
  close(top);
  setrlimit(RLIMIT_NOFILE, &limit);
}
static void last(void) {
  sqlite3 *db = 0;
  sqlite3_open("last.db", &db);
  quiet(db, "PRAGMA journal_mode=wal; CREATE TABLE t(x); INSERT INTO t VALUES(1); SELECT * FROM t");
  limited(1);
  pthread_t thread;
  void *bad;
  pthread_create(&thread, 0, statements, db);
  int failed = 0, databases = 0;
  for (int i = 0; i < 100000; i++) {
    int fd = open("/dev/null", O_RDONLY);
    if (fd < 0) failed++; else close(fd);
  }
  for (int i = 0; i < 300; i++) {
    sqlite3 *other = 0;
    sqlite3_open("other.db", &other);
    databases += quiet(other, "PRAGMA schema_version") != 0;
    sqlite3_close(other);
  }
  stop = 1;
  pthread_join(thread, &bad);
  printf("opens: %d of 100000 failed; databases: %d of 300 failed; statements failed: %ld\n", failed, databases, (long)bad);
}
static void none(void) {
  sqlite3 *one = open_named("none.db", 0), *two = open_named("none.db", 0);
  quiet(one, "PRAGMA journal_mode=wal; CREATE TABLE t(x); SELECT * FROM t"), quiet(two, "SELECT * FROM t");
  limited(0);
  char sql[100];
  int bad = 0, refused = 0;
  for (int i = 0; i < 3000; i++) {
    snprintf(sql, sizeof sql, "INSERT INTO t VALUES(%d)", i), bad += quiet(one, sql) != 0;
    if (i % 100) continue;
    quiet(one, "BEGIN IMMEDIATE"), refused += quiet(two, sql) == SQLITE_BUSY, quiet(one, "ROLLBACK");
  }
  printf("%d failed, %d refused\n", bad, refused);
  sqlite3 *three = open_named("never.db", 0);
  printf("system errno %d\n", sqlite3_system_errno(three));
  closed(three), closed(two), closed(one);
}
static void all_closed(void) {
  closefrom(3);
  use("one.db", 0, "wal"), use("one.db", 0, "delete");
  closefrom(3);
  use("two.db", 0, "wal");
  for (int fd = 3; fd < 1024; fd++) close(fd);
  use("two.db", 0, "delete");
  /* And as a daemon does it that forks first. */
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    closefrom(3);
    use("child.db", 0, "wal");
    fflush(stdout), _exit(0);
  }
  int status;
  waitpid(child, &status, 0);
  printf("child %x\n", status);
}
static void next(const char *when) {
  int fd = open("/dev/null", O_RDONLY), pair[2], same = dup(1);
  if (pipe(pair)) return;
  printf("%s: %d %d %d %d;", when, fd, same, pair[0], pair[1]);
  close(fd), close(same), close(pair[0]), close(pair[1]);
  DIR *fds = opendir("/proc/self/fd");
  int all[64], n = 0;
  for (struct dirent *entry; (entry = readdir(fds));) if (*entry->d_name != '.' && n < 64) all[n++] = atoi(entry->d_name);
  for (int i = 0; i < n; i++) for (int j = 0; j < i; j++) if (all[i] < all[j]) { int was = all[i]; all[i] = all[j], all[j] = was; }
  for (int i = 0; i < n; i++) printf(" %d", all[i]);
  printf("\n");
  closedir(fds);
}
static void numbers(void) {
  char sql[100];
  next("start");
  sqlite3_initialize();
  next("initialized");
  sqlite3 *one = open_named("numbers.db", 0);
  next("opened");
  run(one, "PRAGMA journal_mode=wal"), run(one, "CREATE TABLE t(x)");
  next("created");
  sqlite3 *two = open_named("numbers.db", 0);
  run(one, "BEGIN IMMEDIATE"), run(two, "INSERT INTO t VALUES(1)"), run(one, "COMMIT");
  next("refused");
  for (int i = 0; i < 1000; i++) snprintf(sql, sizeof sql, "INSERT INTO t VALUES(%d)", i), quiet(one, sql);
  next("many");
  closed(two);
  next("one closed");
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    next("child");
    use("child.db", 0, "wal");
    next("child used");
    fflush(stdout), _exit(0);
  }
  waitpid(child, 0, 0);
  closed(one);
  next("end");
}
/* Numbers up to 63 are all taken by files of the program, whose content must stay what it is. */
static void reused(void) {
  use("before.db", 0, "wal");
  int files[64], bad = 0;
  char text[20];
  for (int i = 3; i < 64; i++) {
    snprintf(text, sizeof text, "file-%d", i);
    int fd = open(text, O_RDWR | O_CREAT | O_TRUNC, 0600);
    files[i] = dup2(fd, i);
    if (fd != i) close(fd);
    if (write(i, text, strlen(text)) < 0) bad++;
  }
  sqlite3 *db = open_named("reused.db", 0);
  quiet(db, "CREATE TABLE t(x)");
  for (int i = 0; i < 1000; i++) { char sql[100]; snprintf(sql, sizeof sql, "INSERT INTO t VALUES(%d)", i), quiet(db, i < 100 ? sql : "SELECT * FROM t"); }
  closed(db);
  for (int i = 3; i < 64; i++) {
    char was[40] = "";
    snprintf(text, sizeof text, "file-%d", i);
    bad += pread(files[i], was, sizeof was - 1, 0) != (ssize_t)strlen(text) || strcmp(was, text);
  }
  printf("%d files differ\n", bad);
}

int main(int argc, char **argv) {
  const char *how = argc > 1 ? argv[1] : "";
  start();
  if (!strcmp(how, "second")) second();
  if (!strcmp(how, "last")) last();
  if (!strcmp(how, "none")) none();
  if (!strcmp(how, "closefrom")) all_closed();
  if (!strcmp(how, "numbers")) numbers();
  if (!strcmp(how, "reused")) reused();
  return 0;
}
