start --memory 200m base sleep 1000
docker update --memory 64m --memory-swap 64m --cpus 0.5 --pids-limit 50 --cpuset-cpus 0 "$NAME"
docker exec "$NAME" sh -c 'tail /dev/zero; echo "exit code $?"; nproc'
docker update --cpuset-cpus 0-1 --cpus 2 --memory 200m --memory-swap 200m "$NAME"
docker exec "$NAME" nproc
