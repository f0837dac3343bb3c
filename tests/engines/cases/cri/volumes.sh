# An emptyDir that two containers share: mappings, locks, FIFOs and sockets in it are common to both.
p=$(pod one)
mkdir -m 777 volume
a=$(container "$p" a --mount "$PWD/volume:/v" -- sleep 1000)
b=$(container "$p" b --mount "$PWD/volume:/w" -- sleep 1000)
in_a() { cri exec "$a" -- "$@"; }
in_b() { cri exec "$b" -- "$@"; }
# Files, both ways, and to the node.
in_a sh -c 'echo from a > /v/f'; in_b cat /w/f; cat volume/f
in_b sh -c 'echo from b >> /w/f'; in_a cat /v/f
echo node >> volume/f; in_a tail -1 /v/f; in_b tail -1 /w/f
# A mapping: the one's stores are seen by the other, which mapped it before.
in_a sh -c 'head -c 4096 /dev/zero > /v/map'
map='open(F, "+<", $ARGV[0]) or die; $m = syscall(9, 0, 4096, 3, 1, fileno(F), 0); die "mmap: $!" if $m == -1; $peek = sub { unpack("P8", pack("Q", $m)) };'
container "$p" reader --mount "$PWD/volume:/w" -- perl -e "$map"'$| = 1; print "mapped\n"; while ($peek->() !~ /^12345678/) { select(undef, undef, undef, 0.02) } print "seen\n"' /w/map > /dev/null
until_true 'grep -q mapped logs/reader.log'
in_a perl -e "$map"'pipe(R, W); syswrite(W, "12345678"); syscall(0, fileno(R), $m, 8) == 8 or die "read: $!"' /v/map
until_true 'grep -q seen logs/reader.log' && echo "the mapping is shared"
in_b head -c 8 /w/map; echo
# A lock that one container holds keeps the other out, and the kernel frees it when its holder dies.
holder=$(container "$p" holder --mount "$PWD/volume:/v" -- sh -c 'exec 9> /v/lock; flock 9; echo held; exec sleep 1000')
until_true 'grep -q held logs/holder.log'
code in_b flock --nonblock /w/lock true
code in_b perl -e 'use Fcntl; open(F, ">", "/w/lock") or die; exit(flock(F, 6) ? 0 : 3)'
cri stop "$holder" 0
code in_b flock --timeout 20 /w/lock true
# Record locks as well.
container "$p" record --mount "$PWD/volume:/v" -- perl -e 'use Fcntl; open(F, "+>", "/v/record") or die; $l = pack("s s l! l! i", 1, 0, 0, 10, 0); fcntl(F, F_SETLK, $l) or die; $| = 1; print "held\n"; sleep 1000' > /dev/null
until_true 'grep -q held logs/record.log'
code in_b perl -e 'use Fcntl; open(F, "+<", "/w/record") or die; $l = pack("s s l! l! i", 1, 0, 5, 2, 0); exit(fcntl(F, F_SETLK, $l) ? 0 : 3)'
code in_b perl -e 'use Fcntl; open(F, "+<", "/w/record") or die; $l = pack("s s l! l! i", 1, 0, 20, 2, 0); exit(fcntl(F, F_SETLK, $l) ? 0 : 3)'
# A FIFO.
in_a mkfifo /v/fifo
container "$p" fifo --mount "$PWD/volume:/v" -- sh -c 'echo waits; cat /v/fifo' > /dev/null
until_true 'grep -q waits logs/fifo.log'
in_b sh -c 'echo through the fifo > /w/fifo'
until_true 'grep -q "through the fifo" logs/fifo.log' && echo "the FIFO is shared"
# A socket.
container "$p" server --mount "$PWD/volume:/v" -- perl -MIO::Socket::UNIX -e '$| = 1; my $s = IO::Socket::UNIX->new(Local => "/v/socket", Listen => 5) or die $!; print "ready\n"; while (my $c = $s->accept) { my $l = <$c>; print $c "hello $l"; close $c }' > /dev/null
until_true 'grep -q ready logs/server.log'
in_b perl -MIO::Socket::UNIX -e 'my $c = IO::Socket::UNIX->new(Peer => "/w/socket") or die $!; print $c "neighbour\n"; print <$c>'
in_b stat -c '%F' /w/socket /w/fifo
