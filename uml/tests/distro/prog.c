// SPDX-License-Identifier: GPL-2.0-only
/*
 * prog - a program to debug: calls, threads, a child, signals
 *
 *	prog [forever | wrong]
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

volatile int global;
const char *child_says = "child";
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static volatile sig_atomic_t signals;

static void on_signal(int sig)
{
	(void)sig;
	signals++;
}

__attribute__((noinline)) int leaf(int x)
{
	global += x;
	return x * 2;
}

__attribute__((noinline)) int branch(int x)
{
	return leaf(x + 1) + 1;
}

__attribute__((noinline)) int steps(int n)
{
	volatile int sum = 0;

	for (int i = 0; i < n; i++)
		sum += i ^ (sum << 1);
	return sum;
}

__attribute__((noinline)) void *thread(void *arg)
{
	for (int i = 0; i < 100; i++) {
		pthread_mutex_lock(&lock);
		global++;
		pthread_mutex_unlock(&lock);
	}
	return arg;
}

__attribute__((noinline)) void child(void)
{
	_exit((int)strlen(child_says));
}

int main(int argc, char **argv)
{
	pthread_t threads[3];
	int status = 0;
	pid_t pid;

	if (argc > 1 && !strcmp(argv[1], "wrong")) {
		char *volatile p = malloc(10);
		volatile char c = p[3];

		if (c)
			puts("unset");
		p[10] = 1;
		return 0;
	}
	printf("branch %d\n", branch(20));
	printf("steps %d\n", steps(1000));
	printf("parent %d\n", getppid() > 0);
	signal(SIGUSR1, on_signal);
	for (int i = 0; i < 3; i++)
		raise(SIGUSR1);
	printf("signals %d\n", (int)signals);
	for (int i = 0; i < 3; i++)
		if (pthread_create(&threads[i], NULL, thread, NULL))
			return 1;
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	printf("global %d\n", global);
	fflush(stdout);
	pid = fork();
	if (!pid)
		child();
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 1;
	printf("child %d\n", WEXITSTATUS(status));
	while (argc > 1 && !strcmp(argv[1], "forever"))
		sleep(1);
	return 0;
}
