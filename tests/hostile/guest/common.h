// What the attacks share: raw calls, trials in children of their own, the layout of the stub's zone.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

typedef uint64_t u64;

// As in platform/src/stub/mod.rs: the attacker has the source in hand.
#define TEXT 0x7fff00000000ull
#define CONTROL 0x7fff00100000ull
#define SLOTS 0x7fff10000000ull
#define STACKS 0x7fff40000000ull
#define STACK_SIZE 0x8000ull
#define SLOT_READY 0x8
#define SLOT_PARK 0x10
#define SLOT_ORDERS 0x200
#define DOORBELL 0x3ffff001

// A file of the host that no guest may see; every buffer that a wild call may take for a path holds its name.
extern char canary[4096];
// The stub's `syscall` instructions, found by reading its page.
extern u64 gates[16];
extern int gate_count;
extern int stub_length;

// The exit code of an attack that got through.
#define BREACH 77

struct six { u64 a[6]; };

static inline long raw6(u64 nr, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f) {
  register u64 r10 __asm__("r10") = d;
  register u64 r8 __asm__("r8") = e;
  register u64 r9 __asm__("r9") = f;
  __asm__ volatile("syscall" : "+a"(nr) : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
  return (long)nr;
}
#define raw(nr, a, b, c, d) raw6((u64)(nr), (u64)(a), (u64)(b), (u64)(c), (u64)(d), 0, 0)

// All general registers but rsp, in the order that `jump` loads them, then rsp.
struct registers { u64 rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rsp; };
// Jumps to `target` with these registers. Does not return by itself.
void jump(u64 target, const struct registers *r) __attribute__((noreturn));

// Runs `f(arg)` in a child with a timer; counts how it ended.
struct tally { int tried, exited, killed, late; };
int attempt(struct tally *t, int milliseconds, void (*f)(const void *), const void *arg);
void report(const char *name, const struct tally *t);
// Prints and remembers that something got through.
void breach(const char *what, long value);
u64 random64(void);
void on_fault(int signal);
void handle_faults(void);

void raw_attacks(void);
void stub_attacks(void);
void frame_attacks(void);
void memory_attacks(void);
void race_attacks(void);
void deaf_start(void);
void deaf_finish(void);
