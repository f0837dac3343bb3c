# subPath: one directory and one file of a volume, and what the node does there meanwhile.
p=$(pod one)
mkdir -p volume/sub/deep; echo file > volume/file; echo deep > volume/sub/deep/f
a=$(container "$p" a --mount "$PWD/volume/sub:/sub" --mount "$PWD/volume/file:/data/file" -- sleep 1000)
in_a() { cri exec "$a" -- "$@"; }
in_a sh -c 'cat /sub/deep/f /data/file; ls /sub /data; ls -A /sub/..  | grep -x volume || echo "nothing above"'
in_a sh -c 'echo changed > /data/file; echo new > /sub/new; mkdir /sub/d; mv /sub/new /sub/d/'
cat volume/file volume/sub/d/new
echo node > volume/sub/by-node; in_a cat /sub/by-node
# A mount point can neither be removed nor replaced.
code in_a rm /data/file 2>&1
code in_a rmdir /sub 2>&1
in_a sh -c 'echo other > /data/other; mv /data/other /data/file 2>&1; cat /data/file'
# Replaced on the node, the container keeps the file that it was given.
echo replaced > volume/next; mv volume/next volume/file
in_a cat /data/file
