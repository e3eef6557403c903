/* A disk, a clock and a file system that do what a scenario says. Preloaded into a scenario's process; the SQLite in it, and the
** recorder, call these functions where they would call the C library's.
**
** slow_disk_hold(call, suffix)   from now on calls of this kind, on files whose path ends so, do not return
** slow_disk_arrived(call, ms)    waits until one such call is held up; 0 if none came
** slow_disk_pass(call)           lets the calls that are held up at this moment go on
** slow_disk_release(call)        lets them all go on, and holds up no more
**
** SLOW_DISK_FS=0x6969            statfs() says this is the type of every file system (0x6969: NFS)
** SLOW_DISK_REFUSES=RESERVED     nobody ever gets the byte of this lock on a database, though nobody has it
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>
#include <errno.h>
#include <sys/statfs.h>

enum { SYNC, READ, SLEEP, CALLS };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct { volatile int held; char suffix[64]; int waiting; unsigned passed; } gates[CALLS];

void slow_disk_hold(int call, const char *suffix){
  pthread_mutex_lock(&mutex);
  snprintf(gates[call].suffix, sizeof gates[call].suffix, "%s", suffix);
  gates[call].held = 1;
  pthread_mutex_unlock(&mutex);
}

int slow_disk_arrived(int call, int ms){
  struct timespec end;
  int found;
  clock_gettime(CLOCK_REALTIME, &end);
  end.tv_sec += ms/1000;
  pthread_mutex_lock(&mutex);
  while( gates[call].waiting==0 && pthread_cond_timedwait(&changed, &mutex, &end)!=ETIMEDOUT );
  found = gates[call].waiting>0;
  pthread_mutex_unlock(&mutex);
  return found;
}

static void go_on(int call, int held){
  pthread_mutex_lock(&mutex);
  gates[call].held = held;
  gates[call].passed++;
  gates[call].waiting = 0;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&mutex);
}

void slow_disk_pass(int call){ go_on(call, 1); }
void slow_disk_release(int call){ go_on(call, 0); }

static int ends_so(int fd, const char *suffix){
  char link[64], path[4096];
  ssize_t n;
  size_t want = strlen(suffix);
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  n = readlink(link, path, sizeof path);
  return n>=(ssize_t)want && memcmp(path + n - want, suffix, want)==0;
}

static void gate(int call, int fd){
  int error = errno;
  if( gates[call].held ){
    pthread_mutex_lock(&mutex);
    if( gates[call].held && (fd<0 || ends_so(fd, gates[call].suffix)) ){
      unsigned passed = gates[call].passed;
      gates[call].waiting++;
      pthread_cond_broadcast(&changed);
      while( gates[call].passed==passed ) pthread_cond_wait(&changed, &mutex);
    }
    pthread_mutex_unlock(&mutex);
  }
  errno = error;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fsync(int fd){ gate(SYNC, fd); return NEXT(fsync)(fd); }
int fdatasync(int fd){ gate(SYNC, fd); return NEXT(fdatasync)(fd); }
ssize_t pread(int fd, void *to, size_t n, off_t at){ gate(READ, fd); return NEXT(pread)(fd, to, n, at); }
ssize_t pread64(int fd, void *to, size_t n, off64_t at){ gate(READ, fd); return NEXT(pread64)(fd, to, n, at); }

/* A sleep that was held up is over. */
int usleep(useconds_t us){
  if( !gates[SLEEP].held ) return NEXT(usleep)(us);
  gate(SLEEP, -1);
  return 0;
}
int nanosleep(const struct timespec *want, struct timespec *rest){
  if( !gates[SLEEP].held ) return NEXT(nanosleep)(want, rest);
  gate(SLEEP, -1);
  return 0;
}

/* fcntl takes at most one more argument, an int or a pointer. */
static int refuses(int command, void *argument){
  struct flock *lock = argument;
  const char *what = getenv("SLOW_DISK_REFUSES");
  return command==F_SETLK && what && strcmp(what, "RESERVED")==0
      && lock->l_type==F_WRLCK && lock->l_start==0x40000001 && lock->l_len==1;
}
int fcntl(int fd, int command, ...){
  va_list more;
  void *argument;
  va_start(more, command);
  argument = va_arg(more, void*);
  va_end(more);
  if( refuses(command, argument) ){ errno = EAGAIN; return -1; }
  return NEXT(fcntl)(fd, command, argument);
}
int fcntl64(int fd, int command, ...){
  va_list more;
  void *argument;
  va_start(more, command);
  argument = va_arg(more, void*);
  va_end(more);
  if( refuses(command, argument) ){ errno = EAGAIN; return -1; }
  return NEXT(fcntl64)(fd, command, argument);
}

int statfs(const char *path, struct statfs *to){
  int rc = NEXT(statfs)(path, to);
  const char *type = getenv("SLOW_DISK_FS");
  if( rc==0 && type ) to->f_type = strtol(type, 0, 0);
  return rc;
}
int statfs64(const char *path, struct statfs64 *to){
  int rc = NEXT(statfs64)(path, to);
  const char *type = getenv("SLOW_DISK_FS");
  if( rc==0 && type ) to->f_type = strtol(type, 0, 0);
  return rc;
}
