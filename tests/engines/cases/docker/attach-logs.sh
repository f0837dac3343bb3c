start --interactive base sh -c 'read x; echo "got $x"; exit 9'
echo hello | docker attach "$NAME" || echo "exit code $?"
docker wait "$NAME"
docker rm "$NAME"
start base sh -c 'for i in 1 2 3; do echo $i; sleep 0.1; done'
docker logs --follow "$NAME"
docker logs --tail 1 "$NAME"
docker rm "$NAME"
docker create --name "$NAME" --network none --runtime "$RUNTIME" base sh -c 'echo created; exit 2' > /dev/null
code docker start --attach "$NAME"
code docker start --attach "$NAME"
