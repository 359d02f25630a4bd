// SPDX-License-Identifier: GPL-2.0-only
/* Callers' mistakes in window mode: each is refused, and changes nothing. */
#include "harness.h"
#include "host.h"
#include "window.h"

#include <errno.h>
#include <limits.h>
#include <linux/filter.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static struct window w;

static void start(void)
{
	window_init(STUBGUARD_REQUIRE);
	window_start(&w);
}

/* All functions of window mode, with arguments that are good after a start in window mode. */
static void all_are_refused_with(int expected)
{
	static unsigned char page[PAGE] __attribute__((aligned(8))), before[PAGE];
	struct stubguard_stub_info info = { .size = sizeof(info) };
	struct stubguard_resume how;
	struct stubguard_stub stub;
	struct window copy;

	memset(&stub, 0x5a, sizeof(stub));
	w.stub = stub;
	memset(page, 0xaa, sizeof(page));
	memcpy(before, page, sizeof(page));
	w.event.size = sizeof(w.event);
	how = window_request(&w);
	copy = w;
	check_eq(stubguard_stub_code(page), expected);
	check(!memcmp(page, before, sizeof(page)));
	check_eq(stubguard_listen(), expected);
	check_eq(raw(SYS_prctl, 39 /* PR_GET_NO_NEW_PRIVS */, 0, 0, 0, 0), 0);
	check_eq(stubguard_stub_init(&w.stub, page), expected);
	check_eq(stubguard_stub_info(&w.stub, &info), expected);
	check_eq(stubguard_stub_attach(&w.stub, (int)raw(SYS_getpid), 0), expected);
	check_eq(stubguard_stub_resume(&w.stub, &w.mm, &how), expected);
	check_eq(stubguard_stub_wait(&w.stub, &w.mm, 0, &w.event, (uint64_t *)&w.regs, w.fp,
				     &w.info),
		 expected);
	check_eq(stubguard_stub_fetch(&w.stub, &w.mm, 0, NULL), expected);
	check(stubguard_stub_caller(&w.stub) == NULL);
	check(!memcmp(&copy, &w, sizeof(w)));
}

CASE(before_the_start, all_are_refused_with(-ENODEV))
CASE(in_notify_mode, model_init(STUBGUARD_REQUIRE); all_are_refused_with(-EOPNOTSUPP))

static void notify_mode_is_as_it_was(void)
{
	static struct mm_id mm;

	model_init(STUBGUARD_REQUIRE);
	check_eq(stubguard_listen(), -EOPNOTSUPP);
	mm_start(&mm);
	check_eq(mm_hijack(&mm, SYS_mmap, 0), -EPERM);
}

static void the_codes_page(void)
{
	static unsigned char page[PAGE + 8] __attribute__((aligned(8))), before[PAGE + 8];

	window_init(STUBGUARD_REQUIRE);
	check_eq(stubguard_stub_code(NULL), -EINVAL);
	check_eq(stubguard_stub_code(page + 4), -EINVAL);
	check(!memcmp(page, before, sizeof(page)));
}

static void resumes(int expected, const struct stubguard_resume *how)
{
	struct stubguard_stub before = w.stub;
	unsigned int sends = host_count(HOST_SEND), lifted = host_count(HOST_PRLIMIT);

	check_eq(stubguard_stub_resume(&w.stub, &w.mm, how), expected);
	check(!memcmp(&before, &w.stub, sizeof(before)));
	check_eq(host_count(HOST_SEND), sends);
	check_eq(host_count(HOST_PRLIMIT), lifted);
}

static void a_resume(void)
{
	static const unsigned int calls[] = { INT_MAX, UINT_MAX, STUBGUARD_CALLS_MAX + 1 };
	static const size_t sizes[] = { 0, 8, sizeof(struct stubguard_resume) - 8 };
	struct stubguard_stub none = { { 0 } };
	struct {
		struct stubguard_resume how;
		uint64_t more;
	} newer = { .more = 0 };
	struct stubguard_resume how;
	size_t i;

	start();
	how = window_request(&w);
	check_eq(stubguard_stub_resume(NULL, &w.mm, &how), -EINVAL);
	check_eq(stubguard_stub_resume((void *)((char *)&w.stub + 4), &w.mm, &how), -EINVAL);
	check_eq(stubguard_stub_resume(&w.stub, NULL, &how), -EINVAL);
	check_eq(stubguard_stub_resume(&none, &w.mm, &how), -EINVAL);
	resumes(-EINVAL, NULL);
	resumes(-EINVAL, (void *)((char *)&how + 4));
	for (i = 0; i < COUNT(sizes); i++) {
		how.size = sizes[i];
		resumes(-EINVAL, &how);
	}
	how.size = 4104;
	resumes(-E2BIG, &how);
	for (i = 0; i < COUNT(calls); i++) {
		test_context("%u calls", calls[i]);
		how = window_request(&w);
		how.calls_len = calls[i];
		resumes(-EINVAL, &how);
		how.registers = NULL;
		resumes(-EINVAL, &how);
	}
	test_context_end();
	how = window_request(&w);
	how.calls_len = 1;
	how.calls = NULL;
	resumes(-EINVAL, &how);
	how.calls = (void *)((char *)w.batch + 4);
	resumes(-EINVAL, &how);
	how = window_request(&w);
	how.reserved = 1;
	resumes(-EINVAL, &how);
	how = window_request(&w);
	how.flags = 8;
	resumes(-EINVAL, &how);
	how.flags = 0x80000000;
	resumes(-EINVAL, &how);
	how = window_request(&w);
	how.cpu = 2;
	resumes(-EINVAL, &how);
	how.cpu = -1;
	resumes(-EINVAL, &how);
	how = window_request(&w);
	how.fp = NULL;
	resumes(-EINVAL, &how);
	how.fp = w.fp + 4;
	resumes(-EINVAL, &how);
	how = window_request(&w);
	how.registers = (void *)((char *)&w.regs + 4);
	resumes(-EINVAL, &how);
	/* Nothing to do at all. */
	how = window_request(&w);
	how.registers = NULL;
	resumes(-EINVAL, &how);
	/* A newer caller uses a member that this version does not know. */
	window_guest(&w, "report", 2);
	newer.how = window_request(&w);
	newer.how.size = sizeof(newer);
	newer.more = 1;
	resumes(-E2BIG, &newer.how);
	/* Pointers that are not needed may be NULL. */
	newer.more = 0;
	newer.how.calls = NULL;
	check_eq(stubguard_stub_resume(&w.stub, &w.mm, &newer.how), 0);
	check_eq(window_wait(&w), 0);
	check_eq(window_result(&w), 2);
	w.mm.calls = 0;
	mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
	how = window_request_batch(&w);
	how.fp = NULL;
	check_eq(stubguard_stub_resume(&w.stub, &w.mm, &how), 0);
	w.mm.calls = 0;
	check_eq(window_wait(&w), 0);
	check_eq(w.event.error, 0);
	window_is_sound(&w);
}

static void waits(struct stubguard_event *event, void *registers, void *fp, void *info)
{
	struct stubguard_stub before = w.stub;
	unsigned int receives = host_count(HOST_RECV);

	check_eq(stubguard_stub_wait(&w.stub, &w.mm, 0, event, registers, fp, info), -EINVAL);
	check(!memcmp(&before, &w.stub, sizeof(before)));
	check_eq(host_count(HOST_RECV), receives);
	check_eq(seccomp_wd_exit(0), -EINVAL);
}

static void a_wait(void)
{
	struct stubguard_event event = { .size = 0 };
	size_t i;

	start();
	window_guest(&w, "report", 7);
	check_eq(window_resume(&w), 0);
	/* Sizes that no caller has. */
	for (i = 0; i < offsetof(struct stubguard_event, error_code); i += 8) {
		event.size = i;
		waits(&event, &w.regs, w.fp, &w.info);
	}
	event.size = sizeof(event);
	check_eq(stubguard_stub_wait(NULL, &w.mm, 0, &event, (void *)&w.regs, w.fp, &w.info),
		 -EINVAL);
	check_eq(stubguard_stub_wait((void *)((char *)&w.stub + 4), &w.mm, 0, &event,
				     (void *)&w.regs, w.fp, &w.info),
		 -EINVAL);
	check_eq(stubguard_stub_wait(&w.stub, NULL, 0, &event, (void *)&w.regs, w.fp, &w.info),
		 -EINVAL);
	waits(NULL, &w.regs, w.fp, &w.info);
	waits((void *)((char *)&event + 4), &w.regs, w.fp, &w.info);
	/* A guest runs, so all outputs are needed. */
	waits(&event, NULL, w.fp, &w.info);
	waits(&event, NULL, NULL, NULL);
	waits(&event, (char *)&w.regs + 4, w.fp, &w.info);
	waits(&event, &w.regs, NULL, &w.info);
	waits(&event, &w.regs, w.fp + 4, &w.info);
	waits(&event, &w.regs, w.fp, NULL);
	waits(&event, &w.regs, w.fp, (char *)&w.info + 4);
	check_eq(window_wait(&w), 0);
	check_eq(window_result(&w), 7);
	/* After a batch only the event is. */
	mm_queue_unmap(&w.mm, GUEST_FREE, PAGE);
	check_eq(window_resume_batch(&w), 0);
	w.mm.calls = 0;
	check_eq(stubguard_stub_wait(&w.stub, &w.mm, 0, &event, NULL, NULL, NULL), 0);
	check_eq(event.error, 0);
	window_is_sound(&w);
}

/* The library copies a request: the caller may free or change it before the guest runs. */
static void a_request_is_copied(void)
{
	static uint64_t registers[STUBGUARD_REGISTERS];
	static unsigned char fp[PAGE] __attribute__((aligned(64)));
	struct stubguard_resume how;

	start();
	mm_queue_page(&w.mm, GUEST_FREE, FRAME_FREE, PROT_READ);
	window_guest(&w, "read", GUEST_FREE);
	memcpy(registers, &w.regs, sizeof(registers));
	memcpy(fp, w.fp, sizeof(fp));
	how = window_request(&w);
	how.registers = registers;
	how.fp = fp;
	/* The stub cannot continue yet. */
	check_eq(raw(SYS_kill, w.mm.pid, SIGSTOP), 0);
	check_eq(stubguard_stub_resume(&w.stub, &w.mm, &how), 0);
	memset(w.batch, 0xff, sizeof(w.batch));
	memset(registers, 0xff, sizeof(registers));
	memset(fp, 0xff, sizeof(fp));
	memset(&how, 0xff, sizeof(how));
	check_eq(raw(SYS_kill, w.mm.pid, SIGCONT), 0);
	w.mm.calls = 0;
	check_eq(window_wait(&w), 0);
	check_eq(window_result(&w), (long)frame_mark(FRAME_FREE));
}

/*
 * A caller of a time when structures had fewer members: the library neither reads nor writes members that it
 * does not know.
 */
static void an_older_caller(void)
{
	struct stubguard_config config = window_config();
	struct {
		unsigned char members[offsetof(struct stubguard_event, error_code)];
		unsigned char behind[64];
	} old __attribute__((aligned(8)));
	struct stubguard_event event = { .size = sizeof(old.members) };
	size_t i;

	/* The configuration lacks its last member: calls trap. */
	config.size = offsetof(struct stubguard_config, guest_end);
	config.guest_end = 0x5a5a5a5a5a5a5a5a;
	model_init_config(&config);
	check(!strstr(model_log_text, "calls notify"));
	window_start(&w);
	window_guest(&w, "write", GUEST_FREE);
	check_eq(window_resume(&w), 0);
	memset(&old, 0x5a, sizeof(old));
	memcpy(old.members, &event, sizeof(event.size));
	check_eq(stubguard_stub_wait(&w.stub, &w.mm, 0, (void *)old.members, (uint64_t *)&w.regs, w.fp,
				     &w.info),
		 0);
	memcpy(&event, old.members, sizeof(old.members));
	check_eq(event.size, sizeof(old.members));
	check_eq(event.signal, SIGSEGV);
	check_eq(event.syscall, -1);
	check_eq(event.notified, 0);
	for (i = 0; i < sizeof(old.behind); i++)
		check_eq(old.behind[i], 0x5a);
	window_is_sound(&w);
}

static void the_filters_length_is_told_and_bounded(void)
{
	window_init(STUBGUARD_REQUIRE);
	check_op(model_filter_length(), >, 30);
	check_eq(stubguard_filter_flags(), 0);
}

/* The filter of a host without FSGSBASE is longer, and fits too. */
static void the_longest_filter(void)
{
	struct sock_filter filter[STUBGUARD_FILTER_MAX];

	host_answer(HOST_GETAUXVAL, 0);
	window_init(STUBGUARD_REQUIRE);
	check_op(stubguard_filter(filter, STUBGUARD_FILTER_MAX), >, 30);
}

/* Functions of notify mode in a monitor that has none of its stubs. */
static void other_functions(void)
{
	uint64_t identity = 5;

	start();
	/* The stub has no fd of its listener. */
	check_op(get_stub_listener(w.mm.pid, &identity), <, 0);
	check_eq(identity, 5);
	check_eq(stubguard_kill_stub(w.mm.pid, w.mm.identity + 1), -ESRCH);
	window_is_sound(&w);
	check_eq(stubguard_kill_stub(w.mm.pid, w.mm.identity), 0);
	check_eq(WTERMSIG(mm_reap(&w.mm)), SIGKILL);
	check_eq(put_stub_listener(w.mm.listener), 0);
	w.mm.listener = -1;
	mm_forget(&w.mm);
}

static const struct test tests[] = {
	TEST(before_the_start),
	TEST(in_notify_mode),
	TEST(notify_mode_is_as_it_was),
	TEST(the_codes_page),
	TEST(a_resume),
	TEST(a_wait),
	TEST(a_request_is_copied),
	TEST(an_older_caller),
	TEST(the_filters_length_is_told_and_bounded),
	TEST(the_longest_filter),
	TEST(other_functions),
};

HARNESS_MAIN(tests)
