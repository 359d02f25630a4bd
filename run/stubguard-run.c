// SPDX-License-Identifier: GPL-2.0-only
/*
 * stubguard-run: runs a command in a guest of a guarded User Mode Linux, as an
 * ordinary user. options.c reads what is wanted, sandbox.c starts the kernel in
 * namespaces of its own, session.c passes the command's streams, init.c is the
 * guest's first process. stubguard-run.1 says what a user has to know.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "run.h"

static void say(const char *format, va_list ap)
{
	fputs("stubguard-run: ", stderr);
	vfprintf(stderr, format, ap);
	fputc('\n', stderr);
}

void warn(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	say(format, ap);
	va_end(ap);
}

void die(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	say(format, ap);
	va_end(ap);
	exit(STATUS_TROUBLE);
}

void *must(void *memory)
{
	if (!memory)
		die("no memory");
	return memory;
}

int main(int argc, char **argv)
{
	static struct options options;
	struct guest guest;
	int fd, status;

	/* The fds below 3 are the command's, closed or not. */
	do
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (fd >= 0 && fd < 3 && fcntl(fd, F_SETFD, 0) == 0);
	if (fd >= 3)
		close(fd);
	signal(SIGPIPE, SIG_IGN);
	read_options(argc, argv, &options);
	start_guest(&options, &guest);
	status = pass_session(&options, &guest);
	return status;
}
