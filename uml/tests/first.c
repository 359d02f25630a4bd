// SPDX-License-Identifier: GPL-2.0-only
/*
 * first - a guest's first process, which outlives all that the host does to the others
 *
 *	first FILE PROGRAM [ARGUMENT...]
 *
 * Says "ready", runs the program once FILE exists, and runs it anew whenever it has ended, after the
 * end of all that it left behind. A shell does not do: it ends when a fork fails, as one does
 * whose stub the host kills at its start.
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
