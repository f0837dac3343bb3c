# smoke
docker volume create "v-$NAME" > /dev/null
run --volume "v-$NAME:/v" base sh -c 'echo a > /v/a; ln -s a /v/l; stat -c "%n %F" /v/a /v/l'
run --volume "v-$NAME:/v:ro" base sh -c 'cat /v/l; exec 2>&1; echo b > /v/b' || echo "exit code $?"
docker volume rm "v-$NAME" > /dev/null
mkdir h; echo host > h/f
run --volume "$PWD/h:/h" --volume "$PWD/h/f:/etc/single:ro" base sh -c 'cat /h/f /etc/single; echo out > /h/g; ls -l /h/g | cut -c 1-20'
cat h/g
run --mount type=tmpfs,dst=/t,tmpfs-size=1048576 base sh -c 'df -k /t | tail -1'
run --read-only --tmpfs /x:size=1m,mode=1770 base sh -c 'stat -c %a /x; dd if=/dev/zero of=/x/y bs=1k count=2000 2>&1 | grep -o "No space.*"; touch /y 2>&1' || echo "exit code $?"
run --shm-size 2m base sh -c 'df -k /dev/shm | tail -1'
# A file that the host changes while the container runs.
start --volume "$PWD/h:/h" base sh -c 'until grep -q changed /h/f; do sleep 0.05; done; echo seen'
echo changed > h/f
docker wait "$NAME"
docker logs "$NAME"
docker rm "$NAME"
# What the image has there goes into a new volume.
run --volume "w-$NAME:/etc/alternatives" base sh -c 'ls /etc/alternatives | wc -l'
run --volume "w-$NAME:/w" base sh -c 'ls /w | wc -l'
docker volume rm "w-$NAME" > /dev/null
# Volumes of another container.
start --volume /shared base sh -c 'echo x > /shared/x; sleep 1000'
until_true "docker exec $NAME test -s /shared/x"
run --volumes-from "$NAME" base cat /shared/x
