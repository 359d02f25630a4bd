# SPDX-License-Identifier: GPL-2.0-only
"""Counts the host's system calls for one operation of a guest, by strace."""

import re
import shutil
from collections import Counter

from guests import say, table

# So many operations that the calls of timer ticks hardly matter.
ROWS = {"syscall": 2000, "fault-write": 1024, "churn16": 200, "fork": 50}

# guest.c makes this call before and after.
MARK = "getpgid(%d" % 0x5741524B


def read_trace(path):
    """Counts the calls between the marks: of the kernel, and of the stubs."""
    stubs, calls, marks = set(), [], 0
    with open(path, errors="replace") as trace:
        first = None
        for line in trace:
            # If strace splits a call, its second line is "PID <... NAME resumed>".
            match = re.match(r"(\d+) +((\w+)\(\S*)", line)
            if not match:
                continue
            pid, name = match[1], match[3]
            first = first or pid
            if match[2].startswith(MARK):
                marks += 1
            elif marks == 1:
                calls.append((pid, name))
            # The kernel's children are threads and stubs; only stubs execute a program.
            if name in ("execve", "execveat") and pid != first:
                stubs.add(pid)
    if marks != 2:
        return None
    return {
        "kernel": Counter(name for pid, name in calls if pid not in stubs),
        "stubs": Counter(name for pid, name in calls if pid in stubs),
    }


def count(place, chosen, rows):
    """By row and mode; empty if strace is missing."""
    if not shutil.which("strace"):
        say("host calls are not counted: strace is missing (apt-get install strace)")
        return {}
    counted = {}
    trace = place.dir / "trace"
    for row, operations in ROWS.items():
        if row not in rows:
            continue
        counted[row] = {}
        for mode in chosen:
            # strace cannot trace what UML traces, and the host itself makes no calls.
            if mode.runs_as == "ptrace" or not mode.linux:
                continue
            # -DD: the kernel stays boot.sh's child, and strace is not killed with it.
            strace = f"strace -DD -f -qq -s 0 -o '{trace}'"
            _, failure = place.boot(mode, f"--count {row} {operations}", limit=120, wrapper=strace)
            found = None if failure else read_trace(trace)
            if not found:
                say(f"host calls, {row}, {mode.name}: {failure or 'the marks are not in the trace'}")
                continue
            counted[row][mode.name] = {
                who: {name: n / operations for name, n in names.most_common()} for who, names in found.items()
            }
            say(f"host calls, {row}, {mode.name}: counted")
    return counted


def show(counted):
    if not any(counted.values()):
        return
    names = list(dict.fromkeys(name for row in counted.values() for name in row))

    def cell(one):
        if not one:
            return "ERROR"
        kernel, stubs = (sum(one[who].values()) for who in ("kernel", "stubs"))
        return f"{kernel + stubs:.1f} = {kernel:.1f} + {stubs:.1f}"

    print("\nhost calls for one operation: all = the kernel's + the stubs' (with the guest's own, which are trapped)")
    table(["", *names], [[row, *(cell(by_mode.get(name)) for name in names)] for row, by_mode in counted.items()])
