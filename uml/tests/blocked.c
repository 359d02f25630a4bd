// SPDX-License-Identifier: GPL-2.0-only
/*
 * blocked - checks what /proc/PID/syscall shows of a process that is blocked in a call
 *
 * Says "a blocked read as it should be", or what is wrong, with exit status 1.
 */
#define _GNU_SOURCE
#include <err.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int fds[2];
static uintptr_t *seen;	/* the child's stack pointer and the address behind its call */

/* Stores what /proc must show, and makes the call. */
static void block(void)
{
	long ret;

	asm volatile("mov %%rsp, (%1)\n"
		     "lea 1f(%%rip), %%rax\n"
		     "mov %%rax, 8(%1)\n"
		     "xor %%eax, %%eax\n"	/* read */
		     "syscall\n"
		     "1:"
		     : "=&a" (ret)
		     : "r" (seen), "D" (fds[0]), "S" (seen + 2), "d" (1)
		     : "rcx", "r11", "memory");
}

/* Waits until it sleeps; returns what the file then says. */
static const char *look(pid_t pid)
{
	static char line[256];
	char name[64];
	FILE *file;

	snprintf(name, sizeof(name), "/proc/%d/syscall", pid);
	do {
		usleep(10000);
		file = fopen(name, "r");
		if (!file || !fgets(line, sizeof(line), file))
			err(1, "%s", name);
		fclose(file);
	} while (!strncmp(line, "running", 7));
	return line;
}

int main(void)
{
	unsigned long args[6], sp, ip;
	const char *line;
	long nr;
	pid_t pid;

	seen = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (seen == MAP_FAILED || pipe(fds))
		err(1, "no memory, or no pipe");
	pid = fork();
	if (pid == 0) {
		block();
		_exit(0);
	}
	/* Before the call it may sleep in a page fault. */
	do
		line = look(pid);
	while (!seen[1] || sscanf(line, "%ld %lx %lx %lx %lx %lx %lx %lx %lx", &nr, &args[0],
				  &args[1], &args[2], &args[3], &args[4], &args[5], &sp, &ip) != 9);
	if (nr != SYS_read || args[0] != (unsigned long)fds[0] ||
	    args[1] != (unsigned long)(seen + 2) || args[2] != 1)
		errx(1, "another call: %s", line);
	if (ip != seen[1])
		errx(1, "its address is %#lx, not %#lx", ip, seen[1]);
	/* The kernel may show an earlier stack pointer, of the same stack. */
	if (sp < seen[0] - 65536 || sp > seen[0] + 65536)
		errx(1, "its stack pointer is %#lx, not about %#lx", sp, seen[0]);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	puts("a blocked read as it should be");
	return 0;
}
