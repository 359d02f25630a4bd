// SPDX-License-Identifier: GPL-2.0-only
/*
 * How a stub ends: it is found dead, killed, or kept (in window mode) for another
 * address space, until memory is short.
 */

#include <errno.h>
#include <stddef.h>
#include <sys/wait.h>
#include <init.h>
#include <mm_id.h>
#include <os.h>
#include <smp.h>
#include <stub-data.h>
#include "internal.h"

/* Stubs without an address space */
static int kept;

/* Only a word of the host's is a death: an interrupted look is none */
int stub_guard_lives(struct stubguard_stub *stub)
{
	int ret;

	do {
		ret = stubguard_stub_lives(stub);
	} while (ret == -EINTR);
	return ret == 1;
}

struct stubguard_stub_info stub_guard_info(struct stubguard_stub *stub)
{
	struct stubguard_stub_info info = { .size = sizeof(info) };

	/* It fails for what is no record, and leaves this as it is */
	stubguard_stub_info(stub, &info);
	return info;
}

/**
 * os_stub_guard_detach() - Close the listener of a stub that has ended
 * @id:		The stub
 */
void os_stub_guard_detach(struct mm_id *id)
{
	struct stub_guard *guard = stub_guard(id);

	/* Nothing to do if the library has none: it was never attached, or is kept */
	if (stub_guard_parked)
		stubguard_stub_end(parked(id));
	if (guard->listener >= 0)
		put_stub_listener(guard->listener);
	guard->listener = -1;
}

void stub_guard_kill(struct mm_id *id)
{
	uint64_t identity = stub_guard_parked ?
		stub_guard_info(parked(id)).identity : stub_guard(id)->identity;

	/* It has been attached */
	if (identity) {
		stub_guard_pin();
		seccomp_wd_exit(uml_curr_cpu());
		stub_guard_unpin();
		if (id->pid > 0)
			stubguard_kill_stub(id->pid, identity);
	}
}

/**
 * stub_guard_take() - Take a stub that another address space has left
 * @id:		The new address space
 *
 * Return: 1 if there was one; 0 if not; -1 if there was one, but dead: what it has
 *	   shared is to be freed
 */
int stub_guard_take(struct mm_id *id)
{
	struct stub_guard *guard = stub_guard(id);
	struct stubguard_stub_info info;

	if (!stub_guard_parked || stubguard_stub_take(parked(id)) != 1)
		return 0;

	__atomic_sub_fetch(&kept, 1, __ATOMIC_RELAXED);
	info = stub_guard_info(parked(id));
	guard->shared = (unsigned long)info.shared;
	if (!stub_guard_lives(parked(id))) {
		stubguard_stub_end(parked(id));
		return -1;
	}
	id->pid = info.pid;
	guard->reused = 1;
	return 1;
}

/**
 * os_stub_guard_put() - Keep the stub of an address space that ends
 * @id:		The address space
 *
 * Return: 1 if it is kept, and with it all that it shares; 0 if it is to be ended
 */
int os_stub_guard_put(struct mm_id *id)
{
	int ret;

	if (!stub_guard_parked || id->pid <= 0)
		return 0;

	stub_guard_pin();
	ret = stubguard_stub_put(parked(id), id, uml_curr_cpu());
	stub_guard_unpin();
	if (ret < 0)
		return 0;

	__atomic_add_fetch(&kept, 1, __ATOMIC_RELAXED);
	id->pid = -1;
	return 1;
}

/**
 * os_stub_guard_kept() - How many stubs are kept
 */
unsigned long os_stub_guard_kept(void)
{
	int n = __atomic_load_n(&kept, __ATOMIC_RELAXED);

	return n > 0 ? n : 0;
}

/**
 * os_stub_guard_keeps() - Are stubs kept for reuse?
 */
int __init os_stub_guard_keeps(void)
{
	return stub_guard_parked && stub_settings.pool_size;
}

/**
 * os_stub_guard_drop() - End a stub that is kept
 *
 * Return: the pages that it has shared, or 0 if there is none
 */
unsigned long os_stub_guard_drop(void)
{
	struct stubguard_stub_info info;
	struct stubguard_stub stub;

	if (stubguard_stub_take(&stub) != 1)
		return 0;

	__atomic_sub_fetch(&kept, 1, __ATOMIC_RELAXED);
	info = stub_guard_info(&stub);
	if (stubguard_stub_end(&stub) == 0)
		CATCH_EINTR(waitpid(info.pid, NULL, __WALL));
	return (unsigned long)info.shared;
}
