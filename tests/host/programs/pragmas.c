/* Statements of somebody who is not trusted: what they name is not to be made. */
#include "host.h"

int main(void) {
  start();
  use("pragmas.db", 0, "wal");
  sqlite3 *db = open_named("pragmas.db", 0);
  const char *statements[] = {"PRAGMA locktrace_dir='evil'", "PRAGMA locktrace_dir=evil2", "PRAGMA main.locktrace_dir='evil3/below'",
      "PRAGMA locktrace_dir('/tmp/locktrace-test-evil')", "PRAGMA locktrace_sql=text", "PRAGMA locktrace=off", "PRAGMA locktrace=on",
      "SELECT * FROM pragma_locktrace_dir('evil4')"};
  for (int i = 0; i < 8; i++) quiet(db, statements[i]), quiet(db, "INSERT INTO t VALUES(1)");
  closed(db);
  use("pragmas.db", 0, "delete");
  const char *names[] = {"evil", "evil2", "evil3", "evil4", "/tmp/locktrace-test-evil"};
  for (int i = 0; i < 5; i++) printf("%s: %s\n", names[i], access(names[i], F_OK) ? "not there" : "was made");
  return 0;
}
