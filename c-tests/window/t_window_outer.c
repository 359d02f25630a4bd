// SPDX-License-Identifier: GPL-2.0-only
/*
 * Window mode beneath an outer seccomp filter: what the host does for each action of that filter and each
 * of ours. These are the cells of the tables in docs/hosts.md.
 */
#include "harness.h"
#include "host.h"
#include "window.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static struct window w;

/* All but USER_NOTIF: beneath another listener no stub can have one (t_init). */
static const struct outer {
	const char *name;
	unsigned int action;
} actions[] = {
	{ "ERRNO", SECCOMP_RET_ERRNO | EPERM },
	{ "ERRNO, a success", SECCOMP_RET_ERRNO },
	{ "TRAP", SECCOMP_RET_TRAP | 7 },
	{ "TRACE", SECCOMP_RET_TRACE | 7 },
	{ "LOG", SECCOMP_RET_LOG },
	{ "KILL_THREAD", SECCOMP_RET_KILL_THREAD },
	{ "KILL_PROCESS", SECCOMP_RET_KILL_PROCESS },
};

static bool kills(const struct outer *outer)
{
	return outer->action == SECCOMP_RET_KILL_THREAD ||
	       outer->action == SECCOMP_RET_KILL_PROCESS;
}

#define NR offsetof(struct seccomp_data, nr)
#define IP offsetof(struct seccomp_data, instruction_pointer)
#define EVERYWHERE 0

/* A filter for this process and its children, for this call: everywhere, in the page `at`, or returning to `at`. */
static void surround(unsigned int action, long nr, unsigned long at)
{
	unsigned int mask = at & (PAGE - 1) ? ~0U : (unsigned int)-PAGE;
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, NR),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)nr, at ? 1 : 6, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, IP + 4),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, at >> 32, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, IP),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, mask),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, at & 0xffffffff, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = COUNT(filter), .filter = filter };

	check_eq(raw(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	check_eq(raw(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program), 0);
}

/* Each action in a process of its own, since a filter stays. */
static void each(void (*run)(const struct outer *outer))
{
	size_t i;

	for (i = 0; i < COUNT(actions); i++) {
		test_context("%s", actions[i].name);
		APART {
			run(&actions[i]);
		}
	}
	test_context_end();
}

/* ---- guests' calls */

/* UML itself does not make this call, so the filter concerns only guests. */
#define GUESTS SYS_mount
#define ANSWER 4711

/* The call comes to the monitor with all registers, and the guest gets the monitor's answer. */
static void the_monitor_answers(void)
{
	window_call_at(&w, mm_guest_code("call"), GUESTS, 11, 12, 13, 14, 15, 16);
	w.regs.rbx = 17;
	check_eq(window_run(&w), 0);
	check_eq(w.event.signal, SIGSYS);
	check_eq(w.event.syscall, GUESTS);
	check_eq(w.event.notified, 0);
	check_eq(w.regs.rax, GUESTS);
	check_eq(w.regs.rdi, 11);
	check_eq(w.regs.r9, 16);
	check_eq(w.regs.rbx, 17);
	w.regs.rax = ANSWER;
	check_eq(window_run(&w), 0);
	check_eq(window_result(&w), ANSWER);
}

static void start(void)
{
	window_init_calls(STUBGUARD_REQUIRE);
	check_eq(stubguard_features() & STUBGUARD_F_UNFILTERED, 0);
	window_start(&w);
}

/* Syscall user dispatch comes before all filters: even one that kills is not asked. */
static void no_outer_action_concerns_a_guest(const struct outer *outer)
{
	surround(outer->action, GUESTS, EVERYWHERE);
	start();
	check(stubguard_features() & STUBGUARD_F_DISPATCH);
	the_monitor_answers();
}

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif

static void needs_dispatch(void)
{
	if (raw(SYS_prctl, PR_SET_SYSCALL_USER_DISPATCH, 0, 0, 0, 0))
		test_skip("this host has no syscall user dispatch");
}

CASE(guests_calls_are_answered_by_the_monitor, needs_dispatch(); each(no_outer_action_concerns_a_guest))

/* Without dispatch only our TRAP brings calls to the monitor: only KILL outranks it. */
static void by_the_filters(const struct outer *outer)
{
	surround(outer->action, GUESTS, EVERYWHERE);
	host_without_dispatch();
	start();
	check_eq(stubguard_features() & STUBGUARD_F_DISPATCH, 0);
	if (kills(outer)) {
		window_call_at(&w, mm_guest_code("call"), GUESTS, 0);
		check_eq(window_resume(&w), 0);
		window_has_been_killed(&w);
	} else {
		the_monitor_answers();
	}
}

CASE(without_dispatch_a_kill_outranks_our_trap, each(by_the_filters))

/* If a guest turns the dispatch off, its call comes to the filters: it traps as before, or ends the stub. */
static void by_its_own_selector(const struct outer *outer)
{
	unsigned long args[6] = { 11, 12, 13, 14, 15, 16 };
	char allow = 0;

	surround(outer->action, GUESTS, EVERYWHERE);
	start();
	window_forge(&w, &allow, 1, STUB_DATA + STUBGUARD_SELECTOR, mm_guest_code("call"), GUESTS,
		     args);
	if (kills(outer)) {
		check_eq(window_resume(&w), 0);
		window_has_been_killed(&w);
	} else {
		check_eq(window_run(&w), 0);
		check_eq(w.event.syscall, GUESTS);
		check_eq(w.event.notified, 0);
		check_eq(w.regs.rax, GUESTS);
		window_is_sound(&w);
	}
}

CASE(a_guest_that_selects_for_itself, each(by_its_own_selector))

/* ---- the stub's own calls */

/* Our USER_NOTIF: with an action that outranks it, the stub cannot park. */
static void around_the_park(const struct outer *outer)
{
	unsigned int action = outer->action & SECCOMP_RET_ACTION_FULL;

	surround(outer->action, PARK_NR, STUB_START);
	window_init_calls(STUBGUARD_REQUIRE);
	window_spawn(&w);
	check_op(w.listened, >=, 0);
	check_eq(window_attach(&w), 0);
	if (action == SECCOMP_RET_TRACE || action == SECCOMP_RET_LOG) {
		check_eq(window_wait(&w), 0);
		mm_gadget(&w.mm, GADGET);
		window_set_up(&w);
		window_is_sound(&w);
	} else {
		/* No guest has run in it. */
		window_has_been_killed(&w);
	}
}

CASE(the_park_is_outranked_by_errno_trap_and_kill, each(around_the_park))

/* Our ALLOW: every action outranks it. LOG allows, too. */
static void around_a_call_of_the_batch(const struct outer *outer)
{
	int ret;

	surround(outer->action, SYS_mprotect, STUB_START);
	start();
	mm_queue_page(&w.mm, GUEST_FREE, FRAME_FREE, PROT_READ | PROT_WRITE | PROT_EXEC);
	check_eq(window_sync(&w), 0);
	mm_set_pte(&w.mm, GUEST_FREE, FRAME_FREE, PROT_READ | PROT_EXEC);
	mm_queue_wrprotect(&w.mm, GUEST_FREE, PAGE);
	ret = window_sync(&w);
	switch (outer->action & SECCOMP_RET_ACTION_FULL) {
	case SECCOMP_RET_LOG:
		check_eq(ret, 0);
		window_is_sound(&w);
		return;
	case SECCOMP_RET_TRACE:
		/* There is no tracer. */
		check_eq(ret, -ENOSYS);
		return;
	case SECCOMP_RET_ERRNO:
		/* A faked success looks like a success. */
		check_eq(ret, -(int)(outer->action & SECCOMP_RET_DATA));
		return;
	default:
		check_eq(ret, -ESRCH);
		window_is_lost(&w);
		check_eq(WTERMSIG(mm_reap(&w.mm)), SIGSYS);
		mm_forget(&w.mm);
	}
}

CASE(a_call_of_the_batch_is_outranked_by_all, each(around_a_call_of_the_batch))

/* Our KILL: no action outranks it, and KILL_THREAD also ends a process with one thread. */
static void around_a_call_that_kills(const struct outer *outer)
{
	static const long numbers[] = { GUESTS, SYS_mmap };
	size_t i;

	for (i = 0; i < COUNT(numbers); i++)
		surround(outer->action, numbers[i], STUB_START + GADGET + 2);
	window_init_calls(STUBGUARD_REQUIRE);
	for (i = 0; i < COUNT(numbers); i++) {
		test_context("%s, call %ld", outer->name, numbers[i]);
		window_start(&w);
		window_call_at(&w, STUB_START + GADGET, numbers[i], GUEST_FREE, PAGE, PROT_READ,
			       MAP_SHARED | MAP_FIXED, STUBGUARD_MEMORY_FD, 0);
		check_eq(window_resume(&w), 0);
		window_has_been_killed(&w);
	}
}

CASE(a_call_from_the_page_kills_whatever_is_around, each(around_a_call_that_kills))

static const struct test tests[] = {
	TEST(guests_calls_are_answered_by_the_monitor),
	TEST(without_dispatch_a_kill_outranks_our_trap),
	TEST(a_guest_that_selects_for_itself),
	TEST(the_park_is_outranked_by_errno_trap_and_kill),
	TEST(a_call_of_the_batch_is_outranked_by_all),
	TEST(a_call_from_the_page_kills_whatever_is_around),
};

HARNESS_MAIN(tests)
