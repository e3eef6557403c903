/* A program that is set-uid, or not: it opens a database in the directory it is given and loads the extension (HOST_LOAD). */
#include "host.h"
#include <sys/auxv.h>

int main(int argc, char **argv) {
  setvbuf(stdout, 0, _IOLBF, 0);
  if (argc < 3 || chdir(argv[1])) return 2;
  printf("secure %ld\n", (long)getauxval(AT_SECURE));
  sqlite3 *db = 0;
  char *error = 0;
  sqlite3_open("secure.db", &db);
  sqlite3_enable_load_extension(db, 1);
  if (*argv[2]) printf("load %d %s\n", sqlite3_load_extension(db, argv[2], 0, &error), error ? error : "");
  closed(db);
  use("secure.db", 0, "wal"), use("secure.db", 0, "delete");
  return 0;
}
