// SPDX-License-Identifier: GPL-2.0-only
/* A listener's life, and a stub's end: no leak, and no other process is killed. */
#include "harness.h"
#include "host.h"
#include "model.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define FSTAT_LIES 0x1234

static struct mm_id mm;

static void a_life(void)
{
	uint64_t identity = 0;
	int fds, first, second;

	model_init(0);
	fds = open_fds();
	mm_start(&mm);
	first = mm.listener;
	check_eq(raw(SYS_fcntl, first, F_GETFD), FD_CLOEXEC);
	check(mm.identity != 0);
	/* It can be taken again: the same stub. */
	second = get_stub_listener(mm.pid, &identity);
	check_op(second, >=, 0);
	check(second != first);
	check_eq(identity, mm.identity);
	check_eq(put_stub_listener(second), 0);
	check_eq(put_stub_listener(second), -EBADF);
	/* The first one still works. */
	check_eq(mm_hijack(&mm, SYS_mmap, 0), -EPERM);
	check_eq(put_stub_listener(first), 0);
	check_eq(put_stub_listener(first), -EBADF);
	mm.listener = -1;
	check_eq(WTERMSIG(mm_end(&mm)), SIGKILL);
	check_eq(open_fds(), fds);
}

/* Series, hole 8 */
static void many_lives_leave_no_fds(void)
{
	int fds, maps, i;

	model_init(0);
	mm_start(&mm);
	mm_end(&mm);
	fds = open_fds();
	maps = mappings();
	for (i = 0; i < 100; i++) {
		mm_start(&mm);
		mm_end(&mm);
	}
	check_eq(open_fds(), fds);
	check_eq(mappings(), maps);
}

static void a_suspended_call_outlives_a_listener(void)
{
	uint64_t identity;

	model_init(0);
	mm_start(&mm);
	mm_hijack_start_mmap(&mm);
	check_eq(put_stub_listener(mm.listener), 0);
	/* The stub has the last fd of the listener, so its call is still there for the next one. */
	mm.listener = get_stub_listener(mm.pid, &identity);
	check_op(mm.listener, >=, 0);
	mm_clear_pte(&mm, GUEST_FREE);
	check_eq(serve_one(&mm), 1);
	check_eq(mm_wait(&mm), 0);
	check_eq(mm_result(&mm), -EPERM);
}

static void what_is_no_listener_stays_open(void)
{
	int pair[2], fd;

	model_init(0);
	check_eq(raw(SYS_pipe2, pair, 0), 0);
	check_eq(put_stub_listener(pair[0]), -ENOTTY);
	check_op(raw(SYS_fcntl, pair[0], F_GETFD), >=, 0);
	fd = (int)raw(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
	check_eq(put_stub_listener(fd), -ENOTTY);
	fd = (int)raw(SYS_open, "/dev/null", O_RDWR, 0);
	check_eq(put_stub_listener(fd), -ENOTTY);
	check_op(raw(SYS_fcntl, fd, F_GETFD), >=, 0);
	fd = (int)raw(SYS_open, "/", O_PATH, 0);
	check(put_stub_listener(fd) < 0);
	check_op(raw(SYS_fcntl, fd, F_GETFD), >=, 0);
	check_eq(put_stub_listener(-1), -EBADF);
	check_eq(put_stub_listener(-2147483647 - 1), -EBADF);
	check_eq(put_stub_listener(12345), -EBADF);
	check_eq(put_stub_listener(2147483647), -EBADF);
}

static void refuses(int pid, uint64_t *identity, int error)
{
	int fds = open_fds();

	check_eq(get_stub_listener(pid, identity), -error);
	check_eq(open_fds(), fds);
}

static void a_stub_without_a_listener_has_none(void)
{
	uint64_t identity = FSTAT_LIES;
	int pipes[2], pid, ret;
	char byte;

	model_init(0);
	/* fd 1 is another file, then closed. */
	check_eq(raw(SYS_pipe2, pipes, 0), 0);
	pid = fork();
	if (pid == 0)
		mm_sleep();
	refuses(pid, &identity, ENOTTY);
	raw(SYS_kill, pid, SIGKILL);
	check_eq(raw(SYS_wait4, pid, 0, 0, 0), pid);

	pid = fork();
	if (pid == 0) {
		raw(SYS_close, 1);
		raw(SYS_write, pipes[1], "", 1);
		mm_sleep();
	}
	check_eq(raw(SYS_read, pipes[0], &byte, 1), 1);
	refuses(pid, &identity, EBADF);
	raw(SYS_kill, pid, SIGKILL);
	/* Dead and not reaped; then reaped. */
	check_eq(raw(SYS_waitid, P_PID, pid, 0, WEXITED | WNOWAIT), 0);
	ret = get_stub_listener(pid, &identity);
	check(ret == -ESRCH || ret == -EBADF /* an older host */);
	check_eq(raw(SYS_wait4, pid, 0, 0, 0), pid);
	refuses(pid, &identity, ESRCH);
	check_eq(identity, FSTAT_LIES);
}

static void bad_arguments(void)
{
	uint64_t identity[2] = { FSTAT_LIES, FSTAT_LIES };

	model_init(0);
	refuses(0, identity, EINVAL);
	refuses(-1, identity, EINVAL);
	refuses(-2147483647 - 1, identity, EINVAL);
	refuses(getpid(), NULL, EINVAL);
	refuses(getpid(), (void *)((char *)identity + 1), EINVAL);
	refuses(2147483647, identity, ESRCH);
	check_eq(identity[0], FSTAT_LIES);
	check_eq(identity[1], FSTAT_LIES);
}

static void what_the_host_may_answer(void)
{
	static const struct {
		enum host_call call;
		int error;
	} rows[] = {
		{ HOST_PIDFD_OPEN, ESRCH },   { HOST_PIDFD_OPEN, EMFILE },
		{ HOST_PIDFD_OPEN, ENOSYS },  { HOST_PIDFD_OPEN, EPERM },
		{ HOST_PIDFD_GETFD, ESRCH },  { HOST_PIDFD_GETFD, EPERM },
		{ HOST_PIDFD_GETFD, EMFILE }, { HOST_PIDFD_GETFD, EBADF },
		{ HOST_PIDFD_GETFD, ENOSYS }, { HOST_FSTATFS, EIO },
	};
	uint64_t identity;
	size_t i;
	int fds;

	model_init(0);
	mm_start(&mm);
	fds = open_fds();
	for (i = 0; i < COUNT(rows); i++) {
		test_context("%s gives %d", host_call_name(rows[i].call), rows[i].error);
		identity = FSTAT_LIES;
		host_fail(rows[i].call, 1, 1, rows[i].error);
		refuses(mm.pid, &identity, rows[i].error);
		check_eq(identity, FSTAT_LIES);
	}
	test_context("no listener");
	host_fail(HOST_ID_VALID, 1, 1, ENOTTY);
	refuses(mm.pid, &identity, ENOTTY);
	/* An older host lacks that flag. */
	host_fail(HOST_SET_FLAGS, 1, 1, EINVAL);
	check_eq(put_stub_listener(get_stub_listener(mm.pid, &identity)), 0);
	host_fail(HOST_SET_FLAGS, 1, 1, ENOTTY);
	check_eq(put_stub_listener(get_stub_listener(mm.pid, &identity)), 0);
	check_eq(open_fds(), fds);
}

/* A real limit: no fd is free; then one is, for the pidfd but not for the listener. */
static void no_fds_are_free(void)
{
	uint64_t identity = FSTAT_LIES;
	long limits[2] = { 0, 0 }, old[2];
	int fd, last = -1;

	model_init(0);
	mm_start(&mm);
	check_eq(raw(SYS_prlimit64, 0, 7 /* RLIMIT_NOFILE */, 0, old), 0);
	limits[0] = 64;
	limits[1] = old[1];
	check_eq(raw(SYS_prlimit64, 0, 7, limits, 0), 0);
	while ((fd = (int)raw(SYS_open, "/dev/null", O_RDONLY, 0)) >= 0)
		last = fd;
	check_op(last, >=, 0);
	check_eq(get_stub_listener(mm.pid, &identity), -EMFILE);
	raw(SYS_close, last);
	check_eq(get_stub_listener(mm.pid, &identity), -EMFILE);
	check_eq(identity, FSTAT_LIES);
	/* That fd is still free. */
	check_eq(raw(SYS_open, "/dev/null", O_RDONLY, 0), last);
}

static void whatever_fails_nothing_is_leaked(void)
{
	uint64_t identity;
	unsigned int number;
	int fds, ret, steps = 0;

	model_init(0);
	mm_start(&mm);
	fds = open_fds();
	for (number = 1;; number++) {
		identity = FSTAT_LIES;
		host_sweep(number, EMFILE);
		ret = get_stub_listener(mm.pid, &identity);
		host_sweep(0, 0);
		if (!host_swept())
			break;
		test_context("%s, call %u", host_swept(), number);
		steps++;
		if (ret < 0) {
			check_eq(identity, FSTAT_LIES);
		} else {
			check_eq(put_stub_listener(ret), 0);
		}
		check_eq(open_fds(), fds);
	}
	check_op(steps, >=, 4);
	check_eq(put_stub_listener(ret), 0);
}

static bool identity_as_of_an_older_host(const long *arg, long *result)
{
	*result = raw(SYS_fstatfs, arg[0], arg[1]);
	/* Before Linux 6.9 a pidfd was an anonymous inode. */
	*(long *)arg[1] = 0x09041934;
	return true;
}

static void an_older_host_has_another_identity(void)
{
	static struct mm_id other;

	host_hook_set(HOST_FSTATFS, identity_as_of_an_older_host);
	model_init(STUBGUARD_REQUIRE);
	host_hook_set(HOST_FSTATFS, identity_as_of_an_older_host);
	mm_start(&mm);
	check(mm.identity != 0);
	mm_start(&other);
	check_eq(stubguard_kill_stub(mm.pid, mm.identity + 1), -ESRCH);
	check(!mm_is_dead(&mm));
	check_eq(stubguard_kill_stub(mm.pid, mm.identity), 0);
	mm_wait_dead(&mm);
	check(!mm_is_dead(&other));
}

static void a_stub_is_killed_once(void)
{
	uint64_t kills;

	model_init(0);
	mm_start(&mm);
	kills = stats().kills;
	check_eq(stubguard_kill_stub(mm.pid, mm.identity), 0);
	mm_wait_dead(&mm);
	check_eq(WTERMSIG(mm_reap(&mm)), SIGKILL);
	check_eq(stats().kills, kills + 1);
	check_eq(stubguard_kill_stub(mm.pid, mm.identity), -ESRCH);
	check_eq(stats().kills, kills + 1);
	mm_forget(&mm);
}

static void only_that_stub_is_killed(void)
{
	int fds;

	model_init(0);
	mm_start(&mm);
	fds = open_fds();
	check_eq(stubguard_kill_stub(mm.pid, mm.identity + 1), -ESRCH);
	check_eq(stubguard_kill_stub(mm.pid, 0), -ESRCH);
	check_eq(stubguard_kill_stub(0, mm.identity), -EINVAL);
	check_eq(stubguard_kill_stub(-1, mm.identity), -EINVAL);
	check_eq(stubguard_kill_stub(-mm.pid, mm.identity), -EINVAL);
	check_eq(stubguard_kill_stub(getpid(), mm.identity), -ESRCH);
	check_eq(stats().kills, 0);
	check_eq(open_fds(), fds);
	mm_run(&mm, "report", 9);
	check_eq(mm_result(&mm), 9);
}

/* Series, hole 9 */
static void a_pid_that_came_back_is_not_hit(void)
{
	static struct mm_id other;

	model_init(0);
	mm_start(&mm);
	mm_kill_for_another(&mm, &other);
	check_eq(stubguard_kill_stub(mm.pid, mm.identity), -ESRCH);
	check(!mm_is_dead(&other));
	/* This signal comes after a wrong kill, which would have ended the process. */
	raw(SYS_kill, other.pid, SIGSTOP);
	mm_wait_state(&other, 'T');
}

static const struct test tests[] = {
	TEST(a_life),
	TEST(many_lives_leave_no_fds),
	TEST(a_suspended_call_outlives_a_listener),
	TEST(what_is_no_listener_stays_open),
	TEST(a_stub_without_a_listener_has_none),
	TEST(bad_arguments),
	TEST(what_the_host_may_answer),
	TEST(no_fds_are_free),
	TEST(whatever_fails_nothing_is_leaked),
	TEST(an_older_host_has_another_identity),
	TEST(a_stub_is_killed_once),
	TEST(only_that_stub_is_killed),
	TEST(a_pid_that_came_back_is_not_hit),
};

HARNESS_MAIN(tests)
