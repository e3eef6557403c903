/* Opens databases through VFSes that it names, registers, makes the default and takes away again, and prints what it sees. Nothing it
** prints may depend on whether it is traced. Each database has a name of its own, so that a trace shows which opens were seen.
** Only the declarations it needs of sqlite3.h: the header need not be installed. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct sqlite3_file { const void *methods; } sqlite3_file;
typedef struct sqlite3_vfs sqlite3_vfs;
struct sqlite3_vfs {
  int version, size, longest;
  sqlite3_vfs *next;
  const char *name;
  void *data;
  int (*open)(sqlite3_vfs *, const char *, sqlite3_file *, int, int *);
  int (*delete)(sqlite3_vfs *, const char *, int);
  int (*access)(sqlite3_vfs *, const char *, int, int *);
  int (*full)(sqlite3_vfs *, const char *, int, char *);
  void *dl[4];
  int (*randomness)(sqlite3_vfs *, int, char *);
  int (*sleep)(sqlite3_vfs *, int);
  int (*time)(sqlite3_vfs *, double *);
  int (*error)(sqlite3_vfs *, int, char *);
  int (*time64)(sqlite3_vfs *, long long *);
};
struct methods {
  int version;
  int (*close)(sqlite3_file *);
  int (*read)(sqlite3_file *, void *, int, long long);
  int (*write)(sqlite3_file *, const void *, int, long long);
};

int sqlite3_open(const char *, void **);
int sqlite3_open_v2(const char *, void **, int, const char *);
int sqlite3_close(void *);
int sqlite3_exec(void *, const char *, int (*)(void *, int, char **, char **), void *, char **);
const char *sqlite3_errmsg(void *);
sqlite3_vfs *sqlite3_vfs_find(const char *);
int sqlite3_vfs_register(sqlite3_vfs *, int);
int sqlite3_vfs_unregister(sqlite3_vfs *);
int sqlite3_config(int, ...);
int sqlite3_shutdown(void);
int sqlite3_initialize(void);

enum { RW = 6, URI = 0x46 };

static int row(void *unused, int n, char **values, char **names) {
  (void)unused, (void)n, (void)names;
  printf("  %s", values[0] ? values[0] : "null");
  return 0;
}

static void run(void *db, const char *sql) {
  char *error = 0;
  printf(" %s:", sql);
  int rc = sqlite3_exec(db, sql, row, 0, &error);
  printf(" %d %s\n", rc, error ? error : "");
}

static void *opened(const char *name, int flags, const char *vfs) {
  void *db = 0;
  int rc = sqlite3_open_v2(name, &db, flags, vfs);
  printf("open %s %s: %d %s\n", name, vfs ? vfs : "-", rc, rc ? sqlite3_errmsg(db) : "");
  if (rc == 0) return db;
  sqlite3_close(db);
  return 0;
}

static void use(const char *name, int flags, const char *vfs) {
  void *db = opened(name, flags, vfs);
  if (!db) return;
  run(db, "CREATE TABLE t(x)");
  run(db, "PRAGMA journal_mode=WAL");
  run(db, "INSERT INTO t VALUES(1)");
  run(db, "SELECT count(*) FROM t");
  char shm[100];
  const char *colon = strchr(name, ':');
  snprintf(shm, sizeof shm, "%.40s", flags == URI && colon ? colon + 1 : name);
  if (flags == URI && strchr(shm, '?')) *strchr(shm, '?') = 0;
  strcat(shm, "-shm");
  printf(" shm file: %d\n", access(shm, F_OK));
  sqlite3_close(db);
}

/* A VFS of the program's own: it counts, and hands on to another one. */
static int opens, deletes;
static int mine_open(sqlite3_vfs *v, const char *name, sqlite3_file *file, int flags, int *out) {
  sqlite3_vfs *base = v->data;
  opens++;
  return base->open(base, name, file, flags, out);
}
static int mine_delete(sqlite3_vfs *v, const char *name, int sync) {
  sqlite3_vfs *base = v->data;
  deletes++;
  return base->delete(base, name, sync);
}
static sqlite3_vfs *mine(const char *name, sqlite3_vfs *base) {
  sqlite3_vfs *v = calloc(1, sizeof *v);
  memcpy(v, base, offsetof(sqlite3_vfs, time64) + sizeof v->time64);
  v->version = base->version < 2 ? base->version : 2;
  v->next = 0, v->name = name, v->data = base, v->open = mine_open, v->delete = mine_delete;
  return v;
}
static void gone(sqlite3_vfs *v) {
  printf("unregister: %d\n", sqlite3_vfs_unregister(v));
  memset(v, 0x55, sizeof *v); /* whoever still uses it does not get far */
  free(v);
}
static void counted(void) {
  printf("opens %d deletes %d\n", opens, deletes);
  opens = deletes = 0;
}
static void found(const char *name) {
  sqlite3_vfs *v = sqlite3_vfs_find(name);
  printf("find %s: %s\n", name ? name : "-", v ? v->name : "none");
}

int main(int argc, char **argv) {
  (void)argv;
  if (argc > 1) sqlite3_config(17, 1); /* SQLITE_CONFIG_URI */
  sqlite3_vfs *raw = sqlite3_vfs_find("unix");
  sqlite3_vfs *early = mine("early", raw);
  sqlite3_vfs_register(early, 0);
  use("early.db", RW, "early");
  counted();
  found(0), found("unix"), found("unix-excl"), found("early"), found("nobody");

  use("named.db", RW, "unix");
  use("excl.db", RW, "unix-excl");
  use("none.db", RW, "unix-none");

  use("file:uri.db?vfs=unix-excl", URI, 0);
  use("file:both.db?vfs=unix-none", URI, "unix-excl");
  use("file:plain.db?vfs=unix-none", RW, 0); /* a URI only where that is the global setting */
  use("file:mem?vfs=memdb", URI, 0);
  use("nobody.db", RW, "nobody");
  use("file:nobody.db?vfs=nobody", URI, 0);
  use("nobody.db", RW, "");
  found(0), found("unix"), found("unix-excl"), found("early"), found("nobody");

  void *db = opened("attach.db", URI, "unix-none");
  run(db, "ATTACH 'attached1.db' AS a1");
  run(db, "ATTACH 'file:attached2.db?vfs=unix-excl' AS a2");
  run(db, "ATTACH 'file:attached3.db?vfs=nobody' AS a3");
  run(db, "CREATE TABLE a1.t(x)");
  run(db, "CREATE TABLE a2.t(x)");
  sqlite3_close(db);

  sqlite3_vfs *late = mine("late", sqlite3_vfs_find(0));
  sqlite3_vfs_register(late, 0);
  use("late.db", RW, "late");
  use("file:late2.db?vfs=late", URI, 0);
  counted();
  sqlite3_vfs_register(late, 1);
  found(0);
  use("late3.db", RW, 0);
  use("late4.db", RW, "late");
  counted();
  found(0);
  use("dot.db", RW, "unix-dotfile");
  found(0), use("late6.db", RW, 0);
  counted();
  gone(late);
  found("late"), found(0);
  use("late5.db", RW, "late");
  use("file:late5.db?vfs=late", URI, 0);
  counted();
  sqlite3_vfs *again = mine("late", raw); /* most likely where the old one was */
  sqlite3_vfs_register(again, 0);
  use("again.db", RW, "late");
  counted();
  gone(again);
  gone(early);
  use("early2.db", RW, "early");

  /* Straight through the VFS, without a connection. */
  sqlite3_vfs *v = sqlite3_vfs_find(0);
  char full[600];
  printf("full %d\n", v->full(v, "direct.db", 512, full));
  sqlite3_file *file = malloc(v->size);
  int out = 0, rc = v->open(v, full, file, 0x106, &out); /* MAIN_DB, READWRITE, CREATE */
  char buffer[4] = "abc";
  const struct methods *m = file->methods;
  printf("direct %d %x write %d", rc, out, m->write(file, "xyz", 3, 0));
  rc = m->read(file, buffer, 3, 0);
  printf(" read %d %s", rc, buffer);
  rc = m->close(file);
  printf(" close %d delete %d\n", rc, v->delete(v, full, 0));
  free(file);

  sqlite3_shutdown();
  sqlite3_initialize();
  found(0), found("unix-excl");
  use("anew.db", RW, 0);
  use("anew2.db", RW, "unix-excl");
  return 0;
}
