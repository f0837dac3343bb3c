# sqlite3: transactions, WAL with readers and writers at once, recovery after a kill, from the shell and from Python.
set -euo pipefail
sqlite3 shop.db <<'SQL'
create table item(id integer primary key, name text unique, price real);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 10000) insert into item select i, 'item ' || i, i * 1.5 from n;
create index by_price on item(price);
select count(*), sum(price), max(name) from item;
begin; delete from item where id <= 5000; rollback;
select count(*) from item;
pragma integrity_check;
SQL
sqlite3 shop.db 'vacuum; select count(*) from item where price between 100 and 200;'
cat > wal.py <<'PY'
import multiprocessing, os, signal, sqlite3, time
multiprocessing.set_start_method("fork")
db = sqlite3.connect("wal.db"); print(db.execute("pragma journal_mode=wal").fetchone()[0])
db.execute("create table t(who int, n int)"); db.commit(); db.close()
def write(who):
    c = sqlite3.connect("wal.db", timeout=60)
    for n in range(50):
        with c: c.execute("insert into t values(?, ?)", (who, n))
def look(flag):
    c, last = sqlite3.connect("wal.db", timeout=60), 0
    while last < 200:
        now = c.execute("select count(*) from t").fetchone()[0]
        if now < last: flag.value = 1
        last = now
flag = multiprocessing.Value("i", 0)
all = [multiprocessing.Process(target=write, args=(i,)) for i in range(4)] + [multiprocessing.Process(target=look, args=(flag,))]
[p.start() for p in all]; [p.join() for p in all]
c = sqlite3.connect("wal.db")
print("rows", c.execute("select count(*), count(distinct who) from t").fetchone(), "went back", flag.value)
c.close()
r, w = os.pipe()
pid = os.fork()
if pid == 0:
    c = sqlite3.connect("wal.db"); c.execute("insert into t values(100, 1)"); c.commit()
    c.execute("begin immediate"); c.execute("insert into t values(200, 2)"); os.write(w, b"x"); signal.pause()
os.read(r, 1); os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)
c = sqlite3.connect("wal.db")
print("after a crash", c.execute("select who from t where who >= 100").fetchall(), c.execute("pragma integrity_check").fetchone()[0])
c.execute("pragma wal_checkpoint(truncate)"); c.close()
PY
python3 -B wal.py
rm -f wal.db*
