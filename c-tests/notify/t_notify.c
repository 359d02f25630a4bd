// SPDX-License-Identifier: GPL-2.0-only
/* Notifications: each answer of the host to each call, and no wait without a bound. */
#include "harness.h"
#include "host.h"
#include "model.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static struct mm_id mm;

static void start(void)
{
	model_init(0);
	mm_start(&mm);
}

/* A stub whose call notifies, and waits for its answer. */
static void start_suspended(void)
{
	start();
	mm_hijack_start_mmap(&mm);
}

/* A host without WAIT_KILLABLE_RECV: there signals also withdraw a received notification. */
static void start_suspended_on_an_older_host(void)
{
	host_fail(HOST_FLAG, 1, 1, EINVAL);
	start_suspended();
}

static void report_result(long result)
{
	check_eq(mm_wait(&mm), 0);
	check_eq(mm_result(&mm), result);
}

/* It has reported the signal. Resumed, it continues there: its call has this result. */
static void goes_on_behind_the_signal(long result)
{
	check_eq(mm_wait(&mm), 0);
	check_eq(mm.own.signal, SIGALRM);
	mm_resume(&mm);
	report_result(result);
}

/* The stub's handler has run, and it waits for the monitor: its call is withdrawn. */
static void withdraw(void)
{
	raw(SYS_kill, mm.pid, SIGALRM);
	while (__atomic_load_n(&mm.shared->futex, __ATOMIC_SEQ_CST) != FUTEX_IN_KERN)
		raw(SYS_sched_yield);
}

static void die(void)
{
	raw(SYS_kill, mm.pid, SIGKILL);
	mm_wait_told(&mm);
}

static void alarm_it(void)
{
	raw(SYS_kill, mm.pid, SIGALRM);
}

/* Each thing that a monitor does with a listener gives this result. */
static void all_give(int listener, int expected)
{
	check_eq(seccomp_notify_serve(&mm, listener, 0), expected);
	check_eq(seccomp_notify_drain(&mm, listener), expected);
	check_eq(seccomp_serve_stub_syscalls(&mm, listener, &mm.own, 1, 1), expected);
}

/* ---- the plain cases */

static void one_call_is_answered(void)
{
	start_suspended();
	check_eq(seccomp_notify_serve(&mm, mm.listener, 0), 1);
	report_result(-EBADF);
	check_eq(seccomp_notify_serve(&mm, mm.listener, 0), 0);
	check_eq(seccomp_notify_drain(&mm, mm.listener), 0);
	check_eq(serve_batch(&mm, 0), 0);
}

static void a_drain_answers_it_too(void)
{
	start_suspended();
	check_eq(seccomp_notify_drain(&mm, mm.listener), 1);
	report_result(-EBADF);
}

static void nothing_to_answer_is_waited_for_no_longer_than_said(void)
{
	unsigned int polls;

	start();
	polls = host_count(HOST_POLL);
	check_eq(seccomp_notify_serve(&mm, mm.listener, 0), 0);
	check_eq(seccomp_notify_serve(&mm, mm.listener, 1), 0);
	check_eq(host_count(HOST_POLL), polls + 2);
	check_eq(seccomp_notify_drain(&mm, mm.listener), 0);
	check_eq(serve_batch(&mm, (int)CALLS_MAX), 0);
	/* It gave up at the first one. */
	check_eq(host_count(HOST_POLL), polls + 4);
}

static int timeout;

static bool note_timeout(const long *arg, long *result)
{
	timeout = (int)arg[2];
	*result = 0;
	return true;
}

static void timeouts_are_bounded(void)
{
	start();
	host_hook_set(HOST_POLL, note_timeout);
	check_eq(seccomp_notify_serve(&mm, mm.listener, 1000), 0);
	check_eq(timeout, 1000);
	check_eq(serve_batch(&mm, 3), 0);
	check_op(timeout, >, 0);
	check_op(timeout, <=, 100);
	check_eq(seccomp_notify_drain(&mm, mm.listener), 0);
	check_eq(timeout, 0);
	timeout = -77;
	check_eq(seccomp_notify_serve(&mm, mm.listener, 1001), -EINVAL);
	check_eq(seccomp_notify_serve(&mm, mm.listener, -1), -EINVAL);
	check_eq(seccomp_notify_serve(&mm, mm.listener, 65536), -EINVAL);
	check_eq(seccomp_notify_serve(&mm, mm.listener, 2147483647), -EINVAL);
	check_eq(timeout, -77);
}

/* ---- an unexpected batch (series, holes 5 and 6) */

/* A batch of calls that unmap a free page. */
static void queue(int calls)
{
	while (calls--)
		mm_queue_unmap(&mm, GUEST_FREE, PAGE);
	mm.own.restart_wait = 1;
}

static void a_batch_that_ends_early_holds_nobody_up(void)
{
	start();
	mm_queue_unmap(&mm, STUB_START, PAGE);
	queue(2);
	mm_resume(&mm);
	/* The first call is denied, which ends the batch. */
	while (mm.shared->futex != FUTEX_IN_KERN)
		check_op(serve_batch(&mm, 3), <=, 1);
	check_eq(serve_batch(&mm, 2), 0);
	check_eq(mm_wait(&mm), 0);
	check_eq(mm.own.err, -EPERM);
}

static void a_batch_that_never_starts_holds_nobody_up(void)
{
	start();
	queue(1);
	check_eq(stubguard_publish(mm.shared, &mm.own, 1), 0);
	/* The stub is not woken. */
	check_eq(serve_batch(&mm, 1), 0);
}

static void a_stub_that_dies_in_its_batch(void)
{
	start();
	queue(2);
	host_before(HOST_SEND, die);
	mm_resume(&mm);
	while (serve_batch(&mm, 2) != -ESRCH)
		;
	check_eq(mm_wait(&mm), -ESRCH);
}

static void the_number_of_calls_is_the_monitors(void)
{
	start();
	queue(1);
	mm_resume(&mm);
	/* The guest's number has no effect. */
	mm.shared->syscall_data_len = 0x7fffffff;
	check_eq(serve_batch(&mm, 0), 0);
	while (!serve_batch(&mm, 1))
		;
	mm_end(&mm);

	mm_start(&mm);
	check_eq(serve_batch(&mm, -1), -EINVAL);
	check_eq(serve_batch(&mm, 0x7fffffff), -EINVAL);
	check_eq(serve_batch(&mm, CALLS_MAX + 1), -EINVAL);
	check_eq(serve_batch(&mm, CALLS_MAX), 0);
}

/* Series, hole 19: calls that nobody has asked for are answered while the monitor waits, and do no harm later */
static void stray_calls_and_batches_do_not_get_mixed_up(void)
{
	int i;

	start();
	for (i = 0; i < 5; i++) {
		check_eq(mm_hijack(&mm, SYS_mmap, GUEST_FREE, PAGE, PROT_READ,
				   MAP_SHARED | MAP_FIXED, MMAP_FD, 0),
			 -EPERM);
		mm_queue_unmap(&mm, GUEST_FREE, PAGE);
		check_eq(mm_sync(&mm), 0);
		check_eq(mm.own.err, 0);
	}
	check_eq(mm.drained, 5);
}

static void a_withdrawn_stray_call_does_not_break_the_next_batch(void)
{
	int i;

	start();
	for (i = 0; i < 5; i++) {
		mm_hijack_start_mmap(&mm);
		withdraw();
		check_eq(mm_wait(&mm), 0);
		check_eq(mm.own.signal, SIGALRM);
		mm_queue_unmap(&mm, GUEST_FREE, PAGE);
		mm_queue_unmap(&mm, GUEST_FREE, PAGE);
		check_eq(mm_sync(&mm), 0);
		check_eq(mm.own.err, 0);
	}
}

/* ---- RECV */

static void a_signal_while_it_waits(void)
{
	start();
	host_when_it_sleeps(HOST_POLL, host_interrupt);
	check_eq(seccomp_notify_serve(&mm, mm.listener, 1000), -EINTR);
	host_no_more();
}

static void a_signal_in_a_receive_that_blocks(void)
{
	start();
	/* A false result of poll() makes RECV block. */
	host_poll_finds(POLLIN);
	host_when_it_sleeps(HOST_RECV, host_interrupt);
	all_give(mm.listener, -EINTR);
	host_no_more();
}

/* Series, hole 7 */
static void withdrawn_between_poll_and_receive(void)
{
	uint64_t before;

	start_suspended();
	before = stats().resynchronised;
	host_before(HOST_RECV, withdraw);
	check_eq(seccomp_notify_serve(&mm, mm.listener, 0), 0);
	check_eq(stats().resynchronised, before + 1);
	host_reset();
	goes_on_behind_the_signal(-EINTR);
	check_eq(mm_hijack(&mm, SYS_mmap, 0), -EPERM);
}

static void withdrawn_in_a_batch_and_in_a_drain(void)
{
	start_suspended();
	host_before(HOST_RECV, withdraw);
	check_eq(serve_batch(&mm, 1), 0);
	host_reset();
	check_eq(mm_wait(&mm), 0);
	mm_hijack_start_mmap(&mm);
	host_before(HOST_RECV, withdraw);
	check_eq(seccomp_notify_drain(&mm, mm.listener), 0);
}

static void dead_between_poll_and_receive(void)
{
	start_suspended();
	host_before(HOST_RECV, die);
	check_eq(seccomp_notify_serve(&mm, mm.listener, 0), -ESRCH);
}

static void dead_before(void)
{
	unsigned int before;

	start_suspended();
	before = host_count(HOST_RECV);
	die();
	all_give(mm.listener, -ESRCH);
	check_eq(seccomp_notify_serve(&mm, mm.listener, 1000), -ESRCH);
	check_eq(host_count(HOST_RECV), before);
	check_eq(put_stub_listener(mm.listener), 0);
}

static void what_receive_may_answer(void)
{
	static const int errors[] = { EINVAL, EFAULT, ENOTTY, ENOMEM, EBADF };
	size_t i;

	start_suspended();
	for (i = 0; i < COUNT(errors); i++) {
		test_context("RECV gives %d", errors[i]);
		host_fail(HOST_RECV, 1, 3, errors[i]);
		all_give(mm.listener, -errors[i]);
	}
	test_context("RECV gives ENOENT");
	host_fail(HOST_RECV, 1, 1, ENOENT);
	check_eq(seccomp_notify_serve(&mm, mm.listener, 0), 0);
	test_context("RECV gives ENOENT, then poll a hang-up");
	host_fail(HOST_RECV, 1, 1, ENOENT);
	host_hook_set(HOST_POLL, NULL);
	check_eq(seccomp_notify_serve(&mm, mm.listener, 0), 0);
	host_poll_finds(POLLHUP);
	check_eq(seccomp_notify_serve(&mm, mm.listener, 0), -ESRCH);
	host_reset();
	test_context_end();
	/* The call is still there. */
	check_eq(seccomp_notify_serve(&mm, mm.listener, 0), 1);
	report_result(-EBADF);
}

static void what_poll_may_answer(void)
{
	static const int errors[] = { EINTR, EINVAL, ENOMEM, EFAULT };
	unsigned int before;
	size_t i;

	start_suspended();
	before = host_count(HOST_RECV);
	for (i = 0; i < COUNT(errors); i++) {
		test_context("poll gives %d", errors[i]);
		host_fail(HOST_POLL, 1, 3, errors[i]);
		all_give(mm.listener, -errors[i]);
	}
	test_context_end();
	check_eq(host_count(HOST_RECV), before);
	check_eq(seccomp_notify_serve(&mm, mm.listener, 0), 1);
}

/* The host gives up the wait for the filter's lock when a signal comes: POLLERR is no death */
static void a_listener_that_is_busy_is_not_dead(void)
{
	start_suspended();
	host_poll_finds(POLLERR);
	all_give(mm.listener, -EINTR);
	host_reset();
	check_eq(seccomp_notify_serve(&mm, mm.listener, 0), 1);
}

/* Series, hole 12 */
static unsigned int buffers_seen;

static void is_zero(const unsigned char *byte, size_t size)
{
	while (size--)
		check_eq(byte[size], 0);
}

static bool buffer_is_zero(const long *arg, long *result)
{
	(void)result;
	buffers_seen++;
	is_zero((const unsigned char *)arg[2], sizeof(struct seccomp_notif));
	return false;
}

static void the_buffer_is_zero_each_time(void)
{
	int i;

	start();
	host_hook_set(HOST_RECV, buffer_is_zero);
	for (i = 0; i < 10; i++)
		mm_queue_unmap(&mm, GUEST_FREE, PAGE);
	check_eq(mm_sync(&mm), 0);
	check_eq(buffers_seen, 10);
}

/* A later host: it fills more bytes, and refuses an answer with unknown bytes that are not zero. */
#define LATER 128
#define LATER_ANSWER 64
static unsigned long later_seen;

static bool later_sizes(const long *arg, long *result)
{
	struct seccomp_notif_sizes *sizes = (void *)arg[2];

	*sizes = (struct seccomp_notif_sizes){ LATER, LATER_ANSWER, sizeof(struct seccomp_data) };
	*result = 0;
	return true;
}

static bool later_receive(const long *arg, long *result)
{
	unsigned char *byte = (unsigned char *)arg[2];

	is_zero(byte, LATER);
	*result = raw(SYS_ioctl, arg[0], arg[1], byte);
	memset(byte + sizeof(struct seccomp_notif), 0xee, LATER - sizeof(struct seccomp_notif));
	return true;
}

static bool later_send(const long *arg, long *result)
{
	(void)result;
	later_seen++;
	is_zero((const unsigned char *)arg[2] + sizeof(struct seccomp_notif_resp),
		LATER_ANSWER - sizeof(struct seccomp_notif_resp));
	return false;
}

static void a_later_host_has_larger_structures(void)
{
	host_hook_set(HOST_SIZES, later_sizes);
	model_init(STUBGUARD_REQUIRE);
	host_hook_set(HOST_RECV, later_receive);
	host_hook_set(HOST_SEND, later_send);
	mm_start(&mm);
	check_eq(later_seen, 2);
	check_eq(mm_hijack(&mm, SYS_mmap, 0), -EPERM);
	check_eq(later_seen, 3);
}

/* ---- SEND */

static void withdrawn_before_the_answer(void)
{
	uint64_t resynchronised, served;

	start_suspended_on_an_older_host();
	resynchronised = stats().resynchronised;
	served = stats().served;
	host_before(HOST_SEND, withdraw);
	/* That is no death: no stub is killed, and there is no error. */
	check_op(seccomp_notify_serve(&mm, mm.listener, 0), >=, 0);
	host_reset();
	check_eq(stats().resynchronised, resynchronised + 1);
	check_eq(stats().served, served);
	goes_on_behind_the_signal(-EINTR);
	check_eq(mm_hijack(&mm, SYS_mmap, 0), -EPERM);
}

static void a_received_call_is_not_disturbed_by_signals(void)
{
	uint64_t resynchronised;

	start_suspended();
	if (!(stubguard_features() & STUBGUARD_F_WAIT_KILLABLE))
		test_skip("this host has no WAIT_KILLABLE_RECV");
	resynchronised = stats().resynchronised;
	host_before(HOST_SEND, alarm_it);
	check_eq(seccomp_notify_serve(&mm, mm.listener, 0), 1);
	host_reset();
	check_eq(stats().resynchronised, resynchronised);
	goes_on_behind_the_signal(-EBADF);
}

static void dead_before_the_answer(void)
{
	start_suspended();
	host_before(HOST_SEND, die);
	check_op(seccomp_notify_serve(&mm, mm.listener, 0), >=, 0);
	check_eq(seccomp_notify_serve(&mm, mm.listener, 0), -ESRCH);
}

static void what_send_may_answer(void)
{
	static const int errors[] = { EINPROGRESS, EINVAL, EFAULT, EBADF };
	unsigned int sends;
	size_t i;

	for (i = 0; i < COUNT(errors); i++) {
		test_context("SEND gives %d", errors[i]);
		if (i == 0)
			model_init(0);
		mm_start(&mm);
		mm_hijack_start_mmap(&mm);
		host_fail(HOST_SEND, 1, 1, errors[i]);
		check_eq(seccomp_notify_serve(&mm, mm.listener, 0), -errors[i]);
		mm_end(&mm);
	}
	test_context("SEND gives EINTR");
	mm_start(&mm);
	mm_hijack_start_mmap(&mm);
	sends = host_count(HOST_SEND);
	host_fail(HOST_SEND, 1, 2, EINTR);
	check_eq(seccomp_notify_serve(&mm, mm.listener, 0), 1);
	check_eq(host_count(HOST_SEND), sends + 3);
	report_result(-EBADF);

	test_context("SEND gives EINTR for ever");
	mm_hijack_start_mmap(&mm);
	sends = host_count(HOST_SEND);
	host_fail(HOST_SEND, 1, 1000000, EINTR);
	/* Not EINTR, after which a caller would wait in vain. */
	check_eq(seccomp_notify_serve(&mm, mm.listener, 0), -EIO);
	check_op(host_count(HOST_SEND) - sends, <=, 100);
}

/* ---- bounds */

static unsigned int made_up;

static bool make_one_up(const long *arg, long *result)
{
	struct seccomp_notif *out = (void *)arg[2];

	out->id = ++made_up;
	out->data.nr = SYS_munmap;
	out->data.arch = AUDIT_ARCH_X86_64;
	out->data.instruction_pointer = STUB_START;
	*result = 0;
	return true;
}

static void a_storm_does_not_keep_the_monitor(void)
{
	int drained;

	start();
	made_up = 0;
	host_poll_finds(POLLIN);
	host_hook_set(HOST_RECV, make_one_up);
	host_answer(HOST_SEND, 0);
	drained = seccomp_notify_drain(&mm, mm.listener);
	check_op(drained, >=, 1);
	check_op(drained, <=, 16);
	check_eq(made_up, drained);
	check_eq(serve_batch(&mm, CALLS_MAX), CALLS_MAX);
	check_eq(made_up, drained + (int)CALLS_MAX);
}

static void an_error_after_some_is_told_by_the_next(void)
{
	start();
	host_poll_finds(POLLIN);
	host_hook_set(HOST_RECV, make_one_up);
	host_answer(HOST_SEND, 0);
	host_fail(HOST_RECV, 3, 2, EINVAL);
	check_eq(seccomp_notify_drain(&mm, mm.listener), 2);
	check_eq(seccomp_notify_drain(&mm, mm.listener), -EINVAL);
	host_fail(HOST_POLL, 2, 2, EINTR);
	check_eq(serve_batch(&mm, 5), 1);
	check_eq(serve_batch(&mm, 5), -EINTR);
}

/* ---- callers' mistakes */

static void not_a_listener(void)
{
	int fds[2];

	start();
	check_eq(raw(SYS_pipe2, fds, 0), 0);
	check_eq(raw(SYS_write, fds[1], "x", 1), 1);
	all_give(fds[0], -ENOTTY);
	all_give(-1, -EBADF);
	all_give(12345, -EBADF);
	check_eq(seccomp_notify_serve(NULL, mm.listener, 0), -EINVAL);
	check_eq(seccomp_notify_drain(NULL, mm.listener), -EINVAL);
	check_eq(seccomp_serve_stub_syscalls(NULL, mm.listener, &mm.own, 1, 1), -EINVAL);
	check_eq(seccomp_serve_stub_syscalls(&mm, mm.listener, NULL, 1, 1), -EINVAL);
	check_eq(seccomp_serve_stub_syscalls(&mm, mm.listener, &mm.own, -1, 1), -EINVAL);
	check_eq(seccomp_serve_stub_syscalls(&mm, mm.listener, &mm.own, CALLS_MAX + 1, 1), -EINVAL);
	check_eq(seccomp_serve_stub_syscalls(&mm, mm.listener, &mm.own, 0x7fffffff, 0), -EINVAL);
}

static const struct test tests[] = {
	TEST(one_call_is_answered),
	TEST(a_drain_answers_it_too),
	TEST(nothing_to_answer_is_waited_for_no_longer_than_said),
	TEST(timeouts_are_bounded),
	TEST(a_batch_that_ends_early_holds_nobody_up),
	TEST(a_batch_that_never_starts_holds_nobody_up),
	TEST(a_stub_that_dies_in_its_batch),
	TEST(the_number_of_calls_is_the_monitors),
	TEST(stray_calls_and_batches_do_not_get_mixed_up),
	TEST(a_withdrawn_stray_call_does_not_break_the_next_batch),
	TEST(a_signal_while_it_waits),
	TEST(a_signal_in_a_receive_that_blocks),
	TEST(withdrawn_between_poll_and_receive),
	TEST(withdrawn_in_a_batch_and_in_a_drain),
	TEST(dead_between_poll_and_receive),
	TEST(dead_before),
	TEST(what_receive_may_answer),
	TEST(what_poll_may_answer),
	TEST(a_listener_that_is_busy_is_not_dead),
	TEST(the_buffer_is_zero_each_time),
	TEST(a_later_host_has_larger_structures),
	TEST(withdrawn_before_the_answer),
	TEST(a_received_call_is_not_disturbed_by_signals),
	TEST(dead_before_the_answer),
	TEST(what_send_may_answer),
	TEST(a_storm_does_not_keep_the_monitor),
	TEST(an_error_after_some_is_told_by_the_next),
	TEST(not_a_listener),
};

HARNESS_MAIN(tests)
