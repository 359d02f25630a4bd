// SPDX-License-Identifier: GPL-2.0-only
/*
 * audit - stops all other tasks of the guest, takes a snapshot of the page tables, and waits for the host's verdict
 *
 *	audit [-f | -s] DIR
 *
 * The snapshot goes to DIR, a folder of the host. uml/audit.py answers by a file `verdict`, which this program prints.
 * Needs root, /proc and a writable $TMPDIR. The first line is "audit: ok ...", "audit: FAILED ..." or
 * "audit: skipped ...". Returns 0, 1 if there is a violation, 2 if there was no verdict.
 *
 * The cgroup freezer stops the tasks if there is one. Otherwise SIGSTOP does, which parents and tracers may notice:
 * with -f the look is skipped then. With -s SIGSTOP does always: where systemd runs, no task may leave its control group.
 * Tasks that were stopped before stay stopped.
 *
 * Kernel threads still run, and may cause a violation for a moment. Only violations in several looks count.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TABLES		"/proc/stubguard_audit"
#define MAX_TASKS	32768
#define PATIENCE	3000	/* times 20 ms, until all tasks stand still */
#define LOOKS		4

static char mnt[256], group[256], path[7][300];
enum { REHEARSED, PART, SNAPSHOT, VERDICT, ROOT, PROCS, EVENTS };

/* By SIGSTOP, or moved to the control group */
static pid_t stopped[MAX_TASKS];
static int stopped_count;
static char busy[400];
static bool frozen;

static void nap(void)
{
	static const struct timespec slice = { .tv_nsec = 20 * 1000 * 1000 };

	nanosleep(&slice, NULL);
}

static long long seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

static int write_file(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY), ret;

	if (fd < 0)
		return -1;
	ret = write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -1;
	close(fd);
	return ret;
}

static bool read_file(const char *name, char *text, size_t size)
{
	int fd = open(name, O_RDONLY);
	ssize_t len;

	if (fd < 0)
		return false;
	len = read(fd, text, size - 1);
	close(fd);
	text[len > 0 ? len : 0] = '\0';
	return len > 0;
}

/* PF_IO_WORKER and PF_USER_WORKER: a thread that never leaves the kernel */
#define WORKER	0x4010

/* The state of a task and whether it may run in userspace, from its stat file */
static char state_of(const char *stat_file, bool *user)
{
	char text[1024], *at;
	unsigned long vsize = 0;
	unsigned int flags;
	char state = 'X';

	*user = false;
	if (!read_file(stat_file, text, sizeof(text)))
		return state;
	at = strrchr(text, ')');
	if (!at || sscanf(at + 1, " %c %*d %*d %*d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %*u %lu",
			  &state, &flags, &vsize) != 3)
		return 'X';
	*user = vsize != 0 && !(flags & WORKER);
	return state;
}

/* Does the task stand still? One in `D` waits in the kernel, for a child of its vfork() say. */
static bool is_quiet(char state, bool may_sleep)
{
	return strchr(may_sleep ? "TtZXDSI" : "TtZXDI", state);
}

/* Calls what() for each process but this one and the first */
static void for_processes(void (*what)(pid_t pid))
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		pid_t pid = atoi(entry->d_name);

		if (pid > 1 && pid != getpid())
			what(pid);
	}
	if (dir)
		closedir(dir);
}

static void look_at(pid_t pid)
{
	char name[64];
	struct dirent *entry;
	DIR *dir;
	bool user;

	snprintf(name, sizeof(name), "/proc/%d/task", pid);
	dir = opendir(name);
	while (dir && (entry = readdir(dir))) {
		char stat_file[400], state;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(stat_file, sizeof(stat_file), "/proc/%d/task/%s/stat", pid, entry->d_name);
		state = state_of(stat_file, &user);
		if (user && !is_quiet(state, frozen || pid == 1))
			snprintf(busy, sizeof(busy), "task %s does not stop, its state is %c", entry->d_name, state);
	}
	if (dir)
		closedir(dir);
}

static void stop_one(pid_t pid)
{
	char name[64];
	bool user;
	char state;
	int i = 0;

	snprintf(name, sizeof(name), "/proc/%d/stat", pid);
	state = state_of(name, &user);
	if (!user || strchr("TtZX", state))
		return;
	for (i = 0; i < stopped_count; i++)
		if (stopped[i] == pid)
			return;
	if (stopped_count < MAX_TASKS && kill(pid, SIGSTOP) == 0)
		stopped[stopped_count++] = pid;
}

static void move_one(pid_t pid)
{
	char name[64], text[16];
	bool user;
	int i;

	/* A move takes long. Children are in their parent's group */
	for (i = 0; i < stopped_count; i++)
		if (stopped[i] == pid)
			return;
	snprintf(name, sizeof(name), "/proc/%d/stat", pid);
	if (strchr("ZX", state_of(name, &user)) || !user)
		return;
	snprintf(text, sizeof(text), "%d", pid);
	if (write_file(path[PROCS], text) == 0 && stopped_count < MAX_TASKS)
		stopped[stopped_count++] = pid;
}

static void prepare_freezer(void)
{
	char name[300];
	FILE *list;
	pid_t pid;

	if (mkdir(group, 0700) != 0 || mount("none", group, "cgroup2", 0, "favordynmods") != 0)
		return;
	snprintf(name, sizeof(name), "%s/audited", group);
	mkdir(name, 0700);
	snprintf(path[ROOT], sizeof(path[0]), "%s/cgroup.procs", group);
	snprintf(path[PROCS], sizeof(path[0]), "%s/audited/cgroup.procs", group);
	snprintf(path[EVENTS], sizeof(path[0]), "%s/audited/cgroup.events", group);
	/* After an earlier look this process's parent, and so this process, may be in the group */
	write_file(path[ROOT], "0");
	snprintf(name, sizeof(name), "%s/audited/cgroup.freeze", group);
	frozen = write_file(name, "1") == 0;

	list = frozen ? fopen(path[PROCS], "r") : NULL;
	while (list && stopped_count < MAX_TASKS && fscanf(list, "%d", &pid) == 1)
		stopped[stopped_count++] = pid;
	if (list)
		fclose(list);
}

/* Return: whether all are stopped; otherwise `busy` names a task that is not */
static bool stop_others(void)
{
	char text[256];
	int i, quiet = 0;

	for (i = 0; i < PATIENCE; i++) {
		for_processes(frozen ? move_one : stop_one);
		busy[0] = '\0';
		for_processes(look_at);
		/* The first process is not stopped, but it may be told that its children are */
		look_at(1);
		if (frozen && read_file(path[EVENTS], text, sizeof(text)) && !strstr(text, "frozen 1") &&
		    strstr(text, "populated 1"))
			strcpy(busy, "the freezer has not done");
		quiet = busy[0] ? 0 : quiet + 1;
		if (quiet == 3)
			return true;
		nap();
	}
	return false;
}

/* Tasks stay in the group, as a move takes long: the next look has to move only new ones */
static void let_go(void)
{
	char name[300];

	while (!frozen && stopped_count)
		kill(stopped[--stopped_count], SIGCONT);
	if (frozen) {
		snprintf(name, sizeof(name), "%s/audited/cgroup.freeze", group);
		write_file(name, "0");
	}
	umount2(group, MNT_DETACH);
	rmdir(group);
}

/*
 * The tables do not pass through this process's memory, which is audited, too. A rehearsal has touched all pages that
 * it needs until the verdict is there.
 */
static int take(const char *to)
{
	int in = open(TABLES, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600), ret = -1;
	ssize_t sent = -1;

	if (in >= 0 && out >= 0)
		do {
			sent = sendfile(out, in, NULL, 1 << 20);
		} while (sent > 0);
	if (sent == 0 && fsync(out) == 0)
		ret = 0;
	close(in);
	close(out);
	return ret;
}

static bool await(int tries)
{
	while (access(path[VERDICT], R_OK) != 0) {
		if (tries-- <= 0)
			return false;
		nap();
	}
	return true;
}

/* One look. Return: why there is no verdict, or NULL with the verdict in `verdict` */
static const char *look(char *verdict, size_t size)
{
	const char *text = NULL;

	if (take(path[PART]) != 0 || rename(path[PART], path[SNAPSHOT]) != 0)
		text = "cannot write the snapshot";
	else if (!await(6000))
		text = "no verdict; does uml/audit.py run on the host?";
	else if (!read_file(path[VERDICT], verdict, size))
		text = "cannot read the verdict";
	unlink(path[SNAPSHOT]);
	unlink(path[VERDICT]);
	return text;
}

int main(int argc, char **argv)
{
	const char *tmp = getenv("TMPDIR"), *text = NULL;
	bool only_freezer = argc == 3 && strcmp(argv[1], "-f") == 0;
	bool only_signals = argc == 3 && strcmp(argv[1], "-s") == 0;
	const char *dir = argv[argc - 1];
	long long start = seconds();
	static char verdict[65536];
	bool ok = false;
	int i = 0;

	setvbuf(stdout, NULL, _IOFBF, 0);
	if (argc != (only_freezer || only_signals ? 3 : 2) || dir[0] != '/' || !tmp)
		return 2;
	if (access(TABLES, R_OK) != 0) {
		printf("audit: skipped, this kernel has no %s\n", TABLES);
		return 0;
	}
	snprintf(mnt, sizeof(mnt), "%s/audit.host", tmp);
	snprintf(group, sizeof(group), "%s/audit.cgroup", tmp);
	snprintf(path[REHEARSED], sizeof(path[0]), "%s/rehearsed", mnt);
	snprintf(path[PART], sizeof(path[0]), "%s/snapshot.part", mnt);
	snprintf(path[SNAPSHOT], sizeof(path[0]), "%s/snapshot", mnt);
	snprintf(path[VERDICT], sizeof(path[0]), "%s/verdict", mnt);
	/* One auditor at a time; it may stop a waiting one */
	snprintf(busy, sizeof(busy), "%s/audit.lock", tmp);
	if (flock(open(busy, O_RDWR | O_CREAT | O_CLOEXEC, 0600), LOCK_EX) != 0) {
		printf("audit: FAILED, cannot lock %s: %s\n", busy, strerror(errno));
		return 2;
	}
	if ((mkdir(mnt, 0700) != 0 && errno != EEXIST) || mount("none", mnt, "hostfs", 0, dir) != 0) {
		printf("audit: FAILED, cannot mount %s: %s\n", dir, strerror(errno));
		return 2;
	}
	if (!only_signals)
		prepare_freezer();
	if (only_freezer && !frozen) {
		printf("audit: skipped, this kernel has no freezer\n");
		ok = true;
	} else if (!stop_others()) {
		text = busy;
	} else {
		mlockall(MCL_CURRENT | MCL_FUTURE);
		if (take(path[PART]) != 0 || rename(path[PART], path[REHEARSED]) != 0 || await(1))
			text = "cannot write the snapshot";
		unlink(path[REHEARSED]);
		for (i = 0; !text && !ok && i < LOOKS; i++) {
			text = look(verdict, sizeof(verdict));
			ok = !text && strncmp(verdict, "audit: ok", 9) == 0;
		}
	}
	let_go();
	umount2(mnt, MNT_DETACH);
	rmdir(mnt);

	if (text)
		printf("audit: FAILED, %s\n", text);
	else if (verdict[0])
		printf("%saudit-time %lld s, %d looks, others stopped by %s\n", verdict, seconds() - start, i,
		       frozen ? "the freezer" : "SIGSTOP");
	fflush(stdout);
	return text ? 2 : !ok;
}
