# A container's limit is its own, changes while it runs, and its neighbour does not feel it.
p=$(pod one)
a=$(container "$p" a --memory 200000000 -- sleep 1000)
b=$(container "$p" b --memory 200000000 -- sleep 1000)
eat='perl -e "\$x = \"a\" x 120000000; print length(\$x), \"\\n\""'
code cri exec "$a" -- sh -c "$eat"
cri update "$a" --memory 64000000
code cri exec "$a" -- sh -c "$eat; echo \$?" 2> /dev/null
code cri exec "$b" -- sh -c "$eat"
cri status "$a"
# The first process over its limit: the container has ended of it.
c=$(container "$p" c --memory 64000000 -- perl -e '$x = "a" x 200000000; print "no\n"')
until_true '[ "$(cri status "$c" | cut -d " " -f 1)" = exited ]'
cri status "$c" | cut -d ' ' -f 1-2
cri exec "$b" -- echo "the neighbour lives"
