# alone
# A pod outlives its containerd, which finds it again.
p=$(pod one)
a=$(container "$p" a -- sh -c 'trap "exit 9" TERM; echo ready; i=0; while :; do i=$((i + 1)); echo $i > /tmp/i; sleep 0.05; done')
until_true 'grep -q ready logs/a.log'
kill -9 "$(cat "$SCRATCH/../containerd.pid")"
containerd > "$SCRATCH/../again.log" 2>&1 < /dev/null &
echo $! > "$SCRATCH/../containerd.pid"
cri ready
until_true "[ \"\$(cri status $a 2>&1 | cut -d ' ' -f 1)\" = running ]"
cri pod-status "$p" | cut -d ' ' -f 1
before=$(cri exec "$a" -- cat /tmp/i)
until_true "[ \"\$(cri exec $a -- cat /tmp/i)\" != '$before' ]" && echo "runs on"
b=$(container "$p" b -- sh -c 'hostname; exec sleep 1000')
until_true 'grep -q host-one logs/b.log' && echo "another is added"
cri stop "$a" 10; cri status "$a"
cri stop-pod "$p"; cri remove-pod "$p"
find /sys/fs/cgroup -path "*/$NAME/*" -type d | wc -l
