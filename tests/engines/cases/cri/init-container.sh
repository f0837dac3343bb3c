# Init containers run one after another to their ends, then the application's; what they left is there. One that fails says so.
p=$(pod one)
mkdir -m 777 volume
ended() { until_true "[ \"\$(cri status $1 | cut -d ' ' -f 1)\" = exited ]"; cri status "$1"; }
first=$(container "$p" first --mount "$PWD/volume:/v" -- sh -c 'echo 1 > /v/steps; hostname > /v/name')
ended "$first"
second=$(container "$p" second --mount "$PWD/volume:/v" -- sh -c 'echo 2 >> /v/steps; exit 3')
ended "$second"
cri remove "$second"
second=$(container "$p" second --attempt 1 --mount "$PWD/volume:/v" -- sh -c 'echo again >> /v/steps; echo 5 > /proc/sys/kernel/msgmni; echo done')
ended "$second"
app=$(container "$p" app --mount "$PWD/volume:/v:ro" -- sh -c 'cat /v/steps /v/name; exec sleep 1000')
until_true 'grep -q host-one logs/app.log'
cut -d ' ' -f 4- logs/app.log
cri status "$app"; cri status "$first"
cri remove "$first"; cri remove "$second"
code cri exec "$app" -- sh -c 'touch /v/x' 2>&1
