# alone
# With live-restore a container outlives its dockerd, which finds it again; its containerd too.
start base sh -c 'trap "exit 9" TERM; echo ready; i=0; while :; do i=$((i+1)); echo $i > /tmp/i; sleep 0.05; done'
until_logged ready
kill -9 "$(cat "$SCRATCH/../dockerd.pid")"
until_true '! docker version > /dev/null 2>&1'
pkill -9 -x containerd || true
rm -f /run/docker.pid /run/docker/containerd/containerd.pid
dockerd --host=unix:///run/docker.sock > "$SCRATCH/../again.log" 2>&1 < /dev/null &
echo $! > "$SCRATCH/../dockerd.pid"
until_true 'docker version > /dev/null 2>&1'
show .State.Status
a=$(docker exec "$NAME" cat /tmp/i)
until_true "[ \"\$(docker exec $NAME cat /tmp/i)\" != '$a' ]" && echo running
code docker exec "$NAME" sh -c 'exit 3'
docker stop "$NAME"
show .State.ExitCode
docker logs "$NAME"
docker rm "$NAME"
