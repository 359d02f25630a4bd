// SPDX-License-Identifier: GPL-2.0-only
/*
 * guest - the measured operations, run in the guest
 *
 *	gcc -O2 -static -pthread -Wall -Wextra -Werror -o guest guest.c
 *	guest --list		names of the rows, each with `operation` or `program`, and what is
 *				done once
 *	guest --time GO ROW...	for each: `ready ROW`, waits for a file GO/ROW, then
 *				`time ROW OPERATIONS NANOSECONDS`
 *	guest --count ROW N	N operations between two marks, for a tracer
 *	guest --live N GO	N processes that pause; see live()
 *
 * A row that cannot be measured says `skip ROW why` or `failed ROW why`.
 * Environment: STATIC and DYNAMIC are programs that do nothing, SOURCE a C file
 * to compile, BUSYBOX a shell, TMPDIR a writable folder.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE		4096UL
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define MILLISECOND	1000000ULL

#define SAMPLE		(300 * MILLISECOND)	/* aimed at */
#define SAMPLE_LEAST	(200 * MILLISECOND)	/* good enough */
#define ROW_LIMIT	100			/* seconds */
#define FORKS		200			/* timed beside N live ones */
#define MARK		0x5741524bUL		/* as bench/calls.py has it */

/* ------------------------------------------------------------------------
 * The clock: runs while a row runs, except for parts that the row leaves out
 */

static uint64_t elapsed, started;

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

static void clock_on(void)
{
	started = now();
}

static void clock_off(void)
{
	elapsed += now() - started;
}

/* Waits for a file of the host. */
static void wait_for_file(const char *dir, const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	while (access(path, F_OK))
		usleep(20000);
}

/* ------------------------------------------------------------------------
 * Helpers of several rows
 */

static void *map_pages(size_t pages, int flags, int fd)
{
	void *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (p == MAP_FAILED)
		err(1, "mmap");
	return p;
}

static void unmap_pages(void *p, size_t pages)
{
	if (munmap(p, pages * PAGE))
		err(1, "munmap");
}

static void read_pages(const volatile char *p, size_t pages)
{
	size_t i;

	for (i = 0; i < pages; i++)
		(void)p[i * PAGE];
}

static void write_pages(volatile char *p, size_t pages)
{
	size_t i;

	for (i = 0; i < pages; i++)
		p[i * PAGE] = 1;
}

static pid_t start_child(void)
{
	pid_t pid = fork();

	if (pid < 0)
		err(1, "fork");
	return pid;
}

static void wait_child(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		err(1, "waitpid");
	if (status)
		errx(1, "a child ended with status %#x", status);
}

static void run_program(char *const argv[])
{
	pid_t pid = start_child();

	if (pid == 0) {
		execvp(argv[0], argv);
		err(1, "%s", argv[0]);
	}
	wait_child(pid);
}

/*
 * Keeps a process of the program running, as most systems do of the shell and libc.
 * hostfs forgets a file that nobody has open, and would read all of it again for each
 * exec: nearly half of the host calls, which no row shall measure.
 */
static void keep_running(char *const argv[])
{
	static int input[2];

	if (input[1])
		return;
	if (pipe(input))
		err(1, "pipe");
	if (start_child() == 0) {
		dup2(input[0], STDIN_FILENO);
		close(input[0]);
		close(input[1]);
		execvp(argv[0], argv);
		err(1, "%s", argv[0]);
	}
	close(input[0]);
	/* Only this process has the other end: at its end the program ends. */
	if (fcntl(input[1], F_SETFD, FD_CLOEXEC))
		err(1, "FD_CLOEXEC");
}

static void keep_running_nothing(char *program)
{
	char *argv[] = { program, "stay", NULL };

	keep_running(argv);
}

static char *environment(const char *name)
{
	char *value = getenv(name);

	if (!value)
		errx(1, "%s is not set", name);
	return value;
}

/* ------------------------------------------------------------------------
 * The rows: @n operations each
 */

static void null_call(unsigned long n)
{
	while (n--)
		syscall(SYS_getppid);
}

/* Faults come in groups; the time leaves out mapping and unmapping of a group. */
#define GROUP		256UL

static void faults(unsigned long n, int flags, int fd, bool before,
		   void (*touch)(volatile char *, size_t))
{
	while (n) {
		size_t pages = n < GROUP ? n : GROUP;
		char *p;

		clock_off();
		p = map_pages(GROUP, flags, fd);
		if (before)
			read_pages(p, GROUP);
		clock_on();
		touch(p, pages);
		clock_off();
		unmap_pages(p, GROUP);
		clock_on();
		n -= pages;
	}
}

static void touch_to_read(volatile char *p, size_t pages)
{
	read_pages(p, pages);
}

/* The zero page: a file's pages would be mapped sixteen at a time. */
static void fault_read(unsigned long n)
{
	faults(n, MAP_PRIVATE | MAP_ANONYMOUS, -1, false, touch_to_read);
}

static void fault_write(unsigned long n)
{
	faults(n, MAP_PRIVATE | MAP_ANONYMOUS, -1, false, write_pages);
}

static void fault_cow(unsigned long n)
{
	static int fd = -1;

	if (fd < 0) {
		fd = memfd_create("cow", 0);
		if (fd < 0 || ftruncate(fd, GROUP * PAGE))
			err(1, "memfd");
	}
	faults(n, MAP_PRIVATE, fd, true, write_pages);
}

static void churn(unsigned long n, size_t pages)
{
	while (n--) {
		char *p = map_pages(pages, MAP_PRIVATE | MAP_ANONYMOUS, -1);

		write_pages(p, pages);
		unmap_pages(p, pages);
	}
}

static void churn_1(unsigned long n)
{
	churn(n, 1);
}

static void churn_16(unsigned long n)
{
	churn(n, 16);
}

static void churn_256(unsigned long n)
{
	churn(n, 256);
}

/*
 * Many areas, since the cost depends on an area's frames: consecutive ones need one
 * call of the stub.
 */
static void protect(unsigned long n)
{
	char *p[64];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(p); i++) {
		p[i] = map_pages(17, MAP_PRIVATE | MAP_ANONYMOUS, -1);
		write_pages(p[i], 16);
		/* so that the areas do not merge */
		if (mprotect(p[i] + 16 * PAGE, PAGE, PROT_NONE))
			err(1, "mprotect");
	}
	while (n--)
		if (mprotect(p[n % ARRAY_SIZE(p)], 16 * PAGE,
			     n / ARRAY_SIZE(p) & 1 ? PROT_READ : PROT_READ | PROT_WRITE))
			err(1, "mprotect");
	for (i = 0; i < ARRAY_SIZE(p); i++)
		unmap_pages(p[i], 17);
}

static void fork_wait(unsigned long n)
{
	while (n--) {
		pid_t pid = start_child();

		if (pid == 0)
			_exit(0);
		wait_child(pid);
	}
}

static void exec_static(unsigned long n)
{
	char *argv[] = { environment("STATIC"), NULL };

	keep_running_nothing(argv[0]);
	while (n--)
		run_program(argv);
}

static void exec_dynamic(unsigned long n)
{
	char *argv[] = { environment("DYNAMIC"), NULL };

	keep_running_nothing(argv[0]);
	while (n--)
		run_program(argv);
}

static void pipe_pingpong(unsigned long n)
{
	int there[2], back[2];
	char c = 0;
	pid_t pid;

	if (pipe(there) || pipe(back))
		err(1, "pipe");
	pid = start_child();
	if (pid == 0) {
		close(there[1]);
		while (read(there[0], &c, 1) == 1)
			if (write(back[1], &c, 1) != 1)
				_exit(1);
		_exit(0);
	}
	while (n--)
		if (write(there[1], &c, 1) != 1 || read(back[0], &c, 1) != 1)
			errx(1, "the other process is gone");
	close(there[1]);
	wait_child(pid);
	close(there[0]);
	close(back[0]);
	close(back[1]);
}

/* The thread whose turn it is: 0 or 1. Both have the same number of turns. */
static _Atomic unsigned int turn;

static void take_turns(unsigned int me, unsigned long n)
{
	while (n--) {
		while (atomic_load(&turn) != me)
			syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, !me,
				NULL, NULL, 0);
		atomic_store(&turn, !me);
		syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	}
}

static void *second_thread(void *n)
{
	take_turns(1, (uintptr_t)n);
	return NULL;
}

static void thread_pingpong(unsigned long n)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, second_thread, (void *)n))
		errx(1, "pthread_create");
	take_turns(0, n);
	pthread_join(thread, NULL);
}

/* run_script - a shell's commands as a program of its own */
static void run_script(unsigned long n, char *script)
{
	char *argv[] = { "sh", "-c", script, NULL };

	while (n--)
		run_program(argv);
}

static void shell_script(unsigned long n)
{
	char script[] = "n=500; while [ $n -gt 0 ]; do $STATIC; n=$((n - 1)); done";
	char *argv[] = { environment("BUSYBOX"), "sh", "-c", script, NULL };

	keep_running_nothing(environment("STATIC"));
	while (n--)
		run_program(argv);
}

static void run_compiler(unsigned long n, char *level)
{
	char object[256], nothing[256];
	char *argv[] = { "gcc", level, "-c", "-o", object, environment("SOURCE"), NULL };
	char *idle[] = { "gcc", "-pipe", "-c", "-o", nothing, "-x", "c", "-", NULL };

	/* With the compiler proper and the assembler. */
	snprintf(nothing, sizeof(nothing), "%s/nothing.o", environment("TMPDIR"));
	keep_running(idle);
	snprintf(object, sizeof(object), "%s/compiled.o", environment("TMPDIR"));
	while (n--)
		run_program(argv);
}

static void compile(unsigned long n)
{
	run_compiler(n, "-O2");
}

static void gcc(unsigned long n)
{
	run_compiler(n, "-O1");
}

static void run_true(unsigned long n)
{
	char *argv[] = { "/bin/true", NULL };

	keep_running_nothing(environment("DYNAMIC"));
	while (n--)
		run_program(argv);
}

static void perl(unsigned long n)
{
	char *argv[] = { "perl", "-e", "my %h = map { $_ => $_ * 2 } 1 .. 20000; my $s = 0; $s += $h{$_} for keys %h;"
			 "$_ = join ' ', sort keys %h; s/1+/x/g; exit($s != 400020000)", NULL };
	char *idle[] = { "perl", NULL };

	keep_running(idle);
	while (n--)
		run_program(argv);
}

static void python(unsigned long n)
{
	char *argv[] = { "python3", "-c", "import json, re\n"
			 "d = {str(i): [i, i * 2] for i in range(5000)}\n"
			 "assert json.loads(json.dumps(d)) == d and len(re.findall('1+', json.dumps(d)))", NULL };
	char *idle[] = { "python3", "-", NULL };

	keep_running(idle);
	while (n--)
		run_program(argv);
}

static void shell(unsigned long n)
{
	char *idle[] = { "sh", NULL };

	keep_running(idle);
	run_script(n, "n=0; while [ $n -lt 2000 ]; do n=$((n + 1)); case $n in *7) s=$s$n;; esac; done;"
		      "for f in 1 2 3 4 5 6 7 8; do echo $s | tr 7 8 | wc -c; (cd /; pwd); done >/dev/null");
}

static void build(unsigned long n)
{
	char *idle[] = { "gcc", "-pipe", "-c", "-o", "/dev/null", "-x", "c", "-", NULL };

	keep_running(idle);
	run_script(n, "d=$TMPDIR/build; rm -rf $d; mkdir $d; cp $SOURCE $d/a.c; cp $SOURCE $d/b.c; cp $SOURCE $d/c.c; cp $SOURCE $d/d.c;"
		      "echo 'all: a.o b.o c.o d.o' >$d/Makefile; make -s -C $d -j4 CFLAGS=-O1");
}

enum kind { OPERATION, PROGRAM };	/* a program is what users run, an operation a step of it */

static const char *const kinds[] = { "operation", "program" };

static const struct row {
	enum kind kind;
	const char *name;
	void (*run)(unsigned long n);
	const char *what;	/* is done once */
	const char *needs;	/* programs of the host, or NULL */
} rows[] = {
	{ OPERATION, "syscall", null_call, "getppid()", NULL },
	{ OPERATION, "fault-read", fault_read, "a page of anonymous memory, read", NULL },
	{ OPERATION, "fault-write", fault_write, "a page of anonymous memory, written", NULL },
	{ OPERATION, "fault-cow", fault_cow, "a page of a private mapping, read before, written", NULL },
	{ OPERATION, "churn1", churn_1, "mmap, 1 page written, munmap", NULL },
	{ OPERATION, "churn16", churn_16, "mmap, 16 pages written, munmap", NULL },
	{ OPERATION, "churn256", churn_256, "mmap, 256 pages written, munmap", NULL },
	{ OPERATION, "mprotect", protect, "mprotect of 16 pages", NULL },
	{ OPERATION, "fork", fork_wait, "fork, exit, wait", NULL },
	{ OPERATION, "exec-static", exec_static, "fork, exec of a static program, wait", NULL },
	{ OPERATION, "exec-dynamic", exec_dynamic, "fork, exec of a dynamic program, wait", NULL },
	{ OPERATION, "pipe", pipe_pingpong, "a byte to another process and back", NULL },
	{ OPERATION, "thread", thread_pingpong, "a futex hand-over to another thread and back", NULL },
	{ OPERATION, "script", shell_script, "a shell script of 500 commands", NULL },
	{ OPERATION, "compile", compile, "gcc -O2 -c of a file of some hundred lines", "gcc" },
	{ PROGRAM, "true", run_true, "/bin/true", NULL },
	{ PROGRAM, "gcc", gcc, "gcc -O1 -c of the same file", "gcc" },
	{ PROGRAM, "perl", perl, "perl: a hash of 20,000, sorted", "perl" },
	{ PROGRAM, "sh", shell, "a shell script of 24 processes", NULL },
	{ PROGRAM, "python", python, "python3: JSON of 5,000 lists", "python3" },
	{ PROGRAM, "build", build, "make -j4 of four files", "gcc make" },
};

static const struct row *find_row(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++)
		if (strcmp(rows[i].name, name) == 0)
			return &rows[i];
	errx(1, "no row is called %s", name);
}

/* ------------------------------------------------------------------------
 * Measuring
 */

static uint64_t run_row(const struct row *row, unsigned long n)
{
	elapsed = 0;
	clock_on();
	row->run(n);
	clock_off();
	return elapsed;
}

/* Finds the number of operations of a sample, which also warms files and code, and times it. */
static void time_row(const struct row *row)
{
	unsigned long n = 1, more;
	char command[128];
	uint64_t ns;

	if (row->needs) {
		snprintf(command, sizeof(command), "for p in %s; do command -v $p >/dev/null || exit 1; done",
			 row->needs);
		if (system(command)) {
			printf("skip %s the host lacks one of: %s\n", row->name, row->needs);
			return;
		}
	}
	run_row(row, 1);
	for (;;) {
		ns = run_row(row, n);
		if (ns >= SAMPLE_LEAST)
			break;
		more = n * SAMPLE / (ns + 1) + 1;
		n = more < 16 * n ? more : 16 * n;
	}
	printf("time %s %lu %llu\n", row->name, n, (unsigned long long)ns);
}

/* Runs a row in a process of its own, as it may crash or hang. */
static void try_row(const char *name)
{
	const struct row *row = find_row(name);
	pid_t pid = start_child();
	int status;

	if (pid == 0) {
		alarm(ROW_LIMIT);
		time_row(row);
		exit(0);
	}
	if (waitpid(pid, &status, 0) != pid)
		err(1, "waitpid");
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		printf("failed %s not done in %d s\n", name, ROW_LIMIT);
	else if (status)
		printf("failed %s wait status %#x\n", name, status);
}

/* ------------------------------------------------------------------------
 * Many processes at a time
 */

static unsigned long long free_memory(void)
{
	unsigned long long kib = 0;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "r");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemFree: %llu kB", &kib) == 1)
			break;
	if (!f || !kib)
		errx(1, "no MemFree in /proc/meminfo");
	fclose(f);
	return kib;
}

/* Says the state, and waits until the host has looked at it. */
static void halt(const char *go, const char *name)
{
	printf("%s %llu\n", name, free_memory());
	wait_for_file(go, name);
}

/* Halts before there are processes, beside @n that pause, and after they have ended. */
static void live(unsigned long n, const char *go)
{
	unsigned long i;
	uint64_t ns;

	fork_wait(FORKS);	/* the kernel keeps what the first ones allocate */
	halt(go, "before");
	for (i = 0; i < n; i++) {
		pid_t pid = fork();

		if (pid < 0)
			err(1, "fork, with %lu processes", i);
		if (pid == 0)
			for (;;)
				pause();
	}
	usleep(100000);		/* until the last one pauses */
	halt(go, "live");
	ns = run_row(find_row("fork"), FORKS);
	printf("time fork %d %llu\n", FORKS, (unsigned long long)ns);
	halt(go, "after");
}

int main(int argc, char **argv)
{
	size_t i;

	setlinebuf(stdout);
	if (argc == 2 && strcmp(argv[1], "--list") == 0) {
		for (i = 0; i < ARRAY_SIZE(rows); i++)
			printf("%s %s %s\n", rows[i].name, kinds[rows[i].kind], rows[i].what);
	} else if (argc >= 4 && strcmp(argv[1], "--time") == 0) {
		for (i = 3; i < (size_t)argc; i++) {
			printf("ready %s\n", argv[i]);
			wait_for_file(argv[2], argv[i]);
			try_row(argv[i]);
		}
	} else if (argc == 4 && strcmp(argv[1], "--count") == 0) {
		const struct row *row = find_row(argv[2]);
		unsigned long n = strtoul(argv[3], NULL, 10);

		run_row(row, 1);
		/* A call that no other code makes, for a tracer. */
		syscall(SYS_getpgid, MARK);
		row->run(n);
		syscall(SYS_getpgid, MARK);
	} else if (argc == 4 && strcmp(argv[1], "--live") == 0) {
		live(strtoul(argv[2], NULL, 10), argv[3]);
	} else {
		errx(2, "usage: guest --list | --time GO ROW... | --count ROW N | --live N GO");
	}
	return 0;
}
