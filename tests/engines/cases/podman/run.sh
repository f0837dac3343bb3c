# smoke
code run base sh -c 'echo out; exit 7'
code run base nosuch 2>&1 | tail -1
start base sh -c 'trap "echo got; exit 3" TERM; echo ready; while :; do sleep 0.05; done'
until_true "podman logs $NAME 2>&1 | grep -q ready"
code podman exec "$NAME" sh -c 'echo in exec; exit 4'
podman stop "$NAME"
podman logs "$NAME"
podman inspect --format '{{.State.ExitCode}} {{.State.Status}}' "$NAME"
