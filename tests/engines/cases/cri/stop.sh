# The end of a container: its grace, SIGKILL after it, and of a pod with what still runs; again and again is no error.
p=$(pod one)
a=$(container "$p" a -- sh -c 'trap "echo term; sleep 0.3; exit 8" TERM; echo ready; while :; do sleep 0.05; done')
b=$(container "$p" b -- sh -c 'trap "echo ignored" TERM; echo ready; while :; do sleep 0.05; done')
until_true 'grep -q ready logs/a.log && grep -q ready logs/b.log'
cri stop "$a" 10; cri status "$a"
before=$(date +%s%N)
cri stop "$b" 1; cri status "$b"
took=$(($(date +%s%N) - before)); [ $took -gt 900000000 ] && [ $took -lt 6000000000 ] && echo "after its grace"
grep -o ignored logs/b.log
cri stop "$b" 1; cri stop "$a" 0
c=$(container "$p" c -- sleep 1000)
created=$(cri create "$p" created -- sleep 1000)
cri status "$created"
cri stop-pod "$p"; cri stop-pod "$p"
cri pod-status "$p" | cut -d ' ' -f 1
cri status "$c" | cut -d ' ' -f 1
code cri start "$created" 2>/dev/null
cri remove-pod "$p"; cri remove-pod "$p"
find /sys/fs/cgroup -path "*/$NAME/*" -type d | wc -l
ip link show type veth | grep -c "$NAME" || true
