/* What the files of the kitchen sink share. */
#include "sqlite3.h"
#include <stdarg.h>
#include <stdio.h>

/* Writes a line of the transcript. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Registers a VFS over the default one as the new default; it writes down each call it gets. */
void kitchen_vfs(void);

/* Begins a part of the transcript. */
void part(const char *name);

/* Runs every statement of a text to its end, and answers with the last result code. */
int run(sqlite3 *db, const char *sql);

/* A connection; with flags 0 it may be written, and made. */
sqlite3 *opened(const char *name, int flags, const char *vfs);

/* Closes it. */
void shut(sqlite3 *db);

/* The part of the hooks. */
void hooks(void);
