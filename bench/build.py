#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Times a real build in a guest, from configuration to objects, with and without the guard. The objects must be the same.

build.py UNGUARDED GUARDED TREE   two UML kernels, and a kernel's sources; `make bench-build` provides them

ROUNDS     boots of each mode, in turns (3)
MODES      unguarded ptrace notify window (unguarded window)
BENCH_CPUS "1": the guest has one CPU, on one of the host's; "all": as many as the host (both)
MEM        a guest's memory in MiB (1024)
BENCH_OUT  folder for build.json (build/bench)
"""

import os
import re
import shutil
import statistics
import sys
from pathlib import Path

from guests import HERE, Place, die, modes, number, origin, say, table, words, write_json

LIMIT = 900


class Builder(Place):
    """A guest that builds."""

    def __init__(self, tree):
        super().__init__()
        self.tree = tree
        self.command = f"'{shutil.copy(HERE / 'build.sh', self.dir)}'"

    def build(self, mode, cpus, mem):
        """Returns milliseconds, and the objects' number and hash."""
        lines, failure = self.boot(mode, f"'{self.tree}' {cpus}", limit=LIMIT, mem=mem, cpus=cpus)
        log = "\n".join(lines)
        took, objects = re.search(r"^time build (\d+)$", log, re.M), re.search(r"^objects (\d+ \w+)$", log, re.M)
        if failure or not took or not objects:
            die(f"{mode.name}: {failure or 'it does not say how long it took'}\n{log[-2000:]}")
        return int(took[1]), objects[1]


def main():
    tree = Path(sys.argv.pop() if len(sys.argv) == 4 else "").resolve()
    if not (tree / "Kbuild").exists():
        die("three arguments: an unguarded and a guarded kernel, and a kernel's sources")
    os.environ.setdefault("MODES", "unguarded window")
    chosen = modes(["unguarded", "ptrace", "notify", "window"])
    allowed = os.sched_getaffinity(0)
    result = origin() | {"samples": {}}
    differ = False
    with Builder(tree) as place:
        for which in words("BENCH_CPUS", ["1", "all"]):
            cpus = 1 if which == "1" else len(allowed)
            os.sched_setaffinity(0, {max(allowed)} if which == "1" else allowed)
            samples, built = {mode.name: [] for mode in chosen}, set()
            for n in range(number("ROUNDS", 3)):
                for mode in chosen[n % len(chosen):] + chosen[:n % len(chosen)]:
                    took, objects = place.build(mode, cpus, number("MEM", 1024))
                    samples[mode.name].append(took)
                    built.add(objects)
                    say(f"{cpus} CPU, round {n + 1}, {mode.name}: {took / 1000:.1f} s, objects {objects}")
            result["samples"][which] = samples
            differ |= len(built) > 1
            first = statistics.median(samples[chosen[0].name])
            table([f"{cpus} CPU", "median", "least", "most", f"to {chosen[0].name}"],
                  [[name, *(f"{value / 1000:.1f} s" for value in (statistics.median(all_), min(all_), max(all_))),
                    f"{statistics.median(all_) / first:.2f}"] for name, all_ in samples.items()])
            print(f"objects: {' and '.join(sorted(built))}")
    say(f"all samples: {write_json('build.json', result)}")
    if differ:
        die("not all have built the same")


if __name__ == "__main__":
    main()
