// SPDX-License-Identifier: GPL-2.0-only
/*
 * bases: FS and GS of threads and processes that preempt each other.
 */
#include "work.h"

#include <asm/prctl.h>
#include <err.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define THREADS		4
#define PROCESSES	2
#define SECONDS		0.4

static __thread uint64_t own;
static uint64_t block[THREADS][2];

static uint64_t load_gs(void)
{
	uint64_t value;

	asm volatile("mov %%gs:8, %0" : "=r" (value));
	return value;
}

static uint64_t load_fs(void)
{
	uint64_t self;

	asm volatile("mov %%fs:0, %0" : "=r" (self));
	return self;
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Returns @arg if all was right. */
static void *check_bases(void *arg)
{
	uintptr_t me = (uintptr_t)arg;
	uint64_t mark = (uint64_t)getpid() << 8 | me, base;
	double end = seconds() + SECONDS;
	long i, rounds = portion(200000);

	own = mark;
	block[me][1] = ~mark;
	if (syscall(SYS_arch_prctl, ARCH_SET_GS, block[me]))
		return NULL;
	while (seconds() < end) {
		for (i = 0; i < rounds; i++)
			if (own != mark || load_gs() != ~mark ||
			    load_fs() != (uint64_t)pthread_self())
				return NULL;
		if (syscall(SYS_arch_prctl, ARCH_GET_GS, &base) || base != (uint64_t)block[me])
			return NULL;
		if (syscall(SYS_arch_prctl, ARCH_GET_FS, &base) || base != (uint64_t)pthread_self())
			return NULL;
	}
	return (void *)(me + 1);
}

static int check_threads(void)
{
	pthread_t thread[THREADS];
	void *result;
	uintptr_t i;
	int bad = 0;

	for (i = 0; i < THREADS; i++)
		if (pthread_create(&thread[i], NULL, check_bases, (void *)i))
			return THREADS;
	for (i = 0; i < THREADS; i++)
		bad += pthread_join(thread[i], &result) || result != (void *)(i + 1);
	return bad;
}

void bases(void)
{
	int i, status, bad = 0;

	for (i = 0; i < PROCESSES; i++)
		if (fork() == 0)
			_exit(check_threads());
	for (i = 0; i < PROCESSES; i++)
		bad += wait(&status) < 0 || status != 0;
	if (bad)
		errx(1, "%d of %d processes lost a base", bad, PROCESSES);
	printf("FS and GS of %d threads in each of %d processes kept\n", THREADS, PROCESSES);
}
