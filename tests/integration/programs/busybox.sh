# A static busybox: its shell, its tools, and a root of nothing but busybox.
set -euo pipefail
busybox sh -c 'for i in 1 2 3; do echo "ash $i"; done; echo $((6 * 7))'
busybox seq 1 1000 | busybox awk '{ s += $1 } END { print s }'
mkdir -p jail/bin jail/tmp
cp "$(command -v busybox)" jail/bin/
chroot jail /bin/busybox sh -c '
    export PATH=/bin
    /bin/busybox --install -s /bin
    ls /bin | wc -l > /tmp/count
    echo inside > /tmp/file
    cat /tmp/file | tr a-z A-Z
    find / -name file
    sh -c "exit 9"; echo "exit $?"
    sleep 100 & kill $!; wait $!; echo "killed $?"
    vi -h >/dev/null 2>&1; echo tools >/tmp/x; md5sum /tmp/x; tar -cf /tmp/t.tar tmp/x; tar -tf /tmp/t.tar
'
test "$(cat jail/tmp/count)" -gt 100 && echo "many tools"
rm -r jail
