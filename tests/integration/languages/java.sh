# OpenJDK: compile and run a threaded program, processes, files, a jar, jshell, the garbage collectors.
set -euo pipefail
cat > Work.java <<'J'
import java.io.*;
import java.net.*;
import java.nio.*;
import java.nio.channels.*;
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import java.util.stream.*;

public class Work {
    public static void main(String[] args) throws Exception {
        AtomicLong sum = new AtomicLong();
        Thread[] threads = new Thread[100];
        for (int i = 0; i < threads.length; i++) {
            int n = i;
            threads[i] = new Thread(() -> { for (int k = 0; k < 1000; k++) sum.addAndGet(n); });
            threads[i].start();
        }
        for (Thread t : threads) t.join();
        System.out.println("threads " + sum.get());
        ExecutorService pool = Executors.newFixedThreadPool(8);
        List<Future<Integer>> all = new ArrayList<>();
        for (int i = 0; i < 200; i++) { int n = i; all.add(pool.submit(() -> n * n)); }
        long total = 0;
        for (Future<Integer> f : all) total += f.get();
        pool.shutdown();
        System.out.println("pool " + total + " " + pool.awaitTermination(10, TimeUnit.SECONDS));
        System.out.println("parallel " + LongStream.rangeClosed(1, 1_000_000).parallel().filter(x -> x % 7 == 0).sum());
        Object lock = new Object();
        boolean[] ready = { false };
        Thread waiter = new Thread(() -> { synchronized (lock) { while (!ready[0]) try { lock.wait(); } catch (InterruptedException e) { } } });
        waiter.start();
        synchronized (lock) { ready[0] = true; lock.notifyAll(); }
        waiter.join();
        Thread sleeper = new Thread(() -> { try { Thread.sleep(100000); } catch (InterruptedException e) { System.out.println("interrupted"); } });
        sleeper.start(); sleeper.interrupt(); sleeper.join();
        Process p = new ProcessBuilder("sh", "-c", "read x; echo got $x; exit 6").redirectErrorStream(true).start();
        p.getOutputStream().write("input\n".getBytes()); p.getOutputStream().close();
        System.out.print(new String(p.getInputStream().readAllBytes()));
        System.out.println("exit " + p.waitFor());
        Path file = Path.of("mapped");
        try (FileChannel c = FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            MappedByteBuffer map = c.map(FileChannel.MapMode.READ_WRITE, 0, 1 << 16);
            for (int i = 0; i < 1 << 14; i++) map.putInt(i * 4, i);
            map.force();
            try (FileLock l = c.lock()) { System.out.println("locked " + l.isValid()); }
        }
        System.out.println("mapped " + Files.size(file));
        var address = UnixDomainSocketAddress.of("java.sock");
        try (var server = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
            server.bind(address);
            Thread client = new Thread(() -> { try (var c = SocketChannel.open(address)) { c.write(ByteBuffer.wrap("hello".getBytes())); } catch (IOException e) { e.printStackTrace(); } });
            client.start();
            try (var c = server.accept()) { var b = ByteBuffer.allocate(10); while (b.position() < 5) c.read(b); System.out.println(new String(b.array(), 0, 5)); }
            client.join();
        }
        Files.delete(Path.of("java.sock"));
        try (WatchService w = FileSystems.getDefault().newWatchService()) {
            Path d = Files.createDirectory(Path.of("watched"));
            d.register(w, StandardWatchEventKinds.ENTRY_CREATE);
            Files.createFile(d.resolve("new"));
            System.out.println(w.take().pollEvents().get(0).context());
        }
        try { Object o = null; o.hashCode(); } catch (NullPointerException e) { System.out.println("null"); }
        try { deep(0); } catch (StackOverflowError e) { System.out.println("deep"); }
        List<byte[]> garbage = new ArrayList<>();
        try { while (true) garbage.add(new byte[1 << 20]); } catch (OutOfMemoryError e) { garbage = null; System.out.println("full"); }
        Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("hook")));
        System.exit(9);
    }
    static int deep(int n) { return deep(n + 1) + 1; }
}
J
javac -d classes Work.java
for flags in "-XX:+UseG1GC -Xmx128m" "-XX:+UseSerialGC -Xmx64m -Xint"; do
    rm -rf mapped watched
    java $flags -cp classes Work || echo "exit $?"
done
jar --create --file work.jar --main-class Work -C classes . && jar tf work.jar | sort
echo 'System.out.println(IntStream.range(0, 10).sum());' > in.jsh
echo '/exit' >> in.jsh
jshell -s --execution local in.jsh
cat > Single.java <<'J'
class Single { public static void main(String[] a) { System.out.println("from source " + a.length + " " + (Runtime.getRuntime().availableProcessors() > 0)); } }
J
java Single.java x y
rm -rf watched
java -cp classes Work > /dev/null & pid=$!
jps > /dev/null || true
wait $pid || echo "ended $?"
rm -rf work.jar classes mapped watched hs_err*
