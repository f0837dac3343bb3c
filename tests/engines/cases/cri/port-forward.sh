# kubectl port-forward: to a port that listens on all addresses and to one that listens on the pod's localhost only; nobody there is told.
p=$(pod one)
serve='$| = 1; my $s = IO::Socket::INET->new(LocalAddr => $ARGV[0], LocalPort => $ARGV[1], Listen => 5, ReuseAddr => 1) or die $!; print "ready\n";
    while (my $c = $s->accept) { my $l = <$c>; print $c "hello $l"; close $c }'
container "$p" all -- perl -MIO::Socket::INET -e "$serve" 0.0.0.0 8080 > /dev/null
container "$p" local -- perl -MIO::Socket::INET -e "$serve" 127.0.0.1 8081 > /dev/null
until_true 'grep -q ready logs/all.log && grep -q ready logs/local.log'
echo forwarded | cri forward "$p" 8080
echo forwarded | cri forward "$p" 8081
code cri forward "$p" 8082 < /dev/null 2>&1 | grep -oiE 'connection refused|exit code.*' | tail -1
