# smoke
start base sh -c 'echo started; exec sleep 1000'
until_logged started
code docker exec "$NAME" sh -c 'exit 5'
code docker exec "$NAME" sh -c 'sh -c "kill -9 \$\$"'
docker exec --user 1000:1000 --env A=b --workdir /tmp "$NAME" sh -c 'id; echo $A; pwd'
docker exec --user daemon "$NAME" id
echo input | docker exec --interactive "$NAME" cat
docker exec "$NAME" cat /proc/1/cmdline | tr '\0' ' '; echo
docker exec --detach "$NAME" sh -c 'echo detached > /tmp/x'
until_true "docker exec $NAME test -s /tmp/x"
docker exec "$NAME" cat /tmp/x
docker exec "$NAME" sh -c 'kill -9 1; sleep 0.1; echo the init does not die by its children'
