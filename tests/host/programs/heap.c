/* SQLite has memory of its own (SQLITE_CONFIG_MALLOC, an arena), while malloc has none left. heap [early]: before the first open. */
#include "host.h"

static char memory[24 << 20];
static size_t used;
static void *freed[32];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Blocks of powers of two, each after 16 bytes that have its size. */
static int rounded(int n) { int size = 32; while (size < n) size *= 2; return size; }
static void *arena_malloc(int n) {
  int size = rounded(n), list = __builtin_ctz(size);
  pthread_mutex_lock(&lock);
  char *p = freed[list];
  if (p) freed[list] = *(void **)p;
  else if (used + size + 16 <= sizeof memory) p = memory + used + 16, used += size + 16, *(int *)(p - 16) = size;
  pthread_mutex_unlock(&lock);
  return p;
}
static int arena_size(void *p) { return p ? *(int *)((char *)p - 16) : 0; }
static void arena_free(void *p) {
  if (!p) return;
  int list = __builtin_ctz(arena_size(p));
  pthread_mutex_lock(&lock);
  *(void **)p = freed[list], freed[list] = p;
  pthread_mutex_unlock(&lock);
}
static void *arena_realloc(void *p, int n) {
  if (n <= arena_size(p)) return p;
  void *larger = arena_malloc(n);
  if (larger) memcpy(larger, p, arena_size(p)), arena_free(p);
  return larger;
}
static int arena_init(void *unused) { (void)unused; return SQLITE_OK; }
static void arena_end(void *unused) { (void)unused; }
static sqlite3_mem_methods arena = {arena_malloc, arena_free, arena_realloc, arena_size, rounded, arena_init, arena_end, 0};

static void exhaust(void) {
  struct rlimit limit = {160 << 20, 160 << 20};
  setrlimit(RLIMIT_AS, &limit);
  for (size_t size = 1 << 20; size >= 16; size /= 2)
    while (malloc(size)) {}
}

int main(int argc, char **argv) {
  char sql[100];
  (void)argv;
  setvbuf(stdout, malloc(4096), _IOLBF, 4096);
  printf("config %d\n", sqlite3_config(SQLITE_CONFIG_MALLOC, &arena));
  start();
  sqlite3 *db = 0, *two = 0;
  if (argc > 1) exhaust();
  sqlite3_open("heap.db", &db), sqlite3_open("heap.db", &two);
  run(db, "PRAGMA journal_mode=wal"), run(db, "CREATE TABLE t(x)");
  if (argc == 1) exhaust();
  int bad = 0, refused = 0;
  for (int i = 0; i < 500; i++) {
    snprintf(sql, sizeof sql, "INSERT INTO t VALUES(%d)", i);
    bad += quiet(db, sql) != 0;
    if (i % 10 == 0) {
      quiet(db, "BEGIN IMMEDIATE");
      refused += quiet(two, sql) == SQLITE_BUSY;
      quiet(db, "COMMIT");
    }
  }
  printf("500 inserts, %d failed; %d refused\n", bad, refused);
  bad = 0;
  for (int i = 0; i < 20; i++) {
    sqlite3 *other = 0;
    snprintf(sql, sizeof sql, "heap-%d.db", i % 3);
    bad += sqlite3_open(sql, &other) != 0;
    bad += quiet(other, "CREATE TABLE IF NOT EXISTS t(x); INSERT INTO t VALUES(1)") != 0;
    bad += sqlite3_close(other);
  }
  printf("20 opens, %d failed\n", bad);
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    sqlite3 *own = 0;
    bad = sqlite3_open("heap-child.db", &own) + quiet(own, "CREATE TABLE t(x); INSERT INTO t VALUES(1)");
    _exit(bad);
  }
  int status = -1;
  waitpid(child, &status, 0);
  printf("child %d %x\n", child > 0, status);
  closed(two), closed(db);
  return 0;
}
