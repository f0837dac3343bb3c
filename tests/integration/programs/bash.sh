# bash itself: jobs, traps, pipelines, substitutions, here documents, arrays.
set -euo pipefail
echo "sum $((1 + 2 * 3)), $(echo nested "$(echo twice)")"
declare -A colour=([apple]=red [lemon]=yellow)
for fruit in apple lemon; do echo "$fruit ${colour[$fruit]}"; done
seq 1 1000 | while read -r n; do ((n % 100)) || echo "n $n"; done
diff <(seq 1 5) <(seq 1 6) || echo "diff says $?"
(exit 7) || echo "subshell $?"
trap 'echo trapped USR1' USR1
kill -USR1 $$
sleep 100 & pid=$!
kill "$pid"
wait "$pid" || echo "killed: $?"
for i in 1 2 3 4 5; do (echo "child $i" > "out-$i") & done
wait
cat out-*
coproc tr a-z A-Z
echo through a coprocess >&"${COPROC[1]}"
exec {COPROC[1]}>&-
cat <&"${COPROC[0]}"
mkfifo pipe
cat pipe > from-pipe &
echo fifo > pipe
wait
cat from-pipe
rm pipe
ulimit -n
umask
set +e
false | true; echo "pipefail $?"
timeout 0.2 sleep 5; echo "timeout $?"
bash -c 'kill -SEGV $$'; echo "segfault $?"
