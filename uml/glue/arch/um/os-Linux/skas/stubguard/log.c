// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guard of seccomp stubs, host side: the library's log lines. They may come
 * from the watchdog's thread, on which no kernel code may run. So they are kept
 * until a CPU prints them.
 */

#include <stddef.h>
#include <string.h>
#include <os.h>
#include "internal.h"

#define LOG_LINES 16

enum { LINE_FREE, LINE_BUSY, LINE_FULL };

static struct {
	int state;
	int level;
	char text[320];
} log_lines[LOG_LINES];
static int log_waiting;

void stub_guard_log_line(int level, const char *message)
{
	size_t len = strnlen(message, sizeof(log_lines[0].text) - 1);
	int i, old;

	for (i = 0; i < LOG_LINES; i++) {
		old = LINE_FREE;
		if (!__atomic_compare_exchange_n(&log_lines[i].state, &old,
						 LINE_BUSY, 0, __ATOMIC_ACQUIRE,
						 __ATOMIC_RELAXED))
			continue;
		log_lines[i].level = level;
		memcpy(log_lines[i].text, message, len);
		log_lines[i].text[len] = '\0';
		__atomic_store_n(&log_lines[i].state, LINE_FULL, __ATOMIC_RELEASE);
		__atomic_store_n(&log_waiting, 1, __ATOMIC_RELEASE);
		return;
	}
	/* No line is free. This one is lost, but the counters have its event. */
}

void stub_guard_print_log(void)
{
	int i, old;

	if (!__atomic_load_n(&log_waiting, __ATOMIC_RELAXED))
		return;

	__atomic_store_n(&log_waiting, 0, __ATOMIC_SEQ_CST);
	for (i = 0; i < LOG_LINES; i++) {
		old = LINE_FULL;
		if (!__atomic_compare_exchange_n(&log_lines[i].state, &old,
						 LINE_BUSY, 0, __ATOMIC_ACQUIRE,
						 __ATOMIC_RELAXED))
			continue;
		if (log_lines[i].level > STUBGUARD_LOG_WARNING)
			printk(UM_KERN_INFO "%s\n", log_lines[i].text);
		else if (stub_guard_may_print(__func__))
			printk(UM_KERN_WARNING "%s\n", log_lines[i].text);
		__atomic_store_n(&log_lines[i].state, LINE_FREE, __ATOMIC_RELEASE);
	}
}
