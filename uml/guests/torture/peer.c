// SPDX-License-Identifier: GPL-2.0-only
/*
 * One process reads and writes another process's memory.
 */
#include "torture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PICKS	12

/* Picks pages of which a forked child has a copy, each at most once */
static unsigned int pick(struct worker *w, unsigned int *picks, bool write)
{
	unsigned int n = 0, tries, k;

	for (tries = 0; tries < 64 && n < PICKS; tries++) {
		int i = page_for(w, write);
		struct page *p;

		if (i < 0)
			break;
		p = &w->page[i];
		for (k = 0; k < n && picks[k] != (unsigned int)i; k++)
			;
		if (k < n || p->kind == SHARED || (p->flags & OF_VMA) ||
		    (p->kind == PRIVATE && !(p->flags & COPIED)))
			continue;
		picks[n++] = i;
	}
	return n;
}

/* process_vm_writev() and process_vm_readv(), from parent to child, and from child to parent */
bool peer_vm(struct worker *w)
{
	unsigned int down[PICKS], up[PICKS], downs, ups, k;
	uint64_t down_tags[PICKS], up_tags[PICKS];
	int go[2], ready[2];
	struct iovec near, far;
	pid_t pid, parent = getpid();
	bool done = true;
	ssize_t n;
	char c;

	if (over_budget(w, 2 * PICKS) || pipe2(go, O_CLOEXEC))
		return false;
	if (pipe2(ready, O_CLOEXEC))
		fail(w, "pipe: %s", strerror(errno));
	downs = pick(w, down, true);
	ups = pick(w, up, true);
	for (k = 0; k < PICKS; k++) {
		down_tags[k] = new_tag(w);
		up_tags[k] = new_tag(w);
	}
	say(w, "process_vm_*: %u pages to a child, %u from it", downs, ups);
	pid = fork_worker(w);
	if (pid == 0) {
		close(ready[0]);
		close(go[1]);
		/* Touch some of the pages that are written later */
		for (k = 0; k < downs; k += 2)
			check_one(w, down[k]);
		if (write(ready[1], "r", 1) != 1 || read(go[0], &c, 1) != 1)
			_exit(0);
		for (k = 0; k < downs; k++) {
			want_page(w, address(w, down[k]), down_tags[k], false, "written by the parent's process_vm_writev()");
			wrote(w, &w->page[down[k]], down_tags[k]);
		}
		for (k = 0; k < ups; k++) {
			fill_page(w->buffer, up_tags[k]);
			near = (struct iovec){ w->buffer, PAGE };
			far = (struct iovec){ address(w, up[k]), PAGE };
			n = process_vm_writev(parent, &near, 1, &far, 1, 0);
			if (n < 0 && (errno == EPERM || errno == ENOSYS))
				_exit(0);
			if (n != PAGE)
				fail(w, "process_vm_writev() to the parent's page %p: %zd, %s", far.iov_base, n,
				     strerror(errno));
			memset(w->buffer, 0xcc, PAGE);
			if (process_vm_readv(parent, &near, 1, &far, 1, 0) != PAGE)
				fail(w, "process_vm_readv() of the parent's page %p: %s", far.iov_base, strerror(errno));
			want_same(w, far.iov_base, w->buffer, up_tags[k], false, "read by process_vm_readv()");
			check_one(w, up[k]);
		}
		if (write(ready[1], "u", 1) != 1)
			_exit(1);
		_exit(0);
	}
	close(ready[1]);
	close(go[0]);
	if (pid < 0) {
		done = false;
		goto out;
	}
	if (read(ready[0], &c, 1) != 1)
		goto wait;
	for (k = 0; k < downs; k++) {
		near = (struct iovec){ w->buffer, PAGE };
		far = (struct iovec){ address(w, down[k]), PAGE };
		n = process_vm_readv(pid, &near, 1, &far, 1, 0);
		if (n < 0 && (errno == ENOSYS || errno == EPERM)) {
			note(8, "no process_vm_readv");
			done = false;
			goto wait;
		}
		if (n != PAGE)
			fail(w, "process_vm_readv() of the child's page %p: %zd, %s", far.iov_base, n, strerror(errno));
		want_same(w, far.iov_base, w->buffer, tag_of(w, &w->page[down[k]]), false, "the child's page");
		fill_page(w->buffer, down_tags[k]);
		if (process_vm_writev(pid, &near, 1, &far, 1, 0) != PAGE)
			fail(w, "process_vm_writev() to the child's page %p: %s", far.iov_base, strerror(errno));
		check_one(w, down[k]);
	}
	if (write(go[1], "g", 1) != 1 || read(ready[0], &c, 1) != 1)
		goto wait;
	for (k = 0; k < ups; k++) {
		wrote(w, &w->page[up[k]], up_tags[k]);
		check_one(w, up[k]);
	}
	close(go[1]);
	go[1] = -1;
wait:
	if (go[1] >= 0)
		close(go[1]);
	go[1] = -1;
	reap(w, pid, "process_vm_*");
out:
	if (go[1] >= 0)
		close(go[1]);
	close(ready[0]);
	return done;
}

/* Writes a traced child's memory word by word, also where the child may not write. */
bool peer_trace(struct worker *w)
{
	unsigned int picks[PICKS], words[PICKS], n, k, i;
	uint64_t values[PICKS];
	int status;
	pid_t pid;

	if (over_budget(w, PICKS))
		return false;
	n = pick(w, picks, false);
	for (k = 0; k < n; k++) {
		words[k] = below(w, WORDS);
		values[k] = new_tag(w);
	}
	say(w, "ptrace: %u words of a child", n);
	pid = fork_worker(w);
	if (pid < 0)
		return false;
	if (pid == 0) {
		for (k = 0; k < n; k += 2)
			check_one(w, picks[k]);
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
			_exit(0);
		kill(getpid(), SIGSTOP);
		for (k = 0; k < n; k++) {
			volatile uint64_t *at = (void *)address(w, picks[k]);

			for (i = 0; i < WORDS; i++) {
				uint64_t word = i == words[k] ? values[k] : word_of(tag_of(w, &w->page[picks[k]]), i);

				if (at[i] != word)
					fail(w, "poked by ptrace: page %p, word %u is %#llx, expected %#llx%s", (void *)at, i,
					     (unsigned long long)at[i], (unsigned long long)word,
					     i == words[k] ? ", the one poked" : "");
			}
		}
		_exit(0);
	}
	while (waitpid(pid, &status, 0) != pid)
		if (errno != EINTR)
			fail(w, "waitpid: %s", strerror(errno));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		note(9, "no ptrace");
		return false;
	}
	if (!WIFSTOPPED(status))
		fail(w, "ptrace: the child ended with status %#x", status);
	for (k = 0; k < n; k++) {
		uint64_t *at = (uint64_t *)address(w, picks[k]) + words[k], found;
		uint64_t word = word_of(tag_of(w, &w->page[picks[k]]), words[k]);

		errno = 0;
		found = ptrace(PTRACE_PEEKDATA, pid, at, NULL);
		if (errno)
			fail(w, "PTRACE_PEEKDATA at %p: %s", (void *)at, strerror(errno));
		if (found != word)
			fail(w, "PTRACE_PEEKDATA at %p: %#llx, expected %#llx", (void *)at, (unsigned long long)found,
			     (unsigned long long)word);
		if (ptrace(PTRACE_POKEDATA, pid, at, values[k]))
			fail(w, "PTRACE_POKEDATA at %p: %s", (void *)at, strerror(errno));
		found = ptrace(PTRACE_PEEKDATA, pid, at, NULL);
		if (found != values[k])
			fail(w, "PTRACE_PEEKDATA at %p: %#llx, expected %#llx, which was poked", (void *)at,
			     (unsigned long long)found, (unsigned long long)values[k]);
		check_one(w, picks[k]);
	}
	if (one_in(w, 8)) {
		kill(pid, SIGKILL);
		while (waitpid(pid, &status, 0) != pid)
			if (errno != EINTR)
				fail(w, "waitpid: %s", strerror(errno));
		return true;
	}
	if (ptrace(PTRACE_CONT, pid, NULL, NULL))
		fail(w, "PTRACE_CONT: %s", strerror(errno));
	reap(w, pid, "ptrace");
	for (k = 0; k < n; k++)
		check_one(w, picks[k]);
	return true;
}

/* Accesses its own memory through /proc/self/mem, also where loads and stores fault */
bool peer_mem(struct worker *w)
{
	unsigned int i, tries;
	struct page *p = NULL;
	uint64_t tag;
	uint8_t *at;
	ssize_t n;
	int fd;

	for (tries = 0; tries < 64; tries++) {
		i = below(w, ARENA_PAGES);
		p = &w->page[i];
		if ((p->kind == ANON || p->kind == PRIVATE) && !(p->flags & (GUARD | LAZY)) &&
		    (p->kind == ANON || p->index < w->file[p->file].pages))
			break;
	}
	if (tries == 64 || over_budget(w, 1))
		return false;
	fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		note(10, "no /proc/self/mem");
		return false;
	}
	say(w, "/proc/self/mem page %u (kind %u, prot %u)", i, p->kind, p->prot);
	at = address(w, i);
	memset(w->buffer, 0xdd, PAGE);
	n = pread(fd, w->buffer, PAGE, (off_t)at);
	if (n != PAGE && (p->prot & PROT_READ))
		fail(w, "read of /proc/self/mem at %p: %zd, %s", (void *)at, n, strerror(errno));
	if (n == PAGE)
		want_same(w, at, w->buffer, tag_of(w, p), false, "read from /proc/self/mem");
	tag = new_tag(w);
	fill_page(w->buffer, tag);
	n = pwrite(fd, w->buffer, PAGE, (off_t)at);
	if (n == PAGE)
		wrote(w, p, tag);
	else if (p->prot & PROT_WRITE)
		fail(w, "write to /proc/self/mem at %p: %zd, %s", (void *)at, n, strerror(errno));
	close(fd);
	check_one(w, i);
	return n == PAGE;
}
