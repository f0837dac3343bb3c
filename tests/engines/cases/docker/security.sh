# smoke
run base sh -c 'grep Cap /proc/self/status; grep -E "Seccomp:|NoNewPrivs" /proc/self/status'
run --cap-add SYS_ADMIN --cap-drop CHOWN base grep Cap /proc/self/status
run --cap-drop ALL base sh -c 'grep Cap /proc/self/status; touch /tmp/a; chown 5 /tmp/a 2>&1' || echo "exit code $?"
run --user 1000:1000 --cap-add NET_RAW base grep Cap /proc/self/status
code run base mount -t tmpfs x /mnt 2>&1
code run --cap-add SYS_ADMIN base mount -t tmpfs x /mnt 2>&1
code run --security-opt no-new-privileges base grep NoNewPrivs /proc/self/status
run --security-opt seccomp=unconfined base grep Seccomp: /proc/self/status
printf '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":38}]}' > profile.json
code run --security-opt seccomp=profile.json base mkdir /x 2>&1
code run base sh -c 'echo 1 > /proc/sys/kernel/ostype' 2>&1
