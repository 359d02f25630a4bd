// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guard of seccomp stubs, host side: how a stub starts. What it is told, in
 * window mode the process that becomes the stub (in notify mode arch/um starts it),
 * and how the guard gets the listener.
 */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>
#include <asm/unistd.h>
#include <sys/mman.h>
#include <as-layout.h>
#include <mem.h>
#include <mm_id.h>
#include <os.h>
#include <smp.h>
#include <stub-data.h>
#include <sysdep/stub.h>
#include "internal.h"

/**
 * stub_guard_shared() - The stub data as the stub sees it
 * @id:		The stub
 *
 * Return: its address in the kernel
 */
void *stub_guard_shared(struct mm_id *id)
{
	return (void *)(stub_guard_on ? stub_guard(id)->shared : id->stack);
}

/**
 * stub_guard_fill_init() - Tell a new stub about its filter
 * @init:	The guard's part of the stub's init data
 */
void stub_guard_fill_init(struct stub_guard_init *init)
{
	if (stub_guard_on)
		*init = stub_settings.init;
	else
		init->len = 0;
}

/**
 * os_stub_guard_prepare() - Put a new stub's filter where it finds it, and begin
 *			     the library's record
 * @id:		The stub, which has not been started
 *
 * Return: 0, or a negative error
 */
int os_stub_guard_prepare(struct mm_id *id)
{
	void *shared = (void *)stub_guard(id)->shared;

	memcpy(shared + stub_settings.init.filter, stub_settings.filter,
	       stub_settings.init.len * sizeof(stub_settings.filter[0]));
	return stub_guard_parked ? stubguard_stub_init(parked(id), shared) : 0;
}

/**
 * os_stub_guard_record_size() - How much memory the library's record of a stub
 *				 needs; 0 in notify mode
 */
unsigned long os_stub_guard_record_size(void)
{
	return stub_guard_parked ? sizeof(struct stubguard_stub) : 0;
}

/**
 * os_stub_guard_attach() - Take the listener of a stub that has been started
 * @id:		The stub, which cannot be reaped meanwhile
 *
 * Return: 0, or a negative error
 */
int os_stub_guard_attach(struct mm_id *id)
{
	struct stub_guard *guard = stub_guard(id);
	uint64_t identity;
	int ret;

	if (!stub_guard_on)
		return 0;

	if (guard->reused) {
		/* SIGCHLD tells of a death from here on; only the listener of an earlier one */
		if (!stub_guard_lives(parked(id)))
			id->pid = -1;
		return 0;
	}

	if (stub_guard_parked) {
		ret = stubguard_stub_attach(parked(id), id->pid,
					    guard->listener);
		if (ret == 0)
			guard->listener = -1;	/* It is the library's now */
		else if (stub_guard_may_print(__func__))
			printk(UM_KERN_ERR "stubguard: no listener, err = %d\n",
			       guard->listener < 0 ? guard->listener : ret);
		return ret;
	}

	ret = get_stub_listener(id->pid, &identity);
	if (ret < 0) {
		if (stub_guard_may_print(__func__))
			printk(UM_KERN_ERR "%s : no listener, pid = %d, err = %d\n",
			       __func__, id->pid, ret);
		return ret;
	}

	guard->listener = ret;
	guard->identity = identity;
	return 0;
}

#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE	2U
#endif

/*
 * What a CPU needs to start stubs: a stack, and an fd number that is lower than
 * most fds of the kernel.
 *
 * A new process shares the kernel's fd table at first, so that its listener
 * becomes an fd of the kernel. Then it gets a table of its own, and copies only
 * the lowest fds: to copy and close thousands takes longer than the rest of the
 * start. The fds that it needs get higher numbers, so that one close_range()
 * closes all others. (CLOSE_RANGE_CLOEXEC is newer than the rest: 5.11.)
 */
static struct {
	void *stack;
	int fd;
} starters[CONFIG_NR_CPUS];

struct starter {
	struct mm_id *id;
	int pipe[2];
	int stub_exe_fd;
	int fd;
	/* The call of the new process that has failed, and its errno */
	const char *call;
	int error;
};

static int max_fd(int a, int b)
{
	return a > b ? a : b;
}

/* Makes a system call in the new process, and remembers its name. True if it fails. */
#define START_CALL(starter, name, ...)					\
	((starter)->call = #name,					\
	 syscall(__NR_##name, __VA_ARGS__) < 0)

/*
 * Runs in the new process until it becomes the stub. The process shares the
 * kernel's memory, so it uses nothing of the C library but syscall().
 */
static int start_child(void *data)
{
	static char *const argv[] = { "uml-userspace", NULL };
	/* All but SIGSYS, by which the stub parks first; it sets its handlers later */
	unsigned long blocked = ~(1UL << (SIGSYS - 1));
	struct starter *starter = data;
	struct stub_guard *guard = stub_guard(starter->id);
	unsigned long long offset;
	int code_fd, data_fd, exe_fd, last;
	struct stub_init_data init = {
		.seccomp = 1,
		.stub_start = STUB_START,
		.signal_handler = STUB_CODE,
		.signal_restorer = STUB_CODE,
		.guard = stub_settings.init,
	};

	syscall(__NR_rt_sigprocmask, SIG_SETMASK, &blocked, NULL, sizeof(blocked));
	code_fd = phys_mapping(uml_to_phys(stub_settings.code), &offset);
	init.stub_code_offset = MMAP_OFFSET(offset);
	data_fd = phys_mapping(uml_to_phys((void *)guard->shared), &offset);
	init.stub_data_offset = MMAP_OFFSET(offset);
	last = max_fd(max_fd(starter->fd, starter->stub_exe_fd),
		      max_fd(code_fd, data_fd));
	/* No fd of the start may have the number that the memory gets */
	last = max_fd(last, STUBGUARD_MEMORY_FD);
	init.stub_code_fd = last + 1;
	init.stub_data_fd = last + 2;
	exe_fd = last + 3;
	if (START_CALL(starter, write, starter->pipe[1], &init, sizeof(init)) ||
	    START_CALL(starter, dup2, starter->pipe[0], starter->fd))
		goto out;

	/* From here on only the calls that the library's filter allows for a start */
	starter->call = "seccomp";
	guard->listener = stubguard_listen();
	if (guard->listener < 0) {
		errno = -guard->listener;
		goto out;
	}
	if (START_CALL(starter, close_range, last + 1, ~0U, CLOSE_RANGE_UNSHARE) ||
	    START_CALL(starter, dup3, code_fd, init.stub_code_fd, 0) ||
	    START_CALL(starter, dup3, data_fd, init.stub_data_fd, 0) ||
	    START_CALL(starter, dup3, starter->stub_exe_fd, exe_fd, O_CLOEXEC) ||
	    START_CALL(starter, dup3, starter->fd, 0, 0) ||
	    START_CALL(starter, close_range, 1, last, 0))
		goto out;

	START_CALL(starter, execveat, exe_fd, "", argv, NULL, AT_EMPTY_PATH);
out:
	starter->error = errno;
	syscall(__NR_exit_group, 1);
	return 1;
}

/* Says why there is no new stub */
static void print_no_stub(const char *call, int error)
{
	if (stub_guard_may_print(__func__))
		printk(UM_KERN_ERR "stubguard: no new stub: %s gives errno %d%s\n",
		       call, error, error == EMFILE ? " (see RLIMIT_NOFILE)" : "");
}

static int start_stub(struct mm_id *id, int stub_exe_fd, int cpu)
{
	struct starter starter = { .id = id, .stub_exe_fd = stub_exe_fd };

	if (!starters[cpu].stack) {
		const size_t size = 2 * UM_KERN_PAGE_SIZE;
		void *stack = mmap(NULL, size, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (stack == MAP_FAILED) {
			starter.call = "mmap";
			goto no_stub;
		}
		starters[cpu].fd = fcntl(stub_exe_fd, F_DUPFD_CLOEXEC, 3);
		if (starters[cpu].fd < 0) {
			starter.call = "fcntl";
			starter.error = errno;
			munmap(stack, size);
			goto no_stub;
		}
		starters[cpu].stack = stack + size;
	}
	starter.fd = starters[cpu].fd;

	/* The stub reads its init data from this pipe; the kernel closes it below */
	if (pipe2(starter.pipe, O_CLOEXEC)) {
		starter.call = "pipe2";
		goto no_stub;
	}

	stub_guard(id)->starting = 1;
	id->pid = clone(start_child, starters[cpu].stack,
			CLONE_VFORK | CLONE_VM | CLONE_FILES | SIGCHLD, &starter);
	if (id->pid < 0) {
		starter.call = "clone";
		starter.error = errno;
	}
	close(starter.pipe[0]);
	close(starter.pipe[1]);
	if (id->pid < 0)
		goto no_stub;
	/* The new process has ended, which its first resume finds */
	if (starter.error)
		print_no_stub(starter.call, starter.error);
	return 0;

no_stub:
	if (!starter.error)
		starter.error = errno;
	print_no_stub(starter.call, starter.error);
	return -starter.error;
}

/**
 * stub_guard_start_userspace() - Start a stub that parks
 * @id:			The address space
 * @stub_exe_fd:	The program that makes a process a stub
 *
 * Does not wait until the stub parks: its first resume does.
 *
 * Return: 0, or a negative error
 */
int stub_guard_start_userspace(struct mm_id *id, int stub_exe_fd)
{
	int ret;

	/* Until execveat() the new process is on the stack of this CPU */
	stub_guard_pin();
	ret = start_stub(id, stub_exe_fd, uml_curr_cpu());
	stub_guard_unpin();
	return ret;
}
