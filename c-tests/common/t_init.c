// SPDX-License-Identifier: GPL-2.0-only
/* The library's start: its configuration, what the host offers, the line that it logs. */
#include "harness.h"
#include "host.h"
#include "model.h"
#include "window.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

static int init(unsigned int flags)
{
	struct stubguard_config config = model_config();

	config.flags = flags;
	return stubguard_init(&config);
}

static bool has_children(void)
{
	return raw(SYS_wait4, -1, 0, WNOHANG | __WALL, 0) != -ECHILD;
}

static int fds, maps;

static void note_what_there_is(void)
{
	fds = open_fds();
	maps = mappings();
}

static void nothing_is_left(void)
{
	check_eq(open_fds(), fds);
	check_eq(mappings(), maps);
	check(!has_children());
}

/* ---- the configuration */

static void it_starts_once(void)
{
	check_eq(stubguard_features(), 0);
	check_eq(init(0), 0);
	check(stubguard_features() & STUBGUARD_F_LISTENER);
	check_eq(init(0), -EALREADY);
	check_eq(init(STUBGUARD_REQUIRE), -EALREADY);
	check_eq(model_log_lines(), 1);
}

static void the_configuration_is_copied(void)
{
	struct stubguard_config config = model_config();
	struct sock_filter filter[STUBGUARD_FILTER_MAX];
	int length;

	check_eq(stubguard_init(&config), 0);
	memset(&config, 0xff, sizeof(config));
	length = stubguard_filter(filter, STUBGUARD_FILTER_MAX);
	check_op(length, >, 0);
	check_eq(filter[1].k, STUB_START >> 32);
}

struct member {
	const char *what;
	size_t offset, size;
	unsigned long value;
};

#define U32(member, value) \
	{ #member " = " #value, offsetof(struct stubguard_config, member), 4, (value) }
#define U64(member, value) \
	{ #member " = " #value, offsetof(struct stubguard_config, member), 8, (value) }

/* Each value makes a good configuration bad, and the library logs nothing. */
static void are_refused(struct stubguard_config good, const struct member *rows, size_t count)
{
	struct stubguard_config config;
	size_t i;

	for (i = 0; i < count; i++) {
		test_context("%s", rows[i].what);
		config = good;
		memcpy((char *)&config + rows[i].offset, &rows[i].value, rows[i].size);
		check_eq(stubguard_init(&config), -EINVAL);
	}
	test_context_end();
	check_eq(model_log_lines(), 0);
	check_eq(stubguard_features(), 0);
}

static void what_cannot_be_meant_is_refused(void)
{
	static const struct member rows[] = {
		U64(size, 0),
		U64(size, 8),
		U64(size, offsetof(struct stubguard_config, guest_end) - 1),
		U64(size, offsetof(struct stubguard_config, guest_end) - 8),
		U32(flags, 8),
		U32(flags, 0x80000000),
		U32(flags, UINT_MAX),
		U32(cpus, 0),
		U32(cpus, STUBGUARD_MAX_CPUS + 1),
		U32(cpus, UINT_MAX),
		U64(stub_start, 0),
		U64(stub_start, STUB_START + 1),
		U64(stub_start, STUB_START + PAGE / 2),
		U64(stub_start, -PAGE),
		U64(stub_start, -3 * PAGE),
		U32(page_size, 0),
		U32(page_size, 1),
		U32(page_size, 2048),
		U32(page_size, 4097),
		U32(page_size, 12288),
		U32(page_size, UINT_MAX),
		U32(mmap_fd_first, 0),
		U32(mmap_fd_first, 1),
		U32(mmap_fd_first, 3),
		U32(mmap_fd_first, UINT_MAX),
		U32(mmap_fd_last, 0),
		U32(mmap_fd_last, 1),
		U32(mmap_fd_last, UINT_MAX),
		U32(watchdog_tick_ms, 1800001),
		U32(watchdog_tick_ms, UINT_MAX),
		U32(watchdog_budget_ms, 1),
		U32(watchdog_budget_ms, UINT_MAX),
		U32(kick_signal, UINT_MAX),
		U32(kick_signal, 65),
		U32(kick_signal, INT_MAX),
		U32(layout.size, 0),
		U32(layout.size, 4096),
		U32(layout.err, 4),
		U32(layout.err, 8192),
		U32(layout.err, UINT_MAX),
		U32(layout.err, UINT_MAX - 7),
		U32(layout.calls_len, 2),
		U32(layout.calls_len, 8190),
		U32(layout.calls_len, UINT_MAX - 3),
		U32(layout.calls, 4),
		U32(layout.calls, 8184),
		U32(layout.call_size, 0),
		U32(layout.call_size, UINT_MAX),
		U32(layout.calls_max, 0),
		U32(layout.calls_max, 1000),
		U32(layout.calls_max, UINT_MAX),
		U32(layout.calls_max, 0x40000000),
		U32(layout.call_addr, sizeof(struct stub_syscall)),
		U32(layout.call_addr, UINT_MAX),
		U32(layout.call_length, sizeof(struct stub_syscall) - 4),
		U32(layout.call_length, UINT_MAX - 7),
		U32(layout.call_offset, sizeof(struct stub_syscall)),
		U32(layout.call_prot, UINT_MAX),
		U32(layout.restart_wait, 1),
		U32(layout.restart_wait, 8191),
		U32(layout.restart_wait, UINT_MAX - 1),
		U32(layout.futex, 2),
		U32(layout.futex, 8190),
		U32(layout.futex, UINT_MAX - 3),
		U32(layout.signal, 1),
		U32(layout.signal, 8192),
		U32(layout.si_offset, 1),
		U32(layout.si_offset, 8192),
		U32(layout.mctx_offset, 1),
		U32(layout.mctx_offset, UINT_MAX),
		U32(layout.arch_data, 8190),
		U32(layout.arch_data, UINT_MAX),
		U32(layout.arch_size, 8192),
		U32(layout.arch_size, UINT_MAX),
		U32(layout.sigstack, 4100),
		U32(layout.sigstack, 4104),
		U32(layout.sigstack, UINT_MAX),
		U32(layout.sigstack_size, 0),
		U32(layout.sigstack_size, 4104),
		U32(layout.sigstack_size, UINT_MAX),
		U32(fp_size, 0),
		U32(fp_size, 511),
		U32(fp_size, 4096),
		U32(fp_size, UINT_MAX),
		/* Only for window mode. */
		U64(guest_end, GUEST_END),
		U64(guest_end, 1),
	};

	check_eq(stubguard_init(NULL), -EINVAL);
	are_refused(model_config(), rows, COUNT(rows));
	/* After that a good one works. */
	check_eq(init(0), 0);
}

static void what_cannot_be_meant_of_parked_stubs(void)
{
	static const struct member rows[] = {
		U32(flags, STUBGUARD_WINDOW | 8),
		U32(page_size, 8192),
		U32(page_size, 65536),
		/* In window mode the library decides on these. */
		U32(mmap_fd_first, STUBGUARD_MEMORY_FD),
		U32(mmap_fd_first, 2),
		U32(mmap_fd_first, UINT_MAX),
		U32(mmap_fd_last, STUBGUARD_MEMORY_FD),
		U32(mmap_fd_last, INT_MAX),
		U32(mmap_fd_last, UINT_MAX),
		U32(layout.size, 8192),
		U32(layout.sigstack, 4096),
		U32(layout.sigstack_size, 4096),
		U32(layout.calls_max, 1),
		U32(layout.futex, 4),
		U32(watchdog_tick_ms, 1800001),
		U32(watchdog_budget_ms, 1),
		U32(watchdog_budget_ms, UINT_MAX),
		U32(fp_size, 0),
		U32(fp_size, 516),
		U32(fp_size, 511),
		U32(fp_size, 4096),
		U32(fp_size, UINT_MAX),
		U64(guest_end, 1),
		U64(guest_end, GUEST_END + PAGE),
		U64(guest_end, GUEST_END + 0x80000000),
		U64(guest_end, STUB_START),
		U64(guest_end, GUEST_END + 0x100000000),
		U64(guest_end, 0xffffffff00000000),
	};

	are_refused(window_config(), rows, COUNT(rows));
	/* After that a good one works. */
	window_init(STUBGUARD_REQUIRE);
}

static void notify_mode_has_places_of_the_callers(void)
{
	struct stubguard_config config = window_config();

	config.flags = 0;
	check_eq(stubguard_init(&config), -EINVAL);
	config.layout = model_config().layout;
	check_eq(stubguard_init(&config), -EINVAL);
	config.mmap_fd_first = config.mmap_fd_last = MMAP_FD;
	check_eq(stubguard_init(&config), 0);
}

static void an_unaligned_configuration_is_refused(void)
{
	static _Alignas(8) char room[sizeof(struct stubguard_config) + 8];
	struct stubguard_config config = model_config();

	memcpy(room + 4, &config, sizeof(config));
	check_eq(stubguard_init((void *)(room + 4)), -EINVAL);
}

static void a_later_callers_configuration(void)
{
	static struct {
		struct stubguard_config config;
		unsigned char rest[8192];
	} later;

	later.config = model_config();
	later.config.size = sizeof(later.config) + 1;
	later.rest[0] = 1;
	check_eq(stubguard_init(&later.config), -E2BIG);
	later.config.size = 4096;
	later.rest[0] = 0;
	later.rest[4096 - sizeof(later.config) - 1] = 1;
	check_eq(stubguard_init(&later.config), -E2BIG);
	later.rest[4096 - sizeof(later.config) - 1] = 0;
	later.config.size = 4097;
	check_eq(stubguard_init(&later.config), -E2BIG);
	later.config.size = SIZE_MAX;
	check_eq(stubguard_init(&later.config), -E2BIG);
	check_eq(model_log_lines(), 0);
	/* Bytes behind the size are not read. */
	later.config.size = 4096;
	later.rest[4096 - sizeof(later.config)] = 1;
	check_eq(stubguard_init(&later.config), 0);
}

static void a_log_is_not_needed(void)
{
	struct stubguard_config config = model_config();

	config.log = NULL;
	check_eq(stubguard_init(&config), 0);
	check_eq(model_log_lines(), 0);
}

/* ---- the host */

#define PIDFS 0x50494446

/*
 * Files of /proc that are read at a start: that of the process which tries the host, unless pidfds have inode numbers of their
 * own (6.9); then the watchdog's; then the one that tells of filters.
 */
static unsigned int watchdogs_file(void)
{
	struct statfs info;
	int fd = (int)raw(SYS_pidfd_open, raw(SYS_getpid), 0);

	check_op(fd, >=, 0);
	check_eq(raw(SYS_fstatfs, fd, &info), 0);
	raw(SYS_close, fd);
	return info.f_type == PIDFS ? 1 : 2;
}

static void it_says_one_line(void)
{
	char *end;

	check_eq(init(0), 0);
	check_eq(model_log_lines(), 1);
	check_eq(model_log_count(STUBGUARD_LOG_INFO), 1);
	end = strchr(model_log_text, '\n');
	check(end && !end[1]);
	check(!strncmp(model_log_text, "stubguard: ", 11));
	check(strstr(model_log_text, stubguard_version()) != NULL);
	check(strstr(model_log_text, "listener") != NULL);
	check(strstr(model_log_text, "lacks") != NULL);
}

static void it_says_whether_calls_notify(void)
{
	unsigned int round;
	bool notify;

	for (round = 0; round < 2; round++) {
		APART {
			if (round == 0)
				window_init_calls(STUBGUARD_REQUIRE);
			else
				window_init(STUBGUARD_REQUIRE);
			notify = round == 0 && window_calls_can_notify();
			check_eq(strstr(model_log_text, ", mode window, calls notify: ") != NULL, notify);
			check_eq(strstr(model_log_text, ", mode window: ") != NULL, !notify);
		}
	}
}

static void set_filter(struct sock_filter *filter, unsigned short length, unsigned int flags)
{
	struct sock_fprog program = { .len = length, .filter = filter };

	check_eq(raw(SYS_prctl, 38 /* PR_SET_NO_NEW_PRIVS */, 1, 0, 0, 0), 0);
	check_op(raw(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program), >=, 0);
}

/* A real filter on this process and all of its children. */
static void filtered(long nr, unsigned int action)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	set_filter(filter, COUNT(filter), 0);
}

/* One with a listener. */
static void listened_to(void)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);

	set_filter(&allow, 1, SECCOMP_FILTER_FLAG_NEW_LISTENER);
}

/* The line has each name behind "offers" or "lacks", as its bit says. */
static void the_line_names_what_there_is(void)
{
	static const struct {
		unsigned int bit;
		const char *name;
	} names[] = {
		{ STUBGUARD_F_LISTENER, "listener" },
		{ STUBGUARD_F_WATCHDOG, "watchdog" },
		{ STUBGUARD_F_WAIT_KILLABLE, "wait-killable" },
		{ STUBGUARD_F_SYNC_WAKE_UP, "sync-wake-up" },
		{ STUBGUARD_F_FSGSBASE, "fsgsbase" },
		{ STUBGUARD_F_RECEIVE_ENDS, "receive-ends" },
		{ STUBGUARD_F_DISPATCH, "dispatch" },
		{ STUBGUARD_F_UNFILTERED, "unfiltered" },
	};
	unsigned int round;
	const char *lacks, *name;
	size_t i;

	for (round = 0; round < 2; round++) {
		APART {
			if (round == 1) {
				host_fail(HOST_RECV, 1, 1, EIO);
				host_fail(HOST_GETAUXVAL, 1, 1, ENOENT);
				host_fail(HOST_FLAG, 1, 1, EINVAL);
				host_without_dispatch();
				host_fail(HOST_OPENAT, watchdogs_file() + 1, 1, EACCES);
			}
			check_eq(init(0), 0);
			if (round == 1)
				check_eq(stubguard_features() &
						 (STUBGUARD_F_DISPATCH | STUBGUARD_F_UNFILTERED),
					 0);
			lacks = strstr(model_log_text, "; lacks ");
			check(lacks != NULL);
			for (i = 0; i < COUNT(names); i++) {
				test_context("%s in: %s", names[i].name, model_log_text);
				name = strstr(model_log_text, names[i].name);
				check(name != NULL);
				check_eq(name < lacks, !!(stubguard_features() & names[i].bit));
			}
		}
	}
}

static void nothing_is_left_of_the_look(void)
{
	note_what_there_is();
	check_eq(init(STUBGUARD_REQUIRE), 0);
	nothing_is_left();
}

/* If a needed step fails, the library refuses to start. */
static void what_the_host_may_lack(void)
{
	static const struct {
		enum host_call call;
		int error;
		unsigned int lacks;
	} rows[] = {
		{ HOST_SIZES, EINVAL, STUBGUARD_F_LISTENER },
		{ HOST_SIZES, ENOSYS, STUBGUARD_F_LISTENER },
		{ HOST_FILTER, EINVAL, STUBGUARD_F_LISTENER },
		{ HOST_FILTER, EBUSY, STUBGUARD_F_LISTENER },
		{ HOST_FILTER, EACCES, STUBGUARD_F_LISTENER },
		{ HOST_PIDFD_OPEN, ENOSYS, STUBGUARD_F_LISTENER },
		{ HOST_PIDFD_OPEN, EMFILE, STUBGUARD_F_LISTENER },
		{ HOST_PIDFD_GETFD, ENOSYS, STUBGUARD_F_LISTENER },
		{ HOST_PIDFD_GETFD, EPERM, STUBGUARD_F_LISTENER },
		{ HOST_PIDFD_GETFD, EMFILE, STUBGUARD_F_LISTENER },
		{ HOST_ID_VALID, EINVAL, STUBGUARD_F_LISTENER },
		{ HOST_CLONE, EAGAIN, STUBGUARD_F_LISTENER },
		{ HOST_MMAP, ENOMEM, STUBGUARD_F_LISTENER },
		{ HOST_FSTATFS, EIO, STUBGUARD_F_LISTENER },
		{ HOST_OPENAT, ENOENT, STUBGUARD_F_WATCHDOG },
		{ HOST_OPENAT, EACCES, STUBGUARD_F_WATCHDOG },
		{ HOST_FLAG, EINVAL, STUBGUARD_F_WAIT_KILLABLE },
		{ HOST_SET_FLAGS, EINVAL, STUBGUARD_F_SYNC_WAKE_UP },
		{ HOST_SET_FLAGS, ENOTTY, STUBGUARD_F_SYNC_WAKE_UP },
		{ HOST_RECV, EINVAL, STUBGUARD_F_RECEIVE_ENDS },
		{ HOST_RECV, EINTR, STUBGUARD_F_RECEIVE_ENDS },
		{ HOST_GETAUXVAL, ENOENT, STUBGUARD_F_FSGSBASE },
	};
	const unsigned int needed = STUBGUARD_F_LISTENER | STUBGUARD_F_WATCHDOG;
	unsigned int lines = 0, number;
	char text[32];
	size_t i;

	note_what_there_is();
	for (i = 0; i < COUNT(rows); i++) {
		bool refused = rows[i].lacks & needed;

		number = rows[i].call == HOST_OPENAT ? watchdogs_file() : 1;
		test_context("%s gives %d", host_call_name(rows[i].call), rows[i].error);
		/* Each in a process that has not started the library yet. */
		APART {
			host_fail(rows[i].call, number, 1, rows[i].error);
			check_eq(init(STUBGUARD_REQUIRE), refused ? -EOPNOTSUPP : 0);
			nothing_is_left();
			if (refused) {
				check_eq(stubguard_features(), 0);
				check_eq(model_log_count(STUBGUARD_LOG_WARNING), 1);
				snprintf(text, sizeof(text), "errno %d", rows[i].error);
				check(rows[i].call == HOST_ID_VALID ||
				      strstr(model_log_text, text));
				/* As documented: the caller may try again without STUBGUARD_REQUIRE. */
				host_fail(rows[i].call, number, 1, rows[i].error);
				lines = model_log_lines();
				check_eq(init(0), 0);
			}
			check_eq(model_log_lines(), lines + 1);
			check_eq(stubguard_features() & rows[i].lacks, 0);
			nothing_is_left();
		}
	}
}

static void a_sandbox_that_has_a_listener_is_named(void)
{
	listened_to();
	check_eq(init(STUBGUARD_REQUIRE), -EOPNOTSUPP);
	check(strstr(model_log_text, "sandbox") != NULL);
	check_eq(init(0), 0);
	check_eq(stubguard_features() & STUBGUARD_F_LISTENER, 0);
	check(!has_children());
}

/* A sandbox really refuses it, also in the probing child. */
static void notify_mode_needs_pidfd_getfd(void)
{
	note_what_there_is();
	filtered(SYS_pidfd_getfd, SECCOMP_RET_ERRNO | ENOSYS);
	check_eq(init(STUBGUARD_REQUIRE), -EOPNOTSUPP);
	check(strstr(model_log_text, "pidfd_getfd gives errno 38") != NULL);
	check_eq(init(0), 0);
	nothing_is_left();
}

static void window_mode_does_not_need_pidfd_getfd(void)
{
	struct stubguard_config config = window_config();

	note_what_there_is();
	filtered(SYS_pidfd_getfd, SECCOMP_RET_KILL_PROCESS);
	config.flags |= STUBGUARD_REQUIRE;
	check_eq(stubguard_init(&config), 0);
	check_eq(host_count(HOST_PIDFD_GETFD), 0);
	nothing_is_left();
}

/* Without the limit on address space there is no window mode. */
static void is_refused_for_its_limit(int error)
{
	struct stubguard_config config = window_config();
	char text[64];

	config.flags |= STUBGUARD_REQUIRE;
	note_what_there_is();
	check_eq(stubguard_init(&config), -EOPNOTSUPP);
	snprintf(text, sizeof(text), "; no stub: prlimit of RLIMIT_AS gives errno %d\n", error);
	check(strstr(model_log_text, text) != NULL);
	check_eq(model_log_count(STUBGUARD_LOG_WARNING), 1);
	check_eq(stubguard_features(), 0);
	nothing_is_left();
}

CASE(a_limit_that_cannot_be_read, host_fail(HOST_PRLIMIT, 1, 1, ENOSYS); is_refused_for_its_limit(ENOSYS))
CASE(a_limit_that_cannot_be_set, host_fail(HOST_PRLIMIT, 2, 1, EPERM); is_refused_for_its_limit(EPERM))
CASE(a_limit_that_a_filter_refuses, filtered(SYS_prlimit64, SECCOMP_RET_ERRNO | EPERM); is_refused_for_its_limit(EPERM))
/* A filter fakes the success of reading the limit. */
CASE(a_limit_that_is_only_said_is_none, filtered(SYS_prlimit64, SECCOMP_RET_ERRNO); is_refused_for_its_limit(EIO))

static void notify_mode_needs_no_limit(void)
{
	filtered(SYS_prlimit64, SECCOMP_RET_ERRNO | EPERM);
	check_eq(init(STUBGUARD_REQUIRE), 0);
	check_eq(host_count(HOST_PRLIMIT), 0);
}

#define CALLS_NOTIFY ", calls notify"

/* The text of the line behind the mode, if calls shall notify. */
static void says_of_calls(const char *text)
{
	struct stubguard_config config = window_config();
	char line[200];

	config.guest_end = GUEST_END;
	config.flags |= STUBGUARD_REQUIRE;
	check_eq(stubguard_init(&config), 0);
	check_eq(model_log_lines(), 1);
	if (!strcmp(text, CALLS_NOTIFY))
		window_needs_calls_that_notify();
	snprintf(line, sizeof(line), ", mode window%s: the host offers ", text);
	test_context("%s", model_log_text);
	check(strstr(model_log_text, line) != NULL);
	check_eq(!!(stubguard_features() & STUBGUARD_F_UNFILTERED), !strcmp(text, CALLS_NOTIFY));
}

static void without_an_outer_filter_calls_notify(void)
{
	says_of_calls(CALLS_NOTIFY);
}

/* With each action of the outer filter, even if it allows all. */
static void under_an_outer_filter_calls_trap(void)
{
	filtered(SYS_mount, SECCOMP_RET_ALLOW);
	says_of_calls(", calls trap, not notify (an outer seccomp filter would answer them)");
}

static void calls_trap_if_it_is_not_known(void)
{
	host_fail(HOST_OPENAT, watchdogs_file() + 1, 1, EACCES);
	says_of_calls(", calls trap, not notify (/proc does not tell of outer seccomp filters)");
}

/* The longest possible line is not cut off. */
static void a_line_is_whole(void)
{
	static const char end[] = "; no watchdog: /proc gives errno 13\n";
	struct stubguard_config config = window_config();

	config.guest_end = GUEST_END;
	APART {
		host_fail(HOST_OPENAT, watchdogs_file(), 2, EACCES);
		check_eq(stubguard_init(&config), 0);
		check(strstr(model_log_text, ", calls trap, not notify (/proc ") != NULL);
		check(strstr(model_log_text, end) != NULL);
	}
	/* There is no process to be identified. */
	listened_to();
	host_fail(HOST_OPENAT, 1, 2, EACCES);
	check_eq(stubguard_init(&config), 0);
	check(strstr(model_log_text, "(a sandbox around this process has one already)") != NULL);
	check(strstr(model_log_text, end) != NULL);
}

static unsigned int files, parts;

/* Is this read of a file before the one that tells of filters? Counts them. */
static bool of_another_file(void)
{
	if (!files)
		files = watchdogs_file();
	return parts++ < files;
}

static bool status_without_the_line(const long *arg, long *result)
{
	static const char text[] = "Name:\tx\nSeccomp_filters:\t0\n";

	if (of_another_file())
		return false;
	*result = parts == files + 1 ? (long)sizeof(text) - 1 : 0;
	memcpy((void *)arg[1], text, sizeof(text) - 1);
	return true;
}

static void calls_trap_if_proc_does_not_say(void)
{
	host_hook_set(HOST_READ, status_without_the_line);
	says_of_calls(", calls trap, not notify (/proc does not tell of outer seccomp filters)");
	check_eq(parts, files + 2);
}

static bool status_without_an_end(const long *arg, long *result)
{
	if (of_another_file())
		return false;
	memset((void *)arg[1], 'x', (size_t)arg[2]);
	*result = arg[2];
	return true;
}

static void calls_trap_if_the_file_does_not_end(void)
{
	host_hook_set(HOST_READ, status_without_an_end);
	says_of_calls(", calls trap, not notify (/proc does not tell of outer seccomp filters)");
}

/* A caller that wants no calls to notify is not told of them. */
static void who_wants_traps_is_told_what_lacks(void)
{
	const char *lacks;

	filtered(SYS_mount, SECCOMP_RET_ALLOW);
	window_init(STUBGUARD_REQUIRE);
	check(strstr(model_log_text, ", mode window: the host offers ") != NULL);
	lacks = strstr(model_log_text, "; lacks ");
	check(lacks && strstr(lacks, " unfiltered\n"));
}

static struct seccomp_notif_sizes sizes;

static bool say_sizes(const long *arg, long *result)
{
	memcpy((void *)arg[2], &sizes, sizeof(sizes));
	*result = 0;
	return true;
}

/* Series, hole 12 */
static void the_sizes_of_notifications(void)
{
	static const struct {
		struct seccomp_notif_sizes sizes;
		bool fit;
	} rows[] = {
		{ { 80, 24, 64 }, true },   { { 88, 32, 72 }, true },
		{ { 128, 64, 64 }, true },  { { 129, 24, 64 }, false },
		{ { 80, 65, 64 }, false }, { { 65535, 65535, 65535 }, false },
		{ { 79, 24, 64 }, false },  { { 80, 23, 64 }, false },
		{ { 0, 0, 0 }, false },
	};
	size_t i;

	for (i = 0; i < COUNT(rows); i++) {
		test_context("sizes %u, %u", rows[i].sizes.seccomp_notif,
			     rows[i].sizes.seccomp_notif_resp);
		sizes = rows[i].sizes;
		APART {
			host_hook_set(HOST_SIZES, say_sizes);
			check_eq(init(STUBGUARD_REQUIRE), rows[i].fit ? 0 : -EOPNOTSUPP);
		}
	}
}

static void time_travel_needs_no_proc(void)
{
	host_fail(HOST_OPENAT, watchdogs_file(), 1, ENOENT);
	check_eq(init(STUBGUARD_REQUIRE | STUBGUARD_TIME_TRAVEL), 0);
	check_eq(stubguard_features() & STUBGUARD_F_WATCHDOG, 0);
	check_eq(start_seccomp_watchdog(), -EOPNOTSUPP);
}

static void nothing_is_leaked(struct stubguard_config config)
{
	unsigned int number;
	int pid, status, ret;

	note_what_there_is();
	config.flags |= STUBGUARD_REQUIRE;
	for (number = 1;; number++) {
		pid = fork();
		if (pid == 0) {
			host_sweep(number, EMFILE);
			ret = stubguard_init(&config);
			host_sweep(0, 0);
			if (!host_swept())
				_exit(99);
			test_context("%s, call %u", host_swept(), number);
			check(ret == 0 || ret == -EOPNOTSUPP);
			nothing_is_left();
			check(ret == 0 || stubguard_init(&config) == 0);
			_exit(0);
		}
		check_eq(raw(SYS_wait4, pid, &status, 0, 0), pid);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 99)
			break;
		check_eq(status, 0);
	}
	check_op(number, >, 8);
}

CASE(whatever_fails_nothing_is_leaked, nothing_is_leaked(model_config()))
CASE(nor_in_window_mode, nothing_is_leaked(window_config()))

static void ticks_and_budgets(void)
{
	static const struct {
		unsigned int tick, budget;
		int expected;
	} rows[] = {
		{ 2501, 5000, -EINVAL },    { 1, 1, -EINVAL },
		{ 100, 199, -EINVAL },	    { 1800000, 3600001, -EINVAL },
		{ 0x80000000, 0, -EINVAL }, { 0x80000001, 2, -EINVAL },
	};
	static const struct {
		unsigned int tick, budget;
	} good[] = {
		{ 0, 0 }, { 2500, 5000 }, { 4000, 0 }, { 1, 2 }, { 1800000, 3600000 },
	};
	struct stubguard_config config = model_config();
	size_t i;

	for (i = 0; i < COUNT(rows); i++) {
		test_context("tick %u, budget %u", rows[i].tick, rows[i].budget);
		config.watchdog_tick_ms = rows[i].tick;
		config.watchdog_budget_ms = rows[i].budget;
		check_eq(stubguard_init(&config), rows[i].expected);
	}
	for (i = 0; i < COUNT(good); i++) {
		test_context("tick %u, budget %u", good[i].tick, good[i].budget);
		config.watchdog_tick_ms = good[i].tick;
		config.watchdog_budget_ms = good[i].budget;
		APART {
			check_eq(stubguard_init(&config), 0);
		}
	}
}

/* ---- functions that work at any time */

static void before_the_start_there_is_nothing(void)
{
	static struct stub_data shared, own;
	static struct mm_id mm;
	struct sock_filter filter[STUBGUARD_FILTER_MAX];
	uint64_t identity = 5;
	int fd = (int)raw(SYS_open, "/dev/null", O_RDONLY, 0);

	check_eq(stubguard_features(), 0);
	check_eq(stubguard_filter(filter, STUBGUARD_FILTER_MAX), -ENODEV);
	check_eq(get_stub_listener((int)raw(SYS_getpid), &identity), -ENODEV);
	check_eq(identity, 5);
	check_eq(seccomp_notify_serve(&mm, fd, 0), -ENODEV);
	check_eq(seccomp_notify_drain(&mm, fd), -ENODEV);
	check_eq(seccomp_serve_stub_syscalls(&mm, fd, &own, 1, 1), -ENODEV);
	check_eq(stubguard_publish(&shared, &own, 0), -ENODEV);
	check_eq(stubguard_collect(&shared, &own, 0, 0), -ENODEV);
	check_eq(start_seccomp_watchdog(), -ENODEV);
	check_eq(seccomp_wd_enter(0, 1, 1), -ENODEV);
	check_eq(seccomp_wd_progress(0), -ENODEV);
	check_eq(seccomp_wd_exit(0), -ENODEV);
	check_eq(put_stub_listener(fd), -ENOTTY);
	/* These work before the start. */
	check_eq(stats().served, 0);
	check(stubguard_denial_name(0) != NULL);
}

static void the_version(void)
{
	unsigned int major, minor, patch;
	char rest;

	check_eq(sscanf(stubguard_version(), "%u.%u.%u%c", &major, &minor, &patch, &rest), 3);
	check(stubguard_version() == stubguard_version());
}

static void the_reasons_have_names(void)
{
	size_t i, j;

	for (i = 0; i < STUBGUARD_DENIALS; i++) {
		const char *name = stubguard_denial_name(i);

		check(name && name[0]);
		check_eq(strspn(name, "abcdefghijklmnopqrstuvwxyz_"), strlen(name));
		for (j = 0; j < i; j++)
			check(strcmp(name, stubguard_denial_name(j)));
	}
	check(!stubguard_denial_name(STUBGUARD_DENIALS));
	check(!stubguard_denial_name(SIZE_MAX));
}

static void the_counters_by_size(void)
{
	static const size_t bad[] = { 0,
				      1,
				      7,
				      9,
				      sizeof(struct stubguard_stats) - 1,
				      sizeof(struct stubguard_stats) + 8,
				      SIZE_MAX,
				      SIZE_MAX - 7 };
	struct {
		struct stubguard_stats stats;
		uint64_t rest;
	} out;
	size_t i, size;

	check_eq(init(0), 0);
	memset(&out, 0xaa, sizeof(out));
	for (i = 0; i < COUNT(bad); i++)
		check_eq(stubguard_stats_get(&out.stats, bad[i]), -EINVAL);
	check_eq(stubguard_stats_get(NULL, sizeof(out.stats)), -EINVAL);
	check_eq(stubguard_stats_get((void *)((char *)&out + 4), sizeof(out.stats)), -EINVAL);
	check_eq(out.stats.served, 0xaaaaaaaaaaaaaaaa);
	/* An older caller gets the members that it knows, and not a byte more. */
	for (size = 8; size <= sizeof(out.stats); size += 8) {
		memset(&out, 0xaa, sizeof(out));
		check_eq(stubguard_stats_get(&out.stats, size), 0);
		for (i = 0; i < sizeof(out); i++)
			check_eq(((unsigned char *)&out)[i], i < size ? 0 : 0xaa);
	}
}

static const struct test tests[] = {
	TEST(it_starts_once),
	TEST(the_configuration_is_copied),
	TEST(what_cannot_be_meant_is_refused),
	TEST(what_cannot_be_meant_of_parked_stubs),
	TEST(notify_mode_has_places_of_the_callers),
	TEST(an_unaligned_configuration_is_refused),
	TEST(a_later_callers_configuration),
	TEST(a_log_is_not_needed),
	TEST(it_says_one_line),
	TEST(it_says_whether_calls_notify),
	TEST(the_line_names_what_there_is),
	TEST(nothing_is_left_of_the_look),
	TEST(what_the_host_may_lack),
	TEST(a_sandbox_that_has_a_listener_is_named),
	TEST(notify_mode_needs_pidfd_getfd),
	TEST(window_mode_does_not_need_pidfd_getfd),
	TEST(a_limit_that_cannot_be_read),
	TEST(a_limit_that_cannot_be_set),
	TEST(a_limit_that_a_filter_refuses),
	TEST(a_limit_that_is_only_said_is_none),
	TEST(notify_mode_needs_no_limit),
	TEST(without_an_outer_filter_calls_notify),
	TEST(under_an_outer_filter_calls_trap),
	TEST(calls_trap_if_it_is_not_known),
	TEST(a_line_is_whole),
	TEST(calls_trap_if_proc_does_not_say),
	TEST(calls_trap_if_the_file_does_not_end),
	TEST(who_wants_traps_is_told_what_lacks),
	TEST(the_sizes_of_notifications),
	TEST(time_travel_needs_no_proc),
	TEST(whatever_fails_nothing_is_leaked),
	TEST(nor_in_window_mode),
	TEST(ticks_and_budgets),
	TEST(before_the_start_there_is_nothing),
	TEST(the_version),
	TEST(the_reasons_have_names),
	TEST(the_counters_by_size),
};

HARNESS_MAIN(tests)
