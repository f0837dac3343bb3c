# perl: text, fork, pipes, sockets, signals, sorting, file tests.
set -euo pipefail
perl -e 'my %h; $h{$_ % 7} += $_ for 1..100000; print join(",", map { "$_=$h{$_}" } sort keys %h), "\n"'
perl -e 'for my $i (1..5) { my $p = fork; if (!$p) { exit $i } waitpid $p, 0; print "child ", $? >> 8, "\n" }'
perl -e 'pipe R, W; if (!fork) { close R; print W "line $_\n" for 1..1000; exit } close W; my $n = () = <R>; wait; print "$n lines\n"'
perl -MIO::Socket::UNIX -e '
    my $s = IO::Socket::UNIX->new(Local => "sock", Listen => 5) or die $!;
    if (!fork) { my $c = IO::Socket::UNIX->new(Peer => "sock"); print $c "ping\n"; print "client got ", scalar <$c>; exit }
    my $c = $s->accept; my $l = <$c>; print $c uc $l; close $c; wait; unlink "sock"'
perl -e '$SIG{ALRM} = sub { die "alarm\n" }; alarm 1; eval { 1 while 1 }; print "caught $@"'
perl -MFile::Find -e 'my $n = 0; find(sub { $n++ if -f && -r _ }, "/etc"); print $n > 50 ? "many files\n" : "few files\n"'
perl -MStorable -MData::Dumper -e '$Data::Dumper::Sortkeys = 1; store {a => [1, 2], b => {c => 3}}, "stored"; print Dumper(retrieve "stored")'
rm stored
perl -pe 's/(\w+)/\u$1/g' <<< "every word is raised"
perl -e 'open F, "+>", "locked"; flock F, 2; print F "x"; seek F, 0, 0; print "locked: ", scalar <F>, "\n"'
perl -e 'print "signal: "; kill 9, $$' || echo "status $?"
