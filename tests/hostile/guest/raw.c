// Calls by every gate that x86 has, with every number and odd widths.
#include "common.h"
#include <linux/audit.h>

static char buffer[8192] __attribute__((aligned(4096)));

struct one { u64 nr; struct six args; };

static void call_one(const void *p) {
  const struct one *o = p;
  raw6(o->nr, o->args.a[0], o->args.a[1], o->args.a[2], o->args.a[3], o->args.a[4], o->args.a[5]);
  raw(SYS_exit_group, 0, 0, 0, 0);
}

// Left out: those whose guest meaning is to stop or end this container's processes with just these arguments.
static int is_meant_to_hurt(u64 nr) { return nr == SYS_kill || nr == SYS_tkill || nr == SYS_rt_sigqueueinfo || nr == SYS_pidfd_send_signal; }

static void every_number(void) {
  u64 wild = TEXT;
  struct six sets[] = {{{0}}, {{~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull}}, {{wild, 4096, 7, 0x32, ~0ull, 0}}, {{(u64)buffer, (u64)buffer, (u64)buffer, (u64)buffer, (u64)buffer, (u64)buffer}}, {{1, SLOTS, 4096, STACKS, 1, TEXT}}};
  struct tally t = {0};
  for (u64 set = 0; set < sizeof sets / sizeof *sets; set++)
    for (u64 nr = 0; nr <= 600; nr++) {
      if (set && is_meant_to_hurt(nr)) continue;
      strcpy(buffer, canary);
      attempt(&t, 30, call_one, &(struct one){nr, sets[set]});
    }
  report("every call number", &t);
}

static void widths(void) {
  struct tally t = {0};
  pid_t me = getpid();
  u64 tops[] = {0x100000000ull, 0x8000000000000000ull, 0xffffffff00000000ull, 0xdeadbeef00000000ull};
  for (unsigned i = 0; i < 4; i++) {
    t.tried++;
    // Linux looks at the low half only.
    if (raw(tops[i] | SYS_getpid, 0, 0, 0, 0) != me) breach("high bits of a number change an ordinary call", i);
    long at = raw6(tops[i] | SYS_mmap, 0, 4096, 3, 0x22, ~0ull, 0);
    if (at < 0) breach("high bits of a number change a trapping call", at);
    else raw(SYS_munmap, at, 4096, 0, 0);
    t.exited++;
  }
  u64 odd[] = {0x40000000, 0x40000000 + SYS_getpid, 0x40000000 + 512, 0x40000000 + 513, 0x40000000 + 520, 0x40000000 + 547, 0x7fffffff, 0x80000000, 0xffffffff, ~0ull, 0x3fffffff, DOORBELL, DOORBELL + 1, 0x3ffff000};
  for (unsigned i = 0; i < sizeof odd / sizeof *odd; i++) {
    t.tried++, t.exited++;
    long r = raw(odd[i], TEXT, SLOTS, 1, 2);
    if (r != -ENOSYS) breach("a number that does not exist", r);
  }
  // 335 and 336 are the host's own: they pass every filter, and must do nothing.
  for (u64 nr = 335; nr <= 336; nr++) attempt(&t, 100, call_one, &(struct one){nr, {{TEXT, SLOTS, 3, 4, 5, 6}}});
  report("odd widths, x32, negative, 335 and 336", &t);
}

// Code below 4 GiB, where 32-bit gates can reach their arguments.
static unsigned char *low;

struct gate32 { unsigned nr; int how; };

static void call32(const void *p) {
  const struct gate32 *g = p;
  long r = g->nr;
  u64 name = (u64)low + 2048;
  if (g->how == 0) __asm__ volatile("int $0x80" : "+a"(r) : "b"(name), "c"(2), "d"(0), "S"(0), "D"(0) : "memory", "r8", "r9", "r10", "r11");
  if (g->how == 1) {
    // sysenter returns to the vDSO's 32-bit page, which is not there: either way this child ends.
    __asm__ volatile("mov %%rsp, %%rbp\nsysenter" : "+a"(r) : "b"(name), "c"(2), "d"(0) : "memory", "r11");
  }
  if (g->how == 2) {
    // To a 32-bit code segment, then int 0x80 there.
    unsigned char code[] = {0xb8, g->nr, g->nr >> 8, 0, 0, 0xbb, 0, 0, 0, 0, 0xb9, 2, 0, 0, 0, 0x31, 0xd2, 0xcd, 0x80, 0x0f, 0x0b};
    unsigned at = (unsigned)name;
    memcpy(code + 6, &at, 4);
    memcpy(low, code, sizeof code);
    struct { unsigned offset; unsigned short selector; } __attribute__((packed)) far = {(unsigned)(u64)low, 0x23};
    __asm__ volatile("mov %1, %%rsp\nljmp *%0" : : "m"(far), "r"((u64)low + 4000) : "memory");
  }
  if (r > 0 && g->nr != 20 && g->how == 0) _exit(BREACH);
  _exit(r == -ENOSYS ? 0 : 1);
}

static void old_gates(void) {
  struct tally t = {0};
  low = mmap(0, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  if (low == MAP_FAILED) low = mmap((void *)0x10000000, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  strcpy((char *)low + 2048, canary);
  for (unsigned nr = 0; nr < 450; nr++) attempt(&t, 50, call32, &(struct gate32){nr, 0});
  // open, creat, unlink, execve, socketcall, clone, mmap2, openat; by the others only those
  unsigned some[] = {1, 2, 5, 8, 10, 11, 20, 102, 120, 192, 295, 322, 358};
  for (unsigned i = 0; i < sizeof some / sizeof *some; i++)
    for (int how = 1; how <= 2; how++) attempt(&t, 50, call32, &(struct gate32){some[i], how});
  report("int 0x80, sysenter, 32-bit code segment", &t);
}

static void call_page(const void *p) {
  u64 address = *(const u64 *)p;
  long r;
  __asm__ volatile("call *%1" : "=a"(r) : "r"(address), "D"(buffer), "S"(buffer + 64) : "memory", "rcx", "r11", "rdx", "r8", "r9", "r10");
  _exit(r == 0 ? 0 : 1);
}

static void read_byte(const void *p) { _exit(**(const volatile char *const *)p); }

static void vsyscall(void) {
  struct tally t = {0};
  u64 page = 0xffffffffff600000ull;
  u64 offsets[] = {0, 0x400, 0x800, 1, 9, 0x7ff, 0xc00, 0xfff};
  for (unsigned i = 0; i < sizeof offsets / sizeof *offsets; i++) {
    u64 at = page + offsets[i];
    attempt(&t, 100, call_page, &at);
  }
  attempt(&t, 100, read_byte, &page);
  report("the vsyscall page", &t);
}

static void generated(const void *p) {
  (void)p;
  unsigned char *code = mmap(0, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (int round = 0; round < 300; round++) {
    // mov eax, nr; syscall; ret, written just before it runs; from the second page half also across odd alignments.
    unsigned nr = round % 2 ? SYS_openat : SYS_getppid;
    unsigned char text[] = {0xb8, nr, nr >> 8, 0, 0, 0x0f, 0x05, 0xc3};
    memcpy(code + round * 7, text, sizeof text);
    long r = ((long (*)(u64, const char *, u64, u64))(code + round * 7))(AT_FDCWD, canary, 0, 0);
    if (round % 2 && r >= 0) _exit(BREACH);
    mprotect(code, 4096, round % 3 ? 7 : 5);
    mprotect(code, 4096, 7);
  }
}

static void generated_code(void) {
  struct tally t = {0};
  if (!attempt(&t, 2000, generated, 0)) breach("generated code was killed", 0);
  report("generated code", &t);
}

void raw_attacks(void) {
  widths();
  old_gates();
  vsyscall();
  generated_code();
  every_number();
}
