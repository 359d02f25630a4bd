// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guard of seccomp stubs, host side: what a stub has mapped is a cache of its
 * page table. If the host refuses a call of a batch with ENOMEM, all mappings are
 * dropped, and so is the batch: the page table has what it was to map. Userspace
 * faults where it goes on, and stub_guard_refault() has that page mapped again.
 */

#include <errno.h>
#include <as-layout.h>
#include <mm_id.h>
#include <os.h>
#include <stub-data.h>
#include "../../internal.h"
#include "internal.h"

/* A stub with fewer than PAGES_AT_ONCE pages may be refused so often in a row */
#define FUTILE_MAX	100

unsigned long long stub_guard_drops;

/* Counts the mmap calls of the batch, without the first @from calls */
unsigned int stub_guard_count_mmaps(struct mm_id *id, int from)
{
	struct stub_data *own = (void *)id->stack;
	unsigned int n = 0;
	int i;

	for (i = from; i < id->syscall_data_len; i++)
		n += own->syscall_data[i].syscall == STUB_SYSCALL_MMAP;
	return n;
}

/*
 * Counts the batch. Returns whether it exceeds the limit for tests. Calls that
 * unmap or protect count too, as the host may refuse these as well.
 */
int stub_guard_is_over_limit(struct mm_id *id)
{
	struct stub_guard *guard = stub_guard(id);
	int over = stub_settings.mappings_max && !guard->dropping &&
		   guard->mapped + id->syscall_data_len > stub_settings.mappings_max;

	guard->mapped += stub_guard_count_mmaps(id, 0);
	return over;
}

/* Replaces the batch by one munmap, which needs no memory: it splits no mapping */
void stub_guard_queue_drop(struct mm_id *id)
{
	struct stub_guard *guard = stub_guard(id);

	stub_guard_print_dropped(id->pid, guard->mapped);
	/* From here on a page may be missing that its PTE says is there */
	guard->dropped = 1;
	__atomic_add_fetch(&stub_guard_drops, 1, __ATOMIC_RELAXED);

	guard->mapped = 0;
	id->syscall_data_len = 0;
	id->syscall_fd_num = 0;
	unmap(id, 0, STUB_START);
}

/**
 * stub_guard_drop_mappings() - Drop all mappings if the host lacked memory for one
 * @id:		The stub
 * @error:	The error of a call of the batch
 * @done:	How many calls of the batch came before that call
 * @guest:	The guest was to run after the batch
 *
 * Return: 0, or the error that remains
 */
long stub_guard_drop_mappings(struct mm_id *id, long error, int done, int guest)
{
	struct stub_data *own = (void *)id->stack;
	struct stub_guard *guard = stub_guard(id);

	if (error != -ENOMEM || guard->dropping)
		return error;

	guard->mapped -= stub_guard_count_mmaps(id, done);
	if (guest && !stub_settings.mappings_max) {
		/* Dropping frees too little, again and again: give up */
		guard->futile = guard->mapped < PAGES_AT_ONCE ? guard->futile + 1 : 0;
		if (guard->futile > FUTILE_MAX)
			return error;
	}

	stub_guard_queue_drop(id);
	own->syscall_data_len = id->syscall_data_len;
	own->restart_wait = 1;
	guard->dropping = 1;
	stub_guard_pin();
	wait_stub_done_seccomp(id, 0, 1);
	stub_guard_unpin();
	guard->dropping = 0;
	id->syscall_data_len = 0;
	return own->err;
}
