# smoke
# Only the culprit dies, the engine is told, and the container's own end says whether it was the one.
( timeout 60 docker events --filter container="$NAME" --filter event=oom --filter event=die --format '{{.Action}}' > events & )
# It ends once the engine has told of the kill: a container's end that overtakes the kill's event loses the flag, with runc as well.
docker run -d --name "$NAME" --network none --runtime "$RUNTIME" --memory 64m base sh -c 'tail /dev/zero; echo "exit code $?"; until test -e /go; do sleep 0.1; done; echo alive' > id
until_true "grep -q oom events"
until_true "docker logs $NAME | grep -q 'exit code'"
docker exec "$NAME" touch /go
docker wait "$NAME"
docker logs "$NAME"
show .State.OOMKilled
until_true "grep -q die events"
sort -u events
docker rm "$NAME"
docker run --name "$NAME" --network none --runtime "$RUNTIME" --memory 64m base tail /dev/zero || echo "exit code $?"
# Whether the flag is set here depends on which of two events, the kill and the exit, containerd hands on first: not compared.
