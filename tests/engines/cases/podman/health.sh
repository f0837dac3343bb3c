start --health-cmd 'test -e /healthy' --health-interval disable --health-retries 1 base sleep 1000
code podman healthcheck run "$NAME"
podman inspect --format '{{.State.Healthcheck.Status}}' "$NAME"
podman exec "$NAME" touch /healthy
code podman healthcheck run "$NAME"
podman inspect --format '{{.State.Healthcheck.Status}}' "$NAME"
