# Python: threads, processes, asyncio, signals, mmap, sockets, subprocesses.
set -euo pipefail
cat > program.py <<'PY'
import asyncio, mmap, multiprocessing, os, queue, select, signal, socket, subprocess, sys, tempfile, threading, time, hashlib, json

def threads():
    total, lock, box = [0], threading.Lock(), queue.Queue()
    def work(i):
        for _ in range(50):
            with lock:
                total[0] += 1
        box.put(i)
    all = [threading.Thread(target=work, args=(i,)) for i in range(100)]
    [t.start() for t in all]; [t.join() for t in all]
    print("threads", total[0], sum(box.get() for _ in range(100)))
    barrier, event = threading.Barrier(10), threading.Event()
    seen = []
    def meet():
        barrier.wait(); event.wait(); seen.append(1)
    all = [threading.Thread(target=meet) for _ in range(10)]
    [t.start() for t in all]; event.set(); [t.join() for t in all]
    print("barrier", len(seen))

def square(x): return x * x

def processes():
    with multiprocessing.Pool(4) as pool:
        print("pool", sum(pool.map(square, range(200))))
    value, lock = multiprocessing.Value("i", 0), multiprocessing.Lock()
    def add():
        for _ in range(100):
            with lock: value.value += 1
    all = [multiprocessing.Process(target=add) for _ in range(4)]
    [p.start() for p in all]; [p.join() for p in all]
    print("shared value", value.value, [p.exitcode for p in all])
    ours, theirs = multiprocessing.Pipe()
    p = multiprocessing.Process(target=lambda: theirs.send({"list": list(range(5))})); p.start()
    print("pipe", ours.recv()); p.join()

def subprocesses():
    r = subprocess.run(["sh", "-c", "cat; echo err >&2; exit 3"], input=b"in", capture_output=True)
    print("run", r.stdout, r.stderr, r.returncode)
    try: subprocess.run(["sleep", "10"], timeout=0.2)
    except subprocess.TimeoutExpired: print("timed out")
    try: subprocess.run(["/no/such/program"])
    except FileNotFoundError as e: print("missing", e.errno)
    p = subprocess.Popen(["sleep", "10"]); p.terminate(); print("terminated", p.wait())

async def tasks():
    async def one(i):
        await asyncio.sleep(0.01); return i
    print("gather", sum(await asyncio.gather(*[one(i) for i in range(500)])))
    async def serve(reader, writer):
        writer.write((await reader.readline()).upper()); await writer.drain(); writer.close()
    server = await asyncio.start_unix_server(serve, "socket")
    async def ask(i):
        r, w = await asyncio.open_unix_connection("socket")
        w.write(b"hello %d\n" % i); answer = await r.readline(); w.close(); return answer
    print("unix server", sorted(await asyncio.gather(*[ask(i) for i in range(5)])))
    server.close(); await server.wait_closed(); os.unlink("socket")
    p = await asyncio.create_subprocess_exec("echo", "from a child", stdout=subprocess.PIPE)
    print("subprocess", (await p.communicate())[0])

def signals():
    got = []
    signal.signal(signal.SIGUSR1, lambda s, f: got.append(signal.Signals(s).name))
    os.kill(os.getpid(), signal.SIGUSR1)
    signal.signal(signal.SIGALRM, lambda s, f: got.append("alarm"))
    signal.setitimer(signal.ITIMER_REAL, 0.02); signal.pause()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2]); os.kill(os.getpid(), signal.SIGUSR2)
    print("signals", got, signal.sigwait([signal.SIGUSR2]).name)
    r, w = os.pipe(); os.set_blocking(w, False); signal.set_wakeup_fd(w, warn_on_full_buffer=False)
    os.kill(os.getpid(), signal.SIGUSR1); print("wakeup", os.read(r, 1)[0] == signal.SIGUSR1); signal.set_wakeup_fd(-1)

def files():
    with open("data", "w+b") as f:
        f.write(b"x" * 10000); f.flush()
        with mmap.mmap(f.fileno(), 0) as m:
            m[5000:5005] = b"HELLO"; m.flush()
        f.seek(4999); print("mmap", f.read(7))
    print("hash", hashlib.sha256(open("data", "rb").read()).hexdigest()[:16])
    with tempfile.TemporaryDirectory() as d:
        os.mkdir(d + "/sub"); open(d + "/sub/f", "w").close()
        print("walk", [(sorted(b), sorted(c)) for _, b, c in os.walk(d)])
    json.dump({"b": [1, 2.5, None], "a": "ü"}, open("out.json", "w"), sort_keys=True)
    a, b = socket.socketpair(); a.sendall(b"x" * 1000); print("select", len(select.select([b], [], [], 1)[0]), len(b.recv(2000)))
    pid = os.fork()
    if pid == 0: os._exit(9)
    print("fork", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    for part in (threads, processes, subprocesses, signals, files):
        part(); sys.stdout.flush()
    asyncio.run(tasks())
    start = time.monotonic(); time.sleep(0.05); print("slept", time.monotonic() - start >= 0.05)
PY
python3 -B program.py
python3 -B -c 'import sys; sys.exit(42)' || echo "exit $?"
