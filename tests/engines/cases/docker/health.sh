start --health-cmd 'test -e /healthy' --health-interval 300ms --health-retries 2 base sleep 1000
until_true '[ "$(show .State.Health.Status)" = unhealthy ]'
docker exec "$NAME" touch /healthy
until_true '[ "$(show .State.Health.Status)" = healthy ]'
docker inspect --format '{{(index .State.Health.Log 0).ExitCode}}' "$NAME"
