/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The layer between the library and the host: the library calls the C library by name, and those
 * names are defined in host.c. Unless a test says otherwise a call goes to the host as it is.
 *
 * What the harness itself asks of the host goes through raw(), which cannot be made to fail and is
 * not counted.
 */

#ifndef HOST_H
#define HOST_H

#include <stdbool.h>

enum host_call {
	HOST_POLL,
	HOST_RECV,		/* SECCOMP_IOCTL_NOTIF_RECV */
	HOST_SEND,		/* SECCOMP_IOCTL_NOTIF_SEND */
	HOST_ID_VALID,		/* SECCOMP_IOCTL_NOTIF_ID_VALID */
	HOST_SET_FLAGS,		/* SECCOMP_IOCTL_NOTIF_SET_FLAGS */
	HOST_SIZES,		/* SECCOMP_GET_NOTIF_SIZES */
	HOST_FLAG,		/* SECCOMP_SET_MODE_FILTER without a program: asks for a flag */
	HOST_FILTER,		/* SECCOMP_SET_MODE_FILTER */
	HOST_PIDFD_OPEN,
	HOST_PIDFD_GETFD,
	HOST_PIDFD_SIGNAL,
	HOST_TGKILL,
	HOST_GETTID,
	HOST_FUTEX,
	HOST_OPENAT,
	HOST_READ,
	HOST_CLOSE,
	HOST_FCNTL,
	HOST_FSTAT,
	HOST_FSTATFS,
	HOST_MMAP,
	HOST_PRCTL,
	HOST_CLONE,
	HOST_WAITPID,
	HOST_TIMERFD_CREATE,
	HOST_TIMERFD_SETTIME,
	HOST_PTHREAD_CREATE,
	HOST_PTHREAD_JOIN,
	HOST_SIGACTION,
	HOST_PRLIMIT,
	HOST_GETAUXVAL,		/* of AT_HWCAP2 */
	HOST_OTHER,
	HOST_CALLS
};

/*
 * Runs in place of a call, on the thread that makes it: true if `*result` (a value or a negative
 * errno) is the answer, false if the host is to be asked.
 */
typedef bool (*host_hook)(const long *arg, long *result);

/* The calls of that kind from number `first` (1: the next one) on fail, `count` of them. */
void host_fail(enum host_call call, unsigned int first, unsigned int count, int error);
void host_hook_set(enum host_call call, host_hook hook);
/* This answers all calls of that kind: a value, or a negative errno. */
void host_answer(enum host_call call, long result);
/* Runs before the host is asked, each time. */
void host_before(enum host_call call, void (*act)(void));
/* Whatever there is, poll() finds this of the first fd. */
void host_poll_finds(short events);
/* It has no PR_SET_SYSCALL_USER_DISPATCH. */
void host_without_dispatch(void);
/* All as it was, but for the counts. */
void host_reset(void);

unsigned int host_count(enum host_call call);
/* Sleeps until there have been `target` calls of that kind; no wake-ups before. */
void host_wait(enum host_call call, unsigned int target);

/*
 * Whenever this thread sleeps, from its next call of that kind on, another one acts; until host_no_more(). There is no
 * event for that, so it looks again and again.
 */
void host_when_it_sleeps(enum host_call call, void (*act)(void));
void host_no_more(void);
/* For it: SIGUSR1, with a handler that does nothing, and without SA_RESTART. */
void host_interrupt(void);

/*
 * The `number`th call of any kind (but those that give things back) fails on this thread from now
 * on; 0: none any more. host_swept() says whether there was such a call, and what it was.
 */
void host_sweep(unsigned int number, int error);
const char *host_swept(void);

/*
 * Does `deed`, called `name`, with such a refusal, and returns what it does; errno and the open fds must be as before. What
 * is checked until test_context_end() names the refusal.
 */
int host_refuse(const char *name, int (*deed)(void), unsigned int number, int error);

/*
 * For each of these errors, and each call of the host that a deed makes: `refuse` does the deed with host_refuse(), and
 * says whether there was such a call. How many there were.
 */
unsigned int host_refuse_each(bool (*refuse)(const void *deed, unsigned int number, int error), const void *deed);

/* Those to sweep with. Not ENOENT: that is what a host says of calls that are not there, and these are. */
#define HOST_ERRORS 11
extern const int host_errors[HOST_ERRORS];

const char *host_call_name(enum host_call call);

/* A system call past that layer: a value, or a negative errno; errno stays as it is. */
long raw_call(long nr, long a, long b, long c, long d, long e, long f);
#define raw_7(nr, a, b, c, d, e, f, ...)						\
	raw_call((long)(nr), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define raw(...) raw_7(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

/* Library and harness: no heap from now on (static form). */
void heap_is_closed(void);

#endif
