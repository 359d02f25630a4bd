// SPDX-License-Identifier: GPL-2.0-only
/*
 * vectors: all floating-point and vector registers of two processes that compete for
 * one CPU for VECTOR_SECONDS (2), each with its own patterns.
 */
#include "work.h"

#include <err.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Several timer ticks, on any machine. */
#define SPINS	3000000U

struct state {
	uint8_t vector[32][64];
	uint64_t mask[8];
	uint8_t x87[8][16];
	uint32_t mxcsr;
	uint16_t control;
} __attribute__((aligned(64)));

#define EACH_8(op)	op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7)
#define EACH_16(op)	EACH_8(op) op(8) op(9) op(10) op(11) op(12) op(13) op(14) op(15)
#define EACH_32(op)	EACH_16(op) op(16) op(17) op(18) op(19) op(20) op(21) op(22) \
			op(23) op(24) op(25) op(26) op(27) op(28) op(29) op(30) op(31)

#define LOAD_X(n)	"movups " #n "*64(%0), %%xmm" #n "\n\t"
#define STORE_X(n)	"movups %%xmm" #n ", " #n "*64(%0)\n\t"
#define LOAD_Y(n)	"vmovups " #n "*64(%0), %%ymm" #n "\n\t"
#define STORE_Y(n)	"vmovups %%ymm" #n ", " #n "*64(%0)\n\t"
#define LOAD_Z(n)	"vmovups " #n "*64(%0), %%zmm" #n "\n\t"
#define STORE_Z(n)	"vmovups %%zmm" #n ", " #n "*64(%0)\n\t"
#define LOAD_K(n)	"kmovq 2048+" #n "*8(%0), %%k" #n "\n\t"
#define STORE_K(n)	"kmovq %%k" #n ", 2048+" #n "*8(%0)\n\t"
/* stores pop the stack: the register that was loaded last comes first */
#define LOAD_ST(n)	"fldt 2112+(7-" #n ")*16(%0)\n\t"
#define STORE_ST(n)	"fstpt 2112+" #n "*16(%0)\n\t"
#define LOAD_MODES	"fninit\n\tfldcw 2244(%0)\n\tldmxcsr 2240(%0)\n\t"
#define STORE_MODES	"fnstcw 2244(%0)\n\tstmxcsr 2240(%0)\n\tfninit\n\t"
#define SPIN		"1:\tpause\n\tdec %1\n\tjnz 1b\n\t"

_Static_assert(offsetof(struct state, mask) == 2048 && offsetof(struct state, x87) == 2112 &&
	       offsetof(struct state, mxcsr) == 2240 && offsetof(struct state, control) == 2244,
	       "the instructions know these offsets");

#define X_REGS	"xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",	\
		"xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"
#define Z_REGS	"xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22",	\
		"xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29",	\
		"xmm30", "xmm31", "k1", "k2", "k3", "k4", "k5", "k6", "k7"
#define ST_REGS	"st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)"

/* Loads all registers, spins without a call, and stores them. */
static void keep_sse(struct state *s, uint64_t spins)
{
	asm volatile(LOAD_MODES EACH_8(LOAD_ST) EACH_16(LOAD_X) SPIN
		     EACH_16(STORE_X) EACH_8(STORE_ST) STORE_MODES
		     : "+r" (s), "+r" (spins) : : X_REGS, ST_REGS, "memory", "cc");
}

__attribute__((target("avx")))
static void keep_avx(struct state *s, uint64_t spins)
{
	asm volatile(LOAD_MODES EACH_8(LOAD_ST) EACH_16(LOAD_Y) SPIN
		     EACH_16(STORE_Y) EACH_8(STORE_ST) STORE_MODES "vzeroupper"
		     : "+r" (s), "+r" (spins) : : X_REGS, ST_REGS, "memory", "cc");
}

__attribute__((target("avx512f,avx512bw")))
static void keep_avx512(struct state *s, uint64_t spins)
{
	asm volatile(LOAD_MODES EACH_8(LOAD_ST) EACH_32(LOAD_Z) EACH_8(LOAD_K) SPIN
		     EACH_32(STORE_Z) EACH_8(STORE_K) EACH_8(STORE_ST) STORE_MODES "vzeroupper"
		     : "+r" (s), "+r" (spins)
		     : : X_REGS, Z_REGS, ST_REGS, "memory", "cc");
}

static bool has_avx512(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
}

static void fill(struct state *s, unsigned int seed)
{
	unsigned int i;

	memset(s, 0, sizeof(*s));
	for (i = 0; i < sizeof(s->vector); i++)
		s->vector[i / 64][i % 64] = (uint8_t)(i * 7 + seed * 31 + i / 64);
	for (i = 0; i < 8; i++) {
		long double value = (long double)(i + 1) / (seed + 3);

		s->mask[i] = 0x0123456789abcdefULL * (seed + 1) + i;
		memcpy(s->x87[i], &value, 10);
	}
	/* rounding, flush to zero; precision, rounding */
	s->mxcsr = 0x1f80 | (seed & 3) << 13 | (seed & 4 ? 0x8000 : 0);
	s->control = (uint16_t)(0x37f | (seed & 3) << 10);
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int keep(unsigned int who, double duration)
{
	struct state want, have;
	double end = seconds() + duration;
	uint64_t spins = portion(SPINS);
	unsigned int round;

	for (round = 0; round < 3 || seconds() < end; round++) {
		fill(&want, round * 2 + who);
		have = want;
		if (has_avx512())
			keep_avx512(&have, spins);
		else if (__builtin_cpu_supports("avx"))
			keep_avx(&have, spins);
		else
			keep_sse(&have, spins);
		if (memcmp(&want, &have, sizeof(want)))
			return 1;
	}
	return 0;
}

void vectors(void)
{
	const char *duration = getenv("VECTOR_SECONDS");
	int status, bad = 0;
	unsigned int i;
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(0, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	for (i = 0; i < 2; i++)
		if (fork() == 0)
			_exit(keep(i, duration ? atof(duration) : 2));
	for (i = 0; i < 2; i++)
		if (wait(&status) < 0 || status)
			bad++;
	if (bad)
		errx(1, "%d of 2 processes lost registers", bad);
	printf("registers of 2 processes kept: x87, SSE%s%s\n",
	       __builtin_cpu_supports("avx") ? ", AVX" : "",
	       has_avx512() ? ", AVX-512 with masks" : "");
}
