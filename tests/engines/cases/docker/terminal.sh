# smoke
# Size, its change, ctrl-C, ctrl-Z and job control, end of file, exit code.
flags="--rm --network none --runtime $RUNTIME --interactive --tty --env PS1=% --env TERM=dumb --hostname h"
code "$TERMINAL" docker run $flags base bash --norc --noprofile --noediting > out <<'X'
    until %
    type until [ "$(stty size)" = "24 80" ]; do sleep 0.05; done; tty; echo re''ady\r
    until ready
    size 100 40
    type until [ "$(stty size)" = "40 100" ]; do sleep 0.05; done; echo re''sized\r
    until resized
    type sh -c "echo g''o; exec sleep 1000"\r
    until go
    type \x03
    until ^C
    until %
    type echo $?\r
    until 130
    type sh -c "echo n''ow; exec sleep 1000"\r
    until now
    type \x1a
    until Stopped
    until %
    type jobs; bg; kill %1; wait %1; echo "code $?"\r
    until code 143
    type exit 7\r
    end
X
cat out >&2; grep -oE '^/dev/pts/0|^40 100|^resized|^130|Stopped|^code 143|^exit code 7' out
start --tty base sh -c 'until [ "$(stty size)" = "33 77" ]; do sleep 0.05; done; echo fits; read x; echo "got $x"' 2>&1
docker rm --force "$NAME" > /dev/null
docker run --detach --interactive --tty --name "$NAME" --network none --runtime "$RUNTIME" base sh -c 'until [ "$(stty size)" = "33 77" ]; do sleep 0.05; done; echo fits; read x; echo "got $x"; exit 6' > /dev/null
code "$TERMINAL" docker attach "$NAME" <<'X' | grep -oE '^(fits|got it|exit code.*)'
    size 77 33
    until fits
    type it\r
    until got it
    end
X
docker wait "$NAME"
docker rm "$NAME" > /dev/null
start base sleep 1000
code "$TERMINAL" docker exec --interactive --tty "$NAME" sh -c 'tty; until [ "$(stty size)" = "24 80" ]; do sleep 0.05; done; echo fits; read x; echo "<$x>"; exit 8' <<'X'
    until fits
    type a\x7fb\r
    until <b>
    end
X
