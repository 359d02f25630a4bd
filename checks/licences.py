#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Each linked dependency has a licence that GPL-2.0-only permits; each other one is on a list of tools.

cargo's resolved graph gives the kinds: linked, run by build.rs, needed by tests only. A dependency of
a dependency has the kind of the dependency that needs it.
"""

import json
import re
import subprocess
import sys

from elf import TOP, Report

# Compatible with GPL-2.0-only if linked. Apache-2.0 is only with the LLVM exception.
COMPATIBLE = {
    "MIT", "MIT-0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Zlib", "Unlicense", "0BSD", "Unicode-3.0",
    "CC0-1.0", "Apache-2.0 WITH LLVM-exception", "GPL-2.0-only", "GPL-2.0-or-later",
}

# Tools: run by the build or the tests, and not linked into installed files.
TOOLS = {
    "cbindgen": ("MPL-2.0", "makes the header, in a test"),
}

report = Report("licences")


def satisfied(expression, allowed):
    """Whether an SPDX expression offers a way with allowed licences only."""
    tokens = re.findall(r"\(|\)|[^\s()/]+|/", expression)

    def either():
        good = both()
        while tokens and tokens[0] in ("OR", "/"):
            tokens.pop(0)
            good = both() or good
        return good

    def both():
        good = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            good = one() and good
        return good

    def one():
        token = tokens.pop(0)
        if token == "(":
            good = either()
            tokens.pop(0)
            return good
        if tokens and tokens[0] == "WITH":
            token = f"{token} WITH {tokens[1]}"
            del tokens[:2]
        return token in allowed

    try:
        good = either()
    except IndexError:
        return False
    return good and not tokens


def main():
    command = ["cargo", "metadata", "--format-version", "1", "--locked"]
    run = subprocess.run(command, cwd=TOP, capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"licences: cargo metadata: {run.stderr.strip()}")
    metadata = json.loads(run.stdout)
    packages = {p["id"]: p for p in metadata["packages"]}
    nodes = {n["id"]: n for n in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]

    def below(start, kinds):
        found, todo = set(), list(start)
        while todo:
            for dep in nodes[todo.pop()]["deps"]:
                if dep["pkg"] not in found and any(k["kind"] in kinds for k in dep["dep_kinds"]):
                    found.add(dep["pkg"])
                    todo.append(dep["pkg"])
        return found

    def direct(kind):
        return {d["pkg"] for d in nodes[root]["deps"] if any(k["kind"] == kind for k in d["dep_kinds"])}

    # A linked crate's build dependencies are not linked, but count as linked here.
    linked = below([root], (None,))
    build = direct("build")
    build |= below(build, (None, "build")) | below(linked, ("build",))
    dev = direct("dev")
    dev |= below(dev, (None, "build"))
    used = set()
    for kind, there in (("linked", linked), ("build", build - linked), ("dev", dev - build - linked)):
        for package in sorted((packages[i] for i in there - {root}), key=lambda p: p["name"]):
            name, licence = package["name"], package["license"] or "no licence stated"
            allowed = set(COMPATIBLE)
            if kind != "linked" and name in TOOLS:
                allowed.add(TOOLS[name][0])
                used.add(name)
            if not satisfied(licence, allowed):
                report.bad(f"{name} {package['version']} ({kind}): {licence}")
    for name in sorted(set(TOOLS) - used):
        report.bad(f"{name}: in TOOLS of checks/licences.py, but is no build or test dependency")
    if packages[root]["license"] != "GPL-2.0-only":
        report.bad(f"our own is {packages[root]['license']}")
    report.end(
        f"{len(linked - {root})} linked, {len(build - linked)} for the build, "
        f"{len(dev - build - linked - {root})} for tests: all compatible with GPL-2.0-only"
        + "".join(f", but {n} ({l}), which {why}" for n, (l, why) in sorted(TOOLS.items()))
    )


if __name__ == "__main__":
    main()
