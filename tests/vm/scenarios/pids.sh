# The limit of processes is the guests' own.
bundle pids '{"pids":{"limit":10}}' sh -c 'n=0; while [ $n -lt 30 ]; do sleep 100 & n=$((n + 1)); done 2>/dev/null; echo not reached'
must pids
rt start pids
until_stopped pids
cat "$work/pids.out" | grep -c 'not reached'
rt delete pids && echo deleted
