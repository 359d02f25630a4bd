// SPDX-License-Identifier: GPL-2.0-only
/*
 * The first process of a guest of stubguard-run. It makes the root file system,
 * starts the command, passes its streams over the wire, and tells how it ended.
 *
 * It is started on a read-only hostfs root, the folder that stubguard-run has
 * made for the kernel. It is static, as no library is there.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <net/if.h>
#include <poll.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "wire.h"

#define WIRE_DEVICE	"/dev/tty1"
#define SLOTS_DEVICE	"/dev/ubdb"
#define NEW		"/tmp/root"

/* One stream of the command. */
struct stream {
	int fd;			/* -1: there is none, or it has ended */
	uint32_t credit;	/* of an output: what may be sent */
};

static int wire = -1;
static struct stream streams[WIRE_STREAMS] = { { -1, 0 }, { -1, 0 }, { -1, 0 } };
/* What the command has not taken yet: a slot's content, or what was typed. */
static char *input;
static size_t input_start, input_length;
static int input_ends;
/* The slots that are full, from slots_next on. */
static int slots = -1;
static uint32_t slot_lengths[WIRE_SLOTS];
static unsigned int slots_next, slots_full;
static pid_t command = -1;
static int command_ended, command_status;

static char *config;
static size_t config_length, config_room;

/* ---- the wire */

static void write_all(const void *data, size_t length)
{
	const char *from = data;

	while (length) {
		ssize_t n = write(wire, from, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			reboot(RB_POWER_OFF);	/* nobody is there */
		from += n;
		length -= n;
	}
}

static void send_frame(enum wire_type type, unsigned int stream, const void *data, size_t length)
{
	/* One write: the line needs a call of the host for each. */
	char frame[sizeof(struct wire_head) + WIRE_PAYLOAD];
	struct wire_head head = {
		.type = type, .stream = stream, .length = length,
	};

	memcpy(frame, &head, sizeof(head));
	if (length)
		memcpy(frame + sizeof(head), data, length);
	write_all(frame, sizeof(head) + length);
}

static void send_number(enum wire_type type, unsigned int stream, uint32_t number)
{
	send_frame(type, stream, &number, sizeof(number));
}

static _Noreturn void end(enum wire_end_kind kind, uint32_t value)
{
	const struct wire_end how = { .kind = kind, .value = value };

	sync();
	send_frame(WIRE_END, 0, &how, sizeof(how));
	tcdrain(wire);
	for (;;)
		reboot(RB_POWER_OFF);
}

/* The command cannot be started: says why, and ends the guest. */
static _Noreturn __attribute__((format(printf, 1, 2))) void trouble(const char *format, ...)
{
	char text[WIRE_PAYLOAD];
	int error = errno, n;
	va_list ap;

	va_start(ap, format);
	n = vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	if (n > 0 && (size_t)n < sizeof(text) && error)
		n += snprintf(text + n, sizeof(text) - n, ": %s", strerror(error));
	if (n < 0 || (size_t)n >= sizeof(text))
		n = sizeof(text) - 1;
	send_frame(WIRE_TROUBLE, 0, text, n);
	end(WIRE_FAILED, 0);
}

static void open_wire(void)
{
	struct termios raw;

	wire = open(WIRE_DEVICE, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (wire < 0)
		reboot(RB_POWER_OFF);
	if (!tcgetattr(wire, &raw)) {
		cfmakeraw(&raw);
		raw.c_cc[VMIN] = 1;
		raw.c_cc[VTIME] = 0;
		tcsetattr(wire, TCSANOW, &raw);
	}
}

static void take_config(const char *data, size_t length)
{
	if (length > WIRE_CONFIG_MAX - config_length)
		trouble("the command's arguments are too long");
	if (config_length + length > config_room) {
		config_room = 2 * (config_length + length) + WIRE_PAYLOAD;
		config = realloc(config, config_room);
		if (!config)
			trouble("no memory in the guest: give it more with --mem");
	}
	memcpy(config + config_length, data, length);
	config_length += length;
	send_number(WIRE_TAKEN, 0, length);
}

/* Tells the host that the command has taken so much input, or that it was thrown away as nobody reads it. */
static void took(size_t length)
{
	input_start += length;
	input_length -= length;
	if (slots < 0)
		send_number(WIRE_TAKEN, 0, length);
	else if (!input_length)
		send_frame(WIRE_SLOT_TAKEN, 0, NULL, 0);
	if (!input_length)
		input_start = 0;
}

/* Takes the next slot. The disk is read directly, as the host writes to it behind the cache's back. */
static void take_slot(void)
{
	uint32_t length = slot_lengths[slots_next];
	off_t at = (off_t)slots_next * WIRE_SLOT;
	size_t done = 0;
	ssize_t n;

	while (done < length) {
		n = pread(slots, input + done, ((length - done) + 511) & ~511UL, at + done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			trouble("the guest cannot read its input");
		done += n;
	}
	slots_next = (slots_next + 1) % WIRE_SLOTS;
	slots_full--;
	input_length = length;
}

static void close_input(void)
{
	/* On a terminal it is a key, as the end may be one of a line only. */
	if (streams[0].fd == streams[1].fd) {
		char eof = 4;

		if (write(streams[0].fd, &eof, 1) < 0 && errno == EAGAIN)
			return;
	} else {
		close(streams[0].fd);
		streams[0].fd = -1;
	}
	input_ends = 0;
}

static int has_input(void)
{
	return input_length || slots_full || input_ends;
}

/* Passes the input on as far as the command takes it. */
static void feed(void)
{
	ssize_t n;

	while (input_length || slots_full) {
		if (!input_length)
			take_slot();
		n = streams[0].fd < 0 ? (ssize_t)input_length : write(streams[0].fd, input + input_start, input_length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			close(streams[0].fd);	/* the command does not read */
			streams[0].fd = -1;
			continue;
		}
		took(n);
	}
	if (input_ends && streams[0].fd >= 0)
		close_input();
}

static void signal_command(uint32_t number)
{
	if (command > 0 && !command_ended && number < NSIG)
		kill(-command, number);
}

/* Returns whether the configuration is complete. */
static int take_frame(const struct wire_head *head, const char *data)
{
	uint16_t size[2];
	uint32_t number = 0;

	if (head->length >= sizeof(number))
		memcpy(&number, data, sizeof(number));
	switch (head->type) {
	case WIRE_CONFIG:
		take_config(data, head->length);
		break;
	case WIRE_START:
		return 1;
	case WIRE_SIGNAL:
		signal_command(number);
		break;
	case WIRE_WINDOW_SIZE:
		memcpy(size, data, sizeof(size));
		if (streams[0].fd >= 0 && isatty(streams[0].fd)) {
			struct winsize w = { .ws_row = size[0], .ws_col = size[1] };

			ioctl(streams[0].fd, TIOCSWINSZ, &w);
		}
		break;
	case WIRE_CREDIT_FOR:
		if (head->stream < WIRE_STREAMS)
			streams[head->stream].credit += number;
		break;
	case WIRE_DATA:
		if (head->length > WIRE_WINDOW - input_length)
			trouble("more input than agreed on");
		memmove(input, input + input_start, input_length);
		input_start = 0;
		memcpy(input + input_length, data, head->length);
		input_length += head->length;
		feed();
		break;
	case WIRE_SLOT_FULL:
		if (slots_full == WIRE_SLOTS || !number || number > WIRE_SLOT)
			trouble("more input than agreed on");
		slot_lengths[(slots_next + slots_full++) % WIRE_SLOTS] = number;
		feed();
		break;
	case WIRE_EOF:
		input_ends = 1;
		feed();
		break;
	}
	return 0;
}

static char received[4096];
static size_t received_length;

/* Returns whether the configuration is complete: what follows it is for the command, which has to be started first. */
static int take_frames(void)
{
	struct wire_head head;
	size_t at = 0;
	int started = 0;

	while (!started && received_length - at >= sizeof(head)) {
		memcpy(&head, received + at, sizeof(head));
		if (head.length > WIRE_PAYLOAD)
			reboot(RB_POWER_OFF);
		if (received_length - at < sizeof(head) + head.length)
			break;
		started = take_frame(&head, received + at + sizeof(head));
		at += sizeof(head) + head.length;
	}
	memmove(received, received + at, received_length - at);
	received_length -= at;
	return started;
}

static void read_wire(void)
{
	ssize_t n = read(wire, received + received_length, sizeof(received) - received_length);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0)
		reboot(RB_POWER_OFF);
	received_length += n;
}

/* ---- the configuration */

/* The next record's text, or NULL; *at is where to look from. */
static char *next_record(size_t *at, char *letter)
{
	char *text;

	if (*at >= config_length)
		return NULL;
	*letter = config[*at];
	text = config + *at + 1;
	*at += strlen(config + *at) + 1;
	return text;
}

static char *record(char wanted)
{
	size_t at = 0;
	char letter, *text;

	while ((text = next_record(&at, &letter)))
		if (letter == wanted)
			return text;
	return NULL;
}

/* All of one letter, as execve() wants them. */
static char **records(char wanted)
{
	size_t at = 0, count = 0;
	char letter, *text, **list;

	while ((text = next_record(&at, &letter)))
		count += letter == wanted;
	list = calloc(count + 1, sizeof(*list));
	if (!list)
		trouble("no memory in the guest: give it more with --mem");
	at = count = 0;
	while ((text = next_record(&at, &letter)))
		if (letter == wanted)
			list[count++] = text;
	return list;
}

/* ---- the root file system */

static void must_mount(const char *what, const char *where, const char *type, unsigned long flags, const char *data)
{
	if (mount(what, where, type, flags, data))
		trouble("the guest cannot mount %s at %s", type ?: what, where);
}

/* A folder that may be there. */
static void folder(const char *path, mode_t mode)
{
	if (mkdir(path, mode) && errno != EEXIST)
		trouble("the guest cannot make the folder %s", path);
}

/* The folder and those above it. */
static void folders(const char *path)
{
	char part[4096];
	char *p;

	if (snprintf(part, sizeof(part), "%s", path) >= (int)sizeof(part))
		trouble("the name of a folder is too long");
	for (p = part + 1; (p = strchr(p, '/')); *p++ = '/') {
		*p = 0;
		if (mkdir(part, 0755) && errno != EEXIST)
			trouble("the guest cannot make the folder %s", part);
	}
	if (mkdir(part, 0755) && errno != EEXIST)
		trouble("the guest cannot make the folder %s", part);
}

static void mount_root(void)
{
	static const char *const types[] = { "ext4", "squashfs" };
	struct stat lower;
	unsigned int i;

	must_mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=90%");
	folder("/tmp/lower", 0755);
	folder("/tmp/upper", 0755);
	folder("/tmp/work", 0755);
	folder(NEW, 0755);
	if (!record(RECORD_ROOT)) {
		for (i = 0; i < 2; i++)
			if (!mount("/dev/ubda", "/tmp/lower", types[i], MS_RDONLY | MS_NOSUID | MS_NODEV,
				   i ? NULL : "noload"))
				break;
		if (i == 2)
			trouble("the image has no file system that the guest's kernel can mount (ext4, squashfs)");
	} else {
		must_mount("none", "/tmp/lower", "hostfs", MS_RDONLY | MS_NOSUID | MS_NODEV,
			   record(RECORD_ROOT));
	}
	/* The overlay's root has the owner and the mode of the upper one */
	if (stat("/tmp/lower", &lower) || chown("/tmp/upper", lower.st_uid, lower.st_gid) ||
	    chmod("/tmp/upper", lower.st_mode & 07777))
		trouble("the guest cannot make the root folder like that of the files below it");
	must_mount("overlay", NEW, "overlay", MS_NOSUID | MS_NODEV,
		   "lowerdir=/tmp/lower,upperdir=/tmp/upper,workdir=/tmp/work");
}

static void device(const char *path, unsigned int minor_number)
{
	/* Memory devices; the mask would take rights away. */
	if (mknod(path, S_IFCHR | 0666, makedev(minor_number == 0 ? 5 : 1, minor_number)))
		trouble("the guest cannot make the device %s", path);
}

static void mount_devices(void)
{
	must_mount("dev", NEW "/dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755,size=64k");
	device(NEW "/dev/null", 3);
	device(NEW "/dev/zero", 5);
	device(NEW "/dev/full", 7);
	device(NEW "/dev/random", 8);
	device(NEW "/dev/urandom", 9);
	device(NEW "/dev/tty", 0);
	folder(NEW "/dev/pts", 0755);
	folder(NEW "/dev/shm", 01777);
	must_mount("devpts", NEW "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "mode=620,ptmxmode=666");
	must_mount("shm", NEW "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
	if (symlink("pts/ptmx", NEW "/dev/ptmx") || symlink("/proc/self/fd", NEW "/dev/fd") ||
	    symlink("/proc/self/fd/0", NEW "/dev/stdin") || symlink("/proc/self/fd/1", NEW "/dev/stdout") ||
	    symlink("/proc/self/fd/2", NEW "/dev/stderr"))
		trouble("the guest cannot fill /dev");
}

/* Makes a path read-only that a root without all capabilities must not write to. */
static void read_only(const char *path)
{
	if (!mount(path, path, NULL, MS_BIND, NULL))
		mount(NULL, path, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
}

static void mount_shares(void)
{
	size_t at = 0;
	char letter, *path, *source;

	while ((path = next_record(&at, &letter))) {
		unsigned long flags = MS_NOSUID | MS_NODEV;

		if (letter != RECORD_READ_SHARE && letter != RECORD_WRITE_SHARE)
			continue;
		if (letter == RECORD_READ_SHARE)
			flags |= MS_RDONLY;
		source = next_record(&at, &letter);
		if (!source || letter != RECORD_SOURCE)
			trouble("a folder has no source");
		folders(path);
		must_mount("none", path, "hostfs", flags, source);
	}
}

static void make_root(void)
{
	mount_root();
	folder(NEW "/proc", 0555);
	folder(NEW "/sys", 0555);
	folder(NEW "/dev", 0755);
	folder(NEW "/run", 0755);
	folder(NEW "/tmp", 01777);
	must_mount("proc", NEW "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	must_mount("sysfs", NEW "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC |
		   (record(RECORD_PRIVILEGED) ? 0 : MS_RDONLY), NULL);
	must_mount("run", NEW "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755");
	mount_devices();
	if (!record(RECORD_PRIVILEGED)) {
		read_only(NEW "/proc/sys");
		read_only(NEW "/proc/sysrq-trigger");
	}
	/* The old root ends up below the new one, and is taken away. */
	if (chdir(NEW) || syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/"))
		trouble("the guest cannot change its root");
	mount_shares();
}

static void open_input(void)
{
	if (posix_memalign((void **)&input, 4096, WIRE_SLOT))
		trouble("no memory in the guest: give it more with --mem");
	if (record(RECORD_TERMINAL))
		return;
	slots = open(SLOTS_DEVICE, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (slots < 0)
		trouble("the guest cannot open its input, " SLOTS_DEVICE);
}

static void loopback_up(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	ioctl(fd, SIOCSIFFLAGS, &lo);
	close(fd);
}

/* ---- the command */

/* What root in the guest may do, if it is not --privileged: what it needs for files and processes. */
static const unsigned char root_keeps[] = {
	CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_SETPCAP,
	CAP_NET_BIND_SERVICE, CAP_NET_RAW, CAP_SYS_CHROOT, CAP_SETFCAP,
};

static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };
	unsigned int i;

	for (i = 0; i < sizeof(root_keeps); i++)
		data[root_keeps[i] / 32].permitted |= 1U << root_keeps[i] % 32;
	for (i = 0; i < 2; i++)
		data[i].effective = data[i].permitted;
	for (i = 0; !prctl(PR_CAPBSET_READ, i, 0, 0, 0) || errno != EINVAL; i++) {
		if (i > 63)
			break;
		if (!(data[i / 32].permitted & 1U << i % 32) && prctl(PR_CAPBSET_DROP, i, 0, 0, 0) && errno != EINVAL)
			return -1;
		errno = 0;
	}
	return syscall(SYS_capset, &header, data);
}

static _Noreturn void give_up(int report, int what)
{
	const int words[2] = { what, errno };
	ssize_t n = write(report, words, sizeof(words));

	_exit(n == sizeof(words) ? 127 : 126);
}

enum { STEP_RIGHTS, STEP_FOLDER, STEP_RUN };

static _Noreturn void run_command(int fds[3], int terminal, int report)
{
	gid_t gid = strtoul(record(RECORD_GID) ?: "0", NULL, 10);
	uid_t uid = strtoul(record(RECORD_UID) ?: "0", NULL, 10);
	char **arguments = records(RECORD_ARGUMENT);
	const char *start = record(RECORD_FOLDER) ?: "/";
	sigset_t none;
	int i;

	setsid();
	if (terminal)
		ioctl(fds[0], TIOCSCTTY, 0);
	for (i = 0; i < 3; i++)
		if (dup2(fds[i], i) < 0)
			give_up(report, STEP_RIGHTS);
	environ = records(RECORD_ENVIRONMENT);
	if (!record(RECORD_PRIVILEGED) && (drop_capabilities() || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)))
		give_up(report, STEP_RIGHTS);
	if (setgroups(1, &gid) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid))
		give_up(report, STEP_RIGHTS);
	umask(022);
	signal(SIGPIPE, SIG_DFL);
	if (chdir(start))
		give_up(report, STEP_FOLDER);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execvp(arguments[0], arguments);
	give_up(report, STEP_RUN);
}

static void nonblocking(int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

/* A pipe for a stream: the command's end; ours becomes the stream's. */
static int pipe_for(unsigned int number)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		trouble("the guest cannot make a pipe");
	streams[number].fd = ends[number == 0];
	nonblocking(streams[number].fd);
	return ends[number != 0];
}

static int make_terminal(void)
{
	int slave;

	streams[0].fd = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (streams[0].fd < 0 || unlockpt(streams[0].fd))
		trouble("the guest cannot make a terminal");
	slave = ioctl(streams[0].fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		trouble("the guest cannot open its terminal");
	if (fchown(slave, strtoul(record(RECORD_UID) ?: "0", NULL, 10), -1))
		trouble("the guest cannot give the terminal to the user");
	nonblocking(streams[0].fd);
	streams[1].fd = streams[0].fd;
	return slave;
}

static void start_command(void)
{
	int terminal = !!record(RECORD_TERMINAL);
	int words[2], report[2], fds[3], i;
	ssize_t n;

	if (!record(RECORD_ARGUMENT))
		trouble("there is no command");
	if (terminal) {
		fds[0] = fds[1] = fds[2] = make_terminal();
	} else {
		fds[0] = pipe_for(0);
		fds[1] = pipe_for(1);
	}
	if (!record(RECORD_TERMINAL_ERROR))
		fds[2] = pipe_for(2);
	if (pipe2(report, O_CLOEXEC))
		trouble("the guest cannot make a pipe");
	for (i = 1; i < WIRE_STREAMS; i++)
		streams[i].credit = WIRE_CREDIT;
	command = fork();
	if (command < 0)
		trouble("the guest cannot start a process");
	if (command == 0)
		run_command(fds, terminal, report[1]);
	close(report[1]);
	close(fds[0]);
	if (fds[1] != fds[0])
		close(fds[1]);
	if (fds[2] != fds[0])
		close(fds[2]);
	do
		n = read(report[0], words, sizeof(words));
	while (n < 0 && errno == EINTR);
	close(report[0]);
	if (n != sizeof(words))
		return;
	errno = words[1];
	if (words[0] == STEP_FOLDER)
		trouble("the guest has no folder %s to start in (--ro shows a folder, --chdir names another)",
			record(RECORD_FOLDER));
	if (words[0] == STEP_RIGHTS)
		trouble("the guest cannot give the command its user");
	end(WIRE_NOT_RUN, words[1]);
}

static void reap(int signals)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	while (read(signals, &info, sizeof(info)) == sizeof(info))
		;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != command)
			continue;
		command_ended = 1;
		command_status = status;
	}
}

/*
 * Sends what an output has, up to its credit. Of a command that has ended, what
 * is there counts; processes that it left behind are not waited for.
 */
static void drain(unsigned int number)
{
	struct stream *s = &streams[number];
	char data[WIRE_PAYLOAD];
	ssize_t n;

	while (s->fd >= 0 && s->credit) {
		n = read(s->fd, data, s->credit < sizeof(data) ? s->credit : sizeof(data));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN && !command_ended)
			return;
		if (n <= 0) {
			/* The terminal stays for input until the command ends. */
			if (s->fd != streams[0].fd)
				close(s->fd);
			else if (!command_ended)
				return;
			s->fd = -1;
			return;
		}
		s->credit -= n;
		send_frame(WIRE_DATA, number, data, n);
		if (!command_ended)
			return;
	}
}

static void send_stats(void)
{
	int fd = open("/proc/stubguard", O_RDONLY | O_CLOEXEC);
	char data[WIRE_PAYLOAD];
	ssize_t n;

	while (fd >= 0 && (n = read(fd, data, sizeof(data))) > 0)
		send_frame(WIRE_STATS, 0, data, n);
}

static _Noreturn void pass_streams(int signals)
{
	struct pollfd fds[5];
	unsigned int i;

	take_frames();
	for (;;) {
		if (command_ended && streams[1].fd < 0 && streams[2].fd < 0)
			break;
		fds[0] = (struct pollfd){ .fd = wire, .events = POLLIN };
		fds[1] = (struct pollfd){ .fd = signals, .events = POLLIN };
		fds[2] = (struct pollfd){ .fd = has_input() ? streams[0].fd : -1, .events = POLLOUT };
		for (i = 1; i < WIRE_STREAMS; i++)
			fds[2 + i] = (struct pollfd){ .fd = streams[i].credit ? streams[i].fd : -1, .events = POLLIN };
		/* Of a command that has ended the outputs are read without waiting. */
		if (poll(fds, 5, -1) < 0 && errno != EINTR)
			trouble("the guest cannot wait");
		if (fds[1].revents)
			reap(signals);
		if (fds[0].revents) {
			read_wire();
			take_frames();
		}
		if (fds[2].revents)
			feed();
		for (i = 1; i < WIRE_STREAMS; i++)
			if (fds[2 + i].revents || command_ended)
				drain(i);
	}
	if (record(RECORD_STATS))
		send_stats();
	if (WIFSIGNALED(command_status))
		end(WIRE_KILLED, WTERMSIG(command_status));
	end(WIRE_EXITED, WEXITSTATUS(command_status));
}

int main(void)
{
	sigset_t children;
	int signals;

	/* Only the kernel starts it; by hand it would end the machine. */
	if (getpid() != 1) {
		fputs("stubguard-init: it is for guests of stubguard-run\n", stderr);
		return 1;
	}
	umask(0);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&children);
	sigaddset(&children, SIGCHLD);
	sigprocmask(SIG_BLOCK, &children, NULL);
	signals = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
	if (mount("dev", "/dev", "devtmpfs", MS_NOSUID, NULL))
		perror("stubguard-init: /dev");
	open_wire();
	send_frame(WIRE_READY, 0, NULL, 0);
	while (!take_frames())
		read_wire();
	open_input();
	sethostname("guest", 5);
	loopback_up();
	make_root();
	start_command();
	pass_streams(signals);
}
