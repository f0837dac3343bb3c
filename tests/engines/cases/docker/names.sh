# Names of containers and aliases on a user-defined network, by Docker's resolver at 127.0.0.11.
docker network create --subnet 10.78.0.0/24 "$NAME-net" > /dev/null
trap 'docker rm --force --volumes $(docker ps --all --quiet --filter name="^$NAME") > /dev/null 2>&1 || true; docker network rm "$NAME-net" > /dev/null 2>&1 || true' EXIT
on() { docker run --runtime "$RUNTIME" --network "$NAME-net" "$@"; }
on --detach --name "$NAME-server" --network-alias alias --ip 10.78.0.10 base perl -MIO::Socket::INET -e '
    $| = 1; my $s = IO::Socket::INET->new(LocalPort => 80, Listen => 5, ReuseAddr => 1) or die $!; print "ready\n";
    while (my $c = $s->accept) { my $l = <$c>; print $c "hello $l"; close $c }' > /dev/null
until_true "docker logs $NAME-server 2>&1 | grep -q ready"
ask='exec 3<>/dev/tcp/$0/80; echo you >&3; cat <&3'
on --rm base bash -c "$ask" "$NAME-server"
on --rm base bash -c "$ask" alias
on --rm base getent hosts "$NAME-server" | sed 's/  */ /g'
docker exec "$NAME-server" getent hosts alias | sed 's/  */ /g'
code on --rm base getent hosts nosuch
