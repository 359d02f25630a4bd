// SPDX-License-Identifier: GPL-2.0-only
/*
 * host - runs a program as if the host kernel were another one
 *
 *	host no-getfd PROGRAM...	pidfd_getfd is not permitted
 *	host busy PROGRAM...		a sandbox around it has a seccomp listener
 *	host old PROGRAM...		neither WAIT_KILLABLE_RECV (5.19) nor SET_FLAGS (6.6)
 *	host no-close-range PROGRAM...	close_range (5.9) is not there
 *	host mortal PROGRAM...		kills a process that writes to an fd of MORTAL_FD or more; starting
 *					stubs do, if UML has many fds
 *	host 5.10 PROGRAM...		neither CLOSE_RANGE_CLOEXEC nor syscall user dispatch (5.11), nor what
 *					"old" lacks
 *	host no-dispatch PROGRAM...	no syscall user dispatch
 *	host ignoring PROGRAM...	all signals are ignored
 *	host docker|podman|systemd PROGRAM...
 *					an imitation of their default seccomp profile
 *	host ACTION:NR,... PROGRAM...	an action for these calls: errno=E (0: fakes success), trap, trace,
 *					log, kill-thread, kill; NR@ARGUMENT=VALUE: only if that argument,
 *					counted from 0, has this value
 *	host once=N:E:NR@ARGUMENT=VALUE PROGRAM...
 *					the Nth such call of all processes, counted from 1, gives errno E;
 *					a tracer counts them
 *
 * All but "ignoring" use a seccomp filter, which the program and all of its children inherit.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define NR	offsetof(struct seccomp_data, nr)
#define ARG(n)	(offsetof(struct seccomp_data, args) + 8 * (n))

#define LOAD(at)	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at)
#define SKIP_IF_NOT(value, n)	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, n)
#define SKIP_IF_CLEAR(bits, n)	BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 0, n)
#define SKIP_IF_LESS(value, n)	BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, value, 0, n)
#define FAIL(error)	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (error))
#define ALLOW		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

/* SECCOMP_IOCTL_NOTIF_SET_FLAGS, and a flag that older headers lack */
#define SET_FLAGS	0x40082104
#define WAIT_KILLABLE	(1 << 5)

static struct sock_filter no_getfd[] = {
	LOAD(NR),
	SKIP_IF_NOT(__NR_pidfd_getfd, 1),
	FAIL(EPERM),
	ALLOW,
};

static struct sock_filter busy[] = { ALLOW };

static struct sock_filter old[] = {
	LOAD(NR),
	SKIP_IF_NOT(__NR_ioctl, 3),
	LOAD(ARG(1)),
	SKIP_IF_NOT(SET_FLAGS, 1),
	FAIL(EINVAL),
	LOAD(NR),
	SKIP_IF_NOT(__NR_seccomp, 3),
	LOAD(ARG(1)),
	SKIP_IF_CLEAR(WAIT_KILLABLE, 1),
	FAIL(EINVAL),
	ALLOW,
};

static struct sock_filter no_close_range[] = {
	LOAD(NR),
	SKIP_IF_NOT(__NR_close_range, 1),
	FAIL(ENOSYS),
	ALLOW,
};

#define MORTAL_FD	200

static struct sock_filter mortal[] = {
	LOAD(NR),
	SKIP_IF_NOT(__NR_write, 4),
	LOAD(ARG(0)),
	/* Not -1: UML uses that to try whether write() is allowed */
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ~0U, 2, 0),
	SKIP_IF_LESS(MORTAL_FD, 1),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	ALLOW,
};

#define NO_DISPATCH \
	LOAD(NR), \
	SKIP_IF_NOT(__NR_prctl, 3), \
	LOAD(ARG(0)), \
	SKIP_IF_NOT(59 /* PR_SET_SYSCALL_USER_DISPATCH */, 1), \
	FAIL(EINVAL), \
	ALLOW,

static struct sock_filter before_5_11[] = {
	LOAD(NR),
	SKIP_IF_NOT(__NR_close_range, 3),
	LOAD(ARG(2)),
	SKIP_IF_CLEAR(1 << 2 /* CLOSE_RANGE_CLOEXEC */, 1),
	FAIL(EINVAL),
	NO_DISPATCH
};

static struct sock_filter no_dispatch[] = {
	NO_DISPATCH
};

/* ---- filters with lists of calls */

static struct sock_filter made[512];
static size_t length;

static void emit(struct sock_filter instruction)
{
	if (length == sizeof(made) / sizeof(made[0])) {
		fprintf(stderr, "host: too many calls\n");
		exit(2);
	}
	made[length++] = instruction;
}

/* The call's number is loaded before this rule and after it. */
static void does(unsigned int action, int nr)
{
	emit((struct sock_filter)SKIP_IF_NOT((unsigned int)nr, 1));
	emit((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action));
}

static void does_to_all(unsigned int action, const short *numbers, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++)
		does(action, numbers[i]);
}

/* The action applies only if these bits of an argument have this value. */
static void does_if(unsigned int action, int nr, int argument, unsigned int bits, unsigned int value)
{
	emit((struct sock_filter)SKIP_IF_NOT((unsigned int)nr, 5));
	emit((struct sock_filter)LOAD(ARG(argument)));
	emit((struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, bits));
	emit((struct sock_filter)SKIP_IF_NOT(value, 1));
	emit((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action));
	emit((struct sock_filter)LOAD(NR));
}

#define ERRNO(error) (SECCOMP_RET_ERRNO | (error))
#define DO_TO_ALL(action, numbers) does_to_all(action, numbers, sizeof(numbers) / sizeof((numbers)[0]))

/* Numbers that are newer than the profiles. */
#define KNOWN_LAST	__NR_set_mempolicy_home_node
static void unknown_calls_fail(void)
{
	emit((struct sock_filter)SKIP_IF_LESS(KNOWN_LAST + 1, 1));
	emit((struct sock_filter)FAIL(ENOSYS));
}

/* Both container profiles let five values of personality(2) through. */
static void personalities(unsigned int action)
{
	static const unsigned int values[] = { 0, 8, 0x20000, 0x20008, ~0U };
	size_t i;

	for (i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		does_if(SECCOMP_RET_ALLOW, __NR_personality, 0, ~0U, values[i]);
	does(action, __NR_personality);
}

/*
 * Docker's default profile (moby, profiles/seccomp/default.json) for a container with the usual capabilities:
 * EPERM by default.
 */
static void docker(void)
{
	static const short refused[] = {
		__NR__sysctl, __NR_acct, __NR_add_key, __NR_afs_syscall, __NR_bpf, __NR_clock_settime,
		__NR_create_module, __NR_delete_module, __NR_fanotify_init, __NR_finit_module,
		__NR_fsconfig, __NR_fsmount, __NR_fsopen, __NR_fspick, __NR_get_kernel_syms,
		__NR_get_mempolicy, __NR_getpmsg, __NR_init_module, __NR_io_uring_enter,
		__NR_io_uring_register, __NR_io_uring_setup, __NR_ioperm, __NR_iopl, __NR_kcmp,
		__NR_kexec_file_load, __NR_kexec_load, __NR_keyctl, __NR_lookup_dcookie, __NR_mbind,
		__NR_migrate_pages, __NR_mount, __NR_mount_setattr, __NR_move_mount, __NR_move_pages,
		__NR_nfsservctl, __NR_open_by_handle_at, __NR_open_tree, __NR_perf_event_open,
		__NR_pidfd_getfd, __NR_pivot_root, __NR_process_madvise, __NR_putpmsg,
		__NR_query_module, __NR_quotactl, __NR_quotactl_fd, __NR_reboot, __NR_request_key,
		__NR_security, __NR_set_mempolicy, __NR_set_mempolicy_home_node, __NR_setdomainname,
		__NR_sethostname, __NR_setns, __NR_settimeofday, __NR_swapoff, __NR_swapon, __NR_sysfs,
		__NR_syslog, __NR_tuxcall, __NR_umount2, __NR_unshare, __NR_uselib, __NR_userfaultfd,
		__NR_ustat, __NR_vhangup, __NR_vserver,
	};

	unknown_calls_fail();
	personalities(ERRNO(EPERM));
	/* No new namespace; of clone3 a filter cannot see the flags. */
	does_if(SECCOMP_RET_ALLOW, __NR_clone, 0, 0x7e020000, 0);
	does(ERRNO(EPERM), __NR_clone);
	does(ERRNO(ENOSYS), __NR_clone3);
	does_if(ERRNO(EPERM), __NR_socket, 0, ~0U, AF_VSOCK);
	DO_TO_ALL(ERRNO(EPERM), refused);
}

/*
 * Podman's default profile (containers/common, pkg/seccomp/seccomp.json): ENOSYS by default, EPERM for calls that
 * need a missing capability.
 */
static void podman(void)
{
	static const short not_permitted[] = {
		__NR_acct, __NR_bpf, __NR_chroot, __NR_clock_settime, __NR_delete_module,
		__NR_fanotify_init, __NR_finit_module, __NR_get_mempolicy, __NR_init_module,
		__NR_io_pgetevents, __NR_ioperm, __NR_iopl, __NR_kcmp, __NR_kexec_file_load,
		__NR_kexec_load, __NR_lookup_dcookie, __NR_mbind, __NR_membarrier, __NR_migrate_pages,
		__NR_move_pages, __NR_nfsservctl, __NR_open_by_handle_at, __NR_perf_event_open,
		__NR_process_madvise, __NR_process_vm_readv, __NR_process_vm_writev, __NR_ptrace,
		__NR_query_module, __NR_quotactl, __NR_set_mempolicy, __NR_setdomainname,
		__NR_sethostname, __NR_settimeofday, __NR_swapoff, __NR_swapon, __NR_sysfs,
		__NR_uselib, __NR_userfaultfd, __NR_ustat, __NR_vhangup, __NR_vmsplice,
	};
	static const short not_there[] = {
		__NR__sysctl, __NR_add_key, __NR_afs_syscall, __NR_create_module, __NR_futex_waitv,
		__NR_get_kernel_syms, __NR_getpmsg, __NR_io_uring_enter, __NR_io_uring_register,
		__NR_io_uring_setup, __NR_landlock_add_rule, __NR_landlock_create_ruleset,
		__NR_landlock_restrict_self, __NR_memfd_secret, __NR_mount_setattr,
		__NR_process_mrelease, __NR_putpmsg, __NR_quotactl_fd, __NR_request_key, __NR_security,
		__NR_set_mempolicy_home_node, __NR_tuxcall, __NR_vserver,
	};

	unknown_calls_fail();
	personalities(ERRNO(ENOSYS));
	/* The profile compares family and protocol; the protocol alone is stricter. */
	does_if(ERRNO(EINVAL), __NR_socket, 2, ~0U, 9 /* NETLINK_AUDIT */);
	DO_TO_ALL(ERRNO(EPERM), not_permitted);
	DO_TO_ALL(ERRNO(ENOSYS), not_there);
}

/*
 * A systemd service with SystemCallFilter=@system-service seccomp (`systemd-analyze syscall-filter`, version 252):
 * kills by default. Without "seccomp" UML is killed as it starts.
 */
static void systemd(void)
{
	static const short killed[] = {
		__NR__sysctl, __NR_acct, __NR_adjtimex, __NR_afs_syscall, __NR_bpf, __NR_chroot,
		__NR_clock_adjtime, __NR_clock_settime, __NR_create_module, __NR_delete_module,
		__NR_fanotify_init, __NR_fanotify_mark, __NR_finit_module, __NR_fsconfig,
		__NR_fsmount, __NR_fsopen, __NR_fspick, __NR_get_kernel_syms, __NR_getpmsg,
		__NR_init_module, __NR_ioperm, __NR_iopl, __NR_kexec_file_load, __NR_kexec_load,
		__NR_landlock_add_rule, __NR_landlock_create_ruleset, __NR_landlock_restrict_self,
		__NR_lookup_dcookie, __NR_memfd_secret, __NR_mincore, __NR_modify_ldt, __NR_mount,
		__NR_mount_setattr, __NR_move_mount, __NR_nfsservctl, __NR_open_by_handle_at,
		__NR_open_tree, __NR_perf_event_open, __NR_pidfd_getfd, __NR_pivot_root,
		__NR_pkey_alloc, __NR_pkey_free, __NR_pkey_mprotect, __NR_process_mrelease,
		__NR_ptrace, __NR_putpmsg, __NR_query_module, __NR_quotactl, __NR_quotactl_fd,
		__NR_reboot, __NR_security, __NR_setdomainname, __NR_sethostname, __NR_settimeofday,
		__NR_swapoff, __NR_swapon, __NR_sysfs, __NR_syslog, __NR_tuxcall, __NR_umount2,
		__NR_uselib, __NR_ustat, __NR_vhangup, __NR_vserver,
	};

	unknown_calls_fail();
	DO_TO_ALL(SECCOMP_RET_KILL_PROCESS, killed);
}

/* Adds the rules of ACTION:NR,...; 0 if @kind is something else. */
static int by_name(char *kind)
{
	static const struct {
		const char *name;
		unsigned int action;
	} actions[] = {
		{ "trap", SECCOMP_RET_TRAP },
		{ "trace", SECCOMP_RET_TRACE },
		{ "log", SECCOMP_RET_LOG },
		{ "kill-thread", SECCOMP_RET_KILL_THREAD },
		{ "kill", SECCOMP_RET_KILL_PROCESS },
	};
	char *numbers = strchr(kind, ':'), *nr;
	unsigned int action = 0, value;
	int known, argument;
	size_t i;

	if (!numbers)
		return 0;
	*numbers++ = '\0';
	known = sscanf(kind, "errno=%u", &action) == 1;
	action |= SECCOMP_RET_ERRNO;
	for (i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
		if (strcmp(kind, actions[i].name) == 0) {
			action = actions[i].action;
			known = 1;
		}
	}
	while (known && (nr = strsep(&numbers, ","))) {
		if (sscanf(nr, "%*d@%d=%u", &argument, &value) == 2)
			does_if(action, atoi(nr), argument, ~0U, value);
		else
			does(action, atoi(nr));
	}
	return known;
}

static int install(struct sock_filter *filter, size_t len, unsigned int flags)
{
	struct sock_fprog program = { .len = len, .filter = filter };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	return syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

static int install_made(void)
{
	emit((struct sock_filter)ALLOW);
	return install(made, length, 0);
}

/* ---- a call that fails once: filters do not count, so a tracer does */

/* Goes on with a process that has stopped, as if nobody traced it */
static void go_on(pid_t pid, int status)
{
	int event = status >> 16, sig = WSTOPSIG(status);

	if (event == PTRACE_EVENT_STOP && (sig == SIGSTOP || sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU))
		ptrace(PTRACE_LISTEN, pid, 0, 0);
	else
		ptrace(PTRACE_CONT, pid, 0, event ? 0 : sig);
}

/* The stopped process does not make its call, but gets this errno. */
static void refuse(pid_t pid, int error)
{
	struct user_regs_struct regs;

	if (ptrace(PTRACE_GETREGS, pid, 0, &regs))
		return;
	regs.orig_rax = -1;
	regs.rax = -error;
	ptrace(PTRACE_SETREGS, pid, 0, &regs);
}

/* Traces all processes until they have ended. What is traced waits for a byte. */
static void trace(pid_t first, int ready, int number, int error)
{
	const long options = PTRACE_O_TRACESECCOMP | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK;
	int status, count = 0;
	pid_t pid;

	if (ptrace(PTRACE_SEIZE, first, 0, options) || write(ready, "", 1) != 1)
		return;
	close(ready);
	while ((pid = waitpid(-1, &status, __WALL)) > 0) {
		if (!WIFSTOPPED(status))
			continue;
		if (status >> 16 == PTRACE_EVENT_SECCOMP && ++count == number)
			refuse(pid, error);
		go_on(pid, status);
	}
}

/* once=N:E:NR@ARGUMENT=VALUE; whether it was that. The tracer is no child of who is traced. */
static int by_number(const char *kind)
{
	int number, error, nr, argument, ends[2];
	pid_t pid, me = getpid();
	unsigned int value;
	char byte;

	if (sscanf(kind, "once=%d:%d:%d@%d=%u", &number, &error, &nr, &argument, &value) != 5)
		return 0;
	does_if(SECCOMP_RET_TRACE, nr, argument, ~0U, value);
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
	if (pipe(ends))
		return 0;
	pid = fork();
	if (pid == 0) {
		close(ends[0]);
		if (fork() == 0)
			trace(me, ends[1], number, error);
		_exit(0);
	}
	close(ends[1]);
	if (pid < 0 || waitpid(pid, NULL, 0) != pid || read(ends[0], &byte, 1) != 1)
		return 0;
	close(ends[0]);
	return 1;
}

static int ignore_all(void)
{
	int number;

	/* It fails for SIGKILL, SIGSTOP and two signals of the C library. */
	for (number = 1; number <= SIGRTMAX; number++)
		signal(number, SIG_IGN);
	return 0;
}

int main(int argc, char **argv)
{
	int ret;

	if (argc < 3) {
		fprintf(stderr, "usage: host KIND PROGRAM..., see the comment in host.c\n");
		return 2;
	}

	emit((struct sock_filter)LOAD(NR));

	if (strcmp(argv[1], "no-getfd") == 0)
		ret = install(no_getfd, sizeof(no_getfd) / sizeof(no_getfd[0]), 0);
	else if (strcmp(argv[1], "busy") == 0)
		/* The fd stays open, as closing it would close the listener */
		ret = install(busy, 1, SECCOMP_FILTER_FLAG_NEW_LISTENER);
	else if (strcmp(argv[1], "old") == 0)
		ret = install(old, sizeof(old) / sizeof(old[0]), 0);
	else if (strcmp(argv[1], "no-close-range") == 0)
		ret = install(no_close_range, sizeof(no_close_range) / sizeof(no_close_range[0]), 0);
	else if (strcmp(argv[1], "mortal") == 0)
		ret = install(mortal, sizeof(mortal) / sizeof(mortal[0]), 0);
	else if (strcmp(argv[1], "no-dispatch") == 0)
		ret = install(no_dispatch, sizeof(no_dispatch) / sizeof(no_dispatch[0]), 0);
	else if (strcmp(argv[1], "5.10") == 0)
		ret = install(old, sizeof(old) / sizeof(old[0]), 0) ? -1 :
		      install(before_5_11, sizeof(before_5_11) / sizeof(before_5_11[0]), 0);
	else if (strcmp(argv[1], "ignoring") == 0)
		ret = ignore_all();
	else if (strcmp(argv[1], "docker") == 0)
		ret = (docker(), install_made());
	else if (strcmp(argv[1], "podman") == 0)
		ret = (podman(), install_made());
	else if (strcmp(argv[1], "systemd") == 0)
		ret = (systemd(), install_made());
	else if (by_number(argv[1]) || by_name(argv[1]))
		ret = install_made();
	else
		ret = -1;
	if (ret < 0) {
		perror(argv[1]);
		return 2;
	}
	/* The listener came with FD_CLOEXEC */
	if (ret > 0)
		dup2(ret, 100);

	execvp(argv[2], argv + 2);
	perror(argv[2]);
	return 2;
}
