start --restart on-failure:2 base sh -c 'exit 4'
until_true '[ "$(show .RestartCount)" = 2 ]'
docker wait "$NAME"
show .RestartCount; show .State.ExitCode
docker rm "$NAME"
start --restart always base sh -c 'echo once; sleep 0.2'
until_true '[ "$(docker logs $NAME | wc -l)" -ge 3 ]'
docker stop "$NAME"
show .State.Status
