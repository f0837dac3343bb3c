cat > Dockerfile <<'D'
FROM localhost/base
RUN echo built > /built; id -u
COPY file /copied
RUN cat /copied /built > /both && rm /built
WORKDIR /w
USER 1000
RUN pwd && id -u
CMD ["cat", "/both"]
D
echo copied > file
podman --runtime "$RUNTIME" build --network none --no-cache --isolation oci --runtime "$RUNTIME" --tag "image-$NAME" . 2>&1 | grep -vE '^(-->|STEP|COMMIT|Successfully)|^[0-9a-f]{64}$'
run "localhost/image-$NAME"
podman rmi "image-$NAME" > /dev/null
