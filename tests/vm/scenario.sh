# scenario.sh MANAGER RUNTIME FILE: runs one scenario with helpers to make and look at containers.
manager=$1
runtime=$2
scenario=$3
work=$(mktemp -d)
case $manager in
systemd) flags=--systemd-cgroup ;;
*) flags= ;;
esac
rt() { "$runtime" --root "$work/state" $flags "$@"; }

# bundle NAME RESOURCES COMMAND...: a bundle at $work/NAME that runs COMMAND in busybox.
bundle() {
    name=$1 resources=$2
    shift 2
    mkdir -p "$work/$name/rootfs/bin" "$work/$name/rootfs/proc" "$work/$name/rootfs/dev" "$work/$name/rootfs/tmp"
    cp /bin/busybox "$work/$name/rootfs/bin/"
    for tool in sh cat echo sleep tail dd head true wc grep; do ln -sf busybox "$work/$name/rootfs/bin/$tool"; done
    args=
    for arg; do args="$args${args:+,}\"$arg\""; done
    case $manager in
    systemd) path="vmtest.slice:vm:$name" ;;
    *) path="/vmtest/$name" ;;
    esac
    cat > "$work/$name/config.json" <<J
{"ociVersion":"1.0.2","process":{"terminal":false,"user":{"uid":0,"gid":0},"args":[$args],"env":["PATH=/bin"],"cwd":"/","noNewPrivileges":true},
 "root":{"path":"rootfs"},"hostname":"vm","mounts":[{"destination":"/proc","type":"proc","source":"proc"},{"destination":"/dev","type":"tmpfs","source":"tmpfs"}],
 "linux":{"cgroupsPath":"$path","resources":$resources,"namespaces":[{"type":"pid"},{"type":"mount"},{"type":"ipc"},{"type":"uts"},{"type":"network"}]}}
J
}

# create NAME: as an engine does, with output to a file.
create() { rt create --bundle "$work/$1" --pid-file "$work/$1.pid" "$1" > "$work/$1.out" 2>&1 < /dev/null; }
# must NAME: as create; a scenario that cannot begin ends.
must() {
    create "$1" && echo created && return
    cat "$work/$1.out"
    exit 1
}
cgroup_of() { sed -n 's/^0:://p' "/proc/$(cat "$work/$1.pid")/cgroup"; }
# limit NAME FILE
limit() { echo "$2: $(cat "/sys/fs/cgroup$(cgroup_of "$1")/$2" 2>&1)"; }
status() { rt state "$1" | sed -n 's/.*"status": *"\([a-z]*\)".*/\1/p'; }
# until_stopped NAME: at most 20 seconds.
until_stopped() {
    for _ in $(seq 200); do
        [ "$(status "$1")" = stopped ] && return
        sleep 0.1
    done
    echo "$1 does not stop"
}

. "$scenario"
rm -rf "$work"
