#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""No reachable panic: build/stubguard.o has only code that the exported functions reach (the linker
has removed the rest), so it must have no trace of a panic.

It looks for four traces, since each can be missing: the name of a section or symbol (each function
has a section, whose name survives stripping); a call to the outside; a source location, which each
panic but a bare abort has; the instruction of an abort.
"""

import os
import re
import struct
import subprocess

from elf import GLOBAL, R_64, SHF_ALLOC, TOP, Elf, Report, demangled

NAMES = re.compile(
    r"panic|unwrap_failed|expect_failed|slice_\w*fail|index_fail|_overflow|unwind|_Unwind|eh_personality|"
    r"handle_alloc_error|__rust_(alloc|realloc|dealloc)|__rg_|__rdl_|rust_oom|\babort\b|__assert_fail|__stack_chk_fail"
)

report = Report("panics")


def location(elf, relocation, after):
    """The path, if the relocated address is that of a core::panic::Location's file."""
    section = elf.sections[relocation.symbol.section]
    (length,) = struct.unpack_from("<Q", after) if len(after) >= 8 else (0,)
    start = relocation.symbol.value + relocation.addend
    if not 0 < length < 1024:
        return None
    text = elf.bytes_of(section)[start : start + length].decode(errors="replace")
    return text if text.endswith(".rs") else None


class Graph:
    """References between sections, by their names, and to names outside."""

    def __init__(self, elf, there):
        self.elf, self.edges = elf, {}
        for index in there:
            section = elf.sections[index]
            if section.name != ".eh_frame":
                self.edges[section.name] = {self.name(r.symbol) for r in elf.relocations(section)}

    def name(self, symbol):
        """The section's name, as each function has a section; the symbol's name for functions outside."""
        return self.elf.sections[symbol.section].name if 0 < symbol.section < 0xFF00 else symbol.name

    def ways(self, start, ends):
        """Paths from a function to the first of `ends`, one for each last step."""
        before, todo, found = {start: None}, [start], []
        for at in todo:
            for to in sorted(self.edges.get(at, ())):
                if to in ends:
                    way = [to]
                    while at is not None:
                        way.insert(0, at)
                        at = before[at]
                    found.append(way)
                    break
                if to not in before:
                    before[to] = at
                    todo.append(to)
        return found


def main():
    elf = Elf.read(TOP / "build/stubguard.o")
    there = {s.index for s in elf.sections if s.flags & SHF_ALLOC}
    names = {s.name for s in elf.sections if s.index in there}
    names |= {s.name for s in elf.symbols if s.section in there or s.section == 0}
    traces = {name for name in names if NAMES.search(name)}
    functions = sum(name.startswith(".text.") for name in names)
    exported = sorted({elf.sections[s.section].name for s in elf.symbols if s.bind == GLOBAL and s.section in there})
    # One panic brings hundreds of functions: report only the callers of the first one.
    graph, ways = Graph(elf, there), {}
    for function in exported:
        for way in graph.ways(function, traces):
            ways.setdefault(tuple(way[-2:]), way)
    for way in sorted(ways.values()):
        report.bad("there is a way: " + " -> ".join(demangled([n.removeprefix(".text.").removeprefix("unlikely.") for n in way])))
    for name in sorted(traces)[:10] if not ways else ():
        report.bad(f"there is {name}")
    for section in (s for s in elf.sections if s.index in there and s.name != ".eh_frame"):
        data = elf.bytes_of(section)
        for relocation in elf.relocations(section):
            if relocation.type == R_64 and relocation.symbol.section in there:
                path = location(elf, relocation, data[relocation.offset + 8 : relocation.offset + 16])
                if path and not (ways and path.startswith("/")):
                    line = struct.unpack_from("<I", data, relocation.offset + 16)[0]
                    report.bad(f"there is the location of a panic: {path}:{line}")
    text = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", str(TOP / "build/stubguard.o")],
        check=True, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"},
    ).stdout
    where = "?"
    # The code of a panic itself has many of them.
    for line in text.splitlines() if not traces else ():
        if line.startswith("Disassembly of section "):
            where = line.split()[-1].rstrip(":")
        elif re.search(r"\t(ud2|ud1|ud0|hlt)\b", line):
            report.bad(f"{where}: traps: {line.strip()}")
    if not functions or not exported:
        report.bad("build/stubguard.o: no section for each function: nothing can be concluded")
    report.end(f"none in the {functions} functions of stubguard.o")


if __name__ == "__main__":
    main()
