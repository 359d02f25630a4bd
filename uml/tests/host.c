// SPDX-License-Identifier: GPL-2.0-only
/*
 * host - runs a program as if the host kernel were another one
 *
 *	host no-getfd PROGRAM...	pidfd_getfd is not permitted
 *	host busy PROGRAM...		a sandbox around it has a seccomp listener
 *	host old PROGRAM...		neither WAIT_KILLABLE_RECV (5.19) nor SET_FLAGS (6.6)
 *	host no-close-range PROGRAM...	close_range (5.9) is not there
 *	host mortal PROGRAM...		kills who writes to a descriptor from MORTAL_FD on, as stubs do as
 *					they start, when there are many
 *
 * By a seccomp filter, which the program and all of its children inherit.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
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
	SKIP_IF_NOT(__NR_write, 3),
	LOAD(ARG(0)),
	SKIP_IF_LESS(MORTAL_FD, 1),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	ALLOW,
};

static int install(struct sock_filter *filter, size_t len, unsigned int flags)
{
	struct sock_fprog program = { .len = len, .filter = filter };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	return syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

int main(int argc, char **argv)
{
	int ret;

	if (argc < 3) {
		fprintf(stderr, "usage: host no-getfd|busy|old|no-close-range|mortal PROGRAM...\n");
		return 2;
	}

	if (strcmp(argv[1], "no-getfd") == 0)
		ret = install(no_getfd, sizeof(no_getfd) / sizeof(no_getfd[0]), 0);
	else if (strcmp(argv[1], "busy") == 0)
		/* The fd stays open: with it the filter would lose its listener */
		ret = install(busy, 1, SECCOMP_FILTER_FLAG_NEW_LISTENER);
	else if (strcmp(argv[1], "old") == 0)
		ret = install(old, sizeof(old) / sizeof(old[0]), 0);
	else if (strcmp(argv[1], "no-close-range") == 0)
		ret = install(no_close_range, sizeof(no_close_range) / sizeof(no_close_range[0]), 0);
	else if (strcmp(argv[1], "mortal") == 0)
		ret = install(mortal, sizeof(mortal) / sizeof(mortal[0]), 0);
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
