# Podman of an ordinary user with a range of ids, in the user namespace that it makes.
# alone
id=4321
{ cat /etc/passwd; echo "rootless:x:$id:$id::$SCRATCH/home:/bin/sh"; } > passwd
{ cat /etc/group; echo "rootless:x:$id:"; } > group
echo "rootless:100000:65536" > subid
for name in passwd group; do mount --bind "$name" "/etc/$name"; done
touch /etc/subuid /etc/subgid
for name in subuid subgid; do mount --bind subid "/etc/$name"; done
mkdir -p home/.config/containers "/run/user/$id"
chown -R "$id:$id" home "/run/user/$id"
# The whole way to the home is to be walked.
at=$SCRATCH; while [ "$at" != /tmp ] && [ "$at" != / ]; do chmod o+x "$at"; at=$(dirname "$at"); done
mount -t tmpfs -o mode=755,uid="$id",gid="$id" home home
as() { env -i HOME="$SCRATCH/home" XDG_RUNTIME_DIR="/run/user/$id" PATH="$PATH" USER=rootless setpriv --reuid "$id" --regid "$id" --clear-groups --inh-caps=-all -- "$@"; }
cd home
# The process that holds the user namespace goes, too.
trap 'p rm --force --all --time 0 > /dev/null 2>&1 || true; as podman system migrate > /dev/null 2>&1 || true; cd /; umount -l "$SCRATCH/home" /etc/passwd /etc/group /etc/subuid /etc/subgid; rm -rf "/run/user/$id"' EXIT
as mkdir -p .config/containers
printf '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nstatic_dir = "%s/libpod"\nvolume_path = "%s/volumes"\ntmp_dir = "/run/user/%s/libpod"\n' "$PWD" "$PWD" "$id" | as tee .config/containers/containers.conf > /dev/null
printf '[storage]\ndriver = "overlay"\nrunroot = "/run/user/%s/storage"\ngraphroot = "%s/storage"\n' "$id" "$PWD" | as tee .config/containers/storage.conf > /dev/null
p() { as podman --runtime "$RUNTIME" "$@"; }
p import "$(ls "$CACHE"/engines-*.tar | head -1)" base > /dev/null
code p run --rm --network none base sh -c 'echo out; id -u; touch /x; stat -c "%u" /x; exit 7'
p run --rm --network none --user 1000 base sh -c 'id -u; touch /tmp/x && stat -c "%u" /tmp/x'
p run --detach --name c --network none base sh -c 'trap "exit 3" TERM; echo ready; while :; do sleep 0.05; done' > /dev/null
until_true 'p logs c 2>&1 | grep -q ready'
code p exec c sh -c 'echo in exec; id -u; exit 4'
p exec --user 33 c id -u
p kill --signal TERM c > /dev/null
p wait c
p rm c > /dev/null
mkdir -p v; chown "$id:$id" v
p run --rm --network none --volume "$PWD/v:/v" base sh -c 'echo from inside > /v/f'
cat v/f; stat -c %u v/f
p ps --all --quiet | wc -l
