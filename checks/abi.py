#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The ABI as text: symbols and their versions, functions, constants, the layout of each structure.

abi.py            compares it with include/stubguard.abi
abi.py --bless    writes that file, after the change has been held against the policy in CHANGELOG.md

Layouts and values are the C compiler's (CC), symbols are those of build/lib/libstubguard.so.
"""

import difflib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
HEADER = TOP / "include/stubguard.h"
KEPT = TOP / "include/stubguard.abi"
LIBRARY = TOP / "build/lib/libstubguard.so"

HEAD = """\
# SPDX-License-Identifier: GPL-2.0-only
# The ABI of libstubguard, made by checks/abi.py --bless. `make check-abi` compares it with what is built.
"""


def words(text):
    """One blank between words, none around what is no word."""
    return re.sub(r" ?([*(),;\[\]]) ?", r"\1", " ".join(text.split())).replace("*", " *").replace(",", ", ").replace("* *", "**")


def declarations():
    """The header without comments and directives, and its constants."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", HEADER.read_text(), flags=re.S)
    constants = re.findall(r"^#define (STUBGUARD_\w+) +\S", text, flags=re.M)
    text = re.sub(r"^\s*#[^\n]*", " ", text, flags=re.M)
    return re.sub(r'extern "C" \{', " ", text), constants


def structures(text):
    """Name -> members, as (name, declaration)."""
    found = {}
    for name, body in re.findall(r"\bstruct (\w+) \{([^{}]*)\}", text):
        members = [words(m) for m in body.split(";") if m.strip()]
        found[name] = [(re.search(r"(\w+)(?:\[[^\]]*\])*$", m).group(1), m) for m in members]
    return found


def functions(text):
    text = re.sub(r"\{[^{}]*\}", " ", text)
    for statement in text.split(";"):
        if "typedef" in statement or re.search(r"\w+\s*\([^()]*\)\s*$", statement):
            yield words(statement)


def compiled(constants, found):
    """What the compiler makes of constants and structures, as lines."""
    out = ["#include <stddef.h>", "#include <stdio.h>", "#include <stubguard.h>", "int main(void)", "{"]
    for name in constants:
        out.append(f'printf("constant {name} = %lld\\n", (long long)({name}));')
    for name, members in found.items():
        kind = f"struct {name}"
        out.append(f'printf("{kind}: size %zu, alignment %zu\\n", sizeof({kind}), _Alignof({kind}));')
        for member, text in members:
            place = f"offsetof({kind}, {member}), sizeof((({kind} *)0)->{member})"
            out.append(f'printf("    %4zu + %-4zu {text}\\n", {place});')
    out.append("return 0; }")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "abi.c")
        source.write_text("\n".join(out))
        compiler = os.environ.get("CC") or "cc"
        subprocess.run([compiler, "-w", f"-I{HEADER.parent}", "-o", f"{folder}/abi", source], check=True)
        return subprocess.run([f"{folder}/abi"], check=True, capture_output=True, text=True).stdout.splitlines()


def dynamic():
    command = ["readelf", "-W", "--dynamic", "--dyn-syms", LIBRARY]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def symbols():
    for line in dynamic().splitlines():
        field = line.split()
        if len(field) > 7 and field[4] in ("GLOBAL", "WEAK") and field[6] != "UND":
            yield f"{field[7]} {field[3]}"


def dump():
    text, constants = declarations()
    found = structures(text)
    if not constants or not found:
        sys.exit("abi: the header cannot be read")
    lines = [f"soname {re.search(r'soname: .(.*).$', dynamic(), flags=re.M | re.I).group(1)}"]
    lines += [f"symbol {s}" for s in sorted(symbols())]
    lines += [f"declared {f}" for f in sorted(functions(text))]
    return HEAD + "\n".join(lines + compiled(constants, found)) + "\n"


def main():
    now = dump()
    if sys.argv[1:] == ["--bless"]:
        KEPT.write_text(now)
        return
    kept = KEPT.read_text() if KEPT.exists() else ""
    if now != kept:
        difference = difflib.unified_diff(kept.splitlines(), now.splitlines(), "include/stubguard.abi", "now", lineterm="", n=0)
        print("\n".join(difference), file=sys.stderr)
        print("abi: FAILED: it has changed. See the policy in CHANGELOG.md, then: make abi")
        sys.exit(1)
    count = {kind: sum(1 for l in now.splitlines() if l.startswith(kind)) for kind in ("symbol", "declared", "constant", "struct")}
    print(f"abi: ok, as in include/stubguard.abi: {count['symbol']} symbols, {count['declared']} declarations, "
          f"{count['constant']} constants, {count['struct']} structures")


main()
