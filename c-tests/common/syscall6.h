/* SPDX-License-Identifier: GPL-2.0-only */
/* A system call by the instruction itself: a value, or a negative errno. Stub code can use it, too. */

#ifndef SYSCALL6_H
#define SYSCALL6_H

static inline __attribute__((always_inline)) long syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

#endif
