# A process over the memory limit dies alone, and the cgroup tells.
bundle oom '{"memory":{"limit":67108864,"swap":67108864}}' sh -c 'tail /dev/zero; echo code $?; sleep 1000'
must oom
rt start oom
for _ in $(seq 300); do grep -q code "$work/oom.out" && break; sleep 0.1; done
grep code "$work/oom.out"
status oom
echo "kills seen: $(sed -n 's/^oom_kill \([1-9]\).*/yes/p' "/sys/fs/cgroup$(cgroup_of oom)/memory.events")"
rt delete --force oom && echo deleted
