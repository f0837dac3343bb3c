start base sh -c 'trap "echo usr1" USR1; trap "exit 5" TERM; echo ready; while :; do sleep 0.05; done'
until_logged ready
docker kill --signal USR1 "$NAME"
until_logged usr1
docker kill --signal 15 "$NAME"
docker wait "$NAME"
docker logs "$NAME"
docker rm "$NAME"
start --stop-signal INT base sh -c 'trap "echo int; exit 1" INT; echo ready; while :; do sleep 0.05; done'
until_logged ready
docker stop "$NAME"
docker logs "$NAME"
docker wait "$NAME"
docker rm "$NAME"
# One that does not listen is killed after the time.
start base sleep 1000
docker stop --time 1 "$NAME"
show .State.ExitCode
docker start "$NAME"
docker kill "$NAME"
docker wait "$NAME"
code docker kill "$NAME" 2>&1
