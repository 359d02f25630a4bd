// SPDX-License-Identifier: GPL-2.0-only

import java.nio.file.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import java.util.stream.*;

/** Threads that allocate, fault and wait for each other. The output is always the same. */
public class Main {
    static int depth;
    static final int[] none = null;

    static void stack() {
        depth++;
        stack();
    }

    static long garbage(int seed) {
        Map<Integer, byte[]> kept = new HashMap<>();
        Random random = new Random(seed);
        long sum = 0;
        for (int i = 0; i < 20000; i++) {
            byte[] bytes = new byte[random.nextInt(4000)];
            if (bytes.length > 0)
                bytes[bytes.length - 1] = (byte) i;
            kept.put(i % 500, bytes);
            sum += bytes.length;
        }
        for (byte[] bytes : kept.values())
            sum = sum * 31 + (bytes.length > 0 ? bytes[bytes.length - 1] : 0);
        return sum;
    }

    /** The virtual machine finds null pointers by SIGSEGV, and divisions by zero by SIGFPE. */
    static int faults() {
        int caught = 0;
        for (int i = 0; i < 20000; i++) {
            try {
                caught += none[i];
            } catch (NullPointerException e) {
                caught++;
            }
            try {
                caught += 1 / (caught - caught);
            } catch (ArithmeticException e) {
                caught++;
            }
        }
        return caught;
    }

    public static void main(String[] arguments) throws Exception {
        String what = arguments.length > 0 ? arguments[0] : "4";
        switch (what) {
        case "memory":
            List<byte[]> all = new ArrayList<>();
            try {
                while (true)
                    all.add(new byte[1 << 20]);
            } catch (OutOfMemoryError e) {
                all = null;
                System.out.println("out of memory");
            }
            return;
        case "stack":
            for (int i = 0; i < 10; i++) {
                try {
                    stack();
                } catch (StackOverflowError e) {
                    System.out.println("out of stack " + (depth > 500));
                    depth = 0;
                }
            }
            return;
        case "sleep":
            Thread.sleep(60000);
            return;
        }
        int rounds = Integer.parseInt(what);
        ExecutorService pool = Executors.newFixedThreadPool(8);
        List<Future<Long>> sums = new ArrayList<>();
        for (int i = 0; i < rounds * 4; i++) {
            int seed = i;
            sums.add(pool.submit(() -> garbage(seed)));
        }
        long sum = 0;
        for (Future<Long> one : sums)
            sum = sum * 7 + one.get();
        System.out.println("garbage " + sum);
        System.out.println("faults " + faults());

        AtomicLong counter = new AtomicLong();
        Object lock = new Object();
        long[] plain = new long[1];
        List<Future<?>> jobs = new ArrayList<>();
        for (int i = 0; i < 8; i++)
            jobs.add(pool.submit(() -> {
                for (int n = 0; n < 20000; n++) {
                    counter.incrementAndGet();
                    synchronized (lock) {
                        plain[0]++;
                    }
                }
            }));
        for (Future<?> job : jobs)
            job.get();
        System.out.println("counters " + counter + " " + plain[0]);
        System.out.println("stream " + IntStream.range(0, 2000000).parallel().mapToLong(i -> (long) i * i % 1009).sum());
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < 100000; i++)
            text.append(i % 977);
        System.out.println("hash " + text.toString().hashCode());
        Path file = Files.createTempFile("main", "");
        Files.write(file, text.toString().getBytes());
        System.out.println("file " + Files.size(file));
        Files.delete(file);
        Process process = new ProcessBuilder("echo", "child").redirectErrorStream(true).start();
        System.out.println(new String(process.getInputStream().readAllBytes()).trim() + " " + process.waitFor());
        BlockingQueue<Integer> queue = new SynchronousQueue<>();
        pool.submit(() -> {
            for (int i = 0; i < 2000; i++)
                queue.put(i);
            return null;
        });
        long taken = 0;
        for (int i = 0; i < 2000; i++)
            taken += queue.take();
        System.out.println("queue " + taken);
        pool.shutdown();
    }
}
