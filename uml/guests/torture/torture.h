/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TORTURE_H
#define TORTURE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PAGE		4096UL
#define TABLE_PAGES	512UL
#define TABLE		(TABLE_PAGES * PAGE)
#define GIGABYTE	(1UL << 30)
#define WORDS		(PAGE / sizeof(uint64_t))
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/* Not a multiple of a table's pages: neighbours share one */
#define ARENA_PAGES	2360U
#define ARENA_BASE	0x100000000000UL
#define ZONE_BASE	0x200000000000UL
#define ZONE_STRIDE	(1UL << 41)

#define FILES		2U
#define FILE_PAGES	300U
#define BUFFER_PAGES	64U
#define LOG_LINES	40U
#define LOG_WIDTH	112U
#define MAX_THREADS	8U
#define MAX_PROCESSES	32U

/* The kind of a page of an arena */
enum kind { NONE, ANON, SHARED, PRIVATE };

#define GUARD	1U	/* MADV_GUARD_INSTALL */
#define LAZY	2U	/* MADV_FREE: its contents, or zero */
#define COPIED	4U	/* PRIVATE: no longer the file's page */
#define WIPED	8U	/* MADV_WIPEONFORK */
#define KEPT	16U	/* MADV_DONTFORK */
#define OF_VMA	(WIPED | KEPT)

struct page {
	uint8_t kind;
	uint8_t prot;
	uint8_t flags;
	uint8_t file;
	uint32_t index;		/* in the file */
	uint64_t tag;		/* of its contents; 0: zeros */
};

struct file {
	int fd;
	unsigned int pages;
	uint64_t tag[FILE_PAGES];
};

struct ring;

/* A thread, or a process, and the memory that only it may touch */
struct worker {
	unsigned int process, thread;
	uint32_t who;
	uint32_t serial;
	uint64_t random;
	uint64_t done;
	unsigned int depth;	/* of forks */
	bool borrowed;		/* must not fork: a task that shares the mm, or a child is at work */
	uint8_t *base;
	uint8_t *zone;
	uint8_t *buffer;
	unsigned int budget;	/* pages */
	int pipe[2];
	int data;		/* a file of BUFFER_PAGES */
	int ring_fd;
	struct ring *ring;
	struct file file[FILES];
	struct page page[ARENA_PAGES];
	unsigned int lines;
	char log[LOG_LINES][LOG_WIDTH];
};

struct range {
	unsigned int first, count;
};

#define MAX_OPERATIONS	64

/* All processes see this */
struct control {
	bool only_race;
	atomic_int stop;
	atomic_int failed;
	atomic_uint notes;
	atomic_ulong raced;
	atomic_ulong done[MAX_OPERATIONS];
	atomic_ulong refused[MAX_OPERATIONS];
	atomic_ulong filled;
};

extern struct control *control;
extern uint64_t seed;
extern const char *self_path;
extern __thread struct worker *self;

/* util.c */
uint64_t next_random(struct worker *w);
unsigned int below(struct worker *w, unsigned int n);
static inline bool one_in(struct worker *w, unsigned int n)
{
	return below(w, n) == 0;
}
uint64_t new_tag(struct worker *w);
uint64_t word_of(uint64_t tag, unsigned int i);
bool is_of(uint64_t word, unsigned int i, uint32_t who);
void fill_page(void *at, uint64_t tag);
void say(struct worker *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
_Noreturn void fail(struct worker *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
void note(unsigned int bit, const char *text);
void want_page(struct worker *w, const void *at, uint64_t tag, bool lazy, const char *what);
void want_same(struct worker *w, const void *at, const void *copy, uint64_t tag, bool lazy, const char *what);
void want_fault(struct worker *w, void *at, int sig, const char *what);
int probe_load(const void *at, uint64_t *value);
int probe_store(void *at, uint64_t value);
void catch_faults(void);
void reap(struct worker *w, pid_t pid, const char *what);
pid_t fork_worker(struct worker *w);
bool out_of_time(void);

/* arena.c: the model of pages, and what changes them */
void worker_init(struct worker *w);
void worker_files(struct worker *w);
uint8_t *address(struct worker *w, unsigned int page);
uint64_t tag_of(struct worker *w, const struct page *p);
int fault_of(struct worker *w, const struct page *p, bool write);
void wrote(struct worker *w, struct page *p, uint64_t tag);
void check_one(struct worker *w, unsigned int page);
void check_range(struct worker *w, struct range r);
void check_all(struct worker *w);
struct range any_range(struct worker *w);
struct range mapped_range(struct worker *w);
struct range uniform_range(struct worker *w);
int page_for(struct worker *w, bool write);
bool over_budget(struct worker *w, unsigned int more);
void forget(struct worker *w, struct range r);

/* Operations: false if the kernel has refused it, or there is no page for it */
bool map_anon(struct worker *w);
bool map_file(struct worker *w);
bool unmap(struct worker *w);
bool protect(struct worker *w);
bool fill(struct worker *w);
bool look(struct worker *w);
bool map_populated(struct worker *w);
bool advise(struct worker *w);
bool populate(struct worker *w);
bool move(struct worker *w);
bool clear_refs(struct worker *w);
bool lock(struct worker *w);
bool execute(struct worker *w);

/* files.c */
bool file_truncate(struct worker *w);
bool file_punch(struct worker *w);
bool file_write(struct worker *w);
bool file_together(struct worker *w);

/* copies.c */
bool copy_in(struct worker *w);
bool copy_out(struct worker *w);
bool copy_pipe(struct worker *w);
bool copy_odd(struct worker *w);
bool copy_lazy(struct worker *w);
bool copy_denied(struct worker *w);
bool copy_vmsplice(struct worker *w);
bool copy_splice(struct worker *w);
bool copy_random(struct worker *w);
bool copy_string(struct worker *w);
bool copy_futex(struct worker *w);
bool copy_frame(struct worker *w);

/* faults.c */
bool fault_user(struct worker *w);
bool fault_grow(struct worker *w);

/* family.c */
bool family_fork(struct worker *w);
bool family_exec(struct worker *w);
bool family_clone(struct worker *w);
bool family_bare(struct worker *w);
int fresh(char **argv);
int bare(void);
void run_some(struct worker *w, unsigned int n);

/* peer.c */
bool peer_vm(struct worker *w);
bool peer_trace(struct worker *w);
bool peer_mem(struct worker *w);

/* tables.c */
bool table_over(struct worker *w);
bool table_refill(struct worker *w);
bool table_move(struct worker *w);
bool table_levels(struct worker *w);
bool table_batch(struct worker *w);

/* futex.c */
bool futex_change(struct worker *w);
bool futex_lock(struct worker *w);

/* ring.c */
bool ring_fork(struct worker *w);
bool ring_read(struct worker *w);
struct request {
	uint8_t opcode;
	int fd;
	void *at;
	uint32_t len;
	uint64_t offset;
	uint32_t advice;
};
bool ring_run(struct worker *w, const struct request *request, unsigned int n, int *result);
void ring_forget(struct worker *w);

/* race.c, filler.c: processes of their own */
int race(struct worker *w, unsigned int threads);
int filler(struct worker *w, unsigned int pages);

#endif
