// SPDX-License-Identifier: GPL-2.0-only
/*
 * The host's answers while the monitor resumes a stub and waits for it, older hosts, and the stub's
 * death at each moment: never a hang, never a wrong report.
 */
#include "harness.h"
#include "host.h"
#include "window.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>

static struct window w;

static void start(void)
{
	window_init(STUBGUARD_REQUIRE);
	window_start(&w);
}

/* Without WAIT_KILLABLE_RECV, so that a stop withdraws a received notification. */
static void start_on_an_older_host(void)
{
	host_fail(HOST_FLAG, 1, 1, EINVAL);
	start();
	check_eq(stubguard_features() & STUBGUARD_F_WAIT_KILLABLE, 0);
}

static void die(void)
{
	mm_kill(&w.mm);
}

static void spins(void)
{
	start();
	window_spin(&w);
}

/* The guest reports this. */
static void reports(unsigned long value)
{
	window_guest(&w, "report", value);
	check_eq(window_resume(&w), 0);
}

static void has_reported(unsigned long value)
{
	check_eq(window_wait(&w), 0);
	check_eq(window_result(&w), (long)value);
}

/* The call by which the monitor waits for a park: on an older host it polls first. */
static enum host_call waits_by(void)
{
	return stubguard_features() & STUBGUARD_F_RECEIVE_ENDS ? HOST_RECV : HOST_POLL;
}

/* ---- SEND */

/* As a freezer or a debugger does: the host withdraws the call, and the stub makes it again. */
static void stop_and_go_on(void)
{
	check_eq(raw(SYS_kill, w.mm.pid, SIGSTOP), 0);
	mm_wait_state(&w.mm, 'T');
	check_eq(raw(SYS_kill, w.mm.pid, SIGCONT), 0);
	mm_wait_notification(&w.mm);
}

static void withdraw(void)
{
	host_reset();
	stop_and_go_on();
}

static void withdrawn_before_it_is_answered(void)
{
	struct stubguard_stats before;
	unsigned int i;

	start_on_an_older_host();
	for (i = 0; i < 5; i++) {
		before = stats();
		window_guest(&w, "report", i);
		host_before(HOST_SEND, withdraw);
		check_eq(window_resume(&w), 0);
		check_eq(stats().served, before.served);
		check_eq(window_wait(&w), 0);
		check_eq(stats().resynchronised, before.resynchronised + 1);
		check_eq(window_result(&w), i);
		check_eq(stats().served, before.served + 1);
	}
	check_eq(stats().breaches, 0);
}

static void withdrawn_with_a_batch(void)
{
	start_on_an_older_host();
	mm_queue_page(&w.mm, GUEST_FREE, FRAME_FREE, PROT_READ);
	host_before(HOST_SEND, withdraw);
	check_eq(window_sync(&w), 0);
	window_is_limited(&w);
	window_reads(&w, GUEST_FREE, FRAME_FREE);
	/* For the next batch the limit is lifted again. */
	mm_queue_page(&w.mm, GUEST_FREE, FRAME_FREE + 1, PROT_READ);
	window_guest(&w, "read", GUEST_FREE);
	host_before(HOST_SEND, withdraw);
	check_eq(window_run(&w), 0);
	check_eq(window_result(&w), (long)frame_mark(FRAME_FREE + 1));
	window_is_limited(&w);
}

static void withdrawn_twice(void)
{
	start_on_an_older_host();
	window_guest(&w, "report", 8);
	host_before(HOST_SEND, withdraw);
	check_eq(window_resume(&w), 0);
	host_before(HOST_SEND, withdraw);
	has_reported(8);
	check_eq(stats().resynchronised, 2);
	check_eq(stats().breaches, 0);
}

/* Withdrawn while it was parked, and the monitor did other work. */
static void withdrawn_long_before(void)
{
	start_on_an_older_host();
	stop_and_go_on();
	window_is_sound(&w);
	check_eq(stats().resynchronised, 1);
}

static void other_signals_withdraw_nothing(void)
{
	start_on_an_older_host();
	/* Signals are blocked while it is parked. */
	window_tick(&w);
	check_eq(raw(SYS_kill, w.mm.pid, SIGSEGV), 0);
	mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
	check_eq(window_sync(&w), 0);
	check_eq(stats().resynchronised, 0);
}

/*
 * seccomp_do_user_notification() looks for a signal before it looks for an answer. If there are both, the monitor has
 * been told that the host took the answer, but the stub makes its call again.
 */
static bool lose_answer(const long *arg, long *result)
{
	(void)arg;
	host_reset();
	stop_and_go_on();
	*result = 0;
	return true;
}

static void an_answer_that_the_host_loses(void)
{
	uint64_t served;
	unsigned int i;

	start_on_an_older_host();
	for (i = 0; i < 3; i++) {
		/* After a park by a signal, with a guest; */
		window_guest(&w, "report", i);
		host_hook_set(HOST_SEND, lose_answer);
		check_eq(window_run(&w), 0);
		check_eq(window_result(&w), i);
		/* with a batch only; */
		mm_queue_page(&w.mm, GUEST_FREE, FRAME_FREE + i, PROT_READ);
		host_hook_set(HOST_SEND, lose_answer);
		check_eq(window_sync(&w), 0);
		window_reads(&w, GUEST_FREE, FRAME_FREE + i);
		/* after a batch's park, which looks like the next batch's one. */
		mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
		check_eq(window_sync(&w), 0);
		mm_queue_map(&w.mm, GUEST_FREE, PAGE, FRAME_FREE + i, PROT_READ);
		host_hook_set(HOST_SEND, lose_answer);
		check_eq(window_sync(&w), 0);
		check(mm_mapping(&w.mm, GUEST_FREE)[0]);
		mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
		host_hook_set(HOST_SEND, lose_answer);
		check_eq(window_sync(&w), 0);
		check(!mm_mapping(&w.mm, GUEST_FREE)[0]);
	}
	served = stats().served;
	window_is_sound(&w);
	check_op(stats().served, >, served);
	check_eq(stats().resynchronised, 12);
	check_eq(stats().breaches, 0);
}

static bool lose_two(const long *arg, long *result)
{
	lose_answer(arg, result);
	host_hook_set(HOST_SEND, lose_answer);
	return true;
}

static void an_answer_that_is_lost_twice(void)
{
	start_on_an_older_host();
	window_guest(&w, "report", 8);
	host_hook_set(HOST_SEND, lose_two);
	check_eq(window_run(&w), 0);
	check_eq(window_result(&w), 8);
	check_eq(stats().resynchronised, 2);
}

static unsigned long ticket;

static void set_ticket(struct seccomp_notif *notification)
{
	notification->data.args[3] = ticket;
}

static void a_ticket_of_no_resume(void)
{
	static const long off[] = { -2, 1, 2, 1000 };
	size_t i;

	window_init(STUBGUARD_REQUIRE);
	for (i = 0; i < COUNT(off); i++) {
		test_context("%ld off", off[i]);
		window_start(&w);
		window_guest(&w, "report", 1);
		check_eq(window_resume(&w), 0);
		ticket = window_ticket(&w) + (unsigned long)off[i];
		window_alter(set_ticket);
		window_is_a_breach(&w, "park");
	}
}

/* The arguments of the repeated park are those of the first one. */
static void a_park_that_comes_again_says_the_same(void)
{
	start_on_an_older_host();
	window_guest(&w, "report", 3);
	check_eq(window_run(&w), 0);
	check_eq(window_result(&w), 3);
	/* A signal's park; then a batch's. */
	host_before(HOST_SEND, withdraw);
	mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
	check_eq(window_sync(&w), 0);
	host_before(HOST_SEND, withdraw);
	mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
	check_eq(window_sync(&w), 0);
	window_is_sound(&w);
	check_eq(stats().resynchronised, 2);
}

static void send_is_interrupted(void)
{
	unsigned int sends;

	start();
	sends = host_count(HOST_SEND);
	host_fail(HOST_SEND, 1, 3, EINTR);
	window_is_sound(&w);
	check_eq(host_count(HOST_SEND), sends + 4);
	check_eq(stats().resynchronised, 0);
	/* The library does not try forever. */
	host_fail(HOST_SEND, 1, 1000, EINTR);
	sends = host_count(HOST_SEND);
	check_op(window_resume(&w), <, 0);
	check_op(host_count(HOST_SEND), <, sends + 100);
	host_reset();
	window_is_lost(&w);
}

static void what_send_may_answer(void)
{
	static const int errors[] = { EINPROGRESS, EINVAL, EFAULT, EBADF, ENOMEM };
	uint64_t served;
	size_t i;

	window_init(STUBGUARD_REQUIRE);
	for (i = 0; i < COUNT(errors); i++) {
		test_context("SEND gives %d", errors[i]);
		window_start(&w);
		served = stats().served;
		host_fail(HOST_SEND, 1, 1, errors[i]);
		check_eq(window_resume(&w), -errors[i]);
		host_reset();
		check_eq(stats().served, served);
		window_is_given_up(&w);
	}
}

/* ---- RECV */

static void what_receive_may_answer(void)
{
	static const int errors[] = { EINVAL, EFAULT, ENOTTY, ENOMEM, EBADF };
	size_t i;

	window_init(STUBGUARD_REQUIRE);
	for (i = 0; i < COUNT(errors); i++) {
		test_context("RECV gives %d", errors[i]);
		window_start(&w);
		window_guest(&w, "report", 1);
		check_eq(window_resume(&w), 0);
		host_fail(HOST_RECV, 1, 1, errors[i]);
		check_eq(window_wait(&w), -errors[i]);
		host_reset();
		window_is_given_up(&w);
	}
}

static void receive_finds_nothing(void)
{
	uint64_t before;

	start();
	reports(1);
	before = stats().resynchronised;
	host_fail(HOST_RECV, 1, 2, ENOENT);
	/* Withdrawn: the call comes again. */
	check_eq(window_wait_once(&w), -EINTR);
	check_eq(window_wait_once(&w), -EINTR);
	check_eq(stats().resynchronised, before + 2);
	has_reported(1);
	/* Or the stub is dead. */
	check_eq(window_resume(&w), 0);
	host_fail(HOST_RECV, 1, 1, ENOENT);
	host_poll_finds(POLLHUP);
	check_eq(window_wait_once(&w), -ESRCH);
	host_reset();
	window_is_lost(&w);
}

static void the_listener_is_busy(void)
{
	start();
	reports(1);
	host_fail(HOST_RECV, 1, 1, ENOENT);
	host_poll_finds(POLLERR);
	check_eq(window_wait_once(&w), -EINTR);
	host_reset();
	has_reported(1);
}

static void receive_is_interrupted(void)
{
	start();
	reports(2);
	host_fail(HOST_RECV, 1, 3, EINTR);
	check_eq(window_wait_once(&w), -EINTR);
	check_eq(window_wait_once(&w), -EINTR);
	check_eq(window_wait_once(&w), -EINTR);
	check_eq(window_wait_once(&w), 0);
	check_eq(window_result(&w), 2);
	check_eq(stats().resynchronised, 0);
}

static void a_signal_while_it_waits(void)
{
	spins();
	host_when_it_sleeps(waits_by(), host_interrupt);
	check_eq(window_wait_once(&w), -EINTR);
	check_eq(window_wait_once(&w), -EINTR);
	host_no_more();
	window_tick(&w);
	check_eq(window_wait(&w), 0);
	check_eq(w.event.signal, SIGALRM);
	window_is_sound(&w);
}

static void tick(void)
{
	window_tick(&w);
}

static void the_tick_ends_a_wait(void)
{
	spins();
	host_when_it_sleeps(waits_by(), tick);
	check_eq(window_wait(&w), 0);
	host_no_more();
	check_eq(w.event.signal, SIGALRM);
}

/* ---- its death */

static void dies_before_the_resume(void)
{
	start();
	die();
	window_guest(&w, "report", 1);
	check_eq(window_resume(&w), -ESRCH);
	window_is_lost(&w);
}

static void dies_before_the_resume_with_a_batch(void)
{
	int ret;

	start();
	die();
	mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
	ret = window_resume_batch(&w);
	w.mm.calls = 0;
	check_eq(ret, -ESRCH);
	window_is_lost(&w);
}

static void dies_when_it_is_answered(void)
{
	start();
	window_guest(&w, "report", 1);
	host_before(HOST_SEND, die);
	check_eq(window_resume(&w), -ESRCH);
	host_reset();
	window_is_lost(&w);
}

static void dies_before_it_is_waited_for(void)
{
	spins();
	die();
	check_eq(window_wait(&w), -ESRCH);
	window_is_lost(&w);
	check_eq(stats().breaches, 0);
}

static void dies_before_the_receive(void)
{
	spins();
	host_before(waits_by(), die);
	check_eq(window_wait(&w), -ESRCH);
	host_reset();
	window_is_lost(&w);
}

static void dies_while_it_is_waited_for(void)
{
	spins();
	host_when_it_sleeps(waits_by(), die);
	check_eq(window_wait(&w), -ESRCH);
	host_no_more();
	window_is_lost(&w);
}

static void dies_by_its_own_guest(void)
{
	/* A jump into the stub's code: the filter ends it. */
	start();
	window_call_at(&w, STUB_START + GADGET, SYS_getpid, 0);
	check_eq(window_run(&w), -ESRCH);
	window_is_lost(&w);
	check_eq(WTERMSIG(mm_reap(&w.mm)), SIGSYS);
	/* The monitor's kill finds no process. */
	check_eq(stubguard_kill_stub(w.mm.pid, w.mm.identity), -ESRCH);
}

static bool die_after(const long *arg, long *result)
{
	*result = raw(SYS_ioctl, arg[0], arg[1], arg[2]);
	die();
	return true;
}

static void dies_after_its_report(void)
{
	start();
	reports(4);
	host_hook_set(HOST_RECV, die_after);
	/* Its report is still there. */
	has_reported(4);
	host_reset();
	check_eq(window_resume(&w), -ESRCH);
	window_is_lost(&w);
}

static void is_withdrawn_and_dies(void)
{
	start_on_an_older_host();
	window_guest(&w, "report", 1);
	host_before(HOST_SEND, withdraw);
	check_eq(window_resume(&w), 0);
	die();
	check_eq(window_wait(&w), -ESRCH);
	window_is_lost(&w);
}

/* ---- older hosts */

/* The listener of such a host does not show the death of a stub before it is reaped. */
static bool tells_of_the_reaped(const long *arg, long *result)
{
	struct pollfd *listener = (struct pollfd *)arg[0];

	*result = raw(SYS_poll, listener, arg[1], arg[2]);
	if (*result == 1 && listener->revents == POLLHUP) {
		listener->revents = 0;
		*result = 0;
	}
	return true;
}

static void init_where_receive_does_not_end(void)
{
	/* The probe's receive fails. */
	host_fail(HOST_RECV, 1, 1, EIO);
	window_init(STUBGUARD_REQUIRE);
	check_eq(stubguard_features() & STUBGUARD_F_RECEIVE_ENDS, 0);
}

/* UML reaps at SIGCHLD, which is blocked while it synchronises page tables. */
static void a_death_that_the_listener_does_not_tell(void)
{
	init_where_receive_does_not_end();
	host_hook_set(HOST_POLL, tells_of_the_reaped);

	window_start(&w);
	check_eq(stubguard_stub_lives(&w.stub), 1);
	mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
	check_eq(window_resume_batch(&w), 0);
	die();
	check_eq(window_wait(&w), -ESRCH);
	window_is_lost(&w);
	check_eq(stubguard_stub_lives(&w.stub), 0);
	mm_reap(&w.mm);
	mm_forget(&w.mm);

	/* Parked */
	window_start(&w);
	die();
	window_guest(&w, "report", 1);
	check_eq(window_resume(&w), -ESRCH);
	window_is_lost(&w);
	mm_reap(&w.mm);
	mm_forget(&w.mm);

	/* A timer ends each wait. */
	window_start(&w);
	window_spin(&w);
	host_reset();
	host_fail(HOST_POLL, 1, 1000, EINTR);
	check_eq(window_wait_once(&w), -EINTR);
	die();
	check_eq(window_wait_once(&w), -ESRCH);
}

static void a_host_where_receive_does_not_end(void)
{
	unsigned int polls, i;

	init_where_receive_does_not_end();
	check(strstr(model_log_text, "lacks") != NULL);
	window_start(&w);
	for (i = 0; i < 5; i++) {
		polls = host_count(HOST_POLL);
		window_is_sound(&w);
		check_op(host_count(HOST_POLL), >, polls);
	}
	/* So it never blocks in a call that does not end with the stub. */
	window_spin(&w);
	check_eq(window_wait_once(&w), -EINTR);
	window_tick(&w);
	check_eq(window_wait(&w), 0);
	check_eq(w.event.signal, SIGALRM);
	window_spin(&w);
	die();
	polls = host_count(HOST_RECV);
	check_eq(window_wait(&w), -ESRCH);
	check_eq(host_count(HOST_RECV), polls);
	window_is_lost(&w);
}

static bool never_more_than(const long *arg, long *result)
{
	(void)result;
	check_op(arg[2], >=, 0);
	check_op(arg[2], <=, 100);
	return false;
}

static void its_polls_are_bounded(void)
{
	static const int errors[] = { EINVAL, ENOMEM, EFAULT };
	size_t i;

	init_where_receive_does_not_end();
	window_start(&w);
	host_hook_set(HOST_POLL, never_more_than);
	window_spin(&w);
	check_eq(window_wait_once(&w), -EINTR);
	host_fail(HOST_POLL, 1, 1, EINTR);
	check_eq(window_wait_once(&w), -EINTR);
	host_reset();
	for (i = 0; i < COUNT(errors); i++) {
		test_context("poll gives %d", errors[i]);
		window_start(&w);
		window_spin(&w);
		host_fail(HOST_POLL, 1, 1, errors[i]);
		check_eq(window_wait_once(&w), -errors[i]);
		host_reset();
		window_is_lost(&w);
		check_eq(WTERMSIG(window_kill(&w)), SIGKILL);
	}
}

/* Poll finds a notification, and it is withdrawn before it is received. */
static void withdrawn_between_poll_and_receive(void)
{
	start();
	reports(7);
	host_fail(HOST_RECV, 1, 1, ENOENT);
	check_eq(window_wait_once(&w), -EINTR);
	has_reported(7);
}

static void init_without_fsgsbase(void)
{
	host_answer(HOST_GETAUXVAL, 0);
	window_init(STUBGUARD_REQUIRE);
	check_eq(stubguard_features() & STUBGUARD_F_FSGSBASE, 0);
}

static void a_host_without_fsgsbase(void)
{
	unsigned int i;

	init_without_fsgsbase();
	window_start(&w);
	for (i = 0; i < 2; i++)
		window_map(&w, GUEST_FREE + i * PAGE, FRAME_FREE + i, PROT_READ);
	for (i = 0; i < 8; i++) {
		test_context("round %u", i);
		w.regs.fs_base = GUEST_FREE + (i & 1) * PAGE;
		w.regs.gs_base = GUEST_FREE + (i >> 1 & 1) * PAGE;
		if (i & 4)
			window_tick(&w);
		window_guest(&w, "read fs", 0);
		check_eq(window_run(&w), 0);
		if (i & 4) {
			check_eq(w.event.again, 1);
			check_eq(window_run(&w), 0);
		}
		check_eq(window_result(&w), (long)frame_mark(FRAME_FREE + (i & 1)));
		window_guest(&w, "read gs", 0);
		check_eq(window_run(&w), 0);
		check_eq(window_result(&w), (long)frame_mark(FRAME_FREE + (i >> 1 & 1)));
	}
}

/* A host without FSGSBASE: the filter allows both arch_prctl sites, each with its code. */
static void the_sites_of_such_a_host(void)
{
	static const struct {
		unsigned int site;
		unsigned long code;
		bool allowed;
	} rows[] = {
		{ 0, 0x1002, true },  { 1, 0x1001, true },  { 0, 0x1001, false },
		{ 1, 0x1002, false }, { 0, 0x1003, false }, { 0, 0x1012, false },
		{ 1, 0x2003, false }, { 1, 0, false },
	};
	static unsigned char code[PAGE];
	unsigned long ip;
	size_t i;
	int ret;

	init_without_fsgsbase();
	check_op(stubguard_stub_code(code), >, 0);
	for (i = 0; i < COUNT(rows); i++) {
		test_context("%#lx at site %u", rows[i].code, rows[i].site);
		window_start(&w);
		ip = STUB_START + (unsigned long)window_site(code, SYS_arch_prctl, rows[i].site);
		window_call_at(&w, ip, SYS_arch_prctl, rows[i].code, GUEST_FREE);
		check_eq(window_resume(&w), 0);
		if (rows[i].allowed) {
			/* Then the code resumes the guest, which jumps there again. */
			window_tick(&w);
			ret = window_wait(&w);
			check(ret == -EPROTO || (ret == 0 && w.event.again));
			check_eq(WTERMSIG(window_kill(&w)), SIGKILL);
		} else {
			check_eq(window_wait(&w), -ESRCH);
			check_eq(WTERMSIG(mm_reap(&w.mm)), SIGSYS);
		}
		mm_forget(&w.mm);
	}
}

/* A host without XSAVE: its frames have only FXSAVE's state, and no magic number. */
static void take_the_magic_away(struct seccomp_notif *notification)
{
	unsigned char *stack = window_stack(&w);
	unsigned long context = notification->data.args[2] - (STUB_DATA + PAGE) + 40;
	mcontext_t *mcontext = (mcontext_t *)(void *)(stack + context);

	memset(stack + ((unsigned long)mcontext->fpregs - (STUB_DATA + PAGE)) + 464, 0, 48);
}

static void a_host_without_xsave(void)
{
	struct stubguard_config config = window_config();
	unsigned int i;

	config.fp_size = 512;
	model_init_config(&config);
	window_spawn(&w);
	check_eq(window_attach(&w), 0);
	window_alter(take_the_magic_away);
	check_eq(window_wait(&w), 0);
	host_reset();
	window_set_up(&w);
	memset(w.fp + 512, 0xee, sizeof(w.fp) - 512);
	for (i = 0; i < 256; i++)
		w.fp[160 + i] = (unsigned char)(i * 7);
	w.fp[25] = 0x3f;
	window_guest(&w, "fault", 0);
	check_eq(window_run(&w), 0);
	check_eq(w.event.signal, SIGILL);
	for (i = 0; i < 256; i++)
		check_eq(w.fp[160 + i], (unsigned char)(i * 7));
	check_eq(w.fp[25], 0x3f);
	for (i = 512; i < sizeof(w.fp); i++)
		check_eq(w.fp[i], 0xee);
	/* The guest gets the state. */
	memset(w.fp + 160, 0x55, 256);
	window_guest(&w, "dump", 0);
	((unsigned long *)mm_frame(&w.mm, FRAME_GUEST_STACK))[63] = 3;
	check_eq(window_run(&w), 0);
	check_eq(window_result(&w), 1234);
	for (i = 0; i < 256; i++)
		check_eq(((unsigned char *)mm_frame(&w.mm, FRAME_GUEST_STACK))[1024 + 160 + i],
			 0x55);
	/* A bad state is the guest's fault. */
	window_guest(&w, "report", 1);
	memset(w.fp + 24, 0xff, 4);
	check_eq(window_run(&w), 0);
	check_eq(w.event.signal, SIGSEGV);
	check_eq(w.event.again, 1);
}

static void a_host_without_sync_wake_up(void)
{
	host_fail(HOST_SET_FLAGS, 1, 100, EINVAL);
	window_init(STUBGUARD_REQUIRE);
	check_eq(stubguard_features() & STUBGUARD_F_SYNC_WAKE_UP, 0);
	window_start(&w);
	window_is_sound(&w);
}

static const struct test tests[] = {
	TEST(withdrawn_before_it_is_answered),
	TEST(withdrawn_with_a_batch),
	TEST(withdrawn_twice),
	TEST(withdrawn_long_before),
	TEST(other_signals_withdraw_nothing),
	TEST(an_answer_that_the_host_loses),
	TEST(an_answer_that_is_lost_twice),
	TEST(a_ticket_of_no_resume),
	TEST(a_park_that_comes_again_says_the_same),
	TEST(send_is_interrupted),
	TEST(what_send_may_answer),
	TEST(what_receive_may_answer),
	TEST(receive_finds_nothing),
	TEST(the_listener_is_busy),
	TEST(receive_is_interrupted),
	TEST(a_signal_while_it_waits),
	TEST(the_tick_ends_a_wait),
	TEST(dies_before_the_resume),
	TEST(dies_before_the_resume_with_a_batch),
	TEST(dies_when_it_is_answered),
	TEST(dies_before_it_is_waited_for),
	TEST(dies_before_the_receive),
	TEST(dies_while_it_is_waited_for),
	TEST(dies_by_its_own_guest),
	TEST(dies_after_its_report),
	TEST(is_withdrawn_and_dies),
	TEST(a_host_where_receive_does_not_end),
	TEST(a_death_that_the_listener_does_not_tell),
	TEST(its_polls_are_bounded),
	TEST(withdrawn_between_poll_and_receive),
	TEST(a_host_without_fsgsbase),
	TEST(the_sites_of_such_a_host),
	TEST(a_host_without_xsave),
	TEST(a_host_without_sync_wake_up),
};

HARNESS_MAIN(tests)
