# SPDX-License-Identifier: GPL-2.0-only
"""The parts of ELF (64-bit, little-endian) that the checks need, and their reports.

Not read with nm, which skips symbols of Rust objects, nor from the output of other tools, whose
columns differ between versions.
"""

import re
import struct
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

Section = namedtuple("Section", "index name type flags addr offset size link info entsize")
Symbol = namedtuple("Symbol", "name bind type visibility section value size")
Relocation = namedtuple("Relocation", "offset type symbol addend")
Segment = namedtuple("Segment", "type flags")

SHT_SYMTAB, SHT_RELA, SHT_NOBITS, SHT_DYNAMIC, SHT_DYNSYM = 2, 4, 8, 6, 11
SHF_ALLOC, SHF_EXECINSTR = 2, 4
LOCAL, GLOBAL, WEAK = 0, 1, 2
FUNC = 2
PT_GNU_STACK, PT_GNU_RELRO = 0x6474E551, 0x6474E552
R_64, R_PC32, R_PLT32 = 1, 2, 4
R_GOTPCREL = (9, 41, 42)

TOP = Path(__file__).resolve().parent.parent


class Elf:
    """One object, from bytes."""

    def __init__(self, data, name="?"):
        if data[:6] != b"\x7fELF\x02\x01":
            raise ValueError(f"{name}: not a 64-bit little-endian ELF file")
        self.data, self.name = data, name
        phoff, shoff = struct.unpack_from("<QQ", data, 32)
        phentsize, phnum, shentsize, shnum, shstrndx = struct.unpack_from("<5H", data, 54)
        first = struct.unpack_from("<IIQQQQIIQQ", data, shoff)
        shnum = shnum or first[5]
        shstrndx = first[6] if shstrndx == 0xFFFF else shstrndx
        raw = [struct.unpack_from("<IIQQQQIIQQ", data, shoff + i * shentsize) for i in range(shnum)]
        names = raw[shstrndx][4]
        self.sections = [
            Section(i, self._string(names + n), t, f, a, o, s, link, info, entsize)
            for i, (n, t, f, a, o, s, link, info, _, entsize) in enumerate(raw)
        ]
        self.segments = [
            Segment(*struct.unpack_from("<II", data, phoff + i * phentsize)) for i in range(phnum)
        ]
        self.symbols = self._symbols(SHT_SYMTAB)
        self.dynamic_symbols = self._symbols(SHT_DYNSYM)

    @classmethod
    def read(cls, path):
        return cls(Path(path).read_bytes(), str(path))

    def _string(self, at):
        return self.data[at : self.data.index(b"\0", at)].decode(errors="replace")

    def _symbols(self, kind):
        found = []
        for table in (s for s in self.sections if s.type == kind):
            strings = self.sections[table.link].offset
            for at in range(table.offset, table.offset + table.size, 24):
                name, info, other, section, value, size = struct.unpack_from("<IBBHQQ", self.data, at)
                found.append(
                    Symbol(self._string(strings + name), info >> 4, info & 15, other & 3, section, value, size)
                )
        return found

    def bytes_of(self, section):
        if section.type == SHT_NOBITS:
            return b""
        return self.data[section.offset : section.offset + section.size]

    def relocations(self, section):
        """The relocations of a section of a relocatable object."""
        for table in self.sections:
            if table.type == SHT_RELA and table.info == section.index:
                for at in range(table.offset, table.offset + table.size, 24):
                    offset, info, addend = struct.unpack_from("<QQq", self.data, at)
                    yield Relocation(offset, info & 0xFFFFFFFF, self.symbols[info >> 32], addend)

    def dynamic(self):
        """The dynamic section as (tag, value, string at value) triples."""
        for section in (s for s in self.sections if s.type == SHT_DYNAMIC):
            strings = self.sections[section.link]
            for at in range(section.offset, section.offset + section.size, 16):
                tag, value = struct.unpack_from("<qQ", self.data, at)
                yield tag, value, self._string(strings.offset + value) if value < strings.size else ""

    def defined(self, dynamic=False):
        """Global names that others can link with."""
        symbols = self.dynamic_symbols if dynamic else self.symbols
        # 0xfff1, absolute: the name of the version, which is no function.
        return {s.name for s in symbols if s.bind in (GLOBAL, WEAK) and s.section not in (0, 0xFFF1)}

    def undefined(self, dynamic=False):
        symbols = self.dynamic_symbols if dynamic else self.symbols
        return {s.name for s in symbols if s.section == 0 and s.name}


def members(path):
    """The objects in an archive, as (name, Elf)."""
    data = Path(path).read_bytes()
    if data[:8] != b"!<arch>\n":
        raise ValueError(f"{path}: not an archive")
    at = 8
    while at < len(data):
        name, size = data[at : at + 16].decode().strip(), int(data[at + 48 : at + 58])
        at += 60
        if name not in ("/", "//", "/SYM64/"):
            yield name.rstrip("/"), Elf(data[at : at + size], f"{path}({name})")
        at += size + size % 2


def outside():
    """checks/outside.txt: the functions outside of the library that it calls."""
    found = {}
    for number, line in enumerate((TOP / "checks/outside.txt").read_text().splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            fields = line.split(None, 3)
            if len(fields) != 4 or fields[1] not in ("libc", "kernel", "hook", "crt"):
                sys.exit(f"checks/outside.txt:{number}: not `name kind stack reason`")
            found[fields[0]] = (fields[1], int(fields[2]))
    return found


def demangled(names):
    """The demangled names, for both manglings of Rust, without hashes."""
    names = list(names)
    # A quote that distinguishes functions of one name is not part of the name.
    text = "".join(f"{name}\n" for name in names)
    out = subprocess.run(["c++filt"], input=text, check=True, capture_output=True, text=True).stdout.splitlines()
    out = [re.sub(r"\[[0-9a-f]{16}\]|::h[0-9a-f]{16}(?=$|')", "", name) for name in out]
    # Newer compilers write a::B::c as <a::B>::c.
    return [re.sub(r"^<([\w:]+)>::", r"\1::", name) for name in out]


class Report:
    """Prints what is wrong, then the one line of a check."""

    def __init__(self, name):
        self.name, self.problems = name, []

    def bad(self, text):
        self.problems.append(text)

    def end(self, good):
        for text in self.problems:
            print(f"{self.name}: {text}", file=sys.stderr)
        count = len(self.problems)
        print(f"{self.name}: " + (f"FAILED, {count} problem{'s' * (count != 1)}" if count else f"ok, {good}"))
        sys.exit(bool(count))
