# redis-server on a Unix socket: commands, pipelining, persistence over a restart.
set -euo pipefail
start() {
    redis-server --port 0 --unixsocket "$PWD/redis.sock" --dir "$PWD" --save '' --appendonly yes --daemonize no > log 2>&1 &
    server=$!
    until redis-cli -s redis.sock ping 2>/dev/null | grep -q PONG; do kill -0 "$server"; sleep 0.05; done
}
start
redis-cli -s redis.sock set greeting hello
redis-cli -s redis.sock append greeting ' world'
redis-cli -s redis.sock get greeting
seq 1 1000 | sed 's/.*/rpush list &/' | redis-cli -s redis.sock --pipe | tail -1
redis-cli -s redis.sock llen list
redis-cli -s redis.sock eval 'local s = 0 for _, v in ipairs(redis.call("lrange", "list", 0, -1)) do s = s + v end return s' 0
redis-cli -s redis.sock --raw zadd scores 3 c 1 a 2 b
redis-cli -s redis.sock --raw zrange scores 0 -1
redis-cli -s redis.sock bgrewriteaof > /dev/null
redis-cli -s redis.sock shutdown nosave || true
wait "$server" || true
start
redis-cli -s redis.sock llen list
redis-cli -s redis.sock get greeting
kill -TERM "$server"
wait "$server" || echo "server $?"
rm -rf redis.sock log appendonlydir
