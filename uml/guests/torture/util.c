// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random numbers, the contents of pages, probes that may fault, and the report of a failure.
 */
#include "torture.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ucontext.h>
#include <sys/wait.h>
#include <unistd.h>

__thread struct worker *self;

uint64_t next_random(struct worker *w)
{
	uint64_t z = w->random += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

unsigned int below(struct worker *w, unsigned int n)
{
	return (unsigned int)((next_random(w) >> 32) * n >> 32);
}

/*
 * All words of a page come from its tag: 16 bits mark tags, 16 bits are the owner, 32 bits are a
 * number that the owner uses once.
 */
#define MAGIC	0x7a65ULL

uint64_t new_tag(struct worker *w)
{
	return MAGIC << 48 | (uint64_t)(w->who & 0xffff) << 32 | ++w->serial;
}

uint64_t word_of(uint64_t tag, unsigned int i)
{
	return tag ? tag ^ i * 0x9e3779b97f4a7c15ULL : 0;
}

/* Has @who ever written this word as word @i of a page? */
bool is_of(uint64_t word, unsigned int i, uint32_t who)
{
	return (word ^ i * 0x9e3779b97f4a7c15ULL) >> 32 == (MAGIC << 16 | who);
}

void fill_page(void *at, uint64_t tag)
{
	volatile uint64_t *p = at;
	unsigned int i;

	for (i = 0; i < WORDS; i++)
		p[i] = word_of(tag, i);
}

/* Adds a line to the log of the worker's last operations */
void say(struct worker *w, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vsnprintf(w->log[w->lines++ % LOG_LINES], LOG_WIDTH, format, list);
	va_end(list);
}

static void put(const char *text, size_t len)
{
	while (len) {
		ssize_t n = write(STDOUT_FILENO, text, len);

		if (n <= 0)
			return;
		text += n;
		len -= n;
	}
}

/* Reports a failure, once for all processes, and ends this one. */
void fail(struct worker *w, const char *format, ...)
{
	static char text[LOG_LINES * LOG_WIDTH * 2];
	const size_t room = sizeof(text) - 1;
	unsigned int line;
	va_list list;
	size_t n;

	if (atomic_exchange(&control->failed, 1))
		_exit(1);
	n = snprintf(text, room, "torture: FAIL: seed %llu, process %u, thread %u, %u forks deep, operation %llu: ",
		     (unsigned long long)seed, w->process, w->thread, w->depth, (unsigned long long)w->done);
	va_start(list, format);
	n += vsnprintf(text + n, room - n, format, list);
	va_end(list);
	n += snprintf(text + n, room - n, "\ntorture: the last operations, newest at the end:\n");
	for (line = w->lines > LOG_LINES ? w->lines - LOG_LINES : 0; line < w->lines && n < room; line++)
		n += snprintf(text + n, room - n, "  %s\n", w->log[line % LOG_LINES]);
	put(text, n < room ? n : room);
	atomic_store(&control->stop, 1);
	_exit(1);
}

/* Says once what this kernel lacks. */
void note(unsigned int bit, const char *text)
{
	char line[160];
	int n;

	if (atomic_fetch_or(&control->notes, 1U << bit) & 1U << bit)
		return;
	n = snprintf(line, sizeof(line), "torture: note: %s\n", text);
	put(line, n);
}

static const char *meaning(char *text, size_t room, uint64_t word, unsigned int i)
{
	uint64_t tag = word ^ i * 0x9e3779b97f4a7c15ULL;
	uint32_t who = tag >> 32 & 0xffff;

	if (!word)
		snprintf(text, room, "zero");
	else if (tag >> 48 != MAGIC)
		snprintf(text, room, "%#llx, nobody's tag", (unsigned long long)word);
	else if (who == 0xffff)
		snprintf(text, room, "FOREIGN: number %u of the filler of free frames", (uint32_t)tag);
	else
		snprintf(text, room, "number %u of owner %#x", (uint32_t)tag, who);
	return text;
}

/*
 * @copy must have the contents of a page with this tag. @lazy: or zeros from some word on, since the kernel may
 * reclaim the page at any time. @at: its address in a report.
 */
void want_same(struct worker *w, const void *at, const void *copy, uint64_t tag, bool lazy, const char *what)
{
	const volatile uint64_t *p = copy;
	char expected[80], found[80];
	bool gone = false;
	unsigned int i;

	for (i = 0; i < WORDS; i++) {
		uint64_t word = p[i];

		if (!gone && word == word_of(tag, i))
			continue;
		if (word == 0 && (lazy || gone)) {
			gone = true;
			continue;
		}
		fail(w, "%s: page %p, word %u: expected %s%s, found %s (I am owner %#x)", what, at, i,
		     meaning(expected, sizeof(expected), word_of(tag, i), i), lazy ? " or zero" : "",
		     meaning(found, sizeof(found), word, i), w->who);
	}
}

void want_page(struct worker *w, const void *at, uint64_t tag, bool lazy, const char *what)
{
	uint64_t word = 0;
	int sig = probe_load(at, &word);

	if (sig)
		fail(w, "%s: page %p cannot be read: signal %d", what, at, sig);
	want_same(w, at, at, tag, lazy, what);
}

/* A load must fault. */
void want_fault(struct worker *w, void *at, int sig, const char *what)
{
	char found[80];
	uint64_t word = 0;
	int got = probe_load(at, &word);

	if (!got)
		fail(w, "%s: page %p can be read, expected signal %d, found %s (I am owner %#x)", what, at, sig,
		     meaning(found, sizeof(found), word, 0), w->who);
	if (got != sig)
		fail(w, "%s: page %p: a load gives signal %d, expected %d", what, at, got, sig);
}

/*
 * Loads and stores of one word that may fault: 0, or the signal. The handler knows them by the
 * addresses of their instructions, so they need no state in any thread or task.
 */
asm(".text\n"
    ".globl probe_load, probe_store, probe_load_at, probe_store_at, probe_out\n"
    "probe_load:\n"
    "	xor	%eax, %eax\n"
    "probe_load_at:\n"
    "	mov	(%rdi), %rdx\n"
    "	mov	%rdx, (%rsi)\n"
    "	ret\n"
    "probe_store:\n"
    "	xor	%eax, %eax\n"
    "probe_store_at:\n"
    "	mov	%rsi, (%rdi)\n"
    "probe_out:\n"
    "	ret\n");
extern const char probe_load_at[], probe_store_at[], probe_out[];

static void on_fault(int sig, siginfo_t *info, void *context)
{
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;

	if (regs[REG_RIP] != (greg_t)probe_load_at && regs[REG_RIP] != (greg_t)probe_store_at) {
		if (!self)
			_exit(1);
		fail(self, "signal %d (code %d) at ip %#llx, address %p", sig, info->si_code,
		     (unsigned long long)regs[REG_RIP], info->si_addr);
	}
	if (info->si_addr != (void *)regs[REG_RDI] && self)
		fail(self, "a fault at %#llx is told as one at %p", (unsigned long long)regs[REG_RDI], info->si_addr);
	regs[REG_RAX] = sig;
	regs[REG_RIP] = (greg_t)probe_out;
}

void catch_faults(void)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER };

	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGILL, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* Waits for a child, which must succeed. */
void reap(struct worker *w, pid_t pid, const char *what)
{
	int status;

	while (waitpid(pid, &status, 0) != pid)
		if (errno != EINTR)
			fail(w, "%s: waitpid: %s", what, strerror(errno));
	if (status)
		fail(w, "%s: the child %d ended with status %#x", what, pid, status);
}

/* Forks a child with the worker's memory, other random numbers and other tags. */
pid_t fork_worker(struct worker *w)
{
	uint64_t random = next_random(w);
	pid_t parent = getpid(), pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	self = w;
	w->random = random;
	w->who = 0x8000 | (uint32_t)(random % 0x7ff0);
	w->depth++;
	say(w, "-- forked, I am owner %#x", w->who);
	ring_forget(w);
	return 0;
}
