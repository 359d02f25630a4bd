// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guests' calls that notify: what the monitor knows of them, how it answers them, and that a fetch gives
 * exactly the registers of a signal frame.
 */
#include "harness.h"
#include "host.h"
#include "window.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static struct window w;

static void start(void)
{
	window_init_notified();
	window_start(&w);
}

#define MARK(index) (0x1000000000000000UL + (index) * 0x0101010101010101UL)
#define RIP_BEHIND (mm_guest_code("call") + 2)
#define FLAGS 0xad7UL

/* The guest's next step is this call, with a mark in each register and vector. */
static void prepare(long nr)
{
	uint64_t *words = (uint64_t *)&w.regs;
	unsigned int i;

	for (i = 0; i < 15; i++)
		words[i] = MARK(i);
	w.regs.rax = (unsigned long)nr;
	w.regs.rip = mm_guest_code("call");
	w.regs.rsp = GUEST_STACK + PAGE - 64;
	w.regs.eflags = FLAGS;
	for (i = 160; i < 416; i++)
		w.fp[i] = (unsigned char)(i * 7 + 1);
}

static void call(long nr)
{
	prepare(nr);
	check_eq(window_run(&w), 0);
	check_eq(w.event.signal, SIGSYS);
	check_eq(w.event.syscall, nr);
}

static void notified_call(long nr)
{
	call(nr);
	check_eq(w.event.notified, 1);
}

static int answer(long result)
{
	return window_answer(&w, result);
}

static int fetch(void)
{
	return window_fetch(&w);
}

/* These registers are as prepare() left them. */
static void are_marked(const unsigned int *indices, size_t count)
{
	while (count--)
		check_eq(((uint64_t *)&w.regs)[indices[count]], MARK(indices[count]));
}

/* The event has what the host has captured of a prepared call. */
static void is_known_of_the_call(unsigned long nr)
{
	static const unsigned int arguments[] = { 14, 13, 12, 7, 9, 8 };

	check_eq(w.regs.rax, nr);
	check_eq(w.regs.rip, RIP_BEHIND);
	are_marked(arguments, COUNT(arguments));
}

static void what_the_host_has_captured_is_known(void)
{
	static unsigned char fp[sizeof(w.fp)];
	const uint64_t *words = (uint64_t *)&w.regs;
	unsigned int i;

	start();
	memset(&w.info, 0x5a, sizeof(w.info));
	prepare(SYS_read);
	memcpy(fp, w.fp, sizeof(fp));
	check_eq(window_run(&w), 0);
	check_eq(w.event.notified, 1);
	check_eq(w.event.again, 0);
	check_eq(w.event.error, 0);
	is_known_of_the_call(SYS_read);
	/* The stack pointer of the last resume, which /proc/PID/syscall shows. */
	check_eq(w.regs.rsp, GUEST_STACK + PAGE - 64);
	check_eq(w.regs.eflags, 0);
	/* r15 to rbx, r11, rcx */
	for (i = 0; i < 7; i++)
		check_eq(words[i], 0);
	check_eq(w.regs.rcx, 0);
	check_eq(w.regs.cs, 0x33);
	check(!memcmp(fp, w.fp, sizeof(fp)));
	for (i = 0; i < sizeof(w.info); i++)
		check_eq(((unsigned char *)&w.info)[i], 0x5a);
}

/* How often the monitor has received. A withdrawn call may count, too. */
static unsigned int received(void)
{
	return host_count(HOST_RECV) - (unsigned int)stats().resynchronised;
}

/* The frame of its next call shows it. */
static void goes_on_with(long result)
{
	static const unsigned int kept[] = { 0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 13 };
	unsigned int sends = host_count(HOST_SEND), receives = received(), i;

	check_eq(answer(result), 0);
	check_eq(window_wait(&w), 0);
	check_eq(host_count(HOST_SEND), sends + 1);
	check_eq(received(), receives + 1);
	check_eq(window_result(&w), result);
	check_eq(w.event.notified, 0);
	/* r15 to rbx; r10, r9, r8; rdx, rsi */
	are_marked(kept, COUNT(kept));
	check_eq(w.regs.rsp, GUEST_STACK + PAGE - 64);
	check_eq(w.regs.eflags, FLAGS);
	check_eq(w.regs.cs, 0x33);
	check_eq(w.regs.ss, 0x2b);
	for (i = 160; i < 416; i++)
		check_eq(w.fp[i], (unsigned char)(i * 7 + 1));
}

static void the_guest_gets_the_result_and_keeps_the_rest(void)
{
	static const long results[] = { 0, 1, -1, -ENOENT, -511, -532, -4095, 1L << 62, LONG_MIN };
	size_t i;

	start();
	for (i = 0; i < COUNT(results); i++) {
		notified_call(SYS_read);
		goes_on_with(results[i]);
	}
	check_eq(stats().breaches, 0);
}

/* A step is one instruction behind the call. */
static void a_step_goes_on_behind_the_call(void)
{
	start();
	w.step = 1;
	notified_call(SYS_read);
	check_eq(answer(5), 0);
	check_eq(window_wait(&w), 0);
	check_eq(w.event.signal, SIGTRAP);
	check_eq(w.event.again, 0);
	/* mov %rax, %rdi */
	check_eq(w.regs.rip, RIP_BEHIND + 3);
	check_eq(w.regs.rax, 5);
	check_eq(w.regs.rdi, 5);
	check_eq(w.regs.rcx, RIP_BEHIND);
	check_eq(w.regs.r11 & ~0x100UL, FLAGS);
	check_eq(w.regs.rsi, MARK(13));
	check_eq(stats().breaches, 0);
}

static void fetching_leaves_what_a_trap_leaves(void)
{
	static const long numbers[] = { SYS_read, SYS_getpid, SYS_futex, SYS_openat, 334, 424, 470 };
	static struct user_regs_struct regs;
	static unsigned char fp[sizeof(w.fp)];
	size_t i;

	start();
	for (i = 0; i < COUNT(numbers); i++) {
		test_context("call %ld", numbers[i]);
		w.step = i & 1;
		w.trap = 1;
		call(numbers[i]);
		check_eq(w.event.notified, 0);
		regs = w.regs;
		memcpy(fp, w.fp, sizeof(fp));
		w.trap = 0;
		memset(&w.regs, 0, offsetof(struct user_regs_struct, cs));
		notified_call(numbers[i]);
		memset(w.fp + 32, 0x11, 600);
		check_eq(fetch(), 0);
		check(!memcmp(&regs, &w.regs, sizeof(regs)));
		/* x87 and SSE; the header and AVX. Nobody writes the gaps between */
		check(!memcmp(fp, w.fp, 416));
		check(!memcmp(fp + 512, w.fp + 512, 320));
		w.step = 0;
		window_is_sound(&w);
	}
	check_eq(stats().breaches, 0);
}

static void fetching_leaves_alone_what_the_call_is(void)
{
	/* rip, rax, rdi, rsi, rdx, r10, r8, r9 */
	static const unsigned int of_the_call[] = { 16, 10, 14, 13, 12, 7, 9, 8 };
	uint64_t *words = (uint64_t *)&w.regs;
	size_t i;

	start();
	notified_call(SYS_read);
	for (i = 0; i < COUNT(of_the_call); i++)
		words[of_the_call[i]] = i + 1;
	check_eq(fetch(), 0);
	for (i = 0; i < COUNT(of_the_call); i++)
		check_eq(words[of_the_call[i]], i + 1);
	check_eq(w.regs.rbx, MARK(5));
	check_eq(w.regs.rsp, GUEST_STACK + PAGE - 64);
	/* It is parked, so it can run a batch, then a guest. */
	window_map(&w, GUEST_FREE, FRAME_FREE, PROT_READ);
	window_reads(&w, GUEST_FREE, FRAME_FREE);
}

/* If there is nothing to fetch, there is no host call, and the record stays as it was. */
static void there_is_nothing_to_fetch(void)
{
	struct stubguard_stub before = w.stub;
	unsigned int sends = host_count(HOST_SEND), opened = host_count(HOST_PIDFD_OPEN);

	check(stubguard_stub_caller(&w.stub) == NULL);
	check_eq(fetch(), 0);
	check_eq(stubguard_stub_fetch(&w.stub, &w.mm, 0, NULL), 0);
	check(!memcmp(&before, &w.stub, sizeof(before)));
	check_eq(host_count(HOST_SEND), sends);
	check_eq(host_count(HOST_PIDFD_OPEN), opened);
}

static void what_does_not_fit_the_state_is_refused(void)
{
	struct stubguard_stub before;

	start();
	there_is_nothing_to_fetch();

	/* It runs: the monitor has not waited for the call. */
	prepare(SYS_read);
	check_eq(window_resume(&w), 0);
	mm_wait_notification(&w.mm);
	before = w.stub;
	check_eq(window_resume(&w), -EINVAL);
	check(!memcmp(&before, &w.stub, sizeof(before)));
	there_is_nothing_to_fetch();
	check_eq(window_wait(&w), 0);
	check_eq(w.event.notified, 1);
	check_eq(answer(0), 0);
	check_eq(window_wait(&w), 0);
	check_eq(window_result(&w), 0);

	notified_call(SYS_read);
	check(stubguard_stub_caller(&w.stub) == (uint64_t *)&w.regs);
	before = w.stub;
	check_eq(window_wait(&w), -EINVAL);
	check_op(stubguard_stub_put(&w.stub, &w.mm, 0), <, 0);
	check_eq(stubguard_stub_fetch(&w.stub, &w.mm, 99, (uint64_t *)&w.regs), -EINVAL);
	check_eq(stubguard_stub_fetch(&w.stub, &w.mm, -1, NULL), -EINVAL);
	check_eq(stubguard_stub_fetch(&w.stub, NULL, 0, (uint64_t *)&w.regs), -EINVAL);
	check_eq(stubguard_stub_fetch(NULL, &w.mm, 0, (uint64_t *)&w.regs), -EINVAL);
	check(stubguard_stub_caller(NULL) == NULL);
	/* The registers of another guest. */
	check_eq(stubguard_stub_fetch(&w.stub, &w.mm, 0, (uint64_t *)&w.regs + 1), 0);
	check(!memcmp(&before, &w.stub, sizeof(before)));
	goes_on_with(5);
}

static void some_calls_trap(void)
{
	static const long numbers[] = {
		SYS_clone, SYS_fork,	SYS_vfork,	 SYS_execve,	SYS_execveat, SYS_clone3,
		SYS_exit,  SYS_exit_group, SYS_rt_sigreturn, SYS_sigaltstack, SYS_ptrace, SYS_arch_prctl,
		SYS_mmap,  SYS_munmap,	SYS_brk,	 SYS_mprotect,	SYS_mremap,   SYS_close_range,
		SYS_dup3,  SYS_pause,	400,		 423,		471,	      9999,
		0x40000000 | SYS_getpid,
	};
	size_t i;

	start();
	for (i = 0; i < COUNT(numbers); i++) {
		test_context("call %ld", numbers[i]);
		call(numbers[i]);
		check_eq(w.event.notified, 0);
		check_eq(w.regs.rbx, MARK(5));
	}
	test_context_end();
	/* Other calls trap if the caller asks for it, for that resume only. */
	w.trap = 1;
	call(SYS_getpid);
	check_eq(w.event.notified, 0);
	w.trap = 0;
	notified_call(SYS_getpid);
}

/* The guest writes this value to the dispatch byte, and makes a call that notifies. */
static void selects(unsigned char value)
{
	unsigned long args[6];
	unsigned int i;

	for (i = 0; i < COUNT(args); i++)
		args[i] = MARK(i);
	window_forge(&w, &value, 1, STUB_DATA + STUBGUARD_SELECTOR, mm_guest_code("call"),
		     SYS_getpid, args);
}

static void a_guest_that_selects_for_itself(void)
{
	unsigned int trap, value;

	start();
	for (trap = 0; trap < 2; trap++) {
		for (value = 0; value < 2; value++) {
			test_context("%u over the monitor's %u", value, trap);
			w.trap = (int)trap;
			selects((unsigned char)value);
			check_eq(window_run(&w), 0);
			check_eq(w.event.signal, SIGSYS);
			check_eq(w.event.syscall, SYS_getpid);
			check_eq(w.event.notified, !value);
			check_eq(w.regs.rip, RIP_BEHIND);
			check_eq(w.regs.rax, SYS_getpid);
			check_eq(w.regs.rdi, MARK(0));
			check_eq(w.regs.r9, MARK(5));
			if (w.event.notified)
				check_eq(fetch(), 0);
			/* The monitor sets the byte at each resume. */
			w.trap = 0;
			notified_call(SYS_getpid);
			check_eq(fetch(), 0);
		}
	}
	test_context_end();
	check_eq(stats().breaches, 0);
}

static void a_guest_that_selects_what_there_is_not(void)
{
	start();
	selects(7);
	check_eq(window_run(&w), -ESRCH);
	window_is_lost(&w);
	check_eq(WTERMSIG(window_kill(&w)), SIGSYS);
}

static void a_signal_in_a_call_comes_behind_it(void)
{
	start();
	notified_call(SYS_read);
	window_tick(&w);
	check_eq(answer(77), 0);
	check_eq(window_wait(&w), 0);
	check_eq(w.event.signal, SIGALRM);
	check_eq(w.event.again, 0);
	check_eq(w.regs.rip, RIP_BEHIND);
	check_eq(w.regs.rax, 77);
	check_eq(w.regs.rbx, MARK(5));
}

/* There is no event for that, so this looks and yields. */
static void wait_until_taken(int signal)
{
	char text[4096], *pending;

	do {
		raw(SYS_sched_yield);
		check_op(mm_proc_read(w.mm.pid, "status", text, sizeof(text)), >, 0);
		pending = strstr(text, "ShdPnd:");
		check(pending != NULL);
	} while (strtoul(pending + 7, NULL, 16) & 1UL << (signal - 1));
}

/* By SA_RESTART. */
static void a_signal_before_the_monitor_has_the_call_restarts_it(void)
{
	unsigned int i;

	start();
	for (i = 0; i < 5; i++) {
		prepare(SYS_read);
		check_eq(window_resume(&w), 0);
		mm_wait_notification(&w.mm);
		window_tick(&w);
		/* The host withdraws the call before it takes the signal. */
		wait_until_taken(SIGALRM);
		check_eq(window_wait(&w), 0);
		check_eq(w.event.signal, SIGALRM);
		check_eq(w.event.again, 0);
		check_eq(w.event.notified, 0);
		check_eq(w.event.syscall, -1);
		check_eq(w.regs.rip, mm_guest_code("call"));
		check_eq(w.regs.rax, SYS_read);
		check_eq(window_run(&w), 0);
		check_eq(w.event.notified, 1);
		check_eq(w.event.syscall, SYS_read);
		is_known_of_the_call(SYS_read);
		goes_on_with(3);
	}
	check_eq(stats().breaches, 0);
}

static void fetching_beside_other_signals(void)
{
	static const int signals[][2] = { { SIGALRM, 0 }, { SIGTRAP, 0 }, { SIGALRM, SIGTRAP } };
	unsigned int sends, receives, byte;
	size_t i, k;

	start();
	for (i = 0; i < COUNT(signals); i++) {
		test_context("row %zu", i);
		notified_call(SYS_read);
		for (k = 0; k < 2 && signals[i][k]; k++)
			check_eq(raw(SYS_kill, w.mm.pid, signals[i][k]), 0);
		memset(w.fp, 0, 512);
		sends = host_count(HOST_SEND);
		receives = host_count(HOST_RECV);
		check_eq(fetch(), 0);
		/* One park. */
		check_eq(host_count(HOST_SEND), sends + 1);
		check_eq(host_count(HOST_RECV), receives + 1);
		for (byte = 160; byte < 416; byte++)
			check_eq(w.fp[byte], (unsigned char)(byte * 7 + 1));
		check_eq(w.regs.eflags, FLAGS);
		check_eq(w.regs.rcx, RIP_BEHIND);
		check_eq(w.regs.r11, FLAGS);
		check_eq(w.regs.rip, RIP_BEHIND);
		check_eq(w.regs.rax, SYS_read);
		check_eq(w.regs.rbx, MARK(5));
		/* A pending signal makes the monitor resume again. */
		window_guest(&w, "report", 55);
		do {
			check_eq(window_run(&w), 0);
		} while (w.event.again);
		check_eq(window_result(&w), 55);
	}
	test_context_end();
	check_eq(stats().breaches, 0);
}

static void die(void)
{
	mm_kill(&w.mm);
}

static int answer_one(void)
{
	return answer(1);
}

/* The first operation fails, and so do all later ones. */
static void a_stub_that_is_dead(int (*first)(void))
{
	start();
	notified_call(SYS_read);
	die();
	check_eq(first(), -ESRCH);
	window_is_lost(&w);
	check_eq(fetch(), -ESRCH);
	check_eq(answer(1), -ESRCH);
}

CASE(a_stub_that_dies_in_a_call, a_stub_that_is_dead(answer_one))
CASE(a_stub_that_dies_before_it_is_fetched, a_stub_that_is_dead(fetch))

static void a_stub_that_dies_while_it_is_fetched(void)
{
	static const enum host_call calls[] = { HOST_PIDFD_OPEN, HOST_ID_VALID, HOST_PIDFD_SIGNAL,
						HOST_SEND, HOST_RECV };
	int fds;
	size_t i;

	window_init_notified();
	for (i = 0; i < COUNT(calls); i++) {
		test_context("before %s", host_call_name(calls[i]));
		window_start(&w);
		notified_call(SYS_read);
		fds = open_fds();
		host_before(calls[i], die);
		check_eq(fetch(), -ESRCH);
		host_reset();
		check_eq(open_fds(), fds);
		window_is_lost(&w);
		check_eq(fetch(), -ESRCH);
		window_kill(&w);
	}
	test_context_end();
	check_eq(stats().breaches, 0);
}

static struct mm_id other;

/* The stub is dead and reaped, and another process has its pid. */
static bool another_has_its_pid(const long *arg, long *result)
{
	(void)arg;
	die();
	*result = raw(SYS_pidfd_open, other.pid, 0);
	return true;
}

static void a_pid_that_came_back_is_not_signalled(void)
{
	unsigned int signals;

	start();
	mm_start_process(&other, mm_sleep);
	notified_call(SYS_read);
	signals = host_count(HOST_PIDFD_SIGNAL);
	host_hook_set(HOST_PIDFD_OPEN, another_has_its_pid);
	check_eq(fetch(), -ESRCH);
	host_reset();
	check_eq(host_count(HOST_PIDFD_SIGNAL), signals);
	window_is_lost(&w);
	check(!mm_is_dead(&other));
}

static void what_the_host_may_answer_to_a_fetch(void)
{
	static const struct {
		enum host_call call;
		int error;
	} rows[] = {
		{ HOST_PIDFD_OPEN, EMFILE },
		{ HOST_PIDFD_SIGNAL, EPERM },
		{ HOST_SEND, EIO },
	};
	int fds;
	size_t i;

	start();
	notified_call(SYS_read);
	host_fail(HOST_SEND, 1, 3, EINTR);
	host_fail(HOST_RECV, 1, 3, EINTR);
	host_fail(HOST_ID_VALID, 1, 3, EINTR);
	check_eq(fetch(), 0);
	check_eq(w.regs.rbx, MARK(5));
	window_kill(&w);
	for (i = 0; i < COUNT(rows); i++) {
		test_context("%s gives %d", host_call_name(rows[i].call), rows[i].error);
		window_start(&w);
		notified_call(SYS_read);
		fds = open_fds();
		host_fail(rows[i].call, 1, 1, rows[i].error);
		check_eq(fetch(), -rows[i].error);
		check_eq(open_fds(), fds);
		window_is_lost(&w);
		check_eq(answer(0), -ESRCH);
		window_kill(&w);
	}
}

/* Calls notify only at guests' own instructions. */
static void from_the_stubs_page_they_kill(void)
{
	static const long numbers[] = { SYS_read, SYS_getpid, SYS_futex, SYS_openat, 470 };
	size_t i;

	window_init_notified();
	for (i = 0; i < COUNT(numbers); i++) {
		test_context("call %ld", numbers[i]);
		window_start(&w);
		window_call_at(&w, STUB_START + GADGET, numbers[i], 0, 0, 0);
		check_eq(window_run(&w), -ESRCH);
		window_is_lost(&w);
		check_eq(WTERMSIG(window_kill(&w)), SIGSYS);
	}
}

static void without_a_guests_end_all_calls_trap(void)
{
	window_init(STUBGUARD_REQUIRE);
	window_start(&w);
	call(SYS_read);
	check_eq(w.event.notified, 0);
	there_is_nothing_to_fetch();
}

static void they_all_trap(unsigned int lacks)
{
	window_init_calls(STUBGUARD_REQUIRE);
	host_reset();
	check_eq(stubguard_features() & lacks, 0);
	check(!strstr(model_log_text, "calls notify"));
	window_start(&w);
	call(SYS_read);
	check_eq(w.event.notified, 0);
	check_eq(w.regs.rbx, MARK(5));
	there_is_nothing_to_fetch();
	w.trap = 1;
	call(SYS_getpid);
	check_eq(w.event.notified, 0);
	w.trap = 0;
	window_is_sound(&w);
}

CASE(on_a_host_without_dispatch_they_all_trap, host_without_dispatch(); they_all_trap(STUBGUARD_F_DISPATCH))
CASE(on_a_host_without_wait_killable_they_all_trap, host_fail(HOST_FLAG, 1, 1, EINVAL); they_all_trap(STUBGUARD_F_WAIT_KILLABLE))

static const struct test tests[] = {
	TEST(what_the_host_has_captured_is_known),
	TEST(the_guest_gets_the_result_and_keeps_the_rest),
	TEST(a_step_goes_on_behind_the_call),
	TEST(fetching_leaves_what_a_trap_leaves),
	TEST(fetching_leaves_alone_what_the_call_is),
	TEST(what_does_not_fit_the_state_is_refused),
	TEST(some_calls_trap),
	TEST(a_guest_that_selects_for_itself),
	TEST(a_guest_that_selects_what_there_is_not),
	TEST(a_signal_in_a_call_comes_behind_it),
	TEST(a_signal_before_the_monitor_has_the_call_restarts_it),
	TEST(fetching_beside_other_signals),
	TEST(a_stub_that_dies_in_a_call),
	TEST(a_stub_that_dies_before_it_is_fetched),
	TEST(a_stub_that_dies_while_it_is_fetched),
	TEST(a_pid_that_came_back_is_not_signalled),
	TEST(what_the_host_may_answer_to_a_fetch),
	TEST(from_the_stubs_page_they_kill),
	TEST(without_a_guests_end_all_calls_trap),
	TEST(on_a_host_without_dispatch_they_all_trap),
	TEST(on_a_host_without_wait_killable_they_all_trap),
};

HARNESS_MAIN(tests)
