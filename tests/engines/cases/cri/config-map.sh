# A ConfigMap as kubelet keeps it: files are links through `..data`, a link to a directory with a time for a name that is swapped by rename. A mounted
# container sees the new content under the old names; with subPath it keeps what it was started with.
p=$(pod one)
mkdir -p map/..1; echo one > map/..1/key; ln -s ..1 map/..data; ln -s ..data/key map/key
a=$(container "$p" a --mount "$PWD/map:/etc/config:ro" --mount "$PWD/map/..1/key:/etc/single:ro" -- sh -c 'last=; while :; do now=$(cat /etc/config/key); [ "$now" = "$last" ] || echo "$now"; last=$now; sleep 0.05; done')
until_true 'grep -q one logs/a.log'
cri exec "$a" -- sh -c 'cat /etc/config/key /etc/single; readlink /etc/config/key /etc/config/..data; ls /etc/config'
code cri exec "$a" -- sh -c 'echo x > /etc/config/key' 2>&1
for n in two three; do
    mkdir "map/..$n"; echo $n > "map/..$n/key"; echo more > "map/..$n/new"
    ln -s "..$n" map/..data_tmp; mv -T map/..data_tmp map/..data
    [ -e map/new ] || ln -s ..data/new map/new
    until_true "grep -q $n logs/a.log"
    cri exec "$a" -- sh -c 'cat /etc/config/key /etc/config/new; readlink /etc/config/..data; cat /etc/single'
done
rm -r map/..1
cri exec "$a" -- sh -c 'cat /etc/config/key /etc/single; ls -A /etc/config'
# A key that is removed.
rm map/new
code cri exec "$a" -- cat /etc/config/new 2>&1
