# A user-defined network, with an address of the caller's choice; joining and leaving while the container runs.
docker network create --subnet 10.77.0.0/24 "$NAME-net" > /dev/null
trap 'docker rm --force --volumes $(docker ps --all --quiet --filter name="^$NAME") > /dev/null 2>&1 || true; docker network rm "$NAME-net" > /dev/null 2>&1 || true' EXIT
on() { docker run --runtime "$RUNTIME" --network "$NAME-net" "$@"; }
on --detach --name "$NAME-server" --ip 10.77.0.10 base perl -MIO::Socket::INET -e '
    $| = 1; my $s = IO::Socket::INET->new(LocalPort => 80, Listen => 5, ReuseAddr => 1) or die $!; print "ready\n";
    while (my $c = $s->accept) { my $l = <$c>; print $c "hello $l"; close $c }' > /dev/null
until_true "docker logs $NAME-server 2>&1 | grep -q ready"
ask='exec 3<>/dev/tcp/$0/80; echo you >&3; cat <&3'
on --rm base cat /etc/resolv.conf | grep nameserver
on --rm base bash -c "$ask" 10.77.0.10
docker network inspect --format '{{len .Containers}}' "$NAME-net"
docker restart --time 0 "$NAME-server" > /dev/null
until_true "[ \$(docker logs $NAME-server 2>&1 | grep -c ready) = 2 ]"
on --rm base bash -c "$ask" 10.77.0.10
docker network disconnect "$NAME-net" "$NAME-server"
docker network inspect --format '{{len .Containers}}' "$NAME-net"
