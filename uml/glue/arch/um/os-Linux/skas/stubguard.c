// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guard of seccomp stubs, host side: starts libstubguard, and hands over
 * to and from the stubs through it.
 */

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <asm/unistd.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <as-layout.h>
#include <init.h>
#include <kern_util.h>
#include <mm_id.h>
#include <os.h>
#include <skas.h>
#include <smp.h>
#include <stub-data.h>
#include <sysdep/ptrace.h>
#include <timetravel.h>
#include "../internal.h"

#include <stubguard.h>

/*
 * In a stub fd 0 is the socket, 1 the listener, and phys_mapping() knows one
 * memory fd only, which is received as the next one and closed after a batch.
 */
#define STUB_MEM_FD	(STUBGUARD_LISTENER_FD + 1)

/*
 * A call that the guest makes from the stub's code waits until the monitor
 * looks around; nobody else waits for that.
 */
#define WAIT_SLICE_NS	(50 * 1000 * 1000)

int stub_guard_on;

static int want_guard __initdata = 1;
static int want_all __initdata = 1;
/* Milliseconds; 0 is the library's default */
static unsigned int watchdog_tick __initdata;
static unsigned int watchdog_budget __initdata;
static struct stub_guard_init guard_init;

static int __init stub_guard_setup(char *line, int *add)
{
	char *word;

	*add = 0;
	for (word = strtok(line, ","); word; word = strtok(NULL, ",")) {
		if (strcmp(word, "off") == 0)
			want_guard = 0;
		else if (strcmp(word, "notify") == 0)
			want_guard = 1;
		else if (strcmp(word, "besteffort") == 0)
			want_all = 0;
		else if (strncmp(word, "tick=", 5) == 0)
			watchdog_tick = strtoul(word + 5, NULL, 10);
		else if (strncmp(word, "budget=", 7) == 0)
			watchdog_budget = strtoul(word + 7, NULL, 10);
		else
			os_warn("stubguard: '%s' is not known, see --help\n",
				word);
	}

	return 0;
}

__uml_setup("stubguard=", stub_guard_setup,
"stubguard=<notify|off>[,besteffort][,tick=<ms>][,budget=<ms>]\n"
"    Guards the stubs of seccomp mode: their memory calls are checked against\n"
"    the guest's page tables, and a stub that does not report back is killed.\n"
"    'off' leaves userspace unconfined. If the host lacks something that is\n"
"    needed, UML refuses to start; with 'besteffort' it runs with what there\n"
"    is. The default is 'notify'. The watchdog looks every tick (1000), and\n"
"    lets a stub keep a CPU for its budget (5000), in milliseconds.\n\n"
);

/*
 * The library's lines. They may come from the watchdog's thread, on which no
 * kernel code may run, so they are kept until a CPU prints them.
 */
#define LOG_LINES 16

enum { LINE_FREE, LINE_BUSY, LINE_FULL };

static struct {
	int state;
	int level;
	char text[200];
} log_lines[LOG_LINES];
static int log_waiting;

static void log_line(int level, const char *message)
{
	size_t len = strnlen(message, sizeof(log_lines[0].text) - 1);
	int i, old;

	for (i = 0; i < LOG_LINES; i++) {
		old = LINE_FREE;
		if (!__atomic_compare_exchange_n(&log_lines[i].state, &old,
						 LINE_BUSY, 0, __ATOMIC_ACQUIRE,
						 __ATOMIC_RELAXED))
			continue;
		log_lines[i].level = level;
		memcpy(log_lines[i].text, message, len);
		log_lines[i].text[len] = '\0';
		__atomic_store_n(&log_lines[i].state, LINE_FULL, __ATOMIC_RELEASE);
		__atomic_store_n(&log_waiting, 1, __ATOMIC_RELEASE);
		return;
	}
	/* Full: the counters still tell. */
}

static void print_log(void)
{
	int i, old;

	if (!__atomic_load_n(&log_waiting, __ATOMIC_RELAXED))
		return;

	__atomic_store_n(&log_waiting, 0, __ATOMIC_SEQ_CST);
	for (i = 0; i < LOG_LINES; i++) {
		old = LINE_FULL;
		if (!__atomic_compare_exchange_n(&log_lines[i].state, &old,
						 LINE_BUSY, 0, __ATOMIC_ACQUIRE,
						 __ATOMIC_RELAXED))
			continue;
		if (log_lines[i].level <= STUBGUARD_LOG_WARNING)
			printk(UM_KERN_WARNING "%s\n", log_lines[i].text);
		else
			printk(UM_KERN_INFO "%s\n", log_lines[i].text);
		__atomic_store_n(&log_lines[i].state, LINE_FREE, __ATOMIC_RELEASE);
	}
}

/* Each address space needs a socket and a listener */
static void __init raise_fd_limit(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur < lim.rlim_max) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
}

/**
 * os_stub_guard_start() - Start the guard, if it is wanted and can be had
 *
 * Return: 0, or an error that must keep the kernel from running untrusted code
 */
int __init os_stub_guard_start(void)
{
	struct stubguard_config config = {
		.size = sizeof(config),
		.cpus = uml_ncpus,
		.stub_start = STUB_START,
		.page_size = UM_KERN_PAGE_SIZE,
		.mmap_fd_first = STUB_MEM_FD,
		.mmap_fd_last = STUB_MEM_FD,
		.watchdog_tick_ms = watchdog_tick,
		.watchdog_budget_ms = watchdog_budget,
		.kick_signal = SIGRTMIN + 1,
		.log = log_line,
		.layout = {
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
			.fp_size = host_fp_size,
		},
	};
	int ret;

	if (!using_seccomp || !want_guard) {
		printk(UM_KERN_INFO "stubguard: off: %s\n",
		       using_seccomp ? "by stubguard=off" : "seccomp mode is not used");
		return 0;
	}

	if (want_all)
		config.flags |= STUBGUARD_REQUIRE;
	if (time_travel_mode != TT_MODE_OFF)
		config.flags |= STUBGUARD_TIME_TRAVEL;

	ret = stubguard_init(&config);
	print_log();
	if (ret < 0)
		return ret;
	if (!(stubguard_features() & STUBGUARD_F_LISTENER)) {
		printk(UM_KERN_WARNING "stubguard: userspace is NOT confined on this host\n");
		return 0;
	}

	ret = stubguard_filter((struct sock_filter *)guard_init.filter,
			       ARRAY_SIZE(guard_init.filter));
	if (ret < 0)
		return ret;
	guard_init.len = ret;
	guard_init.flags = stubguard_filter_flags();

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
	printk(UM_KERN_INFO "stubguard: mode notify\n");
	return 0;
}

/**
 * stub_guard_shared() - The stub data as the stub sees it
 * @id:		The stub
 */
void *stub_guard_shared(struct mm_id *id)
{
	return (void *)(stub_guard_on ? stub_guard(id)->shared : id->stack);
}

/**
 * stub_guard_fill_init() - Tell a new stub about its filter
 * @init:	The guard's part of the stub's init data
 */
void stub_guard_fill_init(struct stub_guard_init *init)
{
	if (stub_guard_on)
		*init = guard_init;
	else
		init->len = 0;
}

/**
 * os_stub_guard_attach() - Take the listener of a stub that has been started
 * @id:		The stub, which cannot be reaped meanwhile
 *
 * Return: 0, or a negative error
 */
int os_stub_guard_attach(struct mm_id *id)
{
	struct stub_guard *guard = stub_guard(id);
	uint64_t identity;
	int ret;

	if (!stub_guard_on)
		return 0;

	ret = get_stub_listener(id->pid, &identity);
	if (ret < 0) {
		printk(UM_KERN_ERR "%s : no listener, pid = %d, err = %d\n",
		       __func__, id->pid, ret);
		return ret;
	}

	guard->listener = ret;
	guard->identity = identity;
	return 0;
}

/**
 * os_stub_guard_detach() - Close the listener of a stub that has ended
 * @id:		The stub
 */
void os_stub_guard_detach(struct mm_id *id)
{
	struct stub_guard *guard = stub_guard(id);

	if (guard->listener >= 0)
		put_stub_listener(guard->listener);
	guard->listener = -1;
}

/**
 * stub_guard_publish() - Let the stub see what it is to do
 * @id:		The stub, which waits
 *
 * The caller then hands over by the futex.
 *
 * Return: 0, or a negative error
 */
int stub_guard_publish(struct mm_id *id)
{
	struct stub_guard *guard = stub_guard(id);

	if (!stub_guard_on)
		return 0;

	guard->calls = id->syscall_data_len;
	guard->pending = id->syscall_data_len;
	return stubguard_publish((void *)guard->shared, (void *)id->stack,
				 guard->calls);
}

static int fail(int error)
{
	errno = error;
	return -1;
}

/**
 * stub_guard_wait() - Wait for the stub's report, and answer its calls
 * @id:		The stub
 * @futex:	The word by which it hands over
 *
 * SIGCHLD cannot tell that the stub has died if interrupts are off, as they are
 * while page tables are synchronised: the listener tells.
 *
 * Return: as FUTEX_WAIT; -1 with EINTR whenever the caller should look around,
 *	   with ESRCH if the stub is dead
 */
int stub_guard_wait(struct mm_id *id, unsigned int *futex)
{
	struct stub_guard *guard = stub_guard(id);
	/* Without a timeout UML's signal handlers would restart the wait */
	static const struct timespec slice = { .tv_nsec = WAIT_SLICE_NS };
	int ret;

	if (!stub_guard_on || guard->listener < 0)
		return syscall(__NR_futex, futex, FUTEX_WAIT, FUTEX_IN_CHILD,
			       NULL, NULL, 0);

	ret = seccomp_wd_enter(uml_curr_cpu(), id->pid, guard->identity);
	if (ret < 0)
		return fail(-ret);

	if (guard->pending > 0) {
		ret = seccomp_serve_stub_syscalls(id, guard->listener,
						  (void *)id->stack,
						  guard->calls,
						  guard->pending);
		if (ret < 0)
			return fail(-ret);
		guard->pending -= ret;
		if (ret == 0 || guard->pending > 0)
			return fail(EINTR);
	}

	ret = syscall(__NR_futex, futex, FUTEX_WAIT, FUTEX_IN_CHILD, &slice,
		      NULL, 0);
	/* A wait with a timeout is not restarted: each timer tick ends it */
	if (ret < 0 && (errno == ETIMEDOUT || errno == EINTR)) {
		ret = seccomp_notify_drain(id, guard->listener);
		return fail(ret < 0 ? -ret : EINTR);
	}

	return ret;
}

/**
 * stub_guard_collect() - Take the stub's report over
 * @id:		The stub, which has handed over
 *
 * Return: 0; negative if it must be taken for dead
 */
int stub_guard_collect(struct mm_id *id)
{
	struct stub_guard *guard = stub_guard(id);
	struct stub_data *own = (void *)id->stack;
	int batch_only = own->restart_wait;
	int ret;

	if (!stub_guard_on)
		return 0;

	ret = 0;
	if (guard->listener >= 0 &&
	    seccomp_wd_exit(uml_curr_cpu()) == -ESRCH)
		ret = -ESRCH;
	if (ret == 0)
		ret = stubguard_collect((void *)guard->shared,
					(void *)id->stack, guard->calls);
	guard->pending = 0;
	print_log();
	if (ret < 0)
		return ret;

	/* The stub has restored it. */
	if (!batch_only)
		own->arch_data.sync = 0;
	/* How userspace() is told that the guest has not run */
	if (!batch_only && own->err)
		own->signal = SIGTRAP;
	return 0;
}

/**
 * stub_guard_abort() - Make sure that a stub which has failed is dead
 * @id:		The stub
 *
 * Return: 1 if the caller must go on, as it cannot end its task now: page tables
 *	   are being synchronised. The error is kept in the stub data, and ends
 *	   the task at its next resume. 0 if the task is to be ended.
 */
int stub_guard_abort(struct mm_id *id)
{
	struct stub_guard *guard = stub_guard(id);
	struct stub_data *own = (void *)id->stack;

	if (!stub_guard_on)
		return 0;

	if (guard->listener >= 0) {
		seccomp_wd_exit(uml_curr_cpu());
		if (id->pid > 0)
			stubguard_kill_stub(id->pid, guard->identity);
	}
	print_log();

	if (own->restart_wait) {
		own->restart_wait = 0;
		own->syscall_data_len = 0;
		own->err = -ESRCH;
		return 1;
	}

	/* Else the process's other threads would wait for it for ever. */
	if (current_mm_id() == id)
		exit_turnstile(id);
	return 0;
}

/**
 * os_stub_guard_counter() - One of the library's counters
 * @index:	Which, counted from 0
 * @name:	Where to store its name
 * @reason:	Where to store what else tells it from others of that name, or ""
 * @value:	Where to store its value
 *
 * Return: 0, or -ENOENT if there are no more
 */
int os_stub_guard_counter(unsigned int index, const char **name,
			  const char **reason, unsigned long long *value)
{
	static const struct {
		const char *name;
		size_t offset;
	} counters[] = {
#define COUNTER(member) { #member, offsetof(struct stubguard_stats, member) }
		COUNTER(served),
		COUNTER(allowed),
		COUNTER(resynchronised),
		COUNTER(breaches),
		COUNTER(stalls),
		COUNTER(kills),
#undef COUNTER
	};
	struct stubguard_stats stats;

	if (stubguard_stats_get(&stats, sizeof(stats)) < 0)
		return -ENOENT;

	*reason = "";
	if (index < ARRAY_SIZE(counters)) {
		*name = counters[index].name;
		*value = *(uint64_t *)((char *)&stats + counters[index].offset);
		return 0;
	}

	index -= ARRAY_SIZE(counters);
	if (index >= STUBGUARD_DENIALS)
		return -ENOENT;
	*name = "denied_";
	*reason = stubguard_denial_name(index);
	*value = stats.denied[index];
	return 0;
}
