# smoke
start base sh -c 'trap "echo got; exit 3" TERM; echo ready; while :; do sleep 0.1; done'
until_logged ready
docker stop "$NAME"
docker logs "$NAME"
show .State.ExitCode; show .State.Status
docker start "$NAME"
show .State.Status
docker restart --time 0 "$NAME"
show .State.Status
docker rm --force "$NAME"
code docker inspect "$NAME" 2>&1
