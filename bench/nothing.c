// SPDX-License-Identifier: GPL-2.0-only
/* nothing - the program that is executed, static or dynamic; with an argument it stays until its input ends */
#include <unistd.h>

int main(int argc, char *argv[])
{
	char byte;

	(void)argv;
	return argc > 1 ? (int)read(0, &byte, 1) : 0;
}
