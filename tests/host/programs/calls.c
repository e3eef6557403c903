/* Counts the system calls of a program, its threads and children. calls COUNTS PROGRAM...: counting begins after a getppid(2) and ends
** with a getpgrp(2) whose argument, which the kernel ignores, is 4711; COUNTS gets a line for each call: its number, how often. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static long counts[1024];

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  pid_t child = fork();
  if (child == 0) {
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    raise(SIGSTOP);
    execv(argv[2], argv + 2);
    _exit(127);
  }
  int status, end = 99, counting = 0;
  waitpid(child, &status, 0);
  long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_EXITKILL;
  ptrace(PTRACE_SETOPTIONS, child, 0, options);
  ptrace(PTRACE_SYSCALL, child, 0, 0);
  for (;;) {
    pid_t who = waitpid(-1, &status, __WALL);
    if (who < 0) {
      if (errno == EINTR) continue;
      break;
    }
    if (!WIFSTOPPED(status)) {
      if (who == child) end = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      continue;
    }
    int signal = WSTOPSIG(status), deliver = 0;
    if (signal == (SIGTRAP | 0x80)) {
      struct __ptrace_syscall_info info;
      if (ptrace(PTRACE_GET_SYSCALL_INFO, who, sizeof info, &info) > 0 && info.op == PTRACE_SYSCALL_INFO_ENTRY) {
        unsigned long nr = info.entry.nr;
        if (counting && nr < 1024) counts[nr]++;
        if (nr == SYS_getppid && info.entry.args[0] == 4711) counting = 1;
        if (nr == SYS_getpgrp && info.entry.args[0] == 4711) counting = 0;
      }
    } else if (signal != SIGTRAP && signal != SIGSTOP) {
      deliver = signal;
    }
    ptrace(PTRACE_SYSCALL, who, 0, deliver);
  }
  FILE *out = fopen(argv[1], "w");
  for (int i = 0; i < 1024; i++) if (counts[i]) fprintf(out, "%d %ld\n", i, counts[i]);
  fclose(out);
  return end;
}
