# alone
# kill -9 of the shim: containerd sees the end, deletes what is left, and the name can be used again.
start() { ctr run --detach --runtime io.containerd.runc.v2 --runc-binary "$RUNTIME" local/base:latest "$NAME" "$@"; }
start sleep 1000
pkill -9 -f containerd-shim-runc-v2
until_true "! ctr tasks list | grep '$NAME' | grep -q RUNNING"
ctr tasks delete --force "$NAME" > /dev/null 2>&1 || true
ctr containers delete "$NAME"
until_true '! pgrep -x sleep > /dev/null' && echo gone
until_true "[ \$(find /sys/fs/cgroup -path '*/default/$NAME*' -type d | wc -l) = 0 ]" && echo "no cgroup"
start sh -c 'exit 7'
until_true "ctr tasks list | grep '$NAME' | grep -q STOPPED"
code ctr tasks delete "$NAME" 2> /dev/null
ctr containers delete "$NAME"
