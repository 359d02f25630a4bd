// SPDX-License-Identifier: GPL-2.0-only
/*
 * The watchdog of window mode: stubguard_stub_wait() enters and leaves the watchdog itself. A test waits for
 * an event, never for a time.
 */
#include "harness.h"
#include "host.h"
#include "window.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

static struct window w;

static void init(int kick)
{
	struct stubguard_config config = model_in_a_hurry(window_config(), kick);

	model_init_config(&config);
}

static void start(void)
{
	init(0);
	check_eq(start_seccomp_watchdog(), 0);
	window_start(&w);
}

static void is_killed(const char *how)
{
	char text[64];

	check_eq(window_wait(&w), -ETIMEDOUT);
	window_is_lost(&w);
	check_eq(WTERMSIG(mm_reap(&w.mm)), SIGKILL);
	snprintf(text, sizeof(text), "killed stub %d,", w.mm.pid);
	/* First the kill, then the line. */
	model_log_wait_for(text);
	check(strstr(model_log_text, how) != NULL);
	check(strstr(model_log_text, " ms, budget ") != NULL);
	check_eq(stats().kills, 1);
	check_eq(stats().killed_watchdog, 1);
	check_eq(stats().stalls, 1);
	check_eq(stats().breaches, 0);
}

/* A guest that nobody sends a timer signal. */
static void a_spinner_is_killed(int cpu)
{
	check_eq(start_seccomp_watchdog(), 0);
	window_start(&w);
	w.cpu = cpu;
	window_spin(&w);
	is_killed("spins");
}

/* The wait is over, for the watchdog too. */
CASE(a_guest_that_does_not_report, init(0); a_spinner_is_killed(0); check_eq(seccomp_wd_exit(0), -EINVAL))
CASE(a_guest_that_does_not_report_to_another_cpu, init(0); a_spinner_is_killed(1); check_eq(seccomp_wd_exit(1), -EINVAL))
CASE(by_the_defaults, window_init(STUBGUARD_REQUIRE); a_spinner_is_killed(0))
/* The kick ends a host call that does not return. */
CASE(with_a_kick, init(40); a_spinner_is_killed(0))

/* On a host where a stub's death does not end a receive. */
static void where_receive_does_not_end(void)
{
	host_fail(HOST_RECV, 1, 1, EIO);
	init(0);
	check_eq(stubguard_features() & STUBGUARD_F_RECEIVE_ENDS, 0);
	a_spinner_is_killed(0);
}

static struct itimerspec tick;

static bool note_tick(const long *arg, long *result)
{
	(void)result;
	tick = *(const struct itimerspec *)arg[2];
	return false;
}

static void the_tick_is(unsigned long ms, unsigned int tick_config, unsigned int budget_config)
{
	struct stubguard_config config = window_config();

	config.watchdog_tick_ms = tick_config;
	config.watchdog_budget_ms = budget_config;
	model_init_config(&config);
	host_hook_set(HOST_TIMERFD_SETTIME, note_tick);
	check_eq(start_seccomp_watchdog(), 0);
	check_eq((unsigned long)tick.it_interval.tv_sec * 1000 +
			 (unsigned long)tick.it_interval.tv_nsec / 1000000,
		 ms);
}

CASE(the_tick_by_default, the_tick_is(200, 0, 0))
CASE(the_tick_of_a_short_budget, the_tick_is(50, 0, 100))
CASE(the_tick_that_was_said, the_tick_is(30, 30, 0))

/* While the host holds a stub, no monitor waits for it. */
static void a_parked_stub_is_left_alone(void)
{
	struct pollfd poll_fd;
	int i;

	start();
	poll_fd = (struct pollfd){ .fd = w.mm.pidfd, .events = POLLIN };
	/* Without a wait the watchdog makes no looks that could be counted. */
	for (i = 0; i < 4; i++)
		check_eq(raw(SYS_poll, &poll_fd, 1, BUDGET_MS), 0);
	check_eq(seccomp_wd_exit(0), -EINVAL);
	window_is_sound(&w);
	check_eq(stats().kills, 0);
}

static void a_stopped_stub_is_left_alone(void)
{
	start();
	window_spin(&w);
	check_eq(raw(SYS_kill, w.mm.pid, SIGSTOP), 0);
	mm_wait_state(&w.mm, 'T');
	/* An interrupted wait continues as the same one. */
	host_fail(HOST_RECV, 1, 1, EINTR);
	check_eq(window_wait_once(&w),
		 -EINTR);
	mm_outlives(&w.mm, LOOKS);
	check_eq(stats().kills, 0);
	check_eq(raw(SYS_kill, w.mm.pid, SIGCONT), 0);
	window_tick(&w);
	check_eq(window_wait(&w), 0);
	check_eq(w.event.signal, SIGALRM);
	window_is_sound(&w);
}

/* Each report ends a wait, so a guest may report for any time. */
static void guests_that_report_are_left_alone(void)
{
	unsigned int target, i;

	start();
	target = host_count(HOST_PIDFD_OPEN) + 2;
	for (i = 0; i < 100000 && host_count(HOST_PIDFD_OPEN) < target; i++)
		window_is_sound(&w);
	check_eq(stats().kills, 0);
	check_eq(seccomp_wd_exit(0), -EINVAL);
}

/*
 * A hijacked stub parks again and again as if the host had lost the answer. The library answers, but that is no report:
 * the wait continues.
 */
static void a_storm_of_repeated_parks_is_no_report(void)
{
	static unsigned char code[PAGE] __attribute__((aligned(8)));
	int i;

	start();
	check_op(stubguard_stub_code(code), >, 0);
	/* The code behind the park resumes this guest, which jumps to the park again. */
	window_call_at(&w, STUB_START + (unsigned long)window_site(code, PARK_NR, 0), PARK_NR,
		       SIGSYS, 0, 0, window_ticket(&w));
	check_eq(window_resume(&w), 0);
	for (i = 0; i < 5; i++)
		check_eq(window_wait_once(&w),
			 -EINTR);
	/* The monitor is still in the same wait. */
	is_killed("sp");
}

static void a_killed_stub_is_not_resumed(void)
{
	start();
	check_eq(stubguard_kill_stub(w.mm.pid, w.mm.identity), 0);
	mm_wait_dead(&w.mm);
	window_guest(&w, "report", 1);
	check_eq(window_resume(&w), -ESRCH);
	window_is_lost(&w);
}

static void without_a_watchdog_it_works_too(void)
{
	init(0);
	window_start(&w);
	window_is_sound(&w);
	check_eq(seccomp_wd_exit(0), -EINVAL);
}

static void bad_cpus(void)
{
	static const int cpus[] = { -1, 2, 64, 2147483647, -2147483647 - 1 };
	size_t i;

	start();
	window_guest(&w, "report", 3);
	check_eq(window_resume(&w), 0);
	for (i = 0; i < COUNT(cpus); i++) {
		test_context("cpu %d", cpus[i]);
		w.cpu = cpus[i];
		check_eq(window_wait(&w), -EINVAL);
	}
	test_context_end();
	/* Bad arguments change nothing. */
	w.cpu = 0;
	check_eq(window_wait(&w), 0);
	check_eq(window_result(&w), 3);
}

static const struct test tests[] = {
	TEST(a_guest_that_does_not_report),
	TEST(a_guest_that_does_not_report_to_another_cpu),
	TEST(by_the_defaults),
	TEST(the_tick_by_default),
	TEST(the_tick_of_a_short_budget),
	TEST(the_tick_that_was_said),
	TEST(with_a_kick),
	TEST(where_receive_does_not_end),
	TEST(a_parked_stub_is_left_alone),
	TEST(a_stopped_stub_is_left_alone),
	TEST(guests_that_report_are_left_alone),
	TEST(a_storm_of_repeated_parks_is_no_report),
	TEST(a_killed_stub_is_not_resumed),
	TEST(without_a_watchdog_it_works_too),
	TEST(bad_cpus),
};

HARNESS_MAIN(tests)
