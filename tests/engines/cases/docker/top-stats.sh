# The host's ps knows the guests by their names, and the engine's figures are the guests'.
start base bash -c 'x=$(head -c 60M /dev/zero | tr "\0" a); echo ready; (exec -a odd\ name sleep 999) & exec sleep 1000'
until_logged ready
until_true "docker exec $NAME pgrep -x sleep > /dev/null"
docker top "$NAME" -o pid,comm,args | sed -E 's/^ *[0-9]+ *//; s/^PID *//' | sort
docker rm --force "$NAME"
start base bash -c 'x=$(head -c 60M /dev/zero | tr "\0" a); echo ready; sleep 1000; echo $x'
until_logged ready
docker stats --no-stream --format '{{.MemUsage}}' "$NAME" | awk '{ print ($1 ~ /MiB$/ && $1 + 0 > 55 && $1 + 0 < 240) ? "60 MiB and more" : $1 }'
docker rm --force "$NAME"
start base sh -c 'while :; do :; done'
docker stats --no-stream --format '{{.CPUPerc}}' "$NAME" | awk '{ print ($1 + 0 > 10 && $1 + 0 < 130) ? "busy" : $1 }'
docker rm --force "$NAME"
start --cpus 0.2 base sh -c 'while :; do :; done'
docker stats --no-stream --format '{{.CPUPerc}}' "$NAME" | awk '{ print ($1 + 0 > 5 && $1 + 0 < 32) ? "a fifth of a CPU" : $1 }'
docker rm --force "$NAME"
start base sleep 1000
docker stats --no-stream --format '{{.CPUPerc}}' "$NAME" | awk '{ print ($1 + 0 < 2) ? "idle" : $1 }'
