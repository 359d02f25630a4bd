// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guard of seccomp stubs, host side, window mode: the hand-over to and from a
 * stub that parks. It runs a batch of mappings, or the guest, or both; or the guest
 * goes on behind a call that the host holds.
 */

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <asm/unistd.h>
#include <asm-generic/rwonce.h>
#include <as-layout.h>
#include <kern_util.h>
#include <mm_id.h>
#include <os.h>
#include <ptrace_user.h>
#include <skas.h>
#include <smp.h>
#include <stub-data.h>
#include <sysdep/ptrace.h>
#include "internal.h"

/*
 * Waits for a park; -ESRCH if there is none to come, -EPROTO for a bad one. The
 * task is pinned: the watchdog's slot of this CPU is used.
 */
static int wait_parked(struct mm_id *id, struct stubguard_event *event,
		       struct uml_pt_regs *regs, void *siginfo)
{
	int ret;

	do {
		if (__READ_ONCE(id->pid) < 0)
			return -ESRCH;
		ret = stubguard_stub_wait(parked(id), id, uml_curr_cpu(), event,
					  regs ? (uint64_t *)regs->gp : NULL,
					  regs ? regs->fp : NULL, siginfo);
	} while (ret == -EINTR);
	return ret;
}

/*
 * Has the stub run what is queued, and the guest if there are registers for it.
 * Return: 0, or a negative error: the stub is dead, or must be.
 */
static int hand_over(struct mm_id *id, struct stubguard_event *event,
		     struct uml_pt_regs *regs, void *siginfo)
{
	struct stub_guard *guard = stub_guard(id);
	struct stubguard_resume request = {
		.own = (void *)id->stack,
		.calls = id->syscall_data_len,
	};
	int ret;

	if (guard->starting) {
		ret = wait_parked(id, event, NULL, NULL);
		if (ret < 0)
			return ret;
		guard->starting = 0;
	}

	if (stub_guard_is_over_limit(id)) {
		memset(event, 0, sizeof(*event));
		event->error = -ENOMEM;
		return 0;
	}

	if (regs) {
		request.registers = (uint64_t *)regs->gp;
		request.fp = regs->fp;
		request.step = singlestepping();
		/* A call has led to a batch: the next one is likely to */
		if (guard->trapped && !request.calls)
			guard->trap = 0;
		request.trap = guard->trap || stub_guard_is_watched() ||
			       stub_guard_is_shared(id);
	}
	ret = stubguard_stub_resume(parked(id), id, &request);
	if (ret < 0)
		return ret;
	return wait_parked(id, event, regs, siginfo);
}

/*
 * Takes over the registers that are in the stub, as if its call had made a
 * signal frame. Return: 0, also if there are none; or a negative error.
 */
int __stub_guard_fetch(struct mm_id *id)
{
	struct stub_guard *guard = stub_guard(id);
	struct uml_pt_regs *regs = guard->inflight_regs;
	int ret;

	if (!regs)
		return 0;

	ret = stubguard_stub_fetch(parked(id), id, uml_curr_cpu(),
				   (uint64_t *)regs->gp, regs->fp);
	/* Its task, on another CPU, may go on with them now */
	__atomic_store_n(&guard->inflight_regs, NULL, __ATOMIC_RELEASE);
	return ret;
}

/**
 * stub_guard_fetch() - Fetch all registers of a task that is in a system call
 * @regs:	The current task's
 *
 * Must be called before anything but the call's result is read or changed.
 */
void stub_guard_fetch(struct uml_pt_regs *regs)
{
	struct mm_id *id = stub_guard_parked ? current_mm_id() : NULL;

	if (!id || __atomic_load_n(&stub_guard(id)->inflight_regs, __ATOMIC_ACQUIRE) != regs)
		return;

	enter_turnstile(id);
	stub_guard_pin();
	/* Another thread may have needed the stub meanwhile */
	if (stub_guard(id)->inflight_regs == regs && __stub_guard_fetch(id) < 0)
		stub_guard_kill(id);
	stub_guard_unpin();
	exit_turnstile(id);
	stub_guard_print_log();
}

/* For tests: time for a race between the look at the task here and the kernel's work */
static void delay_call(void)
{
	const struct timespec delay = {
		.tv_sec = stub_settings.call_delay / 1000000,
		.tv_nsec = stub_settings.call_delay % 1000000 * 1000,
	};

	/* Until then, or a signal */
	if (stub_settings.call_delay)
		syscall(__NR_nanosleep, &delay, NULL);
}

/*
 * Lets the guest go on: behind the call in which it is if nothing else is to be
 * done, else by a resume. Return: as hand_over()
 */
int stub_guard_go_on(struct mm_id *id, struct stubguard_event *event,
		     struct uml_pt_regs *regs, void *siginfo)
{
	struct stub_guard *guard = stub_guard(id);
	int ret = -EINVAL;

	if (guard->inflight_regs == regs && !id->syscall_data_len && !singlestepping())
		ret = stubguard_stub_return(parked(id), id, regs->gp[HOST_AX]);
	if (ret == -EINVAL) {
		/* Also for a result by which the call is restarted */
		if (guard->inflight_regs && id->syscall_data_len)
			guard->trap = 1;
		ret = __stub_guard_fetch(id);
		if (ret == 0)
			ret = hand_over(id, event, regs, siginfo);
	} else {
		guard->inflight_regs = NULL;
		if (ret == 0)
			ret = wait_parked(id, event, regs, siginfo);
	}

	guard->trapped = ret == 0 && event->signal == SIGSYS && !event->notified;
	if (ret == 0 && event->notified) {
		guard->inflight_regs = regs;
		if (stub_guard_is_watched())
			ret = __stub_guard_fetch(id);
		delay_call();
	}
	return ret;
}

/**
 * stub_guard_sync() - Have a parked stub run what is queued
 * @id:		The stub
 *
 * Page tables are being synchronised under a spinlock. So the task is pinned, and
 * cannot be ended here. do_syscall_stub() finds an error in the stub data.
 */
void stub_guard_sync(struct mm_id *id)
{
	struct stub_data *own = (void *)id->stack;
	struct stubguard_event event;
	int ret;

	ret = __stub_guard_fetch(id);
	if (ret == 0)
		ret = hand_over(id, &event, NULL, NULL);
	own->restart_wait = 0;
	own->err = 0;
	if (ret < 0) {
		stub_guard_kill(id);
		own->err = -ESRCH;
		own->syscall_data_len = 0;
	} else if (event.error) {
		own->err = stub_guard_drop_mappings(id, event.error, event.done, 0);
		own->syscall_data_len = own->err ? event.done : 0;
	}
	stub_guard_print_log();
}

/**
 * stub_guard_wrprotect() - Queue that a page loses write permission
 * @id:		The stub, which parks, and has mapped the page unless all was dropped
 * @virt:	The page
 *
 * Return: 0
 */
int stub_guard_wrprotect(struct mm_id *id, unsigned long virt)
{
	struct stub_data *own = (void *)id->stack;
	struct stub_syscall *sc;

	/* The stub may lack it, and the host then refuses to protect it */
	if (stub_guard(id)->dropped)
		return unmap(id, virt, UM_KERN_PAGE_SIZE);

	if (id->syscall_data_len > 0) {
		sc = &own->syscall_data[id->syscall_data_len - 1];
		if ((int)sc->syscall == STUBGUARD_CALL_WRPROTECT &&
		    sc->mem.addr + sc->mem.length == virt) {
			sc->mem.length += UM_KERN_PAGE_SIZE;
			return 0;
		}
	}

	sc = syscall_stub_alloc(id);
	sc->syscall = STUBGUARD_CALL_WRPROTECT;
	sc->mem.addr = virt;
	sc->mem.length = UM_KERN_PAGE_SIZE;
	return 0;
}

/**
 * stub_guard_run() - Have a parked stub run what is queued, then the guest
 * @id:		The stub
 * @regs:	The guest's registers
 * @siginfo:	Where to store what is known of the signal
 *
 * Return: the signal by which the guest has stopped
 */
int stub_guard_run(struct mm_id *id, struct uml_pt_regs *regs, void *siginfo)
{
	struct stub_data *own = (void *)id->stack;
	struct stubguard_event event;
	int ret;

	/* An earlier synchronisation has failed, and could not end the task */
	ret = id->syscall_data_len < 0 ? id->syscall_data_len :
					 stub_guard_go_on(id, &event, regs, siginfo);
	if (ret == 0)
		stub_guard_leave(stub_guard(id));
	stub_guard_print_log();
	if (ret == 0 && event.error &&
	    stub_guard_drop_mappings(id, event.error, event.done, 1) == 0) {
		/* As if a tick had come before the guest ran */
		memset(&event, 0, sizeof(event));
		event.signal = SIGALRM;
		event.again = 1;
		event.syscall = -1;
	}
	if (ret == 0 && event.error) {
		ret = event.error;
		own->err = ret;
		own->syscall_data_len = event.done;
		syscall_stub_dump_error(id);
	}
	if (ret < 0) {
		if (stub_guard_may_print(__func__))
			printk(UM_KERN_ERR "%s : stub is lost, pid = %d, err = %d\n",
			       __func__, id->pid, ret);
		stub_guard_kill(id);
		stub_guard_leave(stub_guard(id));
		/* Otherwise the process's other threads wait for the turnstile forever */
		exit_turnstile(id);
		fatal_sigsegv();
	}

	id->syscall_data_len = 0;
	id->syscall_fd_num = 0;

	regs->is_user = 1;
	PT_SYSCALL_NR(regs->gp) = event.syscall;
	if (event.again)
		memset(siginfo, 0, sizeof(siginfo_t));
	if (event.signal == SIGSEGV) {
		regs->faultinfo.error_code = event.error_code;
		regs->faultinfo.cr2 = event.address;
		regs->faultinfo.trap_no = event.trap;
	}
	return event.signal;
}
