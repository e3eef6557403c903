/* A program that is not linked to SQLite: it loads libsqlite3.so.0 itself, uses it, and unloads it. dynamic HOW: now, lazy, deep (DEEPBIND),
** global, namespace (dlmopen), rounds (100 times), threads (four at once), by (DIRECTORY has a library whose RUNPATH alone finds the plugin). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *how;

static int row(void *unused, int n, char **values, char **names) {
  (void)unused, (void)names;
  for (int i = 0; i < n; i++) printf("  %s", values[i] ? values[i] : "null");
  return 0;
}
static void *load(void) {
  if (!strcmp(how, "lazy")) return dlopen("libsqlite3.so.0", RTLD_LAZY);
  if (!strcmp(how, "deep")) return dlopen("libsqlite3.so.0", RTLD_NOW | RTLD_DEEPBIND);
  if (!strcmp(how, "global")) return dlopen("libsqlite3.so.0", RTLD_NOW | RTLD_GLOBAL);
  if (!strcmp(how, "namespace")) return dlmopen(LM_ID_NEWLM, "libsqlite3.so.0", RTLD_NOW);
  return dlopen("libsqlite3.so.0", RTLD_NOW);
}
static int once(const char *name, int say) {
  void *library = load();
  if (!library) {
    printf("%s\n", dlerror());
    return 1;
  }
  int (*open)(const char *, void **) = (int (*)(const char *, void **))dlsym(library, "sqlite3_open");
  int (*close)(void *) = (int (*)(void *))dlsym(library, "sqlite3_close");
  int (*exec)(void *, const char *, void *, void *, char **) = (int (*)(void *, const char *, void *, void *, char **))dlsym(library, "sqlite3_exec");
  const char *statements[] = {"PRAGMA journal_mode=wal", "CREATE TABLE IF NOT EXISTS t(x)", "INSERT INTO t VALUES(1)", "BEGIN IMMEDIATE", "ROLLBACK"};
  void *one = 0, *two = 0;
  int bad = open(name, &one) || open(name, &two);
  for (int i = 0; i < 5; i++) bad += exec(one, statements[i], say ? (void *)row : 0, 0, 0) != 0;
  bad += exec(one, "BEGIN IMMEDIATE", 0, 0, 0) != 0;
  int busy = exec(two, "INSERT INTO t VALUES(2)", 0, 0, 0);
  bad += exec(one, "COMMIT", 0, 0, 0) != 0;
  bad += close(one) != 0, bad += close(two) != 0;
  if (say) printf("%d went wrong, %d\n", bad, busy);
  int rc = dlclose(library);
  if (say) printf("unload %d, gone %d\n", rc, dlopen("libsqlite3.so.0", RTLD_NOW | RTLD_NOLOAD) == 0);
  return bad + (busy != 5);
}
static void *thread(void *name) {
  long bad = 0;
  for (int i = 0; i < 30; i++) bad += once(name, 0);
  return (void *)bad;
}

int main(int argc, char **argv) {
  setvbuf(stdout, 0, _IOLBF, 0);
  how = argc > 1 ? argv[1] : "now";
  if (!strcmp(how, "rounds")) {
    int bad = 0;
    for (int i = 0; i < 100; i++) bad += once("rounds.db", 0);
    printf("%d went wrong, gone %d\n", bad, dlopen("libsqlite3.so.0", RTLD_NOW | RTLD_NOLOAD) == 0);
  } else if (!strcmp(how, "threads")) {
    pthread_t threads[4];
    char *names[] = {"t0.db", "t1.db", "t2.db", "t3.db"};
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], 0, thread, names[i]);
    for (int i = 0; i < 4; i++) {
      void *bad;
      pthread_join(threads[i], &bad);
      printf("thread %d: %ld went wrong\n", i, (long)bad);
    }
  } else if (!strcmp(how, "by") && argc > 2) {
    /* The library is found by its path; the plugin only by what the library says, as the loader's rules are. */
    char path[600];
    snprintf(path, sizeof path, "%s/libcaller.so", argv[2]);
    printf("by itself: %d\n", dlopen("libplugin-of-caller.so", RTLD_NOW) != 0);
    void *caller = dlopen(path, RTLD_NOW);
    int (*call)(void) = caller ? (int (*)(void))dlsym(caller, "call") : 0;
    printf("by the library: %d\n", call ? call() : -9);
    printf("no such: %d, %d\n", dlopen("libno-such.so", RTLD_NOW) == 0, dlerror() != 0);
    printf("the program: %d\n", dlopen(0, RTLD_NOW) != 0);
  } else {
    once("dynamic.db", 1), once("dynamic.db", 1);
  }
  return 0;
}
