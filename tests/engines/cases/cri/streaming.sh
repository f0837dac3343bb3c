# Exec and attach over the streaming server, with and without a terminal, and port-forward.
p=$(pod one)
a=$(container "$p" a --stdin -- sh -c 'echo start; while read line; do echo "got $line"; [ "$line" = end ] && exit 5; done')
code cri stream "$a" -- sh -c 'echo out; echo err >&2; exit 4' < /dev/null 2> err; cat err
code cri stream "$a" -- sh -c 'read x; echo "<$x>"; seq 100000 | md5sum' <<'I'
typed
I
code cri stream "$a" -- sh -c 'kill -9 $$' < /dev/null
code cri stream "$a" -- nosuch < /dev/null 2>&1 | grep -o 'executable file not found' | head -1
code cri stream "$a" --tty --size 100x40 -- sh -c 'until [ "$(stty size)" = "40 100" ]; do sleep 0.05; done; stty size; tty; exit 6' < /dev/null | tr -d '\r'
{ echo one; until_true 'grep -q "got one" logs/a.log' >&2; echo end; } | cri attach "$a"
until_true '[ "$(cri status "$a" | cut -d " " -f 1)" = exited ]'
cri status "$a"
cut -d ' ' -f 4- logs/a.log
# A terminal: its log is one stream.
t=$(container "$p" t --tty --stdin -- sh -c 'until [ "$(stty size)" = "33 77" ]; do sleep 0.05; done; echo fits; read x; echo "[$x]"; exit 7')
{ until_true 'grep -q fits logs/t.log' >&2; echo hello; } | cri attach "$t" --tty --size 77x33 > attached
until_true '[ "$(cri status "$t" | cut -d " " -f 1)" = exited ]'
cri status "$t"
grep -o '\[hello\]' attached
