// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guard of seccomp stubs, kernel side: how many lines a guest may cause in the
 * kernel's log.
 */

#include <linux/jiffies.h>
#include <linux/pid.h>
#include <linux/printk.h>
#include <linux/ratelimit.h>
#include <linux/sched.h>

#include <stub-guard.h>
#include <stub-data.h>

/**
 * stub_guard_may_print() - Is there room in the log for one more line?
 * @func:	The function that asks
 *
 * A guest may have stub after stub killed: ten lines a second are enough.
 *
 * Return: 1 if so, else 0
 */
int stub_guard_may_print(const char *func)
{
	static DEFINE_RATELIMIT_STATE(lines, HZ, 10);

	return ___ratelimit(&lines, func);
}

/**
 * stub_guard_print_dropped() - Say that the mappings of a stub were dropped
 * @pid:	The stub's
 * @mapped:	How many mmap calls the host has made for it before
 *
 * One line a minute: the cause is the same for all, and the counter tells the
 * rest.
 */
void stub_guard_print_dropped(int pid, unsigned int mapped)
{
	static struct ratelimit_state lines =
		RATELIMIT_STATE_INIT_FLAGS(lines, 60 * HZ, 1,
					   RATELIMIT_MSG_ON_RELEASE);

	if (__ratelimit(&lines))
		pr_warn("stubguard: stub %d of %s (%d): the host has refused a mapping after %u (ENOMEM): all are dropped, and page faults bring them back. If that is slow, raise vm.max_map_count or the address-space limit.\n",
			pid, current->comm, task_pid_nr(current), mapped);
}

/**
 * stub_guard_print_lost() - Say who has ended the stub of the current task
 * @pid:	The stub's
 * @end:	STUB_LOST_*
 * @value:	The signal, exit status or error that goes with it; 0 if not known
 */
void stub_guard_print_lost(int pid, int end, int value)
{
	const char *comm = current->comm;
	int task = task_pid_nr(current);

	if (!stub_guard_may_print(__func__))
		return;

	switch (end) {
	case STUB_LOST_FILTER:
		pr_err("stubguard: stub %d of %s (%d) is lost: killed by the filter (SIGSYS)\n",
		       pid, comm, task);
		break;
	case STUB_LOST_PROTOCOL:
		pr_err("stubguard: stub %d of %s (%d) is lost: it broke the protocol\n",
		       pid, comm, task);
		break;
	case STUB_LOST_WATCHDOG:
		pr_err("stubguard: stub %d of %s (%d) is lost: killed by the watchdog\n",
		       pid, comm, task);
		break;
	case STUB_LOST_HOST:
		pr_err("stubguard: stub %d of %s (%d) is lost: killed by the host (signal %d)\n",
		       pid, comm, task, value);
		break;
	case STUB_LOST_EXITED:
		pr_err("stubguard: stub %d of %s (%d) is lost: it ended by itself (status %d)\n",
		       pid, comm, task, value);
		break;
	default:
		pr_err("stubguard: stub %d of %s (%d) is lost: killed by the kernel (err = %d)\n",
		       pid, comm, task, value);
	}
}
