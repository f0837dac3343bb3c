# gcc and make: a program of several files, built in parallel, shared library, then run.
set -euo pipefail
mkdir build && cd build
for i in $(seq 1 12); do
    printf '#include "all.h"\nint f%d(int x) { return x * %d + %d; }\n' "$i" "$i" "$((i % 3))" > "f$i.c"
    printf 'int f%d(int);\n' "$i" >> all.h
done
cat > main.c <<'C'
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include "all.h"
static void *worker(void *arg) { long sum = 0; for (int i = 0; i < 100000; i++) sum += f3(i) ^ f7(i); *(long *)arg = sum; return 0; }
int main(void) {
    long results[8]; pthread_t threads[8];
    for (int i = 0; i < 8; i++) pthread_create(&threads[i], 0, worker, &results[i]);
    for (int i = 0; i < 8; i++) pthread_join(threads[i], 0);
    printf("%d %ld\n", f1(1) + f12(12), results[0] + results[7]);
    return 0;
}
C
cat > Makefile <<'M'
objects = $(patsubst %.c,%.o,$(wildcard f*.c))
program: main.o libf.so
	gcc -o $@ main.o -L. -lf -Wl,-rpath,. -pthread
libf.so: $(objects)
	gcc -shared -o $@ $^
%.o: %.c all.h
	gcc -O2 -fPIC -c -o $@ $<
clean:
	rm -f *.o *.so program
.PHONY: clean
M
make -s -j4
./program
make -s -j4 && echo "nothing to do"
touch f3.c && make -n | grep -c 'f3.o'
make -s clean
for kind in "-O0 -static" "-no-pie" "-static -no-pie" "-static-pie" "-fPIE -pie"; do
    gcc $kind -x c - -o hello <<'C'
#include <stdio.h>
#include <errno.h>
#include <unistd.h>
int main(int argc, char **argv) { printf("hello from %s with %d\n", argv[0], argc); return access("/none", F_OK) ? errno : 0; }
C
    ./hello one two || echo "$kind: exit $?"
done
echo 'int main(void) { return *(volatile int *)0; }' | gcc -x c - -o crash
./crash 2>/dev/null || echo "crash: $?"
echo 'syntax error here' | gcc -x c - -o /dev/null 2>/dev/null || echo "compiler: $?"
cd .. && rm -r build
