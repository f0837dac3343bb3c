start base sh -c 'i=0; while :; do i=$((i+1)); echo $i > /tmp/i; done'
until_true "docker exec $NAME test -s /tmp/i"
docker pause "$NAME"
show .State.Status
a=$(docker cp "$NAME:/tmp/i" - | tar -xO); sleep 0.3; b=$(docker cp "$NAME:/tmp/i" - | tar -xO)
[ "$a" = "$b" ] && echo still
code docker exec "$NAME" true 2>&1
docker unpause "$NAME"
until_true "[ \"\$(docker exec $NAME cat /tmp/i)\" != '$a' ]" && echo running
docker pause "$NAME"
docker rm --force "$NAME"
