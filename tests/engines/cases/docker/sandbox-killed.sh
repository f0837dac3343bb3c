# only runsc: runc has no sentry and no gofer
# alone
# kill -9 of the sentry, of the gofer and of the proxy: the engine sees the exit within a second.
for victim in sentry gofer proxy; do
    start base sleep 1000
    main=$(show .State.Pid)
    group=$(sed -n 's/^[0-9]*:memory://p' "/proc/$main/cgroup")
    case $victim in
    proxy) kill -9 "$main" ;;
    *)
        for pid in $(cat "/sys/fs/cgroup/memory$group/sentry/cgroup.procs"); do
            tr '\0' ' ' < "/proc/$pid/cmdline" | grep -q "$(case $victim in sentry) echo boot ;; gofer) echo gofer ;; esac)" && kill -9 "$pid"
        done
        ;;
    esac
    before=$(date +%s%N)
    timeout 20 docker wait "$NAME"
    [ $(($(date +%s%N) - before)) -lt 1500000000 ] && echo "soon"
    code docker exec "$NAME" true 2>&1 | tail -1
    docker rm --force "$NAME" > /dev/null
    until_true "[ ! -d /sys/fs/cgroup/memory$group ]" && echo "$victim: nothing left"
done
#> 137
#> soon
#> exit code 1
#> sentry: nothing left
#> 137
#> soon
#> exit code 1
#> gofer: nothing left
#> 137
#> soon
#> exit code 1
#> proxy: nothing left
