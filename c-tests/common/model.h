/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A model of UML's side: real stub processes with the real filter, and a monitor that knows only the
 * library's header.
 *
 * The registers with which the monitor resumes a guest say what the guest does: it calls the host from
 * any place in the stub's code page with any arguments (a hijacked stub), or from its own code.
 */

#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <stubguard.h>
#include <sys/ucontext.h>

#define PAGE 4096UL
/* Both halves of the address matter: a filter that looks at one half only fails a test. */
#define STUB_START 0x20007fffc000UL
#define STUB_DATA (STUB_START + PAGE)
#define STUB_DATA_PAGES 2
/* Guest memory: code, stack, and free pages behind them. */
#define GUEST 0x100000000000UL
#define GUEST_CODE GUEST
#define GUEST_STACK (GUEST + PAGE)
#define GUEST_FREE (GUEST + 0x10000UL)
/* Every stub page has a gadget there; mm_gadget() makes others. */
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

/* The C library's headers lack it. */
#define SA_RESTORER 0x04000000
/* The signals that a stub handles and reports. */
#define STUB_SIGNALS 7
extern const int stub_signals[STUB_SIGNALS];

/* ---- as in UML's stub-data.h */

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

/* A fast watchdog, so that tests do not wait long. After LOOKS looks it would have killed several times. */
#define TICK_MS 10
#define BUDGET_MS 60
#define LOOKS 20
struct stubguard_config model_in_a_hurry(struct stubguard_config config, int kick);

/* The lines of the log function, which wakes model_log_wait_for(). */
extern char model_log_text[8192];
unsigned int model_log_count(int level);
unsigned int model_log_lines(void);
void model_log_wait(unsigned int lines);
/* Sleeps until a line has that text. */
void model_log_wait_for(const char *text);

/* Checks that stubguard_filter() writes no more than its room, for each room; returns the length. */
int model_filter_length(void);

struct stubguard_stats stats(void);
uint64_t denied(const char *reason);

/* Starts a stub, takes its first report, and maps code and stack of its guest. */
void mm_start(struct mm_id *mm);
/* Only starts the process: no listener, no report, no guest's pages. */
void mm_spawn(struct mm_id *mm);
/* A process of another kind with a listener: `main` runs in it. */
void mm_start_process(struct mm_id *mm, void (*main)(void));
/* A `main` that sleeps for ever. */
void mm_sleep(void);
/* Ends and reaps it; returns the wait status. Everything is closed but the listener if `keep`. */
int mm_end(struct mm_id *mm);
void mm_forget(struct mm_id *mm);
int mm_reap(struct mm_id *mm);
bool mm_is_dead(struct mm_id *mm);
/*
 * Kills it without reaping it. The second one reaps it, too, and gives its pid to another process. If the
 * host does not let it choose a pid, it skips the test.
 */
void mm_kill(struct mm_id *mm);
void mm_kill_for_another(struct mm_id *mm, struct mm_id *other);
/*
 * Checks that it lives during so many looks of the watchdog. Sleeps meanwhile: while a monitor runs, its
 * stub is not charged.
 */
void mm_outlives(struct mm_id *mm, unsigned int looks);
/* Sleeps until the process is dead. */
void mm_wait_dead(struct mm_id *mm);
/* The same, and until its listener shows it: before Linux 6.11 that needs a reap, as UML does at SIGCHLD. */
void mm_wait_told(struct mm_id *mm);
/* Waits until /proc shows this state. */
void mm_wait_state(struct mm_id *mm, char state);
char mm_state(struct mm_id *mm);

/* The guest's page table, and the batch. */
void mm_set_pte(struct mm_id *mm, unsigned long addr, unsigned long frame, int prot);
void mm_clear_pte(struct mm_id *mm, unsigned long addr);
void mm_queue_map(struct mm_id *mm, unsigned long addr, unsigned long length, unsigned long frame,
		  int prot);
/* Grants a page, and queues its mmap. */
void mm_queue_page(struct mm_id *mm, unsigned long addr, unsigned int frame, int prot);
void mm_queue_unmap(struct mm_id *mm, unsigned long addr, unsigned long length);
void mm_queue_wrprotect(struct mm_id *mm, unsigned long addr, unsigned long length);
/* Lets the stub run the batch, whose error is own.err. Returns what mm_wait() returns. */
int mm_sync(struct mm_id *mm);
/* The line of /proc/PID/maps that has `addr`, "" if none. */
const char *mm_mapping(struct mm_id *mm, unsigned long addr);
/* A number that changes if any line of it does. */
unsigned long mm_mappings_hash(struct mm_id *mm);

/* Also for the model of window mode: memory with the guest's code; a new process that is ours. */
void mm_make_memory(struct mm_id *mm);
void mm_own(struct mm_id *mm);
/* A file of /proc/PID as a string: its length, or a negative errno. */
long mm_proc_read(int pid, const char *file, char *buffer, size_t size);
/* The guest's address of that code. */
unsigned long mm_guest_code(const char *what);
#define GUEST_REPORTS 9999

/* Publishes, and wakes the stub. */
void mm_resume(struct mm_id *mm);
/* Waits for its report, and collects it: 0, -EPROTO, or -ESRCH if it is dead. */
int mm_wait(struct mm_id *mm);
int mm_wait_report(struct mm_id *mm);

/* `syscall; ret` at that offset of the stub's code page; returns the address. */
unsigned long mm_gadget(struct mm_id *mm, unsigned int offset);
/* The same, in another frame, as far as there is room. */
void mm_frame_gadget(struct mm_id *mm, unsigned int frame, unsigned int offset);

/* The address of the stub's signal handler. */
unsigned long mm_handler(void);

/* The guest's registers of the last report, with which it is resumed. */
long long *mm_regs(struct mm_id *mm);
/* Sets what the guest does after mm_resume(). */
void mm_call(struct mm_id *mm, unsigned long ip, long nr, const unsigned long *args);
void mm_guest(struct mm_id *mm, const char *what, unsigned long arg);
/* The same, resumes, and waits for the report. */
void mm_run(struct mm_id *mm, const char *what, unsigned long arg);
/* The result of the guest's call or step, which the guest must have reported. */
long mm_result(struct mm_id *mm);
/* The number of the call by which the guest reported. */
int mm_guest_call(struct mm_id *mm);
/* A hijacked stub's rt_sigreturn: continues at `ip` with those signals blocked. */
void mm_sigreturn(struct mm_id *mm, unsigned long ip, uint64_t blocked);

/* A hijacked stub takes the memory's fd, as MMAP_FD: if a call is not denied, it succeeds. */
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
/* The same without an answer: a call that notifies stays suspended. */
void mm_hijack_start(struct mm_id *mm, long nr, unsigned long a, unsigned long b, unsigned long c,
		     unsigned long d, unsigned long e, unsigned long f);
/* A proper mmap of a free page that the page table grants, suspended. */
void mm_hijack_start_mmap(struct mm_id *mm);
/* Serves until it has answered one call. */
int serve_one(struct mm_id *mm);
/* seccomp_serve_stub_syscalls() for the batch, of which `pending` calls are still to come. */
int serve_batch(struct mm_id *mm, int pending);
/* Sleeps until a notification is there. */
void mm_wait_notification(struct mm_id *mm);

/* Each word of a guest frame has the frame's number, so a load shows which frame is mapped. */
unsigned long frame_mark(unsigned int frame);

/* For the watchdog: a stub with signals blocked that sleeps in the host, or spins. */
void mm_make_sleeper(struct mm_id *mm);
void mm_make_spinner(struct mm_id *mm);

#endif
