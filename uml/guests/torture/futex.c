// SPDX-License-Identifier: GPL-2.0-only
/*
 * Futex operations on words that another process changes at the same time, on another CPU if there is one: no change
 * is lost, and a lock has one owner.
 */
#include "torture.h"

#include <assert.h>
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CHANGES		3000U	/* by system calls; atomic instructions make more in the same time */
#define MOST		(1U << 20)
#define STEP_BIT	12U	/* what the child adds; the worker changes the bits below */
#define STEP		(1U << STEP_BIT)

/* Memory that both share */
struct meeting {
	atomic_uint there;
	atomic_bool done;	/* set by the one that makes system calls */
	uint32_t other;		/* a futex without waiters */
	uint32_t count;		/* the child's changes */
	_Alignas(64) atomic_uint word;
	_Alignas(64) volatile uint32_t owner;
	volatile uint32_t locked;
};

static struct meeting *make_meeting(void)
{
	void *p = mmap(NULL, sizeof(struct meeting), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void run_on(long cpu, long cpus)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	for (; cpus; cpus--)
		CPU_SET((size_t)cpu++, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* Both begin at once, each on a CPU of its own if there are two. */
static void meet(struct meeting *m, long side)
{
	run_on(side % sysconf(_SC_NPROCESSORS_ONLN), 1);
	atomic_fetch_add(&m->there, 1);
	while (atomic_load(&m->there) < 2)
		sched_yield();
}

static void part(struct worker *w, pid_t pid)
{
	run_on(0, sysconf(_SC_NPROCESSORS_ONLN));
	reap(w, pid, "the other one at the futex");
}

/*
 * Makes the kernel change the word. For a private and for a shared futex it takes different locks, so it may do two of
 * these at once.
 */
static void change(struct worker *w, struct meeting *m, int private, uint32_t operation)
{
	uint32_t *other = private ? (uint32_t *)w->buffer : &m->other;

	if (syscall(SYS_futex, other, FUTEX_WAKE_OP | private, 0, 0, &m->word, operation))
		fail(w, "FUTEX_WAKE_OP: %s", strerror(errno));
}

static _Noreturn void add_steps(struct worker *w, struct meeting *m, bool by_kernel)
{
	const uint32_t shifted = FUTEX_OP_ADD | FUTEX_OP_OPARG_SHIFT;
	unsigned int i;

	meet(m, 1);
	for (i = 0; by_kernel ? i < CHANGES : i < MOST && !atomic_load(&m->done); i++) {
		if (by_kernel)
			change(w, m, 0, FUTEX_OP(shifted, STEP_BIT, FUTEX_OP_CMP_EQ, 1));
		else
			atomic_fetch_add(&m->word, STEP);
	}
	m->count = i;
	_exit(0);
}

bool futex_change(struct worker *w)
{
	static const char *const names[] = { "FUTEX_OP_ADD", "FUTEX_OP_XOR", "FUTEX_OP_OR and _ANDN" };
	uint32_t operand = 1 + below(w, 0x7ff), expected, found;
	unsigned int kind = below(w, ARRAY_SIZE(names)), i;
	bool by_kernel = one_in(w, 2);
	struct meeting *m = make_meeting();
	pid_t pid;

	if (!m)
		return false;
	/* So that the bits below are unchanged at the end, without a carry */
	static_assert(CHANGES % 2 == 0, "each change is undone by the next one");
	say(w, "%s of %#x beside %s", names[kind], operand, by_kernel ? "FUTEX_OP_ADD" : "an atomic addition");
	pid = fork_worker(w);
	if (pid == 0)
		add_steps(w, m, by_kernel);
	if (pid < 0) {
		munmap(m, sizeof(*m));
		return false;
	}
	meet(m, 0);
	for (i = 0; i < CHANGES; i++) {
		uint32_t op = kind == 0 ? FUTEX_OP_ADD : kind == 1 ? FUTEX_OP_XOR :
			      i % 2 == 0 ? FUTEX_OP_OR : FUTEX_OP_ANDN;

		change(w, m, FUTEX_PRIVATE_FLAG, FUTEX_OP(op, operand, FUTEX_OP_CMP_EQ, 1));
	}
	atomic_store(&m->done, true);
	part(w, pid);
	found = atomic_load(&m->word);
	expected = m->count * STEP + (kind == 0 ? CHANGES * operand : 0);
	if (found != expected)
		fail(w, "%u times %s of %#x, %u additions of %#x: %#x, not %#x", CHANGES, names[kind], operand, m->count, STEP,
		     found, expected);
	munmap(m, sizeof(*m));
	return true;
}

/* True if the lock is ours now. Without @by_kernel, the kernel is called only if another one has it. */
static bool take(struct worker *w, struct meeting *m, uint32_t me, bool by_kernel, bool wait)
{
	uint32_t nobody = 0;

	if (!by_kernel && atomic_compare_exchange_strong(&m->word, &nobody, me))
		return true;
	while (syscall(SYS_futex, &m->word, wait ? FUTEX_LOCK_PI : FUTEX_TRYLOCK_PI, 0, NULL)) {
		if (!wait && errno == EWOULDBLOCK)
			return false;
		if (errno != EAGAIN && errno != EINTR)
			fail(w, "FUTEX_LOCK_PI: %s, the word is %#x, I am %#x", strerror(errno), atomic_load(&m->word), me);
	}
	return true;
}

static void give_back(struct worker *w, struct meeting *m, uint32_t me, bool by_kernel)
{
	uint32_t mine = me;

	if (!by_kernel && atomic_compare_exchange_strong(&m->word, &mine, 0))
		return;
	/* EAGAIN: another one has begun to wait for it */
	while (syscall(SYS_futex, &m->word, FUTEX_UNLOCK_PI, 0))
		if (errno != EAGAIN && errno != EINTR)
			fail(w, "FUTEX_UNLOCK_PI: %s, the word is %#x, I am %#x", strerror(errno), atomic_load(&m->word), me);
}

/* Returns how often it had the lock. */
static unsigned int lock_often(struct worker *w, struct meeting *m, bool by_kernel, bool wait)
{
	const uint32_t me = (uint32_t)syscall(SYS_gettid);
	unsigned int i, n = 0;

	for (i = 0; by_kernel ? i < CHANGES : i < MOST && !atomic_load(&m->done); i++) {
		if (!take(w, m, me, by_kernel, wait))
			continue;
		if (m->owner)
			fail(w, "a futex has two owners: %#x and me, %#x; the word is %#x", m->owner, me, atomic_load(&m->word));
		m->owner = me;
		m->locked = m->locked + 1;
		n++;
		m->owner = 0;
		give_back(w, m, me, by_kernel);
	}
	return n;
}

/* One locks by system calls only, the other one makes them only if it has to */
bool futex_lock(struct worker *w)
{
	struct meeting *m = make_meeting();
	bool wait = one_in(w, 4);
	uint32_t expected;
	pid_t pid;

	if (!m)
		return false;
	if (syscall(SYS_futex, &m->word, FUTEX_UNLOCK_PI, 0) && errno == ENOSYS) {
		munmap(m, sizeof(*m));
		return false;
	}
	say(w, "a lock of two processes, %s", wait ? "waited for" : "tried");
	pid = fork_worker(w);
	if (pid == 0) {
		meet(m, 1);
		m->count = lock_often(w, m, true, wait);
		atomic_store(&m->done, true);
		_exit(0);
	}
	if (pid < 0) {
		munmap(m, sizeof(*m));
		return false;
	}
	meet(m, 0);
	expected = lock_often(w, m, false, wait);
	part(w, pid);
	expected += m->count;
	if (m->locked != expected || atomic_load(&m->word))
		fail(w, "a lock was taken %u times, its count is %u; the word is %#x", expected, m->locked,
		     atomic_load(&m->word));
	munmap(m, sizeof(*m));
	return true;
}
