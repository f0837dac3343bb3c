// Memory calls aimed at the stub's zone, the slots and the vDSO, and kernel copies there.
#include "common.h"
#include <sys/prctl.h>
#include <sys/ptrace.h>

static u64 zones[][2] = {{TEXT, 4096}, {TEXT - 4096, 8192}, {TEXT - (1ull << 30), 2ull << 30}, {CONTROL, 0x4000}, {SLOTS, 4096}, {SLOTS, 16 * 4096}, {STACKS, STACK_SIZE}, {TEXT, 0xfffff000}, {0x7ffe00000000ull, 4096}, {0x10000, 0x7ffffffe0000ull}, {0, ~4095ull}, {TEXT, ~0ull}, {0x7fffffffe000ull, 4096}, {0x7ffdfffff000ull, 8192}};
#define ZONES (sizeof zones / sizeof *zones)
static int count;

static void refused(const char *what, long r) {
  count++;
  if (r >= 0 || r < -4095) breach(what, r);
}

// The handler still works: a call that traps, and memory that it makes.
static void still_works(const char *what) {
  long at = raw6(SYS_mmap, 0, 8192, 3, 0x22, ~0ull, 0);
  if (at < 0) return breach(what, at);
  *(volatile char *)at = 1;
  raw(SYS_munmap, at, 8192, 0, 0);
}

static void calls(const void *p) {
  (void)p;
  int file = open("/hostile", O_RDONLY);
  char *mine = mmap(0, 1 << 16, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  for (unsigned z = 0; z < ZONES; z++) {
    u64 at = zones[z][0], len = zones[z][1];
    // The last two reach into the guest's own memory, or only touch it: those may not be unmapped here.
    int own = at < 0x7ffe00000000ull && at + len <= 0x7ffe00000000ull;
    int whole = at < 0x20000;
    if (own) continue;
    if (!whole) {
      refused("munmap", raw(SYS_munmap, at, len, 0, 0));
      for (u64 prot = 0; prot < 8; prot++) refused("mprotect", raw(SYS_mprotect, at, len, prot, 0));
      for (u64 advice = 0; advice < 110; advice++) {
        long r = raw(SYS_madvise, at, len, advice, 0);
        if (r >= 0) refused("madvise", r);
      }
      refused("mmap fixed", raw6(SYS_mmap, at, len, 7, 0x32, ~0ull, 0));
      refused("mmap fixed file", raw6(SYS_mmap, at, len, 1, 0x12, file, 0));
      refused("mmap noreplace", raw6(SYS_mmap, at, len, 3, 0x100022, ~0ull, 0));
      long hint = raw6(SYS_mmap, at, 4096, 3, 0x22, ~0ull, 0);
      if (hint >= 0x7ffe00000000l) breach("mmap hint", hint);
      raw(SYS_munmap, hint, 4096, 0, 0);
    }
    for (u64 old = 0; old < 3; old++) {
      u64 olds[] = {0, 4096, len};
      for (u64 flags = 0; flags < 8; flags++) {
        if (whole) continue;
        refused("mremap from", raw6(SYS_mremap, at, olds[old], 65536, flags, (u64)mine, 0));
      }
    }
    for (u64 flags = 2; flags < 4; flags++) {
      refused("mremap to", raw6(SYS_mremap, (u64)mine, 0, 4096, flags | 2, at & ~4095ull, 0));
      refused("mremap to", raw6(SYS_mremap, (u64)mine, 4096, len, flags | 2, at & ~4095ull, 0));
      refused("mremap grow", raw6(SYS_mremap, (u64)mine, 0, 1ull << 47, flags & 1, at, 0));
    }
    u64 more[] = {SYS_mlock, SYS_munlock, SYS_msync, SYS_mincore, SYS_remap_file_pages, SYS_mbind, SYS_shmat, SYS_pkey_mprotect, SYS_process_madvise, 462 /* mseal */};
    for (unsigned m = 0; m < sizeof more / sizeof *more; m++)
      if (!whole) raw6(more[m], at, len, 0, 0, 0, 0);
    still_works("after memory calls at the zone");
  }
  refused("brk", raw(SYS_brk, TEXT, 0, 0, 0) == (long)TEXT ? 0 : -1);
  refused("brk", raw(SYS_brk, SLOTS + 4096, 0, 0, 0) >= (long)SLOTS ? 0 : -1);
}

static void copies(const void *p) {
  (void)p;
  int pipes[2], zero = open("/dev/zero", O_RDONLY), self = open("/proc/self/mem", O_RDWR);
  if (pipe(pipes)) _exit(1);
  static char mine[4096];
  for (unsigned z = 0; z < 7; z++) {
    u64 at = zones[z][0] < TEXT ? TEXT : zones[z][0];
    refused("write from the zone", raw(SYS_write, pipes[1], at, 64, 0));
    if (zero >= 0) refused("read into the zone", raw(SYS_read, zero, at, 64, 0));
    if (write(pipes[1], mine, 64) == 64) {
      refused("pipe into the zone", raw(SYS_read, pipes[0], at, 64, 0));
      if (read(pipes[0], mine, 64) != 64) _exit(1);
    }
    refused("path in the zone", raw(SYS_open, at, 0, 0, 0));
    refused("stat into the zone", raw(SYS_stat, "/", at, 0, 0));
    refused("getcwd into the zone", raw(SYS_getcwd, at, 4096, 0, 0));
    refused("clock into the zone", raw(SYS_clock_gettime, 0, at, 0, 0));
    struct iovec local = {mine, 64}, remote = {(void *)at, 64};
    refused("process_vm_readv of the zone", raw6(SYS_process_vm_readv, getpid(), (u64)&local, 1, (u64)&remote, 1, 0));
    refused("process_vm_writev of the zone", raw6(SYS_process_vm_writev, getpid(), (u64)&local, 1, (u64)&remote, 1, 0));
    if (self >= 0) {
      refused("reading /proc/self/mem at the zone", raw(SYS_pread64, self, mine, 64, at));
      refused("writing /proc/self/mem at the zone", raw(SYS_pwrite64, self, mine, 64, at));
    }
    raw(SYS_set_robust_list, at, 24, 0, 0);
    raw6(SYS_rseq, at & ~31ull, 32, 0, 0x53053053, 0, 0);
    raw(SYS_set_tid_address, at, 0, 0, 0);
    still_works("after copies at the zone");
  }
}

static void settings(const void *p) {
  (void)p;
  for (u64 op = 0; op < 80; op++) {
    if (op == 1 || op == 22) continue; // its death signal, its own seccomp mode: meant to end it
    raw6(SYS_prctl, op, TEXT, SLOTS, 4096, STACKS, 0);
    raw6(SYS_prctl, op, 1, 0, 0, 0, 0);
  }
  for (u64 op = 0x1000; op < 0x1040; op++)
    if (op != 0x1002) raw(SYS_arch_prctl, op, TEXT, 0, 0), raw(SYS_arch_prctl, op, SLOTS, 0, 0);
  raw(SYS_arch_prctl, 0x2001, TEXT, 0, 0), raw(SYS_arch_prctl, 0x3001, 1, 0, 0), raw(SYS_arch_prctl, 0x5001, 1, 0, 0);
  // A syscall user dispatch that lets everything of the stub's pass.
  raw6(SYS_prctl, 59, 1, TEXT, 4096, SLOTS, 0);
  still_works("after prctl");
}

static void filters(const void *p) {
  (void)p;
  // A filter of the guest's own that allows everything, asks for a listener, or answers in the host's stead.
  struct { unsigned short code; unsigned char jt, jf; unsigned k; } program[] = {{6, 0, 0, 0x7fff0000}};
  struct { unsigned short len; void *filter; } prog = {1, program};
  raw(SYS_prctl, 38, 1, 0, 0);
  unsigned actions[] = {0x7fff0000, 0x7ff00000, 0x7ffc0000, 0x7fc00000};
  for (u64 flags = 0; flags < 64; flags++)
    for (int a = 0; a < 3; a++) {
      program[0].k = actions[a];
      raw(SYS_seccomp, 1, flags, &prog, 0);
    }
  raw(SYS_open, canary, O_RDWR, 0, 0);
}

static void end_at_once(void) { raw(SYS_exit_group, 0, 0, 0, 0); }

static void clone_bit(const void *p) {
  u64 flags = *(const u64 *)p;
  static char stack[8192] __attribute__((aligned(16)));
  long r = raw6(SYS_clone, flags, flags & 0x100 ? (u64)stack + 8000 : 0, (u64)stack, (u64)stack, TEXT, 0);
  (void)r;
  end_at_once();
}

static void clones(void) {
  struct tally t = {0};
  for (int bit = 0; bit < 64; bit++) {
    u64 flags = 1ull << bit | SIGCHLD;
    attempt(&t, 50, clone_bit, &flags);
    flags = 1ull << bit | 0x50f00; // a thread and this
    attempt(&t, 50, clone_bit, &flags);
  }
  report("clone with every flag", &t);
}

void memory_attacks(void) {
  struct tally t = {0};
  void (*all[])(const void *) = {calls, copies, settings, filters};
  const char *names[] = {"memory calls at the zone", "copies at the zone", "prctl and arch_prctl", "filters of its own"};
  for (int i = 0; i < 4; i++)
    // Its own filters answer ENOSYS to everything, exit included, as Linux's would: the last one cannot end by itself.
    if (!attempt(&t, 8000, all[i], 0) && all[i] != filters) breach(names[i], 0);
  report("the stub's zone through calls", &t);
  clones();
}
