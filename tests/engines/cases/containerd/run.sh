# smoke
code run local/base:latest "$NAME" sh -c 'echo out; exit 7'
code run local/base:latest "$NAME" nosuch 2>&1
code run --read-only --env A=b --cwd /tmp local/base:latest "$NAME" sh -c 'pwd; echo $A; exec 2>&1; touch /x'
ctr run --detach --runtime io.containerd.runc.v2 --runc-binary "$RUNTIME" --memory-limit 100000000 local/base:latest "$NAME" sh -c 'exec sleep 1000'
code ctr tasks exec --exec-id e1 "$NAME" sh -c 'echo in exec; exit 4'
code ctr tasks exec --exec-id e2 --cwd /tmp --user 1000 "$NAME" sh -c 'pwd; id -u'
ctr tasks pause "$NAME"
ctr tasks list | awk -v n="$NAME" '$1 == n { print $3 }'
ctr tasks resume "$NAME"
ctr tasks list | awk -v n="$NAME" '$1 == n { print $3 }'
ctr tasks ps "$NAME" | wc -l
ctr tasks metrics "$NAME" | awk '$1 == "memory.usage_in_bytes" { print ($2 > 100000 && $2 < 60000000) ? "memory" : $2 } $1 == "memory.limit_in_bytes" { print $2 }'
code ctr tasks kill --signal TERM "$NAME"
ctr tasks kill --signal KILL "$NAME"
until_true "ctr tasks list | grep '$NAME' | grep -q STOPPED"
code ctr tasks delete "$NAME" 2> /dev/null
ctr containers delete "$NAME"
