run --user 1000:1000 base id
run --user daemon base id
run --user 12345 base id
run --group-add 44 --group-add audio base id
run --hostname foo base sh -c 'hostname; cat /etc/hostname'
run --add-host foo:1.2.3.4 --dns 9.9.9.9 --dns-search ex.com --dns-option ndots:3 base sh -c 'grep foo /etc/hosts; cat /etc/resolv.conf'
run --init base sh -c 'ps -eo args'
run base ps -eo pid,ppid,args
run --ulimit nofile=100:200 --ulimit core=0 base sh -c 'ulimit -n; ulimit -Hn; ulimit -c'
run --oom-score-adj 500 base cat /proc/self/oom_score_adj
run --sysctl net.ipv4.ip_forward=1 --sysctl kernel.shmmax=12345678 --sysctl net.core.somaxconn=99 base sh -c 'cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax /proc/sys/net/core/somaxconn'
run --cpuset-cpus 0 base nproc
run --device /dev/zero:/dev/myzero base sh -c 'head -c 4 /dev/myzero | od -c'
run --device-read-bps /dev/vda:1mb base true
run --ipc private base true
run --uts host base hostname
