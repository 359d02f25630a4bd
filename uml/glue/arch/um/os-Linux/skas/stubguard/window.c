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
 * Returns the batch in the library's form. In window mode the signal stack of the
 * kernel's own copy of the stub data is not used, so the calls are stored there.
 */
static const struct stubguard_call *batch(struct mm_id *id)
{
	struct stub_data *own = (void *)id->stack;
	struct stubguard_call *calls = (void *)own->sigstack;
	int i;

	static_assert(ARRAY_SIZE(own->syscall_data) <= STUBGUARD_CALLS_MAX,
		      "the library takes fewer calls than are queued");
	static_assert(ARRAY_SIZE(own->syscall_data) * sizeof(*calls) <=
		      sizeof(own->sigstack),
		      "the calls do not fit into the signal stack");

	for (i = 0; i < id->syscall_data_len; i++) {
		const struct stub_syscall *sc = &own->syscall_data[i];

		calls[i] = (struct stubguard_call) {
			.addr = sc->mem.addr,
			.length = sc->mem.length,
			.offset = sc->mem.offset,
			.prot = sc->mem.prot,
			.kind = sc->syscall,
		};
	}
	return calls;
}

/* Return: 0, or a negative error: the stub is dead, or must be */
static int resume(struct mm_id *id, struct uml_pt_regs *regs)
{
	struct stubguard_resume request = {
		.size = sizeof(request),
		.cpu = uml_curr_cpu(),
		.calls = batch(id),
		.calls_len = id->syscall_data_len,
	};
	int ret;

	if (regs) {
		request.registers = (uint64_t *)regs->gp;
		request.fp = regs->fp;
		if (singlestepping())
			request.flags |= STUBGUARD_RESUME_STEP;
		if (stub_guard_is_watched())
			request.flags |= STUBGUARD_RESUME_WATCHED;
		if (stub_guard_is_shared(id))
			request.flags |= STUBGUARD_RESUME_SHARED;
	}

	do {
		if (__READ_ONCE(id->pid) < 0)
			return -ESRCH;
		ret = stubguard_stub_resume(parked(id), id, &request);
	} while (ret == -EINTR);
	return ret;
}

/* Return: as resume() */
static int wait_stopped(struct mm_id *id, struct stubguard_event *event,
			struct uml_pt_regs *regs, void *siginfo)
{
	int ret;

	event->size = sizeof(*event);
	do {
		if (__READ_ONCE(id->pid) < 0)
			return -ESRCH;
		ret = stubguard_stub_wait(parked(id), id, uml_curr_cpu(), event,
					  regs ? (uint64_t *)regs->gp : NULL,
					  regs ? regs->fp : NULL, siginfo);
	} while (ret == -EINTR);
	return ret;
}

int stub_guard_fetch_regs(struct mm_id *id, const struct uml_pt_regs *regs)
{
	return stubguard_stub_fetch(parked(id), id, uml_curr_cpu(),
				    regs ? (const uint64_t *)regs->gp : NULL);
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
	int ret;

	if (!id || stubguard_stub_caller(parked(id)) != (uint64_t *)regs->gp)
		return;

	/* Another thread may need the stub before we have the turnstile */
	enter_turnstile(id);
	stub_guard_pin();
	ret = stub_guard_fetch_regs(id, regs);
	if (ret < 0)
		stub_guard_kill(id, ret);
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

	/* A signal ends it early */
	if (stub_settings.call_delay)
		syscall(__NR_nanosleep, &delay, NULL);
}

/*
 * Has the stub run what is queued, and the guest if there are registers for it. The
 * task is pinned: the watchdog's slot of this CPU is used.
 * Return: 0, or a negative error: the stub is dead, or must be.
 */
int stub_guard_go_on(struct mm_id *id, struct stubguard_event *event,
		     struct uml_pt_regs *regs, void *siginfo)
{
	int ret;

	if (stub_guard_is_over_limit(id)) {
		memset(event, 0, sizeof(*event));
		event->error = -ENOMEM;
		return 0;
	}

	ret = resume(id, regs);
	if (ret < 0)
		return ret;
	stub_guard(id)->starting = 0;

	ret = wait_stopped(id, event, regs, siginfo);
	if (ret == 0 && event->notified) {
		/* Since it was resumed, somebody may have begun to watch */
		if (stub_guard_is_watched())
			ret = stub_guard_fetch_regs(id, regs);
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

	ret = stub_guard_go_on(id, &event, NULL, NULL);
	own->restart_wait = 0;
	own->err = 0;
	if (ret < 0) {
		stub_guard_kill(id, ret);
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
		stub_guard_kill(id, ret);
		stub_guard_print_end(id);
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
