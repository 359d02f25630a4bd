#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""No reachable panic: build/stubguard.o holds what the exported functions reach and nothing else
(the linker has removed the rest), so there must be nothing of Rust's panicking in it.

Four traces, since each can be lost: the name of a section or symbol (each function has a section of
its own, whose name outlives stripping); a call of something outside; a source location, which
every panic but a bare abort carries; the instruction that an abort becomes.
"""

import os
import re
import struct
import subprocess

from elf import R_64, SHF_ALLOC, TOP, Elf, Report

NAMES = re.compile(
    r"panic|unwrap_failed|expect_failed|slice_\w*fail|index_fail|_overflow|unwind|_Unwind|eh_personality|"
    r"handle_alloc_error|__rust_(alloc|realloc|dealloc)|__rg_|__rdl_|rust_oom|\babort\b|__assert_fail|__stack_chk_fail"
)

report = Report("panics")


def location(elf, relocation, after):
    """The path if what is relocated is the address of a core::panic::Location's file."""
    section = elf.sections[relocation.symbol.section]
    (length,) = struct.unpack_from("<Q", after) if len(after) >= 8 else (0,)
    start = relocation.symbol.value + relocation.addend
    if not 0 < length < 1024:
        return None
    text = elf.bytes_of(section)[start : start + length].decode(errors="replace")
    return text if text.endswith(".rs") else None


def reached(elf, relocation):
    """The name of what a relocation refers to."""
    symbol = relocation.symbol
    return symbol.name or elf.sections[symbol.section].name


def main():
    elf = Elf.read(TOP / "build/stubguard.o")
    there = {s.index for s in elf.sections if s.flags & SHF_ALLOC}
    names = {s.name for s in elf.sections if s.index in there}
    names |= {s.name for s in elf.symbols if s.section in there or s.section == 0}
    traces = {name for name in names if NAMES.search(name)}
    # One panic brings hundreds of functions with it: what is wanted is who starts it.
    ours, functions = set(), 0
    for section in (s for s in elf.sections if s.index in there and s.name != ".eh_frame"):
        functions += section.name.startswith(".text.")
        data = elf.bytes_of(section)
        for relocation in elf.relocations(section):
            target = reached(elf, relocation)
            if section.name not in traces and section.name.startswith(".text.") and target in traces:
                if not re.search(r"\d(std|core|alloc|gimli|addr2line)\b|\d(std|core|alloc)\d", section.name):
                    ours.add(f"{section.name.removeprefix('.text.')} reaches {target.removeprefix('.text.')}")
            if relocation.type == R_64 and relocation.symbol.section in there:
                path = location(elf, relocation, data[relocation.offset + 8 : relocation.offset + 16])
                if path:
                    line = struct.unpack_from("<I", data, relocation.offset + 16)[0]
                    text = f"holds the location of a panic: {path}:{line}"
                    (traces if path.startswith("/rust") else ours).add(text)
    for text in sorted(ours):
        report.bad(text)
    if ours and traces:
        report.bad(f"so there is {min(traces)}, and {len(traces) - 1} more traces of panics")
    else:
        for text in sorted(traces)[:20]:
            report.bad(f"there is {text}")
    text = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", str(TOP / "build/stubguard.o")],
        check=True, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"},
    ).stdout
    where = "?"
    # The panicking code itself is full of them.
    for line in text.splitlines() if not traces else ():
        if line.startswith("Disassembly of section "):
            where = line.split()[-1].rstrip(":")
        elif re.search(r"\t(ud2|ud1|ud0|hlt)\b", line):
            report.bad(f"{where}: traps: {line.strip()}")
    if not functions:
        report.bad("build/stubguard.o: no section for each function: nothing can be concluded")
    report.end(f"none in the {functions} functions of stubguard.o")


if __name__ == "__main__":
    main()
