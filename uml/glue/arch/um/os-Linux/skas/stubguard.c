// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guard of seccomp stubs, host side: starts libstubguard, and hands over
 * to and from the stubs through it.
 */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <asm/unistd.h>
#include <asm-generic/rwonce.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <as-layout.h>
#include <init.h>
#include <kern_util.h>
#include <mem.h>
#include <mm_id.h>
#include <os.h>
#include <ptrace_user.h>
#include <skas.h>
#include <smp.h>
#include <stub-data.h>
#include <sysdep/mcontext.h>
#include <sysdep/ptrace.h>
#include <sysdep/stub.h>
#include <timetravel.h>
#include "../internal.h"

#include <stubguard.h>

/*
 * Notify mode: in a stub fd 0 is the socket, 1 the listener. The memory's fd is
 * received as the next one for each batch, and closed after it. (In window mode
 * a stub has that fd from its start on, and no socket.)
 */
#define STUB_MEM_FD	(STUBGUARD_LISTENER_FD + 1)

/*
 * A call that the guest makes from the stub's code waits until the monitor
 * looks around; nobody else waits for that.
 */
#define WAIT_SLICE_NS	(50 * 1000 * 1000)

/*
 * An instruction may need so many pages at once: itself, what it reads, what it
 * writes, each across a boundary, some with an XSAVE area.
 */
#define PAGES_AT_ONCE	16
/* The fewest mappings that the boot parameter allows: some for other threads */
#define MAPPINGS_MIN	(2 * PAGES_AT_ONCE)
/* So often the host may refuse a stub that has fewer pages than that */
#define FUTILE_MAX	100

int stub_guard_on;
int stub_guard_parked;

static int want_guard __initdata = 1;
static const char *why_off = "by stubguard=off";
static int want_window __initdata = 1;
static int want_all __initdata = 1;
static int want_notified __initdata = 1;
/* Milliseconds; 0 is the library's default */
static unsigned int watchdog_tick __initdata;
static unsigned int watchdog_budget __initdata;
static unsigned int pool_size __initdata = 32;
static struct stub_guard_init guard_init;
static unsigned long long filter[STUBGUARD_FILTER_MAX];	/* struct sock_filter */
static void *stub_code;
/* For tests: as if the host refused more; 0 for no limit but the host's */
static unsigned int mappings_max;
/* For tests: microseconds between a call's arrival and the kernel's work on it */
static unsigned int call_delay;
static unsigned long long drops;

static struct {
	const char *name;
	unsigned int *value;
	unsigned int min, max;
} numbers[] __initdata = {
	{ "tick=", &watchdog_tick, 1, STUBGUARD_BUDGET_MAX_MS / 2 },
	{ "budget=", &watchdog_budget, 2, STUBGUARD_BUDGET_MAX_MS },
	{ "pool=", &pool_size, 0, STUBGUARD_POOL_MAX },
	{ "mappings=", &mappings_max, MAPPINGS_MIN, INT_MAX },
	{ "delay=", &call_delay, 0, 1000000 },
};

/* 1 if the word is an option that has a number; what is wrong with it ends UML */
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
		/* Neither a sign nor a space, nor nothing at all */
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
 * stub_guard_check_host() - See that the host lets UML do what it must
 * @seccomp:	As in seccomp=: 0 is off, 1 auto, 2 on
 *
 * With besteffort the guard is turned off if it is the guard alone that cannot do
 * without; with seccomp=auto UML goes on in ptrace mode.
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

/*
 * The library's lines. They may come from the watchdog's thread, on which no
 * kernel code may run, so they are kept until a CPU prints them.
 */
#define LOG_LINES 16

enum { LINE_FREE, LINE_BUSY, LINE_FULL };

static struct {
	int state;
	int level;
	char text[320];
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
		if (log_lines[i].level > STUBGUARD_LOG_WARNING)
			printk(UM_KERN_INFO "%s\n", log_lines[i].text);
		else if (stub_guard_may_print(__func__))
			printk(UM_KERN_WARNING "%s\n", log_lines[i].text);
		__atomic_store_n(&log_lines[i].state, LINE_FREE, __ATOMIC_RELEASE);
	}
}

/*
 * What the library knows of a parked stub. The kernel's own copy of the stub
 * data has no signal frame then, so that it has its place.
 */
static struct stubguard_stub *parked(struct mm_id *id)
{
	static_assert(sizeof(struct stubguard_stub) <=
		      sizeof(((struct stub_data *)0)->sigstack),
		      "the library's record does not fit into the signal stack");

	return (void *)((struct stub_data *)id->stack)->sigstack;
}

/* Each address space needs a listener, and in notify mode a socket */
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

/**
 * os_stub_guard_start() - Start the guard, if it is wanted and can be had
 * @code:	A page for what the stubs of window mode run
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
			.call_fd = offsetof(struct stub_syscall, mem.fd),
			.call_type = offsetof(struct stub_syscall, syscall),
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
		       using_seccomp ? why_off : "seccomp mode is not used");
		return 0;
	}

	/* By itself each of the two fits the other's default */
	if (watchdog_tick && watchdog_budget && watchdog_budget / 2 < watchdog_tick) {
		printk(UM_KERN_ERR "stubguard: 'budget=%u': must be two ticks at least, with 'tick=%u' a number from %u to %u\n",
		       watchdog_budget, watchdog_tick, 2 * watchdog_tick,
		       STUBGUARD_BUDGET_MAX_MS);
		return -EINVAL;
	}

	if (want_window) {
		config.flags |= STUBGUARD_WINDOW;
		config.pool_size = pool_size;
		config.guest_end = want_notified ? task_size : 0;
		config.mmap_fd_first = STUBGUARD_MEMORY_FD;
		config.mmap_fd_last = STUBGUARD_MEMORY_FD;
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

	ret = stubguard_filter((struct sock_filter *)filter, ARRAY_SIZE(filter));
	if (ret < 0)
		return ret;
	guard_init.len = ret;
	guard_init.filter = offsetof(struct stub_data, syscall_data);
	guard_init.flags = stubguard_filter_flags();
	if (want_window) {
		ret = stubguard_stub_code(code);
		if (ret < 0)
			return ret;
		stub_code = code;
		guard_init.memory_fd = STUBGUARD_MEMORY_FD;
		guard_init.stack = offsetof(struct stub_data, sigstack);
		guard_init.stack_size = sizeof(((struct stub_data *)0)->sigstack);
		if (config.guest_end)
			guard_init.sa_flags = SA_RESTART;
		/* No filter sees a call that is dispatched: neither one of others */
		if ((stubguard_features() & STUBGUARD_F_DISPATCH) &&
		    (config.guest_end ||
		     !(stubguard_features() & STUBGUARD_F_UNFILTERED)))
			guard_init.selector = STUBGUARD_SELECTOR;
	} else {
		guard_init.stack_size = STUB_DATA_PAGES * UM_KERN_PAGE_SIZE;
		guard_init.expected = STUBGUARD_LISTENER_FD;
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

/* The guest does not run any longer; undoes stub_guard_enter() */
static void leave(struct stub_guard *guard)
{
	if (!(guard->runs & 1))
		return;

	__atomic_store_n(&guard->runs, guard->runs + 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&guard->awaited, __ATOMIC_SEQ_CST)) {
		__atomic_store_n(&guard->awaited, 0, __ATOMIC_SEQ_CST);
		syscall(__NR_futex, &guard->runs, FUTEX_WAKE_PRIVATE, INT_MAX,
			NULL, NULL, 0);
	}
	stub_guard_unpin();
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
 * os_stub_guard_prepare() - Put a new stub's filter where it finds it
 * @id:		The stub, which has not been started
 */
void os_stub_guard_prepare(struct mm_id *id)
{
	memcpy((void *)stub_guard(id)->shared + guard_init.filter, filter,
	       guard_init.len * sizeof(filter[0]));
}

/* Only a word of the host's is a death: an interrupted look is none */
static int lives(const struct stubguard_stub *stub)
{
	int ret;

	do {
		ret = stubguard_stub_lives(stub);
	} while (ret == -EINTR);
	return ret == 1;
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

	if (guard->reused) {
		/* From here on SIGCHLD tells; before, only its listener does */
		if (!lives(parked(id)))
			id->pid = -1;
		return 0;
	}

	if (stub_guard_parked) {
		ret = stubguard_stub_attach(parked(id), id->pid,
					    guard->listener,
					    (void *)guard->shared);
		if (ret == 0)
			guard->identity = parked(id)->identity;
		else if (stub_guard_may_print(__func__))
			printk(UM_KERN_ERR "stubguard: no listener, err = %d\n",
			       guard->listener < 0 ? guard->listener : ret);
		return ret;
	}

	ret = get_stub_listener(id->pid, &identity);
	if (ret < 0) {
		if (stub_guard_may_print(__func__))
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
 * stub_guard_enter() - The guest is going to run
 * @id:		Its stub, which is synchronised
 *
 * The task is pinned to this CPU until leave().
 */
void stub_guard_enter(struct mm_id *id)
{
	struct stub_guard *guard = stub_guard(id);

	if (!stub_guard_on)
		return;

	for (;;) {
		stub_guard_pin();
		__atomic_store_n(&guard->cpu, uml_curr_cpu(), __ATOMIC_RELAXED);
		__atomic_store_n(&guard->runs, guard->runs + 1, __ATOMIC_SEQ_CST);
		/* Pairs with stub_guard_flush() */
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (!stub_guard_is_stale())
			return;
		leave(guard);
		current_mm_sync();
	}
}

/**
 * os_stub_guard_await() - Wait until a guest has stopped
 * @guard:	Its stub's
 * @runs:	What the run that is to end was seen by
 *
 * Return: 1 if it has; 0 if it is to be told, once more
 */
int os_stub_guard_await(struct stub_guard *guard, unsigned int runs)
{
	static const struct timespec slice = { .tv_nsec = 10 * 1000 * 1000 };

	__atomic_store_n(&guard->awaited, 1, __ATOMIC_SEQ_CST);
	syscall(__NR_futex, &guard->runs, FUTEX_WAIT_PRIVATE, runs, &slice,
		NULL, 0);
	return __atomic_load_n(&guard->runs, __ATOMIC_ACQUIRE) != runs;
}

/*
 * What a stub has mapped is a cache of its page table. If the host refuses a
 * call of the batch for want of room, all of that is dropped, and the batch with
 * it: the page table has what it was to map. Where userspace goes on it faults,
 * and stub_guard_refault() has that page mapped again. See docs/design.md.
 */

static unsigned int count_mmaps(struct mm_id *id, int from)
{
	struct stub_data *own = (void *)id->stack;
	unsigned int n = 0;
	int i;

	for (i = from; i < id->syscall_data_len; i++)
		n += own->syscall_data[i].syscall == STUB_SYSCALL_MMAP;
	return n;
}

/*
 * Counts the batch. Return: whether it exceeds the limit for tests. Calls that
 * unmap or protect count against that as well: the host may refuse those, too.
 */
static int is_over_limit(struct mm_id *id)
{
	struct stub_guard *guard = stub_guard(id);
	int over = mappings_max && !guard->dropping &&
		   guard->mapped + id->syscall_data_len > mappings_max;

	guard->mapped += count_mmaps(id, 0);
	return over;
}

/* Queues the one call that needs no room, as it splits no mapping */
static void queue_drop(struct mm_id *id)
{
	struct stub_guard *guard = stub_guard(id);

	stub_guard_print_dropped(id->pid, guard->mapped);
	/* From here on a page may be missing that its PTE says is there */
	guard->dropped = 1;
	__atomic_add_fetch(&drops, 1, __ATOMIC_RELAXED);

	guard->mapped = 0;
	id->syscall_data_len = 0;
	id->syscall_fd_num = 0;
	unmap(id, 0, STUB_START);
}

/*
 * Drops what the stub has mapped, if the host has refused a call of the batch for
 * want of room. done calls came before it; guest: the guest was to run after it.
 * Return: 0, or the error that remains
 */
static long drop_mappings(struct mm_id *id, long error, int done, int guest)
{
	struct stub_data *own = (void *)id->stack;
	struct stub_guard *guard = stub_guard(id);

	if (error != -ENOMEM || guard->dropping)
		return error;

	guard->mapped -= count_mmaps(id, done);
	if (guest && !mappings_max) {
		/* The room that a drop makes does not do, again and again */
		guard->futile = guard->mapped < PAGES_AT_ONCE ? guard->futile + 1 : 0;
		if (guard->futile > FUTILE_MAX)
			return error;
	}

	queue_drop(id);
	own->syscall_data_len = id->syscall_data_len;
	own->restart_wait = 1;
	guard->dropping = 1;
	stub_guard_pin();
	wait_stub_done_seccomp(id, 0, 1);
	stub_guard_unpin();
	guard->dropping = 0;
	id->syscall_data_len = 0;
	return own->err;
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

	if (is_over_limit(id)) {
		guard->mapped -= count_mmaps(id, 0);
		queue_drop(id);
	}
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

/*
 * Nothing has come of the stub. SIGCHLD cannot tell that it has died if
 * interrupts are off, as they are while page tables are synchronised. The
 * listener tells, but before Linux 6.11 only if the stub has been reaped.
 */
static int look_around(struct mm_id *id)
{
	siginfo_t info = { .si_signo = 0 };

	if (waitid(P_PID, id->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	    info.si_signo)
		return fail(ESRCH);
	return fail(EINTR);
}

/**
 * stub_guard_wait() - Wait for the stub's report, and answer its calls
 * @id:		The stub
 * @futex:	The word by which it hands over
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

	if (!stub_guard_on)
		return syscall(__NR_futex, futex, FUTEX_WAIT, FUTEX_IN_CHILD,
			       NULL, NULL, 0);

	/*
	 * It starts. If it died before its pid was known, another CPU may have
	 * reaped it, and SIGCHLD was nobody's.
	 */
	if (guard->listener < 0) {
		siginfo_t info;

		ret = syscall(__NR_futex, futex, FUTEX_WAIT, FUTEX_IN_CHILD,
			      &slice, NULL, 0);
		if (ret == 0 || (errno != ETIMEDOUT && errno != EINTR))
			return ret;
		if (waitid(P_PID, id->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 &&
		    errno == ECHILD)
			id->pid = -1;
		return fail(EINTR);
	}

	ret = seccomp_wd_enter(uml_curr_cpu(), id->pid, guard->identity);
	if (ret < 0)
		return fail(-ret);

	if (guard->pending > 0) {
		ret = seccomp_serve_stub_syscalls(id, guard->listener,
						  (void *)id->stack,
						  guard->calls,
						  guard->pending);
		if (ret == 0 || ret == -EINTR)
			return look_around(id);
		if (ret < 0)
			return fail(-ret);
		guard->pending -= ret;
		if (guard->pending > 0)
			return fail(EINTR);
	}

	ret = syscall(__NR_futex, futex, FUTEX_WAIT, FUTEX_IN_CHILD, &slice,
		      NULL, 0);
	/* A wait with a timeout is not restarted: each timer tick ends it */
	if (ret < 0 && (errno == ETIMEDOUT || errno == EINTR)) {
		ret = seccomp_notify_drain(id, guard->listener);
		if (ret == 0 || ret == -EINTR)
			return look_around(id);
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
	if (ret == 0)
		leave(guard);
	print_log();
	if (ret < 0)
		return ret;

	if (own->err) {
		long err = own->err;
		int done = own->syscall_data_len;

		own->err = drop_mappings(id, err, done, !batch_only);
		if (own->err == 0) {
			/* As if a tick had come before the guest ran */
			if (!batch_only)
				own->signal = SIGALRM;
			return 0;
		}
		own->syscall_data_len = done;
	}

	/* The stub has restored it. */
	if (!batch_only)
		own->arch_data.sync = 0;
	/* How userspace() is told that the guest has not run */
	if (!batch_only && own->err)
		own->signal = SIGTRAP;
	return 0;
}

static void stub_guard_kill(struct mm_id *id)
{
	struct stub_guard *guard = stub_guard(id);

	if (guard->listener >= 0) {
		stub_guard_pin();
		seccomp_wd_exit(uml_curr_cpu());
		stub_guard_unpin();
		if (id->pid > 0)
			stubguard_kill_stub(id->pid, guard->identity);
	}
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
	struct stub_data *own = (void *)id->stack;

	if (!stub_guard_on)
		return 0;

	stub_guard_kill(id);
	leave(stub_guard(id));
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

#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE	2U
#endif

/*
 * Where a CPU starts its stubs: a stack, and a number below most fds of the
 * kernel. A new process shares the kernel's fds at first, for its listener to
 * become one of them. Then it takes a table of its own, up to that number only:
 * copying and closing thousands of fds takes longer than all the rest. What it
 * needs gets numbers above, so that one call closes all others: CLOEXEC for a
 * range is newer (5.11) than the rest.
 */
static struct {
	void *stack;
	int fd;
} starters[CONFIG_NR_CPUS];

struct starter {
	struct mm_id *id;
	int pipe[2];
	int stub_exe_fd;
	int fd;
	/* What the new process was refused, and why */
	const char *call;
	int error;
};

static int max_fd(int a, int b)
{
	return a > b ? a : b;
}

/* Makes a call of the new process's, and remembers which one has failed */
#define START_CALL(starter, name, ...)					\
	((starter)->call = #name,					\
	 syscall(__NR_##name, __VA_ARGS__) < 0)

/* The new process, until it becomes the stub; of the C library just syscall() */
static int start_child(void *data)
{
	static char *const argv[] = { "uml-userspace", NULL };
	/* All but the signal by which it parks first: handlers come later */
	unsigned long blocked = ~(1UL << (SIGSYS - 1));
	struct starter *starter = data;
	struct stub_guard *guard = stub_guard(starter->id);
	unsigned long long offset;
	int code_fd, data_fd, exe_fd, last;
	struct stub_init_data init = {
		.seccomp = 1,
		.stub_start = STUB_START,
		.signal_handler = STUB_CODE,
		.signal_restorer = STUB_CODE,
		.guard = guard_init,
	};

	syscall(__NR_rt_sigprocmask, SIG_SETMASK, &blocked, NULL, sizeof(blocked));
	code_fd = phys_mapping(uml_to_phys(stub_code), &offset);
	init.stub_code_offset = MMAP_OFFSET(offset);
	data_fd = phys_mapping(uml_to_phys((void *)guard->shared), &offset);
	init.stub_data_offset = MMAP_OFFSET(offset);
	last = max_fd(max_fd(starter->fd, starter->stub_exe_fd),
		      max_fd(code_fd, data_fd));
	/* Nothing of the start's has the number of the memory */
	last = max_fd(last, STUBGUARD_MEMORY_FD);
	init.stub_code_fd = last + 1;
	init.stub_data_fd = last + 2;
	exe_fd = last + 3;
	if (START_CALL(starter, write, starter->pipe[1], &init, sizeof(init)) ||
	    START_CALL(starter, dup2, starter->pipe[0], starter->fd))
		goto out;

	/* From here on only calls that the library's filter expects here */
	starter->call = "seccomp";
	guard->listener = stubguard_listen();
	if (guard->listener < 0) {
		errno = -guard->listener;
		goto out;
	}
	if (START_CALL(starter, close_range, last + 1, ~0U, CLOSE_RANGE_UNSHARE) ||
	    START_CALL(starter, dup3, code_fd, init.stub_code_fd, 0) ||
	    START_CALL(starter, dup3, data_fd, init.stub_data_fd, 0) ||
	    START_CALL(starter, dup3, starter->stub_exe_fd, exe_fd, O_CLOEXEC) ||
	    START_CALL(starter, dup3, starter->fd, 0, 0) ||
	    START_CALL(starter, close_range, 1, last, 0))
		goto out;

	START_CALL(starter, execveat, exe_fd, "", argv, NULL, AT_EMPTY_PATH);
out:
	starter->error = errno;
	syscall(__NR_exit_group, 1);
	return 1;
}

/* Says why there is no new stub */
static void print_no_stub(const char *call, int error)
{
	if (stub_guard_may_print(__func__))
		printk(UM_KERN_ERR "stubguard: no new stub: %s gives errno %d%s\n",
		       call, error, error == EMFILE ? " (see RLIMIT_NOFILE)" : "");
}

static int start_stub(struct mm_id *id, int stub_exe_fd, int cpu)
{
	struct starter starter = { .id = id, .stub_exe_fd = stub_exe_fd };

	if (!starters[cpu].stack) {
		const size_t size = 2 * UM_KERN_PAGE_SIZE;
		void *stack = mmap(NULL, size, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (stack == MAP_FAILED) {
			starter.call = "mmap";
			goto no_stub;
		}
		starters[cpu].fd = fcntl(stub_exe_fd, F_DUPFD_CLOEXEC, 3);
		if (starters[cpu].fd < 0) {
			starter.call = "fcntl";
			starter.error = errno;
			munmap(stack, size);
			goto no_stub;
		}
		starters[cpu].stack = stack + size;
	}
	starter.fd = starters[cpu].fd;

	/* It reads its init data from this, and the kernel needs it no longer */
	if (pipe2(starter.pipe, O_CLOEXEC)) {
		starter.call = "pipe2";
		goto no_stub;
	}

	stub_guard(id)->starting = 1;
	id->pid = clone(start_child, starters[cpu].stack,
			CLONE_VFORK | CLONE_VM | CLONE_FILES | SIGCHLD, &starter);
	if (id->pid < 0) {
		starter.call = "clone";
		starter.error = errno;
	}
	close(starter.pipe[0]);
	close(starter.pipe[1]);
	if (id->pid < 0)
		goto no_stub;
	/* Then it has ended: its first resume finds that */
	if (starter.error)
		print_no_stub(starter.call, starter.error);
	return 0;

no_stub:
	if (!starter.error)
		starter.error = errno;
	print_no_stub(starter.call, starter.error);
	return -starter.error;
}

/**
 * stub_guard_start_userspace() - Start a stub that parks
 * @id:			The address space
 * @stub_exe_fd:	The program that makes a process a stub
 *
 * It parks for the first time whenever it gets there: its first resume waits.
 *
 * Return: 0, or a negative error
 */
int stub_guard_start_userspace(struct mm_id *id, int stub_exe_fd)
{
	int ret;

	/* Until the stub runs its program, it is on the stack of this CPU */
	stub_guard_pin();
	ret = start_stub(id, stub_exe_fd, uml_curr_cpu());
	stub_guard_unpin();
	return ret;
}

static int kept;

/**
 * stub_guard_take() - Take a stub that another address space has left
 * @id:		The new address space
 *
 * Return: 1 if there was one; 0 if not; -1 if there was one, but dead: what it has
 *	   shared is to be freed
 */
int stub_guard_take(struct mm_id *id)
{
	struct stub_guard *guard = stub_guard(id);
	struct stubguard_stub *stub = parked(id);

	if (!stub_guard_parked || stubguard_stub_take(stub) != 1)
		return 0;

	__atomic_sub_fetch(&kept, 1, __ATOMIC_RELAXED);
	guard->shared = (unsigned long)stub->shared;
	if (!lives(stub)) {
		stubguard_stub_end(stub);
		return -1;
	}
	id->pid = stub->pid;
	guard->listener = stub->listener;
	guard->identity = stub->identity;
	guard->starting = 0;
	guard->reused = 1;
	return 1;
}

/**
 * stub_guard_put() - Keep the stub of an address space that ends
 * @id:		The address space
 *
 * Return: 1 if it is kept, and with it all that it shares; 0 if it is to be ended
 */
int stub_guard_put(struct mm_id *id)
{
	int ret;

	if (!stub_guard_parked || id->pid <= 0 || stub_guard(id)->starting)
		return 0;

	stub_guard_pin();
	ret = stubguard_stub_put(parked(id), id, uml_curr_cpu());
	stub_guard_unpin();
	if (ret < 0)
		return 0;

	__atomic_add_fetch(&kept, 1, __ATOMIC_RELAXED);
	id->pid = -1;
	return 1;
}

/**
 * os_stub_guard_kept() - How many stubs are kept
 */
unsigned long os_stub_guard_kept(void)
{
	int n = __atomic_load_n(&kept, __ATOMIC_RELAXED);

	return n > 0 ? n : 0;
}

/**
 * os_stub_guard_keeps() - Are stubs kept for reuse?
 */
int __init os_stub_guard_keeps(void)
{
	return stub_guard_parked && pool_size;
}

/**
 * os_stub_guard_drop() - End a stub that is kept
 *
 * Return: the pages that it has shared, or 0 if there is none
 */
unsigned long os_stub_guard_drop(void)
{
	struct stubguard_stub stub;

	if (stubguard_stub_take(&stub) != 1)
		return 0;

	__atomic_sub_fetch(&kept, 1, __ATOMIC_RELAXED);
	if (stubguard_stub_end(&stub) == 0)
		CATCH_EINTR(waitpid(stub.pid, NULL, __WALL));
	return (unsigned long)stub.shared;
}

/*
 * Waits for a park; -ESRCH if there is none to come, -EPROTO for a bad one. The
 * task is pinned: the watchdog's slot of this CPU is used.
 */
static int wait_parked(struct mm_id *id, struct stubguard_event *event,
		       struct uml_pt_regs *regs, void *siginfo)
{
	int ret;

	do {
		if (__READ_ONCE(id->pid) < 0)
			return -ESRCH;
		ret = stubguard_stub_wait(parked(id), id, uml_curr_cpu(), event,
					  regs ? (uint64_t *)regs->gp : NULL,
					  regs ? regs->fp : NULL, siginfo);
	} while (ret == -EINTR);
	return ret;
}

/*
 * Has the stub run what is queued, and the guest if there are registers for it.
 * Return: 0, or a negative error: the stub is dead, or must be.
 */
static int hand_over(struct mm_id *id, struct stubguard_event *event,
		     struct uml_pt_regs *regs, void *siginfo)
{
	struct stub_guard *guard = stub_guard(id);
	struct stubguard_resume request = {
		.own = (void *)id->stack,
		.calls = id->syscall_data_len,
	};
	int ret;

	if (guard->starting) {
		ret = wait_parked(id, event, NULL, NULL);
		if (ret < 0)
			return ret;
		guard->starting = 0;
	}

	if (is_over_limit(id)) {
		memset(event, 0, sizeof(*event));
		event->error = -ENOMEM;
		return 0;
	}

	if (regs) {
		request.registers = (uint64_t *)regs->gp;
		request.fp = regs->fp;
		request.step = singlestepping();
		/* A call has led to a batch: the next one is likely to */
		if (guard->trapped && !request.calls)
			guard->trap = 0;
		request.trap = guard->trap || stub_guard_is_watched() ||
			       stub_guard_is_shared(id);
	}
	ret = stubguard_stub_resume(parked(id), id, &request);
	if (ret < 0)
		return ret;
	return wait_parked(id, event, regs, siginfo);
}

/*
 * Takes over the registers that are in the stub, as if its call had made a
 * signal frame. Return: 0, also if there are none; or a negative error.
 */
static int fetch(struct mm_id *id)
{
	struct stub_guard *guard = stub_guard(id);
	struct uml_pt_regs *regs = guard->caller;
	int ret;

	if (!regs)
		return 0;

	ret = stubguard_stub_fetch(parked(id), id, uml_curr_cpu(),
				   (uint64_t *)regs->gp, regs->fp);
	/* Its task, on another CPU, may go on with them now */
	__atomic_store_n(&guard->caller, NULL, __ATOMIC_RELEASE);
	return ret;
}

/**
 * stub_guard_fetch() - Have all registers of a task that is in a system call
 * @regs:	The current task's
 *
 * To be called before anything but the call's result changes or is looked at.
 */
void stub_guard_fetch(struct uml_pt_regs *regs)
{
	struct mm_id *id = stub_guard_parked ? current_mm_id() : NULL;

	if (!id || __atomic_load_n(&stub_guard(id)->caller, __ATOMIC_ACQUIRE) != regs)
		return;

	enter_turnstile(id);
	stub_guard_pin();
	/* Another thread may have needed the stub meanwhile */
	if (stub_guard(id)->caller == regs && fetch(id) < 0)
		stub_guard_kill(id);
	stub_guard_unpin();
	exit_turnstile(id);
	print_log();
}

/* Between this side's look at the task and the kernel's, for tests of what may happen there */
static void delay_call(void)
{
	const struct timespec delay = {
		.tv_sec = call_delay / 1000000,
		.tv_nsec = call_delay % 1000000 * 1000,
	};

	/* Until then, or a signal */
	if (call_delay)
		syscall(__NR_nanosleep, &delay, NULL);
}

/*
 * Lets the guest go on: behind the call in which it is if nothing else is to be
 * done, else by a resume. Return: as hand_over()
 */
static int go_on(struct mm_id *id, struct stubguard_event *event,
		 struct uml_pt_regs *regs, void *siginfo)
{
	struct stub_guard *guard = stub_guard(id);
	int ret = -EINVAL;

	if (guard->caller == regs && !id->syscall_data_len && !singlestepping())
		ret = stubguard_stub_return(parked(id), id, regs->gp[HOST_AX]);
	if (ret == -EINVAL) {
		/* Also for a result by which the call is restarted */
		if (guard->caller && id->syscall_data_len)
			guard->trap = 1;
		ret = fetch(id);
		if (ret == 0)
			ret = hand_over(id, event, regs, siginfo);
	} else {
		guard->caller = NULL;
		if (ret == 0)
			ret = wait_parked(id, event, regs, siginfo);
	}

	guard->trapped = ret == 0 && event->signal == SIGSYS && !event->notified;
	if (ret == 0 && event->notified) {
		guard->caller = regs;
		if (stub_guard_is_watched())
			ret = fetch(id);
		delay_call();
	}
	return ret;
}

/**
 * stub_guard_sync() - Have a parked stub run what is queued
 * @id:		The stub
 *
 * Page tables are being synchronised under a spinlock. So the task is pinned, and
 * cannot be ended here. An error is left where do_syscall_stub() looks for it.
 */
void stub_guard_sync(struct mm_id *id)
{
	struct stub_data *own = (void *)id->stack;
	struct stubguard_event event;
	int ret;

	ret = fetch(id);
	if (ret == 0)
		ret = hand_over(id, &event, NULL, NULL);
	own->restart_wait = 0;
	own->err = 0;
	if (ret < 0) {
		stub_guard_kill(id);
		own->err = -ESRCH;
		own->syscall_data_len = 0;
	} else if (event.error) {
		own->err = drop_mappings(id, event.error, event.done, 0);
		own->syscall_data_len = own->err ? event.done : 0;
	}
	print_log();
}

/**
 * stub_guard_wrprotect() - Queue that the guest cannot write to a page any longer
 * @id:		The stub, which parks, and has the page unless it was dropped
 * @virt:	The page
 *
 * Return: 0
 */
int stub_guard_wrprotect(struct mm_id *id, unsigned long virt)
{
	struct stub_data *own = (void *)id->stack;
	struct stub_syscall *sc;

	/* The stub may lack it, and the host then refuses to protect it */
	if (stub_guard(id)->dropped)
		return unmap(id, virt, UM_KERN_PAGE_SIZE);

	if (id->syscall_data_len > 0) {
		sc = &own->syscall_data[id->syscall_data_len - 1];
		if ((int)sc->syscall == STUBGUARD_CALL_WRPROTECT &&
		    sc->mem.addr + sc->mem.length == virt) {
			sc->mem.length += UM_KERN_PAGE_SIZE;
			return 0;
		}
	}

	sc = syscall_stub_alloc(id);
	sc->syscall = STUBGUARD_CALL_WRPROTECT;
	sc->mem.addr = virt;
	sc->mem.length = UM_KERN_PAGE_SIZE;
	return 0;
}

/**
 * stub_guard_run() - Have a parked stub run what is queued, then the guest
 * @id:		The stub
 * @regs:	The guest's registers
 * @siginfo:	Where to store what is known of the signal
 *
 * Return: the signal by which the guest has stopped
 */
int stub_guard_run(struct mm_id *id, struct uml_pt_regs *regs, void *siginfo)
{
	struct stub_data *own = (void *)id->stack;
	struct stubguard_event event;
	int ret;

	/* An error of an earlier flush has had no task to end */
	ret = id->syscall_data_len < 0 ? id->syscall_data_len :
					 go_on(id, &event, regs, siginfo);
	if (ret == 0)
		leave(stub_guard(id));
	print_log();
	if (ret == 0 && event.error &&
	    drop_mappings(id, event.error, event.done, 1) == 0) {
		/* As if a tick had come before the guest ran */
		memset(&event, 0, sizeof(event));
		event.signal = SIGALRM;
		event.again = 1;
		event.syscall = -1;
	}
	if (ret == 0 && event.error) {
		ret = event.error;
		own->err = ret;
		own->syscall_data_len = event.done;
		syscall_stub_dump_error(id);
	}
	if (ret < 0) {
		if (stub_guard_may_print(__func__))
			printk(UM_KERN_ERR "%s : stub is lost, pid = %d, err = %d\n",
			       __func__, id->pid, ret);
		stub_guard_kill(id);
		leave(stub_guard(id));
		/* Else the process's other threads would wait for it for ever */
		exit_turnstile(id);
		fatal_sigsegv();
	}

	id->syscall_data_len = 0;
	id->syscall_fd_num = 0;

	regs->is_user = 1;
	PT_SYSCALL_NR(regs->gp) = event.syscall;
	if (event.again)
		memset(siginfo, 0, sizeof(siginfo_t));
	if (event.signal == SIGSEGV) {
		regs->faultinfo.error_code = event.error_code;
		regs->faultinfo.cr2 = event.address;
		regs->faultinfo.trap_no = event.trap;
	}
	return event.signal;
}

/**
 * os_stub_guard_counter() - One of the library's counters, or how often all
 *			     mappings of a stub were dropped
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
		COUNTER(recycled),
#undef COUNTER
	};
	struct stubguard_stats stats;

	if (stubguard_stats_get(&stats, sizeof(stats)) < 0)
		return -ENOENT;

	*reason = "";
	if (index == ARRAY_SIZE(counters) + STUBGUARD_DENIALS) {
		*name = "dropped";
		*value = __atomic_load_n(&drops, __ATOMIC_RELAXED);
		return 0;
	}
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

/**
 * os_stub_guard_park_refused() - Does the host refuse the call by which stubs park?
 *
 * In a stub a filter's TRACE does no harm to it, so UML does not look before.
 *
 * Return: 0, or a negative error
 */
int __init os_stub_guard_park_refused(void)
{
	return stub_guard_parked && syscall(__NR_getppid) < 0 ? -errno : 0;
}

/**
 * os_stub_guard_rehearse() - Have a stub run what is queued, then some code
 * @id:		The stub
 * @regs:	The registers to begin with; what it stops with
 * @ip:		Where the code is
 * @signal:	By what it has to stop: SIGSYS is a system call, SIGALRM is sent
 * @call:	Where to store what the host has refused, if it is known
 *
 * Return: 0, or a negative error
 */
int __init os_stub_guard_rehearse(struct mm_id *id, struct uml_pt_regs *regs,
				  unsigned long ip, int signal, const char **call)
{
	static const char *const names[] = {
		[STUBGUARD_CALL_MMAP] = "mmap",
		[STUBGUARD_CALL_MUNMAP] = "munmap",
		[STUBGUARD_CALL_WRPROTECT] = "mprotect",
	};
	struct stub_data *own = (void *)id->stack;
	struct stubguard_event event = {};
	siginfo_t siginfo;
	long error = 0;
	int ret, type;

	*call = "kill";
	if (signal == SIGALRM && kill(id->pid, SIGALRM) < 0)
		return -errno;

	*call = "";
	regs->gp[HOST_IP] = ip;
	stub_guard_pin();
	if (stub_guard_parked) {
		ret = go_on(id, &event, regs, &siginfo);
		error = event.error;
		own->syscall_data_len = event.done;
		if (ret == 0 && error == 0)
			ret = fetch(id);
	} else {
		ret = set_stub_state(regs, own, 0);
		own->syscall_data_len = id->syscall_data_len;
		if (ret == 0) {
			wait_stub_done_seccomp(id, 0, 0);
			event.signal = own->signal;
			error = own->err;
			ret = error ? 0 : get_stub_state(regs, own, NULL);
		}
	}
	stub_guard_unpin();
	print_log();

	if (ret == 0 && error) {
		type = own->syscall_data[own->syscall_data_len].syscall;
		*call = type > 0 && type < ARRAY_SIZE(names) ? names[type] : "";
		ret = error;
	}
	id->syscall_data_len = 0;
	id->syscall_fd_num = 0;
	if (ret == 0 && event.signal != signal)
		ret = event.signal ? -EPROTO : -ESRCH;
	/* The store itself has to fault, not what comes behind it */
	if (ret == 0 && signal == SIGSEGV && regs->gp[HOST_IP] != ip)
		ret = -EPROTO;
	return ret;
}

/**
 * os_stub_guard_rehearse_kill() - End a stub as the watchdog does
 * @id:		The stub
 *
 * Return: 0 when it has ended, or a negative error
 */
int __init os_stub_guard_rehearse_kill(struct mm_id *id)
{
	int ret, pid = id->pid;
	siginfo_t info;

	/* With besteffort there may be none, and none is there in time-travel mode */
	if (!(stubguard_features() & STUBGUARD_F_WATCHDOG))
		return 0;

	/* For SIGCHLD it is nobody's: its end is no surprise */
	id->pid = -1;
	ret = stubguard_watchdog_rehearse(pid, stub_guard(id)->identity);
	if (ret < 0) {
		id->pid = pid;
		return ret;
	}
	CATCH_EINTR(ret = waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
	return ret < 0 && errno != ECHILD ? -errno : 0;
}
