// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reports: the monitor uses no index, length, error or pointer of a guest unchecked, and loads no value
 * twice.
 */
#include "harness.h"
#include "host.h"
#include "model.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/ucontext.h>
#include <ucontext.h>

#define SIGINFO_SIZE 128
#define MCONTEXT_SIZE 256
#define UCONTEXT_HEAD 40
#define MCONTEXT_FPREGS 184
#define SW_RESERVED 464
#define CALLS 5

static struct mm_id mm;
static unsigned int fp_size;

/* Each test starts with a real report, and the monitor's copy of the time before it. */
static struct stub_data real_report, own_before;
/* The data of a test; the stub would see the second one. */
static struct stub_data own;
static struct stub_data shared __attribute__((aligned(4096)));

static void fresh(void)
{
	shared = real_report;
	own = own_before;
}

static void start(void)
{
	model_init(0);
	fp_size = model_config().fp_size;
	mm_start(&mm);
	mm_guest(&mm, "report", 1);
	mm_resume(&mm);
	check_eq(mm_wait_report(&mm), 0);
	real_report = *mm.shared;
	own_before = mm.own;
	check_eq(own_before.restart_wait, 0);
	fresh();
}

static unsigned long *fpregs(struct stub_data *data)
{
	return (unsigned long *)(void *)(data->sigstack + real_report.mctx_offset +
					 MCONTEXT_FPREGS);
}

static unsigned char *fpstate(struct stub_data *data)
{
	return (unsigned char *)data + (*fpregs(&real_report) - STUB_DATA);
}

/* After a 0 a monitor may rely on this, whatever the guest has written. */
static void own_is_sound(int calls, bool has_frame)
{
	unsigned long at;
	unsigned int words[2], magic2;
	size_t i;

	for (i = 0; i < STUB_SIGNALS && own.signal != stub_signals[i]; i++)
		;
	check_op(i, <, STUB_SIGNALS);
	check_op(own.err, <=, 0);
	check_op(own.err, >=, -4095);
	check_op(own.syscall_data_len, >=, 0);
	check(own.syscall_data_len < calls || (own.err == 0 && own.syscall_data_len == 0));
	check_eq(own.restart_wait, 0);
	if (!has_frame)
		return;
	check_op(own.si_offset, <=, PAGE - SIGINFO_SIZE);
	check_eq(own.si_offset % 8, 0);
	check_op(own.mctx_offset, >=, UCONTEXT_HEAD);
	check_op(own.mctx_offset, <=, PAGE - MCONTEXT_SIZE);
	check_eq(own.mctx_offset % 8, 0);
	memcpy(&at, own.sigstack + own.mctx_offset + MCONTEXT_FPREGS, sizeof(at));
	at -= STUB_DATA + offsetof(struct stub_data, sigstack);
	check_op((long)at, >=, 0);
	check_op((long)(at + fp_size), <=, PAGE);
	memcpy(words, own.sigstack + at + SW_RESERVED, sizeof(words));
	if (words[0] == 0x46505853) {
		check_eq(words[1], fp_size + 4);
		check_op((long)(at + words[1]), <=, PAGE);
		memcpy(&magic2, own.sigstack + at + fp_size, sizeof(magic2));
		check_eq(magic2, 0x46505845);
	} else {
		check_eq(fp_size, 512);
	}
}

/* All but the frame, which must not be used then. */
static void own_is_as_before(void)
{
	check_eq(own.signal, own_before.signal);
	check_eq(own.err, own_before.err);
	check_eq(own.syscall_data_len, own_before.syscall_data_len);
	check_eq(own.si_offset, own_before.si_offset);
	check_eq(own.mctx_offset, own_before.mctx_offset);
	check(!memcmp(own.syscall_data, own_before.syscall_data, sizeof(own.syscall_data)));
	check(!memcmp(&own.arch_data, &own_before.arch_data, sizeof(own.arch_data)));
}

static void collects(int calls, int expected)
{
	struct stubguard_stats before = stats();
	short restart_wait = own.restart_wait;
	unsigned int lines = model_log_count(STUBGUARD_LOG_WARNING);
	int ret = stubguard_collect(&shared, &own, calls, 0);

	check_eq(ret, expected);
	if (ret == 0) {
		own_is_sound(calls, restart_wait == 0 && own.err == 0);
	} else {
		own_is_as_before();
		check_eq(own.restart_wait, restart_wait);
	}
	check_eq(stats().breaches, before.breaches + (ret == -EPROTO));
	check_eq(model_log_count(STUBGUARD_LOG_WARNING), lines + (ret == -EPROTO));
}

/* ---- collect, field by field */

static void a_real_report_is_taken_over(void)
{
	start();
	collects(0, 0);
	check_eq(own.signal, SIGSYS);
	check_eq(own.si_offset, real_report.si_offset);
	check_eq(own.mctx_offset, real_report.mctx_offset);
	check(!memcmp(own.sigstack + real_report.mctx_offset,
		      real_report.sigstack + real_report.mctx_offset, MCONTEXT_SIZE));
	check(!memcmp(fpstate(&own), fpstate(&real_report), fp_size));
	check(!strstr(model_log_text, "broke"));
}

static void only_signals_of_stubs_are_reported(void)
{
	static const int bad[] = { INT_MIN, INT_MAX, -SIGSYS, SIGSYS + 256, SIGSYS + 65536, 1000 };
	int sig, expected;
	size_t i;

	start();
	for (sig = -1; sig < 130; sig++) {
		test_context("signal %d", sig);
		expected = -EPROTO;
		for (i = 0; i < STUB_SIGNALS; i++)
			expected = sig == stub_signals[i] ? 0 : expected;
		fresh();
		shared.signal = sig;
		collects(0, expected);
		/* A batch without a resume ends only by SIGSYS. */
		fresh();
		own.restart_wait = 1;
		shared.signal = sig;
		collects(CALLS, sig == SIGSYS ? 0 : -EPROTO);
	}
	for (i = 0; i < COUNT(bad); i++) {
		test_context("signal %d", bad[i]);
		fresh();
		shared.signal = bad[i];
		collects(0, -EPROTO);
	}
}

/* Series, holes 6, 17, 20 */
static void errors_and_lengths_are_bounded(void)
{
	static const struct {
		long err;
		int done;
		int calls;
		int expected;
	} rows[] = {
		{ 0, 0, 0, 0 },
		{ 0, INT_MAX, 0, 0 },
		{ 0, -1, CALLS, 0 },
		{ -EPERM, 0, 1, 0 },
		{ -EPERM, CALLS - 1, CALLS, 0 },
		{ -4095, 0, CALLS, 0 },
		{ -EPERM, CALLS, CALLS, -EPROTO },
		{ -EPERM, -1, CALLS, -EPROTO },
		{ -EPERM, INT_MAX, CALLS, -EPROTO },
		{ -EPERM, INT_MIN, CALLS, -EPROTO },
		/* No batch, no error. */
		{ -EPERM, 0, 0, -EPROTO },
		{ 1, 0, CALLS, -EPROTO },
		{ EPERM, 0, CALLS, -EPROTO },
		{ CALLS_MAX, 0, CALLS, -EPROTO },
		{ LONG_MAX, 0, CALLS, -EPROTO },
		{ LONG_MIN, 0, CALLS, -EPROTO },
		{ -4096, 0, CALLS, -EPROTO },
		{ -4097, 0, CALLS, -EPROTO },
		{ 1L << 32, 0, CALLS, -EPROTO },
		{ 0xffffffff, 0, CALLS, -EPROTO },
		{ -(1L << 32), 0, CALLS, -EPROTO },
	};
	size_t i;
	short restart_wait;

	start();
	for (i = 0; i < COUNT(rows); i++) {
		for (restart_wait = 0; restart_wait < 2; restart_wait++) {
			test_context("row %zu, restart_wait %d", i, restart_wait);
			fresh();
			own.restart_wait = restart_wait;
			shared.err = rows[i].err;
			shared.syscall_data_len = rows[i].done;
			collects(rows[i].calls, rows[i].expected);
			if (rows[i].expected == 0) {
				check_eq(own.err, rows[i].err);
				check_eq(own.syscall_data_len, rows[i].err ? rows[i].done : 0);
			}
		}
	}
}

static void every_offset_of_siginfo(void)
{
	unsigned int offset;

	start();
	for (offset = 0; offset <= USHRT_MAX; offset++) {
		fresh();
		shared.si_offset = (unsigned short)offset;
		test_context("offset %u", offset);
		collects(0, offset % 8 == 0 && offset + SIGINFO_SIZE <= PAGE ? 0 : -EPROTO);
	}
}

static void every_offset_of_the_machine_context(void)
{
	unsigned int offset;
	int ret;

	start();
	for (offset = 0; offset <= USHRT_MAX; offset++) {
		fresh();
		shared.mctx_offset = (unsigned short)offset;
		test_context("offset %u", offset);
		/* At all other offsets there is no pointer to the floating-point state. */
		ret = offset == real_report.mctx_offset ? 0 : -EPROTO;
		if (offset >= UCONTEXT_HEAD && offset % 8 == 0 && offset + MCONTEXT_SIZE <= PAGE &&
		    !memcmp(shared.sigstack + offset + MCONTEXT_FPREGS, fpregs(&real_report), 8))
			ret = 0;
		collects(0, ret);
	}
}

static void floating_point_state_is_where_the_host_puts_it(void)
{
	unsigned long good, sigstack = STUB_DATA + offsetof(struct stub_data, sigstack), at;
	const unsigned long bad[] = {
		0,
		1,
		~0UL,
		STUB_START,
		STUB_DATA,
		sigstack - 64,
		sigstack + PAGE,
		sigstack + PAGE - 64,
		GUEST_STACK,
		(unsigned long)&own,
		(unsigned int)sigstack,
	};
	size_t i;

	start();
	good = *fpregs(&real_report);
	for (i = 0; i < COUNT(bad); i++) {
		test_context("fpregs %#lx", bad[i]);
		fresh();
		*fpregs(&shared) = bad[i];
		collects(0, -EPROTO);
	}
	/* All other addresses around are refused. */
	for (at = sigstack - 256; at < sigstack + PAGE + 256; at++) {
		test_context("fpregs %#lx", at);
		fresh();
		*fpregs(&shared) = at;
		collects(0, at == good ? 0 : -EPROTO);
	}
}

static void floating_point_state_is_as_large_as_the_host_makes_it(void)
{
	static const unsigned int sizes[] = { 0,   1,	 4,	508,	 512,	   516,
					      576, 4096, 65536, INT_MAX, UINT_MAX, UINT_MAX - 3 };
	unsigned int *reserved, *magic2;
	size_t i;

	start();
	if (fp_size == 512)
		test_skip("this host has no extended state");
	reserved = (unsigned int *)(void *)(fpstate(&shared) + SW_RESERVED);
	magic2 = (unsigned int *)(void *)(fpstate(&shared) + fp_size);
	for (i = 0; i < COUNT(sizes); i++) {
		test_context("size %u", sizes[i]);
		if (sizes[i] == fp_size + 4)
			continue;
		fresh();
		reserved[1] = sizes[i];
		collects(0, -EPROTO);
	}
	test_context("one more and less");
	fresh();
	reserved[1]++;
	collects(0, -EPROTO);
	fresh();
	reserved[1]--;
	collects(0, -EPROTO);
	test_context("first magic number");
	fresh();
	reserved[0]++;
	collects(0, -EPROTO);
	test_context("second magic number");
	fresh();
	*magic2 ^= 1;
	collects(0, -EPROTO);
}

static void floating_point_state_without_extension(void)
{
	struct stubguard_config config = model_config();
	unsigned long sigstack = STUB_DATA + offsetof(struct stub_data, sigstack), at;
	bool sound;

	/* A host without XSAVE, and a frame as it would make it. */
	config.fp_size = fp_size = 512;
	model_init_config(&config);
	real_report.signal = SIGSYS;
	real_report.si_offset = 200;
	real_report.mctx_offset = 400;
	for (at = sigstack - 256; at < sigstack + PAGE + 256; at += 4) {
		test_context("fpregs %#lx", at);
		fresh();
		*fpregs(&shared) = at;
		sound = at % 64 == 0 && at >= sigstack + 200 && at + 512 <= sigstack + PAGE;
		collects(0, sound ? 0 : -EPROTO);
	}
}

/* Series, hole 17: `restart_wait` left set; also all other values that a stub must not choose */
static void the_rest_is_not_read(void)
{
	start();
	memset(shared.syscall_data, 0xff, sizeof(shared.syscall_data));
	memset(&shared.arch_data, 0xff, sizeof(shared.arch_data));
	shared.restart_wait = -1;
	shared.futex = 0xffffffff;
	shared.syscall_data_len = INT_MAX;
	own.futex = 0x1234;
	collects(0, 0);
	check(!memcmp(own.syscall_data, own_before.syscall_data, sizeof(own.syscall_data)));
	check(!memcmp(&own.arch_data, &own_before.arch_data, sizeof(own.arch_data)));
	check_eq(own.futex, 0x1234);
	check_eq(own.restart_wait, 0);
	check_eq(own.syscall_data_len, 0);
}

static void a_frame_is_taken_over_after_a_resume_only(void)
{
	start();
	memset(shared.sigstack, 0xff, sizeof(shared.sigstack));
	shared.si_offset = 1;
	shared.mctx_offset = 0xffff;
	own.restart_wait = 1;
	collects(CALLS, 0);
	check(!memcmp(own.sigstack, own_before.sigstack, sizeof(own.sigstack)));
	check_eq(own.si_offset, own_before.si_offset);
	check_eq(own.mctx_offset, own_before.mctx_offset);
	/* After a failed batch the guest was not resumed either. */
	fresh();
	memset(shared.sigstack, 0xff, sizeof(shared.sigstack));
	shared.err = -ENOMEM;
	shared.syscall_data_len = 2;
	collects(CALLS, 0);
	check(!memcmp(own.sigstack, own_before.sigstack, sizeof(own.sigstack)));
	check_eq(own.mctx_offset, own_before.mctx_offset);
}

/* ---- at random, and at once */

static unsigned long next_random(void)
{
	static unsigned long state = 0x9e3779b97f4a7c15UL;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static unsigned long odd_value(void)
{
	static const unsigned long values[] = {
		0,
		1,
		~0UL,
		LONG_MAX,
		LONG_MIN,
		INT_MAX,
		(unsigned long)INT_MIN,
		4095,
		4096,
		-4095UL,
		-4096UL,
		40,
		48,
		3840,
		3968,
		SIGSYS,
		SIGALRM,
		CALLS,
		0x46505853,
		0x46505845,
		STUB_DATA,
		STUB_DATA + PAGE,
		STUB_DATA + 2 * PAGE - 64,
	};
	unsigned long pick = next_random() % (COUNT(values) + 4);

	return pick < COUNT(values) ? values[pick] : next_random();
}

static void corrupt(struct stub_data *data)
{
	const size_t targets[] = {
		offsetof(struct stub_data, err),
		offsetof(struct stub_data, syscall_data_len),
		offsetof(struct stub_data, signal),
		offsetof(struct stub_data, si_offset),
		offsetof(struct stub_data, mctx_offset),
		offsetof(struct stub_data, restart_wait),
		(size_t)((unsigned char *)fpregs(data) - (unsigned char *)data),
		(size_t)(fpstate(data) - (unsigned char *)data) + SW_RESERVED,
		(size_t)(fpstate(data) - (unsigned char *)data) + SW_RESERVED + 4,
		(size_t)(fpstate(data) - (unsigned char *)data) + fp_size,
	};
	unsigned long pick = next_random() % (COUNT(targets) + 2), value = odd_value();
	size_t at = pick < COUNT(targets) ? targets[pick] : next_random() % (sizeof(*data) - 8);
	/* Two, four or eight bytes: a field, a part of one, or neighbouring fields. */
	size_t size = (size_t)2 << (next_random() % 3);

	memcpy((unsigned char *)data + at, &value, size);
}

static void random_corruption_never_gets_through(void)
{
	unsigned long round, i, count, taken = 0;
	int calls;

	start();
	for (round = 0; round < 30000; round++) {
		test_context("round %lu", round);
		fresh();
		own.restart_wait = (short)(next_random() % 8 == 0);
		count = 1 + next_random() % 3;
		calls = next_random() % 2 ? CALLS : 0;
		for (i = 0; i < count; i++)
			corrupt(&shared);
		bool has_frame = own.restart_wait == 0;
		int ret = stubguard_collect(&shared, &own, calls, 0);

		if (ret == 0) {
			taken++;
			own_is_sound(calls, has_frame && own.err == 0);
		} else {
			check_eq(ret, -EPROTO);
			own_is_as_before();
		}
		/* The copy can be published, or is refused. */
		ret = stubguard_publish(&shared, &own, calls);
		check(ret == 0 || ret == -EINVAL);
	}
	/* Many reports were taken, and many were refused. */
	check_op(taken, >, 300);
	check_op(stats().breaches, >, 300);
}

static atomic_bool racing;

static void *race(void *argument)
{
	volatile struct stub_data *data = argument;
	volatile unsigned long *pointer = fpregs(argument);
	volatile unsigned int *reserved = (unsigned int *)(void *)(fpstate(argument) + SW_RESERVED);
	unsigned long good = *fpregs(&real_report);
	unsigned int size = reserved[1];
	unsigned long round;

	for (round = 0; racing; round++) {
		data->mctx_offset = round % 3 ? real_report.mctx_offset : 0xfff8;
		data->si_offset = round % 5 ? real_report.si_offset : 0xfff8;
		data->signal = round % 7 ? SIGSYS : 99;
		data->err = round % 11 ? 0 : (long)round;
		data->syscall_data_len = round % 2 ? INT_MAX : 0;
		*pointer = round % 13 ? good : ~0UL;
		reserved[1] = round % 17 ? size : UINT_MAX;
	}
	return NULL;
}

static void a_racing_guest_never_gets_through(void)
{
	pthread_t thread;
	unsigned long round, taken = 0, refused = 0;
	int ret;

	start();
	racing = true;
	check_eq(pthread_create(&thread, NULL, race, &shared), 0);
	/* Until there were both: the other thread may get no CPU for a long time. */
	for (round = 0; round < 100000 || !taken || !refused; round++) {
		own = own_before;
		ret = stubguard_collect(&shared, &own, CALLS, 0);
		if (ret == 0) {
			taken++;
			own_is_sound(CALLS, own.err == 0);
		} else {
			refused++;
			check_eq(ret, -EPROTO);
		}
	}
	racing = false;
	pthread_join(thread, NULL);
}

/* ---- every access to the shared memory, one by one */

static struct {
	unsigned char *base;
	unsigned int loads[2 * PAGE], stores[2 * PAGE];
	long at;		/* of the access that is under way */
	bool spoil;		/* change what has been loaded */
} watched;

static void protect(int prot)
{
	raw(SYS_mprotect, watched.base, 2 * PAGE, prot);
}

/* Notes an access, and lets this one instruction make it. */
static void on_access(int sig, siginfo_t *info, void *context)
{
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
	long at = (long)((unsigned char *)info->si_addr - watched.base);

	if (at < 0 || at >= (long)(2 * PAGE))
		test_fail(__FILE__, __LINE__, "signal %d at %p", sig, info->si_addr);
	if (regs[REG_ERR] & 2)
		watched.stores[at]++;
	else
		watched.loads[at]++;
	watched.at = regs[REG_ERR] & 2 ? -1 : at;
	protect(PROT_READ | PROT_WRITE);
	regs[REG_EFL] |= 0x100;
}

static void after_access(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)info;
	/* A guest that is always fast enough: it changes a value right after its load. */
	if (watched.spoil && watched.at >= 0 &&
	    watched.at < (long)offsetof(struct stub_data, sigstack))
		watched.base[watched.at] = 0xee;
	protect(PROT_NONE);
	((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~0x100LL;
}

static void watch(const struct stub_data *content, bool spoil)
{
	struct sigaction access = { .sa_sigaction = on_access, .sa_flags = SA_SIGINFO };
	struct sigaction step = { .sa_sigaction = after_access, .sa_flags = SA_SIGINFO };

	if (!watched.base) {
		watched.base = (void *)raw(SYS_mmap, 0, 2 * PAGE, PROT_READ | PROT_WRITE,
					   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		check((long)watched.base > 0);
		check_eq(sigaction(SIGSEGV, &access, NULL), 0);
		check_eq(sigaction(SIGTRAP, &step, NULL), 0);
	}
	memset(watched.loads, 0, sizeof(watched.loads));
	memset(watched.stores, 0, sizeof(watched.stores));
	watched.spoil = spoil;
	protect(PROT_READ | PROT_WRITE);
	memcpy(watched.base, content, sizeof(*content));
	protect(PROT_NONE);
}

/* Each byte of the field was loaded once, or never. */
static void is_loaded(const char *what, size_t at, size_t size, bool loaded)
{
	unsigned int loads = 0;
	size_t i;

	test_context("%s", what);
	for (i = 0; i < size; i++) {
		check_op(watched.loads[at + i], <=, 1);
		loads += watched.loads[at + i];
	}
	check_eq(loads > 0, loaded);
	test_context_end();
}

#define LOADS(member, loaded) \
	is_loaded(#member, offsetof(struct stub_data, member), sizeof(shared.member), loaded)

static void nothing_is_loaded_twice(void)
{
	size_t at, frame = 0;

	start();
	watch(&shared, false);
	check_eq(stubguard_collect(watched.base, &own, CALLS, 0), 0);
	own_is_sound(CALLS, true);
	for (at = 0; at < 2 * PAGE; at++) {
		/* A copy of many bytes may overlap itself; only the frame's copy is checked later. */
		check_op(watched.loads[at], <=, at < offsetof(struct stub_data, sigstack) ? 1 : 2);
		/* A report is only read. */
		check_eq(watched.stores[at], 0);
		frame += at >= offsetof(struct stub_data, sigstack) ? watched.loads[at] : 0;
	}
	check_op(frame, >, 10);
	LOADS(signal, 1);
	LOADS(err, 1);
	LOADS(syscall_data_len, 0);
	LOADS(si_offset, 1);
	LOADS(mctx_offset, 1);
	LOADS(restart_wait, 0);
	LOADS(futex, 0);
	LOADS(arch_data, 0);
	LOADS(syscall_data, 0);

	shared.err = -ENOMEM;
	shared.syscall_data_len = 1;
	own = own_before;
	watch(&shared, false);
	check_eq(stubguard_collect(watched.base, &own, CALLS, 0), 0);
	LOADS(err, 1);
	LOADS(syscall_data_len, 1);
	LOADS(sigstack, 0);
}

static void what_is_checked_is_what_is_stored(void)
{
	start();
	watch(&shared, true);
	check_eq(stubguard_collect(watched.base, &own, CALLS, 0), 0);
	own_is_sound(CALLS, true);
	check_eq(own.signal, SIGSYS);
	check_eq(own.si_offset, real_report.si_offset);
	check_eq(own.mctx_offset, real_report.mctx_offset);

	shared.err = -ENOMEM;
	shared.syscall_data_len = 1;
	own = own_before;
	watch(&shared, true);
	check_eq(stubguard_collect(watched.base, &own, CALLS, 0), 0);
	check_eq(own.err, -ENOMEM);
	check_eq(own.syscall_data_len, 1);
}

static void a_publication_loads_nothing(void)
{
	size_t at, stores = 0;

	start();
	watch(&shared, false);
	check_eq(stubguard_publish(watched.base, &own, CALLS), 0);
	for (at = 0; at < 2 * PAGE; at++) {
		check_eq(watched.loads[at], 0);
		stores += watched.stores[at];
	}
	check_op(stores, >, 10);
	check_eq(watched.stores[offsetof(struct stub_data, futex)], 0);
}

/* ---- publish */

static void a_publication_is_all_that_the_stub_needs(void)
{
	unsigned int frame;

	start();
	memset(&shared, 0x55, sizeof(shared));
	memset(own.syscall_data, 0x66, sizeof(own.syscall_data));
	own.arch_data = (struct stub_data_arch){ 3, 0x1111, 0x2222 };
	check_eq(stubguard_publish(&shared, &own, CALLS), 0);
	check_eq(shared.err, 0);
	check_eq(shared.signal, 0);
	check_eq(shared.syscall_data_len, CALLS);
	check_eq(shared.restart_wait, 0);
	check(!memcmp(shared.syscall_data, own.syscall_data, CALLS * sizeof(own.syscall_data[0])));
	/* Only the calls of the batch are written. */
	check_eq(*(unsigned char *)&shared.syscall_data[CALLS], 0x55);
	check(!memcmp(&shared.arch_data, &own.arch_data, sizeof(own.arch_data)));
	/* The caller writes the futex later. */
	check_eq(shared.futex, 0x55555555);
	frame = own.mctx_offset - UCONTEXT_HEAD;
	frame = frame < own.si_offset ? frame : own.si_offset;
	check(!memcmp(shared.sigstack + frame, own.sigstack + frame, PAGE - frame));
}

static void a_stub_that_is_not_to_resume_keeps_its_frame(void)
{
	size_t i;

	start();
	memset(&shared, 0x55, sizeof(shared));
	own.restart_wait = 1;
	/* And it needs none. */
	own.mctx_offset = 0xffff;
	check_eq(stubguard_publish(&shared, &own, CALLS_MAX), 0);
	check_eq(shared.restart_wait, 1);
	check_eq(shared.syscall_data_len, CALLS_MAX);
	for (i = 0; i < sizeof(shared.sigstack); i++)
		check_eq(shared.sigstack[i], 0x55);
}

static void bad_arguments_change_nothing(void)
{
	static struct stub_data shared_before;
	static const int lengths[] = { -1, INT_MIN, CALLS_MAX + 1, INT_MAX };
	static const unsigned short offsets[] = { 0, 39, 44, 0xffff, PAGE - MCONTEXT_SIZE + 8 };
	size_t i;

	start();
	memset(&shared, 0x55, sizeof(shared));
	shared_before = shared;
	check_eq(stubguard_publish(NULL, &own, 0), -EINVAL);
	check_eq(stubguard_publish(&shared, NULL, 0), -EINVAL);
	check_eq(stubguard_publish(NULL, NULL, 0), -EINVAL);
	check_eq(stubguard_publish(&shared, &shared, 0), -EINVAL);
	check_eq(stubguard_collect(NULL, &own, 0, 0), -EINVAL);
	check_eq(stubguard_collect(&shared, NULL, 0, 0), -EINVAL);
	check_eq(stubguard_collect(NULL, NULL, 0, 0), -EINVAL);
	check_eq(stubguard_collect(&own, &own, 0, 0), -EINVAL);
	for (i = 0; i < COUNT(lengths); i++) {
		test_context("%d calls", lengths[i]);
		check_eq(stubguard_publish(&shared, &own, lengths[i]), -EINVAL);
		if (lengths[i] < 0)
			check_eq(stubguard_collect(&shared, &own, lengths[i], 0), -EINVAL);
	}
	for (i = 0; i < COUNT(offsets); i++) {
		test_context("a frame at %u", offsets[i]);
		own.mctx_offset = offsets[i];
		check_eq(stubguard_publish(&shared, &own, 0), -EINVAL);
		own.mctx_offset = own_before.mctx_offset;
		own.si_offset = (unsigned short)(offsets[i] | 1);
		check_eq(stubguard_publish(&shared, &own, 0), -EINVAL);
		own.si_offset = own_before.si_offset;
	}
	test_context_end();
	check(!memcmp(&shared, &shared_before, sizeof(shared)));
	check(!memcmp(&own, &own_before, sizeof(own)));
	check_eq(stats().breaches, 0);
}

/* An index must not be compared with a length that no batch can have. */
static void more_calls_than_there_are_cannot_have_been_published(void)
{
	start();
	shared.err = -EPERM;
	shared.syscall_data_len = INT_MAX - 1;
	check(stubguard_collect(&shared, &own, INT_MAX, 0) < 0);
	own_is_as_before();
}

/* ---- a real stub jumps to its handler with arguments of its own */

static void a_forged_report_is_a_breach(void)
{
	static const struct {
		const char *what;
		unsigned long signal, info, context;
	} rows[] = {
		{ "a signal that is none", 99, STUB_DATA + PAGE + 2048, STUB_DATA + PAGE + 1024 },
		{ "no signal", 0, STUB_DATA + PAGE + 2048, STUB_DATA + PAGE + 1024 },
		{ "a frame below the stack", SIGSYS, STUB_DATA + PAGE + 2048, STUB_DATA },
		{ "a frame above the stack", SIGSYS, STUB_DATA + PAGE + 2048,
		  STUB_DATA + 2 * PAGE - 64 },
		{ "a frame of zeros", SIGSYS, STUB_DATA + PAGE + 64, STUB_DATA + PAGE + 64 },
		{ "siginfo in the guest's memory", SIGSYS, GUEST_STACK, STUB_DATA + PAGE + 1024 },
		{ "siginfo at the end", SIGSYS, STUB_DATA + 2 * PAGE - 8, STUB_DATA + PAGE + 1024 },
	};
	char line[64];
	size_t i;

	model_init(0);
	for (i = 0; i < COUNT(rows); i++) {
		unsigned long args[6] = { rows[i].signal, rows[i].info, rows[i].context };

		test_context("%s", rows[i].what);
		mm_start(&mm);
		mm_call(&mm, mm_handler(), 0, args);
		mm_resume(&mm);
		check_eq(mm_wait(&mm), -EPROTO);
		snprintf(line, sizeof(line), "stub %d broke the protocol (", mm.pid);
		check(strstr(model_log_text, line) != NULL);
		check_eq(stubguard_kill_stub(mm.pid, mm.identity), 0);
		mm_wait_dead(&mm);
		mm_end(&mm);
	}
	check_eq(stats().breaches, COUNT(rows));
	check_eq(stats().kills, COUNT(rows));
}

static const struct test tests[] = {
	TEST(a_real_report_is_taken_over),
	TEST(only_signals_of_stubs_are_reported),
	TEST(errors_and_lengths_are_bounded),
	TEST(every_offset_of_siginfo),
	TEST(every_offset_of_the_machine_context),
	TEST(floating_point_state_is_where_the_host_puts_it),
	TEST(floating_point_state_is_as_large_as_the_host_makes_it),
	TEST(floating_point_state_without_extension),
	TEST(the_rest_is_not_read),
	TEST(a_frame_is_taken_over_after_a_resume_only),
	TEST(random_corruption_never_gets_through),
	TEST(a_racing_guest_never_gets_through),
	TEST(nothing_is_loaded_twice),
	TEST(what_is_checked_is_what_is_stored),
	TEST(a_publication_loads_nothing),
	TEST(a_publication_is_all_that_the_stub_needs),
	TEST(a_stub_that_is_not_to_resume_keeps_its_frame),
	TEST(bad_arguments_change_nothing),
	TEST(more_calls_than_there_are_cannot_have_been_published),
	TEST(a_forged_report_is_a_breach),
};

HARNESS_MAIN(tests)
