#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What the guard costs: the same operations in guests of several kernels and modes, side by side.

bench.py UNGUARDED GUARDED   two UML kernels; `make bench` builds them

ROUNDS     boots of each mode, in turns (5)
MODES      unguarded ptrace notify window (all)
PEERS      more kernels: "NAME=/path/to/linux[,BOOT-ARGUMENT=VALUE...] ..."
ROWS       what to measure (all that guest.c has)
BENCH_CPUS "1": everything on one host CPU; "all": where the host puts it (both)
BENCH_OUT  folder for bench.json and bench.svg (build/bench)

Fails if something could not be measured, but for modes that the kernels do not have.
"""

import os
import re
import statistics
import sys
import time
from datetime import datetime, timezone

import calls
import svg
from guests import Place, host, modes, number, present, say, table, words, write_json

CPUS = {"1": "one host CPU (pinned)", "all": "all host CPUs (not pinned)"}

# Fewer samples say nothing of their spread.
SAMPLES_LEAST = 3
# Neighbours that are that far apart: the samples are of two kinds.
GAP = 1.5


def pin(cpus, allowed):
    """What this process may use, and so all that it starts."""
    os.sched_setaffinity(0, {max(allowed)} if cpus == "1" else allowed)


# ---- measuring


def measure(place, chosen, rows, rounds, what):
    """Each mode once a round, and each round begins with another one. Returns samples and failures by row and mode."""
    samples = {row: {mode.name: [] for mode in chosen} for row in rows}
    failures = {row: {} for row in rows}
    for n in range(rounds):
        for mode in chosen[n % len(chosen):] + chosen[:n % len(chosen)]:
            start = time.monotonic()
            lines, failure = place.boot(mode, f"--time {' '.join(rows)}", limit=100 + 10 * len(rows))
            said = dict.fromkeys(rows, failure or "no figure")
            for line in lines:
                if match := re.match(r"time (\S+) (\d+) (\d+)$", line):
                    samples[match[1]][mode.name].append(int(match[3]) / int(match[2]))
                    del said[match[1]]
                elif match := re.match(r"(skip|failed) (\S+) (.*)", line):
                    said[match[2]] = match[3] if match[1] == "failed" else f"skipped: {match[3]}"
            for row, why in said.items():
                failures[row][mode.name] = why
            took = f"{time.monotonic() - start:.0f} s"
            say(f"{what}, round {n + 1} of {rounds}, {mode.name}: {failure or took}")
    return samples, failures


def kinds(values):
    """Sorted; in two parts if they are of two kinds."""
    values = sorted(values)
    gap, at = max(((b / a, i) for i, (a, b) in enumerate(zip(values, values[1:]), 1)), default=(1, 0))
    return [values] if gap < GAP else [values[:at], values[at:]]


def span(one):
    """Where the next sample may well be: the middle half of them; of two kinds anywhere."""
    values = one["samples_ns"]
    return one["quartiles_ns"] if len(kinds(values)) == 1 else [min(values), max(values)]


def figures(samples, base):
    """What a table shows of the samples of a row, by mode: median, quartiles, and the ratio to the base."""
    found = {}
    for name, values in samples.items():
        if values:
            q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
            found[name] = {"median_ns": median, "quartiles_ns": [q1, q3], "samples_ns": values}
    for name, one in found.items():
        if name == base or base not in found:
            continue
        (low, high), (base_low, base_high) = span(one), span(found[base])
        one["ratio"] = one["median_ns"] / found[base]["median_ns"]
        one["sure"] = len(one["samples_ns"]) >= SAMPLES_LEAST and (low > base_high or high < base_low)
    return found


def geometric_means(rows, names, base):
    """Of the rows that a mode has a ratio in; and the same for each round by itself."""
    means = {}
    for name in names:
        both = [(row[name], row[base]) for row in rows.values() if "ratio" in row.get(name, {})]
        if both:
            rounds = zip(*([a / b for a, b in zip(one["samples_ns"], other["samples_ns"])] for one, other in both))
            by_round = [statistics.geometric_mean(ratios) for ratios in rounds]
            means[name] = {
                "ratio": statistics.geometric_mean([one["ratio"] for one, _ in both]),
                "by_round": by_round,
                "sure": len(by_round) >= SAMPLES_LEAST and (min(by_round) > 1 or max(by_round) < 1),
                "rows": len(both),
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
    """From least to most; or, if there are two kinds of samples, both and how many there are of each."""
    parts = kinds(values)
    if len(values) == 1:
        return show_time(values[0])
    if len(parts) == 1:
        return f"{show_time(min(values))} .. {show_time(max(values))}"
    return ", ".join(f"{len(part)}x {show_time(statistics.median(part))}" for part in parts)


def show_tables(what, rows, failures, means, names, base, rounds):
    def cell(row, name):
        one = rows[row].get(name)
        if name in failures[row]:
            return "skipped" if failures[row][name].startswith("skipped") else "ERROR"
        if "ratio" not in one:
            return show_time(one["median_ns"])
        return f"{show_ratio(one)} {show_time(one['median_ns']):>7}"

    print(f"\n{what}: ratio to {base}, and median of {rounds} rounds")
    lines = [[row, *(cell(row, name) for name in names)] for row in rows]
    total = ["geometric mean"], ["  by round"]
    for name in names:
        mean = means.get(name)
        if not mean:
            total[0].append("")
            total[1].append("")
            continue
        total[0].append(show_ratio(mean) + (f" {mean['rows']} rows" if mean["rows"] < len(rows) else " " * 8))
        total[1].append(f"{min(mean['by_round']):.2f} .. {max(mean['by_round']):.2f}")
    table(["", *names], [*lines, *(total if means else [])])
    print("~ not sure: the middle halves of both modes' samples overlap, or, where there are two kinds of samples, all of them;")
    print(f"  of the mean: there are rounds on both sides of 1; or there are fewer than {SAMPLES_LEAST} rounds")

    print(f"\n{what}: least .. most; or, if a factor of {GAP} or more lies between, how many are below and above, and their medians")
    lines = [[row, *(show_spread(found[name]["samples_ns"]) if name in found else "" for name in names)] for row, found in rows.items()]
    table(["", *names], lines)
    for row, why in failures.items():
        for name, text in why.items():
            print(f"{row}, {name}: {text}")


def main():
    rounds = number("ROUNDS", 5)
    cpu_settings = words("BENCH_CPUS", list(CPUS))
    chosen = modes(["unguarded", "ptrace", "notify", "window"])
    allowed = os.sched_getaffinity(0)
    with Place() as place:
        operations = place.operations()
        rows = words("ROWS", list(operations))
        chosen, missing = present(place, chosen)
        if not chosen:
            return "no mode can be measured"
        names = [mode.name for mode in chosen]
        base = "unguarded" if "unguarded" in names else names[0]
        result = {
            "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
            "host": host(),
            "rounds": rounds,
            "operations": {row: operations[row] for row in rows},
            "modes": {mode.name: {"kernel": mode.version, "arguments": mode.args} for mode in chosen},
            "missing": missing,
            "base": base,
            "cpus": {},
        }
        shown = []
        bad = False
        for cpus in cpu_settings:
            pin(cpus, allowed)
            samples, failures = measure(place, chosen, rows, rounds, CPUS[cpus])
            # What failed in one round is shown as failed, and its other rounds do not count.
            for row, why in failures.items():
                for name in why:
                    del samples[row][name]
            found = {row: figures(samples[row], base) for row in rows}
            means = geometric_means(found, names, base)
            result["cpus"][cpus] = {"what": CPUS[cpus], "rows": found, "failures": failures, "geometric_means": means}
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
