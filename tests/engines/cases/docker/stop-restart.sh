# restart and stop with times of the caller's and of the image's, the state between, and what a restart keeps.
start --stop-timeout 1 base sh -c 'trap "" TERM; echo "start $(cat /kept 2>/dev/null)"; echo kept > /kept; while :; do sleep 0.05; done'
until_logged start
before=$(date +%s%N)
docker restart "$NAME"
took=$(($(date +%s%N) - before)); [ $took -gt 900000000 ] && [ $took -lt 9000000000 ] && echo "after a second"
until_logged 'start kept'
docker logs "$NAME"
show .State.Running; show .RestartCount
docker stop "$NAME"
show .State.ExitCode
# A tmpfs does not stay, a volume does.
docker rm "$NAME"
start --tmpfs /t --volume /v base sh -c 'ls /t /v; echo x > /t/a; echo x > /v/b; exec sleep 1000'
until_true "docker exec $NAME test -s /v/b"
docker restart --time 0 "$NAME"
until_true "docker exec $NAME test -s /t/a"
docker logs "$NAME"
