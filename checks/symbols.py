#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Names: header, version script and both forms have the same list, and import only checks/outside.txt.

symbols.py [VMLINUX...]   kernels to compare names with; default: those under .cache/obj
"""

import re
import sys
from pathlib import Path

from elf import PT_GNU_RELRO, PT_GNU_STACK, SHF_ALLOC, TOP, Elf, Report, members, outside

DT_NEEDED, DT_SONAME, DT_RPATH, DT_TEXTREL, DT_RUNPATH, DT_FLAGS, DT_FLAGS_1 = 1, 14, 15, 22, 29, 30, 0x6FFFFFFB
DF_TEXTREL, DF_BIND_NOW, DF_1_NOW = 4, 8, 1
PF_X = 1

report = Report("symbols")


def same(wanted, found, what):
    for name in sorted(wanted - found):
        report.bad(f"{name}: in stubguard.map, but not in {what}")
    for name in sorted(found - wanted):
        report.bad(f"{name}: in {what}, but not in stubguard.map")


def declared():
    """The functions that the header declares."""
    text = (TOP / "include/stubguard.h").read_text()
    text = re.sub(r"/\*.*?\*/|//[^\n]*|^\s*#[^\n]*", " ", text, flags=re.S | re.M)
    text = re.sub(r"\{[^{}]*\}|\btypedef\b[^;]*;", " ", re.sub(r'extern "C" \{', " ", text))
    return set(re.findall(r"\b(\w+)\s*\([^()]*\)\s*;", text))


def shared(path, exports, allowed, soname):
    so = Elf.read(path)
    same(exports, so.defined(dynamic=True), path.name)
    for name in sorted(so.undefined(dynamic=True) - set(allowed)):
        report.bad(f"{name}: undefined in {path.name}, not in checks/outside.txt")
    entries = list(so.dynamic())
    for tag, wanted, what in ((DT_SONAME, [soname], "SONAME"), (DT_NEEDED, ["libc.so.6"], "NEEDED")):
        found = [text for t, _, text in entries if t == tag]
        if found != wanted:
            report.bad(f"{path.name}: {what} is {' '.join(found) or 'missing'}, not {wanted[0]}")
    flags = {tag: value for tag, value, _ in entries}
    if DT_TEXTREL in flags or flags.get(DT_FLAGS, 0) & DF_TEXTREL:
        report.bad(f"{path.name}: has text relocations")
    if not (flags.get(DT_FLAGS, 0) & DF_BIND_NOW or flags.get(DT_FLAGS_1, 0) & DF_1_NOW):
        report.bad(f"{path.name}: not linked with -z now")
    if DT_RPATH in flags or DT_RUNPATH in flags:
        report.bad(f"{path.name}: has a library search path")
    stack = [s.flags for s in so.segments if s.type == PT_GNU_STACK]
    if len(stack) != 1 or stack[0] & PF_X:
        report.bad(f"{path.name}: asks for an executable stack")
    if not any(s.type == PT_GNU_RELRO for s in so.segments):
        report.bad(f"{path.name}: not linked with -z relro")


def static(path, exports, allowed):
    objects = list(members(path))
    if len(objects) != 1:
        report.bad(f"{path.name}: {len(objects)} objects, not 1")
    undefined = set()
    for name, elf in objects:
        same(exports, elf.defined(), path.name)
        undefined |= elf.undefined()
        for section in elf.sections:
            if section.flags & SHF_ALLOC and re.match(r"\.((pre)?init|fini|ctors|dtors)", section.name):
                report.bad(f"{name}: has {section.name}: code that runs before the kernel")
            if section.name.startswith((".tdata", ".tbss")):
                report.bad(f"{name}: has {section.name}: thread-local data, which not every kernel thread has")
        notes = [s for s in elf.sections if s.name == ".note.GNU-stack"]
        if not notes or any(s.flags & 4 for s in notes):
            report.bad(f"{name}: asks for an executable stack")
    for name in sorted(undefined - {n for n, (kind, _) in allowed.items() if kind != "crt"}):
        report.bad(f"{name}: undefined in {path.name}, not in checks/outside.txt")
    if "stub_mmap_allowed" not in undefined:
        report.bad(f"stub_mmap_allowed: not asked for by {path.name}")
    return undefined


def kernels(arguments):
    """Kernels, each by its object before the last link if there is one: the last link makes all names
    local."""
    paths = [Path(a) for a in arguments] or sorted((TOP / ".cache/obj").glob("*/vmlinux"))
    for path in paths:
        if not path.exists():
            sys.exit(f"symbols: {path}: there is no such kernel")
        before = path.with_name("vmlinux.o")
        yield Elf.read(before if before.exists() else path)


def clashes(kernel, exports, undefined, allowed):
    relocatable = not kernel.segments
    there = kernel.defined() if relocatable else {s.name for s in kernel.symbols if s.section}
    guarded = "stub_mmap_allowed" in there
    for name in sorted(undefined & there):
        if allowed.get(name, ("",))[0] not in ("kernel", "hook"):
            report.bad(f"{name}: called by the library, and {kernel.name} has its own")
    for name in sorted(exports & there):
        # A guarded kernel in the static form has our names before the last link.
        if not guarded:
            report.bad(f"{name}: exported by the library, and {kernel.name} has its own")


def main():
    build = TOP / "build/lib"
    version = re.search(r'^version = "(.*)"', (TOP / "Cargo.toml").read_text(), re.M)[1]
    soversion = re.search(r"^SOVERSION := (\S+)", (TOP / "Makefile").read_text(), re.M)[1]
    script = re.sub(r"/\*.*?\*/", "", (TOP / "stubguard.map").read_text(), flags=re.S)
    exports = set(re.findall(r"\b(\w+);", script.split("global:")[1].split("local:")[0]))
    allowed = outside()
    hooks = {name for name, (kind, _) in allowed.items() if kind == "hook"}

    header = declared()
    for name in sorted(hooks - header):
        report.bad(f"{name}: asked of the caller, but not in stubguard.h")
    same(exports, header - hooks, "stubguard.h")
    soname = f"libstubguard.so.{soversion}"
    shared(build / f"libstubguard.so.{version}", exports, allowed, soname)
    for link in (soname, "libstubguard.so"):
        if (build / link).resolve() != (build / f"libstubguard.so.{version}").resolve():
            report.bad(f"build/lib/{link}: does not lead to libstubguard.so.{version}")
    undefined = static(build / "libstubguard.a", exports, allowed)
    count = 0
    for kernel in kernels(sys.argv[1:]):
        clashes(kernel, exports, undefined, allowed)
        count += 1
    compared = f"names compared with {count} kernel(s)" if count else "no kernel built to compare names with"
    report.end(f"{len(exports)} exported in header, map, .so and .a; {len(undefined)} undefined; {compared}")


if __name__ == "__main__":
    main()
