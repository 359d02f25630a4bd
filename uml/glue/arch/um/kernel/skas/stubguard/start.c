// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guard of seccomp stubs, kernel side: the guard starts before any process can,
 * or UML ends.
 */

#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/kmsg_dump.h>
#include <linux/printk.h>

#include <as-layout.h>
#include <kern.h>
#include <kern_util.h>
#include <stub-audit.h>
#include <stub-guard.h>
#include "internal.h"

void *stub_guard_code;

/**
 * stub_guard_refuse() - End UML, as it cannot guard userspace
 * @err:	The error
 * @where:	Where to look it up
 *
 * A panic would abort UML, which is for faults of the kernel. Here the host or a
 * parameter is at fault, so UML ends with an exit status like that of other
 * parameters.
 */
void __init stub_guard_refuse(int err, const char *where)
{
	pr_emerg("stubguard: cannot guard userspace, err = %d (see %s)\n", err, where);
	/* This early the log has no console: a dump shows it, as in panic_exit() */
	kmsg_dump(KMSG_DUMP_PANIC);
	uml_cleanup();
	exit(1);
}

/* Before anything could start a process, and while there is one CPU */
static int __init stub_guard_start(void)
{
	void *code = (void *)get_zeroed_page(GFP_KERNEL);
	int err = code ? os_stub_guard_start(code, TASK_SIZE) : -ENOMEM;

	stub_guard_code = code;
	if (err)
		stub_guard_refuse(err, "stubguard= in --help");
	return 0;
}
early_initcall(stub_guard_start);
