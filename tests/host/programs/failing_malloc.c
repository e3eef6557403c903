/* A library to preload: counts the allocations that code in liblocktrace.so asks for, and lets the FAIL_AT-th fail.
**
** FAIL_COUNT names a file of at least 64 bytes, in which the counts are kept as 8-byte numbers, for a process and its children together:
** [0] allocations; [1] those that failed; [2] calls of functions of the C library that allocate on their own. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static long *counts, fail_at = -1;
static int fail_on; /* from the FAIL_AT-th on */

__attribute__((constructor(101))) static void ready(void) {
  const char *name = getenv("FAIL_COUNT"), *at = getenv("FAIL_AT");
  if (!name) return;
  int fd = open(name, O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  void *map = mmap(0, 64, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (at) fail_at = atol(at);
  fail_on = getenv("FAIL_ON") != 0;
  if (map != MAP_FAILED) counts = map;
}

/* Whether this code is the recorder's. It takes no lock and allocates nothing. */
static int of_the_recorder(void *address) {
  struct dl_find_object found;
  if (!counts || _dl_find_object(address, &found)) return 0;
  const char *name = found.dlfo_link_map->l_name;
  if (!name || !*name) return 0;
  return strstr(name, "locktrace") != 0 || strstr(name, "memfd") != 0 || strstr(name, "/fd/") != 0;
}
static int fails(void *address) {
  if (!of_the_recorder(address)) return 0;
  long n = __sync_add_and_fetch(&counts[0], 1);
  if (n != fail_at && !(fail_on && fail_at > 0 && n > fail_at)) return 0;
  __sync_add_and_fetch(&counts[1], 1);
  errno = ENOMEM;
  return 1;
}
static void hidden(void *address) {
  if (of_the_recorder(address)) __sync_add_and_fetch(&counts[2], 1);
}
#define CALLER __builtin_return_address(0)

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);
void *malloc(size_t n) { return fails(CALLER) ? 0 : __libc_malloc(n); }
void *calloc(size_t a, size_t n) { return fails(CALLER) ? 0 : __libc_calloc(a, n); }
void *realloc(void *p, size_t n) { return fails(CALLER) ? 0 : __libc_realloc(p, n); }
void *aligned_alloc(size_t a, size_t n) { return fails(CALLER) ? 0 : __libc_memalign(a, n); }
void *memalign(size_t a, size_t n) { return fails(CALLER) ? 0 : __libc_memalign(a, n); }
int posix_memalign(void **out, size_t a, size_t n) {
  if (fails(CALLER)) return ENOMEM;
  void *p = __libc_memalign(a, n);
  if (!p) return ENOMEM;
  *out = p;
  return 0;
}
#define NEXT(name) static __typeof__(&name) next; if (!next) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
extern int __cxa_thread_atexit_impl(void (*)(void *), void *, void *);
DIR *opendir(const char *name) { NEXT(opendir); hidden(CALLER); return next(name); }
FILE *fopen(const char *name, const char *mode) { NEXT(fopen); hidden(CALLER); return next(name, mode); }
FILE *fopen64(const char *name, const char *mode) { NEXT(fopen64); hidden(CALLER); return next(name, mode); }
char *realpath(const char *name, char *out) { NEXT(realpath); if (!out) hidden(CALLER); return next(name, out); }
int __cxa_thread_atexit_impl(void (*f)(void *), void *o, void *d) { NEXT(__cxa_thread_atexit_impl); hidden(CALLER); return next(f, o, d); }
int pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *x) {
  NEXT(pthread_create);
  hidden(CALLER);
  return next(t, a, f, x);
}
