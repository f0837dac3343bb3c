# Each step waits for the prompt: what is typed before it is there is echoed before it, and the output then follows the prompt on its line.
code "$TERMINAL" ctr run --rm --tty --env PS1=% --env TERM=dumb --runtime io.containerd.runc.v2 --runc-binary "$RUNTIME" local/base:latest "$NAME" bash --norc --noprofile --noediting <<'X' | grep -oE '^24 80|^40 100|^130|^exit code 3'
    until %
    type stty size; echo re''ady\r
    until ready
    until %
    size 100 40
    type until [ "$(stty size)" = "40 100" ]; do sleep 0.05; done; stty size; echo re''sized\r
    until resized
    until %
    type (echo g''o; exec sleep 1000)\r
    until go
    type \x03
    until ^C
    until %
    type echo $?\r
    until 130
    until %
    type exit 3\r
    end
