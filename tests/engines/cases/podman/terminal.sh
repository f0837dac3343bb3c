code "$TERMINAL" podman --runtime "$RUNTIME" run --rm --network none --interactive --tty --env PS1=% --env TERM=dumb base bash --norc --noprofile --noediting <<'X' | grep -oE '^/dev/pts/0|^40 100|^resized|^130|^exit code 7'
    until %
    type until [ "$(stty size)" = "24 80" ]; do sleep 0.05; done; tty; echo re''ady\r
    until ready
    until %
    size 100 40
    type until [ "$(stty size)" = "40 100" ]; do sleep 0.05; done; stty size; echo re''sized\r
    until resized
    until %
    type sh -c "echo g''o; exec sleep 1000"\r
    until go
    type \x03
    until ^C
    until %
    type echo $?\r
    until 130
    until %
    type exit 7\r
    end
X
start base sleep 1000
code "$TERMINAL" podman exec --interactive --tty "$NAME" sh -c 'tty; until [ "$(stty size)" = "24 80" ]; do sleep 0.05; done; echo fits; read x; echo "<$x>"; exit 8' <<'X' | grep -oE '^/dev/pts/0|^fits|^<b>|^exit code.*'
    until fits
    type a\x7fb\r
    until <b>
    end
X
