# only runsc: runc does not install itself
# alone
# What dockerd has for a runtime follows daemon.json, and what was in the file stays.
reload() { kill -HUP "$(cat "$SCRATCH/../dockerd.pid")"; }
known() { docker info --format '{{range $name, $_ := .Runtimes}}{{$name}} {{end}}' | grep -q fresh; }
before=$(python3 -c 'import json; print(json.dumps(json.load(open("/etc/docker/daemon.json")), sort_keys=True))')
"$RUNSC" install --engine docker --runtime fresh -- --debug=false | sed "s|$RUNSC|PROGRAM|"
reload
until_true known
docker run --rm --network none --runtime fresh base echo hello
"$RUNSC" uninstall --engine docker --runtime fresh
reload
until_true '! known' && echo "not known any more"
[ "$before" = "$(python3 -c 'import json; print(json.dumps(json.load(open("/etc/docker/daemon.json")), sort_keys=True))')" ] && echo "as before"
"$RUNSC" uninstall --engine docker --runtime fresh
#> /etc/docker/daemon.json: added the runtime "fresh" (PROGRAM); reload Docker (systemctl reload docker, or SIGHUP to dockerd)
#> hello
#> /etc/docker/daemon.json: removed the runtime "fresh"; reload Docker (systemctl reload docker, or SIGHUP to dockerd)
#> not known any more
#> as before
#> /etc/docker/daemon.json: has no runtime "fresh"
