// SPDX-License-Identifier: GPL-2.0-only
/*
 * forks [FOLDER COUNT] - makes processes until fork fails, ends them, and makes one more
 *
 * After the first fork it opens the files 1 to COUNT of the folder: each host file is a host fd of UML.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MANY 1000
#define FEW 10

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

static void open_files(const char *folder, int count)
{
	char path[PATH_MAX];

	for (int i = 1; i <= count; i++) {
		snprintf(path, sizeof(path), "%s/%d", folder, i);
		open(path, O_RDONLY);
	}
}

int main(int argc, char **argv)
{
	int n = 0, files = argc == 3 ? atoi(argv[2]) : 0, error;
	pid_t pid;

	while (n < MANY && (pids[n] = fork_one()) > 0)
		if (n++ == FEW)
			open_files(argv[1], files);
	error = n < MANY ? errno : 0;
	for (int i = 0; i < n; i++)
		end(pids[i]);
	closefrom(3);

	pid = fork_one();
	printf("%d processes, then: %s, then: %s\n", n, strerror(error), pid > 0 ? "a process" : strerror(errno));
	if (pid > 0)
		end(pid);
	return 0;
}
