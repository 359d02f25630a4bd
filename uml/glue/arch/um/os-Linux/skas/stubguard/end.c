// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guard of seccomp stubs, host side: how a stub ends. It is found dead, or it
 * is killed, or in window mode it is kept for another address space.
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

/* Only a definite answer means dead: retry on EINTR */
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

uint64_t stub_guard_identity(struct mm_id *id)
{
	return stub_guard_parked ? stub_guard_info(parked(id)).identity :
				   stub_guard(id)->identity;
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

/**
 * stub_guard_take() - Take a kept stub for a new address space
 * @id:		The new address space
 *
 * Return: 1 if there was one; 0 if not; -1 if there was a dead one: the caller has
 *	   to free the pages that it has shared
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
 * Return: 1 if it is kept, with the pages that it shares; 0 if the caller has to
 *	   end it
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
 *
 * Return: that number
 */
unsigned long os_stub_guard_kept(void)
{
	int n = __atomic_load_n(&kept, __ATOMIC_RELAXED);

	return n > 0 ? n : 0;
}

/**
 * os_stub_guard_keeps() - Are stubs kept for reuse?
 *
 * Return: 1 if so, else 0
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
