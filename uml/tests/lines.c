// SPDX-License-Identifier: GPL-2.0-only
/*
 * lines - a guest process for lines.sh
 *
 *	lines spin		says its pid, and computes until it is killed
 *	lines protect PAGES	says its pid, and makes PAGES used pages read-only
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	size_t size;
	char *memory;

	printf("pid %d\n", getpid());
	fflush(stdout);
	if (argc == 2 && strcmp(argv[1], "spin") == 0)
		for (;;)
			asm volatile("pause");
	if (argc != 3 || strcmp(argv[1], "protect") != 0)
		return 2;

	size = (size_t)atoi(argv[2]) * 4096;
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return 2;
	memset(memory, 1, size);
	return mprotect(memory, size, PROT_READ) != 0 || memory[0] != 1;
}
