// SPDX-License-Identifier: GPL-2.0-only
/* The command line of stubguard-run. */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "run.h"

static const char usage[] =
"Usage: stubguard-run [OPTION]... [--] COMMAND [ARGUMENT]...\n"
"Runs COMMAND in a guest of User Mode Linux whose programs cannot get out of their address spaces.\n"
"Without options it sees your files, and writes to memory only. It has no network.\n"
"\n"
"The guest's files\n"
"  --root DIR             DIR is the guest's root (default: the host's root)\n"
"  --image FILE           the file system in FILE (ext4, squashfs) is the guest's root\n"
"  --ro DIR[:GUESTDIR]    show a folder of the host at GUESTDIR, read-only\n"
"  --rw DIR[:GUESTDIR]    let the guest write to a folder of the host\n"
"  --hide PATH            a file or folder of the root that the guest does not see\n"
"  --chdir DIR            where COMMAND starts (default: here; with --root and --image: /)\n"
"The command\n"
"  --env NAME[=VALUE]     set a variable, or pass yours on\n"
"  --uid N, --gid N       who COMMAND is in the guest (default: you)\n"
"  --privileged           root of the guest has all capabilities there\n"
"Limits\n"
"  --mem SIZE             the guest's memory, as 300M or 2G (default: 512M)\n"
"  --cpus N               the guest's processors (default: 1)\n"
"  --time TIME            end the guest after TIME, as 10, 0.5, 5m or 2h\n"
"Others\n"
"  --mode window|notify   how the guard works (default: window)\n"
"  --kernel FILE          another kernel\n"
"  --no-sandbox           run the kernel without namespaces of its own (see the manual)\n"
"  --stats                say at the end what the guard has counted\n"
"  --verbose              show what the guest's kernel says\n"
"  --help, --version\n"
"\n"
"The exit status is that of COMMAND, or 128 + N after signal N; 124 if the time is over, 125 if\n"
"the guest cannot start or dies, 126 or 127 if COMMAND cannot be run.\n";

enum {
	OPTION_ROOT = 256, OPTION_IMAGE, OPTION_RO, OPTION_RW, OPTION_HIDE, OPTION_CHDIR, OPTION_ENV, OPTION_UID,
	OPTION_GID, OPTION_PRIVILEGED, OPTION_MEM, OPTION_CPUS, OPTION_TIME, OPTION_MODE, OPTION_KERNEL,
	OPTION_NO_SANDBOX, OPTION_STATS, OPTION_VERBOSE, OPTION_HELP, OPTION_VERSION,
};

static const struct option names[] = {
	{ "root", required_argument, NULL, OPTION_ROOT },
	{ "image", required_argument, NULL, OPTION_IMAGE },
	{ "ro", required_argument, NULL, OPTION_RO },
	{ "rw", required_argument, NULL, OPTION_RW },
	{ "hide", required_argument, NULL, OPTION_HIDE },
	{ "chdir", required_argument, NULL, OPTION_CHDIR },
	{ "env", required_argument, NULL, OPTION_ENV },
	{ "uid", required_argument, NULL, OPTION_UID },
	{ "gid", required_argument, NULL, OPTION_GID },
	{ "privileged", no_argument, NULL, OPTION_PRIVILEGED },
	{ "mem", required_argument, NULL, OPTION_MEM },
	{ "cpus", required_argument, NULL, OPTION_CPUS },
	{ "time", required_argument, NULL, OPTION_TIME },
	{ "mode", required_argument, NULL, OPTION_MODE },
	{ "kernel", required_argument, NULL, OPTION_KERNEL },
	{ "no-sandbox", no_argument, NULL, OPTION_NO_SANDBOX },
	{ "stats", no_argument, NULL, OPTION_STATS },
	{ "verbose", no_argument, NULL, OPTION_VERBOSE },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ "version", no_argument, NULL, OPTION_VERSION },
	{ NULL, 0, NULL, 0 },
};

/* A number from lowest to highest, or the end. */
static unsigned long number(const char *name, const char *text, unsigned long lowest, unsigned long highest)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (!isdigit((unsigned char)*text) || *end || errno || value < lowest || value > highest)
		die("%s %s: must be a number from %lu to %lu", name, text, lowest, highest);
	return value;
}

/* In MiB. */
static unsigned long size(const char *text)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (!isdigit((unsigned char)*text) || errno || value > ULONG_MAX >> 10)
		value = 0;
	if (!strcmp(end, "G") || !strcmp(end, "g"))
		value <<= 10;
	else if (strcmp(end, "M") && strcmp(end, "m"))
		value = 0;
	if (value < 64 || value > 1UL << 20)
		die("--mem %s: must be a size from 64M to 1024G, as 300M or 2G", text);
	return value;
}

static uint64_t duration(const char *text)
{
	const char *units = "smhd";
	static const unsigned int seconds[] = { 1, 60, 3600, 86400 };
	const char *unit;
	double value;
	char *end;

	errno = 0;
	value = strtod(text, &end);
	unit = *end ? strchr(units, *end) : units;
	if (!isdigit((unsigned char)*text) || errno || !unit || (*end && end[1]))
		die("--time %s: must be a time, as 10, 0.5, 5m or 2h", text);
	value *= seconds[unit - units];
	if (!(value >= 0.001 && value <= 1e8))
		die("--time %s: must be from a millisecond to three years", text);
	return value * 1e9;
}

static char *real(const char *name, const char *path)
{
	char *found = realpath(path, NULL);

	if (!found)
		die("%s %s: %s", name, path, strerror(errno));
	return found;
}

static char *real_folder(const char *name, const char *path)
{
	char *found = real(name, path);
	struct stat st;

	if (stat(found, &st) || !S_ISDIR(st.st_mode))
		die("%s %s: is not a folder", name, path);
	return found;
}

static const char *absolute(const char *name, const char *path)
{
	if (*path != '/')
		die("%s %s: must be an absolute path in the guest", name, path);
	return path;
}

static void room(const char *name, unsigned int count)
{
	if (count == MAX_LIST)
		die("%s: at most %d of them", name, MAX_LIST);
}

static void add_share(struct options *o, const char *name, char *text, int writable)
{
	struct share *s = &o->shares[o->share_count];
	char *target = strstr(text, ":/");

	room(name, o->share_count++);
	if (target)
		*target++ = 0;
	s->source = real_folder(name, text);
	s->target = target ?: s->source;
	s->writable = writable;
	if (!strcmp(s->target, "/"))
		die("%s %s: the guest's root is not a place for it; see --root", name, text);
}

/* Of one name the last one counts. */
static void set_variable(struct options *o, char *text)
{
	size_t length = strcspn(text, "=") + 1;
	unsigned int i;

	for (i = 0; i < o->environment_count; i++)
		if (!strncmp(o->environment[i], text, length))
			break;
	if (i == o->environment_count) {
		room("--env", i);
		o->environment_count++;
	}
	o->environment[i] = text;
}

static void set_variable_to(struct options *o, const char *name, const char *value)
{
	char *text;

	if (!value)
		return;
	if (asprintf(&text, "%s=%s", name, value) < 0)
		die("no memory");
	set_variable(o, text);
}

static void add_environment(struct options *o, char *text)
{
	if (*text == '=' || !*text)
		die("--env %s: must be NAME or NAME=VALUE", text);
	if (strchr(text, '='))
		set_variable(o, text);
	else if (getenv(text))
		set_variable_to(o, text, getenv(text));
	else
		die("--env %s: there is no such variable", text);
}

/* What programs expect. The rest of the user's environment is not the guest's business. */
static void default_environment(struct options *o)
{
	char *given[MAX_LIST];
	unsigned int i, count = o->environment_count;
	const struct passwd *user = getpwuid(o->uid);

	memcpy(given, o->environment, sizeof(given));
	o->environment_count = 0;
	set_variable_to(o, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	set_variable_to(o, "HOME", user && !o->image ? user->pw_dir : "/");
	set_variable_to(o, "USER", user ? user->pw_name : NULL);
	set_variable_to(o, "LOGNAME", user ? user->pw_name : NULL);
	set_variable_to(o, "TERM", getenv("TERM"));
	set_variable_to(o, "LANG", getenv("LANG"));
	set_variable_to(o, "LC_ALL", getenv("LC_ALL"));
	for (i = 0; i < count; i++)
		set_variable(o, given[i]);
}

/* The folder that holds the kernel and init: ../lib/stubguard from the program's own one. */
static char *own_folder(void)
{
	static char path[PATH_MAX + 32];
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
	char *folder;

	if (n < 0)
		die("/proc/self/exe: %s: /proc must be mounted", strerror(errno));
	path[n] = 0;
	folder = dirname(path);
	strcat(folder, "/../lib/stubguard");
	return folder;
}

static const char *own_file(const char *name)
{
	char *path;

	if (asprintf(&path, "%s/%s", own_folder(), name) < 0)
		die("no memory");
	return real("the file", path);
}

static void default_folder(struct options *o)
{
	static char here[PATH_MAX];

	o->folder = "/";
	if (o->root && !strcmp(o->root, "/") && getcwd(here, sizeof(here)) && *here == '/')
		o->folder = here;
}

void read_options(int argc, char **argv, struct options *o)
{
	int c;

	*o = (struct options){
		.mem = 512, .cpus = 1, .mode = "window", .sandbox = 1, .uid = getuid(), .gid = getgid(),
	};
	while ((c = getopt_long(argc, argv, "+", names, NULL)) != -1) {
		switch (c) {
		case OPTION_ROOT:
			o->root = real_folder("--root", optarg);
			break;
		case OPTION_IMAGE:
			o->image = real("--image", optarg);
			break;
		case OPTION_RO:
			add_share(o, "--ro", optarg, 0);
			break;
		case OPTION_RW:
			add_share(o, "--rw", optarg, 1);
			break;
		case OPTION_HIDE:
			room("--hide", o->hidden_count);
			o->hidden[o->hidden_count++] = absolute("--hide", optarg);
			break;
		case OPTION_CHDIR:
			o->folder = absolute("--chdir", optarg);
			break;
		case OPTION_ENV:
			add_environment(o, optarg);
			break;
		case OPTION_UID:
			o->uid = number("--uid", optarg, 0, 0xfffffffe);
			break;
		case OPTION_GID:
			o->gid = number("--gid", optarg, 0, 0xfffffffe);
			break;
		case OPTION_PRIVILEGED:
			o->privileged = 1;
			break;
		case OPTION_MEM:
			o->mem = size(optarg);
			break;
		case OPTION_CPUS:
			o->cpus = number("--cpus", optarg, 1, 8);
			break;
		case OPTION_TIME:
			o->limit = duration(optarg);
			break;
		case OPTION_MODE:
			if (strcmp(optarg, "window") && strcmp(optarg, "notify"))
				die("--mode %s: the modes are window and notify", optarg);
			o->mode = optarg;
			break;
		case OPTION_KERNEL:
			o->kernel = real("--kernel", optarg);
			break;
		case OPTION_NO_SANDBOX:
			o->sandbox = 0;
			break;
		case OPTION_STATS:
			o->stats = 1;
			break;
		case OPTION_VERBOSE:
			o->verbose = 1;
			break;
		case OPTION_HELP:
			fputs(usage, stdout);
			exit(0);
		case OPTION_VERSION:
			puts("stubguard-run " VERSION);
			exit(0);
		default:
			fputs("Try 'stubguard-run --help'.\n", stderr);
			exit(STATUS_TROUBLE);
		}
	}
	if (optind == argc)
		die("which command? See stubguard-run --help");
	o->command = argv + optind;
	if (o->root && o->image)
		die("--root and --image: the guest has one root");
	if (o->hidden_count && o->image)
		die("--hide and --image: only files of the host can be hidden");
	if (o->hidden_count && !o->sandbox)
		die("--hide and --no-sandbox: the sandbox is what hides files");
	if (!o->root && !o->image)
		o->root = "/";
	if (!o->folder)
		default_folder(o);
	default_environment(o);
	if (!o->kernel)
		o->kernel = own_file("linux");
	o->init = own_file("init");
	/* As parameters of the kernel they end there. */
	if (!o->sandbox && (strpbrk(o->init, " \t\n") || (o->image && strpbrk(o->image, " \t\n,:"))))
		die("%s: without the sandbox its name must not have blanks, commas, colons",
		    strpbrk(o->init, " \t\n") ? o->init : o->image);
	if (access(o->kernel, X_OK))
		die("%s: %s", o->kernel, strerror(errno));
}
