#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What many processes of a guest cost the host: fds, memory, and the time of one more fork.

scale.py UNGUARDED GUARDED   two UML kernels; `make bench-scale` builds them

N          numbers of live processes (1 100 1000 5000)
ROUNDS     boots for each number and mode, in turns (3)
MODES, PEERS, BENCH_OUT as for bench.py; without MODES: unguarded notify window
MEM        a guest's memory in MiB (3072)
"""

import os
import re
import statistics
import sys

from guests import Bench, die, look, modes, number, origin, present, raise_limit, say, table, write_json

# Each figure's name in the table, its format, and its meaning.
COLUMNS = {
    "stubs": ("stubs", ".0f", "processes of the host that came with them"),
    "fds": ("host fds", ".2f", "descriptors that the guest's kernel has on the host, for each process"),
    "fds_left": ("fds left", ".2f", "descriptors that stay there for each process that has ended"),
    "host_kib": ("host KiB", ".0f", "memory on the host for each: PSS of kernel and stubs, and their page tables"),
    "guest_kib": ("guest KiB", ".0f", "memory of the guest (MemFree) that each takes"),
    "fork_us": ("fork us", ".0f", "fork, exit, wait beside them"),
}


def boot(place, mode, n, mem):
    """Boots one guest with n processes. Returns the figures of COLUMNS and the number of new stubs, or why there are none."""
    go = place.dir / "go"
    go.mkdir()
    looks, forks = {}, []

    def watch(line):
        if match := re.match(r"(before|live|after) (\d+)$", line):
            halt = match[1]
            looks[halt] = look(place.pid()) | {"free_kib": int(match[2])}
            (go / halt).touch()
        elif match := re.match(r"time fork (\d+) (\d+)$", line):
            forks.extend(map(int, match.groups()))

    try:
        lines, failure = place.boot(mode, f"--live {n} '{go}'", limit=120 + n // 20, mem=mem, watch=watch)
    finally:
        for file in go.iterdir():
            file.unlink()
        go.rmdir()
    if failure or len(looks) != 3:
        said = [line for line in lines if line.startswith("guest: ")]
        return None, (said or [failure or "no figures"])[0]
    before, live, after = (looks[halt] for halt in ("before", "live", "after"))
    return {
        "stubs": live["stubs"] - before["stubs"],
        "fds": (live["fds"] - before["fds"]) / n,
        "fds_left": (after["fds"] - live["fds"]) / forks[0],
        "host_kib": (live["host_kib"] - before["host_kib"]) / n,
        "guest_kib": (before["free_kib"] - live["free_kib"]) / n,
        "fork_us": forks[1] / forks[0] / 1000,
    }, None


def main():
    try:
        numbers = [int(n) for n in os.environ.get("N", "").split()] or [1, 100, 1000, 5000]
    except ValueError:
        die("N: a list of numbers")
    rounds, mem = number("ROUNDS", 3), number("MEM", 3072)
    chosen = modes(["unguarded", "notify", "window"])
    limit = raise_limit()
    say(f"descriptors that a kernel may have: {limit}")
    # On one CPU: on several ones a fork takes one of two times, see bench.py.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

    with Bench() as place:
        chosen, missing = present(place, chosen)
        samples = {(n, mode.name): [] for n in numbers for mode in chosen}
        failures = {}
        for r in range(rounds):
            for n in numbers:
                for mode in chosen:
                    found, failure = boot(place, mode, n, mem)
                    if found:
                        samples[n, mode.name].append(found)
                    else:
                        failures[n, mode.name] = failure
                    say(f"round {r + 1} of {rounds}, {n} processes, {mode.name}: {failure or 'done'}")

    medians = {
        key: {field: statistics.median(one[field] for one in found) for field in COLUMNS}
        for key, found in samples.items() if found
    }
    result = origin() | {
        "rounds": rounds,
        "guest_mib": mem,
        "columns": {field: what for field, (_, _, what) in COLUMNS.items()},
        "missing": missing,
        "failures": [{"processes": n, "mode": name, "why": why} for (n, name), why in failures.items()],
        "medians": [{"processes": n, "mode": name, **one} for (n, name), one in medians.items()],
    }
    print()
    rows = []
    for n, name in samples:
        one = medians.get((n, name))
        if (n, name) in failures:
            rows.append([str(n), name, "ERROR", *[""] * (len(COLUMNS) - 1)])
        elif one:
            rows.append([str(n), name, *(format(one[field], form) for field, (_, form, _) in COLUMNS.items())])
    table(["processes", "mode", *(title for title, _, _ in COLUMNS.values())], rows)
    for title, _, what in COLUMNS.values():
        print(f"{title}: {what}")
    print(f"medians of {rounds} rounds, everything on one host CPU")
    for name, why in missing.items():
        print(f"{name}: missing: {why}")
    for (n, name), why in failures.items():
        print(f"{n} processes, {name}: {why}")
    say(f"written: {write_json('bench-scale.json', result)}")
    return failures and "some figures could not be had"


if __name__ == "__main__":
    sys.exit(main() or 0)
