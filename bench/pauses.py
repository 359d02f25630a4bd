#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""How long an honest program is held up while two processes beside it attack, again and again.

pauses.py UNGUARDED GUARDED   two UML kernels; `make bench-pauses` builds them

ATTACKS     attacks of uml/guests/hostile (all)
MODES       window notify unguarded (window)
BENCH_CPUS  the guest's CPUs: "1", on one of the host's; "2" (both)
SECONDS     for which the honest program runs (5)
BENCH_OUT   folder for pauses.json (build/bench)

The program looks at the clock and makes a call, again and again. A pause is a millisecond or more between two looks. Its
share is its CPU time, of the time that went by. It is compared with the same program alone, and beside two honest ones that compute.
Fails if a pause in window mode is longer than the design's bound, or if the guest does not live to its end.
"""

import os
import re
import statistics
import subprocess
import sys

from guests import HERE, Place, die, modes, number, origin, say, table, words, write_json

# In window mode a stub that keeps a CPU is killed when it has used its budget (800 ms), at the watchdog's next look (200 ms).
# An honest process waits for one of the attackers on each CPU, and for its turn.
BOUND_MS = 2000
ALONE, BESIDE = "alone", "beside two that compute"


class Beside(Place):
    """A guest with attackers and an honest program."""

    def __init__(self):
        super().__init__()
        self.compile(HERE)
        self.compile(HERE.parent / "uml/guests")
        self.command = "sh"

    def attacks(self):
        out = subprocess.run([self.dir / "hostile", "--list"], check=True, capture_output=True, text=True).stdout
        return [line.split()[0] for line in out.splitlines()]

    def measure(self, mode, cpus, what, seconds):
        """Returns share, pauses in ms, and what went wrong or None."""
        others = {ALONE: "", BESIDE: "while :; do :; done"}.get(what, f"while :; do '{self.dir}/hostile' {what}; done")
        script = self.dir / "script"
        start = f"for n in 1 2; do ({others}) >/dev/null 2>&1 & done\nsleep 0.3\n" if others else ""
        script.write_text(f"{start}'{self.dir}/pauses' {seconds}\n")
        lines, failure = self.boot(mode, f"'{script}'", limit=60 + 4 * seconds, cpus=cpus)
        found = re.search(r"^pauses (\d+) (\d+)(.*)$", "\n".join(lines), re.M)
        if not found:
            return None, None, failure or "no figures"
        return int(found[1]) / int(found[2]), [int(pause) / 1000 for pause in found[3].split()], failure


def row_of(what, share, pauses):
    if share is None:
        return [what, "the guest is down", "", "", "", ""]
    ranked = sorted(pauses)
    at = [f"{ranked[min(len(ranked) - 1, int(len(ranked) * q))]:.0f} ms" for q in (0.5, 0.99)] if ranked else ["", ""]
    return [what, f"{share:.2f}", str(len(ranked)), *at, f"{ranked[-1]:.0f} ms" if ranked else "0"]


def main():
    seconds = number("SECONDS", 5)
    os.environ.setdefault("MODES", "window")
    chosen = modes(["unguarded", "notify", "window"])
    allowed = os.sched_getaffinity(0)
    result = origin() | {"seconds": seconds, "figures": {}}
    late = []
    with Beside() as place:
        attacks = words("ATTACKS", place.attacks())
        for which in words("BENCH_CPUS", ["1", "2"]):
            os.sched_setaffinity(0, {max(allowed)} if which == "1" else allowed)
            for mode in chosen:
                rows, figures = [], {}
                for what in [ALONE, BESIDE, *attacks]:
                    share, pauses, failure = place.measure(mode, int(which), what, seconds)
                    figures[what] = {"share": share, "pauses_ms": pauses, "failure": failure}
                    rows.append(row_of(what, share, pauses))
                    if mode.name == "window" and (failure or max(pauses, default=0) > BOUND_MS):
                        late.append(f"{what}, {which} CPU: {failure or f'{max(pauses):.0f} ms'}")
                result["figures"][f"{mode.name}, {which} CPU"] = figures
                print(f"\n{mode.name}, {which} CPU: an honest program for {seconds} s")
                table(["two beside it", "share of a CPU", "pauses", "median", "99 %", "longest"], rows)
                longest = {what: max(one["pauses_ms"] or [0]) for what, one in figures.items() if one["share"] is not None and what in attacks}
                if longest:
                    say(f"of {len(longest)} attacks: median of the longest pauses {statistics.median(longest.values()):.0f} ms, "
                        f"the longest {max(longest.values()):.0f} ms ({max(longest, key=longest.get)})")
    say(f"written: {write_json('pauses.json', result)}")
    if late:
        die(f"over {BOUND_MS} ms, or no end: " + "; ".join(late))


if __name__ == "__main__":
    sys.exit(main() or 0)
