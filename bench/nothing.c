// SPDX-License-Identifier: GPL-2.0-only
/* nothing - the program that rows execute, static or dynamic; with an argument it waits for the end of its input */
#include <unistd.h>

int main(int argc, char *argv[])
{
	char byte;

	(void)argv;
	return argc > 1 ? (int)read(0, &byte, 1) : 0;
}
