// SPDX-License-Identifier: GPL-2.0-only
/*
 * An attack with a thread that the kernel ends in a system call, while its registers are still in the stub. The race
 * is short: the boot parameter stubguard=delay= makes it long.
 */
#include "hostile.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>

#define END_ROUNDS	8
#define END_SECONDS	30
#define TOGETHER	16	/* ended threads whose memory is reused at once */
#define CROWD		64
#define CROWD_STACK	(4 * PAGE)
#define CALLS		20	/* of the thread, before the end */
#define GRACE_US	60000	/* until an ended task's memory is free */

/* ---- a call that notifies, though another thread shares the stub */

#define SELECTORS	16

/* Bytes of the stub's data that may be the dispatch byte: 1 if another thread shares the stub, else 0 */
static volatile uint8_t *selector[SELECTORS];
static unsigned int selectors;

static void let_notify(void)
{
	unsigned int i;

	for (i = 0; i < selectors; i++)
		*selector[i] = 0;
}

static int sleep_beside(void *arg)
{
	(void)arg;
	while (!shared->stop)
		pause();
	_exit(0);
}

/* Does a call leave a signal frame with its registers, after the selectors have been cleared? */
bool call_traps(void)
{
	uint64_t mark[7], *word;

	make_marks(mark);
	let_notify();
	mark_call(mark, SYS_getppid);
	for (word = (uint64_t *)stub.data; word + REG_RIP < (uint64_t *)stub.end; word++)
		if (has_marks(word, mark))
			return true;
	return false;
}

static bool find_selectors(void)
{
	static uint8_t alone[PAGE];
	const uint8_t *page = (uint8_t *)((uintptr_t)control.gp & ~(PAGE - 1));
	unsigned int i, tries;
	pid_t pid;

	/* Calls that change no mapping, so that the next ones notify */
	for (i = 0; i < 4; i++)
		getppid();
	memcpy(alone, page, PAGE);
	pid = start_thread(sleep_beside, NULL);
	for (tries = 0; tries < 50 && (!selectors || call_traps()); tries++) {
		selectors = 0;
		sched_yield();
		for (i = 0; i < PAGE && selectors < SELECTORS; i++)
			if (alone[i] == 0 && page[i] == 1)
				selector[selectors++] = (volatile uint8_t *)page + i;
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return tries < 50;
}

/* ---- the thread that ends, and a crowd of tasks, some of which get its memory */

static int crowd_pipe[2];

static int call_for_ever(void *arg)
{
	(void)arg;
	run_on(sysconf(_SC_NPROCESSORS_ONLN) - 1);
	while (!shared->stop) {
		let_notify();
		syscall(SYS_getppid);
		shared->counter++;
	}
	_exit(0);
}

static int wait_in_call(void *arg)
{
	char c;

	(void)arg;
	__atomic_add_fetch(&shared->at, 1, __ATOMIC_RELAXED);
	_exit(read(crowd_pipe[0], &c, 1) != 0);
}

/*
 * Tasks that share an mm: their calls trap, so they are resumed with the kernel's copy of their registers. With the
 * stack pointer of another process they crash.
 */
static void crowd(void)
{
	unsigned int i, broken = 0;
	int status;

	close(crowd_pipe[1]);
	run_on(sysconf(_SC_NPROCESSORS_ONLN) - 1);
	for (i = 0; i < CROWD; i++)
		start_thread(wait_in_call, NULL);
	while (waitpid(-1, &status, 0) > 0)
		broken += status != 0;
	if (broken && shared->kind == PENDING)
		set_verdict(BREACHED, "%u tasks of another process went on with registers that are not theirs", broken);
	_exit(0);
}

static pid_t start_crowd(void)
{
	pid_t pid;

	shared->at = 0;
	if (pipe(crowd_pipe))
		conclude(INCONCLUSIVE, "pipe: %s", strerror(errno));
	pid = fork();
	if (pid == 0)
		crowd();
	close(crowd_pipe[0]);
	while (pid > 0 && shared->at < CROWD)
		usleep(1000);
	return pid;
}

static void end_crowd(pid_t pid)
{
	close(crowd_pipe[1]);
	waitpid(pid, NULL, 0);
}

/* Makes the kernel end the other thread in its next call, while the tracer stops this one in this call. */
static void end_other(void)
{
	static struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_THREAD),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	static const struct sock_fprog program = { ARRAY_SIZE(filter), filter };
	char *stack = (char *)reserve(CROWD_STACK);
	uint64_t calls = shared->counter;

	ptrace(PTRACE_TRACEME, 0, 0, 0);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	shared->at = (unsigned int)clone(call_for_ever, stack + CROWD_STACK,
					 CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND |
					 CLONE_THREAD | CLONE_SYSVSEM, NULL);
	while (shared->counter < calls + CALLS)
		sched_yield();
	raise(SIGSTOP);
	_exit(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) != 0);
}

/* The next stop of the tracee; false if it has ended */
static bool next_stop(pid_t pid, int request)
{
	int status;

	return (request < 0 || ptrace(request, pid, 0, 0) == 0) && waitpid(pid, &status, 0) == pid &&
	       WIFSTOPPED(status);
}

/* Returns the process, stopped behind seccomp(), whose other thread has ended. */
static pid_t end_in_call(void)
{
	pid_t pid = fork();

	if (pid == 0)
		end_other();
	/* The stop, and both ends of seccomp() */
	if (!next_stop(pid, -1) || !next_stop(pid, PTRACE_SYSCALL) || !next_stop(pid, PTRACE_SYSCALL))
		conclude(INCONCLUSIVE, "the tracee is gone");
	while (syscall(SYS_tgkill, pid, (int)shared->at, 0) == 0)
		usleep(100);
	return pid;
}

static void end_many(unsigned int round)
{
	pid_t pids[TOGETHER], others;
	unsigned int i;
	int status;

	for (i = 0; i < TOGETHER; i++) {
		step("ending a thread in its call, number %u of round %u", i, round);
		pids[i] = end_in_call();
	}
	usleep(GRACE_US);
	others = start_crowd();
	for (i = 0; i < TOGETHER; i++) {
		ptrace(PTRACE_CONT, pids[i], 0, 0);
		if (waitpid(pids[i], &status, 0) != pids[i] || !WIFEXITED(status) || WEXITSTATUS(status))
			conclude(BREACHED, "the kernel went on with registers of a thread that had ended: status %#x",
				 status);
	}
	end_crowd(others);
}

void caller_gone(void)
{
	double end = own_time() + END_SECONDS;
	unsigned int round;

	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, NULL) == 0 || errno != EFAULT)
		conclude(SKIPPED, "this kernel has no filters for guests: %s", strerror(errno));
	if (find_report() || !find_control())
		conclude(SKIPPED, "this stub has no calls that leave registers in it");
	step("looking for what makes calls trap");
	if (!find_selectors())
		conclude(SKIPPED, "all calls trap");
	run_on(0);
	for (round = 0; round < END_ROUNDS && own_time() < end && shared->kind == PENDING; round++)
		end_many(round);
	if (shared->kind != PENDING)
		_exit(0);
	conclude(BLOCKED, "%u threads ended in calls that had left their registers in the stub: nobody got them",
		 round * TOGETHER);
}
