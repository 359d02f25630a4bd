/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of stubguard-run share. */
#ifndef STUBGUARD_RUN_H
#define STUBGUARD_RUN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define MAX_LIST	64

/* Exit statuses that are ours. */
#define STATUS_LATE	124	/* the time limit is over */
#define STATUS_TROUBLE	125	/* the command was not run, or the guest has died */
#define STATUS_NOT_RUN	126	/* the command cannot be executed */
#define STATUS_MISSING	127	/* there is no such command */

struct share {
	const char *source;	/* on the host */
	const char *target;	/* in the guest */
	int writable;
};

struct options {
	const char *kernel;
	const char *init;
	const char *root;	/* a folder of the host; NULL: the root is an image */
	const char *image;
	const char *folder;	/* where the command starts */
	const char *mode;
	unsigned long mem;	/* MiB */
	unsigned long cpus;
	uint64_t limit;		/* nanoseconds, 0: none */
	uid_t uid;
	gid_t gid;
	int privileged, stats, verbose, sandbox;
	struct share shares[MAX_LIST];
	unsigned int share_count;
	const char *hidden[MAX_LIST];
	unsigned int hidden_count;
	char *environment[MAX_LIST];
	unsigned int environment_count;
	char **command;
};

/* options.c */
void read_options(int argc, char **argv, struct options *o);

/* sandbox.c */
struct guest {
	pid_t pid;	/* its end is the end of all processes of the guest */
	int wire;
	int log;	/* what the kernel says */
	char *slots;	/* memory that is the guest's second disk: its input */
};

void start_guest(const struct options *o, struct guest *g);
void end_guest(const struct options *o, struct guest *g);

/* The path of the root and of a share for hostfs, from the kernel's root on. */
const char *root_path(const struct options *o);
const char *share_path(const struct options *o, unsigned int number);

/* session.c */
int pass_session(const struct options *o, struct guest *g);

/* stubguard-run.c */
_Noreturn __attribute__((format(printf, 1, 2))) void die(const char *format, ...);
__attribute__((format(printf, 1, 2))) void warn(const char *format, ...);
void *must(void *memory);

#endif
