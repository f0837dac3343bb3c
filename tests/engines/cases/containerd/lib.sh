# For every case: a container "$NAME", if it made one, is removed at the end.

trap '{ ctr tasks kill --signal 9 "$NAME"; ctr tasks delete --force "$NAME"; ctr containers delete "$NAME"; } > /dev/null 2>&1 || true' EXIT

run() { ctr run --rm --runtime io.containerd.runc.v2 --runc-binary "$RUNTIME" "$@"; }
code() { if "$@"; then echo "exit code 0"; else echo "exit code $?"; fi; }
until_true() {
    tries=0
    until eval "$1"; do
        tries=$((tries + 1))
        [ $tries -lt 400 ] || { echo "in vain: $1"; return 1; }
        sleep 0.05
    done
}
