#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Breaks the guard and arch/um in ways that the mapping oracle must notice (docs/audit.md).

audit-mutants.py VERSION [NAME...]   all mutants, or those whose names begin so; needs the kernel of build.sh VERSION guarded

One kernel has all changes of the kernel, .cache/obj/VERSION-mutants: the parameter mutant=N selects one, and audit-provoke
provokes it. A library of its own, build/audit-mutants, has those of the library. A first run has none: the oracle must find
nothing.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mutated import CACHE, TOP, UML, build, die

DECLARED = "extern int um_mutant;\n"

# What is broken; what provokes it (uml/tests/audit-provoke.c); the guest's CPUs; what the oracle must say; the file in the
# kernel's tree; a unique piece of it, and its replacement, where N is the mutant's number.
MUTANTS = [
    ("set_ptes() advances by the PTEs that are left", "ring", 1, "by its own account", "arch/um/include/asm/pgtable.h",
     "pte = __pte(pte_val(pte) + (1UL << PFN_PTE_SHIFT));",
     "pte = __pte(pte_val(pte) + ((um_mutant == N ? nr : 1UL) << PFN_PTE_SHIFT));"),
    ("a new page table does not inherit NEEDSYNC", "remap", 1, "nothing is granted", "arch/um/include/asm/pgalloc.h",
     "	if (!(entry & _PAGE_NEEDSYNC))\n", "	if (!(entry & _PAGE_NEEDSYNC) || um_mutant == N)\n"),
    ("a flush does not wait", "flush", 2, "runs with what its page table has lost", "arch/um/kernel/skas/stubguard/flush.c",
     "	if (!stub_guard_on || !id->stack)\n", "	if (!stub_guard_on || !id->stack || um_mutant == N)\n"),
    ("a page loses the right to write without a mark", "protect", 1, "rwx, r-x is granted", "arch/um/include/asm/stub-guard-pgtable.h",
     "	*ptep = pte_wrprotect(old);\n", "	*ptep = pte_wrprotect(old);\n	if (um_mutant == N)\n		return;\n"),
    ("a munmap is left out of a batch", "unmap", 1, "nothing is granted", "arch/um/os-Linux/skas/mem.c",
     "	/* Compress with previous syscall if that is possible */\n"
     "	sc = syscall_stub_get_previous(mm_idp, STUB_SYSCALL_MUNMAP, addr);\n",
     "	if (um_mutant == N && addr >= 0x200000000000)\n		return 0;\n"
     "	sc = syscall_stub_get_previous(mm_idp, STUB_SYSCALL_MUNMAP, addr);\n"),
]
# The same for the library, in its sources.
LIBRARY = [
    ("a wash leaves a page", "pool", 1, "of no address space has", "src/window/wash.rs",
     "            self.write_call(&mut calls, Call { length: self.monitor.config.stub_start, ..Call::default() })?;\n",
     "            let page = 0x2000_0000_0000;\n"
     "            self.write_call(&mut calls, Call { length: page, ..Call::default() })?;\n"
     "            let above = page + 4096;\n"
     "            self.write_call(&mut calls, Call { addr: above, length: self.monitor.config.stub_start - above, ..Call::default() })?;\n"),
]


def build_kernel(version):
    """One kernel with all changes."""
    edits = [(file, old, new.replace("== N", f"== {number}")) for number, (_, _, _, _, file, old, new) in enumerate(MUTANTS, 1)]
    edits += [
        ("arch/um/include/asm/pgtable.h", "#include <linux/mm_types.h>\n", "#include <linux/mm_types.h>\n" + DECLARED),
        ("arch/um/os-Linux/skas/mem.c", "extern char __syscall_stub_start[];\n", "extern char __syscall_stub_start[];\n" + DECLARED),
        ("arch/um/kernel/tlb.c", "struct vm_ops {\n", "int um_mutant;\ncore_param(mutant, um_mutant, int, 0600);\n\nstruct vm_ops {\n"),
    ]
    return build(version, "mutants", edits, "CONFIG_UML_STUBGUARD_AUDIT=y")


def build_library():
    """Builds the library with all its changes (one so far), in a copy of its sources."""
    tree = TOP / "build/audit-mutants"
    names = subprocess.run(["git", "ls-files", "-z", "src", "include", "Cargo*", "build.rs", "Makefile", "stubguard.map", "cbindgen.toml", "*.mk"],
                           cwd=TOP, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        source, target = TOP / name, tree / name
        text = source.read_bytes()
        for _, _, _, _, file, old, new in LIBRARY:
            if name == file:
                if text.decode().count(old) != 1:
                    die(f"{name}: not once there: {old.strip()}")
                text = text.decode().replace(old, new).encode()
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_bytes() != text:
            target.write_bytes(text)
    done = subprocess.run(["make", "-s", "lib"], cwd=tree, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        die(f"the library does not compile:\n{done.stdout[-1000:]}{done.stderr[-2000:]}")
    return tree / "build/lib"


class Guest:
    """Boots a kernel, provokes one thing there, and runs the oracle."""

    def __init__(self, folder):
        self.folder = folder
        self.busybox = shutil.which("busybox") or die("busybox is missing: apt-get install busybox-static")
        (folder / "tmp").mkdir()
        (folder / "looks/guest").mkdir(parents=True)
        self.programs = TOP / "build/guests"
        subprocess.run(["make", "-s", "-C", UML / "guests", f"OUT={self.programs}"], check=True)
        subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-o", folder / "provoke", UML / "tests/audit-provoke.c"], check=True)
        self.auditor = subprocess.Popen([sys.executable, "-B", UML / "audit.py", folder / "looks"])

    def run(self, kernel, what, cpus, mutant, library=None):
        """Returns what the oracle says, and whether it has found a violation."""
        look = "" if what == "flush" else f"""
while ! $bb grep -q ready $TMPDIR/said; do $bb usleep 50000; done
{self.programs}/audit {self.folder}/looks/guest"""
        end = "$bb cat $TMPDIR/said" if what == "flush" else ""
        init = self.folder / "init"
        init.write_text(f"""#!{self.busybox} sh
bb={self.busybox}
export TMPDIR={self.folder}/tmp
$bb mount -t proc proc /proc
$bb mount -t tmpfs tmpfs $TMPDIR
$bb mkdir $TMPDIR/sys
$bb mount -t sysfs sysfs $TMPDIR/sys
{self.folder}/provoke {what} $TMPDIR/sys/module/kernel/parameters/mutant {mutant} >$TMPDIR/said 2>&1 {"" if what == "flush" else "&"}{look}
{end}
echo exit-status 0
$bb poweroff -f
""")
        init.chmod(0o755)
        environment = os.environ | {"NCPUS": str(cpus), "TIMEOUT": "120"} | ({"LD_LIBRARY_PATH": str(library)} if library else {})
        done = subprocess.run([UML / "boot.sh", kernel, init], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, errors="replace", env=environment)
        lines = [line for line in done.stdout.splitlines() if line.startswith("audit")]
        for name in ("snapshot", "verdict"):
            (self.folder / "looks/guest" / name).unlink(missing_ok=True)
        if not lines:
            print("\n".join(done.stdout.splitlines()[-15:] + done.stderr.splitlines()[-5:]))
        return lines


def main():
    if len(sys.argv) < 2:
        die("one argument at least: the version of a guarded kernel")
    names = tuple(sys.argv[2:])
    kernel, library = build_kernel(sys.argv[1]), build_library()
    runs = [(*m[:4], n, None) for n, m in enumerate(MUTANTS, 1)] + [(*m[:4], 0, library) for m in LIBRARY]
    runs = [run for run in runs if not names or run[0].startswith(names)]
    failed = 0
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="mutants.") as folder:
        guest = Guest(Path(folder))
        try:
            for name, what, cpus, expected, number, lib in runs:
                right, wrong = guest.run(kernel, what, cpus, 0), guest.run(kernel, what, cpus, number, lib)
                found = [line for line in wrong if line.startswith("audit-wrong")]
                if not any(line.startswith("audit: ok") for line in right):
                    word = "FAILED: without it: " + " / ".join(right[:2] or ["no word"])
                elif not any(expected in line for line in found):
                    word = "SURVIVED: " + " / ".join(wrong[:2] or ["no word"])
                else:
                    word = "caught"
                failed += word != "caught"
                print(f"{word}: {name}" + "".join(f"\n    {line[12:]}" for line in found[:2]), flush=True)
        finally:
            guest.auditor.kill()
            guest.auditor.wait()
    print(f"audit-mutants: {'FAILED' if failed else 'ok'}, {len(runs) - failed} of {len(runs)} caught")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
