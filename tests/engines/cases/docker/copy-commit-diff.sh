# smoke
start base sleep 1000
echo data > file
docker cp file "$NAME:/root/new"
docker exec "$NAME" cat /root/new
docker exec "$NAME" sh -c 'echo inside > /root/in; mkdir /root/d; echo x > /root/d/y; chmod 640 /root/d/y; chown 5:6 /root/d/y; rm /etc/debian_version'
docker cp "$NAME:/root/in" - | tar -xO
docker cp "$NAME:/root/d" . && ls -R d && cat d/y
docker cp "$NAME:/root/d/y" - | tar -tv --numeric-owner | cut -c 1-20
# A changed file is seen by both sides.
echo changed > file
docker cp file "$NAME:/root/in"
docker exec "$NAME" cat /root/in
docker diff "$NAME" | sort
docker commit "$NAME" "image-$NAME" > /dev/null
docker restart --time 0 "$NAME" > /dev/null
docker exec "$NAME" cat /root/in
docker rm --force "$NAME"
run "image-$NAME" sh -c 'cat /root/in /root/new; stat -c "%u:%g %a" /root/d/y; ls /etc/debian_version 2>&1' || echo "exit code $?"
docker rmi "image-$NAME" > /dev/null
