// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guard of seccomp stubs, host side: the boot parameter, the check of the host
 * before anything else, and the start of the library, which is told the layout of
 * arch/um's stub data.
 */

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <as-layout.h>
#include <init.h>
#include <os.h>
#include <skas.h>
#include <smp.h>
#include <stub-data.h>
#include <sysdep/ptrace.h>
#include <timetravel.h>
#include "internal.h"

/*
 * Notify mode: fd 0 of a stub is its socket, fd 1 the listener. A stub receives
 * the memory's fd for each batch, as the next number, and closes it after the
 * batch. (In window mode it has that fd from its start, and no socket.)
 */
#define STUB_MEM_FD	(STUBGUARD_LISTENER_FD + 1)

int stub_guard_on;
int stub_guard_parked;
struct stub_settings stub_settings = { .pool_size = 32 };

static int want_guard __initdata = 1;
static const char *why_off = "by stubguard=off";
static int want_window __initdata = 1;
static int want_all __initdata = 1;
static int want_notified __initdata = 1;
/* Milliseconds; 0 is the library's default */
static unsigned int watchdog_tick __initdata;
static unsigned int watchdog_budget __initdata;

static struct {
	const char *name;
	unsigned int *value;
	unsigned int min, max;
} numbers[] __initdata = {
	{ "tick=", &watchdog_tick, 1, STUBGUARD_BUDGET_MAX_MS / 2 },
	{ "budget=", &watchdog_budget, 2, STUBGUARD_BUDGET_MAX_MS },
	{ "pool=", &stub_settings.pool_size, 0, STUBGUARD_POOL_MAX },
	{ "mappings=", &stub_settings.mappings_max, MAPPINGS_MIN, INT_MAX },
	{ "delay=", &stub_settings.call_delay, 0, 1000000 },
};

/* Returns 1 if the word is an option with a number. Ends UML if that is wrong. */
static int __init parse_number(const char *word)
{
	unsigned long value;
	const char *digits;
	char *end;
	int i;

	for (i = 0; i < ARRAY_SIZE(numbers); i++) {
		if (strncmp(word, numbers[i].name, strlen(numbers[i].name)) != 0)
			continue;

		digits = word + strlen(numbers[i].name);
		value = strtoul(digits, &end, 10);
		/* strtoul() also takes a sign, blanks, and no digit at all */
		if (*digits < '0' || *digits > '9' || *end ||
		    value < numbers[i].min || value > numbers[i].max) {
			os_warn("stubguard: '%s': must be a number from %u to %u\n",
				word, numbers[i].min, numbers[i].max);
			exit(1);
		}
		*numbers[i].value = value;
		return 1;
	}

	return 0;
}

static int __init stub_guard_setup(char *line, int *add)
{
	char *word;

	*add = 0;
	for (word = strtok(line, ","); word; word = strtok(NULL, ",")) {
		if (strcmp(word, "off") == 0) {
			want_guard = 0;
		} else if (strcmp(word, "window") == 0) {
			want_window = 1;
		} else if (strcmp(word, "notify") == 0) {
			want_window = 0;
		} else if (strcmp(word, "besteffort") == 0) {
			want_all = 0;
		} else if (strcmp(word, "calls=notify") == 0) {
			want_notified = 1;
		} else if (strcmp(word, "calls=trap") == 0) {
			want_notified = 0;
		} else if (!parse_number(word)) {
			os_warn("stubguard: '%s' is not known, see --help\n",
				word);
			exit(1);
		}
	}

	return 0;
}

__uml_setup("stubguard=", stub_guard_setup,
"stubguard=<window|notify|off>[,besteffort][,tick=<ms>][,budget=<ms>][,pool=<n>]\n"
"          [,calls=<notify|trap>][,mappings=<n>][,delay=<us>]\n"
"    Guards the stubs of seccomp mode: what they map is checked against the\n"
"    guest's page tables, and a stub that does not report back is killed.\n"
"    With 'window', the default, the host holds a stub while the kernel works,\n"
"    and maps memory for it only while trusted code runs there.\n"
"    With 'notify' each memory call of a stub is decided on by itself, which\n"
"    is slower. 'off' leaves userspace unconfined. If the host lacks something\n"
"    that is needed, UML refuses to start; with 'besteffort' it runs with what\n"
"    there is. The watchdog looks every tick (window: 200, notify: 1000), and\n"
"    lets a stub keep a CPU for its budget (800, 5000; at least two ticks), in\n"
"    milliseconds. In window mode up to n stubs of processes that have ended\n"
"    are kept for new ones (32; 0 for none, 64 at most), and system calls that\n"
"    need but their arguments come as notifications (with 'trap', or if UML\n"
"    runs beneath a seccomp filter, all of them make a signal frame: slower).\n"
"    With 'mappings' a stub makes n memory calls at most (32 or more) before all\n"
"    that it has mapped is dropped, as happens when the host refuses a mapping.\n"
"    With 'delay' the kernel waits so many microseconds before it works on such a\n"
"    notification. These two are for tests.\n\n"
);

/**
 * stub_guard_check_host() - Check that the host lets UML make the calls it needs
 * @seccomp:	As in seccomp=: 0 is off, 1 auto, 2 on
 *
 * Ends UML if the host refuses one. But if only the guard needs it, besteffort
 * turns the guard off; and with seccomp=auto UML goes on in ptrace mode.
 */
void __init stub_guard_check_host(int *seccomp)
{
	int for_guard, for_uml;

	if (!*seccomp || !want_guard)
		return;

	for_uml = stub_guard_refused(want_window, &for_guard);
	if (!for_uml && !for_guard)
		return;

	if (!for_uml && !want_all) {
		want_guard = 0;
		why_off = "the host refuses what it needs: userspace is NOT confined";
		return;
	}
	if (*seccomp == 1) {
		*seccomp = 0;
		return;
	}
	exit(1);
}

/* Each address space needs the fd of a listener, and in notify mode of a socket */
static void __init raise_fd_limit(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0)
		return;

	if (lim.rlim_cur < lim.rlim_max) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
	printk(UM_KERN_INFO "stubguard: RLIMIT_NOFILE is %lu, and each process needs %d\n",
	       (unsigned long)lim.rlim_cur, want_window ? 1 : 2);
}

/* Notify mode: where the library finds things in what monitor and stub share */
static struct stubguard_layout notify_layout __initdata = {
	.size = sizeof(struct stub_data),
	.err = offsetof(struct stub_data, err),
	.calls_len = offsetof(struct stub_data, syscall_data_len),
	.calls = offsetof(struct stub_data, syscall_data),
	.call_size = sizeof(struct stub_syscall),
	.calls_max = ARRAY_SIZE(((struct stub_data *)0)->syscall_data),
	.call_addr = offsetof(struct stub_syscall, mem.addr),
	.call_length = offsetof(struct stub_syscall, mem.length),
	.call_offset = offsetof(struct stub_syscall, mem.offset),
	.call_prot = offsetof(struct stub_syscall, mem.prot),
	.restart_wait = offsetof(struct stub_data, restart_wait),
	.futex = offsetof(struct stub_data, futex),
	.signal = offsetof(struct stub_data, signal),
	.si_offset = offsetof(struct stub_data, si_offset),
	.mctx_offset = offsetof(struct stub_data, mctx_offset),
	.arch_data = offsetof(struct stub_data, arch_data),
	.arch_size = sizeof(struct stub_data_arch),
	.sigstack = offsetof(struct stub_data, sigstack),
	.sigstack_size = sizeof(((struct stub_data *)0)->sigstack),
};

/**
 * os_stub_guard_start() - Start the guard, unless it is turned off
 * @code:	A page for the code that stubs run in window mode
 * @task_size:	The end of what a guest can map
 *
 * Return: 0, or an error that must keep the kernel from running untrusted code
 */
int __init os_stub_guard_start(void *code, unsigned long task_size)
{
	struct stubguard_config config = {
		.size = sizeof(config),
		.cpus = uml_ncpus,
		.stub_start = STUB_START,
		.page_size = UM_KERN_PAGE_SIZE,
		.watchdog_tick_ms = watchdog_tick,
		.watchdog_budget_ms = watchdog_budget,
		.kick_signal = SIGRTMIN + 1,
		.log = stub_guard_log_line,
		.fp_size = host_fp_size,
	};
	struct stub_guard_init *init = &stub_settings.init;
	int ret;

	if (!using_seccomp || !want_guard) {
		printk(UM_KERN_INFO "stubguard: off: %s\n",
		       using_seccomp ? why_off : "seccomp mode is not used");
		return 0;
	}

	/* Each of the two alone fits the other one's default */
	if (watchdog_tick && watchdog_budget && watchdog_budget / 2 < watchdog_tick) {
		printk(UM_KERN_ERR "stubguard: 'budget=%u': must be two ticks at least, with 'tick=%u' a number from %u to %u\n",
		       watchdog_budget, watchdog_tick, 2 * watchdog_tick,
		       STUBGUARD_BUDGET_MAX_MS);
		return -EINVAL;
	}

	if (want_window) {
		config.flags |= STUBGUARD_WINDOW;
		config.pool_size = stub_settings.pool_size;
		config.guest_end = want_notified ? task_size : 0;
	} else {
		config.layout = notify_layout;
		config.mmap_fd_first = STUB_MEM_FD;
		config.mmap_fd_last = STUB_MEM_FD;
	}
	if (want_all)
		config.flags |= STUBGUARD_REQUIRE;
	if (time_travel_mode != TT_MODE_OFF)
		config.flags |= STUBGUARD_TIME_TRAVEL;

	ret = stubguard_init(&config);
	stub_guard_print_log();
	if (ret < 0)
		return ret;
	if (!(stubguard_features() & STUBGUARD_F_LISTENER)) {
		printk(UM_KERN_WARNING "stubguard: userspace is NOT confined on this host\n");
		return 0;
	}

	ret = stubguard_filter((struct sock_filter *)stub_settings.filter,
			       ARRAY_SIZE(stub_settings.filter));
	if (ret < 0)
		return ret;
	init->len = ret;
	init->filter = offsetof(struct stub_data, syscall_data);
	init->flags = stubguard_filter_flags();
	if (want_window) {
		ret = stubguard_stub_code(code);
		if (ret < 0)
			return ret;
		stub_settings.code = code;
		init->memory_fd = STUBGUARD_MEMORY_FD;
		init->stack = STUBGUARD_STACK;
		init->stack_size = STUBGUARD_STACK_SIZE;
		if (config.guest_end)
			init->sa_flags = SA_RESTART;
		/* A dispatched call meets no filter, also none of a sandbox around UML */
		if ((stubguard_features() & STUBGUARD_F_DISPATCH) &&
		    (config.guest_end ||
		     !(stubguard_features() & STUBGUARD_F_UNFILTERED)))
			init->selector = STUBGUARD_SELECTOR;
	} else {
		init->stack_size = STUB_DATA_PAGES * UM_KERN_PAGE_SIZE;
		init->expected = STUBGUARD_LISTENER_FD;
	}

	if (stubguard_features() & STUBGUARD_F_WATCHDOG) {
		ret = start_seccomp_watchdog();
		if (ret == -EOPNOTSUPP)
			printk(UM_KERN_INFO "stubguard: no watchdog in time-travel mode\n");
		else if (ret < 0 && want_all)
			return ret;
		else if (ret < 0)
			printk(UM_KERN_WARNING "stubguard: no watchdog, err = %d\n", ret);
	}

	raise_fd_limit();
	stub_guard_on = 1;
	stub_guard_parked = want_window;
	return 0;
}
