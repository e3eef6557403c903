/* A program with plugins. loader load|twice PLUGIN: dlopen, one call, dlclose. loader slow PLUGIN: opens databases while the constructor runs.
** loader reload ONE TWO: the plugin's file is replaced between two loads. loader rounds N PLUGIN: the same module again and again; with a
** database of the program's own between, where HOST_BETWEEN is set. */
#include "host.h"
#include <dlfcn.h>
#include <link.h>

int inside, released;

static int call(void *module) {
  int (*version)(void) = (int (*)(void))dlsym(module, "version");
  return version ? version() : -2;
}
static void *loaded(const char *name) {
  void *module = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (!module) printf("%s\n", dlerror()), exit(3);
  return module;
}
static void *in_thread(void *name) {
  void *module = loaded(name);
  printf("version %d\n", call(module));
  printf("unload %d\n", dlclose(module));
  return 0;
}
static void copy(const char *from, const char *to) {
  char buffer[4096];
  ssize_t n;
  int in = open(from, O_RDONLY), out = open("fresh", O_WRONLY | O_CREAT | O_TRUNC, 0700);
  while ((n = read(in, buffer, sizeof buffer)) > 0)
    if (write(out, buffer, n) != n) exit(4);
  close(in), close(out);
  if (rename("fresh", to)) exit(5);
}
/* Whether a file of this name is still mapped. */
static int mapped(const char *name) {
  char line[600];
  int found = 0;
  FILE *maps = fopen("/proc/self/maps", "r");
  while (fgets(line, sizeof line, maps)) found |= strstr(line, name) != 0;
  fclose(maps);
  return found;
}

int main(int argc, char **argv) {
  start();
  if (argc < 3) return 2;
  if (!strcmp(argv[1], "twice")) use("own.db", 0, "wal");
  if (!strcmp(argv[1], "load") || !strcmp(argv[1], "twice")) {
    in_thread(argv[2]);
    if (!strcmp(argv[1], "twice")) in_thread(argv[2]);
  }
  if (!strcmp(argv[1], "slow")) {
    pthread_t thread;
    use("own.db", 0, "wal");
    pthread_create(&thread, 0, in_thread, argv[2]);
    while (!__atomic_load_n(&inside, __ATOMIC_SEQ_CST)) usleep(100);
    /* The constructor returns only when these are done. */
    use("own.db", 0, "wal"), use("other.db", "unix-excl", "delete");
    __atomic_store_n(&released, 1, __ATOMIC_SEQ_CST);
    pthread_join(thread, 0);
  }
  if (!strcmp(argv[1], "reload")) {
    for (int i = 0; i < 6; i++) {
      copy(argv[2 + i % 2], "plugin.so");
      void *module = loaded("./plugin.so");
      printf("reload %d: version %d", i, call(module));
      printf(" unload %d", dlclose(module));
      printf(" still there %d\n", mapped("plugin.so"));
    }
  }
  if (!strcmp(argv[1], "rounds")) {
    int good = 0, between = getenv("HOST_BETWEEN") != 0;
    for (int i = 0; i < atoi(argv[2]); i++) {
      void *module = loaded(argv[3]);
      good += call(module) > 0;
      dlclose(module);
      if (between && i % 50 == 0) {
        sqlite3 *db = 0;
        good -= sqlite3_open("between.db", &db) || quiet(db, "CREATE TABLE IF NOT EXISTS t(x); INSERT INTO t VALUES(1)") || sqlite3_close(db);
      }
    }
    printf("%d good\n", good);
    printf("unloaded each time: %d\n", !mapped(argv[3]));
  }
  use("end.db", 0, "wal");
  return 0;
}
