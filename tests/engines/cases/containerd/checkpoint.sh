# only runsc: with runc it needs criu, which this machine has not
# A checkpoint is refused with a sentence, and the container runs on.
ctr run --detach --runtime io.containerd.runc.v2 --runc-binary "$RUNTIME" local/base:latest "$NAME" sh -c 'trap "exit 9" TERM; while :; do sleep 0.05; done'
ctr tasks checkpoint --image-path "$PWD/image" "$NAME" 2>&1 | grep -o 'checkpoint is not supported' | head -1
ctr tasks list | awk -v n="$NAME" '$1 == n { print $3 }'
code ctr tasks exec --exec-id e1 "$NAME" echo "runs on"
ctr tasks kill --signal TERM "$NAME"
until_true "ctr tasks list | grep '$NAME' | grep -q STOPPED"
code ctr tasks delete "$NAME" 2> /dev/null
ctr containers delete "$NAME"
#> checkpoint is not supported
#> RUNNING
#> runs on
#> exit code 0
#> exit code 0
