// SPDX-License-Identifier: GPL-2.0-only
/*
 * linger.so: preloaded to a UML kernel, it makes the moments longer in which an idle CPU can miss an interrupt: before it blocks
 * signals to look whether there is something to do, and between that look and the sleep. (crosscalls.sh)
 */

#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void linger(void)
{
	struct timespec while_ = { 0, 300000 };

	syscall(SYS_nanosleep, &while_, NULL);
}

/* A signal that is not blocked ends the wait: it has come at the right moment then */
int sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
	if (how == SIG_BLOCK && set && sigismember(set, SIGALRM))
		linger();
	return syscall(SYS_rt_sigprocmask, how, set, old, 8);
}

/* As poll() is, ppoll() is a cancellation point, which UML's helper threads need to end */
int poll(struct pollfd *fds, nfds_t n, int timeout)
{
	struct timespec limit = { timeout / 1000, timeout % 1000 * 1000000L };

	if (n == 1 && timeout < 0)
		linger();
	return ppoll(fds, n, timeout < 0 ? NULL : &limit, NULL);
}
