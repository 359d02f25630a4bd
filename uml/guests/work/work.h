/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef WORK_H
#define WORK_H

#define PAGE		4096UL
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/* Of this many rounds those that are to be made: WORK_DIVISOR divides them, where a processor is slow. */
unsigned int portion(unsigned int rounds);

void vectors(void);	/* vectors.c */
void steps(void);	/* steps.c */
void handlers(void);	/* handlers.c */
void bases(void);	/* bases.c */
void calls_and_registers(void);	/* calls.c */
void everycall(void);	/* everycall.c */

#endif
