# Lua from Debian's source package: built with make, its test programs run, then programs of our own.
set -euo pipefail
mkdir lua && cd lua
tar -xf /usr/src/lua5.1/lua5.1_*.orig.tar.* --strip-components=1
make -s -j4 -C src all MYCFLAGS='-DLUA_USE_POSIX -DLUA_USE_DLOPEN' MYLIBS='-Wl,-E -ldl -lm' > ../build.log 2>&1 || { tail ../build.log; exit 1; }
rm ../build.log
src/lua -v 2>&1
cd test
# What the package calls its tests; those that need a terminal or never end are fed or bounded.
for test in bisect cf factorial fib fibfor hello life printf sieve sort; do
    echo "== $test"
    ../src/lua $test.lua 2>&1 | sed -E 's/0x[0-9a-f]+/ADDRESS/g; s/[0-9]*\.[0-9]+//g; s/[0-9]+:[0-9:]+//g; s/ms|e-0[0-9]//g' | md5sum
done
echo "a b a" | ../src/lua -e 'for l in io.lines() do print(#l) end'
../src/luac -l hello.lua | grep -c RETURN
../src/luac -o hello.luac hello.lua && ../src/lua hello.luac
cd ..
cat > own.lua <<'L'
local t = {}
for i = 1, 200000 do t[i] = (i * 7919) % 100003 end
table.sort(t)
print(t[1], t[#t], #t)
local words = {}
for w in (("the quick brown fox "):rep(1000)):gmatch("%a+") do words[w] = (words[w] or 0) + 1 end
local names = {}
for k, v in pairs(words) do names[#names + 1] = k .. "=" .. v end
table.sort(names) print(table.concat(names, " "))
local function gen(n) return coroutine.wrap(function() for i = 1, n do coroutine.yield(i) end end) end
local s = 0 for i in gen(100000) do s = s + i end print(s)
print(pcall(error, { code = 2 }), select(2, pcall(function() local x = nil; return x.y end)))
local f = assert(io.open("file", "w")) f:write(("line\n"):rep(5000)) f:close()
local n = 0 for _ in io.lines("file") do n = n + 1 end print(n, os.remove("file"))
local p = io.popen("echo from a pipe; exit 3") print(p:read("*a")) p:close()
print(os.execute("exit 5"), os.getenv("HOME"), os.rename("none", "other"))
collectgarbage() print(collectgarbage("count") < 100000)
os.exit(7)
L
src/lua own.lua || echo "exit $?"
cd .. && rm -r lua
