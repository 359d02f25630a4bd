#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Breaks what the mapping oracle looks at, and sees whether it notices (docs/audit.md).

audit-mutants.py KERNEL [NAME...]   all of them, or those whose names begin so; KERNEL is a guarded one, built by build.sh

All changes of the kernel are in one kernel, .cache/obj/VERSION-mutants, where the boot parameter mutant=N selects one.
The library's are in a library of its own, build/audit-mutants. A first run is without any: nothing may be found then.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
UML = TOP / "uml"
CACHE = Path(os.environ.get("STUBGUARD_CACHE", TOP / ".cache"))
DECLARED = "extern int um_mutant;\n"

# What is broken; what provokes it (uml/tests/audit-provoke.c); the guest's CPUs; what the oracle says; the file in the
# kernel's tree, a unique piece of it, and what it becomes, N being the mutant's number.
MUTANTS = [
    ("set_ptes() advances by the PTEs that are left", "ring", 1, "by its own account", "arch/um/include/asm/pgtable.h",
     "pte = __pte(pte_val(pte) + (1UL << PFN_PTE_SHIFT));",
     "pte = __pte(pte_val(pte) + ((um_mutant == N ? nr : 1UL) << PFN_PTE_SHIFT));"),
    ("a new page table does not inherit NEEDSYNC", "remap", 1, "nothing is granted", "arch/um/include/asm/pgalloc.h",
     "	if (!(entry & _PAGE_NEEDSYNC))\n", "	if (!(entry & _PAGE_NEEDSYNC) || um_mutant == N)\n"),
    ("a flush does not wait", "flush", 2, "runs with what its page table has lost", "arch/um/kernel/skas/stubguard.c",
     "	if (!stub_guard_on || !id->stack)\n", "	if (!stub_guard_on || !id->stack || um_mutant == N)\n"),
    ("a page loses the right to write without a mark", "fork", 1, "rwx, r-x is granted", "arch/um/include/asm/stub-guard-pgtable.h",
     "	*ptep = pte_wrprotect(old);\n", "	*ptep = pte_wrprotect(old);\n	if (um_mutant == N)\n		return;\n"),
    ("a munmap is left out of a batch", "unmap", 1, "nothing is granted", "arch/um/os-Linux/skas/mem.c",
     "	/* Compress with previous syscall if that is possible */\n"
     "	sc = syscall_stub_get_previous(mm_idp, STUB_SYSCALL_MUNMAP, addr);\n",
     "	if (um_mutant == N && addr >= 0x200000000000)\n		return 0;\n"
     "	sc = syscall_stub_get_previous(mm_idp, STUB_SYSCALL_MUNMAP, addr);\n"),
]
# Likewise, of the library: in its sources.
LIBRARY = [
    ("a wash leaves a page", "pool", 1, "of no address space has", "src/monitor/parked.rs",
     "            self.write_call(&mut calls, Call { length: self.monitor.config.stub_start, ..Call::default() })?;\n",
     "            let page = 0x2000_0000_0000;\n"
     "            self.write_call(&mut calls, Call { length: page, ..Call::default() })?;\n"
     "            let above = page + 4096;\n"
     "            self.write_call(&mut calls, Call { addr: above, length: self.monitor.config.stub_start - above, ..Call::default() })?;\n"),
]


def die(text):
    sys.exit(f"audit-mutants: {text}")


def change(path, old, new):
    """Writes a file anew, as trees share files."""
    text = path.read_text()
    if text.count(old) != 1:
        die(f"{path}: not once there: {old.strip()}")
    path.unlink()
    path.write_text(text.replace(old, new))


def copy(source, target):
    """Hard links; what was copied before and is the same stays, with its time."""
    subprocess.run(["rsync", "-a", "--delete", f"{source}/", f"{target}/"], check=True)


def build_kernel(version):
    """The guarded tree's copy, with all changes in it."""
    tree, objects = CACHE / "src" / f"linux-{version}-mutants", CACHE / "obj" / f"{version}-mutants"
    fresh = tree.with_name(tree.name + ".new")
    guarded = CACHE / "src" / f"linux-{version}-guarded"
    names = {m[4] for m in MUTANTS} | {"arch/um/kernel/tlb.c"}
    if not tree.exists():
        shutil.rmtree(fresh, ignore_errors=True)
        subprocess.run(["cp", "-al", guarded, fresh], check=True)
        fresh.rename(tree)
    # All of arch as it is now; what is to be changed again goes through a folder beside, to keep the times of what is the same
    wanted = tree.with_name(tree.name + ".arch")
    shutil.rmtree(wanted, ignore_errors=True)
    for part in ("arch/um", "arch/x86/um"):
        (wanted / part).parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", guarded / part, wanted / part], check=True)
    for number, (_, _, _, _, file, old, new) in enumerate(MUTANTS, 1):
        change(wanted / file, old, new.replace("== N", f"== {number}"))
    change(wanted / "arch/um/include/asm/pgtable.h", "#include <linux/mm_types.h>\n", "#include <linux/mm_types.h>\n" + DECLARED)
    change(wanted / "arch/um/os-Linux/skas/mem.c", "extern char __syscall_stub_start[];\n", "extern char __syscall_stub_start[];\n" + DECLARED)
    change(wanted / "arch/um/kernel/tlb.c", "struct vm_ops {\n", """int um_mutant;

static int __init um_mutant_setup(char *text)
{
	return kstrtoint(text, 0, &um_mutant) == 0;
}
__setup("mutant=", um_mutant_setup);

struct vm_ops {
""")
    for path in wanted.rglob("*"):
        target = tree / path.relative_to(wanted)
        if path.is_symlink() or not path.is_file():
            continue
        if not target.exists() or target.read_bytes() != path.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            shutil.copy(path, target)
    shutil.rmtree(wanted)
    config = CACHE / "obj" / f"{version}-guarded" / ".config"
    if "CONFIG_UML_STUBGUARD_AUDIT=y" not in config.read_text().splitlines():
        die(f"{config}: UML_STUBGUARD_AUDIT is not set: make uml builds such a kernel")
    if not objects.exists():
        objects.mkdir(parents=True)
    if not (objects / ".config").exists() or (objects / ".config").read_bytes() != config.read_bytes():
        shutil.copy(config, objects / ".config")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "CFLAGS", "KBUILD"))} | {"LC_ALL": "C"}
    jobs = os.environ.get("JOBS", str(os.cpu_count()))
    log = CACHE / "log" / f"build-{version}-mutants.log"
    log.parent.mkdir(exist_ok=True)
    print(f"build {objects.relative_to(CACHE)} (log: {log})", flush=True)
    with log.open("w") as out:
        if subprocess.run(["make", "-C", tree, "ARCH=um", f"O={objects}", f"-j{jobs}", "linux"], stdin=subprocess.DEVNULL,
                          stdout=out, stderr=subprocess.STDOUT, env=environment).returncode:
            die(f"the kernel does not compile:\n{log.read_text()[-2000:]}")
    return objects / "linux"


if __name__ == "__main__":
    build_kernel(sys.argv[1])
