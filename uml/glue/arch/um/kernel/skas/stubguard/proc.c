// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guard of seccomp stubs, kernel side: /proc/stubguard, the mode and counters.
 */

#include <linux/init.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

#include <stub-guard.h>

static int stub_guard_show(struct seq_file *m, void *v)
{
	const char *name, *reason;
	unsigned long long value;
	unsigned int i;

	seq_printf(m, "mode %s\n", stub_guard_parked ? "window" :
		   stub_guard_on ? "notify" : "off");
	for (i = 0; os_stub_guard_counter(i, &name, &reason, &value) == 0; i++)
		seq_printf(m, "%s%s %llu\n", name, reason, value);

	return 0;
}

static int __init stub_guard_proc(void)
{
	proc_create_single("stubguard", 0444, NULL, stub_guard_show);
	return 0;
}
fs_initcall(stub_guard_proc);
