// SPDX-License-Identifier: GPL-2.0-only
/*
 * Starts the guest's kernel in namespaces of its own: it sees the root and the
 * folders that the user has chosen, read-only but for those of --rw, its own
 * processes, and no network. It has no capability. So the kernel, and who
 * takes it over, can do less on the host than the user can. As the kernel's
 * processes are in a PID namespace, the end of its first process ends them all,
 * and the namespace's files are in memory: nothing can stay.
 *
 * What the kernel's process sees:
 *
 *	/linux /init	the kernel, the guest's first process
 *	/guest		the guest's root (hostfs), without /proc, /sys, /dev, /run
 *	/share/N	folders of --ro and --rw
 *	/image		the file of --image
 *	/dev		null, zero, random, urandom
 *	/proc		of its own PID namespace, read-only
 *	/tmp		the guest's memory
 *	/usr /lib /lib64	if the kernel is linked with shared libraries
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "run.h"
#include "wire.h"

/* <sys/mount.h> cannot be used together with <linux/mount.h> on all hosts. */
#define MOUNT_DETACH	2

#define NOT_SPECIAL	(MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
#define WIRE_FD		3
#define SLOTS_FD	4
#define REPORT_FD	5
#define GO_FD		6

/* Of the root these are the guest's own, or hold sockets of the host's daemons. */
static const char *const never_shown[] = { "/proc", "/sys", "/dev", "/run" };
static const char *const devices[] = { "null", "zero", "random", "urandom" };

static int report_fd = -1;

/* In the child: tells the parent what went wrong, and ends. */
static _Noreturn __attribute__((format(printf, 1, 2))) void fail(const char *format, ...)
{
	int error = errno;
	va_list ap;

	va_start(ap, format);
	vdprintf(report_fd, format, ap);
	va_end(ap);
	if (error)
		dprintf(report_fd, ": %s", strerror(error));
	_exit(STATUS_TROUBLE);
}

/* ---- mounts */

static int open_tree_of(const char *path, int recursive, unsigned long long flags)
{
	struct mount_attr attr = { .attr_set = flags };
	int fd = syscall(SYS_open_tree, AT_FDCWD, path,
			 OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (recursive ? AT_RECURSIVE : 0));

	if (fd < 0)
		fail("cannot show %s to the guest", path);
	if (flags && syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &attr,
			     sizeof(attr)))
		fail("cannot protect %s (it needs Linux 5.12)", path);
	return fd;
}

static void attach(int tree, const char *path)
{
	if (syscall(SYS_move_mount, tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH))
		fail("cannot mount %s in the sandbox", path);
	close(tree);
}

/* A new file system in memory, or /proc, that is mounted nowhere yet. */
static int new_mount(const char *type, const char *size, unsigned long long flags)
{
	int mount, fs = syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);

	if (fs < 0)
		fail("cannot make a %s", type);
	if (size && syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "size", size, 0))
		fail("cannot make a %s of size %s", type, size);
	if (syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		fail("cannot make a %s", type);
	mount = syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, flags);
	if (mount < 0)
		fail("cannot mount a %s", type);
	close(fs);
	return mount;
}

static void folder(const char *path)
{
	if (mkdir(path, 0755))
		fail("cannot make %s in the sandbox", path);
}

static void file(const char *path)
{
	int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);

	if (fd < 0)
		fail("cannot make %s in the sandbox", path);
	close(fd);
}

static void attach_file(int tree, const char *path)
{
	file(path);
	attach(tree, path);
}

static void attach_folder(int tree, const char *path)
{
	folder(path);
	attach(tree, path);
}

/* Covers a file or a folder of the root. A link is followed as in the guest, so what it leads to is covered. */
static void hide(const char *path, int must_be_there)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
	int root = open("/guest", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int target = syscall(SYS_openat2, root, path, &how, sizeof(how));
	struct stat st;
	int cover;

	close(root);
	if (target < 0 && (errno == ENOENT || errno == ENOTDIR) && !must_be_there)
		return;
	if (target < 0 || fstat(target, &st))
		fail("cannot hide %s", path);
	if (S_ISDIR(st.st_mode))
		cover = new_mount("tmpfs", "4k", MOUNT_ATTR_RDONLY | NOT_SPECIAL);
	else
		cover = open_tree_of("/empty", 0, MOUNT_ATTR_RDONLY | NOT_SPECIAL);
	if (syscall(SYS_move_mount, cover, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH))
		fail("cannot hide %s", path);
	close(cover);
	close(target);
}

/* Mounts the new root at a folder that every host has, then makes it the root. */
static void change_root(void)
{
	static const char *const places[] = { "/tmp", "/proc", "/dev", "/usr" };
	int root = new_mount("tmpfs", "1m", NOT_SPECIAL);
	unsigned int i;

	for (i = 0; i < sizeof(places) / sizeof(*places); i++)
		if (!syscall(SYS_move_mount, root, "", AT_FDCWD, places[i], MOVE_MOUNT_F_EMPTY_PATH))
			break;
	/* The old root is below the new one now, until it is detached. */
	if (i == sizeof(places) / sizeof(*places) || fchdir(root) || syscall(SYS_pivot_root, ".", "."))
		fail("cannot change the root");
	close(root);
}

/* Does the kernel need shared libraries? A 64-bit ELF file with an interpreter. */
static int is_dynamic(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), dynamic = 0;
	Elf64_Ehdr head;
	Elf64_Phdr part;
	unsigned int i;

	if (fd < 0)
		return 0;
	if (pread(fd, &head, sizeof(head), 0) == sizeof(head) && !memcmp(head.e_ident, ELFMAG, SELFMAG) &&
	    head.e_ident[EI_CLASS] == ELFCLASS64)
		for (i = 0; i < head.e_phnum && !dynamic; i++)
			dynamic = pread(fd, &part, sizeof(part), head.e_phoff + i * sizeof(part)) == sizeof(part) &&
				  part.p_type == PT_INTERP;
	close(fd);
	return dynamic;
}

/* Where shared libraries are: /usr, and what leads there or is beside it. */
static const char *const library_places[] = { "/usr", "/lib", "/lib64" };

struct place {
	int tree;		/* a folder, if it is not -1 */
	char link[256];		/* or a link to there, if it is not "" */
};

static void look_for_libraries(struct place *places)
{
	struct stat st;
	unsigned int i;
	ssize_t n;

	for (i = 0; i < 3; i++) {
		if (lstat(library_places[i], &st))
			continue;
		if (S_ISDIR(st.st_mode)) {
			places[i].tree = open_tree_of(library_places[i], 1, MOUNT_ATTR_RDONLY | NOT_SPECIAL);
			continue;
		}
		n = readlink(library_places[i], places[i].link, sizeof(places[i].link) - 1);
		places[i].link[n > 0 ? n : 0] = 0;
	}
}

static void show_libraries(const struct place *places)
{
	unsigned int i;

	for (i = 0; i < 3; i++) {
		if (places[i].tree >= 0)
			attach_folder(places[i].tree, library_places[i]);
		else if (*places[i].link && symlink(places[i].link, library_places[i]))
			fail("cannot make %s in the sandbox", library_places[i]);
	}
}

static void make_sandbox(const struct options *o)
{
	struct place libraries[3] = { { -1, "" }, { -1, "" }, { -1, "" } };
	struct mount_attr private = { .propagation = 1 << 18 /* MS_PRIVATE */ };
	struct mount_attr read_only = { .attr_set = MOUNT_ATTR_RDONLY };
	int trees[MAX_LIST], nodes[4], root = -1, kernel, init, image = -1, fd;
	char path[64], memory[32];
	unsigned int i;

	/* Nothing that is mounted here shows elsewhere. */
	if (syscall(SYS_mount_setattr, AT_FDCWD, "/", AT_RECURSIVE, &private, sizeof(private)))
		fail("cannot keep mounts apart (it needs Linux 5.12 and namespaces, see SANDBOX in the manual)");
	kernel = open_tree_of(o->kernel, 0, MOUNT_ATTR_RDONLY | NOT_SPECIAL);
	init = open_tree_of(o->init, 0, MOUNT_ATTR_RDONLY | NOT_SPECIAL);
	if (o->root)
		root = open_tree_of(o->root, 1, MOUNT_ATTR_RDONLY | NOT_SPECIAL);
	if (o->image)
		image = open_tree_of(o->image, 0, MOUNT_ATTR_RDONLY | NOT_SPECIAL);
	for (i = 0; i < o->share_count; i++)
		trees[i] = open_tree_of(o->shares[i].source, 1,
					NOT_SPECIAL | (o->shares[i].writable ? 0 : MOUNT_ATTR_RDONLY));
	if (is_dynamic(o->kernel))
		look_for_libraries(libraries);
	for (i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "/dev/%s", devices[i]);
		nodes[i] = open_tree_of(path, 0, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
	}
	change_root();
	umask(022);
	/* The host allows a new /proc as long as there is one that shows all: before the old root goes. */
	attach_folder(new_mount("proc", NULL, NOT_SPECIAL | MOUNT_ATTR_NOEXEC), "/proc");
	if (syscall(SYS_umount2, ".", MOUNT_DETACH) || chdir("/"))
		fail("cannot leave the old root");
	snprintf(memory, sizeof(memory), "%lum", o->mem + 64);
	attach_folder(new_mount("tmpfs", memory, NOT_SPECIAL), "/tmp");
	attach_file(kernel, "/linux");
	attach_file(init, "/init");
	show_libraries(libraries);
	folder("/dev");
	for (i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "/dev/%s", devices[i]);
		attach_file(nodes[i], path);
	}
	folder("/share");
	for (i = 0; i < o->share_count; i++) {
		snprintf(path, sizeof(path), "/share/%u", i);
		attach_folder(trees[i], path);
	}
	file("/empty");
	if (o->image)
		attach_file(image, "/image");
	if (o->root) {
		attach_folder(root, "/guest");
		for (i = 0; i < sizeof(never_shown) / sizeof(*never_shown); i++)
			hide(never_shown[i], 0);
		for (i = 0; i < o->hidden_count; i++)
			hide(o->hidden[i], 1);
	}
	/* Who takes the kernel over makes no namespaces below these, where he would have capabilities again. */
	fd = open("/proc/sys/user/max_user_namespaces", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0", 1) != 1)
		fail("cannot forbid user namespaces");
	close(fd);
	if (syscall(SYS_mount_setattr, AT_FDCWD, "/proc", 0, &read_only, sizeof(read_only)) ||
	    syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, &read_only, sizeof(read_only)))
		fail("cannot make the sandbox read-only");
}

/* ---- identities */

/*
 * Identities are the same inside and outside. Root maps all that it has; an
 * ordinary user may map himself only, so files of others seem to be nobody's.
 */
static void describe_ids(const char *kind, unsigned int id, char *text, size_t size)
{
	unsigned int from, count;
	size_t used = 0;
	char path[32];
	FILE *f;

	snprintf(text, size, "%u %u 1\n", id, id);
	if (geteuid())
		return;
	snprintf(path, sizeof(path), "/proc/self/%s", kind);
	f = fopen(path, "re");
	if (!f)
		return;
	while (used + 40 < size && fscanf(f, "%u %*u %u", &from, &count) == 2)
		used += snprintf(text + used, size - used, "%u %u %u\n", from, from, count);
	fclose(f);
}

static int write_of(pid_t pid, const char *name, const char *text)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = write(fd, text, strlen(text));
	close(fd);
	return n == (ssize_t)strlen(text) ? 0 : -1;
}

/* Maps the identities of a new namespace. The host asks for that from a process outside of it. */
static int map_ids(pid_t pid)
{
	char uids[1024], gids[1024];

	describe_ids("uid_map", getuid(), uids, sizeof(uids));
	describe_ids("gid_map", getgid(), gids, sizeof(gids));
	if (geteuid() && write_of(pid, "setgroups", "deny"))
		return -1;
	return write_of(pid, "uid_map", uids) ?: write_of(pid, "gid_map", gids);
}

static void drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { 0 };
	int i;

	for (i = 0; i < 64; i++)
		if (prctl(PR_CAPBSET_DROP, i, 0, 0, 0) && errno != EINVAL)
			fail("cannot drop capabilities");
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) || syscall(SYS_capset, &header, none) ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		fail("cannot drop capabilities");
}

/* ---- the kernel */

const char *root_path(const struct options *o)
{
	return o->sandbox ? "guest" : o->root + 1;
}

const char *share_path(const struct options *o, unsigned int number)
{
	static char path[32];

	if (!o->sandbox)
		return o->shares[number].source + 1;
	snprintf(path, sizeof(path), "share/%u", number);
	return path;
}

static _Noreturn void run_kernel(const struct options *o)
{
	const struct rlimit no_core = { 0, 0 };
	char mem[32], cpus[32], mode[32], wire[32], slots[48], *init = NULL, *image = NULL;
	char *uml_dir = o->sandbox ? "uml_dir=/tmp/" : "uml_dir=/nowhere/";
	char *envp[] = { o->sandbox ? "TMPDIR=/tmp" : "TMPDIR=/dev/shm", "HOME=/tmp", "PATH=/nowhere", NULL };
	sigset_t none;

	snprintf(mem, sizeof(mem), "mem=%luM", o->mem);
	snprintf(cpus, sizeof(cpus), "ncpus=%lu", o->cpus);
	snprintf(mode, sizeof(mode), "stubguard=%s", o->mode);
	snprintf(wire, sizeof(wire), "con1=fd:%d", WIRE_FD);
	snprintf(slots, sizeof(slots), "ubd1rdc=/proc/self/fd/%d", SLOTS_FD);
	/*
	 * Without "d" a file could say that it is a copy of another one, which
	 * the kernel would open. Without an image there is no disk, else the
	 * kernel looks for a file root_fs.
	 */
	if (asprintf(&init, "init=%s", o->sandbox ? "/init" : o->init) < 0 ||
	    asprintf(&image, "ubd0rd=%s", !o->image ? "/dev/null" : o->sandbox ? "/image" : o->image) < 0)
		fail("no memory");

	char *argv[] = {
		"linux", mem, cpus, mode, wire, slots, image, init, uml_dir, "umid=guest", "seccomp=on",
		"con=null", "con0=null,fd:2",
		/* No time is spent on finding out how fast the processor is: nothing here waits by counting. */
		"lpj=5000000", "rootfstype=hostfs", "rootflags=/", "ro", NULL,
	};

	setrlimit(RLIMIT_CORE, &no_core);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	execve(o->sandbox ? "/linux" : o->kernel, argv, envp);
	fail("cannot start the kernel %s", o->kernel);
}

/* The kernel's fds: 0 to 2, the wire and the slots. Two others stay until it is started. */
static void arrange_fds(int wire, int log, int slots, int report, int go)
{
	int *const fds[] = { &wire, &log, &slots, &report, &go };
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	unsigned int i;

	report_fd = report;
	/* First above those that they replace. */
	for (i = 0; i < sizeof(fds) / sizeof(*fds); i++) {
		*fds[i] = fcntl(*fds[i], F_DUPFD_CLOEXEC, GO_FD + 1);
		if (*fds[i] < 0)
			fail("too few files may be open (ulimit -n)");
	}
	report_fd = report;
	if (null < 0 || dup2(null, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0 || dup2(wire, WIRE_FD) < 0 ||
	    dup2(slots, SLOTS_FD) < 0 || dup3(report, REPORT_FD, O_CLOEXEC) < 0 || dup3(go, GO_FD, O_CLOEXEC) < 0)
		fail("too few files may be open (ulimit -n)");
	report_fd = REPORT_FD;
	if (syscall(SYS_close_range, GO_FD + 1, ~0U, 0))
		fail("cannot close files (it needs Linux 5.9)");
}

/* The first process of the PID namespace: waits for the kernel, and for what that leaves behind. */
static _Noreturn void watch_kernel(pid_t kernel)
{
	int status;
	pid_t pid;

	/* The wire and the log end with the kernel. */
	syscall(SYS_close_range, 0, ~0U, 0);
	do
		pid = waitpid(-1, &status, 0);
	while (pid != kernel && (pid > 0 || errno == EINTR));
	_exit(pid == kernel && WIFEXITED(status) ? WEXITSTATUS(status) : STATUS_TROUBLE);
}

static _Noreturn void child_in_sandbox(const struct options *o)
{
	pid_t kernel;
	char c;

	/* Until then it is nobody. */
	if (read(GO_FD, &c, 1) != 1)
		_exit(STATUS_TROUBLE);
	if (syscall(SYS_setresgid, getgid(), getgid(), getgid()) ||
	    syscall(SYS_setresuid, getuid(), getuid(), getuid()))
		fail("cannot take the user's identity");
	make_sandbox(o);
	drop_capabilities();
	kernel = fork();
	if (kernel < 0)
		fail("cannot start a process");
	if (kernel == 0)
		run_kernel(o);
	watch_kernel(kernel);
}

/* Reads what went wrong before the kernel was started, if anything did: the other end is closed then. */
static int wait_for_report(int report, char *text, size_t size)
{
	ssize_t n;

	do
		n = read(report, text, size - 1);
	while (n < 0 && errno == EINTR);
	close(report);
	if (n <= 0)
		return 0;
	text[n] = 0;
	return 1;
}

void start_guest(const struct options *o, struct guest *g)
{
	const unsigned long namespaces = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC |
					 CLONE_NEWUTS;
	int wire[2], log[2], report[2], go[2], slots;
	char text[1024];
	ssize_t n;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, wire) || pipe2(log, O_CLOEXEC) ||
	    pipe2(report, O_CLOEXEC) || pipe2(go, O_CLOEXEC))
		die("no pipe: %s", strerror(errno));
	slots = memfd_create("input", MFD_CLOEXEC);
	if (slots < 0 || ftruncate(slots, WIRE_SLOTS * WIRE_SLOT))
		die("no memory for the input: %s", strerror(errno));
	g->slots = mmap(NULL, WIRE_SLOTS * WIRE_SLOT, PROT_READ | PROT_WRITE, MAP_SHARED, slots, 0);
	if (g->slots == MAP_FAILED)
		die("no memory for the input: %s", strerror(errno));
	/* Without namespaces, what the kernel leaves behind becomes ours to kill. */
	if (!o->sandbox && prctl(PR_SET_CHILD_SUBREAPER, 1))
		die("prctl: %s", strerror(errno));
	g->pid = syscall(SYS_clone, SIGCHLD | (o->sandbox ? namespaces : 0), NULL, NULL, NULL, NULL);
	if (g->pid < 0)
		die("the host lets you make no namespaces (%s): see SANDBOX in the manual",
		    strerror(errno));
	if (g->pid == 0) {
		/* Whoever kills stubguard-run kills the guest. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(go[1]);
		arrange_fds(wire[1], log[1], slots, report[1], go[0]);
		if (o->sandbox)
			child_in_sandbox(o);
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		run_kernel(o);
	}
	close(wire[1]);
	close(log[1]);
	close(report[1]);
	close(go[0]);
	close(slots);
	n = o->sandbox && map_ids(g->pid) ? errno : 0;
	if (n) {
		snprintf(text, sizeof(text), "the host lets you map no user in a namespace (%s): see SANDBOX in the manual",
			 strerror(n));
		/* If the child has ended by itself, it says why. */
		kill(g->pid, SIGKILL);
		wait_for_report(report[0], text, sizeof(text));
		die("%s", text);
	}
	n = o->sandbox ? write(go[1], "", 1) : 1;
	close(go[1]);
	if (wait_for_report(report[0], text, sizeof(text))) {
		kill(g->pid, SIGKILL);
		die("%s", text);
	}
	if (n != 1)
		die("the sandbox has ended");
	g->wire = wire[0];
	g->log = log[0];
}

/* Kills all processes of the guest, and waits for their end. */
void end_guest(const struct options *o, struct guest *g)
{
	char path[64];
	int pid;
	FILE *f;

	kill(g->pid, SIGKILL);
	if (o->sandbox) {
		while (waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
			;
		return;
	}
	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	do {
		f = fopen(path, "re");
		while (f && fscanf(f, "%d", &pid) == 1)
			kill(pid, SIGKILL);
		if (f)
			fclose(f);
	} while (waitpid(-1, NULL, 0) > 0 || errno == EINTR);
}
