// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attacks on memory
 */
#include "hostile.h"

/* Frames beside a frame of the attacker, which are tried one by one. */
#define NEIGHBOURS	16

static unsigned int map_neighbours(uintptr_t page, const struct frame_grant *grant,
				   size_t *secrets, long *ret)
{
	unsigned int i, mapped = 0;

	for (i = 1; i <= NEIGHBOURS; i++) {
		*ret = host_mmap(page, PAGE, PROT_READ, grant->fd,
				 grant->offset + i * (long)PAGE);
		if (*ret != (long)page || !host_has(page))
			continue;
		mapped++;
		*secrets += scan_for_secret(page, PAGE);
	}
	return mapped;
}

/*
 * The attacker cannot get a second fd into a stub that parks. It can only use the
 * stub's calls with the fds that the stub may have.
 */

static uintptr_t forbidden;	/* PROT_NONE for the guest kernel */

static void check_forbidden(void)
{
	struct sigaction sa = { .sa_handler = probe_fault };

	sigaction(SIGSEGV, &sa, NULL);
	if (!readable(forbidden))
		return;
	scan_for_secret(forbidden, PAGE);
	conclude(BREACHED, "code+%#x mapped a foreign frame", shared->at);
}

static void need_control(void)
{
	if (!find_control())
		conclude(INCONCLUSIVE, "what the stub's code reads was not found");
}

static void foreign_frames_by_calls(void)
{
	size_t size = memory_size();
	uintptr_t page;
	long offset;

	need_control();
	page = reserve(size);
	mprotect((void *)page, size, PROT_NONE);
	forbidden = page;
	step("mapping all memory");
	map_everywhere(page, size, PROT_READ, 0, check_forbidden);
	step("mapping single foreign frames");
	offset = (long)control.entry[2];
	map_everywhere(page, PAGE, PROT_READ, offset + (long)PAGE, check_forbidden);
	map_everywhere(page, PAGE, PROT_READ, offset - (long)PAGE, check_forbidden);
	conclude(BLOCKED, "all memory and foreign frames by %u calls: nothing is mapped",
		 stub.nsites);
}

void foreign_frame(void)
{
	size_t size = memory_size(), secrets = 0;
	const char *whole, *single;
	struct frame_grant grant;
	unsigned int mapped;
	uintptr_t window;
	long ret;

	if (!find_report())
		foreign_frames_by_calls();
	prepare_theft();
	window = steal_fd_somewhere(size, &grant);
	step("mapping all memory with fd %d", grant.fd);
	ret = host_mmap(window, size, PROT_READ, grant.fd, 0);
	if (ret == (long)window && host_has(window + PAGE))
		conclude(BREACHED, "mapped all %zu MiB of memory, read the victim's secret in %zu frames",
			 size >> 20, scan_for_secret(window, size));
	whole = outcome(ret, window);
	set_verdict(BLOCKED, "took the memory fd; mmap of all memory: %s", whole);
	step("mapping single foreign frames with fd %d", grant.fd);
	mapped = map_neighbours(window, &grant, &secrets, &ret);
	if (mapped)
		conclude(BREACHED, "mapped %u foreign frames, %zu with the secret",
			 mapped, secrets);
	single = outcome(ret, window);
	conclude(BLOCKED, "took the memory fd; mmap of all memory: %s; of single foreign frames: %s",
		 whole, single);
}

/* Maps a page of the attacker with its own frame, and more. */
static void overrun_by_calls(void)
{
	size_t size = memory_size();
	uintptr_t page = 0;
	long offset = -1;
	int i;

	need_control();
	for (i = 0; i < STEAL_TRIES && offset < 0; i++) {
		page = reserve(size);
		*(volatile char *)page = 1;
		offset = queued_offset(page);
	}
	if (offset < 0)
		conclude(INCONCLUSIVE, "no batch tells where the page's frame is");
	forbidden = page + PAGE;
	mprotect((void *)forbidden, size - PAGE, PROT_NONE);
	size -= (size_t)offset;
	step("mapping %zu pages with the frame of one", size / PAGE);
	map_everywhere(page, size, PROT_READ | PROT_WRITE, offset, check_forbidden);
	conclude(BLOCKED, "%zu pages with the frame of one by %u calls: nothing is mapped",
		 size / PAGE, stub.nsites);
}

/* The long call comes first: it is the one that the monitor waits for. */
void length_overrun(void)
{
	size_t size = memory_size(), length = 0, secrets;
	struct frame_grant grant;
	const char *overrun;
	uintptr_t window;
	long ret;
	int i;

	if (!find_report())
		overrun_by_calls();
	prepare_theft();
	for (i = 0; i < STEAL_TRIES; i++) {
		window = steal_fd_somewhere(size, &grant);
		length = size - (size_t)grant.offset;
		step("mapping %zu pages with the frame of one", length / PAGE);
		ret = host_mmap(window, length, PROT_READ | PROT_WRITE,
				grant.fd, grant.offset);
		if (ret != (long)window || !host_has(window + PAGE)) {
			overrun = outcome(ret, window);
			set_verdict(BLOCKED, "%zu pages with the frame of one: %s",
				    length / PAGE, overrun);
			ret = host_mmap(window, PAGE, PROT_READ, grant.fd,
					grant.offset);
			conclude(BLOCKED, "%zu pages with the frame of one: %s; that one alone: %s",
				 length / PAGE, overrun, outcome(ret, window));
		}
		secrets = scan_for_secret(window + PAGE, length - PAGE);
		if (secrets)
			conclude(BREACHED, "mapped %zu frames behind one page, read the victim's secret in %zu of them",
				 length / PAGE - 1, secrets);
		host_call(SYS_close, grant.fd);
	}
	conclude(BREACHED, "mapped %zu frames behind one page, though none with the secret",
		 length / PAGE - 1);
}

/* wrong-prot: a page of a file that the attacker may only read */

static const char genuine[] = "written by the owner";
static const char altered[] = "written by attacker!";
static int owned_fd = -1;

void create_owned_file(void)
{
	owned_fd = memfd_create("owned", 0);
	if (owned_fd < 0 || ftruncate(owned_fd, PAGE) ||
	    pwrite(owned_fd, genuine, sizeof(genuine), 0) != sizeof(genuine))
		conclude(INCONCLUSIVE, "memfd: %s", strerror(errno));
}

static int reopen_read_only(int fd)
{
	char path[32];
	int ro;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY);
	if (ro < 0)
		conclude(INCONCLUSIVE, "%s: %s", path, strerror(errno));
	close(fd);
	return ro;
}

static void *map_read_only(int fd)
{
	void *page = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0);

	if (page == MAP_FAILED)
		conclude(INCONCLUSIVE, "mmap: %s", strerror(errno));
	return page;
}

static char *read_only;

static void check_read_only(void)
{
	struct sigaction sa = { .sa_handler = probe_fault };

	sigaction(SIGSEGV, &sa, NULL);
	if (!writable((uintptr_t)read_only))
		return;
	memcpy(read_only, altered, sizeof(altered));
	conclude(BREACHED, "wrote to a file that it could only read");
}

static uintptr_t taken;

static void check_taken(void)
{
	struct sigaction sa = { .sa_handler = probe_fault };

	sigaction(SIGSEGV, &sa, NULL);
	if (readable(taken))
		conclude(BREACHED, "read a page that mprotect() had taken");
}

static void wrong_prot_by_calls(int fd)
{
	static const int rights[] = { PROT_READ, PROT_READ | PROT_EXEC, PROT_READ | PROT_WRITE };
	long offset = -1;
	int i;

	need_control();
	for (i = 0; i < STEAL_TRIES && offset < 0; i++) {
		read_only = map_read_only(fd);
		(void)*(volatile char *)read_only;
		offset = queued_offset((uintptr_t)read_only);
	}
	if (offset < 0)
		conclude(INCONCLUSIVE, "no batch tells where the page's frame is");
	step("mapping a read-only page writable");
	map_everywhere((uintptr_t)read_only, PAGE, PROT_READ | PROT_WRITE, offset,
		       check_read_only);
	taken = reserve(PAGE);
	*(volatile char *)taken = 1;
	mprotect((void *)taken, PAGE, PROT_NONE);
	for (i = 0; i < (int)ARRAY_SIZE(rights); i++) {
		step("taking a page back from mprotect(), with rights %d", rights[i]);
		map_everywhere(taken, PAGE, rights[i], 0, check_taken);
	}
	conclude(BLOCKED, "the page writable by %u calls: it is not, and one without rights stays so",
		 stub.nsites);
}

void wrong_prot(void)
{
	int i, fd = reopen_read_only(owned_fd);
	struct sigaction sa = { .sa_handler = probe_fault };
	struct frame_grant grant;
	const char *rw;
	char *page = NULL;
	long ret;

	if (!find_report())
		wrong_prot_by_calls(fd);
	prepare_theft();
	for (i = 0; i < STEAL_TRIES; i++) {
		page = map_read_only(fd);
		if (steal_fd((uintptr_t)page, false, &grant))
			break;
	}
	if (i == STEAL_TRIES)
		conclude(BLOCKED, "the kernel did not hand out the memory fd in %d tries", i);
	step("mapping a read-only page writable");
	ret = host_mmap((uintptr_t)page, PAGE, PROT_READ | PROT_WRITE, grant.fd,
			grant.offset);
	if (ret != (long)page || !host_has((uintptr_t)page)) {
		rw = outcome(ret, (uintptr_t)page);
		set_verdict(BLOCKED, "the page writable: %s", rw);
		ret = host_mmap((uintptr_t)page, PAGE, PROT_READ, grant.fd,
				grant.offset);
		conclude(BLOCKED, "the page writable: %s; the page as it is: %s",
			 rw, outcome(ret, (uintptr_t)page));
	}
	host_call(SYS_close, grant.fd);
	sigaction(SIGSEGV, &sa, NULL);
	if (!writable((uintptr_t)page))
		conclude(BLOCKED, "the page is mapped, but not writable");
	memcpy(page, altered, sizeof(altered));
	conclude(BREACHED, "wrote to a file that it could only read");
}

void judge_owned_file(void)
{
	char seen[sizeof(genuine)] = "";

	if (pread(owned_fd, seen, sizeof(seen), 0) != sizeof(seen))
		set_verdict(INCONCLUSIVE, "pread: %s", strerror(errno));
	else if (!memcmp(seen, altered, sizeof(seen)))
		set_verdict(BREACHED, "wrote to a file that it could only read: its owner sees \"%s\"",
			    seen);
	else if (shared->kind == BREACHED)
		set_verdict(INCONCLUSIVE, "mapped writable, but its owner sees no change");
}

/*
 * Without its data pages the stub's signal handler cannot run: the next signal
 * ends the process. What it has stored before remains.
 */
struct unmap {
	uintptr_t site, addr, length;
};

static void try_unmap(void *arg)
{
	const struct unmap *u = arg;

	limit_child();
	host_call_at(u->site, SYS_munmap,
		     (const long[6]){ (long)u->addr, (long)u->length });
	shared->counter++;
	_exit(0);
}

/*
 * No stub runs on without its pages. If a child comes back, the call has not
 * unmapped them; otherwise the filter or the call has ended it.
 */
static void munmap_by_calls(void)
{
	struct unmap u;
	unsigned int s, n = 0;
	size_t i;

	need_control();
	for (s = 0; s < stub.nsites; s++) {
		const struct unmap tries[] = {
			{ 0, stub.code, PAGE }, { 0, stub.data, PAGE },
			{ 0, stub.end - PAGE, PAGE }, { 0, stub.code - PAGE, 2 * PAGE },
			{ 0, 0, stub.end }, { 0, PAGE, -PAGE },
			{ 0, stub.code, 1UL << 32 }, { 0, 1UL << 46, 1UL << 46 },
			{ 0, stub.data, -stub.data }, { 0, stub.data, UINT64_MAX },
		};

		for (i = 0; i < ARRAY_SIZE(tries); i++, n++) {
			u = tries[i];
			u.site = stub.site[s];
			step("unmapping %#lx bytes at %#lx", u.length, u.addr);
			in_child(try_unmap, &u);
		}
	}
	conclude(BLOCKED, "%u munmaps of the stub's pages: %lu came back, the others died of it",
		 n, shared->counter);
}

void munmap_stub(void)
{
	uintptr_t page;
	long ret = 0;

	if (!find_report())
		munmap_by_calls();
	(void)site_for(SYS_munmap);
	block_ticks();
	for (page = stub.data; page < stub.end; page += PAGE) {
		step("unmapping the stub's data page %#lx", page);
		ret = answered_call(SYS_munmap, (long)page, PAGE);
		if (ret == 0)
			break;
	}
	if (page == stub.end)
		conclude(BLOCKED, "munmap of each of the stub's %lu data pages: %s",
			 (stub.end - stub.data) / PAGE, strerrordesc_np((int)-ret));
	set_verdict(BREACHED, "munmap of the stub's data page answered 0, and the process was lost");
	(void)*(volatile char *)page;
	conclude(INCONCLUSIVE, "munmap answered 0, but the page is still there");
}
