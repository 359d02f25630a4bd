#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Makes the moments longer in which a CPU could lose an IPI, and breaks what keeps it from that (0050 of uml/series).

ipis.py VERSION [NUMBER...]   all of them, or those; build.sh VERSION guarded comes before

The kernel is .cache/obj/VERSION-ipis. Where the parameter ipis=1 is given, it waits at each of these moments, for some time or until a signal
comes, and panics if it sleeps, enables signals, or enters userspace over an IPI. A larger number breaks one thing besides.
Guests of four CPUs run guests/crosscalls. The intact kernel must pass, and each broken one must be noticed.

ROUNDS     of crosscalls (20)
NCPUS      the guest's CPUs (4)
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mutated import CACHE, UML, build, die

# What is broken, and what the guest says then.
LOST = r"IPI check|still running"
BROKEN = {
    2: ("an idle CPU does not block IPIs before it looks", LOST),
    3: ("an idle CPU does not look for IPIs", LOST),
    4: ("IPIs are looked for before signals are enabled", LOST),
    5: ("IPIs that come while signals are disabled are forgotten", LOST),
    6: ("nobody looks again after pending IPIs were handled", LOST),
}

SIGNAL, SMP, TIME = "arch/um/os-Linux/signal.c", "arch/um/os-Linux/smp.c", "arch/um/os-Linux/time.c"
EDITS = [
    ("arch/um/kernel/tlb.c", "struct vm_ops {\n", "int um_ipis;\ncore_param(ipis, um_ipis, int, 0600);\n\nstruct vm_ops {\n"),
    ("arch/um/os-Linux/internal.h", "extern __thread int signals_enabled;\n",
     "extern __thread int signals_enabled;\nextern int um_ipis;\nvoid um_linger(int each, int us);\nvoid um_ipis_check(const char *what);\n"),
    (SMP, "#include <errno.h>\n", "#include <errno.h>\n#include <time.h>\n#include <sys/syscall.h>\n"),
    # Every so many times. A signal that is not blocked ends it.
    (SMP, "int os_ipi_pending(void)\n", """void um_linger(int each, int us)
{
	static __thread int n;
	struct timespec t = { 0, us * 1000 };
	int save_errno = errno;

	if (um_ipis && ++n % each == 0)
		syscall(__NR_nanosleep, &t, NULL);
	errno = save_errno;
}

static __thread unsigned int ipis_due;

void um_ipis_check(const char *what)
{
	if (um_ipis && (ipis_pending || ipis_due))
		panic("IPI check: %s over an IPI", what);
}

int os_ipi_pending(void)
"""),
    (SMP, """	unsigned int pending = __atomic_exchange_n(&ipis_pending, 0,
						   __ATOMIC_RELAXED);
	int vector;
""", """	unsigned int pending, due;
	int vector;

	pending = __atomic_exchange_n(&ipis_pending, 0, __ATOMIC_RELAXED);
	um_linger(1, 30);
	due = __atomic_exchange_n(&ipis_due, 0, __ATOMIC_RELAXED);
	if (due & ~(pending | ipis_pending))
		panic("IPI check: vectors %x are lost", due);
"""),
    (SMP, "	if (!signals_enabled) {\n", """	if (!signals_enabled && um_ipis)
		__atomic_fetch_or(&ipis_due, 1U << si->si_value.sival_int,
				  __ATOMIC_RELAXED);
	if (!signals_enabled && um_ipis == 5)
		return;
	if (!signals_enabled) {
"""),
    (SIGNAL, "	barrier();\n	signals_enabled = 0;\n", "	um_linger(64, 30);\n	barrier();\n	signals_enabled = 0;\n"),
    (SIGNAL, "	int save_pending;\n\n	if (signals_enabled == 1)\n		return;\n\n	__unblock_signals();\n",
     """	int save_pending, early = 0, again = 0;

	if (signals_enabled == 1)
		return;

	if (um_ipis == 4) {
		early = os_ipi_pending();
		um_linger(16, 30);
	}
	__unblock_signals();
	um_linger(16, 30);
"""),
    (SIGNAL, "		if (os_ipi_pending()) {\n", """		if (um_ipis == 4 ? early :
		    um_ipis == 6 ? !again && os_ipi_pending() :
		    os_ipi_pending()) {
			early = 0;
			again = 1;
"""),
    (SIGNAL, "		if (save_pending == 0)\n			return;\n", """		if (save_pending == 0) {
			um_ipis_check("signals are enabled");
			return;
		}
"""),
    (TIME, "	sigaddset(&set, IPI_SIGNAL);\n	sigprocmask(SIG_BLOCK, &set, NULL);\n",
     "	if (um_ipis != 2)\n		sigaddset(&set, IPI_SIGNAL);\n	um_linger(1, 200);\n	sigprocmask(SIG_BLOCK, &set, NULL);\n"),
    (TIME, "	if (!uml_need_resched() && !timer_alarm_pending() && !os_ipi_pending())\n		os_poll(1, &wake_signals);\n",
     """	if (!uml_need_resched() && !timer_alarm_pending() &&
	    (um_ipis == 3 || !os_ipi_pending())) {
		um_linger(1, 200);
		os_poll(1, &wake_signals);
		um_ipis_check("a CPU sleeps");
	}
"""),
    ("arch/um/os-Linux/skas/process.c", "extern char __syscall_stub_start[];\n",
     "extern char __syscall_stub_start[];\nextern int um_ipis;\nvoid um_ipis_check(const char *what);\n"),
    ("arch/um/os-Linux/skas/process.c", "		stub_guard_enter(mm_id);\n", """		stub_guard_enter(mm_id);
		if (um_ipis && !um_get_signals())
			panic("IPI check: signals are disabled in userspace");
		um_ipis_check("userspace is entered");
"""),
]


def main():
    if len(sys.argv) < 2:
        die("one argument at least: the version of a guarded kernel")
    numbers = [int(n) for n in sys.argv[2:]] or [1, *BROKEN]
    kernel = build(sys.argv[1], "ipis", EDITS)
    busybox = shutil.which("busybox") or die("busybox is missing: apt-get install busybox-static")
    failed = 0
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="ipis.") as folder:
        init = Path(folder) / "init"
        subprocess.run(["make", "-s", "-C", UML / "guests", f"OUT={folder}", f"{folder}/crosscalls"], check=True)
        init.write_text(f"""#!{busybox} sh
{busybox} mount -t proc proc /proc
{folder}/crosscalls {os.environ.get("ROUNDS", "20")}
echo exit-status $?
{busybox} poweroff -f
""")
        init.chmod(0o755)
        for number in numbers:
            environment = os.environ | {"NCPUS": os.environ.get("NCPUS", "4"), "MEM": "256", "TIMEOUT": "300" if number == 1 else "60"}
            done = subprocess.run([UML / "boot.sh", kernel, init, f"ipis={number}"], stdin=subprocess.DEVNULL, capture_output=True,
                                  text=True, errors="replace", env=environment)
            said = done.stdout + done.stderr
            name, expected = BROKEN.get(number, ("all moments are longer", ""))
            sign = re.search(f".*({expected}).*", said) if expected else None
            if not expected:
                word = "passed" if done.returncode == 0 and "crosscalls: passed" in said else "FAILED"
            else:
                word = "caught" if done.returncode and sign else "SURVIVED"
            failed += word.isupper()
            print(f"{word}: {number}, {name}" + (f"\n    {sign[0].strip()}" if sign else ""), flush=True)
            if word.isupper():
                print("\n".join(said.splitlines()[-20:]))
    print(f"ipis: {'FAILED' if failed else 'ok'}, {len(numbers) - failed} of {len(numbers)} as they have to be")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
