// Forged signal frames: masks, selectors, flags, extended state, alternate stacks; by the stub's rt_sigreturn and by the guest's own.
#include "common.h"

// What rt_sigreturn takes, with rsp at `uc`.
struct frame { u64 flags, link; stack_t stack; u64 regs[23]; u64 fpstate; u64 reserved[8]; u64 mask; u64 info[16]; };

static char area[1 << 16] __attribute__((aligned(4096)));
static volatile int landed;

static void after(void) {
  landed = 1;
  // Trapping and ordinary calls with whatever was loaded, then a wait for the timer's kick.
  raw(SYS_getppid, 0, 0, 0, 0);
  raw6(SYS_mmap, 0, 4096, 3, 0x22, ~0ull, 0);
  raw(SYS_open, canary, O_RDWR, 0, 0);
  for (volatile long i = 0; i < 20000000; i++)
    ;
  raw(SYS_exit_group, 0, 0, 0, 0);
}

struct forged { struct frame frame; int gate; };

static void load(const void *p) {
  const struct forged *f = p;
  struct frame *at = (struct frame *)(area + 0x8000);
  *at = f->frame;
  struct registers r = {.rax = SYS_rt_sigreturn, .rsp = (u64)at};
  if (f->gate >= 0) jump(gates[f->gate], &r);
  __asm__ volatile("mov %0, %%rsp\nmov $15, %%eax\nsyscall\nud2" : : "r"(at) : "memory");
}

static struct frame plain(void) {
  struct frame f = {.flags = 6, .stack = {.ss_flags = SS_DISABLE}};
  f.regs[15] = (u64)area + 0xf000 - 8; // rsp
  f.regs[16] = (u64)after;             // rip
  f.regs[17] = 0x202;
  f.regs[18] = 0x33 | 0x2bull << 48;
  return f;
}

static void both(struct tally *t, struct frame f) {
  // The second gate is the handler's rt_sigreturn.
  for (int gate = -1; gate < 2; gate++) attempt(t, 40, load, &(struct forged){f, gate});
}

static void selectors_and_flags(void) {
  struct tally t = {0};
  u64 selectors[] = {0, 0x23, 0x2b, 0x33, 0x10, 0x18, 0x8, 3, 0xffff, 0x3b, 0x63, 0x7};
  for (unsigned cs = 0; cs < 12; cs++)
    for (unsigned ss = 0; ss < 12; ss++) {
      if (cs != 3 && ss != 2 && (cs + ss) % 4) continue;
      struct frame f = plain();
      f.regs[18] = selectors[cs] | selectors[ss] << 48;
      f.flags = (cs + ss) % 8;
      both(&t, f);
    }
  for (int bit = 0; bit < 64; bit++) {
    struct frame f = plain();
    f.regs[17] = 0x202 | 1ull << bit;
    both(&t, f);
  }
  u64 targets[] = {0, ~0ull, TEXT, SLOTS, STACKS, 0xffffffffff600000ull, 0xffff800000000000ull, 0x7ffffffff000ull};
  for (int i = 0; i < 8; i++) {
    struct frame f = plain();
    f.regs[16] = targets[i];
    both(&t, f);
    f = plain();
    f.regs[15] = targets[i];
    both(&t, f);
  }
  report("frames: selectors, flags, rip, rsp", &t);
}

static void state_and_masks(void) {
  struct tally t = {0};
  u64 places[] = {1, 8, 64, ~0ull, ~63ull, TEXT, SLOTS, STACKS, STACKS + STACK_SIZE - 64, (u64)area + 64, (u64)area + 1, 0xffff888000000000ull};
  for (int i = 0; i < 12; i++)
    for (int kind = 0; kind < 3; kind++) {
      struct frame f = plain();
      f.fpstate = places[i];
      f.flags = 7;
      for (u64 k = 0; k < 4096; k += 8) *(u64 *)(area + k) = kind == 0 ? 0 : random64();
      if (kind == 2) {
        // Marked as extended state: features that do not exist, sizes beyond the page.
        unsigned *words = (unsigned *)(area + 64 + 464);
        words[0] = 0x46505853, words[1] = 0xffffff, words[2] = ~0u, words[3] = ~0u, words[4] = 0x10000;
      }
      both(&t, f);
    }
  u64 stacks[][2] = {{TEXT, 4096}, {SLOTS, 65536}, {STACKS, STACK_SIZE}, {STACKS + STACK_SIZE * 5, STACK_SIZE}, {0, 65536}, {~0ull - 65535, 65536}, {(u64)area, 0x4000}, {CONTROL, 0x4000}};
  for (int i = 0; i < 8; i++)
    for (int masked = 0; masked < 2; masked++) {
      struct frame f = plain();
      f.stack = (stack_t){.ss_sp = (void *)stacks[i][0], .ss_size = stacks[i][1]};
      f.mask = masked ? ~0ull : 0;
      both(&t, f);
    }
  report("frames: extended state, stacks, masks", &t);
}

void frame_attacks(void) {
  selectors_and_flags();
  state_and_masks();
}

// A process that masks everything and spins: it has to be killed at the deadline of its first kick.
static pid_t deaf;

void deaf_start(void) {
  deaf = fork();
  if (deaf) {
    // The first kick's deadline runs while the other attacks do.
    usleep(20000);
    kill(deaf, SIGTERM);
    return;
  }
  struct frame f = plain();
  f.mask = ~0ull;
  extern char spin[];
  __asm__ volatile("jmp 1f\nspin: jmp spin\n1:");
  f.regs[16] = (u64)spin;
  for (int gate = 0; gate < gate_count; gate++)
    if (gate == 1) load(&(struct forged){f, gate});
  _exit(1);
}

void deaf_finish(void) {
  int status = 0;
  waitpid(deaf, &status, 0);
  struct tally t = {1, WIFEXITED(status), WIFSIGNALED(status), 0};
  report("a process that masks everything", &t);
}
