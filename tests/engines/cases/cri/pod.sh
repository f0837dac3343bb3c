# smoke
# A pod with two containers: what they share, exec, logs, figures, the restart of one, the end of all.
cri ready
p=$(pod one)
cri pod-status "$p" | sed 's/10\.88\.[0-9.]*/ADDRESS/'
a=$(container "$p" a -- sh -c 'echo out; echo err >&2; trap "echo term; exit 7" TERM; while :; do sleep 0.05; done')
b=$(container "$p" b -- perl -MIO::Socket::INET -e '$| = 1; my $s = IO::Socket::INET->new(LocalPort => 80, Listen => 5, ReuseAddr => 1) or die $!; print "ready\n";
    while (my $c = $s->accept) { my $l = <$c>; print $c "hello $l"; close $c }')
until_true 'grep -q ready logs/b.log'
cri status "$a"; cri status "$b"
# Host name and network are the pod's, pids are its own.
cri exec "$a" -- hostname
cri exec "$a" -- bash -c 'exec 3<>/dev/tcp/127.0.0.1/80; echo localhost >&3; cat <&3'
cri exec "$a" -- sh -c 'tr "\0" " " < /proc/1/cmdline | cut -c 1-8; pgrep -x perl || echo "its own pids"'
address=$(cri pod-status "$p" | cut -d ' ' -f 2)
bash -c 'exec 3<>/dev/tcp/$0/80; echo node >&3; cat <&3' "$address"
code cri exec "$a" -- sh -c 'echo in exec; exit 4'
code cri exec "$a" -- nosuch 2>&1 | tail -1
until_true 'grep -q err logs/a.log'
cut -d ' ' -f 2- logs/a.log | sort
# Only the busy one is charged.
c=$(container "$p" c -- sh -c 'while :; do :; done')
until_true '[ "$(cri stats "$c" | cut -d " " -f 1)" -gt 300000000 ]' && echo "busy"
cri stats "$a" | awk '{ print ($1 < 300000000) ? "quiet" : $1; print ($2 > 100000 && $2 < 50000000) ? "memory" : $2 }'
cri stop "$c" 0; cri status "$c"; cri remove "$c"
# One is restarted, as kubelet does it: a new container in the old pod.
cri stop "$a" 10; cri status "$a"
until_true 'grep -q term logs/a.log' && echo term
cri remove "$a"
a=$(container "$p" a --attempt 1 -- sleep 1000)
cri exec "$a" -- bash -c 'exec 3<>/dev/tcp/127.0.0.1/80; echo again >&3; cat <&3'
cri status "$b"
cri stop-pod "$p"
cri status "$a" | cut -d ' ' -f 1; cri status "$b" | cut -d ' ' -f 1
cri remove-pod "$p"
code cri status "$a" 2>&1 | grep -o 'exit code.*'
find /sys/fs/cgroup -path "*/$NAME/*" -type d | wc -l
