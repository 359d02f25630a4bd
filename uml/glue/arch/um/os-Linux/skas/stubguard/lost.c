// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guard of seccomp stubs, host side: who ended a stub that is lost. The library
 * knows of its own kills; of others the host tells by the status of the process.
 */

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>
#include <asm/unistd.h>
#include <sys/wait.h>
#include <asm-generic/rwonce.h>
#include <mm_id.h>
#include <os.h>
#include <smp.h>
#include <stub-data.h>
#include "internal.h"

/* The listener reports a death before the process has a status: wait so many ms for that */
#define END_TRIES	100

unsigned long long stub_guard_lost[STUB_LOST_ENDS];

/**
 * stub_guard_reap_child() - Reap a child, as os_reap_child()
 * @status:	Where to store how it has ended
 *
 * Return: its pid; 0 or -1 if there is none
 */
int stub_guard_reap_child(int *status)
{
	return waitpid(-1, status, WNOHANG);
}

/* Who has ended a process, by the host's word */
static int end_of(bool exited, int value)
{
	if (exited)
		return STUB_LOST_EXITED;
	return value == SIGSYS ? STUB_LOST_FILTER : STUB_LOST_HOST;
}

/**
 * stub_guard_reaped() - Note how a stub has ended
 * @id:		The stub, whose pid is still there
 * @status:	Of stub_guard_reap_child()
 */
void stub_guard_reaped(struct mm_id *id, int status)
{
	struct stub_guard *guard = stub_guard(id);

	if (!stub_guard_on || guard->end)
		return;

	guard->pid = id->pid;
	guard->value = WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status);
	guard->reaped = end_of(WIFEXITED(status), guard->value);
}

/*
 * Returns who has ended the stub by the host's word, and stores the signal or exit
 * status; 0 if it has not ended, or the host does not tell of it.
 */
static int look_at_end(struct mm_id *id, int tries, int *value)
{
	static const struct timespec pause = { .tv_nsec = 1000 * 1000 };
	struct stub_guard *guard = stub_guard(id);
	siginfo_t info;
	int pid;

	for (;; tries--) {
		/* SIGCHLD may reap it at any time. It is noted before the pid goes. */
		pid = __READ_ONCE(id->pid);
		if (pid < 0) {
			*value = guard->value;
			return guard->reaped ?: STUB_LOST_HOST;
		}
		info.si_pid = 0;
		if (waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
		    info.si_pid) {
			*value = info.si_status;
			return end_of(info.si_code == CLD_EXITED, info.si_status);
		}
		if (!tries)
			return 0;
		syscall(__NR_nanosleep, &pause, NULL);
	}
}

/*
 * Makes sure that a stub is dead which has failed with an error; notes and counts
 * who has ended it. Its pid may be another process's: the identity tells.
 */
void stub_guard_kill(struct mm_id *id, int error)
{
	struct stub_guard *guard = stub_guard(id);
	uint64_t identity = stub_guard_identity(id);
	int ended, end, value = 0, pid = id->pid;

	/* It has not been attached */
	if (!identity)
		return;

	stub_guard_pin();
	if (seccomp_wd_exit(uml_curr_cpu()) == -ESRCH)
		error = -ETIMEDOUT;
	stub_guard_unpin();

	ended = look_at_end(id, error == -ESRCH || error == -ETIMEDOUT ? END_TRIES : 0,
			    &value);
	if (error == -ETIMEDOUT) {
		end = STUB_LOST_WATCHDOG;
	} else if (error == -EPROTO) {
		end = STUB_LOST_PROTOCOL;
	} else if (ended) {
		end = ended;
	} else if (error == -ESRCH) {
		end = STUB_LOST_HOST;
	} else {
		end = STUB_LOST_KERNEL;
		value = error;
	}

	if (!guard->end) {
		if (pid > 0)
			guard->pid = pid;
		guard->value = value;
		guard->end = end;
		__atomic_add_fetch(&stub_guard_lost[end], 1, __ATOMIC_RELAXED);
	}
	if (!ended && pid > 0)
		stubguard_kill_stub(pid, identity);
}

/* Says who has ended the stub of the current task */
void stub_guard_print_end(struct mm_id *id)
{
	struct stub_guard *guard = stub_guard(id);

	if (guard->end)
		stub_guard_print_lost(guard->pid, guard->end, guard->value);
}
