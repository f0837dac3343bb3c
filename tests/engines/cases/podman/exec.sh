# smoke
start base sh -c 'echo started; exec sleep 1000'
code podman exec "$NAME" sh -c 'exit 5'
code podman exec "$NAME" nosuch 2>&1 | tail -1 | grep -o 'exit code.*'
podman exec --user 1000:1000 --env A=b --workdir /tmp "$NAME" sh -c 'id; echo $A; pwd'
echo input | podman exec --interactive "$NAME" cat
podman exec --detach "$NAME" sh -c 'echo detached > /tmp/x' > /dev/null
until_true "podman exec $NAME test -s /tmp/x"
podman exec "$NAME" cat /tmp/x
podman pause "$NAME" > /dev/null
podman inspect --format '{{.State.Status}}' "$NAME"
podman unpause "$NAME" > /dev/null
podman top "$NAME" -eo args | grep sleep
echo outside > file
podman cp file "$NAME:/root/new"
podman exec "$NAME" cat /root/new
podman cp "$NAME:/tmp/x" - | tar -xO
podman diff "$NAME" | sort
podman commit --quiet "$NAME" "image-$NAME" > /dev/null
podman kill "$NAME" > /dev/null
code podman wait "$NAME"
podman --runtime "$RUNTIME" start "$NAME" > /dev/null
podman inspect --format '{{.State.Status}}' "$NAME"
podman rm --force --time 0 "$NAME" > /dev/null
run "localhost/image-$NAME" cat /tmp/x
podman rmi "image-$NAME" > /dev/null
