/* A VFS over the default one that passes names of its own for journals and WALs, as SQLite's multiplexor and naming shims do.
**
** renamed COPY: how a name is made. malloc: a plain copy. filename: sqlite3_create_filename. after, before: a page of its own, with
** an unreadable one after or before it, so that who reads beyond the name is killed. database: plain copies, the database's own too.
** null: journals are temporary files, without a name. */
#include "host.h"

static sqlite3_vfs *base, mine;
static const char *copy;

static int is_journal(const char *name) {
  const char *last = strrchr(name, '/');
  last = last ? last : name;
  return strstr(last, "-journal") || strstr(last, "-wal") || strstr(last, "-mj");
}

static const char *renamed(const char *name) {
  char text[700];
  snprintf(text, sizeof text, "%s%s", name, is_journal(name) ? "x" : "");
  size_t n = strlen(text) + 1;
  if (!strcmp(copy, "filename")) return sqlite3_create_filename(text, "", "", 0, 0);
  if (!strcmp(copy, "after") || !strcmp(copy, "before")) {
    char *pages = mmap(0, 3 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(pages + 4096, 4096, PROT_READ | PROT_WRITE);
    return memcpy(pages + (*copy == 'b' ? 4096 : 2 * 4096 - n), text, n);
  }
  return memcpy(malloc(n), text, n);
}

static int my_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out) {
  (void)vfs;
  if (name && !strcmp(copy, "null") && (flags & SQLITE_OPEN_MAIN_JOURNAL)) {
    flags = SQLITE_OPEN_TEMP_JOURNAL | SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_EXCLUSIVE | SQLITE_OPEN_DELETEONCLOSE;
    name = 0;
  } else if (name && (is_journal(name) || !strcmp(copy, "database"))) {
    name = renamed(name);
  }
  return base->xOpen(base, name, file, flags, out);
}
static int my_delete(sqlite3_vfs *vfs, const char *name, int sync) {
  (void)vfs;
  char text[700];
  snprintf(text, sizeof text, "%s%s", name, is_journal(name) ? "x" : "");
  return base->xDelete(base, text, sync);
}
static int my_access(sqlite3_vfs *vfs, const char *name, int flags, int *out) {
  (void)vfs;
  char text[700];
  snprintf(text, sizeof text, "%s%s", name, is_journal(name) ? "x" : "");
  return base->xAccess(base, text, flags, out);
}
static int my_full(sqlite3_vfs *vfs, const char *name, int n, char *out) { (void)vfs; return base->xFullPathname(base, name, n, out); }
static int my_random(sqlite3_vfs *vfs, int n, char *out) { (void)vfs; return base->xRandomness(base, n, out); }
static int my_sleep(sqlite3_vfs *vfs, int us) { (void)vfs; return base->xSleep(base, us); }
static int my_time(sqlite3_vfs *vfs, double *out) { (void)vfs; return base->xCurrentTime(base, out); }
static int my_error(sqlite3_vfs *vfs, int n, char *out) { (void)vfs; return base->xGetLastError(base, n, out); }

int main(int argc, char **argv) {
  copy = argc > 1 ? argv[1] : "malloc";
  start();
  if (argc > 2) use("first.db", 0, "delete"); /* the default VFS has been used before */
  base = sqlite3_vfs_find(0);
  mine = (sqlite3_vfs){.iVersion = 1, .szOsFile = base->szOsFile, .mxPathname = base->mxPathname, .zName = "renamed", .xOpen = my_open,
      .xDelete = my_delete, .xAccess = my_access, .xFullPathname = my_full, .xRandomness = my_random, .xSleep = my_sleep,
      .xCurrentTime = my_time, .xGetLastError = my_error};
  printf("register %d\n", sqlite3_vfs_register(&mine, 1));
  use("delete.db", 0, "delete");
  use("truncate.db", 0, "truncate");
  use("persist.db", 0, "persist");
  use("wal.db", 0, "wal");
  /* Two databases in one transaction have a super-journal. */
  sqlite3 *db = open_named("one.db", 0);
  run(db, "ATTACH 'two.db' AS two");
  run(db, "CREATE TABLE main.t(x); CREATE TABLE two.t(x)");
  run(db, "BEGIN; INSERT INTO main.t VALUES(1); INSERT INTO two.t VALUES(1); COMMIT");
  closed(db);
  use("excl.db", "unix-excl", "wal");
  return 0;
}
