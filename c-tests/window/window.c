// SPDX-License-Identifier: GPL-2.0-only
#include "window.h"
#include "harness.h"
#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>

#define SIGSTACK (STUB_DATA + PAGE)

/* As in src/window/code.rs. */
_Static_assert(offsetof(struct window_control, rip) == 128, "control page");
_Static_assert(offsetof(struct window_control, batch) == 200, "control page");
_Static_assert(sizeof(struct window_call) == 32, "control page");

static bool calls_notify;

struct stubguard_config window_config(void)
{
	struct stubguard_config config = model_config();

	config.flags = STUBGUARD_WINDOW;
	config.mmap_fd_first = 0;
	config.mmap_fd_last = 0;
	memset(&config.layout, 0, sizeof(config.layout));
	return config;
}

void window_init(unsigned int flags)
{
	struct stubguard_config config = window_config();

	config.flags |= flags;
	model_init_config(&config);
}

void window_init_config(const struct stubguard_config *config)
{
	model_init_config(config);
	calls_notify = config->guest_end;
}

void window_init_calls(unsigned int flags)
{
	struct stubguard_config config = window_config();

	config.flags |= flags;
	config.guest_end = GUEST_END;
	window_init_config(&config);
}

bool window_calls_can_notify(void)
{
	const unsigned int needed = STUBGUARD_F_WAIT_KILLABLE | STUBGUARD_F_DISPATCH;

	return (stubguard_features() & needed) == needed;
}

void window_needs_calls_that_notify(void)
{
	if (!window_calls_can_notify())
		test_skip("a host whose calls cannot notify: %s", model_log_text);
}

void window_init_notified(void)
{
	window_init_calls(STUBGUARD_REQUIRE);
	window_needs_calls_that_notify();
}

/* ---- processes */

/* Decides as os_stub_guard_start() does. */
static bool dispatched(void)
{
	unsigned int features = stubguard_features();

	return (features & STUBGUARD_F_DISPATCH) &&
	       (calls_notify || !(features & STUBGUARD_F_UNFILTERED));
}

/* What start_child() and stub_exe do, without the C library. */
static _Noreturn void become_stub(struct window *w, int report,
				  const struct sock_fprog *program, unsigned int flags)
{
	stack_t stack = { .ss_sp = (void *)SIGSTACK, .ss_size = PAGE };
	struct {
		unsigned long handler, flags, restorer, mask;
	} action = {
		.handler = STUB_START,
		.flags = SA_ONSTACK | SA_NODEFER | SA_SIGINFO | SA_RESTORER |
			 (calls_notify ? SA_RESTART : 0),
		.restorer = STUB_START,
		.mask = ~0UL,
	};
	unsigned long blocked = ~(1UL << (SIGSYS - 1));
	long listener;
	size_t i;

	raw(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL);
	raw(SYS_rt_sigprocmask, SIG_SETMASK, &blocked, 0, sizeof(blocked));
	/* The fd table is still the monitor's. */
	listener = stubguard_listen();
	if (raw(SYS_unshare, CLONE_FILES))
		raw(SYS_exit_group, 10);
	raw(SYS_write, report, &listener, sizeof(listener));
	if (listener < 0)
		raw(SYS_exit_group, 0);

	if (raw(SYS_mmap, STUB_START, PAGE, PROT_READ | PROT_EXEC, MAP_FIXED | MAP_SHARED,
		w->mm.memory, FRAME_STUB_CODE * PAGE) != (long)STUB_START)
		raw(SYS_exit_group, 11);
	if (raw(SYS_mmap, STUB_DATA, STUB_DATA_PAGES * PAGE, PROT_READ | PROT_WRITE,
		MAP_FIXED | MAP_SHARED, w->mm.memory, FRAME_STUB_DATA * PAGE) != (long)STUB_DATA)
		raw(SYS_exit_group, 12);
	raw(SYS_dup2, w->mm.memory, STUBGUARD_MEMORY_FD);
	raw(SYS_close_range, 0, STUBGUARD_MEMORY_FD - 1, 0);
	raw(SYS_close_range, STUBGUARD_MEMORY_FD + 1, ~0U, 0);
	raw(SYS_munmap, w->mm.ram, FRAMES * PAGE);
	if (raw(SYS_sigaltstack, &stack, 0))
		raw(SYS_exit_group, 13);
	for (i = 0; i < STUB_SIGNALS; i++) {
		if (raw(SYS_rt_sigaction, stub_signals[i], &action, 0, sizeof(action.mask)))
			raw(SYS_exit_group, 15);
	}
	if (dispatched() &&
	    raw(SYS_prctl, PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, STUB_START, PAGE,
		STUB_DATA + STUBGUARD_SELECTOR))
		raw(SYS_exit_group, 16);
	if (raw(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, program) != 0)
		raw(SYS_exit_group, 21);
	if (w->first)
		w->first(w);
	/* Not in the stub's page: SIGSYS. */
	raw(SYS_exit, 30);
	__builtin_trap();
}

void window_spawn(struct window *w)
{
	void (*first)(struct window *) = w->first;
	struct sock_filter filter[STUBGUARD_FILTER_MAX];
	struct sock_fprog program = { .filter = filter };
	unsigned int flags = stubguard_filter_flags();
	int length = stubguard_filter(filter, COUNT(filter)), reports[2];
	struct pollfd poll_fds[2] = { { .events = POLLIN }, { .events = POLLIN } };
	long listener;

	check_op(length, >, 0);
	program.len = (unsigned short)length;
	memset(w, 0, sizeof(*w));
	w->first = first;
	mm_make_memory(&w->mm);
	/* Remove the code of notify mode. */
	memset(w->mm.ram + FRAME_STUB_CODE * PAGE, 0, PAGE);
	check_op(stubguard_stub_code(w->mm.ram + FRAME_STUB_CODE * PAGE), <=, GADGET);
	check_eq(raw(SYS_pipe2, reports, O_CLOEXEC), 0);
	w->mm.sock = -1;
	/* Its memory is a copy, as it makes no execve(). */
	w->mm.pid = (int)raw(SYS_clone, CLONE_FILES | SIGCHLD);
	if (w->mm.pid == 0)
		become_stub(w, reports[1], &program, flags);
	mm_own(&w->mm);
	poll_fds[0].fd = reports[0];
	poll_fds[1].fd = w->mm.pidfd;
	while (raw(SYS_poll, poll_fds, 2, -1) <= 0)
		;
	check(poll_fds[0].revents & POLLIN);
	check_eq(raw(SYS_read, reports[0], &listener, sizeof(listener)), sizeof(listener));
	raw(SYS_close, reports[0]);
	raw(SYS_close, reports[1]);
	w->listened = (int)listener;
	w->mm.listener = listener < 0 ? -1 : (int)listener;
}

int window_attach(struct window *w)
{
	int ret;

	check_eq(stubguard_stub_init(&w->stub, w->mm.shared), 0);
	ret = stubguard_stub_attach(&w->stub, w->mm.pid, w->mm.listener);
	w->mm.identity = window_info(w).identity;
	return ret;
}

void window_park(struct window *w)
{
	window_spawn(w);
	check_op(w->listened, >=, 0);
	check_eq(window_attach(w), 0);
	check_eq(window_wait(w), 0);
}

void window_set_up(struct window *w)
{
	/* No component is in use; only the control words need a value. */
	w->fp[0] = 0x7f;
	w->fp[1] = 0x03;
	w->fp[24] = 0x80;
	w->fp[25] = 0x1f;
	w->fp[512] = 3;
	w->regs.eflags = 0x202;
	w->regs.cs = 0x33;
	w->regs.ss = 0x2b;
	mm_queue_page(&w->mm, GUEST_CODE, FRAME_GUEST_CODE, PROT_READ | PROT_EXEC);
	mm_queue_page(&w->mm, GUEST_STACK, FRAME_GUEST_STACK, PROT_READ | PROT_WRITE);
	check_eq(window_sync(w), 0);
	w->mm.asked = 0;
}

/* The arguments of a park by a signal have the frame's address. */
static void learn_frame(struct window *w)
{
	unsigned long nr, siginfo, ucontext;
	char text[256];
	long len;

	if (w->mcontext)
		return;

	/* The host gives out a notification a moment before the stub sleeps. */
	do {
		len = mm_proc_read(w->mm.pid, "syscall", text, sizeof(text));
		check_op(len, >, 0);
	} while (!strncmp(text, "running", 7));
	check_eq(sscanf(text, "%lu 0x%*x 0x%lx 0x%lx", &nr, &siginfo, &ucontext), 3);
	check_eq(nr, PARK_NR);
	w->siginfo = (unsigned int)(siginfo - SIGSTACK);
	w->mcontext = (unsigned int)(ucontext - SIGSTACK) + offsetof(ucontext_t, uc_mcontext);
	/* sw_reserved.xfeatures */
	memcpy(&w->xfeatures, window_stack(w) + ((unsigned long)window_mcontext(w)->fpregs - SIGSTACK) + 472,
	       sizeof(w->xfeatures));
}

void window_start(struct window *w)
{
	window_park(w);
	check_eq(w->event.signal, SIGSYS);
	learn_frame(w);
	mm_gadget(&w->mm, GADGET);
	window_set_up(w);
}

int window_end(struct window *w)
{
	return mm_end(&w->mm);
}

int window_kill(struct window *w)
{
	int ret = stubguard_kill_stub(w->mm.pid, w->mm.identity);

	check(ret == 0 || ret == -ESRCH);
	return mm_reap(&w->mm);
}

/* ---- the hand-over */

struct stubguard_resume window_request_batch(struct window *w)
{
	int i;

	for (i = 0; i < w->mm.calls && i <= STUBGUARD_CALLS_MAX; i++) {
		const struct stub_syscall *call = &w->mm.own.syscall_data[i % (int)CALLS_MAX];

		w->batch[i] = (struct stubguard_call){
			.addr = call->mem.addr,
			.length = call->mem.length,
			.offset = call->mem.offset,
			.prot = (unsigned int)call->mem.prot,
			.kind = (unsigned int)call->syscall,
		};
	}
	return (struct stubguard_resume){
		.size = sizeof(struct stubguard_resume),
		.cpu = w->cpu,
		.calls = w->batch,
		.calls_len = (unsigned int)w->mm.calls,
	};
}

struct stubguard_resume window_request(struct window *w)
{
	struct stubguard_resume how = window_request_batch(w);

	how.flags = (w->step ? STUBGUARD_RESUME_STEP : 0) | (w->trap ? STUBGUARD_RESUME_SHARED : 0);
	how.registers = (uint64_t *)&w->regs;
	how.fp = w->fp;
	return how;
}

int window_resume(struct window *w)
{
	struct stubguard_resume how = window_request(w);

	return stubguard_stub_resume(&w->stub, &w->mm, &how);
}

int window_resume_batch(struct window *w)
{
	struct stubguard_resume how = window_request_batch(w);

	return stubguard_stub_resume(&w->stub, &w->mm, &how);
}

int window_wait_once(struct window *w)
{
	w->event.size = sizeof(w->event);
	return stubguard_stub_wait(&w->stub, &w->mm, w->cpu, &w->event, (uint64_t *)&w->regs, w->fp,
				   &w->info);
}

int window_wait(struct window *w)
{
	int ret;

	do {
		ret = window_wait_once(w);
	} while (ret == -EINTR);
	return ret;
}

int window_answer(struct window *w, long result)
{
	w->regs.rax = (unsigned long)result;
	return window_resume(w);
}

int window_fetch(struct window *w)
{
	return stubguard_stub_fetch(&w->stub, &w->mm, w->cpu, (uint64_t *)&w->regs);
}

int window_run(struct window *w)
{
	int ret = window_resume(w);

	w->mm.calls = 0;
	return ret ? ret : window_wait(w);
}

int window_sync(struct window *w)
{
	int ret;

	/* The first resume waits for the first park, and may be interrupted. */
	do {
		ret = window_resume_batch(w);
	} while (ret == -EINTR);
	w->mm.calls = 0;
	if (!ret)
		ret = window_wait(w);
	if (!ret)
		check_eq(w->event.signal, 0);
	return ret ? ret : w->event.error;
}

void window_renew(struct window *w)
{
	check_eq(stubguard_stub_put(&w->stub, &w->mm, w->cpu), 0);
	check_eq(stubguard_stub_take(&w->stub), 1);
	w->mm.pte_count = 0;
	window_set_up(w);
}

void window_map(struct window *w, unsigned long addr, unsigned int frame, int prot)
{
	mm_queue_page(&w->mm, addr, frame, prot);
	check_eq(window_sync(w), 0);
}

void window_queue_refused(struct window *w, unsigned long addr)
{
	unsigned long frame = (1UL << 63) / PAGE;

	mm_set_pte(&w->mm, addr, frame, PROT_READ);
	mm_queue_map(&w->mm, addr, PAGE, frame, PROT_READ);
}

/* ---- the guest */

void window_call(struct window *w, unsigned long ip, long nr, unsigned long a, unsigned long b,
		 unsigned long c, unsigned long d, unsigned long e, unsigned long f)
{
	unsigned long top = PAGE - 16;

	/* The return address. */
	*(unsigned long *)(mm_frame(&w->mm, FRAME_GUEST_STACK) + top) = mm_guest_code("report");
	w->regs.rip = ip;
	w->regs.rsp = GUEST_STACK + top;
	w->regs.rax = (unsigned long)nr;
	w->regs.rdi = a;
	w->regs.rsi = b;
	w->regs.rdx = c;
	/* A park must say the ticket of the next resume, which a guest can read. */
	w->regs.r10 = nr == PARK_NR && !d ? window_ticket(w) + 1 : d;
	w->regs.r8 = e;
	w->regs.r9 = f;
}

void window_guest(struct window *w, const char *what, unsigned long arg)
{
	/* rax is the reported value, and the number of a call. */
	window_call_at(w, mm_guest_code(what), (long)arg, arg, 0x77);
}

void window_forge(struct window *w, const void *bytes, unsigned long size, unsigned long to,
		  unsigned long target, unsigned long rax, const unsigned long *args)
{
	unsigned char *stack = mm_frame(&w->mm, FRAME_GUEST_STACK);
	unsigned long *next = (unsigned long *)(void *)(stack + FORGE_TARGET);

	check_op(size, <=, 2 * PAGE / 3);
	memcpy(stack + FORGE_SOURCE, bytes, size);
	next[0] = target;
	next[1] = rax;
	memcpy(next + 2, args, 6 * sizeof(*args));
	window_guest(w, "forge", 0);
	w->regs.rsi = GUEST_STACK + FORGE_SOURCE;
	w->regs.rdi = to;
	w->regs.rcx = size;
}

long window_result(struct window *w)
{
	check_eq(w->event.error, 0);
	check_eq(w->event.again, 0);
	check_eq(w->event.signal, SIGSYS);
	check_eq(w->event.syscall, GUEST_REPORTS);
	return (long)w->regs.rdi;
}

void window_reads(struct window *w, unsigned long addr, unsigned int frame)
{
	window_guest(w, "read", addr);
	check_eq(window_run(w), 0);
	check_eq(window_result(w), (long)frame_mark(frame));
}

void window_spin(struct window *w)
{
	window_guest(w, "spin", GUEST_STACK);
	check_eq(window_resume(w), 0);
}

void window_tick(struct window *w)
{
	check_eq(raw(SYS_kill, w->mm.pid, SIGALRM), 0);
}

struct stubguard_stub_info window_info(struct window *w)
{
	struct stubguard_stub_info info = { .size = sizeof(info) };

	check_eq(stubguard_stub_info(&w->stub, &info), 0);
	return info;
}

unsigned long window_ticket(struct window *w)
{
	return window_control(w)->ticket;
}

bool window_is_broken(struct window *w)
{
	struct stubguard_resume nothing = { .size = sizeof(nothing), .cpu = w->cpu };
	int ret = stubguard_stub_resume(&w->stub, &w->mm, &nothing);

	check(ret == -ESRCH || ret == -EINVAL);
	return ret == -ESRCH;
}

void window_is_sound(struct window *w)
{
	static unsigned long number = 500;

	window_guest(w, "report", ++number);
	check_eq(window_run(w), 0);
	check_eq(window_result(w), (long)number);
}

void window_is_lost(struct window *w)
{
	struct stubguard_stub before = w->stub;

	check_eq(window_resume(w), -ESRCH);
	w->mm.calls = 1;
	check_eq(window_resume_batch(w), -ESRCH);
	w->mm.calls = 0;
	check_eq(window_wait(w), -ESRCH);
	check(!memcmp(&before, &w->stub, sizeof(before)));
}

void window_is_given_up(struct window *w)
{
	window_is_lost(w);
	check_eq(WTERMSIG(window_kill(w)), SIGKILL);
	mm_forget(&w->mm);
}

void window_is_a_breach(struct window *w, const char *reason)
{
	uint64_t breaches = stats().breaches;
	unsigned int warnings = model_log_count(STUBGUARD_LOG_WARNING);
	size_t said = strlen(model_log_text);
	const char *text_at;
	char text[80];

	check_eq(window_wait(w), -EPROTO);
	host_reset();
	check_eq(stats().breaches, breaches + 1);
	check_eq(model_log_count(STUBGUARD_LOG_WARNING), warnings + 1);
	snprintf(text, sizeof(text), "stub %d broke the protocol (%s): ", w->mm.pid, reason);
	text_at = strstr(model_log_text + said, text);
	/* And a value, which is not always known here */
	check(text_at && strpbrk(text_at + strlen(text), "0123456789"));
	window_is_given_up(w);
}

void window_goes_round(struct window *w)
{
	int ret;

	check_eq(window_resume(w), 0);
	window_tick(w);
	/* A fault or a signal on the way to the guest makes the monitor resume again; elsewhere in the page it is a breach. */
	ret = window_wait(w);
	check(ret == -EPROTO || (ret == 0 && w->event.again == 1));
	window_is_limited(w);
	if (ret == 0)
		window_is_sound(w);
	else
		window_is_lost(w);
}

void window_has_been_killed(struct window *w)
{
	check_eq(window_wait(w), -ESRCH);
	window_is_lost(w);
	check_eq(WTERMSIG(mm_reap(&w->mm)), SIGSYS);
	mm_forget(&w->mm);
}

/* ---- looking at a stub */

unsigned int window_sites(const unsigned char *page, unsigned int *offsets, unsigned int max)
{
	unsigned int at, count = 0;

	for (at = 0; at < PAGE - 1; at++) {
		if (page[at] != 0x0f || page[at + 1] != 0x05)
			continue;
		if (count < max)
			offsets[count] = at;
		count++;
	}
	return count;
}

long window_site_nr(const unsigned char *page, unsigned int offset)
{
	int number;

	/* mov $nr, %eax */
	if (offset < 5 || page[offset - 5] != 0xb8)
		return -1;
	memcpy(&number, page + offset - 4, sizeof(number));
	return number;
}

int window_site(const unsigned char *page, long nr, unsigned int index)
{
	unsigned int offsets[32], count = window_sites(page, offsets, COUNT(offsets)), i;

	for (i = 0; i < count && i < COUNT(offsets); i++) {
		if (window_site_nr(page, offsets[i]) == nr && index-- == 0)
			return (int)offsets[i];
	}
	return -1;
}

unsigned long window_limit(struct window *w)
{
	struct rlimit own, now;

	check_eq(raw(SYS_prlimit64, 0, RLIMIT_AS, 0, &own), 0);
	check_eq(raw(SYS_prlimit64, w->mm.pid, RLIMIT_AS, 0, &now), 0);
	check_eq(now.rlim_max, own.rlim_max);
	return now.rlim_cur;
}

/* The stub's fds below 64, a bit for each. */
static unsigned long open_in(struct window *w)
{
	char path[64], buffer[4096];
	unsigned long fds = 0;
	long len, at, dir, number;

	snprintf(path, sizeof(path), "/proc/%d/fd", w->mm.pid);
	dir = raw(SYS_open, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	check_op(dir, >=, 0);
	while ((len = raw(SYS_getdents64, dir, buffer, sizeof(buffer))) > 0) {
		for (at = 0; at < len; at += *(unsigned short *)(void *)(buffer + at + 16)) {
			if (sscanf(buffer + at + 19, "%ld", &number) == 1 && number < 64)
				fds |= 1UL << number;
		}
	}
	raw(SYS_close, dir);
	return fds;
}

void window_is_limited(struct window *w)
{
	check_eq(open_in(w), 1UL << STUBGUARD_MEMORY_FD);
	check_eq(window_limit(w), 0);
}

static void (*next_alter)(struct seccomp_notif *);

static bool receive_and_alter(const long *arg, long *result)
{
	void (*alter)(struct seccomp_notif *) = next_alter;

	*result = raw(SYS_ioctl, arg[0], arg[1], arg[2]);
	if (*result == 0 && alter) {
		next_alter = NULL;
		alter((struct seccomp_notif *)arg[2]);
	}
	return true;
}

void window_alter(void (*alter)(struct seccomp_notif *notification))
{
	next_alter = alter;
	host_hook_set(HOST_RECV, receive_and_alter);
}

unsigned char *window_stack(struct window *w)
{
	return w->mm.ram + (FRAME_STUB_DATA + 1) * PAGE;
}

mcontext_t *window_mcontext(struct window *w)
{
	return (mcontext_t *)(void *)(window_stack(w) + w->mcontext);
}

siginfo_t *window_siginfo(struct window *w)
{
	return (siginfo_t *)(void *)(window_stack(w) + w->siginfo);
}

struct window_control *window_control(struct window *w)
{
	return (struct window_control *)(void *)(w->mm.ram + FRAME_STUB_DATA * PAGE);
}
