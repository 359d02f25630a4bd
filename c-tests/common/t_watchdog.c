// SPDX-License-Identifier: GPL-2.0-only
/*
 * The watchdog: which stubs it kills, and which it does not. A test waits for an event (a death, a
 * line in the log, a number of looks), never for a time.
 */
#include "harness.h"
#include "host.h"
#include "model.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct mm_id mm, other;

static void init(int kick)
{
	struct stubguard_config config = model_in_a_hurry(model_config(), kick);

	model_init_config(&config);
}

static void start(void)
{
	init(0);
	check_eq(start_seccomp_watchdog(), 0);
	mm_start(&mm);
}

static void start_sleeper(void)
{
	start();
	mm_make_sleeper(&mm);
}

static void stop(struct mm_id *who)
{
	raw(SYS_kill, who->pid, SIGSTOP);
	mm_wait_state(who, 'T');
}

/* Each look opens a pidfd, before anything else. */
static void wait_looks(unsigned int looks)
{
	host_wait(HOST_PIDFD_OPEN, host_count(HOST_PIDFD_OPEN) + looks);
}

static void is_left_alone(struct mm_id *who)
{
	mm_outlives(who, LOOKS);
	check(!mm_is_dead(who));
	check_eq(stats().kills, 0);
	check_eq(seccomp_wd_progress(0), 0);
}

static void is_killed(struct mm_id *who)
{
	char text[64];

	mm_wait_dead(who);
	check_eq(WTERMSIG(mm_reap(who)), SIGKILL);
	snprintf(text, sizeof(text), "killed stub %d,", who->pid);
	/* First the kill, then the line. */
	model_log_wait_for(text);
	check_op(stats().kills, >=, 1);
	check_op(stats().stalls, >=, 1);
}

static void enter(int cpu, struct mm_id *who)
{
	check_eq(seccomp_wd_enter(cpu, who->pid, who->identity), 0);
}

/* ---- stubs that it kills */

static void a_sleeper_with_signals_blocked(void)
{
	start_sleeper();
	/* The tick must not wake it, as that signal is blocked. */
	raw(SYS_kill, mm.pid, SIGALRM);
	mm_wait_state(&mm, 'S');
	check_eq(mm.shared->futex, FUTEX_IN_CHILD);
	enter(0, &mm);
	is_killed(&mm);
	check(strstr(model_log_text, "sleeps") != NULL);
	check_eq(seccomp_wd_progress(0), -ESRCH);
	/* The wait is over. */
	check_eq(seccomp_wd_progress(0), -EINVAL);
	check_eq(seccomp_wd_exit(0), -EINVAL);
}

static void a_spinner_with_signals_blocked(void)
{
	start();
	mm_make_spinner(&mm);
	raw(SYS_kill, mm.pid, SIGALRM);
	enter(0, &mm);
	is_killed(&mm);
	check(strstr(model_log_text, "spins") != NULL);
	check_eq(seccomp_wd_exit(0), -ESRCH);
	check_eq(seccomp_wd_exit(0), -EINVAL);
}

static void a_stub_whose_call_nobody_answers(void)
{
	start();
	mm_hijack_start_mmap(&mm);
	enter(0, &mm);
	is_killed(&mm);
	check_eq(seccomp_notify_drain(&mm, mm.listener), -ESRCH);
	check_eq(seccomp_wd_enter(0, mm.pid, mm.identity), -ESRCH);
}

static void saying_so_again_is_no_progress(void)
{
	struct pollfd poll_fd = { .events = POLLIN };
	int ret;

	start_sleeper();
	poll_fd.fd = mm.pidfd;
	do {
		ret = seccomp_wd_enter(0, mm.pid, mm.identity);
		/* The slot shows the kill a moment before the signal is sent. */
		check(ret == 0 || ret == -ESRCH);
	} while (raw(SYS_poll, &poll_fd, 1, TICK_MS / 4) != 1);
	is_killed(&mm);
	check_eq(seccomp_wd_enter(0, mm.pid, mm.identity), -ESRCH);
	/* That concerns no other stub. */
	mm_start(&other);
	enter(0, &other);
	check_eq(seccomp_wd_progress(0), 0);
	check_eq(seccomp_wd_exit(0), 0);
	check(!mm_is_dead(&other));
}

static pthread_t cpu_thread;
static atomic_bool cpu_entered;

static void *second_cpu(void *stub)
{
	struct mm_id *who = stub;

	enter(1, who);
	cpu_entered = true;
	mm_wait_dead(who);
	check_eq(seccomp_wd_progress(1), -ESRCH);
	return NULL;
}

static void each_cpu_has_its_own(void)
{
	start_sleeper();
	mm_start(&other);
	mm_make_spinner(&other);
	/* CPU 0 waits for one that is stopped, CPU 1 for one that spins. */
	stop(&mm);
	enter(0, &mm);
	check_eq(pthread_create(&cpu_thread, NULL, second_cpu, &other), 0);
	pthread_join(cpu_thread, NULL);
	check(cpu_entered);
	mm_outlives(&mm, LOOKS);
	check_eq(seccomp_wd_progress(0), 0);
	check_eq(seccomp_wd_exit(1), -EINVAL);
}

/* ---- stubs that it does not kill (series, hole 10) */

static void a_stopped_stub(void)
{
	start_sleeper();
	stop(&mm);
	enter(0, &mm);
	is_left_alone(&mm);
	/* The time of the stop is not charged later; the time after it is. */
	raw(SYS_kill, mm.pid, SIGCONT);
	is_killed(&mm);
}

static void a_stub_under_a_debugger(void)
{
	start();
	mm_make_spinner(&mm);
	check_eq(raw(SYS_ptrace, PTRACE_SEIZE, mm.pid, 0, 0), 0);
	check_eq(raw(SYS_ptrace, PTRACE_INTERRUPT, mm.pid, 0, 0), 0);
	mm_wait_state(&mm, 't');
	enter(0, &mm);
	is_left_alone(&mm);
	check_eq(raw(SYS_wait4, mm.pid, 0, __WALL, 0), mm.pid);
	check_eq(raw(SYS_ptrace, PTRACE_DETACH, mm.pid, 0, 0), 0);
	is_killed(&mm);
}

/* Sleeps uninterruptibly, until its child ends. */
static void wait_uninterruptibly(void)
{
	/* vfork(2), as the C library's would be found by its callers. */
	long pid = raw(SYS_clone, 0x4000 | 0x100 | SIGCHLD, 0, 0, 0, 0);

	if (pid == 0) {
		raw(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			raw(SYS_pause);
	}
}

static void an_uninterruptible_stub(void)
{
	init(0);
	check_eq(start_seccomp_watchdog(), 0);
	mm_start_process(&mm, wait_uninterruptibly);
	mm_wait_state(&mm, 'D');
	enter(0, &mm);
	is_left_alone(&mm);
}

/* ---- the freezer */

static bool write_file(const char *path, const char *text)
{
	long fd = raw(SYS_open, path, O_WRONLY, 0), ret;

	if (fd < 0)
		return false;
	ret = raw(SYS_write, fd, text, (long)strlen(text));
	raw(SYS_close, fd);
	return ret == (long)strlen(text);
}

static char cgroup[200];

/* Finds a cgroup v2 hierarchy. */
static bool find_cgroup(int pid)
{
	static const char * const roots[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
	char path[200];
	size_t i;

	for (i = 0; i < COUNT(roots); i++) {
		snprintf(path, sizeof(path), "%s/cgroup.procs", roots[i]);
		if (raw(SYS_access, path, W_OK) == 0) {
			snprintf(cgroup, sizeof(cgroup), "%s/stubguard-test-%d", roots[i], pid);
			return true;
		}
	}
	return false;
}

static void remove_cgroup(int pid)
{
	if (find_cgroup(pid))
		raw(SYS_rmdir, cgroup);
}

static void wait_frozen(void)
{
	struct pollfd poll_fd = { .events = POLLPRI };
	char path[300], text[200] = "";
	long len;

	snprintf(path, sizeof(path), "%s/cgroup.events", cgroup);
	poll_fd.fd = (int)raw(SYS_open, path, O_RDONLY, 0);
	check_op(poll_fd.fd, >=, 0);
	for (;;) {
		len = raw(SYS_pread64, poll_fd.fd, text, sizeof(text) - 1, 0);
		text[len > 0 ? len : 0] = '\0';
		if (strstr(text, "frozen 1"))
			break;
		raw(SYS_poll, &poll_fd, 1, -1);
	}
	raw(SYS_close, poll_fd.fd);
}

static void freezer(const char *text)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/cgroup.freeze", cgroup);
	check(write_file(path, text));
}

static void freeze_it(void)
{
	char path[300], text[32];

	if (!find_cgroup((int)raw(SYS_getpid)) || raw(SYS_mkdir, cgroup, 0755) < 0)
		test_skip("no cgroup v2 hierarchy that can be written");
	snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
	snprintf(text, sizeof(text), "%d", mm.pid);
	if (!write_file(path, text))
		test_skip("a process cannot be moved to a cgroup");
	snprintf(path, sizeof(path), "%s/cgroup.freeze", cgroup);
	if (!write_file(path, "1"))
		test_skip("this host has no freezer in cgroup v2");
	wait_frozen();
}

static void a_frozen_stub(void (*make)(struct mm_id *))
{
	start();
	make(&mm);
	freeze_it();
	enter(0, &mm);
	is_left_alone(&mm);
	freezer("0");
	is_killed(&mm);
}

CASE(a_frozen_stub_that_slept, a_frozen_stub(mm_make_sleeper))
CASE(a_frozen_stub_that_ran, a_frozen_stub(mm_make_spinner))

/* Series, hole 11: the freezer withdraws a suspended call, and the stub makes it again */
static void a_freezer_withdraws_a_call_and_it_comes_again(void)
{
	host_fail(HOST_FLAG, 1, 1, EINVAL);
	init(0);
	mm_start(&mm);
	mm_hijack_start_mmap(&mm);
	host_before(HOST_SEND, freeze_it);
	check_op(seccomp_notify_serve(&mm, mm.listener, 0), >=, 0);
	host_reset();
	check_eq(stats().resynchronised, 1);
	check_eq(stats().served - stats().resynchronised, 1);
	check(!mm_is_dead(&mm));
	freezer("0");
	check_eq(serve_one(&mm), 1);
	check_eq(mm_wait(&mm), 0);
	check_eq(mm_result(&mm), -EBADF);
}

/* ---- made-up states of /proc */

static struct {
	char stub_state, monitor_state;
	unsigned long cpu_ticks, cpu_step;
	const char *wchan;
	long fd;
	char path[64];
} host_says;

static bool note_path(const long *arg, long *result)
{
	snprintf(host_says.path, sizeof(host_says.path), "%s", (const char *)arg[1]);
	*result = host_says.fd = raw(SYS_openat, arg[0], arg[1], arg[2], arg[3]);
	return true;
}

static bool say(const long *arg, long *result)
{
	char *out = (char *)arg[1];
	size_t size = (size_t)arg[2];

	if (arg[0] != host_says.fd || !host_says.path[0])
		return false;
	if (strstr(host_says.path, "/wchan"))
		*result = snprintf(out, size, "%s", host_says.wchan ? host_says.wchan : "0");
	else if (strstr(host_says.path, "/self/"))
		*result = snprintf(out, size,
				   "1 (uml) %c 1 2 3 4 5 6 7 8 9 10 0 0 0 0 20 0 1 0 77 0 0\n",
				   host_says.monitor_state);
	else
		*result =
			snprintf(out, size,
				 "1 (a) R (b) %c 1 2 3 4 5 6 7 8 9 10 %lu 5 0 0 20 0 1 0 77 0 0\n",
				 host_says.stub_state, host_says.cpu_ticks += host_says.cpu_step);
	host_says.path[0] = '\0';
	return true;
}

static void what_the_host_says_decides(void)
{
	static const struct {
		const char *what;
		char stub, monitor;
		unsigned long cpu_step;
		const char *wchan;
		bool killed;
	} rows[] = {
		{ "starved", 'R', 'S', 0, NULL, false },
		{ "uninterruptible", 'D', 'S', 0, NULL, false },
		{ "uninterruptible, after work", 'D', 'S', 10, NULL, false },
		{ "traced", 't', 'S', 0, NULL, false },
		{ "stopped", 'T', 'S', 10, NULL, false },
		{ "idle", 'I', 'S', 0, NULL, false },
		{ "dead", 'X', 'S', 0, NULL, false },
		{ "a zombie", 'Z', 'S', 0, NULL, false },
		{ "frozen", 'S', 'S', 0, "do_freezer_trap", false },
		/* If the compiler has inlined the freezer's trap into its caller. */
		{ "frozen", 'S', 'S', 0, "get_signal", false },
		{ "asleep, but the monitor wants to run", 'S', 'R', 0, NULL, false },
		{ "spinning, but the monitor wants to run", 'R', 'R', 10, NULL, false },
		{ "asleep, but the monitor is stopped", 'S', 'T', 0, NULL, false },
		{ "spinning", 'R', 'S', 2, NULL, true },
		{ "spinning a little", 'R', 'S', 1, NULL, true },
		{ "asleep", 'S', 'S', 0, "futex_wait_queue", true },
		{ "asleep, after work", 'S', 'S', 1, "pipe_read", true },
	};
	uint64_t kills;
	size_t i;

	init(0);
	host_hook_set(HOST_OPENAT, note_path);
	host_hook_set(HOST_READ, say);
	for (i = 0; i < COUNT(rows); i++) {
		test_context("%s", rows[i].what);
		host_says.stub_state = rows[i].stub;
		host_says.monitor_state = rows[i].monitor;
		host_says.cpu_step = rows[i].cpu_step;
		host_says.wchan = rows[i].wchan;
		mm_start_process(&mm, mm_sleep);
		kills = stats().kills;
		/* Started now, so that its thread sees only these values. */
		check_eq(start_seccomp_watchdog(), 0);
		enter(0, &mm);
		if (rows[i].killed) {
			is_killed(&mm);
			check_eq(seccomp_wd_exit(0), -ESRCH);
			check_eq(stop_seccomp_watchdog(), 0);
			mm_forget(&mm);
		} else {
			mm_outlives(&mm, LOOKS);
			check_eq(stats().kills, kills);
			check_eq(seccomp_wd_exit(0), 0);
			check_eq(stop_seccomp_watchdog(), 0);
			mm_end(&mm);
		}
	}
}

static void a_stub_that_cannot_be_looked_at_is_left_alone(void)
{
	static const struct {
		enum host_call call;
		int error;
	} rows[] = {
		{ HOST_PIDFD_OPEN, EMFILE }, { HOST_OPENAT, ENFILE },	   { HOST_OPENAT, EACCES },
		{ HOST_FSTATFS, EIO },	     { HOST_PIDFD_SIGNAL, ESRCH },
	};
	size_t i;

	start_sleeper();
	for (i = 0; i < COUNT(rows); i++) {
		test_context("%s gives %d", host_call_name(rows[i].call), rows[i].error);
		host_fail(rows[i].call, 1, 1000000, rows[i].error);
		enter(0, &mm);
		is_left_alone(&mm);
		check_eq(seccomp_wd_exit(0), 0);
		host_reset();
	}
	test_context_end();
	enter(0, &mm);
	is_killed(&mm);
}

static bool no_kill(const long *arg, long *result)
{
	*result = -EPERM;
	return arg[1] == SIGKILL;
}

static void a_kill_that_fails_is_told(void)
{
	start_sleeper();
	host_hook_set(HOST_PIDFD_SIGNAL, no_kill);
	enter(0, &mm);
	model_log_wait_for("cannot kill stub");
	check(!mm_is_dead(&mm));
	check_eq(stats().kills, 0);
	/* The monitor learns of the kill when its wait ends. */
	check_eq(seccomp_wd_exit(0), -ESRCH);
	host_reset();
	check_eq(stubguard_kill_stub(mm.pid, mm.identity), 0);
	mm_wait_dead(&mm);
}

static void a_monitor_that_runs_has_its_report_perhaps(void)
{
	unsigned int looks;

	start_sleeper();
	enter(0, &mm);
	looks = host_count(HOST_PIDFD_OPEN) + LOOKS;
	while (host_count(HOST_PIDFD_OPEN) < looks)
		;
	check(!mm_is_dead(&mm));
	check_eq(seccomp_wd_exit(0), 0);
}

/* ---- reports */

static _Atomic unsigned int look_begins, look_goes_on;

static void hold_look(void)
{
	look_begins = 1;
	raw(SYS_futex, &look_begins, FUTEX_WAKE, 1);
	while (!look_goes_on)
		raw(SYS_futex, &look_goes_on, FUTEX_WAIT, 0, 0);
	look_goes_on = 0;
}

/* The stub reports while the watchdog is held. */
static void report_in_a_look(void)
{
	while (!look_begins)
		raw(SYS_futex, &look_begins, FUTEX_WAIT, 0, 0);
	look_begins = 0;
	check_eq(seccomp_wd_progress(0), 0);
	look_goes_on = 1;
	raw(SYS_futex, &look_goes_on, FUTEX_WAKE, 1);
}

static void a_stub_that_reports_is_never_killed(void)
{
	int i;

	start_sleeper();
	enter(0, &mm);
	host_before(HOST_PIDFD_OPEN, hold_look);
	/* One report between any two looks. */
	for (i = 0; i < LOOKS; i++) {
		report_in_a_look();
	}
	check(!mm_is_dead(&mm));
	check_eq(stats().kills, 0);
	host_reset();
	look_goes_on = 1;
	raw(SYS_futex, &look_goes_on, FUTEX_WAKE, 1);
	/* Without reports it is killed. */
	is_killed(&mm);
}

static bool ticked;

static bool note_tick(const long *arg, long *result)
{
	(void)result;
	/* A read of the timer, not of a file in /proc. */
	ticked |= arg[2] == 8;
	return false;
}

/* The second pidfd_open in a tick: the watchdog has decided to kill. */
static void hold_kill(void)
{
	bool look = ticked;

	ticked = false;
	if (!look)
		hold_look();
}

static void a_report_at_the_last_moment(void)
{
	int i;

	start_sleeper();
	host_hook_set(HOST_READ, note_tick);
	host_before(HOST_PIDFD_OPEN, hold_kill);
	enter(0, &mm);
	for (i = 0; i < 3; i++) {
		report_in_a_look();
		mm_outlives(&mm, 2);
		check(!mm_is_dead(&mm));
		check_eq(stats().kills, 0);
	}
	check_eq(seccomp_wd_exit(0), 0);
}

static void nobody_is_watched_after_the_wait(void)
{
	unsigned int looks;

	start_sleeper();
	enter(0, &mm);
	wait_looks(1);
	check_eq(seccomp_wd_exit(0), 0);
	/* One look may have been in progress; ticks continue. */
	host_wait(HOST_READ, host_count(HOST_READ) + 5);
	looks = host_count(HOST_PIDFD_OPEN);
	host_wait(HOST_READ, host_count(HOST_READ) + LOOKS);
	check_eq(host_count(HOST_PIDFD_OPEN), looks);
	check(!mm_is_dead(&mm));
	check_eq(seccomp_wd_exit(0), -EINVAL);
	check_eq(seccomp_wd_progress(0), -EINVAL);
}

/* ---- it kills by identity, not by pid (series, hole 9) */

static void a_process_with_another_identity_is_not_hit(void)
{
	start_sleeper();
	check_eq(seccomp_wd_enter(0, mm.pid, mm.identity + 1), 0);
	is_left_alone(&mm);
}

static void a_rehearsal_kills_that_process_and_counts_nothing(void)
{
	init(0);
	mm_start(&mm);
	check_eq(stubguard_watchdog_rehearse(0, mm.identity), -EINVAL);
	check_eq(stubguard_watchdog_rehearse(mm.pid, mm.identity + 1), -ESRCH);
	/* A watchdog that cannot look would not kill. */
	host_answer(HOST_OPENAT, -ENOENT);
	check_eq(stubguard_watchdog_rehearse(mm.pid, mm.identity), -ENOENT);
	host_reset();
	check(!mm_is_dead(&mm));
	check_eq(stubguard_watchdog_rehearse(mm.pid, mm.identity), 0);
	mm_wait_dead(&mm);
	check_eq(stats().kills, 0);
	check_eq(stats().stalls, 0);
	mm_forget(&mm);
}

static void a_pid_that_came_back_is_not_hit(void)
{
	start_sleeper();
	enter(0, &mm);
	wait_looks(2);
	mm_kill_for_another(&mm, &other);
	is_left_alone(&other);
}

static void a_stub_that_has_died_by_itself(void)
{
	start();
	enter(0, &mm);
	wait_looks(1);
	mm_kill(&mm);
	/* Dead and not reaped, then reaped. */
	wait_looks(LOOKS);
	mm_reap(&mm);
	wait_looks(LOOKS);
	check_eq(stats().kills, 0);
	check_eq(seccomp_wd_exit(0), 0);
}

/* ---- the kick (series, hole 7) */

static void a_kick_frees_a_monitor(void (*handler)(int))
{
	struct sigaction action = { .sa_handler = handler };

	check_eq(sigaction(SIGRTMIN + 5, &action, NULL), 0);
	init(SIGRTMIN + 5);
	check_eq(start_seccomp_watchdog(), 0);
	mm_start(&mm);
	mm_make_sleeper(&mm);
	/* The stub must live, or RECV would return by itself. */
	stop(&mm);
	enter(0, &mm);
	/* A false result of poll() makes RECV block. */
	host_poll_finds(POLLIN);
	check_eq(seccomp_notify_serve(&mm, mm.listener, 0), -EINTR);
	check_eq(seccomp_notify_drain(&mm, mm.listener), -EINTR);
	check_eq(serve_batch(&mm, 3), -EINTR);
	check_op(host_count(HOST_TGKILL), >=, 3);
	check(!mm_is_dead(&mm));
	check_eq(seccomp_wd_exit(0), 0);
}

CASE(a_kick_frees_a_monitor_from_a_receive_that_blocks, a_kick_frees_a_monitor(SIG_DFL))
/* A shell's `trap ''` makes its children ignore the signal: nobody uses it. */
CASE(a_kick_signal_that_was_ignored_is_taken, a_kick_frees_a_monitor(SIG_IGN))

static void a_kick_hits_nobody_else(void)
{
	start_sleeper();
	stop(&mm);
	enter(0, &mm);
	wait_looks(LOOKS);
	/* The configuration has no kick signal. */
	check_eq(host_count(HOST_TGKILL), 0);
}

static void somebodys(int signal)
{
	(void)signal;
}

static void a_kick_signal_that_is_in_use_is_refused(void)
{
	struct sigaction action = { .sa_handler = somebodys }, now;
	int fds;

	check_eq(sigaction(SIGRTMIN + 5, &action, NULL), 0);
	init(SIGRTMIN + 5);
	fds = open_fds();
	check_eq(start_seccomp_watchdog(), -EBUSY);
	check_eq(open_fds(), fds);
	check_eq(sigaction(SIGRTMIN + 5, NULL, &now), 0);
	check(now.sa_handler == somebodys);
	action.sa_handler = SIG_DFL;
	check_eq(sigaction(SIGRTMIN + 5, &action, NULL), 0);
	check_eq(start_seccomp_watchdog(), 0);
	check_eq(stop_seccomp_watchdog(), 0);
	/* Its own handler is no obstacle. */
	check_eq(start_seccomp_watchdog(), 0);
}

/* ---- start and stop */

static int threads(void)
{
	char buffer[4096];
	long dir = raw(SYS_open, "/proc/self/task", O_RDONLY | O_DIRECTORY, 0), len, at;
	int count = 0;

	while ((len = raw(SYS_getdents64, dir, buffer, sizeof(buffer))) > 0) {
		for (at = 0; at < len; at += *(unsigned short *)(void *)(buffer + at + 16))
			count += buffer[at + 19] != '.';
	}
	raw(SYS_close, dir);
	return count;
}

static void it_starts_and_stops(void)
{
	unsigned int joins;
	int fds, maps, i;

	init(0);
	check_eq(stop_seccomp_watchdog(), -EALREADY);
	check_eq(start_seccomp_watchdog(), 0);
	check_eq(stop_seccomp_watchdog(), 0);
	fds = open_fds();
	maps = mappings();
	for (i = 0; i < 20; i++) {
		check_eq(start_seccomp_watchdog(), 0);
		check_eq(start_seccomp_watchdog(), -EALREADY);
		joins = host_count(HOST_PTHREAD_JOIN);
		check_eq(stop_seccomp_watchdog(), 0);
		check_eq(host_count(HOST_PTHREAD_JOIN), joins + 1);
		/* A joined thread may still be in /proc for a moment. */
		while (threads() > 1)
			raw(SYS_sched_yield);
		check_eq(stop_seccomp_watchdog(), -EALREADY);
		check_eq(open_fds(), fds);
	}
	check_op(mappings(), <=, maps + 2);
}

static void it_stops_in_the_middle_of_a_wait(void)
{
	start_sleeper();
	enter(0, &mm);
	wait_looks(1);
	check_eq(stop_seccomp_watchdog(), 0);
	check(!mm_is_dead(&mm));
	check_eq(seccomp_wd_progress(0), 0);
	/* It continues after the next start. */
	check_eq(start_seccomp_watchdog(), 0);
	is_killed(&mm);
	check_eq(seccomp_wd_exit(0), -ESRCH);
}

static bool note_clock(const long *arg, long *result)
{
	(void)result;
	check_eq(arg[0], CLOCK_MONOTONIC);
	return false;
}

static bool note_timer(const long *arg, long *result)
{
	(void)result;
	/* Neither absolute, nor cancelled when the clock is set. */
	check_eq(arg[1], 0);
	return false;
}

/* Setting the host's clock changes nothing. */
static void its_time_is_not_the_wall_clocks(void)
{
	init(0);
	host_hook_set(HOST_TIMERFD_CREATE, note_clock);
	host_hook_set(HOST_TIMERFD_SETTIME, note_timer);
	check_eq(start_seccomp_watchdog(), 0);
	check_eq(stop_seccomp_watchdog(), 0);
	check_eq(host_count(HOST_TIMERFD_CREATE), 1);
	check_op(host_count(HOST_TIMERFD_SETTIME), >=, 2);
}

static void a_start_that_fails_leaves_nothing(void)
{
	static const struct {
		enum host_call call;
		int error;
	} rows[] = {
		{ HOST_TIMERFD_CREATE, EMFILE },
		{ HOST_TIMERFD_SETTIME, EINVAL },
		{ HOST_PTHREAD_CREATE, EAGAIN },
		{ HOST_SIGACTION, EINVAL },
	};
	unsigned long blocked, after;
	size_t i;
	int fds;

	init(SIGRTMIN + 5);
	fds = open_fds();
	check_eq(raw(SYS_rt_sigprocmask, SIG_BLOCK, 0, &blocked, sizeof(blocked)), 0);
	for (i = 0; i < COUNT(rows); i++) {
		test_context("%s gives %d", host_call_name(rows[i].call), rows[i].error);
		host_fail(rows[i].call, 1, 1, rows[i].error);
		check_eq(start_seccomp_watchdog(), -rows[i].error);
		check_eq(open_fds(), fds);
		check_eq(threads(), 1);
		check_eq(stop_seccomp_watchdog(), -EALREADY);
		check_eq(raw(SYS_rt_sigprocmask, SIG_BLOCK, 0, &after, sizeof(after)), 0);
		check_eq(after, blocked);
	}
	test_context_end();
	check_eq(start_seccomp_watchdog(), 0);
}

static void it_runs_without_a_filter_if_it_must(void)
{
	init(0);
	host_fail(HOST_FILTER, 1, 1, EINVAL);
	check_eq(start_seccomp_watchdog(), 0);
	model_log_wait(2);
	check(strstr(model_log_text, "without a filter") != NULL);
	mm_start(&mm);
	mm_make_sleeper(&mm);
	enter(0, &mm);
	is_killed(&mm);
}

static void it_tells_that_its_timer_is_lost(void)
{
	init(0);
	host_fail(HOST_READ, 1, 1, EBADF);
	check_eq(start_seccomp_watchdog(), 0);
	model_log_wait(2);
	check_eq(model_log_count(STUBGUARD_LOG_ERR), 1);
	check_eq(stop_seccomp_watchdog(), 0);
	check_eq(start_seccomp_watchdog(), 0);
}

static void a_signal_to_its_timer_is_no_loss(void)
{
	unsigned int before;

	init(0);
	mm_start(&mm);
	before = host_count(HOST_READ);
	host_fail(HOST_READ, 1, 3, EINTR);
	check_eq(start_seccomp_watchdog(), 0);
	/* On a host before 6.9 others read files, too. */
	host_wait(HOST_READ, before + 4);
	mm_make_sleeper(&mm);
	enter(0, &mm);
	is_killed(&mm);
	check_eq(model_log_count(STUBGUARD_LOG_ERR), 0);
}

static void in_time_travel_there_is_none(void)
{
	struct stubguard_config config = model_in_a_hurry(model_config(), 0);

	config.flags = STUBGUARD_TIME_TRAVEL;
	model_init_config(&config);
	check_eq(start_seccomp_watchdog(), -EOPNOTSUPP);
	check_eq(stop_seccomp_watchdog(), -EALREADY);
	check_eq(threads(), 1);
	mm_start(&mm);
	/* A monitor that waits does not notice. */
	enter(0, &mm);
	check_eq(seccomp_wd_progress(0), 0);
	check_eq(seccomp_wd_exit(0), 0);
}

static void without_a_watchdog_a_wait_is_a_wait(void)
{
	init(0);
	mm_start(&mm);
	enter(0, &mm);
	check_eq(seccomp_wd_progress(0), 0);
	check_eq(seccomp_wd_exit(0), 0);
}

static void bad_arguments(void)
{
	static const int cpus[] = { -1, 2, 63, 64, 2147483647, -2147483647 - 1 };
	size_t i;

	init(0);
	for (i = 0; i < COUNT(cpus); i++) {
		test_context("CPU %d", cpus[i]);
		check_eq(seccomp_wd_enter(cpus[i], 1, 1), -EINVAL);
		check_eq(seccomp_wd_progress(cpus[i]), -EINVAL);
		check_eq(seccomp_wd_exit(cpus[i]), -EINVAL);
	}
	test_context_end();
	check_eq(seccomp_wd_enter(0, 0, 1), -EINVAL);
	check_eq(seccomp_wd_enter(0, -1, 1), -EINVAL);
	/* There is no wait. */
	check_eq(seccomp_wd_progress(0), -EINVAL);
	check_eq(seccomp_wd_exit(1), -EINVAL);
}

static void what_is_said_twice(void)
{
	init(0);
	mm_start(&mm);
	mm_start(&other);
	enter(0, &mm);
	enter(0, &mm);
	enter(0, &other);
	check_eq(seccomp_wd_exit(0), 0);
	check_eq(seccomp_wd_exit(0), -EINVAL);
	enter(1, &mm);
	check_eq(seccomp_wd_progress(1), 0);
	check_eq(seccomp_wd_progress(1), 0);
	check_eq(seccomp_wd_exit(1), 0);
}

/* They make no system call, but for two the first time. */
static void waits_cost_no_system_calls(void)
{
	int call, i;
	unsigned int calls[2] = { 0, 0 };

	init(0);
	mm_start(&mm);
	enter(0, &mm);
	check_eq(seccomp_wd_exit(0), 0);
	for (call = 0; call < HOST_CALLS; call++)
		calls[0] += host_count(call);
	for (i = 0; i < 10; i++) {
		enter(0, &mm);
		check_eq(seccomp_wd_progress(0), 0);
		check_eq(seccomp_wd_exit(0), 0);
	}
	for (call = 0; call < HOST_CALLS; call++)
		calls[1] += host_count(call);
	check_eq(calls[1], calls[0]);
}

/* ---- the thread itself */

static _Atomic int watchdog_tid;

static void note_tid(void)
{
	/* Its filter allows no gettid(), but the C library knows the number. */
	watchdog_tid = gettid();
}

static void its_thread_is_confined(void)
{
	char path[64], text[4096];
	long fd, len;

	init(0);
	/* This call comes before its filter. */
	host_before(HOST_PRCTL, note_tid);
	check_eq(start_seccomp_watchdog(), 0);
	host_wait(HOST_READ, host_count(HOST_READ) + 1);
	host_reset();
	check_op(watchdog_tid, >, 0);
	check(watchdog_tid != (int)raw(SYS_gettid));
	snprintf(path, sizeof(path), "/proc/self/task/%d/status", (int)watchdog_tid);
	fd = raw(SYS_open, path, O_RDONLY, 0);
	len = raw(SYS_read, fd, text, sizeof(text) - 1);
	check_op(len, >, 0);
	text[len] = '\0';
	check(strstr(text, "\nSeccomp:\t2\n") != NULL);
	/* All but SIGKILL, SIGSTOP, and two of the C library. */
	check(strstr(text, "\nSigBlk:\tfffffffe7ffbfeff\n") ||
	      strstr(text, "\nSigBlk:\tfffffffc7ffbfeff\n"));
	/* No other thread has a filter. */
	fd = raw(SYS_open, "/proc/self/status", O_RDONLY, 0);
	len = raw(SYS_read, fd, text, sizeof(text) - 1);
	text[len > 0 ? len : 0] = '\0';
	check(strstr(text, "\nSeccomp:\t0\n") != NULL);
	check(strstr(text, "\nNoNewPrivs:\t0\n") != NULL);
}

static const struct test tests[] = {
	TEST(a_sleeper_with_signals_blocked),
	TEST(a_spinner_with_signals_blocked),
	TEST(a_stub_whose_call_nobody_answers),
	TEST(saying_so_again_is_no_progress),
	TEST(each_cpu_has_its_own),
	TEST(a_stopped_stub),
	TEST(a_stub_under_a_debugger),
	TEST(an_uninterruptible_stub),
	TEST_CLEANUP(a_frozen_stub_that_slept, remove_cgroup),
	TEST_CLEANUP(a_frozen_stub_that_ran, remove_cgroup),
	TEST_CLEANUP(a_freezer_withdraws_a_call_and_it_comes_again, remove_cgroup),
	TEST(what_the_host_says_decides),
	TEST(a_stub_that_cannot_be_looked_at_is_left_alone),
	TEST(a_kill_that_fails_is_told),
	TEST(a_monitor_that_runs_has_its_report_perhaps),
	TEST(a_stub_that_reports_is_never_killed),
	TEST(a_report_at_the_last_moment),
	TEST(nobody_is_watched_after_the_wait),
	TEST(a_process_with_another_identity_is_not_hit),
	TEST(a_rehearsal_kills_that_process_and_counts_nothing),
	TEST(a_pid_that_came_back_is_not_hit),
	TEST(a_stub_that_has_died_by_itself),
	TEST(a_kick_frees_a_monitor_from_a_receive_that_blocks),
	TEST(a_kick_signal_that_was_ignored_is_taken),
	TEST(a_kick_hits_nobody_else),
	TEST(a_kick_signal_that_is_in_use_is_refused),
	TEST(it_starts_and_stops),
	TEST(it_stops_in_the_middle_of_a_wait),
	TEST(its_time_is_not_the_wall_clocks),
	TEST(a_start_that_fails_leaves_nothing),
	TEST(it_runs_without_a_filter_if_it_must),
	TEST(it_tells_that_its_timer_is_lost),
	TEST(a_signal_to_its_timer_is_no_loss),
	TEST(in_time_travel_there_is_none),
	TEST(without_a_watchdog_a_wait_is_a_wait),
	TEST(bad_arguments),
	TEST(what_is_said_twice),
	TEST(waits_cost_no_system_calls),
	TEST(its_thread_is_confined),
};

HARNESS_MAIN(tests)
