# For every case: pods whose ids `pod` printed are removed at the end.

cri() { "$CRI" "$@"; }
code() { if "$@"; then echo "exit code 0"; else echo "exit code $?"; fi; }
until_true() {
    tries=0
    until eval "$1"; do
        tries=$((tries + 1))
        [ $tries -lt 400 ] || { echo "in vain: $1"; return 1; }
        sleep 0.05
    done
}
mkdir -p logs
# A pod: `pod NAME FLAGS…` prints its id.
pod() {
    name=$1; shift
    cri run-pod "$NAME-$name" --handler "$RUNTIME" --hostname "host-$name" --logs "$PWD/logs" --cgroup "/$NAME" "$@"
}
# A started container: `container POD NAME FLAGS… -- COMMAND` prints its id.
container() { id=$(cri create "$@"); cri start "$id"; echo "$id"; }
end() { for file in *.pod; do [ -e "$file" ] || continue; cri stop-pod "${file%.pod}"; cri remove-pod "${file%.pod}"; done > /dev/null 2>&1 || true; }
trap end EXIT
