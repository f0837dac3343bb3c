# Every limit arrives in the container's cgroup, can be changed, and goes with the container.
bundle limits '{"memory":{"limit":67108864,"swap":134217728,"reservation":33554432},"cpu":{"shares":512,"quota":50000,"period":100000,"cpus":"0"},"pids":{"limit":50},"unified":{"memory.high":"66060288"}}' sleep 1000
must limits
cgroup=$(cgroup_of limits)
echo "cgroup $cgroup"
for file in memory.max memory.swap.max memory.low memory.high cpu.weight cpu.max cpuset.cpus; do limit limits $file; done
limit limits pids.max
rt start limits && status limits
rt exec limits cat /proc/1/comm
rt pause limits && status limits
rt resume limits && status limits
rt update --memory 100663296 --memory-swap 201326592 --cpu-share 1024 limits && for file in memory.max memory.swap.max cpu.weight; do limit limits $file; done
rt events --stats limits | tr ',{}' '\n\n\n' | grep -c '"limit":100663296'
[ "$manager" = systemd ] && systemctl show -p MemoryMax -p Slice -p Delegate vm-limits.scope
rt kill limits KILL
until_stopped limits
rt delete limits && echo deleted
[ -e "/sys/fs/cgroup$cgroup" ] && echo "the cgroup is left"
[ "$manager" = systemd ] && systemctl list-units --all --no-legend 'vm-limits*'
true
