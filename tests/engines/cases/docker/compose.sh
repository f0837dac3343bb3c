cat > docker-compose.yml <<X
version: "2.4"
services:
  a: &service
    image: base
    runtime: $RUNTIME
    network_mode: none
    command: sh -c 'echo a > /shared/a; exec sleep 1000'
    volumes: ["shared:/shared"]
  b:
    <<: *service
    command: sh -c 'until [ -s /shared/a ]; do sleep 0.05; done; echo b > /shared/b; exec sleep 1000'
    depends_on: [a]
  c:
    <<: *service
    command: sh -c 'until [ -s /shared/b ]; do sleep 0.05; done; cat /shared/a /shared/b; exit 4'
    depends_on: [b]
volumes: {shared: {}}
X
export COMPOSE_PROJECT_NAME=$NAME
docker-compose up --detach 2>/dev/null
code docker wait "${NAME}_c_1"
docker logs "${NAME}_c_1"
docker-compose exec -T a cat /shared/b
docker-compose ps --services --filter status=running 2>/dev/null | sort
docker-compose down --volumes --timeout 1 2>/dev/null
docker ps --all --quiet --filter name="$NAME" | wc -l
