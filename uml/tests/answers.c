// SPDX-License-Identifier: GPL-2.0-only
/*
 * answers DIRECTORY	makes system calls that sandboxes like to refuse, and says what each returned: a
 *			sandbox around UML must not change a guest's results. Run as root in a guest; it mounts
 *			something on the directory.
 * answers --list	their numbers, with commas
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define TMPFS 0x01021994

/* Made without arguments. UML itself makes none of these on the host. */
static const int numbers[] = {
	__NR_acct, __NR_add_key, __NR_adjtimex, __NR_bpf, __NR_chroot, __NR_clock_settime,
	__NR_delete_module, __NR_fanotify_init, __NR_finit_module, __NR_fsconfig, __NR_fsopen,
	__NR_get_mempolicy, __NR_getpmsg, __NR_init_module, __NR_io_uring_setup, __NR_ioperm,
	__NR_iopl, __NR_kcmp, __NR_kexec_load, __NR_keyctl, __NR_landlock_create_ruleset,
	__NR_lookup_dcookie, __NR_mbind, __NR_migrate_pages, __NR_mincore, __NR_modify_ldt,
	__NR_mount, __NR_mount_setattr, __NR_move_mount, __NR_move_pages,
	__NR_open_by_handle_at, __NR_open_tree, __NR_perf_event_open, __NR_pivot_root,
	__NR_pkey_alloc, __NR_process_madvise, __NR_process_vm_readv, __NR_ptrace, __NR_quotactl, __NR_reboot, __NR_request_key, __NR_set_mempolicy,
	__NR_setdomainname, __NR_setgid, __NR_setgroups, __NR_sethostname, __NR_setns,
	__NR_setresuid, __NR_settimeofday, __NR_setuid, __NR_swapoff, __NR_swapon, __NR_sysfs,
	__NR_syslog, __NR_umount2, __NR_unshare, __NR_uselib, __NR_userfaultfd, __NR_ustat,
	__NR_vmsplice,
};

#define COUNT (sizeof(numbers) / sizeof(numbers[0]))

static struct {
	long result;
	int error;
	int done;
} *said;

/* Each act has a process of its own, since some change the process's credentials. */
static void say(const char *what, void (*act)(int), int argument)
{
	int status;
	pid_t pid;

	said->done = 0;
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		act(argument);
		said->done = 1;
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		printf("%s: cannot be tried\n", what);
	else if (WIFSIGNALED(status))
		printf("%s: killed by signal %d\n", what, WTERMSIG(status));
	else if (!said->done)
		printf("%s: has ended, status %d\n", what, status);
	else
		printf("%s: %ld, errno %d\n", what, said->result, said->error);
}

static void result(long value)
{
	said->result = value;
	said->error = value < 0 ? errno : 0;
}

static void call(int nr)
{
	result(syscall(nr, 0, 0, 0, 0, 0, 0));
}

static const char *directory;

/* Checks that the mount really happens */
static void mounts(int unused)
{
	struct statfs fs;
	long ret = mount("answers", directory, "tmpfs", 0, NULL);

	(void)unused;
	result(ret);
	if (ret == 0 && (statfs(directory, &fs) < 0 || fs.f_type != TMPFS))
		said->result = -1000;
	umount2(directory, MNT_DETACH);
}

static void gives_up_root(int unused)
{
	(void)unused;
	if (syscall(__NR_setgroups, 0, NULL) < 0 || syscall(__NR_setgid, 1000) < 0 ||
	    syscall(__NR_setuid, 1000) < 0) {
		result(-1);
		return;
	}
	/* The process is not root any more, and must not become root again. */
	result(syscall(__NR_setuid, 0));
	if (getuid() != 1000 || getgid() != 1000 || said->result == 0)
		said->result = -1000;
}

int main(int argc, char **argv)
{
	char name[32];
	size_t i;

	if (argc == 2 && strcmp(argv[1], "--list") == 0) {
		for (i = 0; i < COUNT; i++)
			printf("%s%d", i ? "," : "", numbers[i]);
		printf("\n");
		return 0;
	}
	if (argc != 2) {
		fprintf(stderr, "usage: answers DIRECTORY|--list\n");
		return 2;
	}
	directory = argv[1];
	said = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (said == MAP_FAILED) {
		perror("mmap");
		return 2;
	}
	for (i = 0; i < COUNT; i++) {
		snprintf(name, sizeof(name), "call %d", numbers[i]);
		say(name, call, numbers[i]);
	}
	say("mount", mounts, 0);
	say("setuid", gives_up_root, 0);
	return 0;
}
