/* What a program can ask SQLite about itself: its VFSes, names, sizes, memory, system calls, file controls. */
#include "host.h"

static void memory(const char *when) {
  sqlite3_int64 now = 0, most = 0;
  printf("%s: used %lld highest %lld", when, (long long)sqlite3_memory_used(), (long long)sqlite3_memory_highwater(0));
  int ops[] = {SQLITE_STATUS_MALLOC_COUNT, SQLITE_STATUS_MALLOC_SIZE, SQLITE_STATUS_PAGECACHE_OVERFLOW, SQLITE_STATUS_PARSER_STACK};
  for (int i = 0; i < 4; i++) sqlite3_status64(ops[i], &now, &most, 0), printf(" %lld/%lld", (long long)now, (long long)most);
  printf("\n");
}
static void connection(sqlite3 *db) {
  int now, most;
  printf("db status:");
  for (int op = 0; op <= 12; op++) {
    int rc = sqlite3_db_status(db, op, &now, &most, 0);
    printf(" %d:%d:%d:%d", op, rc, now, most);
  }
  printf("\n");
}
static void controls(sqlite3 *db) {
  char *name = 0;
  sqlite3_file_control(db, "main", SQLITE_FCNTL_VFSNAME, &name);
  printf("VFS name %s\n", name ? name : "-");
  sqlite3_free(name);
  int number = -1;
  printf("lock state %d", sqlite3_file_control(db, "main", SQLITE_FCNTL_LOCKSTATE, &number)), printf(" %d\n", number);
  number = -1;
  printf("persist wal %d", sqlite3_file_control(db, "main", SQLITE_FCNTL_PERSIST_WAL, &number)), printf(" %d\n", number);
  number = -1;
  printf("moved %d", sqlite3_file_control(db, "main", SQLITE_FCNTL_HAS_MOVED, &number)), printf(" %d\n", number);
  printf("unknown %d %d\n", sqlite3_file_control(db, "main", 4711, &number), sqlite3_file_control(db, "main", 1000000, &number));
  sqlite3_vfs *vfs = 0;
  sqlite3_file_control(db, "main", SQLITE_FCNTL_VFS_POINTER, &vfs);
  printf("VFS pointer %s, the default: %d\n", vfs->zName, vfs == sqlite3_vfs_find(0));
  sqlite3_file *file = 0;
  sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
  printf("file version %d\n", file->pMethods->iVersion);
  number = -1;
  printf("errno %d\n", sqlite3_system_errno(db));
}

int main(void) {
  start();
  sqlite3_initialize();
  memory("initialized");
  for (sqlite3_vfs *v = sqlite3_vfs_find(0); v; v = v->pNext) {
    printf("VFS %s: version %d, file %d, path %d\n", v->zName, v->iVersion, v->szOsFile, v->mxPathname);
    for (const char *call = v->iVersion >= 3 && v->xNextSystemCall ? v->xNextSystemCall(v, 0) : 0; call; call = v->xNextSystemCall(v, call))
      printf(" %s:%d", call, v->xGetSystemCall(v, call) != 0);
    printf("\n");
  }
  const char *vfses[] = {0, "unix", "unix-excl", "unix-dotfile", "unix-none"};
  const char *modes[] = {"wal", "delete"};
  for (int i = 0; i < 5; i++) for (int j = 0; j < 2; j++) {
    if (j == 0 && i >= 3) continue;
    char name[50], sql[100];
    snprintf(name, sizeof name, "figures-%d-%d.db", i, j);
    snprintf(sql, sizeof sql, "PRAGMA journal_mode=%s", modes[j]);
    sqlite3 *db = open_named(name, vfses[i]);
    memory("opened"), connection(db);
    run(db, sql);
    for (int k = 0; k < 50; k++) {
      snprintf(sql, sizeof sql, "CREATE TABLE IF NOT EXISTS t(x); INSERT INTO t VALUES(%d); SELECT %d FROM t", k, k);
      if (quiet(db, sql)) printf("failed\n");
    }
    memory("used"), connection(db), controls(db);
    sqlite3 *two = open_named(name, vfses[i]);
    run(db, "BEGIN IMMEDIATE"), run(two, "INSERT INTO t VALUES(1)"), run(db, "COMMIT");
    memory("refused");
    closed(db), closed(two);
    memory("closed");
  }
  printf("soft limit %lld\n", (long long)sqlite3_soft_heap_limit64(-1));
  printf("shutdown %d\n", sqlite3_shutdown());
  memory("shut down");
  return 0;
}
