/* What the two files of the kitchen sink share. */
#include "sqlite3.h"
#include <stdarg.h>
#include <stdio.h>

/* Writes a line of the transcript. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Registers a VFS over the default one as the new default; it writes down each call it gets. */
void kitchen_vfs(void);
