# -p: a published port is reached from the host's side, by its address and through localhost; the container reaches the bridge.
serve='$| = 1; my $s = IO::Socket::INET->new(LocalPort => 8080, Listen => 5, ReuseAddr => 1) or die $!; print "ready\n";
    while (my $c = $s->accept) { my $l = <$c>; print $c "hello $l"; close $c }'
docker run --detach --name "$NAME" --runtime "$RUNTIME" --publish 18080:8080 --publish 18081:9/udp base perl -MIO::Socket::INET -e "$serve" > /dev/null
until_logged ready
ask() { bash -c 'exec 3<>/dev/tcp/$0/$1; echo $2 >&3; cat <&3' "$@"; }
ask 127.0.0.1 18080 localhost
ask "$(show .NetworkSettings.Gateway)" 18080 gateway
ask "$(show .NetworkSettings.IPAddress)" 8080 address
docker port "$NAME" | sort
[ "$(docker exec "$NAME" cat /etc/hosts | tail -1 | cut -f 1)" = "$(show .NetworkSettings.IPAddress)" ] && echo "its own address in /etc/hosts"
docker restart --time 0 "$NAME" > /dev/null
until_true '[ "$(docker logs $NAME | grep -c ready)" = 2 ]'
ask 127.0.0.1 18080 again
gateway=$(show .NetworkSettings.Gateway)
docker rm --force "$NAME" > /dev/null
# The host's side from the inside.
perl -MIO::Socket::INET -e "$serve" > served & server=$!
until_true 'grep -q ready served'
docker run --rm --runtime "$RUNTIME" base bash -c 'exec 3<>/dev/tcp/$0/8080; echo out >&3; cat <&3' "$gateway"
kill "$server"
