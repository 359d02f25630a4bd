/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The layer between the library and the host: the library calls the C library by name, and host.c
 * defines these names. Unless a test says otherwise, a call goes to the host as it is.
 *
 * The harness itself calls the host by raw(), which is not counted and cannot be made to fail.
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
 * Runs in place of a call, on the thread that makes it. Returns true if `*result` (a value or a
 * negative errno) is the answer, false if the call shall go to the host.
 */
typedef bool (*host_hook)(const long *arg, long *result);

/* `count` calls of that kind fail, from number `first` on (1: the next one). */
void host_fail(enum host_call call, unsigned int first, unsigned int count, int error);
void host_hook_set(enum host_call call, host_hook hook);
/* All calls of that kind return this: a value, or a negative errno. */
void host_answer(enum host_call call, long result);
/* Runs before each call of that kind. */
void host_before(enum host_call call, void (*act)(void));
/* poll() always finds these events of the first fd. */
void host_poll_finds(short events);
/* The host has no PR_SET_SYSCALL_USER_DISPATCH. */
void host_without_dispatch(void);
/* Undoes all of these; the counts stay. */
void host_reset(void);

unsigned int host_count(enum host_call call);
/* Sleeps until there have been `target` calls of that kind. */
void host_wait(enum host_call call, unsigned int target);

/*
 * Another thread runs `act` whenever this thread sleeps: from this thread's next call of that kind on, until
 * host_no_more(). There is no event for that, so the other thread polls.
 */
void host_when_it_sleeps(enum host_call call, void (*act)(void));
void host_no_more(void);
/* An `act`: sends SIGUSR1, whose handler does nothing and has no SA_RESTART. */
void host_interrupt(void);

/*
 * The `number`th call of this thread from now on fails; 0: none. Calls that release something do not
 * count. host_swept() names that call, or returns NULL if there was none.
 */
void host_sweep(unsigned int number, int error);
const char *host_swept(void);

/*
 * Runs `deed`, called `name`, with such a refusal, and returns its result. errno and the open fds must be as before.
 * Failed checks name the refusal until test_context_end().
 */
int host_refuse(const char *name, int (*deed)(void), unsigned int number, int error);

/*
 * Calls `refuse` for each of these errors, and each host call of a deed. `refuse` runs the deed by host_refuse(), and
 * returns whether there was such a call. Returns how many there were.
 */
unsigned int host_refuse_each(bool (*refuse)(const void *deed, unsigned int number, int error), const void *deed);

/* The errors to sweep with. Not ENOENT, by which a host says that a notification is gone. */
#define HOST_ERRORS 11
extern const int host_errors[HOST_ERRORS];

const char *host_call_name(enum host_call call);

/* A system call past the layer: a value, or a negative errno; errno stays as it is. */
long raw_call(long nr, long a, long b, long c, long d, long e, long f);
#define raw_7(nr, a, b, c, d, e, f, ...)						\
	raw_call((long)(nr), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define raw(...) raw_7(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

/* Neither library nor harness may use the heap from now on (static form). */
void heap_is_closed(void);

#endif
