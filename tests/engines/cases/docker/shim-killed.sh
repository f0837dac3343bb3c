# alone
# kill -9 of the shim: the engine sees the end and cleans up; nothing is left.
start base sleep 1000
pkill -9 -f containerd-shim-runc-v2
until_true '[ "$(show .State.Running)" = false ]'
docker rm --force "$NAME"
until_true '! pgrep -x sleep > /dev/null' && echo gone
start base echo again
docker wait "$NAME"
docker logs "$NAME"
find /sys/fs/cgroup -path '*docker/*' -type d | grep -v "$(show .Id)" | wc -l
