// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every function keeps the caller's errno, whatever it returns and whatever the host returns to it.
 */
#include "harness.h"
#include "host.h"
#include "model.h"
#include "window.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>

#define MARK 4242

static struct mm_id mm;

#define keeps_errno(call)							\
	do {									\
		errno = MARK;							\
		(void)(call);							\
		if (errno != MARK)						\
			test_fail(__FILE__, __LINE__, "errno is %d after %s", errno, #call);	\
	} while (0)

#define errno_and(call, value)							\
	do {									\
		keeps_errno(result = (call));					\
		check_eq(result, value);					\
	} while (0)

static void the_start_keeps_it(void)
{
	struct stubguard_config config = model_config();
	int result;

	errno_and(stubguard_init(NULL), -EINVAL);
	config.flags = STUBGUARD_REQUIRE;
	host_fail(HOST_PIDFD_GETFD, 1, 1, ENOSYS);
	errno_and(stubguard_init(&config), -EOPNOTSUPP);
	errno_and(stubguard_init(&config), 0);
	errno_and(stubguard_init(&config), -EALREADY);
}

static void what_only_tells_keeps_it(void)
{
	struct sock_filter filter[STUBGUARD_FILTER_MAX];
	struct stubguard_stats stats_out;

	keeps_errno(stubguard_filter(filter, STUBGUARD_FILTER_MAX));
	model_init(0);
	keeps_errno(stubguard_filter(filter, STUBGUARD_FILTER_MAX));
	keeps_errno(stubguard_filter(filter, 1));
	keeps_errno(stubguard_filter_flags());
	keeps_errno(stubguard_features());
	keeps_errno(stubguard_version());
	keeps_errno(stubguard_denial_name(0));
	keeps_errno(stubguard_denial_name(99));
	keeps_errno(stubguard_stats_get(&stats_out, sizeof(stats_out)));
	keeps_errno(stubguard_stats_get(NULL, 0));
}

static void listeners_keep_it(void)
{
	uint64_t identity;
	int result, fd;

	model_init(0);
	mm_start(&mm);
	keeps_errno(fd = get_stub_listener(mm.pid, &identity));
	check_op(fd, >=, 0);
	errno_and(put_stub_listener(fd), 0);
	errno_and(put_stub_listener(fd), -EBADF);
	errno_and(put_stub_listener(0), -ENOTTY);
	errno_and(get_stub_listener(2147483647, &identity), -ESRCH);
	host_fail(HOST_PIDFD_GETFD, 1, 1, EPERM);
	errno_and(get_stub_listener(mm.pid, &identity), -EPERM);
	host_fail(HOST_SET_FLAGS, 1, 1, EINVAL);
	keeps_errno(fd = get_stub_listener(mm.pid, &identity));
	check_eq(put_stub_listener(fd), 0);
	errno_and(stubguard_kill_stub(mm.pid, identity + 1), -ESRCH);
	errno_and(stubguard_kill_stub(mm.pid, identity), 0);
}

static void notifications_keep_it(void)
{
	int result;

	model_init(0);
	mm_start(&mm);
	errno_and(seccomp_notify_serve(&mm, mm.listener, 0), 0);
	errno_and(seccomp_notify_drain(&mm, mm.listener), 0);
	errno_and(serve_batch(&mm, 1), 0);
	mm_hijack_start_mmap(&mm);
	host_fail(HOST_POLL, 1, 1, EINTR);
	errno_and(seccomp_notify_serve(&mm, mm.listener, 0), -EINTR);
	host_fail(HOST_RECV, 1, 1, ENOENT);
	errno_and(seccomp_notify_serve(&mm, mm.listener, 0), 0);
	host_fail(HOST_SEND, 1, 1, EINTR);
	errno_and(seccomp_notify_serve(&mm, mm.listener, 0), 1);
	check_eq(mm_wait(&mm), 0);
	mm_hijack_start_mmap(&mm);
	host_fail(HOST_SEND, 1, 1, ENOENT);
	keeps_errno(seccomp_notify_drain(&mm, mm.listener));
	errno_and(seccomp_notify_serve(&mm, -1, 0), -EBADF);
	errno_and(seccomp_notify_serve(&mm, 0, 5000), -EINVAL);
	raw(SYS_pidfd_send_signal, mm.pidfd, 9, 0, 0);
	mm_wait_told(&mm);
	errno_and(seccomp_notify_drain(&mm, mm.listener), -ESRCH);
}

static void reports_keep_it(void)
{
	int result;

	model_init(0);
	mm_start(&mm);
	errno_and(stubguard_publish(mm.shared, &mm.own, 0), 0);
	errno_and(stubguard_publish(NULL, &mm.own, 0), -EINVAL);
	mm.shared->signal = 99;
	errno_and(stubguard_collect(mm.shared, &mm.own, 0, 0), -EPROTO);
	errno_and(stubguard_collect(mm.shared, NULL, 0, 0), -EINVAL);
}

static void the_watchdog_keeps_it(void)
{
	struct stubguard_config config = model_config();
	int result;

	config.kick_signal = 40;
	model_init_config(&config);
	mm_start(&mm);
	errno_and(stop_seccomp_watchdog(), -EALREADY);
	host_fail(HOST_PTHREAD_CREATE, 1, 1, EAGAIN);
	errno_and(start_seccomp_watchdog(), -EAGAIN);
	errno_and(start_seccomp_watchdog(), 0);
	errno_and(start_seccomp_watchdog(), -EALREADY);
	errno_and(seccomp_wd_enter(0, mm.pid, mm.identity), 0);
	errno_and(seccomp_wd_progress(0), 0);
	errno_and(seccomp_wd_exit(0), 0);
	errno_and(seccomp_wd_exit(0), -EINVAL);
	errno_and(seccomp_wd_enter(9, 1, 1), -EINVAL);
	errno_and(stop_seccomp_watchdog(), 0);
}

static struct window w;

static void queue_one(void)
{
	mm_queue_page(&w.mm, GUEST_FREE, FRAME_FREE, PROT_READ);
}

static void parked_stubs_keep_it(void)
{
	static unsigned char page[PAGE] __attribute__((aligned(8)));
	int result;

	errno_and(stubguard_stub_code(page), -ENODEV);
	window_init(0);
	keeps_errno(stubguard_stub_code(page));
	errno_and(stubguard_stub_code(NULL), -EINVAL);
	host_fail(HOST_FILTER, 1, 1, ENOMEM);
	errno_and(stubguard_listen(), -ENOMEM);
	keeps_errno(stubguard_filter_flags());
	window_spawn(&w);
	errno_and(stubguard_stub_init(&w.stub, NULL), -EINVAL);
	errno_and(stubguard_stub_init(&w.stub, w.mm.shared), 0);
	errno_and(stubguard_stub_attach(&w.stub, w.mm.pid, 0), -ENOTTY);
	host_fail(HOST_SET_FLAGS, 1, 1, EINVAL);
	errno_and(stubguard_stub_attach(&w.stub, w.mm.pid, w.mm.listener), 0);
	host_fail(HOST_RECV, 1, 1, EINTR);
	errno_and(window_wait_once(&w), -EINTR);
	host_fail(HOST_RECV, 1, 1, ENOENT);
	errno_and(window_wait_once(&w), -EINTR);
	errno_and(window_wait(&w), 0);
	errno_and(window_wait_once(&w), -EINVAL);
	window_set_up(&w);
	window_guest(&w, "report", 1);
	host_fail(HOST_SEND, 1, 1, EINTR);
	errno_and(window_resume(&w), 0);
	errno_and(window_resume(&w), -EINVAL);
	errno_and(window_wait(&w), 0);
	queue_one();
	errno_and(window_sync(&w), 0);
	queue_one();
	host_fail(HOST_PRLIMIT, 1, 1, EPERM);
	errno_and(window_resume(&w), -EPERM);
	errno_and(window_resume(&w), -ESRCH);
	errno_and(window_wait_once(&w), -ESRCH);
}

static void whatever_fails_for_a_parked_stub(void)
{
	unsigned int number;

	window_init(0);
	for (number = 1; number < 100; number++) {
		window_start(&w);
		queue_one();
		window_guest(&w, "report", 1);
		host_sweep(number, EIO);
		keeps_errno(window_attach(&w));
		host_sweep(0, 0);
		if (!host_swept())
			break;
		mm_end(&w.mm);
	}
	check_op(number, <, 100);
	for (number = 1; number < 100; number++) {
		window_start(&w);
		queue_one();
		window_guest(&w, "report", 1);
		host_sweep(number, EIO);
		keeps_errno(window_resume(&w));
		keeps_errno(window_wait_once(&w));
		host_sweep(0, 0);
		if (!host_swept())
			break;
		mm_end(&w.mm);
	}
	check_op(number, >, 3);
	check_op(number, <, 100);
	check_eq(w.event.signal, SIGSYS);
}

static void whatever_fails_it_is_kept(void)
{
	unsigned int number;
	uint64_t identity;
	int fd;

	model_init(0);
	mm_start(&mm);
	for (number = 1; number < 100; number++) {
		host_sweep(number, EIO);
		keeps_errno(fd = get_stub_listener(mm.pid, &identity));
		host_sweep(0, 0);
		if (fd >= 0)
			check_eq(put_stub_listener(fd), 0);
		if (!host_swept())
			break;
	}
	check_op(number, <, 100);
	for (number = 1; number < 100; number++) {
		host_sweep(number, EIO);
		keeps_errno(stubguard_kill_stub(mm.pid, mm.identity));
		host_sweep(0, 0);
		if (!host_swept())
			break;
	}
	check_op(number, <, 100);
}

/* ---- a signal handler may call a function that it has interrupted */

static struct stub_data again, again_own;
static volatile unsigned int handled;

static void call_all(int sig)
{
	struct sock_filter filter[STUBGUARD_FILTER_MAX];
	struct stubguard_stats out;
	int saved = errno;

	(void)sig;
	check_eq(stubguard_stats_get(&out, sizeof(out)), 0);
	check_op(stubguard_filter(filter, STUBGUARD_FILTER_MAX), >, 0);
	check_op(seccomp_notify_drain(&mm, mm.listener), >=, 0);
	check_eq(stubguard_publish(&again, &again_own, 0), 0);
	again.signal = SIGSYS;
	again.si_offset = again_own.si_offset;
	again.mctx_offset = again_own.mctx_offset;
	check_eq(stubguard_collect(&again, &again_own, 0, 0), 0);
	check_eq(seccomp_wd_enter(1, mm.pid, mm.identity), 0);
	check_eq(seccomp_wd_progress(1), 0);
	check_eq(seccomp_wd_exit(1), 0);
	check_eq(errno, saved);
	handled++;
}

static void a_handler_may_call_again(void)
{
	struct sigaction action = { .sa_handler = call_all, .sa_flags = SA_RESTART };
	struct itimerval often = { { 0, 200 }, { 0, 200 } }, never = { { 0, 0 }, { 0, 0 } };
	static struct stub_data copy;

	model_init(0);
	mm_start(&mm);
	mm_guest(&mm, "report", 1);
	again_own = mm.own;
	check_eq(sigaction(SIGVTALRM, &action, NULL), 0);
	check_eq(raw(SYS_setitimer, 1 /* ITIMER_VIRTUAL */, &often, 0), 0);
	while (handled < 20) {
		check_eq(stubguard_publish(&copy, &mm.own, 0), 0);
		copy.signal = SIGSYS;
		copy.si_offset = mm.own.si_offset;
		copy.mctx_offset = mm.own.mctx_offset;
		check_eq(stubguard_collect(&copy, &mm.own, 0, 0), 0);
		keeps_errno(seccomp_notify_drain(&mm, mm.listener));
		check_eq(seccomp_wd_enter(0, mm.pid, mm.identity), 0);
		check_eq(seccomp_wd_exit(0), 0);
	}
	check_eq(raw(SYS_setitimer, 1, &never, 0), 0);
	mm_resume(&mm);
	check_eq(mm_wait(&mm), 0);
	check_eq(mm_result(&mm), 1);
}

static const struct test tests[] = {
	TEST(the_start_keeps_it),
	TEST(what_only_tells_keeps_it),
	TEST(listeners_keep_it),
	TEST(notifications_keep_it),
	TEST(reports_keep_it),
	TEST(the_watchdog_keeps_it),
	TEST(parked_stubs_keep_it),
	TEST(whatever_fails_for_a_parked_stub),
	TEST(whatever_fails_it_is_kept),
	TEST(a_handler_may_call_again),
};

HARNESS_MAIN(tests)
