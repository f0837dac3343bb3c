# alone
ctr run --detach --runtime io.containerd.runc.v2 --runc-binary "$RUNTIME" local/base:latest "$NAME" sh -c 'trap "exit 9" TERM; while :; do sleep 0.05; done'
kill -9 "$(cat "$SCRATCH/../containerd.pid")"
containerd > "$SCRATCH/../again.log" 2>&1 < /dev/null &
echo $! > "$SCRATCH/../containerd.pid"
until_true 'ctr version > /dev/null 2>&1'
ctr tasks list | awk -v n="$NAME" '$1 == n { print $3 }'
code ctr tasks exec --exec-id e1 "$NAME" sh -c 'echo in exec; exit 4'
ctr tasks kill --signal TERM "$NAME"
until_true "ctr tasks list | grep '$NAME' | grep -q STOPPED"
code ctr tasks delete "$NAME" 2> /dev/null
ctr containers delete "$NAME"
