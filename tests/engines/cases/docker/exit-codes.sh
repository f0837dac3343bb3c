# smoke
code run base sh -c 'exit 7'
code run base sh -c 'kill -TERM $$' # an init ignores it
code run base sh -c 'sh -c "kill -9 \$\$"'
code run base nosuch 2>&1
code run base /etc/passwd 2>&1
code run base /etc 2>&1
code run --user nosuch base true 2>&1
code run --workdir /etc/passwd base true 2>&1
