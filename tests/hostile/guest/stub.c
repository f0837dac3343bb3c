// The stub: jumps into every byte, every call from its gates, forged doorbells, its futex.
#include "common.h"
#include <linux/futex.h>

static char area[65536] __attribute__((aligned(4096)));

__attribute__((naked, noreturn)) void jump(u64 target, const struct registers *r) {
  (void)target, (void)r;
  __asm__("mov %rdi, jump_target(%rip)\n"
          "mov 120(%rsi), %rsp\n"
          "mov 0(%rsi), %rax\n mov 8(%rsi), %rbx\n mov 16(%rsi), %rcx\n mov 24(%rsi), %rdx\n mov 40(%rsi), %rdi\n mov 48(%rsi), %rbp\n"
          "mov 56(%rsi), %r8\n mov 64(%rsi), %r9\n mov 72(%rsi), %r10\n mov 80(%rsi), %r11\n mov 88(%rsi), %r12\n mov 96(%rsi), %r13\n"
          "mov 104(%rsi), %r14\n mov 112(%rsi), %r15\n mov 32(%rsi), %rsi\n"
          "jmp *jump_target(%rip)\n"
          ".pushsection .bss\n.balign 8\njump_target: .quad 0\n.popsection\n");
}

struct leap { u64 target; struct registers r; };

static void leap(const void *p) {
  const struct leap *l = p;
  jump(l->target, &l->r);
}

// Registers as in the stub itself, for the first thread's slot.
static struct registers inside(void) {
  u64 frame = STACKS + STACK_SIZE - 4096 - 8;
  return (struct registers){.rax = 1, .rbx = frame, .rdi = 0x100, .rsi = frame, .r12 = SLOTS, .r13 = SLOTS + SLOT_ORDERS, .r15 = SLOTS + SLOT_ORDERS + 64, .rsp = frame};
}

// The same with memory of the attacker's, full of orders that open files and make executable memory.
static struct registers outside(void) {
  u64 *orders = (u64 *)(area + 0x4000);
  orders[0] = 3;
  u64 calls[3][7] = {{SYS_open, (u64)canary, O_RDWR}, {SYS_mmap, TEXT, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, ~0ull}, {SYS_munmap, TEXT, 4096}};
  for (int i = 0; i < 3; i++) memcpy(orders + 8 + i * 8, calls[i], sizeof calls[i]);
  u64 base = (u64)area;
  return (struct registers){.rax = 3, .rbx = base + 0x8000, .rbp = 3, .rdi = 0x100, .rsi = base, .r12 = base + 0x3e00, .r13 = base + 0x4000, .r14 = SYS_open, .r15 = base + 0x4040, .rsp = base + 0x8000};
}

static void every_byte(void) {
  struct tally t = {0};
  struct registers sets[] = {{.rsp = (u64)area + 0x8000}, inside(), outside()};
  for (int set = 0; set < 3; set++)
    for (int at = 0; at < stub_length + 8; at++) attempt(&t, 20, leap, &(struct leap){TEXT + at, sets[set]});
  report("jumps into every byte of the stub", &t);
}

static void calls_from_gates(void) {
  struct tally t = {0};
  for (int gate = 0; gate < gate_count; gate++) {
    int step = gate == 3 ? 1 : 17;
    for (u64 nr = 0; nr < 470; nr += step) {
      struct registers r = inside();
      r.rax = nr, r.rdi = (u64)canary, r.rsi = 2, r.rdx = 0, r.r10 = 0x22, r.r14 = nr, r.rbp = 1;
      attempt(&t, 20, leap, &(struct leap){gates[gate], r});
    }
  }
  report("every call from the stub's gates", &t);
}

static void descriptors(void) {
  struct tally t = {0};
  u64 calls[] = {SYS_read, SYS_write, SYS_close, SYS_ioctl, SYS_dup2, SYS_sendmsg, SYS_recvmsg, SYS_fcntl, SYS_ftruncate, SYS_mmap, SYS_openat, SYS_pidfd_getfd};
  for (u64 fd = 0; fd < 65; fd++)
    for (unsigned c = 0; c < sizeof calls / sizeof *calls; c++) {
      if (fd > 8 && (fd + c) % 4) continue;
      struct registers r = inside();
      r.rax = r.r14 = calls[c], r.rdi = fd, r.rsi = (u64)canary, r.rdx = 64, r.r10 = 0;
      if (calls[c] == SYS_mmap) r.rdi = 0, r.rsi = 1 << 20, r.rdx = 3, r.r10 = MAP_SHARED, r.r8 = fd, r.r9 = 0;
      attempt(&t, 20, leap, &(struct leap){gates[c % 2 ? 3 : 0], r});
    }
  report("host descriptor numbers from the stub", &t);
}

static void doorbells(void) {
  struct tally t = {0};
  u64 pointers[] = {0, 8, ~0ull, ~7ull, STACKS, STACKS + 1024, STACKS + STACK_SIZE - 440, STACKS + STACK_SIZE - 8, STACKS + STACK_SIZE * 3 + 2048, SLOTS, TEXT, (u64)area, 0x8000000000000000ull};
  for (int gate = 0; gate < gate_count; gate++)
    for (u64 kind = 0; kind <= 0x110; kind += kind == 70 ? 0x100 - 70 : kind > 36 && kind < 60 ? 8 : 1)
      for (unsigned p = 0; p < sizeof pointers / sizeof *pointers; p++) {
        if (gate && (kind + p + gate) % 9) continue;
        struct registers r = inside();
        r.rax = DOORBELL, r.rdi = kind, r.rsi = pointers[p], r.rdx = pointers[(p + 5) % 13], r.rbx = pointers[(p + 3) % 13] & ~7ull;
        attempt(&t, 20, leap, &(struct leap){gates[gate], r});
      }
  report("forged doorbells", &t);
  struct tally own = {0};
  for (u64 kind = 0; kind <= 0x110; kind++, own.tried++, own.exited++)
    if (raw(DOORBELL, kind, pointers[kind % 13], pointers[kind % 7], 0) != -ENOSYS) breach("a doorbell from elsewhere", kind);
  report("doorbells from elsewhere", &own);
}

static void slot_futex(void) {
  struct tally t = {0};
  u64 words[] = {SLOTS + SLOT_PARK, SLOTS + SLOT_READY, SLOTS + 15 * 4096 + SLOT_PARK, SLOTS + 0xffff000, SLOTS + 0xffffffc, SLOTS + 3, SLOTS + 0x10000000, SLOTS - 4, STACKS, TEXT, (u64)area};
  static struct timespec soon = {0, 1000000};
  for (u64 op = 0; op < 16; op++)
    for (u64 flags = 0; flags < 512; flags += 128)
      for (unsigned w = 0; w < sizeof words / sizeof *words; w++) {
        if (op > 1 && (op + w + flags / 128) % 3) continue;
        struct registers r = inside();
        r.rax = SYS_futex, r.rdi = words[w], r.rsi = op | flags, r.rdx = 0, r.r10 = (u64)&soon, r.r8 = SLOTS, r.r9 = ~0ull;
        for (int gate = 0; gate < gate_count; gate++)
          if (op < 2 || gate == 2 || (gate + w) % 5 == 0) attempt(&t, 10, leap, &(struct leap){gates[gate], r});
        long own = raw6(SYS_futex, words[w], op | flags, 1, (u64)&soon, SLOTS, 0);
        if (words[w] >= SLOTS - 4 && words[w] != (u64)area && own >= 0) breach("a futex in the stub's zone", (long)(op | flags));
      }
  report("futexes on slots", &t);
}

void stub_attacks(void) {
  every_byte();
  calls_from_gates();
  descriptors();
  doorbells();
  slot_futex();
}
