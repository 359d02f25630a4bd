// SPDX-License-Identifier: GPL-2.0-only
#include "harness.h"
#include "host.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef LIMIT_MS
#define LIMIT_MS 60000
#endif
#define EXIT_SKIP 4

/* Shared by the runner and its tests. */
struct shared {
	char reason[200];
};

static struct shared *shared;
static char context[200];
static const char *test_name = "";
static int test_pid;

static void say(const char *format, va_list list)
{
	char text[800];

	vsnprintf(text, sizeof(text), format, list);
	dprintf(STDERR_FILENO, "%s%s%s\n", text, context[0] ? ", for " : "", context);
}

_Noreturn void test_fail(const char *file, int line, const char *format, ...)
{
	va_list list;

	dprintf(STDERR_FILENO, "# %s: %s:%d: ", test_name, file, line);
	va_start(list, format);
	say(format, list);
	va_end(list);
	_exit(1);
}

_Noreturn void test_skip(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vsnprintf(shared->reason, sizeof(shared->reason), format, list);
	va_end(list);
	_exit(EXIT_SKIP);
}

void test_context(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vsnprintf(context, sizeof(context), format, list);
	va_end(list);
}

void test_context_end(void)
{
	context[0] = '\0';
}

int open_fds(void)
{
	char buffer[4096];
	int fds = 0, dir = (int)raw(SYS_open, (long)"/proc/self/fd", O_RDONLY | O_DIRECTORY, 0);
	long len, at;

	check_op(dir, >=, 0);
	while ((len = raw(SYS_getdents64, dir, (long)buffer, sizeof(buffer))) > 0) {
		for (at = 0; at < len; at += *(unsigned short *)(buffer + at + 16))
			fds += buffer[at + 19] != '.';
	}
	raw(SYS_close, dir);
	return fds - 1;
}

int mappings(void)
{
	char buffer[4096];
	int lines = 0, file = (int)raw(SYS_open, (long)"/proc/self/maps", O_RDONLY, 0);
	long len, at;

	check_op(file, >=, 0);
	while ((len = raw(SYS_read, file, (long)buffer, sizeof(buffer))) > 0) {
		for (at = 0; at < len; at++)
			lines += buffer[at] == '\n';
	}
	raw(SYS_close, file);
	return lines;
}

bool test_forks(void)
{
	int status, pid = fork();

	if (pid == 0)
		return true;
	check_op(pid, >, 0);
	check_eq(raw(SYS_wait4, pid, &status, 0, 0), pid);
	check_eq(status, 0);
	return false;
}

static _Noreturn void in_child(const struct test *test, int runner)
{
	/* The runner does it too: one of both is first. */
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != runner)
		_exit(1);
	test_name = test->name;
	test->run();
	_exit(0);
}

/* The share of a CPU that a process gets on a busy host: LIMIT_MS is longer by that. */
static double share(void)
{
	double load, cpus = (double)sysconf(_SC_NPROCESSORS_ONLN);

	return getloadavg(&load, 1) == 1 && load > cpus ? cpus / load : 1;
}

/* Returns whether it ended in time. */
static bool wait_for(int pid)
{
	double spent = 0;
	struct pollfd poll_fd = { .fd = (int)raw(SYS_pidfd_open, pid, 0), .events = POLLIN };
	long ret;

	if (poll_fd.fd < 0) {
		perror("pidfd_open");
		exit(2);
	}
	do {
		ret = raw(SYS_poll, (long)&poll_fd, 1, 1000);
		if (ret == 0)
			spent += 1000 * share();
	} while (ret == -EINTR || (ret == 0 && spent < LIMIT_MS));
	close(poll_fd.fd);
	return ret == 1;
}

static bool run(const struct test *test, size_t number)
{
	int runner = getpid(), status = 0;
	char name[200];
	siginfo_t info;
	size_t i;
	bool in_time, ok;

	for (i = 0; test->name[i] && i < sizeof(name) - 1; i++)
		name[i] = test->name[i] == '_' ? ' ' : test->name[i];
	name[i] = '\0';

	shared->reason[0] = '\0';
	fflush(stdout);
	test_pid = fork();
	if (test_pid < 0) {
		perror("fork");
		exit(2);
	}
	if (test_pid == 0)
		in_child(test, runner);
	setpgid(test_pid, test_pid);

	in_time = wait_for(test_pid);
	/* While the leader is a zombie, its group's number is not reused. */
	kill(-test_pid, SIGKILL);
	kill(test_pid, SIGKILL);
	waitid(P_PID, (id_t)test_pid, &info, WEXITED | WNOWAIT);
	kill(-test_pid, SIGKILL);
	waitpid(test_pid, &status, 0);
	/* The runner reaps orphans. */
	while (waitpid(-test_pid, NULL, __WALL) > 0)
		;
	if (test->cleanup)
		test->cleanup(test_pid);

	if (in_time && WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIP) {
		printf("ok %zu - %s # SKIP %s\n", number, name, shared->reason);
		return true;
	}
	if (!in_time)
		fprintf(stderr, "# %s: it took more than %d ms\n", test->name, LIMIT_MS);
	else if (WIFSIGNALED(status))
		fprintf(stderr, "# %s: it was ended by signal %d\n", test->name, WTERMSIG(status));
	ok = in_time && WIFEXITED(status) && WEXITSTATUS(status) == 0;
	printf("%sok %zu - %s\n", ok ? "" : "not ", number, name);
	return ok;
}

int harness_main(int argc, char **argv, const struct test *tests, size_t count)
{
	size_t i, number = 0, wanted = 0, failed = 0;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED) {
		perror("mmap");
		return 2;
	}
	for (i = 0; i < count; i++)
		wanted += argc < 2 || strstr(tests[i].name, argv[1]);
	printf("1..%zu\n", wanted);
	for (i = 0; i < count; i++) {
		if (argc < 2 || strstr(tests[i].name, argv[1]))
			failed += !run(&tests[i], ++number);
	}
	return failed > 0;
}
