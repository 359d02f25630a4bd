// SPDX-License-Identifier: GPL-2.0-only
#include "host.h"
#include "harness.h"
#include "syscall6.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif

/* Objects have hidden visibility, as the kernel's: this is for names that the shared library needs. */
#define EXPORTED __attribute__((visibility("default")))

struct kind {
	const char *name;
	_Atomic unsigned int count;
	_Atomic unsigned int first, last;	/* numbers of the calls that fail; 0: none */
	int error;
	_Atomic(host_hook) hook;
	void (*_Atomic before)(void);
	_Atomic unsigned int target, reached;	/* host_wait() */
};

#define KIND(call) [HOST_##call] = { .name = #call }
static struct kind kinds[HOST_CALLS] = {
	KIND(POLL), KIND(RECV), KIND(SEND), KIND(ID_VALID), KIND(SET_FLAGS), KIND(SIZES),
	KIND(FLAG), KIND(FILTER), KIND(PIDFD_OPEN), KIND(PIDFD_GETFD), KIND(PIDFD_SIGNAL),
	KIND(TGKILL), KIND(GETTID), KIND(FUTEX), KIND(OPENAT), KIND(READ), KIND(CLOSE),
	KIND(FCNTL), KIND(FSTAT), KIND(FSTATFS), KIND(MMAP), KIND(PRCTL), KIND(CLONE),
	KIND(WAITPID), KIND(TIMERFD_CREATE), KIND(TIMERFD_SETTIME), KIND(PTHREAD_CREATE),
	KIND(PTHREAD_JOIN),
	KIND(SIGACTION), KIND(PRLIMIT), KIND(GETAUXVAL), KIND(OTHER),
};

const int host_errors[HOST_ERRORS] = { EINTR, EPERM, ESRCH, EIO, EBADF, EAGAIN, ENOMEM, EMFILE,
				       EINVAL, ENOSYS, EINPROGRESS };

static _Thread_local unsigned int sweep_at, sweep_seen;
static _Thread_local int sweep_error;
static _Thread_local const char *sweep_hit;

static unsigned long (*next_getauxval)(unsigned long);
static int (*next_clone)(int (*)(void *), void *, int, void *, ...);
static int (*next_pthread_create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
static int (*next_pthread_join)(pthread_t, void **);
static int (*next_sigaction)(int, const struct sigaction *, struct sigaction *);

/* Early, since a thread with a filter may not be able to look names up. */
static void __attribute__((constructor)) find_next(void)
{
	*(void **)&next_getauxval = dlsym(RTLD_NEXT, "getauxval");
	*(void **)&next_clone = dlsym(RTLD_NEXT, "clone");
	*(void **)&next_pthread_create = dlsym(RTLD_NEXT, "pthread_create");
	*(void **)&next_pthread_join = dlsym(RTLD_NEXT, "pthread_join");
	*(void **)&next_sigaction = dlsym(RTLD_NEXT, "sigaction");
	if (!next_getauxval || !next_clone || !next_pthread_create || !next_pthread_join ||
	    !next_sigaction)
		abort();
}

long raw_call(long nr, long a, long b, long c, long d, long e, long f)
{
	return syscall6(nr, a, b, c, d, e, f);
}

void host_fail(enum host_call call, unsigned int first, unsigned int count, int error)
{
	struct kind *kind = &kinds[call];
	unsigned int seen = kind->count;

	kind->error = error;
	kind->last = count > UINT_MAX - seen - first ? UINT_MAX : seen + first + count - 1;
	kind->first = seen + first;
}

void host_hook_set(enum host_call call, host_hook hook)
{
	kinds[call].hook = hook;
}

void host_answer(enum host_call call, long result)
{
	host_fail(call, 1, UINT_MAX, (int)-result);
}

void host_before(enum host_call call, void (*act)(void))
{
	kinds[call].before = act;
}

static short found;

static bool find(const long *arg, long *result)
{
	((struct pollfd *)arg[0])->revents = found;
	*result = 1;
	return true;
}

void host_poll_finds(short events)
{
	found = events;
	host_hook_set(HOST_POLL, find);
}

static bool no_dispatch(const long *arg, long *result)
{
	*result = -EINVAL;
	return arg[0] == PR_SET_SYSCALL_USER_DISPATCH;
}

void host_without_dispatch(void)
{
	host_hook_set(HOST_PRCTL, no_dispatch);
}

void host_reset(void)
{
	int call;

	for (call = 0; call < HOST_CALLS; call++) {
		kinds[call].first = 0;
		kinds[call].hook = NULL;
		kinds[call].before = NULL;
	}
	sweep_at = 0;
}

unsigned int host_count(enum host_call call)
{
	return kinds[call].count;
}

void host_wait(enum host_call call, unsigned int target)
{
	struct kind *kind = &kinds[call];

	kind->reached = 0;
	kind->target = target;
	while (kind->count < target && !kind->reached)
		raw(SYS_futex, &kind->reached, FUTEX_WAIT, 0, 0);
	kind->target = 0;
}

static struct {
	pthread_t thread;
	int target;
	enum host_call call;
	unsigned int calls;
	void (*act)(void);
	atomic_bool stop;
} watcher;

static void *act_when_it_sleeps(void *argument)
{
	char path[64], buffer[512], *end;
	long len, fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", watcher.target);
	while (!watcher.stop) {
		raw(SYS_sched_yield);
		if (host_count(watcher.call) < watcher.calls)
			continue;
		fd = raw(SYS_open, path, O_RDONLY, 0);
		len = raw(SYS_read, fd, buffer, sizeof(buffer) - 1);
		raw(SYS_close, fd);
		buffer[len > 0 ? len : 0] = '\0';
		end = strrchr(buffer, ')');
		if (end && end[2] == 'S')
			watcher.act();
	}
	return argument;
}

void host_when_it_sleeps(enum host_call call, void (*act)(void))
{
	watcher.target = (int)raw(SYS_gettid);
	watcher.call = call;
	watcher.calls = host_count(call) + 1;
	watcher.act = act;
	watcher.stop = false;
	check_eq(next_pthread_create(&watcher.thread, NULL, act_when_it_sleeps, NULL), 0);
}

void host_no_more(void)
{
	watcher.stop = true;
	check_eq(next_pthread_join(watcher.thread, NULL), 0);
}

static void handle(int signal)
{
	(void)signal;
}

void host_interrupt(void)
{
	static const struct sigaction action = { .sa_handler = handle };

	next_sigaction(SIGUSR1, &action, NULL);
	raw(SYS_tgkill, raw(SYS_getpid), watcher.target, SIGUSR1);
}

void host_sweep(unsigned int number, int error)
{
	sweep_at = 0;
	if (!number)
		return;
	sweep_seen = 0;
	sweep_error = error;
	sweep_hit = NULL;
	sweep_at = number;
}

const char *host_swept(void)
{
	return sweep_hit;
}

#define ERRNO_BEFORE 4711

int host_refuse(const char *name, int (*deed)(void), unsigned int number, int error)
{
	int fds = open_fds(), ret, told;

	errno = ERRNO_BEFORE;
	host_sweep(number, error);
	ret = deed();
	told = errno;
	host_sweep(0, 0);
	test_context("%s, call %u (%s): %s, returned %d", name, number, sweep_hit ? sweep_hit : "none",
		     strerror(error), ret);
	check_eq(told, ERRNO_BEFORE);
	check_eq(open_fds(), fds);
	return ret;
}

unsigned int host_refuse_each(bool (*refuse)(const void *deed, unsigned int number, int error), const void *deed)
{
	unsigned int number, tried = 0;
	size_t i;

	for (i = 0; i < HOST_ERRORS; i++) {
		for (number = 1; refuse(deed, number, host_errors[i]); number++)
			tried++;
	}
	test_context_end();
	return tried;
}

const char *host_call_name(enum host_call call)
{
	return kinds[call].name;
}

/* Calls that release something, or end, fail on no host. */
static bool gives_back(enum host_call call)
{
	return call == HOST_CLOSE || call == HOST_WAITPID || call == HOST_PTHREAD_JOIN ||
	       call == HOST_OTHER || call == HOST_GETAUXVAL || call == HOST_FUTEX || call == HOST_GETTID ||
	       call == HOST_TGKILL;
}

/* Returns whether the layer answers itself; then `*result` is a value or a negative errno. */
static bool answered(enum host_call call, const long *arg, long *result)
{
	struct kind *kind = &kinds[call];
	unsigned int number = ++kind->count, target = kind->target, first = kind->first;
	host_hook hook;
	void (*before)(void) = kind->before;

	if (target && number >= target && !kind->reached) {
		kind->reached = 1;
		raw(SYS_futex, &kind->reached, FUTEX_WAKE, 1);
	}
	if (sweep_at && !gives_back(call) && ++sweep_seen == sweep_at) {
		sweep_hit = kind->name;
		*result = -sweep_error;
		return true;
	}
	if (first && number >= first && number <= kind->last) {
		*result = -kind->error;
		return true;
	}
	if (before)
		before();
	hook = kind->hook;
	return hook && hook(arg, result);
}

static long with_errno(long result)
{
	if (result < 0 && result > -4096) {
		errno = (int)-result;
		return -1;
	}
	return result;
}

static long ask(enum host_call call, long nr, const long *arg)
{
	long result;

	if (!answered(call, arg, &result))
		result = raw_call(nr, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
	return with_errno(result);
}

/* ---- the C library's functions that the library calls */

EXPORTED long syscall(long nr, ...)
{
	enum host_call call = HOST_OTHER;
	long arg[6];
	va_list list;
	int i;

	va_start(list, nr);
	for (i = 0; i < 6; i++)
		arg[i] = va_arg(list, long);
	va_end(list);

	switch (nr) {
	case SYS_seccomp:
		if (arg[0] == SECCOMP_GET_NOTIF_SIZES)
			call = HOST_SIZES;
		else
			call = arg[2] ? HOST_FILTER : HOST_FLAG;
		break;
	case SYS_pidfd_open:
		call = HOST_PIDFD_OPEN;
		break;
	case SYS_pidfd_getfd:
		call = HOST_PIDFD_GETFD;
		break;
	case SYS_pidfd_send_signal:
		call = HOST_PIDFD_SIGNAL;
		break;
	case SYS_tgkill:
		call = HOST_TGKILL;
		break;
	case SYS_gettid:
		call = HOST_GETTID;
		break;
	case SYS_futex:
		call = HOST_FUTEX;
		break;
	case SYS_prlimit64:
		call = HOST_PRLIMIT;
		break;
	}
	return ask(call, nr, arg);
}

EXPORTED int ioctl(int fd, unsigned long request, ...)
{
	enum host_call call = HOST_OTHER;
	long arg[6] = { fd, (long)request };
	va_list list;

	va_start(list, request);
	arg[2] = va_arg(list, long);
	va_end(list);

	if (request == SECCOMP_IOCTL_NOTIF_RECV)
		call = HOST_RECV;
	else if (request == SECCOMP_IOCTL_NOTIF_SEND)
		call = HOST_SEND;
	else if (request == SECCOMP_IOCTL_NOTIF_ID_VALID)
		call = HOST_ID_VALID;
	else if (request == SECCOMP_IOCTL_NOTIF_SET_FLAGS)
		call = HOST_SET_FLAGS;
	return (int)ask(call, SYS_ioctl, arg);
}

EXPORTED int poll(struct pollfd *fds, nfds_t count, int timeout)
{
	long arg[6] = { (long)fds, (long)count, timeout };

	return (int)ask(HOST_POLL, SYS_poll, arg);
}

EXPORTED int openat(int dir, const char *path, int flags, ...)
{
	long arg[6] = { dir, (long)path, flags };
	va_list list;

	va_start(list, flags);
	arg[3] = va_arg(list, int);
	va_end(list);
	return (int)ask(HOST_OPENAT, SYS_openat, arg);
}

EXPORTED ssize_t read(int fd, void *buffer, size_t size)
{
	long arg[6] = { fd, (long)buffer, (long)size };

	return ask(HOST_READ, SYS_read, arg);
}

EXPORTED int close(int fd)
{
	long arg[6] = { fd };

	return (int)ask(HOST_CLOSE, SYS_close, arg);
}

EXPORTED int fcntl(int fd, int command, ...)
{
	long arg[6] = { fd, command };
	va_list list;

	va_start(list, command);
	arg[2] = va_arg(list, long);
	va_end(list);
	return (int)ask(HOST_FCNTL, SYS_fcntl, arg);
}

EXPORTED int fstat(int fd, struct stat *out)
{
	long arg[6] = { fd, (long)out };

	return (int)ask(HOST_FSTAT, SYS_fstat, arg);
}

EXPORTED int fstatfs64(int fd, struct statfs64 *out)
{
	long arg[6] = { fd, (long)out };

	return (int)ask(HOST_FSTATFS, SYS_fstatfs, arg);
}

EXPORTED void *mmap(void *addr, size_t size, int prot, int flags, int fd, off_t offset)
{
	long arg[6] = { (long)addr, (long)size, prot, flags, fd, offset };

	return (void *)ask(HOST_MMAP, SYS_mmap, arg);
}

EXPORTED int prctl(int option, ...)
{
	long arg[6] = { option };
	va_list list;
	int i;

	va_start(list, option);
	for (i = 1; i < 5; i++)
		arg[i] = va_arg(list, long);
	va_end(list);
	return (int)ask(HOST_PRCTL, SYS_prctl, arg);
}

EXPORTED pid_t waitpid(pid_t pid, int *status, int options)
{
	long arg[6] = { pid, (long)status, options };

	return (pid_t)ask(HOST_WAITPID, SYS_wait4, arg);
}

EXPORTED int timerfd_create(int clock, int flags)
{
	long arg[6] = { clock, flags };

	return (int)ask(HOST_TIMERFD_CREATE, SYS_timerfd_create, arg);
}

EXPORTED int timerfd_settime(int fd, int flags, const struct itimerspec *new,
			     struct itimerspec *old)
{
	long arg[6] = { fd, flags, (long)new, (long)old };

	return (int)ask(HOST_TIMERFD_SETTIME, SYS_timerfd_settime, arg);
}

EXPORTED unsigned long getauxval(unsigned long type)
{
	long arg[6] = { (long)type }, result;

	if (!next_getauxval)
		*(void **)&next_getauxval = dlsym(RTLD_NEXT, "getauxval");
	if (type == AT_HWCAP2 && answered(HOST_GETAUXVAL, arg, &result))
		return (unsigned long)(result < 0 ? 0 : result);
	return next_getauxval(type);
}

EXPORTED int clone(int (*function)(void *), void *stack, int flags, void *argument, ...)
{
	long arg[6] = { (long)function, (long)stack, flags, (long)argument }, result;

	if (answered(HOST_CLONE, arg, &result))
		return (int)with_errno(result);
	return next_clone(function, stack, flags, argument);
}

EXPORTED int pthread_create(pthread_t *thread, const pthread_attr_t *attr,
			    void *(*function)(void *), void *argument)
{
	long arg[6] = { (long)thread, (long)attr, (long)function, (long)argument }, result;

	if (answered(HOST_PTHREAD_CREATE, arg, &result))
		return (int)-result;
	return next_pthread_create(thread, attr, function, argument);
}

EXPORTED int pthread_join(pthread_t thread, void **value)
{
	long arg[6] = { (long)thread, (long)value }, result;

	if (answered(HOST_PTHREAD_JOIN, arg, &result))
		return (int)-result;
	return next_pthread_join(thread, value);
}

EXPORTED int sigaction(int signal, const struct sigaction *new, struct sigaction *old)
{
	long arg[6] = { signal, (long)new, (long)old }, result;

	if (answered(HOST_SIGACTION, arg, &result))
		return (int)with_errno(result);
	return next_sigaction(signal, new, old);
}

/* ---- the heap, as UML wraps it; only the static form uses it */

static atomic_bool heap_closed;

void heap_is_closed(void)
{
	heap_closed = true;
}

void *__real_malloc(size_t size) __attribute__((weak));
void *__real_calloc(size_t count, size_t size) __attribute__((weak));
void __real_free(void *memory) __attribute__((weak));
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void __wrap_free(void *memory);

static void check_heap(const char *function)
{
	if (heap_closed)
		test_fail(__FILE__, __LINE__, "%s() after stubguard_init()", function);
}

void *__wrap_malloc(size_t size)
{
	check_heap("malloc");
	return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	check_heap("calloc");
	return __real_calloc(count, size);
}

void __wrap_free(void *memory)
{
	check_heap("free");
	__real_free(memory);
}
