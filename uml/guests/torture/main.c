// SPDX-License-Identifier: GPL-2.0-only
/*
 * torture - does to its memory all that a program can do, at random, and checks it page by page
 *
 *	torture [--seed N] [--seconds S] [--operations N] [--processes P] [--threads T] [--memory MIB] [--only MODULE,...]
 *
 * Some processes with some threads each change their mappings, and know the contents and rights of each page. One
 * process fills free frames with a pattern. One has threads that race on the same pages. If a page is wrong, the
 * report has the seed and the last operations, and the exit code is 1.
 *
 * Modules: maps, files, copies, family, peer, tables, ring, race, faults, futex; or operations by the names in the
 * report. The basic mappings are always there. The same seed gives each thread the same operations, but the kernel
 * interleaves them.
 */
#include "torture.h"

#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef PR_SET_PTRACER
#define PR_SET_PTRACER 0x59616d61
#define PR_SET_PTRACER_ANY (-1L)
#endif

struct control *control;
uint64_t seed;
const char *self_path;

static struct timespec end;
static uint64_t limit;
static uint64_t weights;

bool out_of_time(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > end.tv_sec || (now.tv_sec == end.tv_sec && now.tv_nsec >= end.tv_nsec);
}

enum { BASE = 1, MAPS = 2, OF_FILES = 4, COPIES = 8, FAMILY = 16, PEER = 32, TABLES = 64, RING = 128, RACE = 256,
       FAULTS = 512, FUTEX = 1024 };

static const struct {
	const char *name;
	unsigned int bit;
} modules[] = {
	{ "maps", MAPS }, { "files", OF_FILES }, { "copies", COPIES }, { "family", FAMILY },
	{ "peer", PEER }, { "tables", TABLES }, { "ring", RING }, { "race", RACE }, { "faults", FAULTS }, { "futex", FUTEX },
};

static const struct operation {
	const char *name;
	bool (*run)(struct worker *w);
	unsigned int module;
	unsigned int weight;
	bool alone;	/* not by a task that shares the address space */
} operations[] = {
	{ "map-anon", map_anon, BASE, 12, false },
	{ "map-file", map_file, BASE, 8, false },
	{ "unmap", unmap, BASE, 6, false },
	{ "protect", protect, BASE, 10, false },
	{ "fill", fill, BASE, 30, false },
	{ "look", look, BASE, 12, false },
	{ "map-populated", map_populated, MAPS, 8, false },
	{ "advise", advise, MAPS, 60, false },
	{ "populate", populate, MAPS, 12, false },
	{ "move", move, MAPS, 40, false },
	{ "clear-refs", clear_refs, MAPS, 1, false },
	{ "lock", lock, MAPS, 4, false },
	{ "execute", execute, MAPS, 6, false },
	{ "truncate", file_truncate, OF_FILES, 6, false },
	{ "punch", file_punch, OF_FILES, 8, false },
	{ "file-write", file_write, OF_FILES, 10, false },
	{ "file-together", file_together, OF_FILES, 3, true },
	{ "copy-in", copy_in, COPIES, 20, false },
	{ "copy-out", copy_out, COPIES, 16, false },
	{ "copy-pipe", copy_pipe, COPIES, 10, false },
	{ "copy-odd", copy_odd, COPIES, 8, false },
	{ "copy-lazy", copy_lazy, COPIES, 6, false },
	{ "copy-denied", copy_denied, COPIES, 20, false },
	{ "copy-vmsplice", copy_vmsplice, COPIES, 6, false },
	{ "copy-splice", copy_splice, COPIES, 6, false },
	{ "copy-random", copy_random, COPIES, 4, false },
	{ "copy-string", copy_string, COPIES, 6, false },
	{ "copy-futex", copy_futex, COPIES, 8, false },
	{ "copy-frame", copy_frame, COPIES, 4, false },
	{ "fork", family_fork, FAMILY, 6, true },
	{ "exec", family_exec, FAMILY, 2, true },
	{ "clone", family_clone, FAMILY, 6, true },
	{ "bare", family_bare, FAMILY, 1, true },
	{ "fault-user", fault_user, FAULTS, 4, false },
	{ "fault-grow", fault_grow, FAULTS, 4, false },
	{ "peer-vm", peer_vm, PEER, 5, true },
	{ "peer-trace", peer_trace, PEER, 5, true },
	{ "peer-mem", peer_mem, PEER, 10, false },
	{ "table-over", table_over, TABLES, 2, false },
	{ "table-refill", table_refill, TABLES, 3, false },
	{ "table-move", table_move, TABLES, 2, false },
	{ "table-levels", table_levels, TABLES, 6, false },
	{ "table-batch", table_batch, TABLES, 2, true },
	{ "futex-change", futex_change, FUTEX, 3, true },
	{ "futex-lock", futex_lock, FUTEX, 3, true },
	{ "ring-fork", ring_fork, RING, 4, true },
	{ "ring-read", ring_read, RING, 8, true },
};

static unsigned int chosen = ~0U;
static uint64_t chosen_operations;

static bool runs(const struct operation *o)
{
	return (o->module & (chosen | BASE)) || (chosen_operations & 1ULL << (o - operations));
}

static void run_one(struct worker *w)
{
	const struct operation *o;
	unsigned int i;

	do {
		unsigned int at = below(w, weights);

		for (i = 0; !runs(&operations[i]) || at >= operations[i].weight; i++)
			if (runs(&operations[i]))
				at -= operations[i].weight;
		o = &operations[i];
	} while (o->alone && (w->borrowed || w->depth > 1));
	w->done++;
	atomic_fetch_add(o->run(w) ? &control->done[i] : &control->refused[i], 1);
}

void run_some(struct worker *w, unsigned int n)
{
	while (n-- && !atomic_load(&control->stop) && !(n % 8 == 0 && out_of_time()))
		run_one(w);
}

static void *work(void *arg)
{
	struct worker *w = arg;

	self = w;
	worker_init(w);
	while (!atomic_load(&control->stop) && !out_of_time() && (!limit || w->done < limit))
		run_some(w, 8);
	check_all(w);
	return NULL;
}

static struct worker *new_worker(unsigned int process, unsigned int thread, unsigned int budget)
{
	struct worker *w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (w == MAP_FAILED)
		err(2, "mmap");
	w->process = process;
	w->thread = thread;
	w->who = process << 8 | thread;
	w->random = seed ^ (uint64_t)(w->who + 1) << 32;
	next_random(w);
	w->budget = budget;
	w->ring_fd = -1;
	return w;
}

static int workers(unsigned int process, unsigned int threads, unsigned int budget)
{
	pthread_t id[MAX_THREADS];
	unsigned int i;

	for (i = 1; i < threads; i++)
		if (pthread_create(&id[i], NULL, work, new_worker(process, i, budget)))
			errx(2, "pthread_create");
	work(new_worker(process, 0, budget));
	for (i = 1; i < threads; i++)
		pthread_join(id[i], NULL);
	return 0;
}

static unsigned long free_mib(void)
{
	unsigned long kib = 256 << 10;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "re");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemFree: %lu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib >> 10;
}

static unsigned long number(const char *text)
{
	char *rest;
	unsigned long n = strtoul(text, &rest, 0);

	if (!*text || *rest)
		errx(2, "not a number: %s", text);
	return n;
}

/* Chooses modules, or operations by their names in the report */
static void choose(char *names)
{
	unsigned int i, found;
	char *name;

	chosen = 0;
	for (name = strtok(names, ","); name; name = strtok(NULL, ",")) {
		found = 0;
		for (i = 0; i < ARRAY_SIZE(modules); i++)
			if (strcmp(modules[i].name, name) == 0)
				found = chosen |= modules[i].bit;
		for (i = 0; i < ARRAY_SIZE(operations); i++)
			if (strcmp(operations[i].name, name) == 0)
				found = !!(chosen_operations |= 1ULL << i);
		if (!found)
			errx(2, "no module or operation %s", name);
	}
}

/* Returns how many operations there were. */
static unsigned long report(void)
{
	unsigned long sum = atomic_load(&control->raced);
	unsigned int i, column = 0;

	for (i = 0; i < ARRAY_SIZE(operations); i++) {
		sum += atomic_load(&control->done[i]) + atomic_load(&control->refused[i]);
		if (!runs(&operations[i]))
			continue;
		printf("%s%s %lu", column ? ", " : "  ", operations[i].name, atomic_load(&control->done[i]));
		if (atomic_load(&control->refused[i]))
			printf(" (+%lu)", atomic_load(&control->refused[i]));
		column = (column + 1) % 6;
		if (!column)
			puts(",");
	}
	printf("%s  races %lu, frames filled %lu\n", column ? ",\n" : "", atomic_load(&control->raced),
	       atomic_load(&control->filled));
	return sum;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' },	{ "seconds", required_argument, NULL, 't' },
		{ "operations", required_argument, NULL, 'n' }, { "processes", required_argument, NULL, 'p' },
		{ "threads", required_argument, NULL, 'T' },	{ "memory", required_argument, NULL, 'm' },
		{ "only", required_argument, NULL, 'o' },	{ NULL, 0, NULL, 0 },
	};
	unsigned long seconds = 20, processes = 2, threads = 2, memory = 0, sum;
	unsigned int i, total, budget, begun, left, bad = 0;
	pid_t pid[MAX_PROCESSES + 2];
	struct timespec now;
	int option;

	if (argc == 4 && strcmp(argv[1], "--fresh") == 0)
		return fresh(argv + 2);
	if (argc == 2 && strcmp(argv[1], "--bare") == 0)
		return bare();
	clock_gettime(CLOCK_REALTIME, &now);
	seed = (uint64_t)now.tv_nsec << 8 ^ now.tv_sec ^ getpid();
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 's':
			seed = number(optarg);
			break;
		case 't':
			seconds = number(optarg);
			break;
		case 'n':
			limit = number(optarg);
			break;
		case 'p':
			processes = number(optarg);
			break;
		case 'T':
			threads = number(optarg);
			break;
		case 'm':
			memory = number(optarg);
			break;
		case 'o':
			choose(optarg);
			break;
		default:
			errx(2,
			     "options: --seed --seconds --operations --processes --threads --memory (MiB) --only (modules, operations)");
		}
	}
	if (optind != argc || processes < 1 || processes > MAX_PROCESSES || threads < 1 || threads > MAX_THREADS)
		errx(2, "from 1 to %u processes, 1 to %u threads", MAX_PROCESSES, MAX_THREADS);
	self_path = realpath(argv[0], NULL);
	if (!self_path)
		self_path = "/proc/self/exe";
	if (!memory)
		memory = free_mib() / 4;
	if (memory > 4096)
		memory = 4096;
	control = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (control == MAP_FAILED)
		err(2, "mmap");
	for (i = 0; i < ARRAY_SIZE(operations); i++)
		if (runs(&operations[i]))
			weights += operations[i].weight;

	/* Half is the filler's. A thread may use its share again in a child, in tables, and in files. */
	control->only_race = chosen == RACE && !chosen_operations;
	total = memory * (1UL << 20) / PAGE;
	budget = total / 2 / (processes * threads * 3);
	if (budget > 2 * TABLE_PAGES)
		budget = 2 * TABLE_PAGES;
	printf("torture: seed %llu, %lu processes of %lu threads, %lu s, %lu MiB, %u pages each\n", (unsigned long long)seed,
	       processes, threads, seconds, memory, budget);
	fflush(stdout);

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += seconds;
	catch_faults();
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
	left = (control->only_race ? 0 : processes) + 1 + !!(chosen & RACE);
	begun = left;
	total /= 2;
	for (i = 0; i < begun; i++) {
		pid[i] = fork();
		if (pid[i] < 0)
			err(2, "fork");
		if (pid[i])
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
		if (i == 0) {
			struct worker *w = self = new_worker(MAX_PROCESSES + 1, 0, 0);

			_exit(filler(w, total > 65536 ? 65536 : total));
		}
		if (i == 1 && (chosen & RACE)) {
			struct worker *w = self = new_worker(MAX_PROCESSES + 2, 0, budget);

			_exit(race(w, threads));
		}
		_exit(workers(i, threads, budget));
	}
	while (left) {
		int status, k;
		pid_t one = wait(&status);

		if (one < 0)
			err(2, "wait");
		for (k = 0; pid[k] != one; k++)
			;
		pid[k] = -1;
		left--;
		/* With a number of operations, filler and racers end when all workers have ended */
		if (left == 1 + !!(chosen & RACE) && limit)
			atomic_store(&control->stop, 1);
		if (!status || bad++)
			continue;
		if (!atomic_load(&control->failed))
			printf("torture: FAIL: process %d ended with status %#x\n", k, status);
		atomic_store(&control->stop, 1);
		fflush(stdout);
		for (i = 0; i < begun; i++)
			if (pid[i] > 0)
				kill(pid[i], SIGKILL);
		break;
	}
	sum = report();
	if (bad || atomic_load(&control->failed)) {
		printf("torture: FAILED, seed %llu\n", (unsigned long long)seed);
		return 1;
	}
	printf("torture: passed, %lu operations, seed %llu\n", sum, (unsigned long long)seed);
	return 0;
}
