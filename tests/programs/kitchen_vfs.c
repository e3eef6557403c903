/* An application's own VFS: over the default one, itself the default, and it writes down each call that reaches it.
**
** Left out is what a shim above it may ask without the application noticing: SQLITE_FCNTL_LOCKSTATE and the system calls.
*/
#include "kitchen_sink.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
  sqlite3_file head;
  const char *name; /* its file's name, without the directory */
  sqlite3_file *inner;
} File;

static sqlite3_vfs *base;
static sqlite3_vfs ours;

/* Random names differ between runs. */
static const char *tail(const char *path) {
  const char *slash = path ? strrchr(path, '/') : 0;
  if (!path) return "(temporary)";
  if (strstr(path, "etilqs_") || strstr(path, "-mj")) return "(random)";
  return slash ? slash + 1 : path;
}

#define NAME(file) (((File *)(file))->name)
#define INNER(file) (((File *)(file))->inner)
#define CALL(file, method, ...) INNER(file)->pMethods->method(INNER(file), ##__VA_ARGS__)

static int x_close(sqlite3_file *f) {
  int rc = CALL(f, xClose);
  say("      vfs xClose %s: %d", NAME(f), rc);
  return rc;
}
static int x_read(sqlite3_file *f, void *to, int n, sqlite3_int64 at) {
  int rc = CALL(f, xRead, to, n, at);
  say("      vfs xRead %s %d at %lld: %d", NAME(f), n, at, rc);
  return rc;
}
static int x_write(sqlite3_file *f, const void *from, int n, sqlite3_int64 at) {
  int rc = CALL(f, xWrite, from, n, at);
  say("      vfs xWrite %s %d at %lld: %d", NAME(f), n, at, rc);
  return rc;
}
static int x_truncate(sqlite3_file *f, sqlite3_int64 size) {
  int rc = CALL(f, xTruncate, size);
  say("      vfs xTruncate %s %lld: %d", NAME(f), size, rc);
  return rc;
}
static int x_sync(sqlite3_file *f, int flags) {
  int rc = CALL(f, xSync, flags);
  say("      vfs xSync %s %d: %d", NAME(f), flags, rc);
  return rc;
}
static int x_file_size(sqlite3_file *f, sqlite3_int64 *size) {
  int rc = CALL(f, xFileSize, size);
  say("      vfs xFileSize %s: %d, %lld", NAME(f), rc, *size);
  return rc;
}
static int x_lock(sqlite3_file *f, int level) {
  int rc = CALL(f, xLock, level);
  say("      vfs xLock %s %d: %d", NAME(f), level, rc);
  return rc;
}
static int x_unlock(sqlite3_file *f, int level) {
  int rc = CALL(f, xUnlock, level);
  say("      vfs xUnlock %s %d: %d", NAME(f), level, rc);
  return rc;
}
static int x_check_reserved_lock(sqlite3_file *f, int *answer) {
  int rc = CALL(f, xCheckReservedLock, answer);
  say("      vfs xCheckReservedLock %s: %d, %d", NAME(f), rc, *answer);
  return rc;
}
static int x_file_control(sqlite3_file *f, int op, void *argument) {
  int rc = CALL(f, xFileControl, op, argument);
  if (op != SQLITE_FCNTL_LOCKSTATE) say("      vfs xFileControl %s %d: %d", NAME(f), op, rc);
  return rc;
}
static int x_sector_size(sqlite3_file *f) {
  int size = CALL(f, xSectorSize);
  say("      vfs xSectorSize %s: %d", NAME(f), size);
  return size;
}
static int x_device_characteristics(sqlite3_file *f) {
  int bits = CALL(f, xDeviceCharacteristics);
  say("      vfs xDeviceCharacteristics %s: %d", NAME(f), bits);
  return bits;
}
static int x_shm_map(sqlite3_file *f, int region, int size, int extend, void volatile **to) {
  int rc = CALL(f, xShmMap, region, size, extend, to);
  say("      vfs xShmMap %s %d %d %d: %d", NAME(f), region, size, extend, rc);
  return rc;
}
static int x_shm_lock(sqlite3_file *f, int offset, int n, int flags) {
  int rc = CALL(f, xShmLock, offset, n, flags);
  say("      vfs xShmLock %s %d %d %d: %d", NAME(f), offset, n, flags, rc);
  return rc;
}
static void x_shm_barrier(sqlite3_file *f) {
  CALL(f, xShmBarrier);
  say("      vfs xShmBarrier %s", NAME(f));
}
static int x_shm_unmap(sqlite3_file *f, int delete) {
  int rc = CALL(f, xShmUnmap, delete);
  say("      vfs xShmUnmap %s %d: %d", NAME(f), delete, rc);
  return rc;
}
static int x_fetch(sqlite3_file *f, sqlite3_int64 at, int n, void **to) {
  int rc = CALL(f, xFetch, at, n, to);
  say("      vfs xFetch %s %d at %lld: %d, %d", NAME(f), n, at, rc, *to != 0);
  return rc;
}
static int x_unfetch(sqlite3_file *f, sqlite3_int64 at, void *page) {
  int rc = CALL(f, xUnfetch, at, page);
  say("      vfs xUnfetch %s at %lld: %d", NAME(f), at, rc);
  return rc;
}

static const sqlite3_io_methods methods[] = {
    {1, x_close, x_read, x_write, x_truncate, x_sync, x_file_size, x_lock, x_unlock, x_check_reserved_lock, x_file_control,
     x_sector_size, x_device_characteristics, 0, 0, 0, 0, 0, 0},
    {3, x_close, x_read, x_write, x_truncate, x_sync, x_file_size, x_lock, x_unlock, x_check_reserved_lock, x_file_control,
     x_sector_size, x_device_characteristics, x_shm_map, x_shm_lock, x_shm_barrier, x_shm_unmap, x_fetch, x_unfetch},
};

static int x_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out) {
  File *file = (File *)f;
  memset(file, 0, sizeof *file);
  file->inner = (sqlite3_file *)(file + 1);
  file->inner->pMethods = 0;
  file->name = tail(name);
  int rc = base->xOpen(base, name, file->inner, flags, out);
  if (file->inner->pMethods) file->head.pMethods = &methods[file->inner->pMethods->iVersion >= 3];
  say("      vfs xOpen %s %x: %d, %x, version %d", file->name, flags, rc, rc || !out ? 0 : *out,
      file->inner->pMethods ? file->inner->pMethods->iVersion : 0);
  return rc;
}
static int x_delete(sqlite3_vfs *vfs, const char *name, int sync) {
  int rc = base->xDelete(base, name, sync);
  say("      vfs xDelete %s %d: %d", tail(name), sync, rc);
  return rc;
}
static int x_access(sqlite3_vfs *vfs, const char *name, int flags, int *answer) {
  int rc = base->xAccess(base, name, flags, answer);
  say("      vfs xAccess %s %d: %d, %d", tail(name), flags, rc, *answer);
  return rc;
}
static int x_full_pathname(sqlite3_vfs *vfs, const char *name, int size, char *to) {
  int rc = base->xFullPathname(base, name, size, to);
  say("      vfs xFullPathname %s: %d", tail(name), rc);
  return rc;
}
static int x_sleep(sqlite3_vfs *vfs, int microseconds) {
  say("      vfs xSleep %d", microseconds);
  return base->xSleep(base, microseconds);
}
static int x_get_last_error(sqlite3_vfs *vfs, int size, char *to) {
  int rc = base->xGetLastError(base, size, to);
  say("      vfs xGetLastError: %d", rc);
  return rc;
}

void kitchen_vfs(void) {
  sqlite3_initialize();
  base = sqlite3_vfs_find(0);
  ours = *base;
  /* The rest asks the base with the base's own object, or is not there. */
  ours.iVersion = 1;
  ours.zName = "kitchen";
  ours.pNext = 0;
  ours.pAppData = 0;
  ours.szOsFile = base->szOsFile + (int)sizeof(File);
  ours.xOpen = x_open;
  ours.xDelete = x_delete;
  ours.xAccess = x_access;
  ours.xFullPathname = x_full_pathname;
  ours.xSleep = x_sleep;
  ours.xGetLastError = x_get_last_error;
  say("vfs_register: %d", sqlite3_vfs_register(&ours, 1));
}
