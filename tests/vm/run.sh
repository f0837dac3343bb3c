# Runs in the virtual machine as root: every scenario under runc, then under runsc, with both cgroup managers. What is printed goes to the second
# serial line, where `cargo xtask vm` compares it.
exec < /dev/null > /dev/ttyS1 2> /tmp/errors
export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
stty -F /dev/ttyS1 raw -echo
cp /mnt/runsc /usr/local/bin/runsc
modprobe overlay
# We are started before what is wanted by multi-user.target.
systemctl start dbus.socket
echo "kernel $(uname -r), cgroup $(stat -fc %T /sys/fs/cgroup), systemd $(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')"
for manager in cgroupfs systemd; do
    for runtime in runc runsc; do
        for scenario in /mnt/scenarios/*.sh; do
            echo "== $manager $runtime $(basename "$scenario" .sh)"
            sh /mnt/scenario.sh "$manager" "$runtime" "$scenario" 2>&1
        done
    done
done
echo "== end"
sed 's/^/stderr: /' /tmp/errors
sync
