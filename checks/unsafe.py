#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""`unsafe` is only in the places of checks/unsafe.txt, and its lints are on."""

import re
import sys

from elf import TOP, Report

# The lints that Cargo.toml must have, each at least that strict.
LINTS = {
    "rust": {"unsafe_code": "deny", "unsafe_op_in_unsafe_fn": "deny", "missing_docs": "deny"},
    "clippy": {"undocumented_unsafe_blocks": "deny"},
}

report = Report("unsafe")

# Comments, strings (also raw and byte strings) and characters are no code.
NO_CODE = re.compile(
    r'//[^\n]*|/\*.*?\*/|\b[bc]?r(#*)".*?"\1|[bc]?"(?:\\.|[^"\\])*"|b?\'(?:\\.[^\']*|[^\'\\])\'', re.S
)


def places():
    found = {}
    for line in (TOP / "checks/unsafe.txt").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            path, spots, _ = line.split(None, 2)
            if not (TOP / path).exists():
                report.bad(f"{path}: in checks/unsafe.txt, but not there")
            found[path] = None if spots == "-" else int(spots)
    return found


def main():
    allowed = places()
    count = 0
    used = dict.fromkeys(allowed, 0)
    sources = sorted([*(TOP / "src").rglob("*.rs"), *(TOP / "tests").rglob("*.rs"), TOP / "build.rs"])
    for source in sources:
        path = str(source.relative_to(TOP))
        # Keep line breaks, for line numbers.
        code = NO_CODE.sub(lambda m: "\n" * m[0].count("\n"), source.read_text())
        words = [code.count("\n", 0, m.start()) + 1 for m in re.finditer(r"\bunsafe\b", code)]
        spots = len(re.findall(r"#!?\[(?:allow|expect)\([^\])]*\bunsafe_code\b", code))
        place = next((p for p in allowed if path == p or p.endswith("/") and path.startswith(p)), None)
        count += len(words)
        if place is None:
            if words:
                report.bad(f"{path}:{words[0]}: unsafe, and not in checks/unsafe.txt")
            if spots:
                report.bad(f"{path}: allows unsafe_code, and is not in checks/unsafe.txt")
            continue
        used[place] += len(words)
        if allowed[place] is not None and spots != allowed[place]:
            report.bad(f"{path}: allows unsafe_code in {spots} places, checks/unsafe.txt says {allowed[place]}")
        if re.search(r"(allow|expect)\([^\])]*undocumented_unsafe_blocks", code):
            report.bad(f"{path}: switches off the lint that asks for SAFETY comments")
    for place, words in used.items():
        if not words:
            report.bad(f"{place}: in checks/unsafe.txt, but there is no unsafe in it")

    manifest = (TOP / "Cargo.toml").read_text()
    for tool, lints in LINTS.items():
        table = re.search(rf"^\[lints\.{tool}\]\n(.*?)(?=^\[|\Z)", manifest, re.S | re.M)
        for lint, level in lints.items():
            setting = re.search(rf'^{lint}\s*=\s*(?:\{{\s*level\s*=\s*)?"(\w+)"', table[1] if table else "", re.M)
            if not setting or setting[1] not in (level, "forbid"):
                report.bad(f"Cargo.toml: [lints.{tool}] {lint} is {setting[1] if setting else 'not set'}, not {level}")
    if not count:
        sys.exit("unsafe: none found at all: the check is broken")
    report.end(f"{count} uses, all in the {len(allowed)} places of checks/unsafe.txt; the lints are on")


if __name__ == "__main__":
    main()
