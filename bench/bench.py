#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What the guard costs: times the same operations in guests of several kernels and modes, side by side.

bench.py UNGUARDED GUARDED [MENDED]   UML kernels; `make bench` builds them

ROUNDS     boots of each mode (7); the guests of a round take turns, row by row
MODES      native (the host itself) unguarded mended ptrace notify window (all)
PEERS      more kernels: "NAME=/path/to/linux[,BOOT-ARGUMENT=VALUE...] ..."
ROWS       the rows of guest.c to measure (all)
BENCH_CPUS "1": everything on one host CPU; "all": where the host puts it; "smp": guests have as many CPUs as the host (all three)
BENCH_OUT  folder for bench.json and bench.svg (build/bench)

Fails if a row could not be measured, except in modes that a kernel lacks.
"""

import os
import re
import shutil
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from queue import Empty, SimpleQueue

import calls
import svg
from guests import Bench, modes, number, origin, present, say, table, words, write_json

CPUS = {"1": "one host CPU (pinned)", "all": "all host CPUs (not pinned)", "smp": "all host CPUs, guests with as many"}
# The means that are shown: of which rows, in ratio to which mode.
MEANS = [("operation", "unguarded"), ("program", "unguarded"), ("operation", "mended"), ("program", "mended"), ("program", "native")]

# Seconds; guest.c itself ends a row after 100.
STUCK = 150
# Fewer samples have no useful spread.
SAMPLES_LEAST = 3
# If two neighbouring samples differ by this factor, the samples are of two kinds.
GAP = 1.5


def pin(cpus, allowed):
    """Sets the CPUs of this process and of its children."""
    os.sched_setaffinity(0, {max(allowed)} if cpus == "1" else allowed)


# ---- measuring


class Round:
    """A guest of each mode, all at once. They take turns, row by row, as the host's speed changes from second to second."""

    def __init__(self, places, chosen, rows, cpus):
        self.places, self.chosen, self.rows, self.cpus = places, chosen, rows, cpus
        self.lines = SimpleQueue()
        # The last line of each mode's guest; None after its end.
        self.last = {mode.name: "" for mode in chosen}
        self.times = {row: {} for row in rows}
        self.failures = {row: {} for row in rows}

    def guest(self, mode):
        """Boots a guest, in a thread of its own. Returns why it has failed, or None."""
        place = self.places[mode.name]
        shutil.rmtree(place.dir / "go", ignore_errors=True)
        (place.dir / "go").mkdir()
        try:
            limit = 100 + 30 * len(self.rows) * len(self.chosen)
            return place.boot(mode, f"--time {place.dir}/go {' '.join(self.rows)}", limit=limit, cpus=self.cpus,
                              watch=lambda line: self.lines.put((mode.name, line)))[1]
        finally:
            self.lines.put((mode.name, None))

    def wait(self, name, pattern):
        """Waits for a line of a mode's guest; None if the guest has ended."""
        while self.last[name] is not None:
            if match := re.match(pattern, self.last[name]):
                return match
            try:
                who, line = self.lines.get(timeout=STUCK)
            except Empty:
                say(f"{name}: no answer in {STUCK} s, after: {self.last[name]}")
                self.places[name].end()
                continue
            if line is None or re.match(r"(ready|time|skip|failed) ", line):
                self.last[who] = line
        return None

    def turn(self, name, row):
        if not self.wait(name, f"ready {row}$"):
            return
        (self.places[name].dir / "go" / row).touch()
        said = self.wait(name, rf"(?:(time) {row} (\d+) (\d+)|(skip|failed) {row} (.*))$")
        if said and said[1]:
            self.times[row][name] = int(said[3]) / int(said[2])
        elif said:
            self.failures[row][name] = said[5] if said[4] == "failed" else f"skipped: {said[5]}"

    def run(self, first):
        """Runs all rows; each begins with another mode. Returns times and failures by row and mode."""
        names = [mode.name for mode in self.chosen]
        with ThreadPoolExecutor(len(names)) as threads:
            guests = {mode.name: threads.submit(self.guest, mode) for mode in self.chosen}
            try:
                for name in names:
                    self.wait(name, "ready ")
                for n, row in enumerate(self.rows, first):
                    for name in names[n % len(names):] + names[:n % len(names)]:
                        self.turn(name, row)
            except BaseException:
                for place in self.places.values():
                    place.end()
                raise
        for row in self.rows:
            for name in names:
                if name not in self.times[row]:
                    self.failures[row].setdefault(name, guests[name].result() or "no figure")
        return self.times, self.failures


def measure(places, chosen, rows, rounds, what, cpus):
    """Returns samples, one of each round, and failures, by row and mode. cpus: of each guest."""
    samples = {row: {mode.name: [] for mode in chosen} for row in rows}
    failures = {row: {} for row in rows}
    for n in range(rounds):
        start = time.monotonic()
        times, failed = Round(places, chosen, rows, cpus).run(n)
        for row in rows:
            failures[row] |= failed[row]
            for name, one in times[row].items():
                samples[row][name].append(one)
        say(f"{what}, round {n + 1} of {rounds}: {time.monotonic() - start:.0f} s")
        for name, why in sorted({(name, why) for row in failed.values() for name, why in row.items()}):
            say(f"{name}: {why}")
    return samples, failures


def kinds(values):
    """The sorted values, in two parts if they are of two kinds."""
    values = sorted(values)
    gap, at = max(((b / a, i) for i, (a, b) in enumerate(zip(values, values[1:]), 1)), default=(1, 0))
    return [values] if gap < GAP else [values[:at], values[at:]]


def middle(values):
    """First quartile, median, third quartile."""
    return statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3


def figures(samples, base):
    """The cells of a row, by mode: the median, and the median of the rounds' ratios to the base."""
    found = {}
    for name, values in samples.items():
        if values:
            found[name] = {"median_ns": statistics.median(values), "samples_ns": values}
    for name, one in found.items():
        if name == base or base not in found:
            continue
        low, one["ratio"], high = middle([a / b for a, b in zip(one["samples_ns"], samples[base])])
        one["quartiles"] = [low, high]
        one["sure"] = len(one["samples_ns"]) >= SAMPLES_LEAST and not low <= 1 <= high
    return found


def geometric_means(rows, names, base):
    """Geometric means of a mode's ratios to the base: of all rounds, and of each round."""
    means = {}
    for name in names:
        # By row, the ratio of each round
        ratios = [[a / b for a, b in zip(row[name]["samples_ns"], row[base]["samples_ns"])]
                  for row in rows if name != base and name in row and base in row]
        if ratios:
            by_round = [statistics.geometric_mean(one) for one in zip(*ratios)]
            means[name] = {
                "ratio": statistics.geometric_mean([statistics.median(one) for one in ratios]),
                "by_round": by_round,
                "sure": len(by_round) >= SAMPLES_LEAST and (min(by_round) > 1 or max(by_round) < 1),
                "rows": len(ratios),
            }
    return means


# ---- showing


def show_time(ns):
    for unit, size in (("ns", 1), ("us", 1e3), ("ms", 1e6), ("s", 1e9)):
        value = ns / size
        if value < 1000:
            break
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"


def show_ratio(one):
    return f"{one['ratio']:.2f}{' ' if one['sure'] else '~'}"


def show_spread(values):
    """The range; or, if there are two kinds of samples, both and how many there are of each."""
    parts = kinds(values)
    if len(values) == 1:
        return show_time(values[0])
    if len(parts) == 1:
        return f"{show_time(min(values))} .. {show_time(max(values))}"
    return ", ".join(f"{len(part)}x {show_time(statistics.median(part))}" for part in parts)


def show_means(means, names):
    """Each mean of MEANS that there is: the ratio, and the least and the most of the rounds' means."""
    lines = []
    for mean in means:
        cells = []
        for name in names:
            one = mean["modes"].get(name)
            cells.append(f"{show_ratio(one)} {min(one['by_round']):.2f} .. {max(one['by_round']):.2f}" if one else "")
        lines.append([f"{max(one['rows'] for one in mean['modes'].values())} {mean['of']}s, to {mean['to']}", *cells])
    table(["geometric mean of", *names], lines)


def show_tables(what, rows, failures, means, names, base, rounds):
    def cell(row, name):
        one = rows[row].get(name)
        if name in failures[row]:
            return "skipped" if failures[row][name].startswith("skipped") else "ERROR"
        if "ratio" not in one:
            return show_time(one["median_ns"])
        return f"{show_ratio(one)} {show_time(one['median_ns']):>7}"

    print(f"\n{what}: ratio to {base}, and time; medians of {rounds} rounds")
    table(["", *names], [[row, *(cell(row, name) for name in names)] for row in rows])
    if means:
        print(f"\n{what}: means, with the least and the most of a round")
        show_means(means, names)
    print("~ not sure: the middle half of the rounds' ratios is on both sides of 1 (of a mean: all of them);")
    print(f"  or there are fewer than {SAMPLES_LEAST} rounds")

    print(f"\n{what}: least .. most; or, if a factor of {GAP} or more lies between, how many are below and above, and their medians")
    lines = [[row, *(show_spread(found[name]["samples_ns"]) if name in found else "" for name in names)] for row, found in rows.items()]
    table(["", *names], lines)
    for row, why in failures.items():
        for name, text in why.items():
            print(f"{row}, {name}: {text}")


def main():
    rounds = number("ROUNDS", 7)
    cpu_settings = words("BENCH_CPUS", list(CPUS))
    chosen = modes(["native", "unguarded", "mended", "ptrace", "notify", "window"])
    allowed = os.sched_getaffinity(0)
    with ExitStack() as stack:
        place = stack.enter_context(Bench())
        known = {name: (kind, what) for name, kind, what in place.operations()}
        rows = words("ROWS", list(known))
        chosen, missing = present(place, chosen)
        if not chosen:
            return "no mode can be measured"
        names = [mode.name for mode in chosen]
        places = {name: stack.enter_context(Bench()) for name in names}
        base = "unguarded" if "unguarded" in names else names[0]
        result = origin() | {
            "rounds": rounds,
            "operations": {row: known[row][1] for row in rows},
            "modes": {mode.name: {"kernel": mode.version, "arguments": mode.args} for mode in chosen},
            "missing": missing,
            "base": base,
            "cpus": {},
        }
        shown = []
        bad = False
        for cpus in cpu_settings:
            pin(cpus, allowed)
            samples, failures = measure(places, chosen, rows, rounds, CPUS[cpus], len(allowed) if cpus == "smp" else 1)
            # A row that failed in one round is shown as failed.
            for row, why in failures.items():
                for name in why:
                    del samples[row][name]
            found = {row: figures(samples[row], base) for row in rows}
            means = []
            for kind, to in MEANS:
                by_mode = geometric_means([found[row] for row in rows if known[row][0] == kind], names, to)
                if by_mode:
                    means.append({"of": kind, "to": to, "modes": by_mode})
            result["cpus"][cpus] = {"what": CPUS[cpus], "rows": found, "failures": failures, "means": means}
            shown.append((CPUS[cpus], found, failures, means))
            bad = bad or any(not why.startswith("skipped") for row in failures.values() for why in row.values())
        pin("1", allowed)
        result["host_calls"] = counted = calls.count(place, chosen, rows)

    print(f"\n{result['date']}, Linux {result['host']['kernel']}, {result['host']['cpu']}, {result['host']['cpus']} CPUs")
    for name, why in missing.items():
        print(f"{name}: missing: {why}")
    for one in shown:
        show_tables(*one, names, base, rounds)
    calls.show(counted)
    path = write_json("bench.json", result)
    path.with_suffix(".svg").write_text(svg.draw(result))
    say(f"written: {path} and {path.with_suffix('.svg').name}")
    return bad and "some rows could not be measured"


if __name__ == "__main__":
    sys.exit(main() or 0)
