/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Each test runs in a process and a process group of its own, for a limited time. All processes that
 * it leaves behind are killed. Results are TAP.
 */

#ifndef HARNESS_H
#define HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

struct test {
	const char *name;
	void (*run)(void);
	void (*cleanup)(int pid);	/* in the runner, when all processes of the test are gone */
};

#define TEST(function) { #function, function, NULL }
#define TEST_CLEANUP(function, cleanup) { #function, function, cleanup }
/* A test with a name that calls a function which several tests share. */
#define CASE(name, ...) static void name(void) { __VA_ARGS__; }
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* `argv[1]`: runs only tests whose name contains it. */
int harness_main(int argc, char **argv, const struct test *tests, size_t count);

#define HARNESS_MAIN(tests)							\
	int main(int argc, char **argv)						\
	{									\
		return harness_main(argc, argv, tests, COUNT(tests));		\
	}

/* Ends the test: failed, or skipped with a reason. */
_Noreturn void test_fail(const char *file, int line, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
_Noreturn void test_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Names the round of a loop, for the message of a failed check; NULL ends that. */
void test_context(const char *format, ...) __attribute__((format(printf, 1, 2)));
void test_context_end(void);

/* Runs the block behind it in a process of its own, which must succeed. */
#define APART for (; test_forks(); _exit(0))
/* True in the new process; false in the test, after the new process has ended. */
bool test_forks(void);

#define check(condition)							\
	do {									\
		if (!(condition))						\
			test_fail(__FILE__, __LINE__, "%s", #condition);	\
	} while (0)

#define check_op(left, op, right)						\
	do {									\
		long long left_ = (long long)(left), right_ = (long long)(right);	\
		if (!(left_ op right_))						\
			test_fail(__FILE__, __LINE__,				\
				  "%s " #op " %s: it is %lld (%#llx), not %lld (%#llx)",	\
				  #left, #right, left_, (unsigned long long)left_,	\
				  right_, (unsigned long long)right_);		\
	} while (0)

#define check_eq(left, right) check_op(left, ==, right)

/* What tests need of /proc, without the library. */
int open_fds(void);
int mappings(void);

#endif
