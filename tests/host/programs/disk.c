/* A program whose database is elsewhere, while the file system of the trace directory DIR has its troubles. disk HOW DIR [N]:
**   fill: N statements; DIR's file system is filled; more; there is room again; more;
**   threads: 8 threads, N statements each;
**   removed, renamed, replaced, locked: that becomes of DIR/trace halfway. */
#include "host.h"
#include <dirent.h>
#include <sys/statfs.h>

static sqlite3 *db, *two;
static int bad, dir;

static void laps(int n, const char *kind) {
  char sql[3000];
  for (int i = 0; i < n; i++) bad += quiet(db, "SELECT * FROM t") != 0;
  for (int i = 0; i < 200; i++) {
    /* Texts as long as may be, so that names need much room. */
    snprintf(sql, sizeof sql, "SELECT x, '%s', %d, '%02000d' FROM t", kind, i, i);
    bad += quiet(db, sql) != 0;
  }
  for (int i = 0; i < 20; i++) {
    bad += quiet(db, "BEGIN IMMEDIATE") != 0;
    bad += quiet(two, "INSERT INTO t VALUES(1)") != SQLITE_BUSY;
    bad += quiet(db, "ROLLBACK") != 0;
  }
  for (int i = 0; i < 3; i++) {
    sqlite3 *other = 0;
    snprintf(sql, sizeof sql, "%s-%d.db", kind, i);
    bad += sqlite3_open(sql, &other) || quiet(other, "PRAGMA synchronous=off; CREATE TABLE t(x); INSERT INTO t VALUES(1)") || sqlite3_close(other);
  }
  syncfs(dir);
  printf("%s: %d went wrong\n", kind, bad);
}
static void fill(const char *path) {
  static char block[1 << 20];
  memset(block, 'x', sizeof block);
  int fd = open(path, O_WRONLY | O_CREAT, 0600);
  size_t sizes[] = {1 << 20, 1 << 16, 4096, 512, 1};
  for (int round = 0; round < 2; round++) {
    for (int i = 0; i < 5; i++) while (write(fd, block, sizes[i]) == (ssize_t)sizes[i]) {}
    syncfs(dir); /* what a file system had set aside for later is used now */
  }
  close(fd);
}
static void *thread(void *n) {
  sqlite3 *own = 0;
  int wrong = sqlite3_open("threads.db", &own);
  sqlite3_busy_timeout(own, 60000);
  for (int i = 0; i < *(int *)n; i++) wrong += quiet(own, "SELECT * FROM t") != 0;
  wrong += sqlite3_close(own);
  __sync_fetch_and_add(&bad, wrong);
  return 0;
}
static void removed(const char *path) {
  DIR *entries = opendir(path);
  if (!entries) return;
  for (struct dirent *entry; (entry = readdir(entries));) unlinkat(dirfd(entries), entry->d_name, 0);
  closedir(entries);
  rmdir(path);
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  const char *how = argv[1];
  char path[600], trace[600];
  int n = argc > 3 ? atoi(argv[3]) : 1000;
  start();
  dir = open(argv[2], O_RDONLY | O_DIRECTORY);
  snprintf(path, sizeof path, "%s/filler", argv[2]), snprintf(trace, sizeof trace, "%s/trace", argv[2]);
  const char *name = strcmp(how, "threads") ? "disk.db" : "threads.db";
  sqlite3_open(name, &db), sqlite3_open(name, &two);
  quiet(db, "PRAGMA journal_mode=wal; PRAGMA synchronous=off; CREATE TABLE t(x); INSERT INTO t VALUES(1)"), quiet(two, "SELECT * FROM t");
  if (!strcmp(how, "threads")) {
    pthread_t threads[8];
    for (int i = 0; i < 8; i++) pthread_create(&threads[i], 0, thread, &n);
    for (int i = 0; i < 8; i++) pthread_join(threads[i], 0);
    printf("%d went wrong\n", bad);
    return 0;
  }
  laps(n, "before");
  if (!strcmp(how, "fill")) fill(path);
  if (!strcmp(how, "removed")) removed(trace);
  if (!strcmp(how, "renamed")) { strcpy(path, trace), strcat(path, "-elsewhere"); if (rename(trace, path)) {} }
  if (!strcmp(how, "replaced")) { removed(trace); int fd = open(trace, O_WRONLY | O_CREAT, 0600); close(fd); }
  if (!strcmp(how, "locked")) chmod(trace, 0);
  laps(n, "meanwhile");
  laps(n, "still");
  if (!strcmp(how, "fill")) unlink(path);
  laps(n, "after");
  closed(two), closed(db);
  return 0;
}
