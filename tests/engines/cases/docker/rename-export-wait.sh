# rename, export, wait.
start base sh -c 'echo ready; exec sleep 1000'
until_logged ready
docker rename "$NAME" "$NAME-renamed"
docker exec "$NAME-renamed" echo renamed
docker rename "$NAME-renamed" "$NAME"
docker export "$NAME" | tar -t | grep -c '^bin'
( timeout 60 docker wait "$NAME" > waited & echo $! > waiter )
docker kill --signal SIGKILL "$NAME"
until_true 'grep -q 137 waited' && cat waited
docker start "$NAME"
docker kill "$NAME" > /dev/null
show .State.ExitCode
