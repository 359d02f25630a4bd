// SPDX-License-Identifier: GPL-2.0-only
/*
 * linger.so: preloaded to a UML kernel, it makes the moments longer in which an idle CPU can miss an interrupt: before it blocks
 * signals to look whether there is something to do, and between that look and the sleep. It also sends the first CPU a SIGIO in
 * one of these two moments, MOMENTS times, and tells how often the CPU would have slept in spite of it. (crosscalls.sh)
 */

#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MOMENTS 60

static unsigned int sent, missed;
static enum { SENT, TO_SEND, SEEN } sigio = SEEN;

static void linger(void)
{
	struct timespec while_ = { 0, 300000 };

	syscall(SYS_nanosleep, &while_, NULL);
}

/* The first CPU is the first thread, and alone handles SIGIO */
static int on_first_cpu(void)
{
	return syscall(SYS_gettid) == getpid();
}

static void send_sigio(void)
{
	sent++;
	syscall(SYS_tgkill, getpid(), getpid(), SIGIO);
}

/* The last one is told when all of it is known */
static void next_moment(void)
{
	static int told, turn;
	char line[80];

	if (sent < MOMENTS) {
		sigio = turn++ % 2 ? TO_SEND : SENT;
		if (sigio == SENT)
			send_sigio();
	} else if (!told) {
		told = 1;
		snprintf(line, sizeof(line), "\nlinger: %u times SIGIO, missed %u\n", sent, missed);
		syscall(SYS_write, STDERR_FILENO, line, strlen(line));
	}
}

/* A signal that is not blocked ends the wait: it has come at the right moment then */
int sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
	if (how == SIG_BLOCK && set && sigismember(set, SIGALRM)) {
		linger();
		if (on_first_cpu())
			next_moment();
	}
	return syscall(SYS_rt_sigprocmask, how, set, old, 8);
}

/* As poll() is, ppoll() is a cancellation point, which UML's helper threads need to end */
int poll(struct pollfd *fds, nfds_t n, int timeout)
{
	struct timespec limit = { timeout / 1000, timeout % 1000 * 1000000L };

	if (n == 1 && timeout < 0) {
		linger();
		if (on_first_cpu()) {
			struct timespec now = { 0, 0 };

			if (sigio == TO_SEND)
				send_sigio();
			if (sigio == SENT || (sigio == TO_SEND && ppoll(fds, n, &now, NULL) != 1))
				missed++;
			sigio = SEEN;
		}
	}
	return ppoll(fds, n, timeout < 0 ? NULL : &limit, NULL);
}
