// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guard of seccomp stubs, host side: has stubs do before the first guest what
 * guests will need, by the same functions. kernel/skas/stubguard/rehearsal.c says
 * what, and in which order.
 */

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>
#include <asm/unistd.h>
#include <sys/wait.h>
#include <init.h>
#include <mm_id.h>
#include <os.h>
#include <skas.h>
#include <stub-data.h>
#include <sysdep/mcontext.h>
#include <sysdep/ptrace.h>
#include "../../internal.h"
#include "internal.h"

/**
 * os_stub_guard_park_refused() - Does the host refuse the call by which stubs park?
 *
 * It is not among the calls of host.c: what a sandbox answers by SECCOMP_RET_TRACE
 * does no harm to it in a stub.
 *
 * Return: 0, or a negative error
 */
int __init os_stub_guard_park_refused(void)
{
	return stub_guard_parked && syscall(__NR_getppid) < 0 ? -errno : 0;
}

/**
 * os_stub_guard_rehearse() - Have a stub run what is queued, then some code
 * @id:		The stub
 * @regs:	The registers to begin with; what it stops with
 * @ip:		Where the code is
 * @signal:	The signal by which it has to stop: SIGSYS is a system call,
 *		SIGALRM is sent
 * @call:	Where to store what the host has refused, if it is known
 *
 * Return: 0, or a negative error
 */
int __init os_stub_guard_rehearse(struct mm_id *id, struct uml_pt_regs *regs,
				  unsigned long ip, int signal, const char **call)
{
	static const char *const names[] = {
		[STUBGUARD_CALL_MMAP] = "mmap",
		[STUBGUARD_CALL_MUNMAP] = "munmap",
		[STUBGUARD_CALL_WRPROTECT] = "mprotect",
	};
	struct stub_data *own = (void *)id->stack;
	struct stubguard_event event = {};
	siginfo_t siginfo;
	long error = 0;
	int ret, type;

	*call = "kill";
	if (signal == SIGALRM && kill(id->pid, SIGALRM) < 0)
		return -errno;

	*call = "";
	regs->gp[HOST_IP] = ip;
	stub_guard_pin();
	if (stub_guard_parked) {
		ret = stub_guard_go_on(id, &event, regs, &siginfo);
		error = event.error;
		own->syscall_data_len = event.done;
		if (ret == 0 && error == 0)
			ret = stub_guard_fetch_regs(id, NULL);
	} else {
		ret = set_stub_state(regs, own, 0);
		own->syscall_data_len = id->syscall_data_len;
		if (ret == 0) {
			wait_stub_done_seccomp(id, 0, 0);
			event.signal = own->signal;
			error = own->err;
			ret = error ? 0 : get_stub_state(regs, own, NULL);
		}
	}
	stub_guard_unpin();
	stub_guard_print_log();

	if (ret == 0 && error) {
		type = own->syscall_data[own->syscall_data_len].syscall;
		*call = type > 0 && type < ARRAY_SIZE(names) ? names[type] : "";
		ret = error;
	}
	id->syscall_data_len = 0;
	id->syscall_fd_num = 0;
	if (ret == 0 && event.signal != signal)
		ret = event.signal ? -EPROTO : -ESRCH;
	/* The store itself has to fault, not what comes behind it */
	if (ret == 0 && signal == SIGSEGV && regs->gp[HOST_IP] != ip)
		ret = -EPROTO;
	return ret;
}

/**
 * os_stub_guard_rehearse_kill() - End a stub as the watchdog does
 * @id:		The stub
 *
 * Return: 0 when it has ended, or a negative error
 */
int __init os_stub_guard_rehearse_kill(struct mm_id *id)
{
	uint64_t identity = stub_guard_identity(id);
	int ret, pid = id->pid;
	siginfo_t info;

	/* There is no watchdog in time-travel mode, and maybe none with besteffort */
	if (!(stubguard_features() & STUBGUARD_F_WATCHDOG))
		return 0;

	/* So SIGCHLD finds no address space with this pid: the death is expected */
	id->pid = -1;
	ret = stubguard_watchdog_rehearse(pid, identity);
	if (ret < 0) {
		id->pid = pid;
		return ret;
	}
	CATCH_EINTR(ret = waitid(P_PID, pid, &info, WEXITED | WNOWAIT));
	return ret < 0 && errno != ECHILD ? -errno : 0;
}
