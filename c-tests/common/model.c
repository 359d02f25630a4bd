// SPDX-License-Identifier: GPL-2.0-only
#include "model.h"
#include "harness.h"
#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The sections of stub_code.c. */
extern unsigned char __start_stub_code[], __stop_stub_code[];
extern unsigned char __start_guest_code[], __stop_guest_code[];
extern unsigned char stub_signal_interrupt[], stub_signal_restorer[];
extern unsigned char guest_report[], guest_call[], guest_read[], guest_write[], guest_spin[],
	guest_fault[], guest_dump[], guest_forge[], guest_read_fs[], guest_read_gs[], guest_nops[];

_Static_assert(sizeof(struct stub_data) == STUB_DATA_PAGES * PAGE, "stub data");

const int stub_signals[STUB_SIGNALS] = { SIGSEGV, SIGSYS, SIGALRM, SIGTRAP, SIGILL, SIGFPE, SIGBUS };

/* ---- the library's start */

char model_log_text[8192];
static _Atomic unsigned int log_used, log_counts[8], log_lines, log_target, log_reached;

/* May run on the watchdog's thread, whose filter allows little more than this. */
static void log_line(int level, const char *message)
{
	size_t length = strlen(message);
	unsigned int at = atomic_fetch_add(&log_used, (unsigned int)length + 1), target;

	if (at + length + 1 < sizeof(model_log_text)) {
		memcpy(model_log_text + at, message, length);
		model_log_text[at + length] = '\n';
	}
	atomic_fetch_add(&log_counts[level & 7], 1);
	target = log_target;
	if (atomic_fetch_add(&log_lines, 1) + 1 >= target && target) {
		log_reached = 1;
		raw(SYS_futex, &log_reached, FUTEX_WAKE, 1);
	}
}

unsigned int model_log_count(int level)
{
	return log_counts[level & 7];
}

unsigned int model_log_lines(void)
{
	return log_lines;
}

void model_log_wait(unsigned int lines)
{
	log_reached = 0;
	log_target = lines;
	while (log_lines < lines && !log_reached)
		raw(SYS_futex, &log_reached, FUTEX_WAIT, 0, 0);
	log_target = 0;
}

void model_log_wait_for(const char *text)
{
	unsigned int lines;

	for (lines = log_lines; !strstr(model_log_text, text); lines = log_lines)
		model_log_wait(lines + 1);
}

static volatile unsigned int fp_size;

static void look_at_frame(int sig, siginfo_t *info, void *context)
{
	struct _libc_fpstate *state = ((ucontext_t *)context)->uc_mcontext.fpregs;
	unsigned int *reserved = (unsigned int *)((char *)state + 464);

	(void)sig;
	(void)info;
	fp_size = reserved[0] == 0x46505853 ? reserved[1] - 4 : 512;
}

/* The size that the host gives it for this process. */
static unsigned int host_fp_size(void)
{
	struct sigaction action = { .sa_sigaction = look_at_frame, .sa_flags = SA_SIGINFO }, old;

	if (!fp_size) {
		sigaction(SIGURG, &action, &old);
		raise(SIGURG);
		sigaction(SIGURG, &old, NULL);
	}
	return fp_size;
}

struct stubguard_config model_config(void)
{
	struct stubguard_config config = {
		.size = sizeof(config),
		.cpus = 2,
		.stub_start = STUB_START,
		.page_size = PAGE,
		.mmap_fd_first = MMAP_FD,
		.mmap_fd_last = MMAP_FD,
		.log = log_line,
		.layout = {
			.size = sizeof(struct stub_data),
			.err = offsetof(struct stub_data, err),
			.calls_len = offsetof(struct stub_data, syscall_data_len),
			.calls = offsetof(struct stub_data, syscall_data),
			.call_size = sizeof(struct stub_syscall),
			.calls_max = CALLS_MAX,
			.call_addr = offsetof(struct stub_syscall, mem.addr),
			.call_length = offsetof(struct stub_syscall, mem.length),
			.call_offset = offsetof(struct stub_syscall, mem.offset),
			.call_prot = offsetof(struct stub_syscall, mem.prot),
			.restart_wait = offsetof(struct stub_data, restart_wait),
			.futex = offsetof(struct stub_data, futex),
			.signal = offsetof(struct stub_data, signal),
			.si_offset = offsetof(struct stub_data, si_offset),
			.mctx_offset = offsetof(struct stub_data, mctx_offset),
			.arch_data = offsetof(struct stub_data, arch_data),
			.arch_size = sizeof(struct stub_data_arch),
			.sigstack = offsetof(struct stub_data, sigstack),
			.sigstack_size = PAGE,
		},
		.fp_size = host_fp_size(),
	};

	return config;
}

struct stubguard_config model_in_a_hurry(struct stubguard_config config, int kick)
{
	config.watchdog_tick_ms = TICK_MS;
	config.watchdog_budget_ms = BUDGET_MS;
	config.kick_signal = kick;
	return config;
}

void model_init_config(const struct stubguard_config *config)
{
	heap_is_closed();
	check_eq(stubguard_init(config), 0);
	if (!(stubguard_features() & STUBGUARD_F_LISTENER))
		test_skip("this host gives no listener: %s", model_log_text);
}

void model_init(unsigned int flags)
{
	struct stubguard_config config = model_config();

	config.flags = flags;
	model_init_config(&config);
}

struct stubguard_stats stats(void)
{
	struct stubguard_stats now;

	check_eq(stubguard_stats_get(&now, sizeof(now)), 0);
	return now;
}

uint64_t denied(const char *reason)
{
	struct stubguard_stats now = stats();
	size_t i;

	for (i = 0; i < STUBGUARD_DENIALS; i++) {
		if (!strcmp(stubguard_denial_name(i), reason))
			return now.denied[i];
	}
	test_fail(__FILE__, __LINE__, "no reason is called %s", reason);
}

/* ---- the page table */

/* Objects have hidden visibility, but the shared library must find this. */
__attribute__((visibility("default"))) int
stub_mmap_allowed(struct mm_id *mm, unsigned long addr, unsigned long prot, unsigned long offset)
{
	unsigned int i;

	if (mm->asked < COUNT(mm->questions))
		mm->questions[mm->asked] = (struct question){ addr, prot, offset };
	mm->asked++;
	for (i = 0; i < mm->pte_count; i++) {
		struct pte *pte = &mm->ptes[i];

		if (pte->addr == addr)
			return pte->frame * PAGE == offset && !(prot & ~(unsigned long)pte->prot);
	}
	return 0;
}

void mm_set_pte(struct mm_id *mm, unsigned long addr, unsigned long frame, int prot)
{
	mm_clear_pte(mm, addr);
	check_op(mm->pte_count, <, PTES);
	mm->ptes[mm->pte_count++] = (struct pte){ addr, frame, prot };
}

void mm_clear_pte(struct mm_id *mm, unsigned long addr)
{
	unsigned int i;

	for (i = 0; i < mm->pte_count; i++) {
		if (mm->ptes[i].addr == addr)
			mm->ptes[i] = mm->ptes[--mm->pte_count];
	}
}

static struct stub_syscall *next_call(struct mm_id *mm)
{
	check_op(mm->calls, <, CALLS_MAX);
	return &mm->own.syscall_data[mm->calls++];
}

void mm_queue_map(struct mm_id *mm, unsigned long addr, unsigned long length, unsigned long frame,
		  int prot)
{
	*next_call(mm) = (struct stub_syscall){
		.mem = { .addr = addr,
			 .length = length,
			 .offset = frame * PAGE,
			 .fd = 0,
			 .prot = prot },
		.syscall = STUB_SYSCALL_MMAP,
	};
}

void mm_queue_page(struct mm_id *mm, unsigned long addr, unsigned int frame, int prot)
{
	mm_set_pte(mm, addr, frame, prot);
	mm_queue_map(mm, addr, PAGE, frame, prot);
}

void mm_queue_unmap(struct mm_id *mm, unsigned long addr, unsigned long length)
{
	*next_call(mm) = (struct stub_syscall){
		.mem = { .addr = addr, .length = length },
		.syscall = STUB_SYSCALL_MUNMAP,
	};
}

void mm_queue_wrprotect(struct mm_id *mm, unsigned long addr, unsigned long length)
{
	*next_call(mm) = (struct stub_syscall){
		.mem = { .addr = addr, .length = length },
		.syscall = STUB_SYSCALL_WRPROTECT,
	};
}

unsigned long frame_mark(unsigned int frame)
{
	return 0xf000000000000000UL + frame;
}

/* ---- processes */

long mm_proc_read(int pid, const char *file, char *buffer, size_t size)
{
	char path[64];
	long used = 0, len, fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	fd = raw(SYS_open, path, O_RDONLY | O_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	while ((len = raw(SYS_read, fd, buffer + used, (long)size - 1 - used)) > 0)
		used += len;
	raw(SYS_close, fd);
	buffer[used] = '\0';
	return used;
}

static char maps[65536];

const char *mm_mapping(struct mm_id *mm, unsigned long addr)
{
	static char found[200];
	unsigned long start, end;
	char *line, *next;

	check_op(mm_proc_read(mm->pid, "maps", maps, sizeof(maps)), >, 0);
	for (line = maps; *line; line = next) {
		next = strchr(line, '\n') + 1;
		check_eq(sscanf(line, "%lx-%lx", &start, &end), 2);
		if (start <= addr && addr < end) {
			snprintf(found, sizeof(found), "%.*s", (int)(next - line - 1), line);
			return found;
		}
	}
	return "";
}

unsigned long mm_mappings_hash(struct mm_id *mm)
{
	unsigned long hash = 5381;
	long i, len = mm_proc_read(mm->pid, "maps", maps, sizeof(maps));

	check_op(len, >, 0);
	for (i = 0; i < len; i++)
		hash = hash * 33 + (unsigned char)maps[i];
	return hash;
}

char mm_state(struct mm_id *mm)
{
	char buffer[512], *end;

	if (mm_proc_read(mm->pid, "stat", buffer, sizeof(buffer)) <= 0)
		return 0;
	end = strrchr(buffer, ')');
	return end ? end[2] : '\0';
}

/* There is no event for a change of state, so this looks and yields. */
void mm_wait_state(struct mm_id *mm, char state)
{
	while (mm_state(mm) != state) {
		if (state != 'Z')
			check(!mm_is_dead(mm));
		raw(SYS_sched_yield);
	}
}

bool mm_is_dead(struct mm_id *mm)
{
	struct pollfd poll_fd = { .fd = mm->pidfd, .events = POLLIN };

	return raw(SYS_poll, &poll_fd, 1, 0) == 1;
}

void mm_wait_dead(struct mm_id *mm)
{
	struct pollfd poll_fd = { .fd = mm->pidfd, .events = POLLIN };

	while (raw(SYS_poll, &poll_fd, 1, -1) != 1)
		;
}

void mm_wait_told(struct mm_id *mm)
{
	mm_wait_dead(mm);
	if (!(stubguard_features() & STUBGUARD_F_RECEIVE_ENDS))
		mm_reap(mm);
}

void mm_kill(struct mm_id *mm)
{
	raw(SYS_pidfd_send_signal, mm->pidfd, SIGKILL, 0, 0);
	mm_wait_dead(mm);
}

void mm_kill_for_another(struct mm_id *mm, struct mm_id *other)
{
	struct {
		uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls,
			set_tid, set_tid_size;
	} args = {
		.exit_signal = SIGCHLD,
		.set_tid = (uint64_t)(unsigned long)&mm->pid,
		.set_tid_size = 1,
	};

	mm_kill(mm);
	mm_reap(mm);
	other->pid = (int)raw(SYS_clone3, &args, sizeof(args));
	if (other->pid == 0)
		mm_sleep();
	if (other->pid == -EPERM || other->pid == -ENOSYS)
		test_skip("this host does not let one choose a pid (errno %d)", -other->pid);
	check_eq(other->pid, mm->pid);
	mm_own(other);
}

/* Each look opens a pidfd, before anything else. */
void mm_outlives(struct mm_id *mm, unsigned int looks)
{
	struct pollfd poll_fd = { .fd = mm->pidfd, .events = POLLIN };
	unsigned int target = host_count(HOST_PIDFD_OPEN) + looks;

	while (host_count(HOST_PIDFD_OPEN) < target)
		check_eq(raw(SYS_poll, &poll_fd, 1, LOOKS * TICK_MS), 0);
}

/* What stub_exe does, in the new process. Of the C library it uses only memory functions. */
static _Noreturn void become_stub(struct mm_id *mm, int sock, const struct sock_fprog *program,
				  unsigned int flags)
{
	stack_t stack = { .ss_sp = (void *)STUB_DATA, .ss_size = STUB_DATA_PAGES * PAGE };
	struct {
		unsigned long handler, flags, restorer, mask;
	} action = {
		.handler = STUB_START + (unsigned long)(stub_signal_interrupt - __start_stub_code),
		.flags = SA_ONSTACK | SA_NODEFER | SA_SIGINFO | SA_RESTORER,
		.restorer = STUB_START + (unsigned long)(stub_signal_restorer - __start_stub_code),
		.mask = ~0UL,
	};
	unsigned long none = 0;
	size_t i;
	long ret;

	raw(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL);
	raw(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	raw(SYS_rt_sigprocmask, SIG_SETMASK, &none, 0, sizeof(none));
	raw(SYS_dup2, sock, 0);
	raw(SYS_fcntl, 0, F_SETFL, O_NONBLOCK);
	ret = raw(SYS_mmap, STUB_START, PAGE, PROT_READ | PROT_EXEC, MAP_FIXED | MAP_SHARED,
		  mm->memory, FRAME_STUB_CODE * PAGE);
	if (ret != (long)STUB_START)
		raw(SYS_exit_group, 11);
	ret = raw(SYS_mmap, STUB_DATA, STUB_DATA_PAGES * PAGE, PROT_READ | PROT_WRITE,
		  MAP_FIXED | MAP_SHARED, mm->memory, FRAME_STUB_DATA * PAGE);
	if (ret != (long)STUB_DATA)
		raw(SYS_exit_group, 12);
	raw(SYS_close_range, 1, ~0U, 0);
	raw(SYS_sigaltstack, &stack, 0);
	for (i = 0; i < STUB_SIGNALS; i++) {
		if (raw(SYS_rt_sigaction, stub_signals[i], &action, 0, sizeof(action.mask)))
			raw(SYS_exit_group, 15);
	}
	if (raw(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, program) != STUBGUARD_LISTENER_FD)
		raw(SYS_exit_group, 21);
	/* Not in the stub's page: SIGSYS. */
	raw(SYS_exit, 30);
	__builtin_trap();
}

void mm_make_memory(struct mm_id *mm)
{
	unsigned int frame;
	unsigned long *word;
	size_t i;

	memset(mm, 0, sizeof(*mm));
	mm->listener = -1;
	mm->memory = (int)raw(SYS_memfd_create, "guest memory", 1 /* MFD_CLOEXEC */);
	check_op(mm->memory, >=, 0);
	check_eq(raw(SYS_ftruncate, mm->memory, FRAMES * PAGE), 0);
	mm->ram = (void *)raw(SYS_mmap, 0, FRAMES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
			      mm->memory, 0);
	check((long)mm->ram > 0);
	for (frame = FRAME_FREE; frame < FRAMES; frame++) {
		word = (unsigned long *)(mm->ram + frame * PAGE);
		for (i = 0; i < PAGE / sizeof(*word); i++)
			word[i] = frame_mark(frame);
	}
	mm->shared = (struct stub_data *)(mm->ram + FRAME_STUB_DATA * PAGE);

	/* The stub's code, and gadgets up to the end of the page. */
	check_op(__stop_stub_code - __start_stub_code, <=, GADGET);
	memcpy(mm->ram, __start_stub_code, (size_t)(__stop_stub_code - __start_stub_code));
	mm_gadget(mm, GADGET);
	memcpy(mm->ram + FRAME_GUEST_CODE * PAGE, __start_guest_code,
	       (size_t)(__stop_guest_code - __start_guest_code));
}

void mm_own(struct mm_id *mm)
{
	check_op(mm->pid, >, 0);
	mm->pidfd = (int)raw(SYS_pidfd_open, mm->pid, 0);
	check_op(mm->pidfd, >=, 0);
}

int model_filter_length(void)
{
	struct sock_filter filter[STUBGUARD_FILTER_MAX + 1], again[STUBGUARD_FILTER_MAX + 1];
	size_t capacity;
	int length;

	memset(filter, 0xaa, sizeof(filter));
	length = stubguard_filter(filter, STUBGUARD_FILTER_MAX);
	check_op(length, >, 0);
	check_op(length, <=, STUBGUARD_FILTER_MAX);
	check_eq(filter[length].code, 0xaaaa);
	check_eq(filter[length - 1].code, BPF_RET | BPF_K);
	for (capacity = 0; capacity < (size_t)length; capacity++) {
		memset(again, 0xaa, sizeof(again));
		check_eq(stubguard_filter(again, capacity), -ENOSPC);
		/* A failure writes nothing. */
		check_eq(again[0].code, 0xaaaa);
	}
	check_eq(stubguard_filter(again, (size_t)length), length);
	check(!memcmp(again, filter, (size_t)length * sizeof(*filter)));
	check_eq(stubguard_filter(again, SIZE_MAX), length);
	check_eq(stubguard_filter(NULL, STUBGUARD_FILTER_MAX), -EINVAL);
	check_eq(stubguard_filter((void *)((char *)again + 1), STUBGUARD_FILTER_MAX), -EINVAL);
	return length;
}

void mm_spawn(struct mm_id *mm)
{
	struct sock_filter filter[STUBGUARD_FILTER_MAX];
	struct sock_fprog program = { .filter = filter };
	unsigned int flags = stubguard_filter_flags();
	int length = stubguard_filter(filter, COUNT(filter)), socks[2];

	check_op(length, >, 0);
	program.len = (unsigned short)length;
	mm_make_memory(mm);
	check_eq(raw(SYS_socketpair, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socks), 0);
	mm->sock = socks[1];
	mm->pid = fork();
	if (mm->pid == 0)
		become_stub(mm, socks[0], &program, flags);
	raw(SYS_close, socks[0]);
	mm_own(mm);
}

void mm_start(struct mm_id *mm)
{
	mm_spawn(mm);
	check_eq(mm_wait_report(mm), 0);
	mm->listener = get_stub_listener(mm->pid, &mm->identity);
	check_op(mm->listener, >=, 0);
	check_eq(stubguard_collect(mm->shared, &mm->own, 0, mm->pid), 0);
	check_eq(mm->own.signal, SIGSYS);

	mm_queue_page(mm, GUEST_CODE, FRAME_GUEST_CODE, PROT_READ | PROT_EXEC);
	mm_queue_page(mm, GUEST_STACK, FRAME_GUEST_STACK, PROT_READ | PROT_WRITE);
	check_eq(mm_sync(mm), 0);
	check_eq(mm->own.err, 0);
	mm->asked = 0;
}

void mm_sleep(void)
{
	for (;;)
		raw(SYS_pause);
}

void mm_start_process(struct mm_id *mm, void (*main)(void))
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = { .len = 1, .filter = &allow };
	int ready[2];
	char byte;

	mm_make_memory(mm);
	mm->sock = -1;
	check_eq(raw(SYS_pipe2, ready, O_CLOEXEC), 0);
	mm->pid = fork();
	if (mm->pid == 0) {
		unsigned long none = 0;

		raw(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL);
		raw(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		raw(SYS_rt_sigprocmask, SIG_SETMASK, &none, 0, sizeof(none));
		raw(SYS_dup2, ready[1], 0);
		raw(SYS_close_range, 1, ~0U, 0);
		if (raw(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
			&program) != 1)
			raw(SYS_exit_group, 21);
		raw(SYS_write, 0, "", 1);
		main();
		raw(SYS_exit_group, 0);
	}
	raw(SYS_close, ready[1]);
	mm_own(mm);
	check_eq(raw(SYS_read, ready[0], &byte, 1), 1);
	raw(SYS_close, ready[0]);
	mm->listener = get_stub_listener(mm->pid, &mm->identity);
	check_op(mm->listener, >=, 0);
}

int mm_reap(struct mm_id *mm)
{
	if (!mm->reaped)
		check_eq(raw(SYS_wait4, mm->pid, &mm->status, __WALL, 0), mm->pid);
	mm->reaped = true;
	return mm->status;
}

void mm_forget(struct mm_id *mm)
{
	raw(SYS_close, mm->pidfd);
	if (mm->sock >= 0)
		raw(SYS_close, mm->sock);
	raw(SYS_close, mm->memory);
	raw(SYS_munmap, mm->ram, FRAMES * PAGE);
	if (mm->listener >= 0)
		check_eq(put_stub_listener(mm->listener), 0);
}

int mm_end(struct mm_id *mm)
{
	int status;

	raw(SYS_pidfd_send_signal, mm->pidfd, SIGKILL, 0, 0);
	status = mm_reap(mm);
	mm_forget(mm);
	return status;
}

/* ---- the hand-over */

static void hand_over_fd(struct mm_id *mm)
{
	char byte = 0, control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8))) = { 0 };
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &mm->memory, sizeof(int));
	check_eq(raw(SYS_sendmsg, mm->sock, &message, 0), 1);
}

void mm_resume(struct mm_id *mm)
{
	bool maps_memory = false;
	int i;

	for (i = 0; i < mm->calls; i++)
		maps_memory |= mm->own.syscall_data[i].syscall == STUB_SYSCALL_MMAP;
	check_eq(stubguard_publish(mm->shared, &mm->own, mm->calls), 0);
	if (maps_memory)
		hand_over_fd(mm);
	__atomic_store_n(&mm->shared->futex, FUTEX_IN_CHILD, __ATOMIC_SEQ_CST);
	raw(SYS_futex, &mm->shared->futex, FUTEX_WAKE, 1);
}

/* As the header says: drains notifications whenever it wakes, and from time to time. */
int mm_wait_report(struct mm_id *mm)
{
	struct timespec soon = { .tv_nsec = 10 * 1000 * 1000 };
	int ret;

	while (__atomic_load_n(&mm->shared->futex, __ATOMIC_SEQ_CST) != FUTEX_IN_KERN) {
		if (mm_is_dead(mm))
			return -ESRCH;
		if (mm->listener >= 0 && !mm->do_not_drain) {
			ret = seccomp_notify_drain(mm, mm->listener);
			check(ret >= 0 || ret == -ESRCH || ret == -EINTR);
			mm->drained += ret > 0 ? ret : 0;
		}
		raw(SYS_futex, &mm->shared->futex, FUTEX_WAIT, FUTEX_IN_CHILD, &soon);
	}
	return 0;
}

int mm_wait(struct mm_id *mm)
{
	int ret = mm_wait_report(mm);

	if (!ret)
		ret = stubguard_collect(mm->shared, &mm->own, mm->calls, mm->pid);
	mm->calls = 0;
	return ret;
}

int mm_sync(struct mm_id *mm)
{
	int left = mm->calls, ret;

	mm->own.restart_wait = 1;
	mm_resume(mm);
	while (left > 0 && __atomic_load_n(&mm->shared->futex, __ATOMIC_SEQ_CST) != FUTEX_IN_KERN) {
		ret = serve_batch(mm, left);
		if (ret == -ESRCH)
			return ret;
		check_op(ret, >=, 0);
		check_op(ret, <=, left);
		left -= ret;
	}
	return mm_wait(mm);
}

/* ---- the guest */

void mm_frame_gadget(struct mm_id *mm, unsigned int frame, unsigned int offset)
{
	static const unsigned char gadget[] = { 0x0f, 0x05, 0xc3 };
	size_t room = PAGE - offset;

	memcpy(mm->ram + frame * PAGE + offset, gadget, room < sizeof(gadget) ? room : sizeof(gadget));
}

unsigned long mm_gadget(struct mm_id *mm, unsigned int offset)
{
	mm_frame_gadget(mm, FRAME_STUB_CODE, offset);
	return STUB_START + offset;
}

unsigned long mm_handler(void)
{
	return STUB_START + (unsigned long)(stub_signal_interrupt - __start_stub_code);
}

static unsigned char *own_frame(struct mm_id *mm)
{
	return mm->own.sigstack + mm->own.mctx_offset;
}

long long *mm_regs(struct mm_id *mm)
{
	return ((mcontext_t *)(void *)own_frame(mm))->gregs;
}

static unsigned long guest_address(const unsigned char *symbol)
{
	return GUEST_CODE + (unsigned long)(symbol - __start_guest_code);
}

void mm_call(struct mm_id *mm, unsigned long ip, long nr, const unsigned long *args)
{
	long long *regs = mm_regs(mm);
	unsigned long top = PAGE - 16;

	/* The return address. */
	*(unsigned long *)(mm->ram + FRAME_GUEST_STACK * PAGE + top) = guest_address(guest_report);
	regs[REG_RIP] = (long long)ip;
	regs[REG_RSP] = (long long)(GUEST_STACK + top);
	regs[REG_RAX] = nr;
	regs[REG_RDI] = (long long)args[0];
	regs[REG_RSI] = (long long)args[1];
	regs[REG_RDX] = (long long)args[2];
	regs[REG_R10] = (long long)args[3];
	regs[REG_R8] = (long long)args[4];
	regs[REG_R9] = (long long)args[5];
}

unsigned long mm_guest_code(const char *what)
{
	static const struct {
		const char *what;
		const unsigned char *code;
	} codes[] = {
		{ "call", guest_call },	      { "report", guest_report },   { "read", guest_read },
		{ "write", guest_write },     { "spin", guest_spin },	    { "fault", guest_fault },
		{ "dump", guest_dump },	      { "forge", guest_forge },	    { "nops", guest_nops },
		{ "read fs", guest_read_fs }, { "read gs", guest_read_gs },
	};
	size_t i;

	for (i = 0; i < COUNT(codes); i++) {
		if (!strcmp(codes[i].what, what))
			return guest_address(codes[i].code);
	}
	test_fail(__FILE__, __LINE__, "no code is called %s", what);
}

void mm_guest(struct mm_id *mm, const char *what, unsigned long arg)
{
	unsigned long args[6] = { arg, 0x77 };

	/* rax is the reported value, and the number of a call. */
	mm_call(mm, mm_guest_code(what), (long)arg, args);
}

void mm_run(struct mm_id *mm, const char *what, unsigned long arg)
{
	mm_guest(mm, what, arg);
	mm_resume(mm);
	check_eq(mm_wait(mm), 0);
}

int mm_guest_call(struct mm_id *mm)
{
	siginfo_t *info = (siginfo_t *)(void *)(mm->own.sigstack + mm->own.si_offset);

	check_eq(mm->own.signal, SIGSYS);
	return info->si_syscall;
}

long mm_result(struct mm_id *mm)
{
	check_eq(mm_guest_call(mm), GUEST_REPORTS);
	return (long)mm_regs(mm)[REG_RDI];
}

void mm_sigreturn(struct mm_id *mm, unsigned long ip, uint64_t blocked)
{
	/* The host's frame: flags, link, stack, mcontext, signal mask. */
	unsigned char *frame = mm->ram + FRAME_GUEST_STACK * PAGE + 1024;
	mcontext_t *context = (mcontext_t *)(void *)(frame + 40);
	unsigned long args[6] = { 0 };

	memcpy(frame, own_frame(mm) - 40, 40 + sizeof(*context));
	context->gregs[REG_RIP] = (long long)ip;
	context->fpregs = NULL;
	memcpy(frame + 40 + 256, &blocked, sizeof(blocked));
	mm_call(mm, STUB_START + (unsigned long)(stub_signal_restorer - __start_stub_code), 0,
		args);
	mm_regs(mm)[REG_RSP] = (long long)(GUEST_STACK + 1024);
}

long mm_hijack_at(struct mm_id *mm, unsigned long ip, long nr, unsigned long a, unsigned long b,
		  unsigned long c, unsigned long d, unsigned long e, unsigned long f)
{
	unsigned long args[6] = { a, b, c, d, e, f };

	mm_call(mm, ip, nr, args);
	mm_resume(mm);
	check_eq(mm_wait(mm), 0);
	return mm_result(mm);
}

void *mm_frame(struct mm_id *mm, unsigned int frame)
{
	return mm->ram + frame * PAGE;
}

void mm_steal_fd(struct mm_id *mm)
{
	/* The guest's message header, with all its parts, on its stack page. */
	struct {
		struct msghdr message;
		struct iovec iov;
		char byte;
		char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8)));
	} *at = mm_frame(mm, FRAME_GUEST_STACK);
	unsigned long there = GUEST_STACK;

	memset(at, 0, sizeof(*at));
	at->message.msg_iov = (void *)(there + offsetof(__typeof__(*at), iov));
	at->message.msg_iovlen = 1;
	at->message.msg_control = (void *)(there + offsetof(__typeof__(*at), control));
	at->message.msg_controllen = sizeof(at->control);
	at->iov.iov_base = (void *)(there + offsetof(__typeof__(*at), byte));
	at->iov.iov_len = 1;
	hand_over_fd(mm);
	check_eq(mm_hijack(mm, SYS_recvmsg, 0, there, 0), 1);
	check_eq(*(int *)(void *)CMSG_DATA((struct cmsghdr *)(void *)at->control), MMAP_FD);
}

void mm_hijack_start(struct mm_id *mm, long nr, unsigned long a, unsigned long b, unsigned long c,
		     unsigned long d, unsigned long e, unsigned long f)
{
	unsigned long args[6] = { a, b, c, d, e, f };

	mm_call(mm, STUB_START + GADGET, nr, args);
	mm_resume(mm);
}

void mm_hijack_start_mmap(struct mm_id *mm)
{
	mm_set_pte(mm, GUEST_FREE, FRAME_FREE, PROT_READ);
	mm_hijack_start(mm, SYS_mmap, GUEST_FREE, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, MMAP_FD,
			FRAME_FREE * PAGE);
	mm_wait_notification(mm);
}

int serve_one(struct mm_id *mm)
{
	int ret;

	do {
		ret = seccomp_notify_serve(mm, mm->listener, 1000);
	} while (ret == 0);
	return ret;
}

int serve_batch(struct mm_id *mm, int pending)
{
	return seccomp_serve_stub_syscalls(mm, mm->listener, &mm->own, mm->calls, pending);
}

void mm_wait_notification(struct mm_id *mm)
{
	struct pollfd poll_fd = { .fd = mm->listener, .events = POLLIN };

	while (raw(SYS_poll, &poll_fd, 1, -1) != 1)
		;
	check(poll_fd.revents & POLLIN);
}

void mm_make_sleeper(struct mm_id *mm)
{
	unsigned long args[6] = { STUB_DATA + offsetof(struct stub_data, futex), FUTEX_WAIT,
				  FUTEX_IN_CHILD };

	mm_call(mm, STUB_START + GADGET, SYS_futex, args);
	/* mm_sigreturn() copies these registers to its frame. */
	mm_sigreturn(mm, STUB_START + GADGET, ~0UL);
	mm_resume(mm);
	mm_wait_state(mm, 'S');
}

void mm_make_spinner(struct mm_id *mm)
{
	mm_guest(mm, "spin", GUEST_STACK);
	mm_sigreturn(mm, guest_address(guest_spin), ~0UL);
	mm_resume(mm);
	while (!__atomic_load_n((unsigned long *)(mm->ram + FRAME_GUEST_STACK * PAGE),
				__ATOMIC_SEQ_CST))
		raw(SYS_sched_yield);
}
