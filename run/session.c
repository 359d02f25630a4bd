// SPDX-License-Identifier: GPL-2.0-only
/*
 * Passes the command's streams between the user and the guest, until the
 * command, the guest, the time or the user's patience ends. What the guest says
 * is not trusted: it is bounded here, and at worst ends the guest.
 */
#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "run.h"
#include "wire.h"

#define PATIENCE	2000000000ULL	/* nanoseconds from SIGTERM to the guest's end */
#define ESCAPE		0x1d		/* Ctrl-], three times within a second */
#define SENDING_MAX	65536		/* an honest guest never leaves so much unread */

/* What the guest has sent of an output, and the user has not taken. */
struct output {
	char data[WIRE_CREDIT];
	size_t start, length;
	uint32_t taken;		/* not told to the guest yet */
	int closed;		/* nobody reads it */
};

static struct output outputs[WIRE_STREAMS];	/* 0 is not used */

/* What is still to be written to the wire. The buffer grows as needed. */
static char *sending;
static size_t sending_length, sending_room;
static size_t on_the_way;	/* payload that the guest has not taken */
static unsigned int slots_used, slots_next;

static char *config;
static size_t config_length, config_room, config_sent;

static int ready, started, input_ended, ended, dead, bad;
static struct wire_end how;
static char trouble[WIRE_PAYLOAD + 1];
static char stats[65536];
static size_t stats_length;

static int terminal;		/* stdin and stdout are one */
static struct termios before;
static int first_signal, signals, hopeless, late;
static uint64_t start_time, ready_time, patience_ends;

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

/* ---- what the kernel says */

static char line[1024];
static size_t line_length;
static char last_line[1024];	/* the kernel's last one that is not the guard's */
static char reason[1024];	/* the guard's own last one, which is why it refuses to start */
static char panic[1024];	/* the kernel's */
static char loss[1024];		/* the first stub that was lost */
static unsigned int losses;

/* What the guest says of itself goes to the user's terminal: in ASCII, without control characters. */
static void make_harmless(char *text)
{
	for (; *text; text++)
		if (!isprint((unsigned char)*text))
			*text = '?';
}

static void take_line(const struct options *o)
{
	const char *guard;

	line[line_length] = 0;
	line_length = 0;
	make_harmless(line);
	if (o->verbose)
		fprintf(stderr, "guest kernel: %s\n", line);
	if (!*line)
		return;
	guard = strstr(line, "Kernel panic - not syncing: ");
	if (guard)
		memcpy(panic, guard, strlen(guard) + 1);
	guard = strstr(line, "stubguard: ");
	if (!guard) {
		memcpy(last_line, line, sizeof(line));
		return;
	}
	if (strstr(guard, " is lost: ")) {
		if (!losses++)
			memcpy(loss, guard, strlen(guard) + 1);
	} else if (!strstr(guard, "cannot guard userspace")) {
		memcpy(reason, guard, strlen(guard) + 1);
	}
}

static void take_log(const struct options *o, const char *data, size_t length)
{
	size_t i;

	for (i = 0; i < length; i++) {
		if (data[i] == '\n')
			take_line(o);
		else if (data[i] != '\r' && line_length < sizeof(line) - 1)
			line[line_length++] = data[i] ?: '?';
	}
}

/* ---- to the guest */

static void append(char **buffer, size_t *length, size_t *room, const void *data, size_t size)
{
	if (*length + size > *room) {
		*room = 2 * (*length + size);
		*buffer = must(realloc(*buffer, *room));
	}
	memcpy(*buffer + *length, data, size);
	*length += size;
}

static void send_frame(enum wire_type type, unsigned int stream, const void *data, size_t length)
{
	struct wire_head head = { .type = type, .stream = stream, .length = length };

	/* Input has a window. Only a guest that sends without end, and does not read, gets here. */
	if (sending_length > SENDING_MAX) {
		bad = 1;
		return;
	}
	append(&sending, &sending_length, &sending_room, &head, sizeof(head));
	if (length)
		append(&sending, &sending_length, &sending_room, data, length);
	if (type == WIRE_CONFIG || type == WIRE_DATA)
		on_the_way += length;
}

static void add_record(enum wire_record letter, const char *text)
{
	char l = letter;

	append(&config, &config_length, &config_room, &l, 1);
	append(&config, &config_length, &config_room, text, strlen(text) + 1);
}

static __attribute__((format(printf, 2, 3))) void add_text(enum wire_record letter, const char *format, ...)
{
	char *text;
	va_list ap;

	va_start(ap, format);
	if (vasprintf(&text, format, ap) < 0)
		die("no memory");
	va_end(ap);
	add_record(letter, text);
	free(text);
}

static void describe(const struct options *o)
{
	unsigned int i;
	char **argument;

	for (argument = o->command; *argument; argument++)
		add_record(RECORD_ARGUMENT, *argument);
	for (i = 0; i < o->environment_count; i++)
		add_record(RECORD_ENVIRONMENT, o->environment[i]);
	add_text(RECORD_UID, "%u", o->uid);
	add_text(RECORD_GID, "%u", o->gid);
	add_record(RECORD_FOLDER, o->folder);
	if (o->root)
		add_record(RECORD_ROOT, root_path(o));
	for (i = 0; i < o->share_count; i++) {
		add_record(o->shares[i].writable ? RECORD_WRITE_SHARE : RECORD_READ_SHARE, o->shares[i].target);
		add_record(RECORD_SOURCE, share_path(o, i));
	}
	if (terminal)
		add_record(RECORD_TERMINAL, "");
	if (terminal && isatty(2))
		add_record(RECORD_TERMINAL_ERROR, "");
	if (o->privileged)
		add_record(RECORD_PRIVILEGED, "");
	if (o->stats)
		add_record(RECORD_STATS, "");
	if (config_length > WIRE_CONFIG_MAX)
		die("the command's arguments are too long");
}

static void send_window_size(void)
{
	struct winsize w;
	uint16_t size[2];

	if (!terminal || ioctl(0, TIOCGWINSZ, &w))
		return;
	size[0] = w.ws_row;
	size[1] = w.ws_col;
	send_frame(WIRE_WINDOW_SIZE, 0, size, sizeof(size));
}

static void send_config(void)
{
	size_t n;

	while (!started && on_the_way < WIRE_WINDOW) {
		n = config_length - config_sent;
		if (n > WIRE_WINDOW - on_the_way)
			n = WIRE_WINDOW - on_the_way;
		if (n > WIRE_PAYLOAD)
			n = WIRE_PAYLOAD;
		send_frame(WIRE_CONFIG, 0, config + config_sent, n);
		config_sent += n;
		if (config_sent < config_length)
			continue;
		send_frame(WIRE_START, 0, NULL, 0);
		send_window_size();
		started = 1;
	}
}

static void send_signal(uint32_t number)
{
	send_frame(WIRE_SIGNAL, 0, &number, sizeof(number));
}

/* Ctrl-] three times within a second ends a guest that has the terminal. */
static void look_for_escape(const char *data, size_t length)
{
	static uint64_t times[3];
	size_t i;

	for (i = 0; i < length; i++) {
		if (data[i] != ESCAPE) {
			memset(times, 0, sizeof(times));
			continue;
		}
		times[0] = times[1];
		times[1] = times[2];
		times[2] = now();
		if (times[0] && times[2] - times[0] < 1000000000ULL) {
			first_signal = SIGKILL;
			hopeless = 1;
		}
	}
}

static int input_has_room(void)
{
	return terminal ? on_the_way < WIRE_WINDOW : slots_used < WIRE_SLOTS;
}

static void read_input(struct guest *g)
{
	char typed[WIRE_PAYLOAD];
	char *data = typed;
	size_t room = WIRE_WINDOW - on_the_way;
	uint32_t length;
	ssize_t n;

	if (room > sizeof(typed))
		room = sizeof(typed);
	if (!terminal) {
		data = g->slots + slots_next * WIRE_SLOT;
		room = WIRE_SLOT;
	}
	n = read(0, data, room);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		input_ended = 1;
		send_frame(WIRE_EOF, 0, NULL, 0);
	} else if (terminal) {
		look_for_escape(data, n);
		send_frame(WIRE_DATA, 0, data, n);
	} else {
		length = n;
		send_frame(WIRE_SLOT_FULL, 0, &length, sizeof(length));
		slots_next = (slots_next + 1) % WIRE_SLOTS;
		slots_used++;
	}
}

static void write_wire(struct guest *g)
{
	ssize_t n = send(g->wire, sending, sending_length, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n < 0) {
		sending_length = 0;	/* the guest is dead; its last words may still be read */
		return;
	}
	memmove(sending, sending + n, sending_length - n);
	sending_length -= n;
}

/* ---- from the guest */

static void take_output(unsigned int stream, const char *data, size_t length)
{
	struct output *out;

	if (stream != 1 && stream != 2) {
		bad = 1;
		return;
	}
	out = &outputs[stream];
	if (length > sizeof(out->data) - out->length - out->taken) {
		bad = 1;
		return;
	}
	if (out->closed) {
		out->taken += length;
		return;
	}
	if (out->start + out->length + length > sizeof(out->data)) {
		memmove(out->data, out->data + out->start, out->length);
		out->start = 0;
	}
	memcpy(out->data + out->start + out->length, data, length);
	out->length += length;
}

static void take_frame(const struct wire_head *head, const char *data)
{
	uint32_t number;

	switch (head->type) {
	case WIRE_READY:
		if (!ready)
			ready_time = now();
		ready = 1;
		break;
	case WIRE_TAKEN:
		if (head->length != sizeof(number)) {
			bad = 1;
			break;
		}
		memcpy(&number, data, sizeof(number));
		if (number > on_the_way)
			bad = 1;
		else
			on_the_way -= number;
		break;
	case WIRE_SLOT_TAKEN:
		if (slots_used)
			slots_used--;
		else
			bad = 1;
		break;
	case WIRE_DATA:
		take_output(head->stream, data, head->length);
		break;
	case WIRE_STATS:
		if (head->length > sizeof(stats) - stats_length)
			bad = 1;
		else
			memcpy(stats + stats_length, data, head->length);
		stats_length += bad ? 0 : head->length;
		break;
	case WIRE_TROUBLE:
		memcpy(trouble, data, head->length);
		trouble[head->length] = 0;
		make_harmless(trouble);
		break;
	case WIRE_END:
		if (head->length != sizeof(how)) {
			bad = 1;
			break;
		}
		memcpy(&how, data, sizeof(how));
		ended = 1;
		break;
	default:
		bad = 1;
	}
}

static void read_wire(struct guest *g)
{
	static char buffer[65536];
	static size_t length;
	struct wire_head head;
	size_t at = 0;
	ssize_t n;

	n = read(g->wire, buffer + length, sizeof(buffer) - length);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		dead = 1;
		return;
	}
	length += n;
	while (!bad && !ended && length - at >= sizeof(head)) {
		memcpy(&head, buffer + at, sizeof(head));
		if (head.length > WIRE_PAYLOAD) {
			bad = 1;
			break;
		}
		if (length - at < sizeof(head) + head.length)
			break;
		take_frame(&head, buffer + at + sizeof(head));
		at += sizeof(head) + head.length;
	}
	memmove(buffer, buffer + at, length - at);
	length -= at;
}

static void write_output(unsigned int stream)
{
	struct output *out = &outputs[stream];
	/* A pipe that can be written to takes so much without waiting. */
	size_t most = out->length < 4096 ? out->length : 4096;
	ssize_t n = write(stream, out->data + out->start, most);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n < 0) {
		/* Nobody reads it, or the disk is full. */
		if (!out->closed && errno != EPIPE)
			warn("cannot write the command's output: %s", strerror(errno));
		out->closed = 1;
		n = out->length;
		if (errno == EPIPE)
			send_signal(SIGPIPE);
	}
	out->start += n;
	out->length -= n;
	out->taken += n;
	if (!out->length)
		out->start = 0;
}

static void give_credit(unsigned int stream)
{
	struct output *out = &outputs[stream];

	if (out->taken < WIRE_CREDIT / 4)
		return;
	send_frame(WIRE_CREDIT_FOR, stream, &out->taken, sizeof(out->taken));
	out->taken = 0;
}

/* ---- signals and time */

static void take_signals(int fd)
{
	struct signalfd_siginfo info;

	while (read(fd, &info, sizeof(info)) == sizeof(info)) {
		switch (info.ssi_signo) {
		case SIGCHLD:
			break;
		case SIGWINCH:
			if (started)
				send_window_size();
			break;
		default:
			signals++;
			if (!first_signal)
				first_signal = info.ssi_signo;
			if (!started || signals > 1) {
				hopeless = 1;
				break;
			}
			send_signal(info.ssi_signo);
			if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGHUP)
				patience_ends = now() + PATIENCE;
		}
	}
}

static int milliseconds_left(const struct options *o)
{
	uint64_t end = o->limit ? start_time + o->limit : 0, at = now();

	if (patience_ends && (!end || patience_ends < end))
		end = patience_ends;
	if (!end)
		return -1;
	if (end <= at)
		return 0;
	return (end - at) / 1000000 > 3600000 ? 3600000 : (end - at) / 1000000 + 1;
}

/* ---- the terminal */

static void restore_terminal(void)
{
	if (terminal)
		tcsetattr(0, TCSADRAIN, &before);
}

static void take_terminal(void)
{
	struct termios raw;

	terminal = isatty(0) && isatty(1) && !tcgetattr(0, &before);
	if (!terminal)
		return;
	atexit(restore_terminal);
	raw = before;
	cfmakeraw(&raw);
	/* The user's signals count until the guest has the terminal. */
	raw.c_lflag |= ISIG;
	tcsetattr(0, TCSADRAIN, &raw);
}

static void give_terminal(void)
{
	struct termios raw = before;

	if (!terminal)
		return;
	cfmakeraw(&raw);
	tcsetattr(0, TCSADRAIN, &raw);
}

/* ---- all of it */

static int over(const struct options *o)
{
	if (bad || hopeless)
		return 1;
	if (o->limit && now() >= start_time + o->limit)
		late = 1;
	if (patience_ends && now() >= patience_ends)
		hopeless = 1;
	if (late || hopeless)
		return 1;
	return (ended || dead) && !outputs[1].length && !outputs[2].length;
}

static void pass(const struct options *o, struct guest *g, int signal_fd)
{
	char data[4096];
	int was_started = 0;
	ssize_t n;

	while (!over(o)) {
		struct pollfd fds[6] = {
			{ .fd = signal_fd, .events = POLLIN },
			{ .fd = ended || dead ? -1 : g->wire, .events = POLLIN | (sending_length ? POLLOUT : 0) },
			{ .fd = g->log, .events = POLLIN },
			{ .fd = started && !input_ended && input_has_room() ? 0 : -1, .events = POLLIN },
			{ .fd = outputs[1].length ? 1 : -1, .events = POLLOUT },
			{ .fd = outputs[2].length ? 2 : -1, .events = POLLOUT },
		};

		if (poll(fds, 6, milliseconds_left(o)) < 0 && errno != EINTR)
			die("poll: %s", strerror(errno));
		if (fds[0].revents)
			take_signals(signal_fd);
		if (fds[2].revents) {
			n = read(g->log, data, sizeof(data));
			if (n > 0) {
				take_log(o, data, n);
			} else {
				close(g->log);
				g->log = -1;
			}
		}
		if (fds[1].revents & (POLLIN | POLLHUP | POLLERR))
			read_wire(g);
		if (ready && !started)
			send_config();
		if (started && !was_started) {
			was_started = 1;
			give_terminal();
		}
		if (fds[3].revents && fds[3].fd == 0)
			read_input(g);
		if (fds[4].revents)
			write_output(1);
		if (fds[5].revents)
			write_output(2);
		give_credit(1);
		give_credit(2);
		if (sending_length && !ended && !dead)
			write_wire(g);
	}
}

/* After the end: what the kernel has said last. */
static void read_rest(const struct options *o, struct guest *g)
{
	char data[4096];
	ssize_t n;

	while (g->log >= 0 && (n = read(g->log, data, sizeof(data))) > 0)
		take_log(o, data, n);
	if (line_length)
		take_line(o);
}

static void print_stats(const struct options *o)
{
	char *at, *end;

	if (!o->stats)
		return;
	fprintf(stderr, "stubguard-run: %.3f s until the guest was ready, %.3f s in all\n",
		ready ? (ready_time - start_time) / 1e9 : 0, (now() - start_time) / 1e9);
	stats[stats_length < sizeof(stats) ? stats_length : sizeof(stats) - 1] = 0;
	for (at = strtok_r(stats, "\n", &end); at; at = strtok_r(NULL, "\n", &end)) {
		make_harmless(at);
		fprintf(stderr, "stubguard-run: %s\n", at);
	}
}

static void print_loss(void)
{
	if (!losses)
		return;
	if (losses == 1)
		warn("a process of the guest was killed: %s", loss);
	else
		warn("%u processes of the guest were killed, the first one: %s", losses, loss);
}

static int status_of(const struct options *o)
{
	if (late) {
		warn("the time is over");
		return STATUS_LATE;
	}
	if (hopeless)
		return 128 + first_signal;
	if (bad) {
		warn("the guest's init does not keep to the protocol: it was ended");
		return STATUS_TROUBLE;
	}
	if (!ended) {
		if (!ready && *reason)
			warn("the guard refuses to start: %s", reason);
		else
			warn("the guest's kernel has ended: %s",
			     *panic ? panic : *last_line ? last_line : "it did not say why");
		return STATUS_TROUBLE;
	}
	switch (how.kind) {
	case WIRE_EXITED:
		return how.value & 0xff;
	case WIRE_KILLED:
		return 128 + (how.value & 0x7f);
	case WIRE_NOT_RUN:
		warn("%s: %s", o->command[0], strerror(how.value));
		return how.value == ENOENT ? STATUS_MISSING : STATUS_NOT_RUN;
	default:
		warn("%s", trouble);
		return STATUS_TROUBLE;
	}
}

int pass_session(const struct options *o, struct guest *g)
{
	static const int ends[] = { SIGINT, SIGQUIT, SIGTERM, SIGHUP };
	struct sigaction action;
	sigset_t wanted;
	unsigned int i;
	int signal_fd;

	start_time = now();
	sigemptyset(&wanted);
	sigaddset(&wanted, SIGWINCH);
	/* What nohup, or a shell for its background, has ignored stays so. */
	for (i = 0; i < sizeof(ends) / sizeof(*ends); i++)
		if (!sigaction(ends[i], NULL, &action) && action.sa_handler != SIG_IGN)
			sigaddset(&wanted, ends[i]);
	sigprocmask(SIG_BLOCK, &wanted, NULL);
	signal_fd = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signal_fd < 0)
		die("signalfd: %s", strerror(errno));
	take_terminal();
	describe(o);
	pass(o, g, signal_fd);
	end_guest(o, g);
	read_rest(o, g);
	restore_terminal();
	print_loss();
	print_stats(o);
	return status_of(o);
}
