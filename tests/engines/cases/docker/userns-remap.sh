# alone
# dockerd with `userns-remap`: files of the container's root have the range's first id on the host, and inside all is as ever.
docker save base > base.tar
printf 'nobody:200000:65536\nnogroup:200000:65536\n' > ids
mount --bind ids /etc/subuid; mount --bind ids /etc/subgid
python3 - <<'P'
import json
path = "/etc/docker/daemon.json"
config = json.load(open(path))
config["userns-remap"] = "nobody:nogroup"
json.dump(config, open(path, "w"))
P
dockerd=$(cat "$SCRATCH/../dockerd.pid")
kill "$dockerd"
until_true '! docker version > /dev/null 2>&1 && [ ! -e /proc/$dockerd ]'
rm -f /run/docker.pid
dockerd --host=unix:///run/docker.sock > "$SCRATCH/../again.log" 2>&1 < /dev/null &
echo $! > "$SCRATCH/../dockerd.pid"
until_true 'docker version > /dev/null 2>&1' || { tail -5 "$SCRATCH/../again.log"; exit 1; }
docker load --quiet --input base.tar
mkdir -m 777 host; echo root > host/of-root; chmod 600 host/of-root
run --volume "$PWD/host:/h" base sh -c 'id; cat /proc/self/uid_map /proc/self/gid_map; echo x > /h/made; stat -c "%u:%g" /h/made /h/of-root /etc; cat /h/of-root 2>&1; chown 1000:1000 /h/made; mkdir /x && chown 5:6 /x && stat -c "%u:%g" /x'
stat -c '%u:%g' host/made
run --user 1000 base sh -c 'id -u; touch /tmp/x; stat -c %u /tmp/x; touch /etc/x 2>&1' || echo "exit code $?"
start base sh -c 'echo ready; exec sleep 1000'
until_logged ready
docker exec "$NAME" sh -c 'id -u; echo in > /root/in; chown 7 /root/in'
docker cp "$NAME:/root/in" - | tar -tv --numeric-owner | cut -c 1-20
echo copied > file; docker cp file "$NAME:/root/"; docker exec "$NAME" cat /root/file
docker diff "$NAME" | sort
code run --userns host base sh -c 'cat /proc/self/uid_map'
docker stop --time 0 "$NAME"
docker rm "$NAME"
