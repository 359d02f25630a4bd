/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A model of UML's side: real stub processes with the real filter, and a monitor that knows nothing
 * of the library but its header.
 *
 * What a guest does is said by its registers, as the monitor resumes it: it may call the host from
 * any place in the stub's code page with any arguments (a hijacked stub) or from its own code.
 */

#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <stubguard.h>
#include <sys/ucontext.h>

#define PAGE 4096UL
/* Both halves of the address are such that a filter which looks at one of them only is seen. */
#define STUB_START 0x20007fffc000UL
#define STUB_DATA (STUB_START + PAGE)
#define STUB_DATA_PAGES 2
/* Guest memory: code, stack, and free pages behind them. */
#define GUEST 0x100000000000UL
#define GUEST_CODE GUEST
#define GUEST_STACK (GUEST + PAGE)
#define GUEST_FREE (GUEST + 0x10000UL)
/* The gadget that every stub page has; mm_gadget() makes others. */
#define GADGET 0xfe0

/* Frames of the memory file, in pages. */
#define FRAME_STUB_CODE 0
#define FRAME_STUB_DATA 1
#define FRAME_GUEST_CODE 3
#define FRAME_GUEST_STACK 4
#define FRAME_FREE 8
#define FRAMES 64

#define FUTEX_IN_CHILD 0
#define FUTEX_IN_KERN 1

#define MMAP_FD 2

/* The C library does not say it. */
#define SA_RESTORER 0x04000000
/* Those that a stub handles, and reports. */
#define STUB_SIGNALS 7
extern const int stub_signals[STUB_SIGNALS];

/* ---- what UML's stub-data.h has */

enum { STUB_SYSCALL_UNSET, STUB_SYSCALL_MMAP, STUB_SYSCALL_MUNMAP, STUB_SYSCALL_WRPROTECT };

struct stub_syscall {
	struct {
		unsigned long addr;
		unsigned long length;
		unsigned long offset;
		int fd;
		int prot;
	} mem;
	int syscall;
};

#define STUB_SYNC_FS_BASE 1
#define STUB_SYNC_GS_BASE 2

struct stub_data_arch {
	int sync;
	unsigned long fs_base;
	unsigned long gs_base;
};

#define CALLS_MAX ((PAGE - 128) / sizeof(struct stub_syscall))

struct stub_data {
	long err;
	int syscall_data_len;
	struct stub_syscall syscall_data[CALLS_MAX] __attribute__((aligned(16)));
	short restart_wait;
	unsigned int futex;
	int signal;
	unsigned short si_offset;
	unsigned short mctx_offset;
	struct stub_data_arch arch_data;
	unsigned char sigstack[PAGE] __attribute__((aligned(4096)));
};

/* ---- the model */

struct pte {
	unsigned long addr;
	unsigned long frame;
	int prot;
};

#define PTES 32

struct question {
	unsigned long addr, prot, offset;
};

struct mm_id {
	struct stub_data own;		/* the monitor's copy */
	struct stub_data *shared;	/* as the stub has it */
	unsigned char *ram;		/* FRAMES pages */
	int memory;			/* the file of `ram` */
	int pid, pidfd, sock, listener;
	bool reaped;
	int status;			/* if it was reaped */
	uint64_t identity;
	int calls;			/* in own.syscall_data */
	bool do_not_drain;		/* mm_wait() leaves notifications alone */
	int drained;			/* by mm_wait() */

	struct pte ptes[PTES];
	unsigned int pte_count;
	unsigned int asked;		/* how often the hook was called, and the first few */
	struct question questions[16];
};

/* The configuration of these stubs, with no flags and no kick signal. */
struct stubguard_config model_config(void);
/* stubguard_init() with it, which must succeed. */
void model_init(unsigned int flags);
void model_init_config(const struct stubguard_config *config);

/* A watchdog in a hurry: what a test waits for comes soon, and LOOKS are enough to be killed several times. */
#define TICK_MS 10
#define BUDGET_MS 60
#define LOOKS 20
struct stubguard_config model_in_a_hurry(struct stubguard_config config, int kick);

/* What the log function got, line by line; the log function wakes model_log_wait(). */
extern char model_log_text[8192];
unsigned int model_log_count(int level);
unsigned int model_log_lines(void);
void model_log_wait(unsigned int lines);
/* Sleeps until there is a line with that. */
void model_log_wait_for(const char *text);

/* Checks that stubguard_filter() keeps to its room, whatever that is; returns the length. */
int model_filter_length(void);

struct stubguard_stats stats(void);
uint64_t denied(const char *reason);

/* Starts a stub: it has reported its first signal, and its guest has code and stack. */
void mm_start(struct mm_id *mm);
/* Without the listener, the first report, and the guest's pages. */
void mm_spawn(struct mm_id *mm);
/* A process of another kind with a listener: `main` runs in it. */
void mm_start_process(struct mm_id *mm, void (*main)(void));
/* For that: sleeps for ever. */
void mm_sleep(void);
/* Ends and reaps it; returns the wait status. Everything is closed but the listener if `keep`. */
int mm_end(struct mm_id *mm);
void mm_forget(struct mm_id *mm);
int mm_reap(struct mm_id *mm);
bool mm_is_dead(struct mm_id *mm);
/* It is killed, but not reaped; or, in the other case, it is, and another process gets its pid, or the test is skipped. */
void mm_kill(struct mm_id *mm);
void mm_kill_for_another(struct mm_id *mm, struct mm_id *other);
/* It lives while the watchdog looks so often. Nobody is charged for a monitor that runs: this sleeps. */
void mm_outlives(struct mm_id *mm, unsigned int looks);
/* Sleeps until the process is dead. */
void mm_wait_dead(struct mm_id *mm);
/* And until its listener tells: before Linux 6.11 it has to be reaped for that, as UML does at SIGCHLD. */
void mm_wait_told(struct mm_id *mm);
/* Sleeps until /proc says so of its state. */
void mm_wait_state(struct mm_id *mm, char state);
char mm_state(struct mm_id *mm);

/* The guest's page table, and the stub's mappings by it. */
void mm_set_pte(struct mm_id *mm, unsigned long addr, unsigned long frame, int prot);
void mm_clear_pte(struct mm_id *mm, unsigned long addr);
void mm_queue_map(struct mm_id *mm, unsigned long addr, unsigned long length, unsigned long frame,
		  int prot);
/* A page that the page table grants. */
void mm_queue_page(struct mm_id *mm, unsigned long addr, unsigned int frame, int prot);
void mm_queue_unmap(struct mm_id *mm, unsigned long addr, unsigned long length);
void mm_queue_wrprotect(struct mm_id *mm, unsigned long addr, unsigned long length);
/* Has the stub work on what is queued; own.err tells. Returns what mm_wait() does. */
int mm_sync(struct mm_id *mm);
/* The line of /proc/PID/maps that has `addr`, "" if none. */
const char *mm_mapping(struct mm_id *mm, unsigned long addr);
/* A number that changes if any line of it does. */
unsigned long mm_mappings_hash(struct mm_id *mm);

/* What a model of other stubs needs, too: memory with the guest's code; a new process is ours. */
void mm_make_memory(struct mm_id *mm);
void mm_own(struct mm_id *mm);
/* A file of /proc/PID as a string: its length, or a negative errno. */
long mm_proc_read(int pid, const char *file, char *buffer, size_t size);
/* Where the guest has that code. */
unsigned long mm_guest_code(const char *what);
#define GUEST_REPORTS 9999

/* Publishes, and wakes the stub. */
void mm_resume(struct mm_id *mm);
/* Waits for its report, and collects that: 0, -EPROTO, or -ESRCH if it is dead. */
int mm_wait(struct mm_id *mm);
int mm_wait_report(struct mm_id *mm);

/* `syscall; ret` at that offset of the stub's code page; returns the address. */
unsigned long mm_gadget(struct mm_id *mm, unsigned int offset);
/* The same, in another frame: as much of it as there is room for. */
void mm_frame_gadget(struct mm_id *mm, unsigned int frame, unsigned int offset);

/* Where the stub's signal handler is. */
unsigned long mm_handler(void);

/* The guest's registers as of the last report, to be resumed with. */
long long *mm_regs(struct mm_id *mm);
/* The guest's next steps; mm_resume() makes it take them. */
void mm_call(struct mm_id *mm, unsigned long ip, long nr, const unsigned long *args);
void mm_guest(struct mm_id *mm, const char *what, unsigned long arg);
/* The same, and what comes of it is reported. */
void mm_run(struct mm_id *mm, const char *what, unsigned long arg);
/* The value that the guest's call, or step, has had; the guest must have said so. */
long mm_result(struct mm_id *mm);
/* The number of the call by which it reported. */
int mm_guest_call(struct mm_id *mm);
/* A hijacked stub's rt_sigreturn: goes on at `ip` with those signals blocked. */
void mm_sigreturn(struct mm_id *mm, unsigned long ip, uint64_t blocked);

/* Has a hijacked stub take the memory's fd, as MMAP_FD: a call that is let through then works. */
void mm_steal_fd(struct mm_id *mm);
/* The bytes of a guest's frame. */
void *mm_frame(struct mm_id *mm, unsigned int frame);

/* Calls the host from `ip`, as a hijacked stub; answers what notifies; returns the result. */
long mm_hijack_at(struct mm_id *mm, unsigned long ip, long nr, unsigned long a, unsigned long b,
		  unsigned long c, unsigned long d, unsigned long e, unsigned long f);
#define mm_hijack_7(mm, nr, a, b, c, d, e, f, ...)						\
	mm_hijack_at(mm, STUB_START + GADGET, nr, (unsigned long)(a), (unsigned long)(b),	\
		     (unsigned long)(c), (unsigned long)(d), (unsigned long)(e), (unsigned long)(f))
#define mm_hijack(mm, ...) mm_hijack_7(mm, __VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)
/* The same without an answer: the call is made, and stays suspended if it notifies. */
void mm_hijack_start(struct mm_id *mm, long nr, unsigned long a, unsigned long b, unsigned long c,
		     unsigned long d, unsigned long e, unsigned long f);
/* A proper mmap of a free page that the page table grants, suspended. */
void mm_hijack_start_mmap(struct mm_id *mm);
/* Serves until there was one call. */
int serve_one(struct mm_id *mm);
/* seccomp_serve_stub_syscalls() for what is queued, of which `pending` calls are to come. */
int serve_batch(struct mm_id *mm, int pending);
/* Sleeps until a notification is there. */
void mm_wait_notification(struct mm_id *mm);

/* Guest frames hold their number in every word, so that what is mapped can be told by a look. */
unsigned long frame_mark(unsigned int frame);

/* Watchdog: a stub that has signals blocked, and sleeps in the host, or spins. */
void mm_make_sleeper(struct mm_id *mm);
void mm_make_spinner(struct mm_id *mm);

#endif
