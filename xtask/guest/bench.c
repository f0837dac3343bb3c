// What `cargo xtask bench` runs in a container: prints one line per measurement, "NAME NANOSECONDS", the time of one operation.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e9 + t.tv_nsec;
}

static void check(long result, const char *what) {
  if (result < 0) {
    perror(what);
    exit(1);
  }
}

static void null_call(int n) {
  for (int i = 0; i < n; i++) syscall(SYS_getppid);
}

static void fork_exit(int n) {
  for (int i = 0; i < n; i++) {
    pid_t p = fork();
    check(p, "fork");
    if (!p) _exit(0);
    waitpid(p, 0, 0);
  }
}

static char *self;

static void spawn(int n) {
  for (int i = 0; i < n; i++) {
    pid_t p = vfork();
    check(p, "vfork");
    if (!p) {
      execl(self, self, "nothing", (char *)0);
      _exit(1);
    }
    int status;
    waitpid(p, &status, 0);
    if (status) exit(1);
  }
}

static void faults(int n) {
  char *m = mmap(0, n * 4096l, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (m == MAP_FAILED) exit(1);
  madvise(m, n * 4096l, MADV_NOHUGEPAGE);
  for (int i = 0; i < n; i++) m[i * 4096l] = 1;
  munmap(m, n * 4096l);
}

static void mmaps(int n) {
  for (int i = 0; i < n; i++) {
    char *m = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m == MAP_FAILED) exit(1);
    munmap(m, 65536);
  }
}

static void echo(int from, int to, int n) {
  char byte = 0;
  for (int i = 0; i < n; i++)
    if (read(from, &byte, 1) != 1 || write(to, &byte, 1) != 1) exit(1);
}

static void pipes(int n) {
  int a[2], b[2];
  check(pipe(a), "pipe"), check(pipe(b), "pipe");
  pid_t p = fork();
  check(p, "fork");
  if (!p) echo(a[0], b[1], n), _exit(0);
  if (write(a[1], "x", 1) != 1) exit(1);
  char byte;
  for (int i = 1; i < n; i++)
    if (read(b[0], &byte, 1) != 1 || write(a[1], &byte, 1) != 1) exit(1);
  if (read(b[0], &byte, 1) != 1) exit(1);
  waitpid(p, 0, 0);
  close(a[0]), close(a[1]), close(b[0]), close(b[1]);
}

static int word;

static void hand_over(int mine, int n) {
  for (int i = 0; i < n; i++) {
    while (__atomic_load_n(&word, __ATOMIC_ACQUIRE) != mine) syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, !mine, 0, 0, 0);
    __atomic_store_n(&word, !mine, __ATOMIC_RELEASE);
    syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
  }
}

static void *second(void *n) {
  hand_over(1, *(int *)n);
  return 0;
}

static void futexes(int n) {
  pthread_t t;
  if (pthread_create(&t, 0, second, &n)) exit(1);
  hand_over(0, n);
  pthread_join(t, 0);
}

static void *nothing(void *p) { return p; }

static void threads(int n) {
  for (int i = 0; i < n; i++) {
    pthread_t t;
    if (pthread_create(&t, 0, nothing, 0)) exit(1);
    pthread_join(t, 0);
  }
}

static void stats(int n) {
  struct stat s;
  for (int i = 0; i < n; i++) check(stat(self, &s), "stat");
}

static void opens(int n) {
  for (int i = 0; i < n; i++) {
    int fd = open(self, O_RDONLY);
    check(fd, "open");
    close(fd);
  }
}

static void reads(int n) {
  static char block[4096];
  int fd = open(self, O_RDONLY);
  check(fd, "open");
  for (int i = 0; i < n; i++) check(pread(fd, block, sizeof block, 0), "pread");
  close(fd);
}

static void creates(int n) {
  char name[64];
  for (int i = 0; i < n; i++) {
    snprintf(name, sizeof name, "bench-%d", i);
    int fd = open(name, O_CREAT | O_WRONLY, 0644);
    check(fd, "create");
    if (write(fd, name, 16) != 16) exit(1);
    close(fd);
    check(unlink(name), "unlink");
  }
}

static const struct {
  const char *name;
  void (*run)(int);
  int count;
} all[] = {
    {"null-call", null_call, 100000}, {"fork-exit-wait", fork_exit, 500}, {"vfork-exec-wait", spawn, 200},
    {"page-fault", faults, 20000},    {"mmap-munmap", mmaps, 5000},       {"pipe-round-trip", pipes, 10000},
    {"futex-hand-over", futexes, 10000}, {"thread", threads, 1000},       {"stat", stats, 20000},
    {"open-close", opens, 10000},     {"pread-4k", reads, 20000},         {"create-write-unlink", creates, 1000},
};

int main(int argc, char **argv) {
  self = argv[0];
  if (argc > 1 && !strcmp(argv[1], "nothing")) return 0;
  for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
    if (argc > 1 && strcmp(argv[1], all[i].name)) continue;
    all[i].run(all[i].count / 20 + 1);
    double start = now();
    all[i].run(all[i].count);
    printf("%s %.0f\n", all[i].name, (now() - start) / all[i].count);
    fflush(stdout);
  }
}
