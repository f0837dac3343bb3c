# --network container: the two talk over localhost, and each is itself in everything else.
serve='$| = 1; my $s = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 8080, Listen => 5, ReuseAddr => 1) or die $!; print "ready\n";
    while (my $c = $s->accept) { my $l = <$c>; print $c "hello $l"; close $c }'
docker run --detach --name "$NAME" --runtime "$RUNTIME" base perl -MIO::Socket::INET -e "$serve" > /dev/null
until_logged ready
beside() { docker run --runtime "$RUNTIME" --network "container:$NAME" "$@"; }
code beside --rm base bash -c 'exec 3<>/dev/tcp/127.0.0.1/8080; echo neighbour >&3; cat <&3; exit 7'
beside --rm base sh -c 'ps -eo args; [ "$(hostname -i)" ] && echo address'
beside --detach --name "$NAME-second" --memory 100m base sleep 1000 > /dev/null
docker exec "$NAME-second" bash -c 'exec 3<>/dev/tcp/127.0.0.1/8080; echo exec >&3; cat <&3'
docker top "$NAME-second" -o pid,args | sed 1d | sed 's|^ *[0-9]* *||'
docker stats --no-stream --format '{{.MemUsage}}' "$NAME-second" | grep -o '100MiB'
docker kill "$NAME-second"
docker wait "$NAME-second"
docker exec "$NAME" echo "the first goes on"
docker start "$NAME-second"
docker exec "$NAME-second" bash -c 'exec 3<>/dev/tcp/127.0.0.1/8080; echo again >&3; cat <&3'
docker rm --force "$NAME-second" > /dev/null
docker exec "$NAME" echo "the first goes on"
# The second outlives the first, network and all.
beside --detach --name "$NAME-third" base sh -c 'exec sleep 1000' > /dev/null
docker rm --force "$NAME"
docker exec "$NAME-third" echo "the third goes on"
show .State.Running "$NAME-third"
docker kill "$NAME-third"
docker wait "$NAME-third"
