# shareProcessNamespace: the containers see and signal each other, the pause program is process 1; an ephemeral container joins one container's processes.
p=$(pod one --pid pod)
a=$(container "$p" a --pid pod -- sh -c 'echo ready; trap "echo usr1" USR1; while :; do sleep 0.05; done')
b=$(container "$p" b --pid pod -- sleep 1234)
until_true 'grep -q ready logs/a.log'
cri exec "$a" -- sh -c 'tr "\0" " " < /proc/1/cmdline | cut -c 1-6; pgrep -x -f "sleep 1234" > /dev/null && echo "sees b"'
cri exec "$b" -- pkill -USR1 -f 'echo usr1'
until_true 'grep -q usr1 logs/a.log' && echo "b signals a"
# The other's files through /proc.
cri exec "$a" -- sh -c 'echo here > /tmp/of-a'
cri exec "$b" -- sh -c 'cat /proc/$(pgrep -o -f "echo [u]sr1")/root/tmp/of-a'
cri exec "$b" -- sh -c 'kill -9 $(pgrep -o -f "echo [u]sr1")'
until_true '[ "$(cri status "$a" | cut -d " " -f 1)" = exited ]'
cri status "$a"; cri status "$b"
# Orphans are the pause program's.
cri exec "$b" -- sh -c '(sleep 300 > /dev/null 2>&1 &) ; until [ "$(ps -o ppid= -p $(pgrep -x -f "sleep 300") | tr -d " ")" = 1 ]; do sleep 0.02; done; echo "init has the orphan"'
# Ephemeral: kubectl debug --target.
q=$(pod two)
target=$(container "$q" target -- sh -c 'trap "exit 9" TERM; while :; do sleep 0.05; done')
other=$(container "$q" other -- sleep 4321)
e=$(container "$q" debugger --pid "$target" --stdin -- sleep 1000)
cri exec "$e" -- sh -c 'tr "\0" " " < /proc/1/cmdline | cut -c 1-12; pgrep -x -f "sleep 4321" || echo "only the target"; ls /proc/1/root > /dev/null && echo root; hostname'
cri exec "$e" -- kill 1
until_true '[ "$(cri status "$target" | cut -d " " -f 1)" = exited ]'
cri status "$target"
cri status "$other"
