# A pod: its containers talk over localhost and share the host name; with runsc they live in one sandbox.
podman --runtime "$RUNTIME" pod create --name "$NAME-pod" --network none --infra-image localhost/base --infra-command 'sleep 1000' --hostname the-pod > /dev/null
trap 'podman pod rm --force --time 0 "$NAME-pod" > /dev/null 2>&1 || true' EXIT
podman --runtime "$RUNTIME" run --detach --pod "$NAME-pod" --name "$NAME-server" base perl -MIO::Socket::INET -e '
    $| = 1; my $s = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 80, Listen => 5, ReuseAddr => 1) or die $!; print "ready\n";
    while (my $c = $s->accept) { my $l = <$c>; print $c "hello $l"; close $c }' > /dev/null
until_true "podman logs $NAME-server 2>&1 | grep -q ready"
podman --runtime "$RUNTIME" run --rm --pod "$NAME-pod" base bash -c 'hostname; exec 3<>/dev/tcp/127.0.0.1/80; echo you >&3; cat <&3'
podman ps --all --pod --format '{{.PodName}} {{.State}}' | grep "$NAME" | sed 's/ [0-9]* seconds/ N seconds/' | sort
podman exec "$NAME-server" sh -c 'ls /proc | grep -c "^[0-9]"'
podman pod stop --time 0 "$NAME-pod" > /dev/null
podman --runtime "$RUNTIME" pod start "$NAME-pod" > /dev/null
until_true "[ \$(podman logs $NAME-server 2>&1 | grep -c ready) = 2 ]"
podman exec "$NAME-server" hostname
podman pod rm --force --time 0 "$NAME-pod" > /dev/null
podman ps --all --format "{{.Names}}" | grep -c "$NAME" || true
