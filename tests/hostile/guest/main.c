// A hostile guest. `hostile attack CANARY` tries everything; `hostile witness` guards a pattern in memory until SIGTERM; `hostile ping` answers.
#include "common.h"

char canary[4096];
u64 gates[16];
int gate_count, stub_length;
static int breaches;

u64 random64(void) {
  static u64 x = 88172645463325252ull;
  x ^= x << 13, x ^= x >> 7, x ^= x << 17;
  return x;
}

void breach(const char *what, long value) {
  dprintf(1, "BREACH %s (%ld)\n", what, value);
  breaches++;
}

void report(const char *name, const struct tally *t) {
  dprintf(1, "%-44s %5d tried: %5d exited, %5d killed, %4d timed out\n", name, t->tried, t->exited, t->killed, t->late);
}

void on_fault(int signal) {
  (void)signal;
  _exit(99);
}

void handle_faults(void) {
  static char stack[65536];
  stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
  sigaltstack(&alternate, 0);
  struct sigaction a = {.sa_handler = on_fault, .sa_flags = SA_ONSTACK};
  int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS};
  for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++) sigaction(signals[i], &a, 0);
}

// 1 if it ran to its end (or to a fault that it handles), 0 if it was killed.
int attempt(struct tally *t, int milliseconds, void (*f)(const void *), const void *arg) {
  t->tried++;
  pid_t p = fork();
  if (p < 0) {
    dprintf(1, "fork: %s\n", strerror(errno));
    return 0;
  }
  if (!p) {
    handle_faults();
    struct itimerval timer = {.it_value = {milliseconds / 1000, milliseconds % 1000 * 1000}};
    setitimer(ITIMER_REAL, &timer, 0);
    f(arg);
    _exit(0);
  }
  int status;
  // An attack may stop itself for good, as Linux has it (a child whose exit signal is SIGSTOP): a stopped process gets no alarm.
  for (;;) {
    if (waitpid(p, &status, __WALL | WUNTRACED) != p) continue;
    if (!WIFSTOPPED(status)) break;
    kill(p, SIGKILL);
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == BREACH) breach("an attack succeeded: try", t->tried);
  if (WIFEXITED(status)) t->exited++;
  else if (WTERMSIG(status) == SIGALRM) t->late++;
  else t->killed++;
  return WIFEXITED(status);
}

static u64 pattern(size_t i) { return i * 0x9e3779b97f4a7c15ull + 0x1234567; }

static volatile sig_atomic_t told_to_end;
static void on_term(int signal) { (void)signal, told_to_end = 1; }

static int witness(int ready) {
  struct sigaction a = {.sa_handler = on_term};
  sigaction(SIGTERM, &a, 0);
  size_t words = (4 << 20) / 8;
  u64 *memory = mmap(0, words * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (size_t i = 0; i < words; i++) memory[i] = pattern(i);
  u64 slots[64];
  for (int i = 0; i < 64; i++) slots[i] = pattern(i);
  if (write(ready, "r", 1) != 1) return 3;
  for (int last = 0; !last;) {
    last = told_to_end;
    for (size_t i = 0; i < words; i++) if (memory[i] != pattern(i)) return 4;
    for (int i = 0; i < 64; i++) if (slots[i] != pattern(i)) return 5;
    if (getppid() < 0) return 6;
    usleep(20000);
  }
  return 0;
}

static void find_gates(void) {
  const unsigned char *text = (const unsigned char *)TEXT;
  for (int i = 0; i < 4096; i++) if (text[i]) stub_length = i + 1;
  for (int i = 0; i + 1 < stub_length; i++)
    if (text[i] == 0x0f && text[i + 1] == 0x05 && gate_count < 16) gates[gate_count++] = TEXT + i;
  dprintf(1, "the stub has %d bytes and %d gates\n", stub_length, gate_count);
}

static u64 now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

static void timed(const char *name, void (*f)(void)) {
  u64 start = now_ms();
  f();
  dprintf(1, "-- %s: %llu ms\n", name, (unsigned long long)(now_ms() - start));
}

int main(int argc, char **argv) {
  if (argc == 2 && !strcmp(argv[1], "ping")) return puts("pong"), 0;
  if (argc == 2 && !strcmp(argv[1], "nothing")) return 0;
  if (argc == 2 && !strcmp(argv[1], "witness")) {
    int code = witness(1);
    dprintf(1, code ? "witness: harmed (%d)\n" : "witness: intact\n", code);
    return code;
  }
  if (argc < 3 || strcmp(argv[1], "attack")) return 2;
  snprintf(canary, sizeof canary, "%s", argv[2]);
  const char *only = argc > 3 ? argv[3] : "";
  int ready[2];
  char byte;
  if (pipe(ready)) return 2;
  pid_t sibling = fork();
  if (!sibling) _exit(witness(ready[1]));
  if (read(ready[0], &byte, 1) != 1) return 2;
  find_gates();
  deaf_start();
  struct { const char *name; void (*f)(void); } all[] = {{"raw", raw_attacks}, {"memory", memory_attacks}, {"stub", stub_attacks}, {"frames", frame_attacks}, {"races", race_attacks}};
  for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
    if (!*only || !strcmp(only, all[i].name)) timed(all[i].name, all[i].f);
  timed("deaf", deaf_finish);
  kill(sibling, SIGTERM);
  int status;
  waitpid(sibling, &status, 0);
  if (status) breach("the sibling process was harmed", status);
  dprintf(1, "hostile: %d breaches, done\n", breaches);
  return breaches != 0;
}
