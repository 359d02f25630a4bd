/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef __STUB_AUDIT_H
#define __STUB_AUDIT_H

struct mm_struct;

/* The page that the stubs of window mode run */
extern void *stub_guard_code;

/* mmu.c: the address spaces that have a stub, for stubguard/audit.c */
unsigned int um_mm_list_grab(struct mm_struct **mms, unsigned int max);

#endif
