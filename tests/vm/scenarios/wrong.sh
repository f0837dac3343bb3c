# What cannot be: refused, with nothing left behind.
bundle wrong '{"memory":{"limit":1048576,"swap":1024}}' true
create wrong || echo "refused"
status wrong 2> /dev/null
[ -e /sys/fs/cgroup/vmtest/wrong ] && echo "the cgroup is left"
bundle unified '{"unified":{"nosuch.max":"1"}}' true
create unified || echo "refused"
[ -e /sys/fs/cgroup/vmtest/unified ] && echo "the cgroup is left"
if [ "$manager" = systemd ]; then
    bundle path '{}' true
    sed -i 's/vmtest.slice:vm:path/\/no\/triple/' "$work/path/config.json"
    create path || grep -o 'expected cgroupsPath to be of format' "$work/path.out"
fi
