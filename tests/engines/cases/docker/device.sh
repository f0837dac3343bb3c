# only runsc: it has no drivers of the host's, which runc would hand on
# A device that the sandbox has of its own works under any name; another is refused with its name and a reason, and nothing is left.
run --device /dev/zero:/dev/mine --device /dev/urandom base sh -c 'head -c 3 /dev/mine | od -An -c; head -c 5 /dev/urandom | wc -c'
docker run --name "$NAME" --network none --runtime "$RUNTIME" --device /dev/kmsg base true 2>&1 | grep -oE 'device /dev/kmsg [^:]*:[^:]*:' || true
show .State.Status
docker rm "$NAME"
run --privileged base sh -c 'ls /dev/kmsg; head -c 1 /dev/kmsg' 2>&1 || echo "exit code $?"
#>   \0  \0  \0
#> 5
#> device /dev/kmsg (c 1:11) is not supported:
#> created
#> NAME
#> /dev/kmsg
#> head: cannot open '/dev/kmsg' for reading: No such device or address
#> exit code 1
