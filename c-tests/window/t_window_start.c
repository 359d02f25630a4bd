// SPDX-License-Identifier: GPL-2.0-only
/* A stub's start in window mode: its listener, the attach, and its first park. */
#include "harness.h"
#include "host.h"
#include "window.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>

#define SIGSTACK (STUB_DATA + PAGE)
#define UCONTEXT_HEAD 40
#define MCONTEXT_FPREGS 184
#define SW_RESERVED 464

static struct window w;

static void spawn(void)
{
	window_init(STUBGUARD_REQUIRE);
	window_spawn(&w);
	check_op(w.listened, >=, 0);
}

/* ---- the listener */

static void the_listener_is_born_in_the_monitors_table(void)
{
	unsigned long id = 0;
	int fds;

	window_init(STUBGUARD_REQUIRE);
	fds = open_fds();
	window_spawn(&w);
	/* Memory, pidfd, listener. */
	check_eq(open_fds(), fds + 3);
	check_eq(raw(SYS_fcntl, w.mm.listener, F_GETFD), FD_CLOEXEC);
	/* Only a listener knows this ioctl: no such notification. */
	check_eq(raw(SYS_ioctl, w.mm.listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id), -ENOENT);
	/* The stub has only the memory. */
	check_eq(window_attach(&w), 0);
	check_eq(window_wait(&w), 0);
	window_set_up(&w);
	window_is_limited(&w);
	check_eq(WTERMSIG(window_end(&w)), SIGKILL);
	check_eq(open_fds(), fds);
}

static void its_filter_lets_everything_else_through(void)
{
	/* As the new process, which continues after a failure. */
	int pid, status;

	window_init(STUBGUARD_REQUIRE);
	pid = fork();
	if (pid == 0) {
		int listener = stubguard_listen();
		void *page;

		check_op(listener, >=, 0);
		check_eq(raw(SYS_prctl, 39 /* PR_GET_NO_NEW_PRIVS */, 0, 0, 0, 0), 1);
		check_eq(raw(SYS_getppid), raw(SYS_getppid));
		check_op(raw(SYS_getppid), >, 0);
		page = (void *)raw(SYS_mmap, 0, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		check((long)page > 0);
		/* A process can have only one listener. */
		check_eq(stubguard_listen(), -EBUSY);
		check_eq(put_stub_listener(listener), 0);
		raw(SYS_exit_group, 0);
	}
	check_eq(raw(SYS_wait4, pid, &status, 0, 0), pid);
	check_eq(status, 0);
}

static void a_listener_that_cannot_be_had(void)
{
	static const enum host_call calls[] = { HOST_FILTER, HOST_PRCTL };
	static const int errors[] = { EBUSY, EINVAL, ENOMEM, EMFILE, EACCES };
	int fds, error;
	size_t i;

	window_init(STUBGUARD_REQUIRE);
	fds = open_fds();
	for (i = 0; i < COUNT(calls) * COUNT(errors); i++) {
		error = errors[i / COUNT(calls)];
		test_context("%s gives %d", host_call_name(calls[i % COUNT(calls)]), error);
		host_fail(calls[i % COUNT(calls)], 1, 1, error);
		window_spawn(&w);
		host_reset();
		check_eq(w.listened, -error);
		check_eq(mm_reap(&w.mm), 0);
		mm_forget(&w.mm);
		check_eq(open_fds(), fds);
	}
}

static void its_flags(void)
{
	struct sock_filter filter[STUBGUARD_FILTER_MAX];

	window_init(STUBGUARD_REQUIRE);
	/* The second filter makes no listener. */
	check_eq(stubguard_filter_flags(), 0);
	check_op(stubguard_filter(filter, STUBGUARD_FILTER_MAX), >, 10);
}

static long listen_flags;

static bool note_flags(const long *arg, long *result)
{
	listen_flags = arg[1];
	*result = -EINVAL;
	return true;
}

enum how { CALLS_NOTIFY, CALLS_TRAP, OLDER_HOST };

/* If calls notify, none must be made twice; without that a stub can be frozen. */
static void the_flags(enum how how)
{
	bool wait_killable;

	if (how == OLDER_HOST)
		host_fail(HOST_FLAG, 1, 1, EINVAL);
	if (how == CALLS_TRAP)
		window_init(STUBGUARD_REQUIRE);
	else
		window_init_calls(STUBGUARD_REQUIRE);
	wait_killable = stubguard_features() & STUBGUARD_F_WAIT_KILLABLE;
	check(!(wait_killable && how == OLDER_HOST));
	host_hook_set(HOST_FILTER, note_flags);
	check_eq(stubguard_listen(), -EINVAL);
	check_eq(listen_flags, SECCOMP_FILTER_FLAG_NEW_LISTENER |
				       (wait_killable && how == CALLS_NOTIFY ? 1 << 5 : 0));
}

CASE(the_flags_of_the_first_filter, the_flags(CALLS_NOTIFY))
CASE(the_flags_if_calls_trap, the_flags(CALLS_TRAP))
CASE(the_flags_on_an_older_host, the_flags(OLDER_HOST))

static void the_code(void)
{
	static unsigned char pages[3 * PAGE] __attribute__((aligned(PAGE)));
	size_t i;
	int length;

	window_init(STUBGUARD_REQUIRE);
	memset(pages, 0xaa, sizeof(pages));
	length = stubguard_stub_code(pages + PAGE);
	check_op(length, >, 100);
	check_op(length, <, PAGE);
	for (i = 0; i < PAGE; i++) {
		check_eq(pages[i], 0xaa);
		check_eq(pages[2 * PAGE + i], 0xaa);
	}
	for (i = (size_t)length; i < PAGE; i++)
		check_eq(pages[PAGE + i], 0xaa);
	/* The code is the same at any address. */
	check_eq(stubguard_stub_code(pages), length);
	check(!memcmp(pages, pages + PAGE, (size_t)length));
}

/* ---- the attach */

static void a_stub_is_taken_over(void)
{
	static const struct stubguard_stub none;

	struct stubguard_stub_info info;

	spawn();
	check(!memcmp(&w.stub, &none, sizeof(none)));
	check_eq(stubguard_stub_init(&w.stub, w.mm.shared), 0);
	info = window_info(&w);
	check_eq(info.size, sizeof(info));
	check_eq(info.pid, 0);
	check_eq(info.listener, -1);
	check_eq(info.identity, 0);
	check(info.shared == w.mm.shared);
	/* It can neither be resumed nor waited for yet. */
	check_eq(window_resume(&w), -EINVAL);
	check_eq(window_wait(&w), -EINVAL);
	check_eq(window_fetch(&w), -EINVAL);
	check_eq(stubguard_stub_put(&w.stub, &w.mm, 0), -EINVAL);
	check_eq(stubguard_stub_end(&w.stub), -EINVAL);
	check(stubguard_stub_caller(&w.stub) == NULL);
	check_eq(window_attach(&w), 0);
	info = window_info(&w);
	check_eq(info.pid, w.mm.pid);
	check_eq(info.listener, w.mm.listener);
	check(info.shared == w.mm.shared);
	check(info.identity != 0);
	/* It parks at any time after the attach. */
	check_eq(window_wait(&w), 0);
	check_eq(w.event.signal, SIGSYS);
	check_eq(w.event.syscall, SYS_exit);
	check_eq(w.event.error, 0);
	check_eq(w.event.again, 0);
	window_set_up(&w);
	window_is_sound(&w);
}

/* No guest has run, so no outputs are needed. */
static void the_first_park_needs_no_room(void)
{
	struct stubguard_event event = { .size = sizeof(event) };

	spawn();
	check_eq(window_attach(&w), 0);
	check_eq(stubguard_stub_wait(&w.stub, &w.mm, 0, &event, NULL, NULL, NULL), 0);
	check_eq(event.signal, SIGSYS);
	window_set_up(&w);
	window_is_sound(&w);
}

static void is_refused(int pid, int listener, int expected)
{
	struct stubguard_stub before = w.stub;
	int fds = open_fds();

	check_eq(stubguard_stub_attach(&w.stub, pid, listener), expected);
	check(!memcmp(&before, &w.stub, sizeof(before)));
	check_eq(open_fds(), fds);
}

static void bad_arguments_are_refused(void)
{
	struct {
		struct stubguard_stub stub;
		char rest[8];
	} room;
	int null = (int)raw(SYS_open, "/dev/null", O_RDWR, 0), dead;
	int listener;
	char *shared;

	spawn();
	listener = w.mm.listener;
	shared = (char *)w.mm.shared;
	/* Memory without a record. */
	is_refused(w.mm.pid, listener, -EINVAL);
	memset(&w.stub, 0x5a, sizeof(w.stub));
	is_refused(w.mm.pid, listener, -EINVAL);
	check_eq(stubguard_stub_init(NULL, shared), -EINVAL);
	check_eq(stubguard_stub_init((void *)((char *)&room + 4), shared), -EINVAL);
	check_eq(stubguard_stub_init(&w.stub, NULL), -EINVAL);
	check_eq(stubguard_stub_init(&w.stub, shared + 4), -EINVAL);
	is_refused(w.mm.pid, listener, -EINVAL);
	check_eq(stubguard_stub_init(&w.stub, shared), 0);
	check_eq(stubguard_stub_attach(NULL, w.mm.pid, listener), -EINVAL);
	check_eq(stubguard_stub_attach((void *)((char *)&room + 4), w.mm.pid, listener), -EINVAL);
	is_refused(0, listener, -EINVAL);
	is_refused(-1, listener, -EINVAL);
	is_refused(-2147483647 - 1, listener, -EINVAL);
	is_refused(2147483647, listener, -ESRCH);
	dead = fork();
	if (dead == 0)
		raw(SYS_exit_group, 0);
	check_eq(raw(SYS_wait4, dead, 0, 0, 0), dead);
	is_refused(dead, listener, -ESRCH);
	is_refused(w.mm.pid, -1, -EBADF);
	is_refused(w.mm.pid, 12345, -ENOTTY);
	is_refused(w.mm.pid, null, -ENOTTY);
	is_refused(w.mm.pid, w.mm.memory, -ENOTTY);
	/* It can still be attached, once. */
	check_eq(stubguard_stub_attach(&w.stub, w.mm.pid, listener), 0);
	is_refused(w.mm.pid, listener, -EINVAL);
	check_eq(window_wait(&w), 0);
}

static void whatever_fails_nothing_is_leaked(void)
{
	unsigned int number;
	int fds, ret;

	spawn();
	fds = open_fds();
	for (number = 1; number < 50; number++) {
		memset(&w.stub, 0, sizeof(w.stub));
		host_sweep(number, EMFILE);
		ret = window_attach(&w);
		host_sweep(0, 0);
		check_eq(open_fds(), fds);
		if (!host_swept())
			break;
		test_context("%s, call %u", host_swept(), number);
		if (!strcmp(host_swept(), "ID_VALID"))
			check_eq(ret, -ENOTTY);
		/* An older host: slower, not weaker. */
		else if (!strcmp(host_swept(), "SET_FLAGS"))
			check_eq(ret, 0);
		else
			check_eq(ret, -EMFILE);
		test_context_end();
	}
	check_op(number, >, 2);
	check_op(number, <, 50);
	check_eq(ret, 0);
	check_eq(window_wait(&w), 0);
	check_eq(open_fds(), fds);
}

/* Most calls are valid in one state of the record only. */
static void calls_in_the_wrong_state(void)
{
	struct stubguard_stub none;

	spawn();
	/* Not attached. */
	memset(&none, 0, sizeof(none));
	check_op(window_resume(&w), <, 0);
	check_op(window_wait(&w), <, 0);
	check(!memcmp(&none, &w.stub, sizeof(none)));
	/* Has not parked. */
	check_eq(window_attach(&w), 0);
	check_eq(window_wait(&w), 0);
	/* Was not resumed. */
	check_eq(window_wait(&w), -EINVAL);
	window_set_up(&w);
	check_eq(window_wait(&w), -EINVAL);
	/* Was resumed. */
	window_guest(&w, "report", 6);
	check_eq(window_resume(&w), 0);
	check_eq(window_resume(&w), -EINVAL);
	mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
	check_eq(window_resume_batch(&w), -EINVAL);
	w.mm.calls = 0;
	check_eq(window_wait(&w), 0);
	check_eq(window_result(&w), 6);
	window_is_sound(&w);
}

/* A record can serve a new stub after the old one's end. */
static void a_record_can_be_used_again(void)
{
	spawn();
	check_eq(window_attach(&w), 0);
	check_eq(window_wait(&w), 0);
	check_eq(WTERMSIG(window_end(&w)), SIGKILL);
	window_start(&w);
	window_is_sound(&w);
}

static void a_stub_that_dies_before_it_parks(void)
{
	int ret;

	spawn();
	check_eq(window_attach(&w), 0);
	mm_kill(&w.mm);
	ret = window_wait(&w);
	check(ret == -ESRCH || ret == 0);
	if (ret == 0) {
		/* It ran before the kill. */
		w.mm.calls = 1;
		mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
		check_eq(window_resume_batch(&w), -ESRCH);
		w.mm.calls = 0;
	}
	window_is_lost(&w);
}

/* A stub that fails to set itself up. */
static void it_exits(struct window *stub)
{
	(void)stub;
	/* Not from the code page, so it is taken for a guest's call. */
	raw(SYS_kill, raw(SYS_getpid), SIGKILL);
	__builtin_trap();
}

static void a_stub_that_ends_by_itself(void)
{
	window_init(STUBGUARD_REQUIRE);
	w.first = it_exits;
	window_spawn(&w);
	check_eq(window_attach(&w), 0);
	/* Its call counts as a guest's: that is its first park. */
	check_eq(window_wait(&w), 0);
	check_eq(w.event.syscall, SYS_getpid);
}

/* ---- the first park */

static unsigned long first_args[3];

/* Jumps to the park, as a guest would that runs first. */
static void forge_the_first(struct window *stub)
{
	(void)stub;
	((void (*)(unsigned long, unsigned long, unsigned long))STUB_START)(
		first_args[0], first_args[1], first_args[2]);
	__builtin_trap();
}

static void a_first_park_that_is_none(void)
{
	static const struct {
		unsigned long args[3];
		const char *reason;
	} rows[] = {
		{ { PARK_DONE }, "park" },
		{ { PARK_FAILED, -1UL, 1 }, "park" },
		{ { PARK_FAILED, -1UL, 0 }, "park" },
		{ { 0 }, "signal" },
		{ { SIGKILL, SIGSTACK, SIGSTACK }, "signal" },
		{ { -1UL, SIGSTACK, SIGSTACK }, "signal" },
		{ { SIGSYS, 0, 0 }, "signal frame" },
		{ { SIGSYS, GUEST_STACK, GUEST_STACK }, "signal frame" },
		{ { SIGSYS, STUB_DATA, STUB_DATA }, "signal frame" },
		{ { SIGSYS, SIGSTACK + PAGE, SIGSTACK }, "signal frame" },
		{ { SIGSYS, SIGSTACK, SIGSTACK + PAGE }, "signal frame" },
		{ { SIGSYS, SIGSTACK, SIGSTACK - 8 }, "signal frame" },
		{ { SIGSYS, SIGSTACK + 4, SIGSTACK }, "signal frame" },
		{ { SIGSYS, SIGSTACK, SIGSTACK + 4 }, "signal frame" },
		{ { SIGSYS, SIGSTACK + PAGE - 120, SIGSTACK }, "signal frame" },
		{ { SIGSYS, SIGSTACK, SIGSTACK + PAGE - 40 - 248 }, "signal frame" },
		{ { SIGSYS, SIGSTACK, SIGSTACK + 0xffff }, "signal frame" },
		{ { SIGSYS, SIGSTACK, SIGSTACK + 0xffd8 }, "signal frame" },
		{ { SIGSYS, -1UL, -1UL }, "signal frame" },
		/* A frame on the stack that the host has not made. */
		{ { SIGSYS, SIGSTACK + 512, SIGSTACK }, "floating-point state" },
	};
	size_t i;

	window_init(STUBGUARD_REQUIRE);
	for (i = 0; i < COUNT(rows); i++) {
		test_context("row %zu", i);
		memcpy(first_args, rows[i].args, sizeof(first_args));
		w.first = forge_the_first;
		window_spawn(&w);
		check_eq(window_attach(&w), 0);
		window_is_a_breach(&w, rows[i].reason);
	}
}

static struct {
	const char *what;
	const char *reason;
	/* Changes of the frame: of its pointer to the FP state, and of a word in that. */
	unsigned long pointer, add;
	unsigned int at, word;
	unsigned long rip;
} change;

/* The notification has the frame's address. */
static void change_the_frame(struct seccomp_notif *notification)
{
	unsigned char *stack = window_stack(&w), *fp;
	unsigned long context = notification->data.args[2] - SIGSTACK + UCONTEXT_HEAD;
	unsigned long *fpregs = (unsigned long *)(void *)(stack + context + MCONTEXT_FPREGS);
	mcontext_t *mcontext = (mcontext_t *)(void *)(stack + context);

	fp = stack + (*fpregs - SIGSTACK);
	if (change.at) {
		/* 1: behind the state. */
		memcpy(fp + (change.at == 1 ? model_config().fp_size : change.at),
		       &change.word, sizeof(change.word));
	}
	if (change.pointer != 1)
		*fpregs = change.pointer;
	*fpregs += change.add;
	if (change.rip)
		mcontext->gregs[REG_RIP] = (long long)change.rip;
}

static void a_first_frame_that_is_not_the_hosts(void)
{
	unsigned int size = model_config().fp_size;
	__typeof__(change) rows[] = {
		{ "no state", "floating-point state", 0, 0, 0, 0, 0 },
		{ "64 bytes on", "floating-point state", 1, 64, 0, 0, 0 },
		{ "64 bytes back", "floating-point state", 1, -64UL, 0, 0, 0 },
		{ "8 bytes on", "floating-point state", 1, 8, 0, 0, 0 },
		{ "below the stack", "floating-point state", SIGSTACK - 64, 0, 0, 0, 0 },
		{ "at its start", "floating-point state", SIGSTACK, 0, 0, 0, 0 },
		{ "at its end", "floating-point state", SIGSTACK + PAGE - 64, 0, 0, 0, 0 },
		{ "the guest's", "floating-point state", GUEST_STACK, 0, 0, 0, 0 },
		{ "far away", "floating-point state", -64UL, 0, 0, 0, 0 },
		{ "4 GiB on", "floating-point state", 1, 1UL << 32, 0, 0, 0 },
		{ "without magic", "floating-point state", 1, 0, SW_RESERVED, 0, 0 },
		{ "smaller", "floating-point state", 1, 0, SW_RESERVED + 4, size, 0 },
		{ "larger", "floating-point state", 1, 0, SW_RESERVED + 4, size + 8, 0 },
		{ "huge", "floating-point state", 1, 0, SW_RESERVED + 4, ~0U, 0 },
		{ "without the end", "floating-point state", 1, 0, 1, 0, 0 },
		{ "in the stub's page", "park", 1, 0, 0, 0, STUB_START + 7 },
		{ "at its start", "park", 1, 0, 0, 0, STUB_START },
	};
	size_t i;

	window_init(STUBGUARD_REQUIRE);
	if (size == 512)
		test_skip("this host has no XSAVE");
	for (i = 0; i < COUNT(rows); i++) {
		change = rows[i];
		test_context("%s", change.what);
		w.first = NULL;
		window_spawn(&w);
		check_eq(window_attach(&w), 0);
		window_alter(change_the_frame);
		window_is_a_breach(&w, change.reason);
	}
}

/* The FP state has another size than the configuration says. */
static void a_configuration_that_is_not_the_hosts(void)
{
	struct stubguard_config config = window_config();

	if (config.fp_size < 1024)
		test_skip("this host has no XSAVE");
	config.fp_size -= 64;
	model_init_config(&config);
	window_spawn(&w);
	check_eq(window_attach(&w), 0);
	window_is_a_breach(&w, "floating-point state");
}

static void all_that_is_there_goes_with_it(void)
{
	int fds, maps, i;

	window_init(STUBGUARD_REQUIRE);
	window_start(&w);
	check_eq(WTERMSIG(window_end(&w)), SIGKILL);
	fds = open_fds();
	maps = mappings();
	for (i = 0; i < 50; i++) {
		window_start(&w);
		window_is_sound(&w);
		check_eq(WTERMSIG(window_end(&w)), SIGKILL);
	}
	check_eq(open_fds(), fds);
	check_eq(mappings(), maps);
}

static const struct test tests[] = {
	TEST(the_listener_is_born_in_the_monitors_table),
	TEST(its_filter_lets_everything_else_through),
	TEST(a_listener_that_cannot_be_had),
	TEST(its_flags),
	TEST(the_flags_of_the_first_filter),
	TEST(the_flags_if_calls_trap),
	TEST(the_flags_on_an_older_host),
	TEST(the_code),
	TEST(a_stub_is_taken_over),
	TEST(the_first_park_needs_no_room),
	TEST(bad_arguments_are_refused),
	TEST(whatever_fails_nothing_is_leaked),
	TEST(calls_in_the_wrong_state),
	TEST(a_record_can_be_used_again),
	TEST(a_stub_that_dies_before_it_parks),
	TEST(a_stub_that_ends_by_itself),
	TEST(a_first_park_that_is_none),
	TEST(a_first_frame_that_is_not_the_hosts),
	TEST(a_configuration_that_is_not_the_hosts),
	TEST(all_that_is_there_goes_with_it),
};

HARNESS_MAIN(tests)
