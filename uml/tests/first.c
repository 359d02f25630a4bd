// SPDX-License-Identifier: GPL-2.0-only
/*
 * first - a guest's first process, which survives what disturb.py does to the other ones
 *
 *	first FILE PROGRAM [ARGUMENT...]
 *
 * Says "ready", runs the program once FILE exists, and runs it again whenever it and all of its children have
 * ended. A shell cannot do that: it ends when a fork fails, and a fork fails if the host kills the new stub.
 */
#include <err.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOMENT	10000	/* microseconds */

static void run(char **program)
{
	pid_t pid, ended;

	while ((pid = fork()) < 0)
		usleep(MOMENT);
	if (pid == 0) {
		execv(program[0], program);
		err(127, "%s", program[0]);
	}
	/* Orphans end here too. */
	do
		ended = wait(NULL);
	while (ended != pid);
	kill(-1, SIGKILL);
	while (wait(NULL) > 0)
		;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		errx(2, "usage: %s FILE PROGRAM [ARGUMENT...]", argv[0]);
	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("ready");
	while (access(argv[1], F_OK))
		usleep(MOMENT);
	for (;;) {
		run(argv + 2);
		puts("result first started again");
	}
}
