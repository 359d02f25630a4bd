// SPDX-License-Identifier: GPL-2.0-only
/*
 * hostile - attacks on UML's seccomp stub, from inside a guest
 *
 * Guest code in seccomp mode runs in a host process, the stub, whose filter
 * allows host system calls from one page only. That page is mapped into the
 * guest's address space, so guest code can jump to its `syscall` instructions
 * with registers and a stack of its own. Each attack starts from there.
 *
 * Nothing about the kernel build is compiled in: the stub's pages, its
 * `syscall` instructions and the fields of its shared data are found at run
 * time, so the same binary runs on guarded and unguarded kernels.
 *
 *	hostile --list		names and one-line descriptions
 *	hostile --probe		what is found of the stub
 *	hostile NAME		one attack; with HOSTILE_FULL set, all its variants
 *
 * HOSTILE_CLOCK: a folder in which the host counts time, without the time in which
 * the guest waits for the host's CPUs (own_time() of uml/common.sh). Without it the
 * guest's clock counts, and a busy host may spoil a verdict.
 *
 * HOSTILE_PIDS: if set, each process of the attack says its pid first.
 *
 * An attack ends with one line on stdout and an exit code:
 *
 *	BLOCKED what was seen		0
 *	BREACHED what was seen		1
 *	INCONCLUSIVE why		2
 *	SKIPPED what is not there	3
 *
 * On an unguarded kernel some attacks panic or hang the whole guest. Then there is
 * no such line, and the script that booted the guest gives the verdict (run.sh).
 */
#include "hostile.h"

struct shared *shared;

void *map_shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED) {
		perror("mmap");
		exit(2);
	}
	return p;
}

uintptr_t reserve(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		conclude(INCONCLUSIVE, "mmap: %s", strerror(errno));
	return (uintptr_t)p;
}

double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* The host makes a file in HOSTILE_CLOCK for each quarter of a second. */
#define QUARTERS	4
#define LOOKS		20	/* a second */

static char clock_file[PATH_MAX];
static size_t clock_number;	/* where the number begins in it */

static bool quarter_is_over(unsigned int number)
{
	char digits[12];
	size_t n = sizeof(digits) - 1;

	digits[n] = '\0';
	do
		digits[--n] = (char)('0' + number % 10);
	while (number /= 10);
	memcpy(clock_file + clock_number, digits + n, sizeof(digits) - n);
	return access(clock_file, F_OK) == 0;
}

static void find_clock(void)
{
	const char *dir = getenv("HOSTILE_CLOCK");

	if (!dir || strlen(dir) + 16 > sizeof(clock_file))
		return;
	clock_number = (size_t)sprintf(clock_file, "%s/", dir);
}

/* An unprivileged attacker cannot read the folder, so its judge does it for both. */
double own_time(void)
{
	static double looked;
	unsigned int quarters;
	double t = now();

	if (!clock_number)
		return t;
	quarters = shared->quarters;
	if (t > looked + 1.0 / LOOKS || t < looked) {
		looked = t;
		while (quarter_is_over(quarters + 1))
			quarters++;
		if (quarters > shared->quarters)
			shared->quarters = quarters;
	}
	return (double)shared->quarters / QUARTERS;
}

/* The clock begins with the guest. The error is less than a quarter of a second. */
double stretched(double seconds)
{
	double own = own_time() + 1.0 / QUARTERS, all = now();

	return clock_number && all > own ? seconds * all / own : seconds;
}

void alarm_stretched(unsigned int seconds)
{
	alarm((unsigned int)(stretched(seconds) + 0.5));
}

/* If a child takes longer, the kernel cannot end it. */
#define CHILD_SECONDS	20

static double stalled;	/* the time after which a child has stalled */

static void on_stall(int sig)
{
	(void)sig;
	if (own_time() < stalled) {
		alarm(1);
		return;
	}
	set_verdict(BREACHED, "a process did not end in %d s: %s", CHILD_SECONDS,
		    shared->step);
	_exit(0);
}

/* HOSTILE_PIDS: each process says its pid, so that a test can compare the kernel's lines */
static void say_pid(void)
{
	if (getenv("HOSTILE_PIDS")) {
		printf("pid %d\n", getpid());
		fflush(stdout);
	}
}

int in_child(void (*fn)(void *), void *arg)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		say_pid();
		fn(arg);
		_exit(0);
	}
	signal(SIGALRM, on_stall);
	stalled = own_time() + CHILD_SECONDS;
	alarm(CHILD_SECONDS);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		conclude(INCONCLUSIVE, "fork: %s", strerror(errno));
	alarm(0);
	return status;
}

/* ------------------------------------------------------------------------
 * Running and judging an attack
 */

static const struct attack {
	const char *name, *what;
	void (*run)(void);		/* in a child */
	void (*prepare)(void);		/* before, in the judge */
	void (*judge)(void);		/* after, in the judge */
	int patience;			/* seconds of own_time() that it may take; 0: 10 */
	bool stubborn;			/* tries to run on after SIGKILL */
} attacks[] = {
	{ "foreign-frame", "read another process's memory with the memory fd",
	  foreign_frame, start_victim, judge_claim, 60, false },
	{ "length-overrun", "map more frames than the one that is allowed",
	  length_overrun, start_victim, judge_claim, 60, false },
	{ "wrong-prot", "map a read-only page writable",
	  wrong_prot, create_owned_file, judge_owned_file, 120, false },
	{ "munmap-stub", "unmap the stub's own pages",
	  munmap_stub, NULL, NULL, 60, false },
	{ "fd-window", "take the memory fd, from every byte of the stub's code",
	  fd_window, start_victim, judge_claim, 240, false },
	{ "run-beside", "run while the kernel works on the process's call",
	  run_beside, NULL, NULL, 60, false },
	{ "exit-beside", "write to pages while the kernel frees them at the process's end",
	  exit_beside, NULL, NULL, 60, false },
	{ "block-signal", "block the timer tick, by every instruction that calls",
	  block_signal, NULL, NULL, 60, false },
	{ "alarm-spin", "block the timer tick and spin",
	  alarm_spin, NULL, NULL, 1, true },
	{ "alarm-sleep", "block the timer tick and sleep for ever",
	  alarm_sleep, NULL, NULL, 1, true },
	{ "alarm-fault", "block the timer tick and fault without end",
	  alarm_fault, NULL, NULL, 1, true },
	{ "alarm-stop", "block the timer tick and spin, while others stop the process",
	  alarm_stop, NULL, NULL, 1, true },
	{ "park-again", "park without end as if it were answered already",
	  park_again, NULL, NULL, 60, false },
	{ "fetch-again", "run while the kernel asks for registers",
	  fetch_again, NULL, NULL, 60, false },
	{ "altstack-move", "have the host put its signal frames elsewhere",
	  altstack_move, NULL, NULL, 60, false },
	{ "arch-prctl", "run arch_prctl codes that the stub never needs",
	  arch_prctl_codes, NULL, NULL, 60, false },
	{ "page-calls", "make every system call from the stub's page",
	  page_calls, NULL, NULL, 120, false },
	{ "forged-park", "hand over with forged arguments and frames",
	  forged_park, NULL, NULL, 120, false },
	{ "corrupt-data", "change each word of the stub's data before each way to hand over",
	  corrupt_data, NULL, NULL, 120, false },
	{ "forged-length", "report a failed batch with a length out of range",
	  forged_length, NULL, NULL, 0, false },
	{ "forged-si-offset", "report siginfo out of range",
	  forged_si_offset, NULL, NULL, 0, false },
	{ "forged-fp-size", "change the FP state's size during a guest call",
	  forged_fp_size, NULL, NULL, 0, false },
	{ "restart-wait", "set the kernel's own flag in the shared data",
	  restart_wait, NULL, NULL, 0, false },
	{ "clone-vm-err", "leave an err that becomes an index in the kernel",
	  clone_vm_err, NULL, NULL, 0, false },
	{ "left-behind", "find what an ended process has left in its stub",
	  left_behind, NULL, NULL, 60, false },
	{ "stale-page", "read a page that another process has given back",
	  stale_page, start_victim, judge_claim, 60, false },
	{ "copy-race", "give pages back while the kernel copies to them",
	  copy_race, NULL, NULL, 60, false },
	{ "traced-death", "lose the stub, and take the signal back as a tracer",
	  traced_death, NULL, NULL, 60, false },
	{ "collude", "stop, trace, kill and starve a hijacked stub from another CPU",
	  collude, start_victim, judge_claim, 60, false },
	{ "fork-bomb", "break stubs in a crowd that doubles",
	  fork_bomb, NULL, NULL, 60, false },
	{ "log-flood", "fill the log with lines, by all that is worth one",
	  log_flood, NULL, NULL, 120, false },
	{ "storm", "keep the kernel busy with broken stubs, beside a sleeper",
	  storm, NULL, NULL, 60, false },
	{ "ring-fork", "read pages that fork() puts where the process's own were",
	  ring_fork, start_victim, judge_claim, 60, false },
	{ "remap-stale", "keep pages whose page table is freed and made anew in one call",
	  remap_stale, start_victim, judge_claim, 120, false },
	{ "partial-sync", "have another thread synchronise a part of a page table that is being freed",
	  partial_sync, start_victim, judge_claim, 60, false },
	{ "caller-gone", "have the kernel write the registers of a thread that has ended",
	  caller_gone, NULL, NULL, 120, false },
	{ "copy-rights", "have the kernel copy without the rights that are needed",
	  copy_rights, NULL, NULL, 60, false },
	{ "pfn-cow", "write to a child's copy of a device's memory",
	  pfn_cow, NULL, NULL, 60, false },
	{ "poison-panic", "read a page that userfaultfd has poisoned",
	  poison_panic, NULL, NULL, 60, false },
	{ "fault-signal", "wait for a page that nobody brings, and for a signal",
	  fault_signal, NULL, NULL, 60, false },
	{ "chaos", "do whatever comes next to stubs, memory, kernel and each other",
	  chaos, NULL, NULL, 90, false },
};

static bool reap(pid_t pid, int *status, int seconds)
{
	double deadline = own_time() + seconds;

	while (waitpid(pid, status, WNOHANG) == 0) {
		if (own_time() > deadline)
			return false;
		usleep(10000);
	}
	return true;
}

/* Seconds for an attacker to end after SIGKILL. */
#define GRACE		5
#define STUBBORN_GRACE	40

/*
 * An attacker that SIGKILL does not end keeps its CPU, or locks of the guest
 * kernel. If that is the only CPU, this process does not run either, and there is
 * no result line.
 */
static int watch(pid_t pid, const struct attack *attack)
{
	int grace = attack->stubborn ? STUBBORN_GRACE : GRACE;
	/* HOSTILE_PATIENCE: a factor for guests with other load */
	const char *factor = getenv("HOSTILE_PATIENCE");
	int patience = (attack->patience ? attack->patience : 10) *
		       (factor && !attack->stubborn ? atoi(factor) : 1);
	int status = 0;
	bool ended = reap(pid, &status, patience);

	/* and its children, which would keep our output open */
	kill(-pid, SIGKILL);
	if (!ended && !reap(pid, &status, grace))
		set_verdict(BREACHED, "%d s after SIGKILL it is still there, %s",
			    grace, shared->step);
	else if (!ended && !attack->stubborn && shared->kind == PENDING)
		set_verdict(INCONCLUSIVE, "not done yet, %s", shared->step);
	return status;
}
static void judge_status(int status)
{
	if (shared->kind != PENDING)
		return;
	if (WIFSIGNALED(status))
		set_verdict(BLOCKED, "killed by signal %d while %s",
			    WTERMSIG(status), shared->step);
	else
		set_verdict(INCONCLUSIVE, "exit status %d while %s",
			    WEXITSTATUS(status), shared->step);
}

static void use_memory(void *arg)
{
	memset((void *)reserve((size_t)arg), 1, (size_t)arg);
}

static void run_attack(const struct attack *attack)
{
	double start;
	pid_t pid;

	if (attack->prepare)
		attack->prepare();
	fflush(stdout);
	start = own_time();
	pid = fork();
	if (pid < 0)
		conclude(INCONCLUSIVE, "fork: %s", strerror(errno));
	if (pid == 0) {
		setpgid(0, 0);
		say_pid();
		find_stub();
		attack->run();
		_exit(3);
	}
	judge_status(watch(pid, attack));
	if (attack->judge)
		attack->judge();
	/* a guest that survived must still work */
	if (in_child(use_memory, (void *)(64 * PAGE)) != 0)
		set_verdict(BREACHED, "the guest cannot run another process now");
	snprintf(shared->step, sizeof(shared->step), "%.1f s", own_time() - start);
}

static int print_verdict(void)
{
	static const char *const names[] = {
		[BLOCKED] = "BLOCKED", [BREACHED] = "BREACHED",
		[INCONCLUSIVE] = "INCONCLUSIVE", [SKIPPED] = "SKIPPED",
	};
	static const int codes[] = {
		[BLOCKED] = 0, [BREACHED] = 1, [INCONCLUSIVE] = 2, [SKIPPED] = 3,
	};
	enum kind kind = shared->kind;

	printf("%s %s (%s)\n", names[kind], shared->text, shared->step);
	return codes[kind];
}

static void print_stub(void)
{
	unsigned int i;

	find_stub();
	printf("code %#lx data %#lx end %#lx\n", stub.code, stub.data, stub.end);
	for (i = 0; i < stub.nsites; i++)
		printf("syscall %ld at code+%#lx\n", stub.nr[i], stub.site[i] - stub.code);
	if (find_report()) {
		printf("signal frame at data+%#lx, offsets at data+%#lx from data+%#lx\n",
		       (uintptr_t)report.frame - stub.data,
		       (uintptr_t)report.si_offset - stub.data,
		       report.stack - stub.data);
		printf("futex through code+%#lx\n", site_for(SYS_futex) - stub.code);
	} else if (find_control()) {
		printf("registers at data+%#lx, batch at data+%#lx, message at data+%#lx\n",
		       (uintptr_t)control.gp - stub.data,
		       (uintptr_t)control.batch - stub.data,
		       control.message ? (uintptr_t)control.message - stub.data : 0);
		printf("flags %#x, of a batch that maps %#x\n", control.back, control.with_fd);
		if (find_park())
			printf("parks by call %ld at code+%#lx, frame at data+%#lx\n",
			       park.nr, park.site - stub.code,
			       (uintptr_t)park.frame - stub.data);
	}
	fflush(stdout);
	set_verdict(BLOCKED, "nothing was attacked");
}

static void list_attacks(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(attacks); i++)
		printf("%-18s %s\n", attacks[i].name, attacks[i].what);
}

static const struct attack *find_attack(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(attacks); i++)
		if (!strcmp(attacks[i].name, name))
			return &attacks[i];
	return NULL;
}

static const struct attack *chosen;

/* In a child, because conclude() ends the process that calls it. */
static void judge_main(void *arg)
{
	(void)arg;
	if (chosen)
		run_attack(chosen);
	else
		print_stub();
}

int main(int argc, char **argv)
{
	pid_t pid;

	if (argc == 2 && !strcmp(argv[1], "--list")) {
		list_attacks();
		return 0;
	}
	chosen = argc == 2 ? find_attack(argv[1]) : NULL;
	if (!chosen && (argc != 2 || strcmp(argv[1], "--probe"))) {
		fprintf(stderr, "usage: %s --list | --probe | ATTACK\n", argv[0]);
		return 2;
	}
	shared = map_shared(sizeof(*shared));
	find_clock();
	pid = fork();
	if (pid == 0) {
		judge_main(NULL);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, NULL, 0) != pid) {
		perror("fork");
		return 2;
	}
	return print_verdict();
}
