// SPDX-License-Identifier: GPL-2.0-only
/*
 * Parking and reporting by hand: with arguments and frames that no host makes, or
 * to run on beside the kernel. The task may die, the guest must not.
 */
#include "hostile.h"

#include <asm/prctl.h>
#include <sys/auxv.h>

/* ---- forged-park */

/* A word of the stub's data, and its value after the frame is made. */
struct change {
	uint64_t *word, value;
};

struct forgery {
	uint64_t what, second, third;
	bool pointers;			/* use the genuine siginfo and ucontext */
	uintptr_t entry;		/* 0: the call's instruction */
	uint64_t eflags;
	struct change change[2];
	int64_t ticket;			/* added to the proper one */
};

static unsigned int forged;

#define FLAGS_IOPL	0x3000

static void try_forgery(void *arg)
{
	const struct forgery *f = arg;
	int i;

	limit_child();
	park.forged = (uint64_t)f->ticket;
	make_park_frame((uintptr_t)landing);
	set_park_syscall(SYS_getpid);
	for (i = 0; i < 2; i++)
		if (f->change[i].word)
			*f->change[i].word = f->change[i].value;
	forge_park_at(f->entry ? f->entry : park.site, f->eflags ? f->eflags : 0x202, f->what,
		      f->pointers ? (uint64_t)park_siginfo() : f->second,
		      f->pointers ? (uint64_t)park.frame : f->third);
	shared->counter++;
	if (landing_flags & FLAGS_IOPL || (segment_cs() & 3) != 3)
		set_verdict(BREACHED, "a forged frame gave it flags %#lx, cs %#x",
			    landing_flags, segment_cs());
	_exit(0);
}

static void forge(struct forgery f)
{
	in_child(try_forgery, &f);
	forged++;
	if (shared->kind == BREACHED)
		_exit(0);
}

#define genuine(signal, ...) \
	((struct forgery){ .what = (uint64_t)(signal), .pointers = true, __VA_ARGS__ })

static const int signals[] = { SIGSYS, SIGSEGV, SIGALRM, SIGTRAP, SIGILL, SIGFPE, SIGBUS };

static const uint64_t strange[] = {
	0, 1, 0xff, 0x1000, 0x7fffffff, 0x80000000, 0xffffffff, 0x7fffffffffff,
	0x800000000000, 0xffff800000000000, 0xffffffff81000000, 0xfffffffffffff000,
	UINT64_MAX,
};

/* Forges the first argument: all signals, values that may mean something else, and more. */
static void forge_what(void)
{
	uint64_t what;
	int bit;

	step("handing over with a forged signal");
	for (what = 0; what < 0x2000; what += what < 0x80 || (what >= 0xfe0 && what < 0x1020) ? 1 : 11)
		forge(genuine(what));
	for (bit = 7; bit < 64; bit++)
		forge(genuine(1UL << bit | SIGSYS));
	forge(genuine(-1));
}

static void forge_pointers(void)
{
	uintptr_t info = (uintptr_t)park_siginfo(), frame = (uintptr_t)park.frame;
	static char own[2 * PAGE];
	const uint64_t place[] = {
		(uint64_t)own, (uint64_t)own + 3, stub.code, stub.data, stub.end - 8,
		stub.end, frame + 1, frame + 8, frame - 16, frame + PAGE, frame - PAGE,
		frame + 0x10000, info, info + 4, 0, 8, 0xffffffff81000000, UINT64_MAX,
		UINT64_MAX - 40, 1UL << 63, (1UL << 48) + frame,
	};
	size_t s, i, j;

	step("handing over with forged pointers");
	for (s = 0; s < 3; s++) {
		for (i = 0; i < ARRAY_SIZE(place); i++) {
			forge((struct forgery){ (uint64_t)signals[s], place[i], frame,
						.pointers = false });
			forge((struct forgery){ (uint64_t)signals[s], info, place[i],
						.pointers = false });
			j = (i + s) % ARRAY_SIZE(place);
			forge((struct forgery){ (uint64_t)signals[s], place[i], place[j],
						.pointers = false });
		}
	}
}

/* Forges the address, as if a signal had come while the stub's own code ran. */
static void forge_places(void)
{
	uint64_t *rip = (uint64_t *)&park.frame->uc_mcontext.gregs[REG_RIP];
	uintptr_t p;

	step("handing over with a saved instruction pointer in the stub");
	for (p = stub.code - 2; p < stub.end + 2; p += p < stub.code_end ? 1 : 61) {
		forge(genuine(SIGALRM, .change = { { rip, p } }));
		if (p % 4 == 0)
			forge(genuine(signals[p / 4 % ARRAY_SIZE(signals)],
				      .change = { { rip, p } }));
	}
}

static void forge_registers(void)
{
	uint64_t *regs = (uint64_t *)park.frame->uc_mcontext.gregs;
	size_t r, v;
	int bit;

	step("handing over with forged registers");
	for (r = 0; r < NGREG; r++)
		for (v = 0; v < ARRAY_SIZE(strange); v++)
			forge(genuine(signals[(r + v) % ARRAY_SIZE(signals)],
				      .change = { { &regs[r], strange[v] } }));
	for (bit = 0; bit < 64; bit++)
		forge(genuine(bit % 2 ? SIGALRM : SIGSYS,
			      .change = { { &regs[REG_EFL], 0x202 ^ 1UL << bit } }));
	/* each selector, and each of the last exceptions */
	for (v = 0; v < 0x60; v++) {
		forge(genuine(SIGSYS, .change = { { &regs[REG_CSGSFS], (uint64_t)segment_ss() << 48 | v } }));
		forge(genuine(SIGALRM, .change = { { &regs[REG_CSGSFS], v << 48 | segment_cs() } }));
	}
	for (v = 0; v < 40; v++)
		forge(genuine(SIGSEGV, .change = { { &regs[REG_TRAPNO], v },
						   { &regs[REG_ERR], 1UL << v } }));
}

#define XSTATE_BV	512
#define XCOMP_BV	520
#define SW_BYTES	464

static uint64_t *fp_word(size_t at)
{
	return (uint64_t *)((char *)park_fpstate() + at);
}

static void forge_fp_state(void)
{
	size_t at, v;
	int bit;

	step("handing over with forged floating-point state");
	for (bit = 0; bit < 64; bit++) {
		forge(genuine(SIGALRM, .change = { { fp_word(XSTATE_BV), 1UL << bit } }));
		forge(genuine(SIGSYS, .change = { { fp_word(XCOMP_BV), 1UL << bit } }));
		forge(genuine(SIGALRM, .change = { { fp_word(24), 1UL << bit },
						   { fp_word(XSTATE_BV), 7 } }));
		forge(genuine(SIGSYS, .change = { { fp_word(528), 1UL << bit } }));
	}
	for (at = SW_BYTES; at < XSTATE_BV; at += 8)
		for (v = 0; v < ARRAY_SIZE(strange); v++)
			forge(genuine(SIGALRM, .change = { { fp_word(at), strange[v] } }));
	for (v = 0; v < ARRAY_SIZE(strange); v++) {
		forge(genuine(SIGALRM, .change = { { fp_word(v * 8), strange[v] } }));
		forge(genuine(SIGSYS, .change = {
			{ (uint64_t *)&park.frame->uc_mcontext.fpregs, strange[v] } }));
	}
}

static void forge_siginfo(void)
{
	uint64_t *info = (uint64_t *)park_siginfo();
	size_t w, v, s;

	step("handing over with a forged siginfo");
	for (w = 0; w < sizeof(siginfo_t) / 8; w += w < 4 ? 1 : 5)
		for (v = 0; v < ARRAY_SIZE(strange); v++)
			for (s = 0; s < 2; s++)
				forge(genuine(signals[s], .change = { { &info[w], strange[v] } }));
}

/* Forges results of a batch, near the values that may mean "failed". */
static void forge_results(void)
{
	static const uint64_t result[] = { 0, 1, 77, (uint64_t)-1, (uint64_t)-4095,
					   (uint64_t)-4096, 1UL << 63 };
	static const uint64_t left[] = { 0, 1, 2, 112, 1UL << 31, UINT32_MAX, UINT64_MAX };
	uint64_t what;
	size_t i, j;

	step("handing over as if a batch had ended");
	for (what = 0xfff; what <= 0x1002; what++)
		for (i = 0; i < ARRAY_SIZE(result); i++)
			for (j = 0; j < ARRAY_SIZE(left); j++)
				forge((struct forgery){ what, result[i], left[j],
							.pointers = false });
}

/* Enters the handler, or its call, with each flag of EFLAGS: a call keeps them. */
static void forge_flags(void)
{
	int bit;

	step("handing over with strange flags");
	for (bit = 0; bit < 22; bit++) {
		forge(genuine(SIGSYS, .eflags = 0x202 ^ 1UL << bit));
		forge(genuine(SIGALRM, .eflags = 0x202 ^ 1UL << bit, .entry = stub.code));
	}
}

static void try_report(void *arg)
{
	const uint16_t *offset = arg;

	limit_child();
	prepare_forgery();
	*report.si_offset = offset[0];
	*report.mctx_offset = offset[1];
	*report.err = (int16_t)offset[2];
	*report.length = offset[2];
	forge_report(offset[3]);
	await_resume();
	shared->counter++;
	_exit(0);
}

/* Forges reports of stubs that report through memory. */
static void forge_reports(void)
{
	static const uint16_t odd[] = { 0xffff, 0, 1, 8, 0x27, 0x1000, 0x1ff0, 0x7fff };
	uint16_t offset[4];
	size_t i, j, s;

	step("reporting with forged offsets");
	(void)site_for(SYS_futex);
	for (i = 0; i < ARRAY_SIZE(odd); i++) {
		for (j = 0; j < ARRAY_SIZE(odd); j++) {
			for (s = 0; s < ARRAY_SIZE(signals); s++) {
				memcpy(offset, (uint16_t[]){ odd[i], odd[j], s & 1 ? odd[i] : 0,
							     (uint16_t)signals[s] }, sizeof(offset));
				in_child(try_report, offset);
				forged++;
			}
		}
	}
	memcpy(offset, (uint16_t[]){ *report.si_offset, *report.mctx_offset }, 4);
	for (i = 0; i < 0x2000; i += i < 80 ? 1 : 101) {
		offset[2] = 0;
		offset[3] = (uint16_t)i;
		in_child(try_report, offset);
		forged++;
	}
	conclude(BLOCKED, "%u forged reports, %lu of them resumed", forged, shared->counter);
}

/* Forges tickets of other resumes: a park that was handled already, or is none. */
static void forge_tickets(void)
{
	static const int64_t off[] = { -1, -2, 1, 2, -1000, 1000, INT64_MIN, 1L << 32 };
	size_t i, s;

	step("handing over with a forged ticket");
	for (s = 0; park.ticket && s < ARRAY_SIZE(signals); s++)
		for (i = 0; i < ARRAY_SIZE(off); i++)
			forge(genuine(signals[s], .ticket = off[i]));
}

#define SOUND_TRIES	20

void forged_park(void)
{
	int i;

	if (find_report())
		forge_reports();
	if (!find_park())
		conclude(INCONCLUSIVE, "the park was not found");
	/* A timer tick in between replaces the frame */
	for (i = 0; i < SOUND_TRIES && !shared->counter; i++)
		forge(genuine(SIGSYS));
	if (!shared->counter)
		conclude(INCONCLUSIVE, "a sound frame was not taken");
	forge_pointers();
	forge_registers();
	forge_fp_state();
	forge_siginfo();
	forge_results();
	forge_flags();
	forge_places();
	forge_tickets();
	forge_what();
	conclude(BLOCKED, "%u forged hand-overs, %lu of them resumed", forged, shared->counter);
}

/* ---- corrupt-data: no jump into the stub's code, only changes of its data */

struct corruption {
	uint64_t *word, value;
	unsigned int way;
};

static void take_trap(int sig)
{
	(void)sig;
}

/* Enters the kernel in all ways; the tick is one of them. */
static void hand_over(unsigned int way)
{
	static const struct timespec nothing;
	uint64_t until;

	switch (way) {
	case 0:
		syscall(SYS_getppid);
		break;
	case 1:
		sigaltstack(NULL, NULL);
		break;
	case 2:
		*(volatile char *)reserve(PAGE) = 1;
		break;
	case 3:
		asm volatile("int3");
		break;
	case 4:
		clock_nanosleep(CLOCK_MONOTONIC, 0, &nothing, NULL);
		break;
	default:
		until = __rdtsc() + 40000000;	/* some 15 ms: a tick */
		while (__rdtsc() < until)
			_mm_pause();
		break;
	}
}

#define WAYS	6

static void try_corruption(void *arg)
{
	const struct corruption *c = arg;
	pid_t me = getpid();
	volatile uint64_t kept = c->value ^ c->way;

	limit_child();
	signal(SIGTRAP, take_trap);
	*c->word = c->value;
	hand_over(c->way);
	if (getpid() != me || kept != (c->value ^ c->way))
		set_verdict(BREACHED, "data%+ld set to %#lx: it goes on as somebody else",
			    (long)((uintptr_t)c->word - stub.data), c->value);
	shared->counter++;
	_exit(0);
}

/* Waiting for a tick takes long, and it is a signal like any other: take it less often. */
static bool has_its_turn(unsigned int turn, unsigned int way, size_t v)
{
	if (turn % (way == WAYS - 1 ? 16 : 2))
		return false;
	return (v + turn / 2) % ARRAY_SIZE(strange) == 0;
}

/* Changes each word, with ways and values in turn; with HOSTILE_FULL with all of them. */
void corrupt_data(void)
{
	bool full = getenv("HOSTILE_FULL");
	struct corruption c;
	unsigned int tried = 0, turn = 0;
	size_t v;

	for (c.word = (uint64_t *)stub.data; c.word < (uint64_t *)stub.end; c.word++, turn++) {
		step("changing data%+ld", (long)((uintptr_t)c.word - stub.data));
		for (c.way = 0; c.way < WAYS; c.way++, turn++) {
			for (v = 0; v < ARRAY_SIZE(strange); v++) {
				if (!full && !has_its_turn(turn, c.way, v))
					continue;
				c.value = strange[v];
				in_child(try_corruption, &c);
				tried++;
				if (shared->kind == BREACHED)
					_exit(0);
			}
		}
	}
	conclude(BLOCKED, "%u changes of %lu words before %d ways to hand over, %lu of no effect",
		 tried, (stub.end - stub.data) / 8, WAYS, shared->counter);
}

/* ---- run-beside */

static int held[2];	/* a pipe from which a read waits */

struct way {
	uintptr_t entry;
	bool report;	/* through memory */
};

static void count(void)
{
	for (;;)
		shared->counter++;
}

/* Makes the kernel make a call for it, and runs fn meanwhile. */
static void call_beside(const struct way *way, int32_t nr, const long arg[3], void (*fn)(void))
{
	greg_t *regs = way->report ? report.frame->gregs : park.frame->uc_mcontext.gregs;

	if (way->report) {
		block_ticks();	/* a tick would stop it */
		prepare_forgery();
		memcpy((char *)report.frame + FRAME_SIGINFO + SIGINFO_SYSCALL, &nr, sizeof(nr));
	} else {
		make_park_frame((uintptr_t)fn);
		set_park_syscall(nr);
	}
	regs[REG_RDI] = arg[0];
	regs[REG_RSI] = arg[1];
	regs[REG_RDX] = arg[2];
	if (way->report)
		forge_report(SIGSYS);
	else
		forge_park_at(way->entry, 0x202, SIGSYS, (uint64_t)park_siginfo(),
			      (uint64_t)park.frame);
	fn();
}

/* Makes the kernel read from the pipe for it, and counts meanwhile. */
static void try_beside(void *arg)
{
	static volatile char byte;
	const long read_byte[3] = { held[0], (long)&byte, 1 };

	shared->counter++;	/* touches the page: a fault later would report */
	byte = 0;
	call_beside(arg, SYS_read, read_byte, count);
}

/* The task's state in the guest kernel; 0 if it is dead. */
static char state_of(pid_t pid)
{
	char path[32], text[256] = "", *p;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY);
	if (fd >= 0 && read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close(fd);
	p = strrchr(text, ')');
	return p && p[2] != 'Z' ? p[2] : 0;
}

static const struct timespec moment = { .tv_nsec = 2000000 };

enum beside { DIED, HELD, BESIDE, NOT_HELD };

static enum beside run_one_beside(struct way way)
{
	enum beside result = NOT_HELD;
	uint64_t before, after;
	double end, nap = stretched(0.1);
	const struct timespec pause_of_it = { (time_t)nap, (long)((nap - (double)(time_t)nap) * 1e9) };
	char state = 'R';
	pid_t pid = fork();

	if (pid == 0)
		try_beside(&way);
	if (pid < 0)
		conclude(INCONCLUSIVE, "fork: %s", strerror(errno));
	for (end = now() + stretched(0.1); now() < end && state == 'R';) {
		nanosleep(&moment, NULL);
		state = state_of(pid);
	}
	if (state == 'S') {
		before = shared->counter;
		nanosleep(&pause_of_it, NULL);
		after = shared->counter;
		if (state_of(pid) == 'S')
			result = after > before + 1 ? BESIDE : HELD;
	} else if (!state) {
		result = DIED;
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return result;
}

void run_beside(void)
{
	unsigned int tried = 0, held_in = 0;
	struct way way = { .report = find_report() };
	uintptr_t end = way.report ? stub.code + 1 : stub.code_end;
	enum beside result;

	if (pipe(held))
		conclude(INCONCLUSIVE, "pipe: %s", strerror(errno));
	if (way.report)
		(void)(site_for(SYS_futex) && find_sigreturn());
	else if (!find_park())
		conclude(INCONCLUSIVE, "neither a report nor a park was found");
	for (way.entry = stub.code; way.entry < end; way.entry++) {
		step("counting while the kernel reads from a pipe for it, entry code+%#lx",
		     way.entry - stub.code);
		result = run_one_beside(way);
		tried++;
		held_in += result == HELD;
		if (result == BESIDE)
			conclude(BREACHED, "a counter went on while the kernel read from a pipe for the process");
	}
	if (!held_in)
		conclude(INCONCLUSIVE, "the kernel took none of %u calls", tried);
	conclude(BLOCKED, "%u entries, through %u the kernel took the call: the counter stood still",
		 tried, held_in);
}

/* ---- exit-beside: goes on writing to its pages while the kernel ends the process and frees them */

#define BESIDE_ROUNDS	60
#define FIRST_PAGES	64	/* are freed first, */
#define LATER_PAGES	2048	/* and these take their time */
#define FIRST_AT	0x20000000UL
#define TAG		0xbe51de0fbe51de0fUL

static void write_on(void)
{
	volatile uint64_t *first = (volatile uint64_t *)FIRST_AT;
	size_t i;

	for (;;)
		for (i = 0; i < FIRST_PAGES; i++)
			first[i * PAGE / 8 + 7] = TAG;
}

static void exit_and_write_on(void *arg)
{
	static const long none[3];
	size_t i;

	if (mmap((void *)FIRST_AT, FIRST_PAGES * PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != (void *)FIRST_AT)
		_exit(1);
	for (i = 0; i < FIRST_PAGES; i++)
		*(volatile char *)(FIRST_AT + i * PAGE) = 1;
	memset((void *)reserve(LATER_PAGES * PAGE), 1, LATER_PAGES * PAGE);
	shared->at = 1;
	call_beside(arg, SYS_exit_group, none, write_on);
}

/* Takes pages as they become free, and looks whether somebody still writes to them. */
static bool finds_tags(void)
{
	volatile uint64_t *page = (uint64_t *)reserve(FIRST_PAGES * PAGE);
	bool found = false;
	size_t i, looks;

	for (i = 0; i < FIRST_PAGES; i++)
		page[i * PAGE / 8] = 1;
	for (looks = 0; looks < 20; looks++)
		for (i = 0; i < FIRST_PAGES; i++)
			found |= page[i * PAGE / 8 + 7] == TAG;
	munmap((void *)page, FIRST_PAGES * PAGE);
	return found;
}

void exit_beside(void)
{
	struct way way = { .report = find_report(), .entry = 0 };
	unsigned int round, ended = 0;
	int status;
	pid_t pid;

	if (way.report)
		(void)(site_for(SYS_futex) && find_sigreturn());
	else if (!find_park())
		conclude(INCONCLUSIVE, "neither a report nor a park was found");
	way.entry = park.site;
	for (round = 0; round < BESIDE_ROUNDS; round++) {
		step("writing on while the kernel frees the pages, round %u", round);
		shared->at = 0;
		pid = fork();
		if (pid == 0)
			exit_and_write_on(&way);
		if (pid < 0)
			conclude(INCONCLUSIVE, "fork: %s", strerror(errno));
		do {
			if (shared->at && finds_tags())
				conclude(BREACHED, "a process wrote to pages that were another's already, as it ended");
		} while (waitpid(pid, &status, WNOHANG) == 0);
		ended += WIFEXITED(status);
	}
	if (!ended)
		conclude(INCONCLUSIVE, "the kernel took none of %u calls", round);
	conclude(BLOCKED, "%u of %u processes ended by a call that the kernel made for them: no page was written afterwards",
		 ended, round);
}

/* ---- storm */

#define BROKEN_STUBS	300
#define DENIED_CALLS	20

/* Makes calls that the monitor has to answer, then a report that no stub makes. */
static void break_stub(void *arg)
{
	unsigned int n = *(unsigned int *)arg;
	const long map[6] = { (long)reserve(PAGE), 1L << 30, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_FIXED, (long)n % 5, (long)n * (long)PAGE };
	int i;

	limit_child();
	for (i = 0; i < DENIED_CALLS; i++)
		host_call_at(stub.site[n % stub.nsites], SYS_mmap, map);
	if (park.site) {
		make_park_frame((uintptr_t)landing);
		forge_park(n, __rdtsc(), (uint64_t)park.frame + n);
	} else {
		memset((void *)stub.data, (int)n, PAGE);
		asm volatile("int3");
	}
	_exit(0);
}

static void break_stubs(void)
{
	unsigned int n;

	for (n = 0; n < BROKEN_STUBS; n++)
		in_child(break_stub, &n);
	shared->stop = true;
	_exit(0);
}

#define SLOW_NAP	0.1	/* seconds */

void storm(void)
{
	static const struct timespec nap = { .tv_nsec = 5000000 };
	double worst = 0, sum = 0, own = own_time(), start;
	unsigned int naps = 0;
	pid_t pid;

	if (!find_report() && (!find_control() || !find_park()))
		conclude(INCONCLUSIVE, "neither a report nor a park was found");
	step("%u broken stubs", BROKEN_STUBS);
	pid = fork();
	if (pid == 0)
		break_stubs();
	while (!shared->stop && waitpid(pid, NULL, WNOHANG) == 0) {
		start = now();
		nanosleep(&nap, NULL);
		if (now() - start > worst)
			worst = now() - start;
		sum += now() - start;
		naps++;
	}
	if (!shared->stop)
		conclude(INCONCLUSIVE, "who breaks the stubs is dead");
	/* The host may be busy: judge by the mean, in own_time() if that is less */
	own = own_time() - own;
	conclude((sum < own ? sum : own) > naps * SLOW_NAP ? BREACHED : BLOCKED,
		 "beside %d broken stubs %u sleeps of 5 ms took %.1f ms on average, the worst %.0f ms",
		 BROKEN_STUBS, naps, sum / naps * 1e3, worst * 1e3);
}

/* ---- left-behind: what a process leaves in its stub for the next one */

#define MARK		0x5d1e0ff5e7UL	/* the upper bits; a number follows */
#define LEAVE_TIMES	150

static void mark_words(uintptr_t start, uintptr_t end, uint64_t mark)
{
	uint64_t *word;

	for (word = (uint64_t *)start; word < (uint64_t *)end; word++)
		if (*word == 0)
			*word = mark;
}

/* Leaves its marks everywhere, and ends by a forged park or as any process. */
static void leave(void *arg)
{
	unsigned int n = *(unsigned int *)arg;
	bool by_hand = n % 2 && park.site;
	uint64_t mark = MARK << 16 | n;

	limit_child();
	syscall(SYS_arch_prctl, ARCH_SET_GS, mark);
	if (by_hand) {
		make_park_frame((uintptr_t)landing);
		park.frame->uc_mcontext.gregs[REG_RDI] = 0;
		set_park_syscall(SYS_exit_group);
	}
	mark_words(stub.data, by_hand ? (uintptr_t)park.frame : stub.end, mark);
	asm volatile("movq %0, %%xmm7\n\tmovq %0, %%xmm15\n\tmovq %0, %%mm3" : : "r" (mark)
		     : "xmm7", "xmm15", "mm3");
	if (by_hand)
		forge_park_at(n % 4 == 1 ? stub.code : park.site, n % 8 < 4 ? 0x202 : 0x40602,
			      SIGSYS, (uint64_t)park_siginfo(), (uint64_t)park.frame);
	_exit(0);
}

static void look_for_marks(void *arg)
{
	uint64_t gs, seen[3], flags, *word;

	(void)arg;
	asm volatile("movq %%xmm7, %0\n\tmovq %%xmm15, %1\n\tmovq %%mm3, %2\n\temms"
		     : "=r" (seen[0]), "=r" (seen[1]), "=r" (seen[2]));
	asm volatile("pushf\n\tpop %0" : "=r" (flags));
	if (seen[0] >> 16 == MARK || seen[1] >> 16 == MARK || seen[2] >> 16 == MARK)
		conclude(BREACHED, "registers of an ended process");
	if (flags & 0x40500)
		conclude(BREACHED, "flags %#lx of an ended process", flags);
	for (word = (uint64_t *)stub.data; word < (uint64_t *)stub.end; word++)
		if (*word >> 16 == MARK)
			conclude(BREACHED, "data of an ended process at data+%#lx",
				 (uintptr_t)word - stub.data);
	/* the GS base in the host, which the guest kernel may not know */
	if (getauxval(AT_HWCAP2) & 2)
		asm volatile("rdgsbase %0" : "=r" (gs));
	else
		gs = 0;
	if (gs)
		conclude(BREACHED, "GS base %#lx of an ended process", gs);
	_exit(0);
}

void left_behind(void)
{
	unsigned int n;
	int left, looked;

	if (!find_report())
		find_park();
	for (n = 0; n < LEAVE_TIMES; n++) {
		step("looking for what process %u has left behind", n);
		left = in_child(leave, &n);
		looked = in_child(look_for_marks, NULL);
		if (shared->kind == BREACHED)
			_exit(0);
		if (looked)
			conclude(BREACHED, "process %u ended with status %#x, and then the next one with %#x",
				 n, left, looked);
	}
	conclude(BLOCKED, "%d processes filled their stubs, as many found nothing of that",
		 LEAVE_TIMES);
}
