#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Compares what real guests do with the protocol's model (docs/protocol.md).

traces.py KERNEL GRAPHS   a guarded UML kernel, and the folder of graphs that tests/protocol has written; `make traces`

Boots guests with honest programs under strace, in window mode. The host calls of a stub's code page and of its monitor
are letters. The letters of each stub, from its start to its end, must be a way through the model's graph.

The model has one disturbance at a time: a timer, or a withdrawn call. A stub that two of them meet soon one after the other may do what the model
does not know. That the monitor finds nothing ("receive-gone") is such a case, too: it is left from a call that was withdrawn before, maybe by strace.
Such a stub is counted as not judged from there on, and few stubs may be so.

The test proves something only if the graph refuses other ways. So then one letter at a time is left out, doubled, or exchanged with the next,
and the last line says how many of these changes the graph refuses.

WORKLOADS   the workloads of uml/guests/workload.sh to trace
KEEP        a folder for the traces
"""

import os
import random
import re
import shutil
import sys
from collections import Counter, defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(1, str(HERE.parent))
from guest import TOP, Mode, Place, die, say  # noqa: E402

WORKLOADS = "pipelines forks maps signals threads handlers calls"
# What is booted: UML's parameters, the guest's CPUs
GUESTS = [
    (["stubguard=window"], 1),
    (["stubguard=window"], 2),
    (["stubguard=window,calls=trap"], 1),
    (["stubguard=window,pool=0"], 2),
]
PAGE = 4096
# What a park says (src/window/code.rs), or its signal
PARKS = {0x1000: "receive-done", 0x1001: "receive-failed", 31: "receive-trap", 14: "receive-timer"}
# What the stub's code page calls. arch_prctl is no letter, as hosts with FSGSBASE need none.
STUBS = {"mmap": "batch", "munmap": "batch", "mprotect": "batch", "prlimit64": "limit", "rt_sigprocmask": "unblock"}
MONITORS = ("ioctl", "poll", "prlimit64", "pidfd_open", "pidfd_send_signal", "close")
# Of so many letters of each stub changes are tried.
CHANGES = 40
# How many disturbances a letter stands for, and within how many letters two of them are too many for the model.
DISTURBED, SOON = {"receive-timer": 1, "receive-gone": 2, "send-gone": 2}, 20
# How many of a guest's stubs may not be judged to their end: a part, and the least number.
NOT_JUDGED = 0.05, 3


# ---- the trace


class Call:
    """A host call of a trace: who, from where, what; the lines of its begin and of its end; its result."""

    def __init__(self, pid, ip, name, begin):
        self.pid, self.ip, self.name, self.begin = pid, ip, name, begin
        self.text, self.end, self.result = "", None, None

    def ends(self, text, line):
        self.text += text
        self.end = line
        result = re.search(r"\) += (-1 [A-Z]+|\w+|\?)[^)]*(\(.*\))?$", self.text)
        self.result = result and result[1]


def read_trace(path):
    """All calls, whose second half may be on a line of its own."""
    calls, halves = [], {}
    with open(path, errors="replace") as trace:
        for n, line in enumerate(trace):
            line = line.rstrip("\n")
            if match := re.match(r"(\d+) +\[([0-9a-f?]+)\] (\w+)\((.*)", line):
                call = Call(int(match[1]), int(match[2].replace("?", "0"), 16), match[3], n)
                calls.append(call)
                if match[4].endswith("<unfinished ...>"):
                    call.text = match[4].removesuffix("<unfinished ...>")
                    halves[call.pid] = call
                else:
                    call.ends(match[4], n)
            elif (match := re.match(r"(\d+) +\[[0-9a-f?]+\] <\.\.\. \w+ resumed>(.*)", line)) and int(match[1]) in halves:
                halves.pop(int(match[1])).ends(match[2], n)
    return calls


def listeners_letter(call, stub_start):
    """The letter of a monitor's ioctl, and the line at which it counts: what the host answers, or what it is told."""
    if call.end is None:
        return None
    done = call.result == "0"
    if "NOTIF_SEND" in call.text:
        return ("send" if done else "send-gone"), call.begin
    # The id 0 only asks whether it is a listener.
    if "NOTIF_ID_VALID, [0]" in call.text:
        return None
    if "NOTIF_ID_VALID" in call.text:
        return ("valid" if done else "not-valid"), call.end
    # A receive that a signal ends is made again.
    if "NOTIF_RECV" not in call.text or call.result in ("?", "-1 EINTR"):
        return None
    if not done:
        return "receive-gone", call.end
    ip = int(re.search(r"instruction_pointer=(\w+)", call.text)[1], 0)
    if not stub_start < ip <= stub_start + PAGE:
        return "receive-call", call.end
    what = int(re.search(r"args=\[(\w+)", call.text)[1], 0)
    return PARKS.get(what, "receive-fault"), call.end


def events_of(calls):
    """What happens, in its order: (line, whose, number, letter). Whose number it is: a listener's, a pid's, a pidfd's."""
    monitors = {call.pid for call in calls if "NOTIF_SEND" in call.text}
    # The first notification of all is a park.
    first = next(call for call in calls if "instruction_pointer=" in call.text)
    stub_start = int(re.search(r"instruction_pointer=(\w+)", first.text)[1], 0) & -PAGE
    for call in calls:
        number = re.match(r"(?:\[\{fd=)?(\d+)", call.text)
        if stub_start < call.ip <= stub_start + PAGE:
            letter = STUBS.get(call.name)
            if letter == "batch" and call.result and call.result.startswith("-1"):
                letter = "batch-failed"
            if letter:
                yield call.begin, "pid", call.pid, letter
        elif call.pid in monitors and number:
            number = int(number[1])
            if call.name == "ioctl" and (letter := listeners_letter(call, stub_start)):
                if pid := re.search(r"\bpid=(\d+)", call.text):
                    yield letter[1] - 0.5, "stub of", number, int(pid[1])
                yield letter[1], "listener", number, letter[0]
            elif call.name == "poll" and call.end is not None and call.result not in ("?", "-1 EINTR"):
                letter = "poll-nothing" if call.result == "0" else "poll-gone" if "POLLHUP" in call.text else "poll-in"
                yield call.end, "listener", number, letter
            elif call.name == "prlimit64" and "RLIMIT_AS, {" in call.text and number not in monitors:
                yield call.begin, "pid", number, "lift"
            elif call.name == "pidfd_open" and call.result and call.result.isdigit():
                yield call.end, "pidfd of", int(call.result), number
            elif call.name == "pidfd_send_signal" and ", 0, NULL" not in call.text:
                yield call.begin, "pidfd", number, "kill" if "SIGKILL" in call.text else "signal"
            elif call.name == "close":
                yield call.begin, "closed", number, None


def letters_of(calls):
    """By pid of a stub: its letters."""
    of_listener, of_pidfd, stubs = {}, {}, defaultdict(lambda: ["start"])
    in_batch = defaultdict(bool)

    def add(pid, letter):
        # A batch is one letter, however many calls it has.
        if not pid or (letter == "batch" and in_batch[pid]):
            return
        stubs[pid].append(letter)
        if letter in ("batch", "send"):
            in_batch[pid] = letter == "batch"

    for _, whose, number, what in sorted(events_of(calls), key=lambda event: event[0]):
        if whose == "stub of":
            of_listener[number] = what
        elif whose == "pidfd of":
            of_pidfd[number] = what
        elif whose == "closed":
            of_listener.pop(number, None)
            of_pidfd.pop(number, None)
        else:
            add({"listener": of_listener, "pidfd": of_pidfd}.get(whose, {number: number}).get(number), what)
    return stubs


# ---- the model


class Graph:
    """States, and what leads from one to another."""

    def __init__(self, path):
        self.steps, self.silent, self.starts = defaultdict(set), defaultdict(set), set()
        with open(path) as lines:
            for line in lines:
                begin, end, *letters = line.split()
                if not letters:
                    self.silent[begin].add(end)
                    continue
                if letters[0] == "start":
                    self.starts.add(begin)
                # Between the letters of an act there are states without a name.
                at = begin
                for n, letter in enumerate(letters, 1):
                    to = end if n == len(letters) else (begin, *letters[:n])
                    self.steps[at, letter].add(to)
                    at = to

    def with_silent(self, states):
        todo, states = list(states), set(states)
        while todo:
            for state in self.silent.get(todo.pop(), ()):
                if state not in states:
                    states.add(state)
                    todo.append(state)
        return states

    def start(self):
        return self.with_silent(self.starts)

    def go(self, states, letter):
        """The states in which the model may be then; none: it cannot do that."""
        return self.with_silent({to for state in states for to in self.steps.get((state, letter), ())})

    def follow(self, states, letters):
        """The number of letters that it can do; all: it accepts them."""
        for n, letter in enumerate(letters):
            states = self.go(states, letter)
            if not states:
                return n
        return len(letters)


def changes(letters, at):
    """The letters from one on, wrong in one way or another"""
    one, rest = letters[at], letters[at + 1:]
    yield "left out", rest
    if one != "batch":
        yield "doubled", [one, one, *rest]
    if rest and rest[0] != one:
        yield "exchanged with the next", [rest[0], one, *rest[1:]]


def try_changes(graph, letters, chosen):
    """Counts by letter: changes, and those that the graph refuses within the next 40 letters."""
    tried, refused = Counter(), Counter()
    states = graph.start()
    for at, letter in enumerate(letters):
        if at in chosen:
            for _, wrong in changes(letters[:at + 40], at):
                tried[letter] += 1
                refused[letter] += graph.follow(states, wrong) < len(wrong)
        states = graph.go(states, letter)
    return tried, refused


# ---- guests


class Traced(Place):
    """Guests under strace."""

    def __init__(self, workloads):
        super().__init__()
        self.compile(TOP / "uml/guests")
        self.trace = self.dir / "trace"
        self.exports = {"WORK_DIVISOR": 20, "VECTOR_SECONDS": 1}
        self.command = f"sh '{TOP}/uml/guests/workload.sh' '{self.dir}/work' /nowhere {workloads}"

    def run(self, mode, cpus):
        calls = ",".join(sorted({*STUBS, *MONITORS}))
        # -DD: the kernel stays boot.sh's child. -i: where a call is made. -v: with all arguments.
        strace = f"strace -DD -f -qq -i -v -s 0 -e trace={calls} -e signal=none -o '{self.trace}'"
        return self.boot(mode, "", limit=300, cpus=cpus, wrapper=strace)


def main():
    if len(sys.argv) != 3:
        die("two arguments: a guarded kernel, and the folder of the model's graphs")
    if not shutil.which("strace"):
        die("strace is missing: run uml/deps.sh")
    linux, graphs = sys.argv[1], Path(sys.argv[2])
    graph, failed = None, []
    tried, refused = Counter(), Counter()
    chance = random.Random(1)
    with Traced(os.environ.get("WORKLOADS") or WORKLOADS) as place:
        for args, cpus in GUESTS:
            what = f"{args[0]}, {cpus} CPU"
            lines, failure = place.run(Mode("window", linux, args, "window"), cpus)
            if failure:
                die(f"{what}: {failure}")
            if os.environ.get("KEEP"):
                shutil.copy(place.trace, Path(os.environ["KEEP"]) / f"{args[0]}.{cpus}")
            if not graph:
                offers = re.search(r"the host offers (.*?);", "\n".join(lines))[1].split(", ")
                has = [name for name in ("wait-killable", "receive-ends") if name in offers]
                graph = Graph(graphs / (" ".join(has) or "neither"))
            stubs, not_judged = letters_of(read_trace(place.trace)), 0
            for pid, letters in stubs.items():
                n = graph.follow(graph.start(), letters)
                if n < len(letters):
                    if sum(DISTURBED.get(letter, 0) for letter in letters[max(0, n - SOON):n + 1]) > 1:
                        not_judged += 1
                        continue
                    failed.append(f"{what}, stub {pid}")
                    say(f"{failed[-1]}: after {' '.join(letters[max(0, n - 12):n])} the model cannot do {' '.join(letters[n:n + 4])}")
                    continue
                wrong = try_changes(graph, letters, set(chance.sample(range(1, len(letters)), min(CHANGES, len(letters) - 1))))
                tried.update(wrong[0])
                refused.update(wrong[1])
            total = sum(map(len, stubs.values()))
            if len(stubs) < 10 or total < 2000:
                die(f"{what}: {total} letters of {len(stubs)} stubs: too few")
            say(f"{what}: {total} letters of {len(stubs)} stubs; {not_judged} of them not judged to their end")
            if not_judged > max(NOT_JUDGED[0] * len(stubs), NOT_JUDGED[1]):
                die(f"{what}: too many are not judged")
    say("changes that the model refuses: " + ", ".join(f"{letter} {refused[letter]} of {n}" for letter, n in tried.most_common()))
    if failed:
        die(f"{len(failed)} stubs have done what the model cannot do")
    # What it must never miss: a batch without its limit, a guest without its signals, an answer to nothing.
    for letter in ("limit", "unblock", "send"):
        if refused[letter] < 0.9 * tried[letter] or not tried[letter]:
            die(f"the model takes nearly anything: {letter}")


if __name__ == "__main__":
    main()
