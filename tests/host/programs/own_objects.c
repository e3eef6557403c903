/* A VFS over the default one that finds its own objects again by SQLITE_FCNTL_VFS_POINTER, _FILE_POINTER and _JOURNAL_POINTER, and casts
** them, as SQLite's documentation offers. own_objects VFS: over this one, or over the default. */
#include "host.h"

typedef struct { sqlite3_file base; int magic; const char *note; sqlite3_file *real; } File;
typedef struct { sqlite3_vfs base; int magic; const char *note; } Vfs;
static sqlite3_vfs *under;
static Vfs vfs;

#define REAL(f) (((File *)(f))->real)
#define M(f) REAL(f)->pMethods
static int f_close(sqlite3_file *f) { int rc = M(f)->xClose(REAL(f)); free(REAL(f)); return rc; }
static int f_read(sqlite3_file *f, void *b, int n, sqlite3_int64 o) { return M(f)->xRead(REAL(f), b, n, o); }
static int f_write(sqlite3_file *f, const void *b, int n, sqlite3_int64 o) { return M(f)->xWrite(REAL(f), b, n, o); }
static int f_truncate(sqlite3_file *f, sqlite3_int64 n) { return M(f)->xTruncate(REAL(f), n); }
static int f_sync(sqlite3_file *f, int how) { return M(f)->xSync(REAL(f), how); }
static int f_size(sqlite3_file *f, sqlite3_int64 *n) { return M(f)->xFileSize(REAL(f), n); }
static int f_lock(sqlite3_file *f, int l) { return M(f)->xLock(REAL(f), l); }
static int f_unlock(sqlite3_file *f, int l) { return M(f)->xUnlock(REAL(f), l); }
static int f_check(sqlite3_file *f, int *r) { return M(f)->xCheckReservedLock(REAL(f), r); }
static int f_control(sqlite3_file *f, int op, void *a) { return M(f)->xFileControl(REAL(f), op, a); }
static int f_sector(sqlite3_file *f) { return M(f)->xSectorSize(REAL(f)); }
static int f_device(sqlite3_file *f) { return M(f)->xDeviceCharacteristics(REAL(f)); }
static int f_shm_map(sqlite3_file *f, int i, int n, int e, void volatile **p) { return M(f)->xShmMap(REAL(f), i, n, e, p); }
static int f_shm_lock(sqlite3_file *f, int o, int n, int how) { return M(f)->xShmLock(REAL(f), o, n, how); }
static void f_shm_barrier(sqlite3_file *f) { M(f)->xShmBarrier(REAL(f)); }
static int f_shm_unmap(sqlite3_file *f, int d) { return M(f)->xShmUnmap(REAL(f), d); }
static const sqlite3_io_methods methods = {2, f_close, f_read, f_write, f_truncate, f_sync, f_size, f_lock, f_unlock, f_check, f_control,
    f_sector, f_device, f_shm_map, f_shm_lock, f_shm_barrier, f_shm_unmap, 0, 0};

static int v_open(sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags, int *out) {
  File *file = (File *)f;
  if (flags & SQLITE_OPEN_MAIN_DB) printf("inside xOpen: called with my VFS %d, found by name %d\n", v == &vfs.base, sqlite3_vfs_find("mine") == &vfs.base);
  file->real = calloc(1, under->szOsFile);
  int rc = under->xOpen(under, name, file->real, flags, out);
  file->magic = 4711, file->note = "a file of mine", file->base.pMethods = rc ? 0 : &methods;
  if (rc) free(file->real);
  return rc;
}

int main(int argc, char **argv) {
  start();
  under = sqlite3_vfs_find(argc > 1 ? argv[1] : 0);
  vfs.base = *under;
  vfs.base.zName = "mine", vfs.base.pNext = 0, vfs.base.szOsFile = sizeof(File), vfs.base.xOpen = v_open;
  vfs.magic = 815, vfs.note = "a VFS of mine";
  printf("register %d\n", sqlite3_vfs_register(&vfs.base, 0));
  use("used.db", "mine", "delete");
  use("used.db", "mine", "wal");
  sqlite3 *db = open_named("own.db", "mine");
  run(db, "CREATE TABLE t(x)");
  Vfs *v = 0;
  printf("vfs %d", sqlite3_file_control(db, "main", SQLITE_FCNTL_VFS_POINTER, &v));
  printf(" mine %d magic %d %s\n", v == &vfs, v->magic, v->note);
  File *file = 0;
  printf("file %d", sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file));
  printf(" methods %d magic %d %s\n", file->base.pMethods == &methods, file->magic, file->note);
  run(db, "PRAGMA journal_mode=persist; INSERT INTO t VALUES(1)");
  printf("journal %d", sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &file));
  printf(" methods %d magic %d %s\n", file->base.pMethods == &methods, file->magic, file->note);
  char *name = 0;
  sqlite3_file_control(db, "main", SQLITE_FCNTL_VFSNAME, &name);
  printf("VFS name %s\n", name ? name : "-");
  sqlite3_free(name);
  closed(db);
  return 0;
}
