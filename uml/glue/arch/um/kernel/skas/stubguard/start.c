// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guard of seccomp stubs, kernel side: the guard starts before any process can,
 * or the kernel panics.
 */

#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/panic.h>

#include <as-layout.h>
#include <stub-audit.h>
#include <stub-guard.h>

void *stub_guard_code;

/* Before anything could start a process, and while there is one CPU */
static int __init stub_guard_start(void)
{
	void *code = (void *)get_zeroed_page(GFP_KERNEL);
	int err = code ? os_stub_guard_start(code, TASK_SIZE) : -ENOMEM;

	stub_guard_code = code;
	if (err)
		panic("stubguard: cannot guard userspace, err = %d (see stubguard= in --help)\n",
		      err);
	return 0;
}
early_initcall(stub_guard_start);
