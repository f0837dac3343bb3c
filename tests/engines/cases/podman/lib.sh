# For every case: a container "$NAME", if it made one, is removed at the end.

trap 'podman rm --force --time 0 "$NAME" > /dev/null 2>&1 || true' EXIT

run() { podman --runtime "$RUNTIME" run --rm --network none "$@"; }
start() { podman --runtime "$RUNTIME" run --detach --name "$NAME" --network none "$@" > /dev/null; }
code() { if "$@"; then echo "exit code 0"; else echo "exit code $?"; fi; }
until_true() {
    tries=0
    until eval "$1"; do
        tries=$((tries + 1))
        [ $tries -lt 400 ] || { echo "in vain: $1"; return 1; }
        sleep 0.05
    done
}
