/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guard of seccomp stubs, kernel side: what the files of this folder share.
 */
#ifndef __STUB_GUARD_INTERNAL_H
#define __STUB_GUARD_INTERNAL_H

#include <linux/container_of.h>
#include <linux/init.h>
#include <linux/mm_types.h>

#include <asm/mmu.h>

/* Returns the address space of a stub */
static inline struct mm_struct *mm_of(struct mm_id *id)
{
	struct mm_context *context = container_of(id, struct mm_context, id);

	return container_of(context, struct mm_struct, context);
}

void __init stub_guard_refuse(int err, const char *where);

#endif
