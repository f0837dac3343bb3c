# smoke
# Only the culprit dies, the engine is told, and the container's own end says whether it was the one.
( timeout 60 docker events --filter container="$NAME" --filter event=oom --filter event=die --format '{{.Action}}' > events & )
docker run --name "$NAME" --network none --runtime "$RUNTIME" --memory 64m base sh -c 'tail /dev/zero; echo "exit code $?"; echo alive' 2> /dev/null
show .State.OOMKilled
until_true "grep -q die events"
sort -u events
docker rm "$NAME"
docker run --name "$NAME" --network none --runtime "$RUNTIME" --memory 64m base tail /dev/zero || echo "exit code $?"
# Whether the flag is set here depends on which of two events, the kill and the exit, containerd hands on first: not compared.
