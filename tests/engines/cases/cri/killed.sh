# only runsc: names our helpers
# Whatever is killed, kubelet's next steps succeed: the containers are seen as ended, stop and remove work, nothing is left.
for victim in sentry gofer shim; do
    p=$(pod "$victim")
    a=$(container "$p" "a-$victim" -- sleep 1000)
    b=$(container "$p" "b-$victim" -- sleep 1000)
    case $victim in
    shim) pkill -9 -f "containerd-shim-runc-v2 .*-id $p" ;;
    *)
        for pid in $(cat $(find /sys/fs/cgroup/memory/ -path "*/$NAME/*" -name cgroup.procs)); do
            tr '\0' ' ' < "/proc/$pid/cmdline" | grep -q "$(case $victim in sentry) echo boot ;; gofer) echo gofer ;; esac)" && kill -9 "$pid"
        done
        ;;
    esac
    until_true "[ \"\$(cri status $a | cut -d ' ' -f 1)\" = exited ]"
    until_true "[ \"\$(cri status $b | cut -d ' ' -f 1)\" = exited ]"
    echo "$victim: ended"
    cri stop "$a" 1; cri remove "$a"
    cri stop-pod "$p"; cri remove-pod "$p"; rm "$p.pod"
    until_true "[ \$(find /sys/fs/cgroup -path '*/$NAME/*' -type d | wc -l) = 0 ]"
    echo "$victim: nothing left"
done
#> sentry: ended
#> sentry: nothing left
#> gofer: ended
#> gofer: nothing left
#> shim: ended
#> shim: nothing left
