/* A program that handles SQLite's own VFS objects. objects HOW: copy, replace, slots, unregister, none, shutdown, or still. */
#include "host.h"

static int opens;
static int (*former)(sqlite3_vfs *, const char *, sqlite3_file *, int, int *);
static int counted_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out) {
  if (flags & SQLITE_OPEN_MAIN_DB) opens++;
  return former(vfs, name, file, flags, out);
}
static int deletes;
static int (*former_delete)(sqlite3_vfs *, const char *, int);
static int counted_delete(sqlite3_vfs *vfs, const char *name, int sync) { deletes++; return former_delete(vfs, name, sync); }
static int (*former_sleep)(sqlite3_vfs *, int);
static int counted_sleep(sqlite3_vfs *vfs, int us) { (void)us; return former_sleep(vfs, 1); }

static void listed(void) {
  printf("list:");
  for (sqlite3_vfs *v = sqlite3_vfs_find(0); v; v = v->pNext) printf(" %s/%d/%d", v->zName, v->iVersion, v->szOsFile);
  printf("\n");
}
static void named(const char *name, const char *vfs) {
  sqlite3 *db = open_named(name, vfs);
  char *text = 0;
  sqlite3_file_control(db, "main", SQLITE_FCNTL_VFSNAME, &text);
  printf("VFS name %s\n", text ? text : "-");
  sqlite3_free(text);
  closed(db);
}

static void copied(void) {
  static sqlite3_vfs early, late, standard;
  early = *sqlite3_vfs_find("unix");
  early.zName = "early", early.pNext = 0;
  sqlite3_vfs_register(&early, 0);
  use("early.db", "early", "wal"), named("early.db", "early");
  use("plain.db", 0, "wal");
  late = *sqlite3_vfs_find("unix-excl");
  late.zName = "late", late.pNext = 0;
  sqlite3_vfs_register(&late, 0);
  use("late.db", "late", "delete"), named("late.db", "late");
  standard = *sqlite3_vfs_find(0);
  standard.zName = "standard", standard.pNext = 0;
  sqlite3_vfs_register(&standard, 1);
  use("standard.db", 0, "wal"), named("standard.db", 0);
  printf("same functions: %d %d %d\n", early.xOpen == late.xOpen, early.xDelete == late.xDelete, standard.xSleep == early.xSleep);
  sqlite3_vfs_unregister(&standard), sqlite3_vfs_unregister(&early);
  memset(&standard, 0x55, sizeof standard), memset(&early, 0x55, sizeof early);
  use("after.db", 0, "delete");
  listed();
}
static void replaced(void) {
  sqlite3_vfs *vfs = sqlite3_vfs_find("unix");
  former = vfs->xOpen;
  vfs->xOpen = counted_open;
  use("replaced.db", 0, "wal"), printf("opens %d\n", opens);
  printf("still mine: %d\n", vfs->xOpen == counted_open);
  sqlite3_shutdown(), sqlite3_initialize();
  use("again.db", "unix", "delete"), printf("opens %d\n", opens);
  printf("still mine: %d\n", vfs->xOpen == counted_open);
  vfs->xOpen = former;
  use("restored.db", 0, "wal"), printf("opens %d\n", opens);
  printf("still restored: %d\n", vfs->xOpen == former);
}
static void slots(void) {
  for (sqlite3_vfs *v = sqlite3_vfs_find(0); v; v = v->pNext) {
    if (strncmp(v->zName, "unix", 4)) continue;
    former = v->xOpen, former_delete = v->xDelete, former_sleep = v->xSleep;
    v->xOpen = counted_open, v->xDelete = counted_delete, v->xSleep = counted_sleep;
  }
  use("slots.db", 0, "delete"), use("slots.db", "unix-excl", "wal"), use("dot.db", "unix-dotfile", "delete");
  sqlite3 *one = open_named("slots.db", 0), *two = open_named("slots.db", 0);
  sqlite3_busy_timeout(two, 100);
  run(one, "BEGIN EXCLUSIVE"), run(two, "SELECT * FROM t"), run(one, "COMMIT");
  closed(one), closed(two);
  printf("opens %d deletes %d\n", opens, deletes);
}
static void unregistered(void) {
  listed();
  sqlite3_vfs *standard = sqlite3_vfs_find(0);
  printf("default %s\n", standard->zName);
  sqlite3_vfs_unregister(standard);
  listed();
  use("gone.db", 0, "delete"), named("gone.db", 0), use("gone.db", "unix", "delete");
  sqlite3_vfs_register(standard, 1);
  listed();
  use("back.db", 0, "wal"), named("back.db", 0);
  sqlite3_vfs *unix_vfs = sqlite3_vfs_find("unix");
  sqlite3_vfs_unregister(unix_vfs);
  use("gone2.db", 0, "delete"), use("gone2.db", "unix", "delete");
  listed();
  sqlite3_vfs_register(unix_vfs, 0);
  listed();
  use("back2.db", "unix", "delete"), use("back2.db", 0, "delete");
  sqlite3_vfs_register(unix_vfs, 1);
  listed();
}
static void none(void) {
  sqlite3_vfs *all[20];
  int n = 0;
  use("before.db", 0, "wal");
  for (sqlite3_vfs *v; n < 20 && (v = sqlite3_vfs_find(0)); n++) all[n] = v, sqlite3_vfs_unregister(v);
  printf("unregistered %d\n", n);
  listed();
  named("none.db", 0), named("none.db", "unix");
  while (n--) sqlite3_vfs_register(all[n], 1);
  listed();
  use("all.db", 0, "wal");
}
static void shut(void) {
  for (int i = 0; i < 20; i++) {
    use("shut.db", i % 3 ? 0 : "unix-excl", i % 2 ? "wal" : "delete");
    printf("shutdown %d, left %lld\n", sqlite3_shutdown(), (long long)sqlite3_memory_used());
    printf("initialize %d\n", sqlite3_initialize());
    listed();
  }
}
/* The objects are the same bytes after any number of opens. */
static void still(void) {
  sqlite3_initialize();
  static sqlite3_vfs was[4];
  const char *names[] = {"unix", "unix-none", "unix-dotfile", "unix-excl"};
  for (int i = 0; i < 4; i++) was[i] = *sqlite3_vfs_find(names[i]);
  printf("one xOpen: %d\n", was[0].xOpen == was[1].xOpen && was[1].xOpen == was[2].xOpen && was[2].xOpen == was[3].xOpen);
  use("still.db", 0, "wal"), use("still.db", "unix-excl", "delete");
  for (int i = 0; i < 4; i++) printf("%s as before: %d\n", names[i], !memcmp(&was[i], sqlite3_vfs_find(names[i]), sizeof was[i]));
}

int main(int argc, char **argv) {
  const char *how = argc > 1 ? argv[1] : "";
  start();
  if (!strcmp(how, "copy")) copied();
  if (!strcmp(how, "replace")) replaced();
  if (!strcmp(how, "slots")) slots();
  if (!strcmp(how, "unregister")) unregistered();
  if (!strcmp(how, "none")) none();
  if (!strcmp(how, "shutdown")) shut();
  if (!strcmp(how, "still")) still();
  return 0;
}
