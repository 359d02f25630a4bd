// SPDX-License-Identifier: GPL-2.0-only
/*
 * pauses - how long a busy process is not run
 *
 *	pauses SECONDS
 *
 * It looks at the clock and makes a call, again and again, and prints
 *
 *	pauses CPU-TIME WALL-TIME PAUSE...
 *
 * in microseconds. A pause is a time of a millisecond or more between two looks.
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MOST	100000

static unsigned long pauses[MOST];

static unsigned long microseconds(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (unsigned long)t.tv_sec * 1000000UL + (unsigned long)t.tv_nsec / 1000;
}

int main(int argc, char **argv)
{
	unsigned long start, end, last, now, n = 0, i;

	if (argc != 2)
		errx(2, "usage: pauses SECONDS");
	start = microseconds(CLOCK_MONOTONIC);
	end = start + strtoul(argv[1], NULL, 10) * 1000000UL;
	for (last = start; last < end; last = now) {
		syscall(SYS_getppid);
		now = microseconds(CLOCK_MONOTONIC);
		if (now - last >= 1000 && n < MOST)
			pauses[n++] = now - last;
	}
	printf("pauses %lu %lu", microseconds(CLOCK_PROCESS_CPUTIME_ID), last - start);
	for (i = 0; i < n; i++)
		printf(" %lu", pauses[i]);
	putchar('\n');
	return 0;
}
