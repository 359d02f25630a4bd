// SPDX-License-Identifier: GPL-2.0-only
/*
 * run-flood - takes the place of the kernel of stubguard-run, as a guest that has taken it over
 *
 * It sends output without end, and never reads what the host sends back.
 */
#include <string.h>
#include <unistd.h>

#include "../../run/wire.h"

#define WIRE_FD	3	/* as in run/sandbox.c */

int main(void)
{
	struct wire_head ready = { .type = WIRE_READY };
	struct {
		struct wire_head head;
		char data[WIRE_PAYLOAD];
	} frame = { .head = { .type = WIRE_DATA, .stream = 1, .length = WIRE_PAYLOAD } };
	int n;

	memset(frame.data, 'x', sizeof(frame.data));
	if (write(WIRE_FD, &ready, sizeof(ready)) != sizeof(ready))
		return 1;
	for (n = 1;; n++) {
		if (write(WIRE_FD, &frame, sizeof(frame)) != sizeof(frame))
			return 1;
		/* So slowly that the host has passed it on */
		if (n % 16 == 0)
			usleep(2000);
	}
}
