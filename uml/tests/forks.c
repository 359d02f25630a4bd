// SPDX-License-Identifier: GPL-2.0-only
/*
 * forks - makes processes until no more can be made, ends them, and makes one more
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MANY 1000

static pid_t pids[MANY];

static pid_t fork_one(void)
{
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

int main(void)
{
	int n = 0, error;
	pid_t pid;

	while (n < MANY && (pids[n] = fork_one()) > 0)
		n++;
	error = n < MANY ? errno : 0;
	for (int i = 0; i < n; i++)
		end(pids[i]);

	pid = fork_one();
	printf("%d processes, then: %s, then: %s\n", n, strerror(error), pid > 0 ? "a process" : strerror(errno));
	if (pid > 0)
		end(pid);
	return 0;
}
