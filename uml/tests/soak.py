#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A guest under load for a long time: what fails, what grows, which stub is killed by mistake.

soak.py LINUX   a UML kernel; `make soak` builds the guarded one

MINUTES    how long (10)
NCPUS      the guest's CPUs (2); MEM: its memory in MiB (1536)
STRESSORS  stress-ng's, one process each (fork vforkmany exec pthread clone signal sigsegv timer futex pipe switch vm mmap ptrace)
WORKLOADS  honest work that runs again and again and must have the same results (all of uml/guests/workload.sh's)
ATTACKS    hostile programs beside them; "no": none, and the guard must not deny anything, nor the watchdog kill
GUARD      its boot parameter, as stubguard=calls=trap
BENCH_OUT  where soak.json goes, with all samples
"""

import os
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(1, str(HERE.parent))
from guest import TOP, UML, Mode, Place, die, kib, look, number, origin, processes_of, raise_limit, say, words, write_json  # noqa: E402

STRESSORS = "fork vforkmany exec pthread clone signal sigsegv timer futex pipe switch vm mmap ptrace".split()
WORKLOADS = "pipelines files forks maps signals threads floats vectors steps handlers bases calls everycall".split()
# Attacks whose verdict depends on time, which the other load takes here.
TIMED = "storm fork-bomb block-signal copy-race".split()
# Counters that must be 0 without attackers. denied_page_table may move: a page table may change after a call was queued.
# Stalls happen where the host has no time for a stub: they are shown.
INNOCENT = re.compile(r"(?:breaches|denied_(?!page_table=)\w+)=[1-9]\d*")
KILLED = re.compile(r"killed stub \d+")
WRONG = re.compile(r"^(Kernel panic|BUG|WARNING|Oops|INFO: (task|rcu)|rcu: INFO|UML ran out)|Bad (page|rss)|page allocation failure")
# A sample of the host's side: its title, and by how much it may differ at the end. The pool keeps 32 stubs with two fds and
# 64 KiB of page tables and the like each; the guest's kernel keeps caches.
FIGURES = {
    "stubs": ("host processes", 36),
    "fds": ("host fds", 72),
    "kernel_kib": ("the kernel's own KiB", 4096),
    "host_kib": ("KiB of all processes", None),
    "guest_kib": ("guest's used KiB", 32768),
    "slab_kib": ("guest's slab KiB", 16384),
}


class Soak(Place):
    """A guest that runs soak.sh."""

    command = '"$BUSYBOX" sh "$DIR/soak.sh"'

    def __init__(self, settings):
        super().__init__()
        self.exports = settings | {"DIR": self.dir, "VECTOR_SECONDS": 2}
        self.dir.chmod(0o755)  # some processes of the guest are not root's
        self.compile(UML / "guests")
        for name in (UML / "guests/workload.sh", HERE / "soak.sh"):
            shutil.copy(name, self.dir)

    def attacks(self):
        out = subprocess.run([self.dir / "hostile", "--list"], check=True, capture_output=True, text=True).stdout
        return [line.split()[0] for line in out.splitlines()]


class Log:
    """The guest's lines, and samples of its processes on the host."""

    def __init__(self, place, mem):
        self.place, self.mem = place, mem
        self.samples, self.idle, self.memory, self.counters = [], {}, {"before": {}, "after": {}}, ""
        self.looks = {"ok": 0, "skipped": 0}
        self.attacks, self.victims, self.passed, self.wrong, self.killed = {}, 0, set(), [], []

    def take(self, free, slab):
        kernel = self.place.pid()
        own = processes_of(kernel)[0]
        return look(kernel) | {"kernel_kib": kib(own / "status", "RssAnon"), "guest_kib": self.mem * 1024 - free, "slab_kib": slab}

    def line(self, text):
        if match := re.match(r"sample (\d+) (\d+)(.*)", text):
            self.counters = match[3]
            self.samples.append(self.take(int(match[1]), int(match[2])))
            if len(self.samples) % 30 == 0:
                say(f"{len(self.samples)} samples, {self.victims} rounds of work, {sum(map(len, self.attacks.values()))} attacks")
        elif match := re.match(r"idle (\w+)", text):
            self.idle[match[1]] = self.samples.pop()
        elif match := re.match(r"memory (\w+) (\S+) (\d+)", text):
            self.memory[match[1]][match[2]] = int(match[3])
        elif match := re.match(r"attack (\S+) ?(.*)", text):
            self.attacks.setdefault(match[1], []).append(match[2].split(" ")[0] or "ENDED")
            if match[2].startswith("BREACHED") or not match[2]:
                self.wrong.append(text)
        elif match := re.match(r"victim (\d+) (.*)", text):
            self.victims += 1
            if match[2] != "same":
                self.wrong.append(text)
        elif match := re.match(r"audit: (ok|skipped),", text):
            self.looks[match[1]] += 1
        elif text.startswith(("audit: ", "audit-wrong ")):
            self.wrong.append(text)
        elif match := re.match(r"stress-ng (\S+): status 0$", text):
            self.passed.add(match[1])
        elif text.startswith("stress-ng "):
            self.wrong.append(text)
        elif WRONG.search(text):
            self.wrong.append(text)
        elif KILLED.search(text):
            self.killed.append(text)


def main():
    if len(sys.argv) != 2:
        die("one argument: a UML kernel")
    minutes, cpus, mem = number("MINUTES", 10), number("NCPUS", 2), number("MEM", 1536)
    stressors = words("STRESSORS", STRESSORS)
    if not shutil.which("stress-ng"):
        die("stress-ng is missing: apt-get install stress-ng")
    settings = {"SECONDS_": minutes * 60, "STRESSORS": " ".join(stressors), "WORKLOADS": " ".join(words("WORKLOADS", WORKLOADS))}
    raise_limit()

    with Soak(settings) as place:
        attacks = [] if os.environ.get("ATTACKS") == "no" else \
            words("ATTACKS", [name for name in place.attacks() if name not in TIMED])
        looks = place.dir / "looks/guest"
        looks.mkdir(parents=True)
        place.exports |= {"ATTACKS": " ".join(attacks), "LOOKS": looks}
        mode = Mode("soak", sys.argv[1], os.environ.get("GUARD", "").split())
        log = Log(place, mem)
        auditor = subprocess.Popen([sys.executable, "-B", UML / "audit.py", looks.parent])
        lines, failure = place.boot(mode, "", limit=minutes * 60 + 600, mem=mem, cpus=cpus, watch=log.line)

        auditor.kill()
        auditor.wait()

    wrong = log.wrong
    if failure:
        wrong.append(f"the guest: {failure}")
    wrong += [f"stress-ng {name} has not passed" for name in stressors if name not in log.passed]
    if not log.victims:
        wrong.append("no honest work was done")
    if not any(log.looks.values()):
        wrong.append("the mapping oracle has not looked")
    wrong += [f"no attack {name}" for name in attacks if name not in log.attacks]
    if not attacks:
        wrong += [f"without attackers: {text}" for text in [*INNOCENT.findall(log.counters), *log.killed]]

    quarter = max(1, len(log.samples) // 4)
    first, last = log.samples[quarter // 2:quarter // 2 + quarter], log.samples[-quarter:]
    print(f"\n{minutes} minutes, {cpus} CPUs, {len(log.samples)} samples, Linux {mode.version}\n")
    print("figure | first quarter | last quarter | idle before | idle after\n--- | ---: | ---: | ---: | ---:")
    for name, (title, most) in FIGURES.items():
        before, after = (log.idle.get(when, {}).get(name) for when in ("before", "after"))
        medians = [statistics.median(one[name] for one in part) if part else 0 for part in (first, last)]
        print(f"{title} | {medians[0]:.0f} | {medians[1]:.0f} | {before} | {after}")
        if before is None or after is None:
            wrong.append(f"{title}: not seen before and after")
        elif most is not None and after > before + most:
            wrong.append(f"{title}: {before} before, {after} after")
    grown = {name: kib - log.memory["before"].get(name, 0) for name, kib in log.memory["after"].items()}
    most = sorted(grown, key=grown.get, reverse=True)[:12]
    print("\nguest's memory, idle after - before, KiB: " + ", ".join(f"{name} {grown[name]:+d}" for name in most))
    print(f"\nstress-ng: {' '.join(sorted(log.passed)) or 'none'} passed\nhonest work: {log.victims} rounds\nmapping oracle: {log.looks['ok']} looks, {log.looks['skipped']} skipped")
    for name, verdicts in log.attacks.items():
        print(f"attack {name}: " + ", ".join(f"{verdicts.count(word)} {word}" for word in sorted(set(verdicts))))
    print(f"counters:{' '.join(['', *(c for c in log.counters.split() if not c.endswith('=0'))])}")
    for text in wrong[:40]:
        print(f"WRONG: {text}")
    write_json("soak.json", origin() | {
        "minutes": minutes, "cpus": cpus, "guest_mib": mem,
        "kernel": mode.version, "idle": log.idle, "memory": log.memory, "samples": log.samples, "attacks": log.attacks, "rounds": log.victims,
        "passed": sorted(log.passed), "counters": log.counters.split(), "wrong": wrong,
    })
    (TOP / "build/soak.log").write_text("\n".join(lines) + "\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
