run --pids-limit 20 base bash -c 'for i in $(seq 17); do sleep 1 & done; echo all; wait' 2>&1 | sed -E 's/line [0-9]+/line N/'
run --pids-limit 20 base sh -c 'for i in $(seq 40); do sleep 1 & done; echo all' 2>&1 | grep -m1 -o 'Cannot fork'
