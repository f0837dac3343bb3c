# The classic builder runs its steps with the default runtime.
# alone
pid=$(cat "$SCRATCH/../dockerd.pid")
python3 - "$RUNTIME" <<'X'
import json, sys
path = "/etc/docker/daemon.json"
config = json.load(open(path))
config["default-runtime"] = sys.argv[1]
json.dump(config, open(path, "w"))
X
kill -HUP "$pid"
until_true '[ "$(docker info --format "{{.DefaultRuntime}}")" = "$RUNTIME" ]'
cat > Dockerfile <<'X'
FROM base
RUN echo built > /built && useradd --version > /dev/null 2>&1; id -u
COPY file /copied
RUN cat /copied /built > /both && rm /built
WORKDIR /w
USER 1000
RUN pwd && id -u
CMD ["cat", "/both"]
X
echo copied > file
DOCKER_BUILDKIT=0 docker build --network none --no-cache --tag "image-$NAME" . 2>&1 | grep -vE '^ --->|^Removing|^Sending|^Success|^DEPRECATED|^ +Install|^ +https|^$'
docker run --rm --network none "image-$NAME"
docker rmi "image-$NAME" > /dev/null
