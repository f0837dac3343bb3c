# smoke
run base sh -c 'echo out; echo err >&2' 2> err; cat err
run base sh -c 'seq 200000' | md5sum
seq 100000 | run --interactive base md5sum
echo abc | run --interactive base sh -c 'read x; echo "got $x"; exit 3' || echo "exit code $?"
run --env A=1 --env B base env | grep -v HOSTNAME | sort
run --entrypoint /bin/echo base a b
run --workdir /new/dir base pwd
