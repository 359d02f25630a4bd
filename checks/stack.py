#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A bound for the stack of each exported function, from the machine code of build/stubguard.o.

It walks all paths of each function, with the stack's depth and the function addresses in registers
and spill slots: Rust calls functions outside through the GOT, and often through a register. From the
calls it builds the call graph. checks/outside.txt has the stack of C functions outside. The page-table
hook and the log function run on the same stack but belong to the caller: they are not counted, but the
table says how deep the stack is when they are called.

Code that the walk does not understand is an error: an instruction that moves the stack pointer in an
unknown way, a call of an unknown function, recursion, a function whose address is taken and whose stack
is not stated below.

The bounds are read from include/stubguard.h.
"""

import bisect
import functools
import os
import re
import subprocess
import sys
from collections import namedtuple

from elf import FUNC, GLOBAL, R_64, R_GOTPCREL, R_PC32, R_PLT32, SHF_ALLOC, SHF_EXECINSTR, TOP, WEAK, Elf, Report, demangled, outside

# Functions that are called by address: the stack on which they run, and how much of it they may use.
ELSEWHERE = {
    "stubguard::watchdog::main": (64 * 1024, "the watchdog's thread, 256 KiB"),
    "stubguard::host::probe::child_main": (32 * 1024, "the probe's process, 64 KiB"),
    "stubguard::host::thread::nothing": (256, "a signal stack"),
}
LARGER = ("stubguard_init", "start_seccomp_watchdog")
HOOK = "stub_mmap_allowed"
LOG = "the log function"
# The only function that may call through a given pointer: it calls the log function.
LOG_SITE = "stubguard::log::Line::send"
# If a bound is broken, larger frames are named.
LARGE = 256

report = Report("stack")
Insn = namedtuple("Insn", "at next mnemonic operands")


class Unknown(Exception):
    pass


# ---- registers and operands, in AT&T syntax

def _registers():
    whole = {}
    for letter in "abcd":
        for name in (f"r{letter}x", f"e{letter}x", f"{letter}x", f"{letter}l", f"{letter}h"):
            whole[name] = f"r{letter}x"
    for name in ("si", "di", "bp", "sp"):
        for form in (f"r{name}", f"e{name}", name, f"{name}l"):
            whole[form] = f"r{name}"
    for number in range(8, 16):
        for suffix in ("", "d", "w", "b"):
            whole[f"r{number}{suffix}"] = f"r{number}"
    return whole


WHOLE = _registers()
CLOBBERED = ("rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11")
PREFIXES = {"lock", "rep", "repz", "repnz", "repe", "repne", "notrack", "bnd", "data16", "cs", "ds", "es", "addr32"}
# They write no register.
READ_ONLY = re.compile(r"(cmp|test|bt|nop|ucomis|comis|ptest|prefetch|endbr|[lms]fence|pause)[a-z]*\d*$")
JUMPS = re.compile(r"j[a-z]+$|loop[a-z]*$")
# They may write registers that are no operands.
IMPLICIT = re.compile(r"(i?mul|i?div|cmpxchg|cpuid|rdtsc|xgetbv|syscall|movs|stos|lods|cmps|scas|c[bwlq]t|xchg|xadd)")


def split(operands):
    return [part.strip() for part in re.split(r",(?![^(]*\))", operands)] if operands else []


def register(operand):
    return WHOLE.get(operand[1:]) if operand.startswith("%") else None


def number(text):
    return int(text, 16) if text else 0


def stack_slot(operand, sp):
    """Offset below the return address of a plain stack operand."""
    match = re.fullmatch(r"(-?0x[0-9a-f]+)?\(%rsp\)", operand)
    return sp - number(match[1]) if match else None


# ---- one function


class Function:
    def __init__(self, name, section, start, end):
        self.name, self.section, self.start, self.end = name, section, start, end
        self.insns = {}
        self.depth = 0  # its own deepest point
        self.calls = {}  # name of the callee: depth at the call, return address not counted


class State:
    """The state before an instruction: `sp` bytes are in use below the return address."""

    def __init__(self, sp, known):
        self.sp, self.known = sp, known

    def copy(self):
        return State(self.sp, dict(self.known))

    def merge(self, other, where):
        """Joins two states of one instruction. Values of `known` are sets of names, or ("sp", n)."""
        if self.sp != other.sp:
            raise Unknown(f"{where}: the stack is {self.sp} or {other.sp} bytes deep")
        merged = {}
        for key, value in self.known.items():
            there = other.known.get(key)
            if there == value:
                merged[key] = value
            elif isinstance(there, frozenset) and isinstance(value, frozenset):
                merged[key] = there | value
        changed = merged != self.known
        self.known = merged
        return changed


class Walk:
    def __init__(self, program, function):
        self.program, self.function = program, function
        self.states, self.work, self.table_depth = {}, [], None

    def go(self):
        self.reach(self.function.start, State(0, {}))
        while True:
            while self.work:
                self.step(self.function.insns[self.work.pop()])
            rest = sorted(at for at, insn in self.function.insns.items() if at not in self.states and insn.mnemonic != "nop")
            rest = [at for at in rest if not self.is_padding(at)]
            if not rest or self.table_depth is None:
                # No path leads there.
                return
            # A jump table leads there: the stack is as deep as at its jump, and no register is known.
            self.reach(rest[0], State(self.table_depth, {}))

    def is_padding(self, at):
        return self.function.insns[at].mnemonic in ("int3", "xchg", "cs", "data16") or "nop" in self.function.insns[at].mnemonic

    def reach(self, at, state):
        if at not in self.function.insns:
            raise Unknown(f"{self.function.name}: runs or jumps to {at:#x}, which is not in it")
        self.function.depth = max(self.function.depth, state.sp)
        if at not in self.states:
            self.states[at] = state.copy()
            self.work.append(at)
        elif self.states[at].merge(state, f"{self.function.name}+{at - self.function.start:#x}"):
            self.work.append(at)

    def call(self, state, targets, tail=False):
        for name in targets:
            # The return address of a call takes 8 bytes; a tail call uses ours.
            depth = state.sp + (0 if tail else 8)
            self.function.calls[name] = max(self.function.calls.get(name, 0), depth)

    def targets(self, insn, state):
        """The target of a call or jump: names of functions; None for a jump table."""
        relocation = self.program.relocation(self.function.section, insn)
        operand = insn.operands[0] if insn.operands else ""
        if relocation:
            if operand.startswith("*") and relocation.type not in R_GOTPCREL:
                raise Unknown(f"{self.where(insn)}: calls through a table in memory")
            return [self.program.target(relocation)]
        if not operand.startswith("*"):
            name = self.program.function_at(self.function.section, int(operand.split()[0], 16))
            return [name]
        key = register(operand[1:])
        if key is None:
            slot = stack_slot(operand[1:], state.sp)
            key = slot if slot is not None else operand
        known = state.known.get(key)
        if isinstance(known, frozenset):
            return sorted(known)
        if plain(self.function.name) == LOG_SITE:
            return [LOG]
        if insn.mnemonic == "jmp" and self.function.section in self.program.tables:
            return None
        raise Unknown(f"{self.where(insn)}: calls something unknown: {insn.mnemonic} {operand}")

    def where(self, insn):
        return f"{plain(self.function.name)}+{insn.at - self.function.start:#x}"

    def step(self, insn):
        state = self.states[insn.at].copy()
        name, operands = insn.mnemonic, insn.operands
        for operand in operands:
            # A leaf function may use memory below the stack pointer.
            slot = stack_slot(operand, state.sp)
            if slot is not None:
                self.function.depth = max(self.function.depth, slot)
        if name in ("call", "callq"):
            targets = self.targets(insn, state)
            self.call(state, targets)
            for key in CLOBBERED:
                state.known.pop(key, None)
        elif name.startswith("ret") or name in ("ud2", "hlt"):
            if name.startswith("ret") and state.sp != 0:
                raise Unknown(f"{self.where(insn)}: returns with {state.sp} bytes on the stack")
            return
        elif JUMPS.match(name):
            if self.jump(insn, state):
                return
        else:
            self.change(insn, state)
        self.reach(insn.next, state)

    def jump(self, insn, state):
        """Returns True if the next instruction is not reached from this one."""
        always = insn.mnemonic in ("jmp", "jmpq")
        relocation = self.program.relocation(self.function.section, insn)
        operand = insn.operands[0]
        if relocation or operand.startswith("*"):
            targets = self.targets(insn, state)
            if targets is None:
                self.table_depth = max(self.table_depth or 0, state.sp)
            else:
                self.call(state, targets, tail=True)
            return always
        target = int(operand.split()[0], 16)
        before = self.function.insns.get(self.program.previous(self.function.section, insn.at))
        if before and before.mnemonic == "cmp" and sorted(map(register, before.operands), key=str)[-1] == "rsp":
            # The loop that touches each page of a large frame: its bound gives the depth.
            bound = [state.known.get(register(o)) for o in before.operands if register(o) != "rsp"]
            if not bound or not isinstance(bound[0], tuple):
                raise Unknown(f"{self.where(insn)}: a loop on the stack pointer without a known end")
            state.sp = bound[0][1]
            return always
        if self.function.start <= target < self.function.end:
            self.reach(target, state)
        else:
            self.call(state, [self.program.function_at(self.function.section, target)], tail=True)
        return always

    def change(self, insn, state):
        """All other instructions: updates the stack pointer and the known values."""
        name, operands, known = insn.mnemonic, insn.operands, state.known
        last = register(operands[-1]) if operands else None
        value = None
        if name.startswith("push"):
            state.sp += 8
            known.pop(state.sp, None)
            source = register(operands[0])
            if source in known:
                known[state.sp] = known[source]
            return
        if name.startswith("pop"):
            value = known.get(state.sp)
            state.sp -= 8
            if last == "rsp":
                raise Unknown(f"{self.where(insn)}: pops the stack pointer")
        elif name in ("leave", "leaveq"):
            base = known.get("rbp")
            if not isinstance(base, tuple):
                raise Unknown(f"{self.where(insn)}: leave without a known frame")
            state.sp = base[1] - 8
            known.pop("rbp")
            return
        elif last == "rsp":
            self.move_stack(insn, state)
            return
        elif READ_ONLY.match(name):
            return
        elif name.startswith("mov") and len(operands) == 2 and not name.startswith(("movs", "movz")):
            value = self.moved(insn, state)
            slot = stack_slot(operands[1], state.sp)
            if slot is not None:
                known.pop(slot, None)
                if value is not None:
                    known[slot] = value
                return
        elif name.startswith("lea"):
            relocation = self.program.relocation(self.function.section, insn)
            match = re.fullmatch(r"(-?0x[0-9a-f]+)?\(%(rsp|rbp)\)", operands[0])
            base = ("sp", state.sp) if match and match[2] == "rsp" else known.get("rbp") if match else None
            if relocation and self.program.is_code(relocation):
                value = frozenset([self.program.target(relocation)])
            elif isinstance(base, tuple):
                value = ("sp", base[1] - number(match[1]))
        elif name.startswith("cmov") and last:
            values = [known.get(register(o) or stack_slot(o, state.sp)) for o in operands]
            if all(isinstance(v, frozenset) for v in values):
                value = values[0] | values[1]
        if IMPLICIT.match(name):
            for key in ("rax", "rcx", "rdx", "rsi", "rdi"):
                known.pop(key, None)
            for operand in operands:
                known.pop(register(operand), None)
        if last:
            known.pop(last, None)
            if value is not None:
                known[last] = value
        elif operands:
            known.pop(stack_slot(operands[-1], state.sp), None)

    def moved(self, insn, state):
        source = insn.operands[0]
        if source == "%rsp":
            return ("sp", state.sp)
        if register(source):
            return state.known.get(register(source)) if source[1:] in ("rbp",) or source[1] == "r" else None
        slot = stack_slot(source, state.sp)
        if slot is not None:
            return state.known.get(slot)
        relocation = self.program.relocation(self.function.section, insn)
        if relocation and self.program.is_code(relocation) and "(%rip)" in source and relocation.type in R_GOTPCREL:
            return frozenset([self.program.target(relocation)])
        return None

    def move_stack(self, insn, state):
        name, source = insn.mnemonic.rstrip("q"), insn.operands[0]
        immediate = re.fullmatch(r"\$(-?0x[0-9a-f]+|\d+)", source)
        if name in ("sub", "add") and immediate:
            by = int(immediate[1], 0)
            by = by - (1 << 64) if by >= 1 << 63 else by
            state.sp += by if name == "sub" else -by
        elif name == "and" and immediate:
            align = (1 << 64) - int(immediate[1], 0)
            state.sp += align - 8 if align > 8 else 0
        elif name == "lea" and re.fullmatch(r"(-?0x[0-9a-f]+)?\(%rsp\)", source):
            state.sp = stack_slot(source, state.sp)
        elif name in ("mov", "lea") and isinstance(state.known.get("rbp"), tuple) and "%rbp" in source:
            match = re.fullmatch(r"(-?0x[0-9a-f]+)?\(%rbp\)", source)
            state.sp = state.known["rbp"][1] - (number(match[1]) if match else 0)
        elif name in ("cmp", "test"):
            pass
        else:
            raise Unknown(f"{self.where(insn)}: moves the stack pointer: {insn.mnemonic} {', '.join(insn.operands)}")
        if state.sp < 0:
            raise Unknown(f"{self.where(insn)}: pops more than was pushed")
        # A signal may overwrite popped slots.
        for key in [k for k in state.known if isinstance(k, int) and k > state.sp]:
            del state.known[key]


# ---- the object


class Program:
    def __init__(self, path):
        self.path, self.elf = path, Elf.read(path)
        code = {s.index: s for s in self.elf.sections if s.flags & SHF_EXECINSTR}
        self.code = code
        self.fixups = {i: {r.offset: r for r in self.elf.relocations(s)} for i, s in code.items()}
        # The sections of code with targets of jump tables.
        self.tables = {
            r.symbol.section
            for s in self.elf.sections
            if s.flags & SHF_ALLOC and not s.name.startswith(".eh_frame")
            for r in self.elf.relocations(s)
            if self.is_table(s, r) and r.symbol.section in code
        }
        self.order, self.insns, self.functions, self.starts = {}, {}, {}, {}
        for index, section in code.items():
            if section.size:
                self.add_functions(index, section)
        self.disassemble()

    def add_functions(self, index, section):
        starts = {}
        for symbol in self.elf.symbols:
            if symbol.section == index and symbol.type == FUNC:
                starts.setdefault(symbol.value, symbol.name)
        # A function whose symbol was stripped has its section's name.
        starts.setdefault(0, section.name.removeprefix(".text."))
        bounds = sorted(starts) + [section.size]
        for start, end in zip(bounds, bounds[1:]):
            name = starts[start]
            while name in self.functions:
                name += "'"
            self.functions[name] = Function(name, index, start, end)
            self.starts[index, start] = name

    def disassemble(self):
        command = ["objdump", "-d", "-w", "--no-show-raw-insn", str(self.path)]
        text = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}).stdout
        # Sections come in the order of the file; those that are empty are left out.
        indexes = iter(sorted(i for i, s in self.code.items() if s.size))
        lines = {}
        for line in text.splitlines():
            if line.startswith("Disassembly of section "):
                index = next(indexes)
                if line.split()[-1].rstrip(":") != self.code[index].name:
                    sys.exit(f"stack: objdump lists {line.split()[-1]} where {self.code[index].name} was expected")
                lines[index] = []
            match = re.match(r" *([0-9a-f]+):\t(.*)", line)
            if match:
                lines[index].append((int(match[1], 16), match[2].split("#")[0].strip()))
        for index, listing in lines.items():
            ends = [at for at, _ in listing[1:]] + [self.code[index].size]
            insns = {}
            for (at, words), end in zip(listing, ends):
                name, _, rest = words.partition(" ")
                while name in PREFIXES and rest:
                    name, _, rest = rest.strip().partition(" ")
                insns[at] = Insn(at, end, name, split(re.sub(r"\s*<.*>$", "", rest.strip())))
            self.order[index], self.insns[index] = sorted(insns), insns
            for function in (f for f in self.functions.values() if f.section == index):
                function.insns = {at: i for at, i in insns.items() if function.start <= at < function.end}
        self.before = {i: dict(zip(order[1:], order)) for i, order in self.order.items()}

    def previous(self, section, at):
        return self.before[section].get(at)

    def relocation(self, section, insn):
        for at in range(insn.at, insn.next):
            if at in self.fixups[section]:
                return self.fixups[section][at]
        return None

    def is_code(self, relocation):
        symbol = relocation.symbol
        return symbol.section == 0 or symbol.section in self.code

    def target(self, relocation):
        symbol = relocation.symbol
        if symbol.section == 0:
            return symbol.name
        # PC-relative ones count from the end of the four bytes.
        addend = relocation.addend + (0 if relocation.type == R_64 else 4)
        return self.function_at(symbol.section, symbol.value + addend)

    def function_at(self, section, at):
        name = self.starts.get((section, at))
        if name is None:
            raise Unknown(f"{self.elf.sections[section].name}+{at:#x}: called, but no function starts there")
        return name

    def lazily_bound(self):
        """Calls to the outside through a PLT, whose first one would enter the dynamic linker."""
        for index, fixups in self.fixups.items():
            for r in fixups.values():
                if r.symbol.section == 0 and r.type in (R_PC32, R_PLT32):
                    yield r.symbol.name, self.elf.sections[index].name

    def is_table(self, section, relocation):
        """Jump tables hold distances, pointers to functions are addresses."""
        return section.index not in self.code and relocation.type == R_PC32

    def taken(self):
        """Functions whose address is taken, other than to call them."""
        found = set()
        for section in self.elf.sections:
            # Line tables and unwind tables name a function and do not call it.
            if not section.flags & SHF_ALLOC or section.name.startswith(".eh_frame"):
                continue
            for r in self.elf.relocations(section):
                if r.symbol.section not in self.code or self.is_table(section, r):
                    continue
                if section.index in self.code:
                    order = self.order[section.index]
                    at = order[bisect.bisect_right(order, r.offset) - 1]
                    insn = self.insns[section.index][at]
                    if insn.mnemonic.startswith("call") or JUMPS.match(insn.mnemonic):
                        continue
                found.add(self.target(r))
        return found


@functools.cache
def plain(name):
    return demangled([name])[0]


def promised():
    """The bounds that the header states."""
    text = " ".join((TOP / "include/stubguard.h").read_text().replace(" * ", " ").split())
    match = re.search(r"less than (\d+) KiB of stack.{0,200}?stubguard_init\(\) and start_seccomp_watchdog\(\): less than (\d+) KiB", text)
    if not match:
        sys.exit("stack: include/stubguard.h does not say how much stack its functions use")
    return int(match[1]) * 1024, int(match[2]) * 1024


class Bounds:
    """The deepest path from each function."""

    def __init__(self, program, allowed):
        self.program, self.allowed, self.done = program, allowed, {}

    def of(self, name, above=()):
        """(bytes below the return address, the path, depth at the hook, depth at the log function)"""
        if name in (HOOK, LOG):
            return 0, [], 0 if name == HOOK else None, 0 if name == LOG else None
        if name not in self.program.functions:
            if name not in self.allowed:
                raise Unknown(f"{above[-1]}: calls {name}, which is not in checks/outside.txt")
            return self.allowed[name][1], [(name, self.allowed[name][1])], None, None
        if name in above:
            raise Unknown("recursion: " + " -> ".join(map(plain, (*above, name))))
        if name not in self.done:
            function = self.program.functions[name]
            deepest, way, hook, log = function.depth, [], None, None
            for callee, depth in function.calls.items():
                below, further, to_hook, to_log = self.of(callee, (*above, name))
                if depth + below > deepest:
                    deepest, way = depth + below, further
                hook = max((d for d in (hook, None if to_hook is None else depth + to_hook) if d is not None), default=None)
                log = max((d for d in (log, None if to_log is None else depth + to_log) if d is not None), default=None)
            self.done[name] = deepest, [(name, function.depth), *way], hook, log
        return self.done[name]


def main():
    program = Program(TOP / "build/stubguard.o")
    allowed = outside()
    general, larger = promised()
    for name, function in program.functions.items():
        try:
            Walk(program, function).go()
        except Unknown as unknown:
            report.bad(str(unknown))
    for name, section in program.lazily_bound():
        report.bad(f"{section}: calls {name} through a PLT, so the first time through the dynamic linker")

    exported = sorted(
        s.name for s in program.elf.symbols if s.bind in (GLOBAL, WEAK) and s.section in program.code
    )
    try:
        taken = sorted(program.taken())
    except Unknown as unknown:
        report.bad(str(unknown))
        taken = []
    for name in taken:
        if plain(name) not in ELSEWHERE:
            report.bad(f"{plain(name)}: its address is taken: who calls it, on which stack? (ELSEWHERE in checks/stack.py)")
    for name in ELSEWHERE:
        if name not in map(plain, taken):
            report.bad(f"{name}: in ELSEWHERE of checks/stack.py, but its address is not taken")

    bounds = Bounds(program, allowed)
    print(f"{'function':38} {'frame':>6} {'bytes':>6} {'limit':>6} {'at hook':>8} {'at log':>7}")
    worst = 0
    for name in exported + [n for n in taken if plain(n) in ELSEWHERE]:
        limit = larger if name in LARGER else ELSEWHERE[plain(name)][0] if plain(name) in ELSEWHERE else general
        try:
            deepest, way, hook, log = bounds.of(name)
        except Unknown as unknown:
            report.bad(str(unknown))
            continue
        # Its return address is on the same stack.
        deepest += 8
        if name in exported and limit == general:
            worst = max(worst, deepest)
        shown = ["-" if d is None else str(d + 8) for d in (hook, log)]
        print(f"{plain(name):38} {program.functions[name].depth:6} {deepest:6} {limit:6} {shown[0]:>8} {shown[1]:>7}")
        if deepest >= limit:
            frames = ", ".join(f"{plain(n)} {d}" for n, d in way)
            report.bad(f"{plain(name)}: {deepest} bytes, promised less than {limit}: {frames}")
    if not exported:
        report.bad("build/stubguard.o exports nothing")
    report.end(f"{len(exported)} functions, at most {worst} bytes (init and the watchdog's start apart)")


if __name__ == "__main__":
    main()
