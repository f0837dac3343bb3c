# conmon as CRI-O runs it, with `drop_infra_ctr`: no container stands for the pod. Its namespaces are pinned, and its first container names a sandbox that nobody
# has made.
mkdir root pinned exits sockets
tar -C root -xf "$(ls "$CACHE"/engines-*.tar | head -1)"
touch pinned/net pinned/ipc pinned/uts
unshare --net="$PWD/pinned/net" --ipc="$PWD/pinned/ipc" --uts="$PWD/pinned/uts" sh -c 'hostname the-pod; ip link set lo up'
rt() { "$RUNTIME" --root "$PWD/state" "$@"; }
trap 'for id in "$NAME-a" "$NAME-b"; do rt delete --force "$id"; done > /dev/null 2>&1; umount pinned/*' EXIT
# A container of the pod, created: `create NAME COMMAND…`.
create() {
    id=$NAME-$1; shift
    mkdir "$id"
    python3 - "$id" "$PWD" "$NAME" "$@" <<'P'
import json, sys
id, here, name, args = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
caps = ["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETUID", "CAP_SETGID", "CAP_CHOWN"]
mounts = [("/proc", "proc", ["nosuid", "noexec", "nodev"]), ("/dev", "tmpfs", ["nosuid", "mode=755"]), ("/dev/pts", "devpts", ["newinstance", "ptmxmode=0666"]), ("/sys", "sysfs", ["ro"])]
json.dump({
    "ociVersion": "1.0.2", "hostname": "the-pod", "root": {"path": here + "/root"},
    "process": {"args": args, "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/usr/bin:/bin"], "capabilities": {k: caps for k in ("bounding", "effective", "permitted")}},
    "mounts": [{"destination": d, "type": t, "source": t, "options": o} for d, t, o in mounts],
    "annotations": {"io.kubernetes.cri-o.ContainerType": "container", "io.kubernetes.cri-o.SandboxID": name + "-sandbox", "io.kubernetes.cri-o.ContainerID": id},
    "linux": {"cgroupsPath": "/" + name + "/" + id, "namespaces": [{"type": "pid"}, {"type": "mount"}] + [{"type": t, "path": here + "/pinned/" + f} for t, f in (("network", "net"), ("ipc", "ipc"), ("uts", "uts"))]},
}, open(id + "/config.json", "w"))
P
    conmon --bundle "$PWD/$id" --cid "$id" --cuuid "$id" --name "$id" --exit-dir "$PWD/exits" --log-path "k8s-file:$PWD/$id.log" --log-level warning \
        --container-pidfile "$PWD/$id.pid" --conmon-pidfile "$PWD/$id.conmon" --persist-dir "$PWD/$id" --runtime "$RUNTIME" --runtime-arg "--root=$PWD/state" \
        --socket-dir-path "$PWD/sockets" > /dev/null 2>&1
    until_true "[ -s $PWD/$id.pid ]"
}
status() { rt state "$NAME-$1" | sed -n 's/.*"status": *"\([a-z]*\)".*/\1/p'; }
log() { cut -d ' ' -f 3- "$NAME-$1.log"; }
create a perl -MIO::Socket::INET -e '$| = 1; $SIG{TERM} = sub { print "term\n"; exit 7 }; my $s = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 80, Listen => 5, ReuseAddr => 1) or die $!; print "ready\n";
    while (my $c = $s->accept) { my $l = <$c>; print $c "hello $l"; close $c }'
status a
rt start "$NAME-a"
status a
until_true "grep -q ready $NAME-a.log"
create b sh -c 'hostname; echo err >&2; pgrep -x perl || echo few; exec sleep 1000'
rt start "$NAME-b"
until_true "grep -q few $NAME-b.log"
log b | sort
# Foreground exec, as CRI-O's probes are.
printf '{"args":["bash","-c","exec 3<>/dev/tcp/127.0.0.1/80; echo you >&3; cat <&3; exit 4"],"cwd":"/","user":{"uid":0,"gid":0},"env":["PATH=/usr/bin:/bin"]}' > process
rt exec --process process "$NAME-b" || echo "exit code $?"
rt kill "$NAME-a" 15
until_true "[ -s exits/$NAME-a ]"
cat "exits/$NAME-a"; echo; log a
status a; status b
rt delete "$NAME-a"
# One that is added when the first is gone.
rm -r "$NAME-a" "$NAME-a".*
create a sh -c 'hostname; exit 3'
rt start "$NAME-a"
until_true "[ -s exits/$NAME-a ] && grep -q the-pod $NAME-a.log"
until_true "[ \"\$(cat exits/$NAME-a)\" = 3 ]" && echo "three"
rt delete "$NAME-a"
rt kill "$NAME-b" KILL
until_true "[ -s exits/$NAME-b ]"
cat "exits/$NAME-b"; echo
rt delete "$NAME-b"
until_true "! kill -0 $(cat "$NAME-b.conmon") 2> /dev/null"
ls state 2> /dev/null | wc -l
find /sys/fs/cgroup -path "*/$NAME/*" -type d | wc -l
