# For every case: a container "$NAME", if it made one, is removed at the end.


trap 'docker rm --force --volumes $(docker ps --all --quiet --filter name="^$NAME") > /dev/null 2>&1 || true' EXIT

# In the foreground, without a network.
run() { docker run --rm --network none --runtime "$RUNTIME" "$@"; }
# In the background as "$NAME".
start() { docker run --detach --name "$NAME" --network none --runtime "$RUNTIME" "$@" > /dev/null; }
# Runs a command and prints its exit code.
code() { if "$@"; then echo "exit code 0"; else echo "exit code $?"; fi; }
# Waits until a shell command succeeds.
until_true() {
    tries=0
    until eval "$1"; do
        tries=$((tries + 1))
        [ $tries -lt 400 ] || { echo "in vain: $1"; return 1; }
        sleep 0.05
    done
}
# A field of the container.
show() { docker inspect --format "{{$1}}" "${2:-$NAME}"; }
# Waits until the log has a line.
until_logged() { until_true "docker logs $NAME 2>&1 | grep -q '$1'"; }
