code "$TERMINAL" ctr run --rm --tty --runtime io.containerd.runc.v2 --runc-binary "$RUNTIME" local/base:latest "$NAME" bash --norc --noprofile --noediting <<'X' | grep -oE '^24 80|^40 100|^130|^exit code 3'
    until #
    type stty size; echo ready\r
    until ready
    until ready
    size 100 40
    type until [ "$(stty size)" = "40 100" ]; do sleep 0.05; done; stty size\r
    until 40 100
    until 40 100
    type (echo g''o; exec sleep 1000)\r
    until go
    type \x03
    until ^C
    type echo $?\r
    until 130
    type exit 3\r
    end
X
