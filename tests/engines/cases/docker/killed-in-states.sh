# alone
# only runsc: it is about what we leave
# kill -9 of the shim and of the sandbox's processes while the container is paused, while something is executed in it, and as it starts: the engine sees
# the end, removes it, and nothing is left.
left() { until_true "! find /sys/fs/cgroup -path '*docker/*' -type d | grep -q ." && until_true '! pgrep -f "runsc.*(boot|gofer-serve|proxy)" > /dev/null' && echo "$1: nothing left"; }
shims() { pkill -9 -f containerd-shim-runc-v2; }
helpers() { for pid in $(pgrep -f '(boot|gofer-serve) --config-fd'); do kill -9 "$pid" 2> /dev/null || true; done; }
ends() { until_true '[ "$(show .State.Running)" = false ]' && show .State.ExitCode; docker rm --force "$NAME" > /dev/null; }
for victims in shims helpers; do
    start base sleep 1000
    docker pause "$NAME" > /dev/null
    $victims
    ends
    left "$victims while paused"
    start base sleep 1000
    # As with runc, the client itself does not see it when the shim is killed.
    timeout 8 docker exec "$NAME" sleep 999 & exec=$!
    until_true 'docker top "$NAME" -o pid,args | grep -q "sleep 999"'
    $victims
    wait $exec || echo "the exec fails"
    ends
    left "$victims while executing"
    docker create --name "$NAME" --network none --runtime "$RUNTIME" base sleep 1000 > /dev/null
    docker start "$NAME" > /dev/null 2>&1 & starting=$!
    until_true 'pgrep -f "boot --config-fd" > /dev/null'
    $victims
    wait $starting || true
    until_true '[ "$(show .State.Running)" = false ]'
    docker rm --force "$NAME" > /dev/null
    left "$victims while starting"
done
run base echo "still works"
#> 137
#> shims while paused: nothing left
#> the exec fails
#> 137
#> shims while executing: nothing left
#> shims while starting: nothing left
#> 137
#> helpers while paused: nothing left
#> the exec fails
#> 137
#> helpers while executing: nothing left
#> helpers while starting: nothing left
#> still works
