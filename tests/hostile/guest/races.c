// Sibling threads that rewrite arguments, slots and frames and remap memory while others make calls, exec and get signals.
#include "common.h"
#include <linux/futex.h>

static struct { char path[4096]; struct iovec vectors[8]; char data[4096]; } *shared;
static volatile int stop;

static void shared_setup(void) {
  shared = mmap(0, 65536, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  strcpy(shared->path, "/hostile");
  for (int i = 0; i < 8; i++) shared->vectors[i] = (struct iovec){shared->data, 64};
}

static void *make_calls(void *p) {
  (void)p;
  int zero = open("/dev/zero", O_RDONLY), pipes[2];
  if (zero < 0) zero = open("/hostile", O_RDONLY);
  if (pipe2(pipes, O_NONBLOCK)) return 0;
  while (!stop) {
    int fd = raw(SYS_open, shared->path, O_RDONLY, 0, 0);
    if (fd >= 0) raw(SYS_close, fd, 0, 0, 0);
    raw(SYS_readv, zero, shared->vectors, 8, 0);
    raw(SYS_writev, pipes[1], shared->vectors, 8, 0);
    raw(SYS_readv, pipes[0], shared->vectors, 8, 0);
    raw(SYS_stat, shared->path, shared->data, 0, 0);
    long at = raw6(SYS_mmap, 0, 8192, 3, 0x22, ~0ull, 0);
    if (at > 0) raw(SYS_munmap, at, 8192, 0, 0);
    at = raw6(SYS_mmap, 0, 4096, 1, 2, zero, 0);
    if (at > 0) at = raw6(SYS_mremap, at, 4096, 65536, 1, 0, 0);
    if (at > 0) raw(SYS_munmap, at, 65536, 0, 0);
  }
  return 0;
}

static void *rewrite_arguments(void *p) {
  (void)p;
  u64 targets[] = {TEXT, SLOTS, STACKS, 0, ~0ull, (u64)shared, 0x7ffdfffff000ull};
  for (unsigned i = 0; !stop; i++) {
    memcpy(shared->path, i % 2 ? canary : "/hostile", 9);
    shared->vectors[i % 8].iov_base = (void *)targets[i % 7];
    shared->vectors[(i + 3) % 8].iov_len = i % 5 ? 64 : ~0ull >> (i % 3);
    shared->vectors[(i + 5) % 8] = (struct iovec){shared->data, 64};
  }
  return 0;
}

static void *remap(void *p) {
  (void)p;
  u64 page = (u64)shared & ~4095ull;
  for (unsigned i = 0; !stop; i++) {
    raw(SYS_mprotect, page + 4096, 4096, i % 2 ? 0 : 3, 0);
    raw(SYS_madvise, page, 8192, 4, 0);
    raw(SYS_munmap, TEXT + i % 3 * (SLOTS - TEXT), 65536, 0, 0);
    raw6(SYS_mremap, SLOTS, 0, 65536, 1, 0, 0);
    raw6(SYS_mmap, page + 4096, 4096, 3, 0x31, ~0ull, 0);
    raw(SYS_mprotect, page + 4096, 4096, 3, 0);
  }
  return 0;
}

static void *scribble(void *p) {
  // Slots and stub stacks: random words, plausible words, and results of orders that say the opposite.
  u64 *slots = (u64 *)SLOTS, kind = (u64)p, x = 1 + kind;
  u64 *stacks = (u64 *)STACKS;
  while (!stop) {
    x = x * 6364136223846793005ull + 1442695040888963407ull;
    if (kind == 0) slots[x >> 20 & 0x1fff] = x;
    if (kind == 1) stacks[x >> 20 & 0xffff] = x & 0x7fffffffffffull;
    if (kind == 2)
      for (int s = 0; s < 16; s++) {
        slots[s * 512 + 64] = 1;
        for (int o = 0; o < 4; o++) slots[s * 512 + 64 + 8 + o * 8 + 7] = x % 3 ? (u64)-ENOMEM : x;
      }
    if (kind == 3)
      for (int s = 0; s < 16; s++) {
        u64 *regs = slots + s * 512 + 8;
        regs[16] = TEXT + (x >> 33) % 600, regs[18] = 0x23 | 0x2bull << 48, regs[17] = ~0ull, regs[23] = SLOTS;
      }
    if (kind == 4) slots[(x >> 40) % 16 * 512 + 2] = x >> 60;
  }
  return 0;
}

// Reads the nonces of clones out of the orders and shows them itself.
static void *steal_nonces(void *p) {
  (void)p;
  volatile u64 *slots = (u64 *)SLOTS;
  while (!stop)
    for (int s = 0; s < 16; s++)
      if (slots[s * 512 + 64 + 8] == SYS_clone) {
        struct registers r = {.rax = DOORBELL, .rdi = 0x101, .rsi = STACKS + STACK_SIZE * s + 4096, .rdx = slots[s * 512 + 64 + 8 + 6], .rsp = STACKS + STACK_SIZE - 8192, .rbx = STACKS + STACK_SIZE - 8192, .r12 = SLOTS};
        jump(gates[0], &r);
      }
  return 0;
}

static void *make_threads(void *p);
static void *nothing(void *p) { return p; }

static void *make_threads(void *p) {
  (void)p;
  while (!stop) {
    pthread_t t[3];
    int n = 0;
    while (n < 3 && !pthread_create(&t[n], 0, nothing, 0)) n++;
    while (n) pthread_join(t[--n], 0);
    pid_t child = fork();
    if (!child) raw(SYS_exit_group, 0, 0, 0, 0);
    if (child > 0) waitpid(child, 0, 0);
  }
  return 0;
}

static void ignore(int s) { (void)s; }

static void *send_signals(void *p) {
  pid_t target = (pid_t)(u64)p;
  for (int i = 0; !stop; i++) raw(SYS_tgkill, getpid(), target, i % 2 ? SIGUSR1 : SIGUSR2, 0);
  return 0;
}

struct plan { void *(*threads[5])(void *); u64 arguments[5]; int ms; int exec; };

static void run_plan(const void *p) {
  const struct plan *plan = p;
  struct sigaction a = {.sa_handler = ignore, .sa_flags = SA_RESTART};
  sigaction(SIGUSR1, &a, 0), sigaction(SIGUSR2, &a, 0);
  shared_setup();
  for (int i = 0; i < 5 && plan->threads[i]; i++) {
    pthread_t t;
    u64 argument = plan->threads[i] == send_signals ? (u64)raw(SYS_gettid, 0, 0, 0, 0) : plan->arguments[i];
    if (pthread_create(&t, 0, plan->threads[i], (void *)argument)) _exit(1);
  }
  struct timespec start, now;
  clock_gettime(CLOCK_MONOTONIC, &start);
  char *argv[] = {"/hostile", "nothing", 0};
  do {
    raw(SYS_open, shared->path, O_RDONLY | O_CLOEXEC, 0, 0);
    raw(SYS_close, 40 + (raw(SYS_getppid, 0, 0, 0, 0) & 7), 0, 0, 0);
    long at = raw6(SYS_mmap, 0, 4096, 3, 0x22, ~0ull, 0);
    if (at > 0) raw(SYS_munmap, at, 4096, 0, 0);
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (plan->exec && now.tv_nsec - start.tv_nsec > 2000000) execv(argv[0], argv);
  } while ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 < plan->ms);
  _exit(0);
}

static void race(const char *name, int rounds, struct plan plan) {
  struct tally t = {0};
  for (int i = 0; i < rounds; i++) attempt(&t, plan.ms + 2000, run_plan, &plan);
  report(name, &t);
}

// A slot chunk that is said not to have been mapped, though it was, must not become another process's: the liar could read and change the
// registers of that process.
static volatile int lying;

static void *lie(void *p) {
  (void)p;
  volatile u64 *result = (u64 *)(SLOTS + SLOT_ORDERS + 64 + 64 + 56);
  while (lying) *result = -ENOMEM;
  return 0;
}

static void *wait_for_ever(void *p) {
  for (;;) raw(SYS_pause, 0, 0, 0, 0);
  return p;
}

static void keep_a_chunk(const void *p) {
  (void)p;
  // With this thread 16: the next one needs a new chunk.
  pthread_t t;
  lying = 1;
  for (int i = 0; i < 15; i++)
    if (pthread_create(&t, 0, i ? wait_for_ever : lie, 0)) _exit(1);
  int error = pthread_create(&t, 0, wait_for_ever, 0);
  lying = 0;
  if (!error) _exit(2); // the lie came too late
  volatile u64 *kept = (u64 *)(SLOTS + 16 * 4096);
  for (int i = 0; i < 16 * 512; i++) kept[i] = 0x4141414141414141;
  pid_t child = fork();
  if (!child) {
    for (int i = 0; i < 20; i++) raw(SYS_munmap, raw6(SYS_mmap, 0, 4096, 3, 0x22, ~0ull, 0), 4096, 0, 0);
    raw(SYS_exit_group, 0, 0, 0, 0);
  }
  waitpid(child, 0, 0);
  for (int i = 0; i < 16 * 512; i++)
    if (kept[i] != 0x4141414141414141) _exit(BREACH);
}

// The vsyscall page under signals: no restart code of the host's may be seen.
static void vsyscall_with_signals(const void *p) {
  (void)p;
  struct sigaction a = {.sa_handler = ignore, .sa_flags = SA_RESTART};
  sigaction(SIGUSR1, &a, 0), sigaction(SIGUSR2, &a, 0);
  pthread_t t;
  pthread_create(&t, 0, send_signals, (void *)(u64)raw(SYS_gettid, 0, 0, 0, 0));
  for (int i = 0; i < 2000; i++) {
    long r;
    __asm__ volatile("call *%1" : "=a"(r) : "r"(0xffffffffff600400ull), "D"(0) : "memory", "rcx", "r11", "rdx", "rsi", "r8", "r9", "r10");
    if (r < 0) _exit(BREACH);
  }
}

void race_attacks(void) {
  struct tally lies = {0}, pages = {0};
  for (int i = 0; i < 40; i++) attempt(&lies, 1000, keep_a_chunk, 0);
  report("a chunk of slots kept by a lie", &lies);
  for (int i = 0; i < 2; i++) attempt(&pages, 2000, vsyscall_with_signals, 0);
  report("the vsyscall page during signals", &pages);
  race("arguments rewritten by siblings", 2, (struct plan){{make_calls, rewrite_arguments, make_calls}, {0}, 400, 0});
  race("memory remapped by siblings", 2, (struct plan){{make_calls, remap, rewrite_arguments}, {0}, 400, 0});
  race("slots filled with rubbish", 10, (struct plan){{make_calls, scribble}, {0, 0}, 100, 0});
  race("stub stacks filled with rubbish", 10, (struct plan){{make_calls, scribble}, {0, 1}, 100, 0});
  race("orders said to have failed", 10, (struct plan){{make_threads, scribble}, {0, 2}, 100, 0});
  race("registers in slots replaced", 10, (struct plan){{make_calls, scribble}, {0, 3}, 100, 0});
  race("park words rewritten", 4, (struct plan){{make_calls, scribble}, {0, 4}, 100, 0});
  race("nonces stolen", 6, (struct plan){{make_threads, steal_nonces}, {0}, 100, 0});
  race("calls during signals", 3, (struct plan){{send_signals, make_calls, send_signals}, {0}, 200, 0});
  race("calls during exec", 8, (struct plan){{make_calls, make_calls, make_threads}, {0}, 300, 1});
  race("exec with rubbish in slots", 8, (struct plan){{make_calls, scribble, send_signals}, {0, 0}, 300, 1});
  race("forks, threads, signals and remapping", 4, (struct plan){{make_threads, send_signals, remap, make_threads}, {0}, 250, 0});
}
