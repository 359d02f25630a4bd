#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Runs a distribution: Debian with systemd in guests with and without the guard, and its programs, case by case.

distro.py UNGUARDED GUARDED   two UML kernels with uml/config/distro.config; `make distro` builds them

MODES      the modes to compare with the unguarded one (window notify)
NCPUS      the guests' CPUs ("1 2": one after the other); MEM: their memory in MiB (2048)
SIZE       short: some minutes. long (the default): less than an hour on an idle machine. full: all that there is
PROGRAMS   what runs in them (all of uml/tests/distro, "no": they only boot and shut down)
SUITE      the release of Debian (this machine's)
BENCH_OUT  where distro.json goes; build/distro/CPUS/MODE has the guests' console, logs and the cases' output

A case that differs runs again, twice on both sides. If a result of one side is among the other's, it is flaky; otherwise it
is different, or known to be.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(1, str(HERE.parent))
from guest import TOP, UML, Mode, Place, die, kib, look, modes, number, origin, processes_of, raise_limit, say, words, write_json  # noqa: E402
from suite import python_cases, unlike  # noqa: E402

TESTS = HERE / "distro"
OURS = {"guest.sh", "image.sh", "lib.sh"}
AGAIN = 2
# Seconds that a test may take
LIMIT = {"short": 600, "long": 1800, "full": 7200}
# Counters that must be 0. denied_page_table may move: a page table may change after a call was queued.
INNOCENT = re.compile(r"^((?:kills|breaches|denied_(?!page_table\b)\w+)[= ]+[1-9]\d*)", re.M)
WRONG = re.compile(r"^(Kernel panic|BUG|WARNING|Oops|INFO: (task|rcu)|rcu: INFO|UML ran out)|Bad (page|rss)|page allocation failure|killed stub \d+")
# By how much a figure may be larger at the end than at the beginning: as in soak.py. The guest's caches are dropped before, but
# not all that it keeps of file systems and control groups.
FIGURES = {"stubs": 36, "fds": 72, "kernel_kib": 8192, "guest_kib": 98304}

# Messages of the guarded kernel alone.
OWN_LINES = re.compile(r"stubguard|^Checking ")
# systemd writes there, too, until its journal runs.
OTHERS = re.compile(r"^(systemd|udevd|systemd-\w+)\[")
# Other lines that differ from boot to boot: figures, and the order of what runs at the same time.
NOISE = re.compile(r"^(Linux version|Kernel command line|Command line|Unknown kernel command line|.*BogoMIPS|Core dump limits|.*random: )")

# Known: differ for a reason that is not the guard.
KNOWN = {}


def programs():
    return sorted(path.stem for path in TESTS.glob("*.sh") if path.name not in OURS)


def messages(path):
    """The kernel's messages at boot, without times and figures."""
    text = re.sub(r"^\[ *[\d.]+\] ", "", path.read_text(errors="replace"), flags=re.M)
    lines = (re.sub(r"\b(0x)?[0-9a-f]*\d[0-9a-f]*(\.\d+)?", "N", line) for line in text.splitlines() if not NOISE.match(line))
    return Counter(line for line in lines if not OWN_LINES.search(line) and not OTHERS.match(line))


class Distribution(Place):
    """Guests with Debian as their root."""

    def __init__(self, image, mem, size):
        super().__init__()
        self.image, self.mem, self.size = image, mem, size
        if subprocess.run(["make", "-s", "-C", UML / "guests", f"OUT={self.dir}", self.dir / "audit"]).returncode:
            die("the guests' program audit does not compile")

    def write_init(self, arguments):
        # The kernel's arguments name another one.
        return Path(shutil.which("true"))

    def prepare(self, mode, chosen):
        """Puts what the guest sees into a folder. Returns it."""
        shared = self.dir / "shared"
        shutil.rmtree(shared, ignore_errors=True)
        shutil.copytree(TESTS, shared)
        shutil.copy(self.dir / "audit", shared)
        (shared / "looks/guest").mkdir(parents=True)
        module = Path(mode.linux).resolve().parent / "drivers/net/dummy.ko"
        if module.exists():
            shutil.copy(module, shared)
        (shared / "run").write_text(f"programs='{' '.join(chosen)}' size={self.size} limit={LIMIT[self.size]}\n")
        return shared

    def take(self, text):
        """A sample of the guest's processes on the host."""
        free, _ = map(int, text.split())
        kernel = self.pid()
        return look(kernel) | {"kernel_kib": kib(processes_of(kernel)[0] / "status", "RssAnon"), "guest_kib": self.mem * 1024 - free}

    def run(self, mode, cpus, chosen, folder):
        """Boots a guest that runs the programs. Returns their cases, what else is wrong, and samples of the host."""
        shared, start = self.prepare(mode, chosen), time.monotonic()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        cow = self.dir / "cow"
        cow.unlink(missing_ok=True)
        wrong, idle, begun, took = [], {}, {}, {}

        def line(text):
            print(f"{time.monotonic() - start:7.1f} {text}", file=console, flush=True)
            if match := re.search(r"\bidle (before|after) (\d+ \d+)$", text):
                idle[match[1]] = self.take(match[2])
            elif match := re.search(r"\bbegin (\w+)$", text):
                begun[match[1]] = time.monotonic()
            elif match := re.search(r"\bend (\w+) (\d+)$", text):
                took[match[1]] = time.monotonic() - begun[match[1]]
                if match[2] != "0":
                    wrong.append(f"{match[1]}: its unit ended with {match[2]}")
            elif re.search(r"audit: (?!ok|skipped)", text) or WRONG.search(text):
                wrong.append(text)

        boot = Mode(mode.name, mode.linux, [
            *mode.args, f"ubd0={cow},{self.image}", "root=/dev/ubda", "rootfstype=ext4", "rootflags=errors=remount-ro", "rw",
            "init=/sbin/init", "SYSTEMD_COLORS=0", "systemd.show_status=error", f"distro={shared}"], mode.runs_as)
        looker = subprocess.Popen([sys.executable, "-B", UML / "audit.py", shared / "looks"])
        try:
            with (folder / "console").open("w") as console:
                lines, failure = self.boot(boot, "", limit=LIMIT[self.size] * (len(chosen) + 1), mem=self.mem, cpus=cpus, watch=line)
        finally:
            looker.kill()
            looker.wait()
        mode.version = boot.version
        found = shared / "results"
        if found.exists():
            shutil.copytree(found, folder, dirs_exist_ok=True)
        if failure:
            wrong.append(f"the guest: {failure}")
        if not re.search(r"reboot: (Power down|System halted)", "\n".join(lines[-20:])):
            wrong.append("it has not shut down")
        wrong += [f"shutdown: {text}" for text in lines if re.search(r"Failed (un)?mounting|Failed to (unmount|finalize)|timed out\.", text)]
        if mode.name != "unguarded" and (folder / "stubguard").exists():
            wrong += INNOCENT.findall((folder / "stubguard").read_text())
        for name, most in FIGURES.items():
            if "after" not in idle or idle["after"][name] > idle["before"][name] + most:
                wrong.append(f"{name}: {idle.get('before', {}).get(name)} before, {idle.get('after', {}).get(name)} after")
        results = {name: self.cases(folder / name) for name in ["boot", *chosen]}
        wrong += [f"boot: {case}: {text}" for case, text in results["boot"].items() if not text.startswith("ok")]
        if "is-system-running" not in results["boot"]:
            wrong.append("its tests have not begun")
        (folder / "times").write_text("".join(f"{name} {seconds:.1f}\n" for name, seconds in took.items()))
        say(f"{mode.name}, {cpus} CPU: {len(chosen)} programs, {sum(map(len, results.values()))} cases, {time.monotonic() - start:.0f} s")
        return results, wrong, idle

    @staticmethod
    def cases(folder):
        """A program's cases and their results."""
        cases = {}
        if (folder / "cases").exists():
            for line in (folder / "cases").read_text(errors="replace").splitlines():
                name, _, text = line.partition("\t")
                cases[name] = text
        for xml in sorted(folder.glob("*.xml")):
            cases |= python_cases(xml.read_text(errors="replace").splitlines())
        if (folder / "kernel").exists():
            for match in re.finditer(r"((WARNING|BUG|INFO|rcu|stubguard): .{,40})", (folder / "kernel").read_text(errors="replace")):
                cases[f"kernel: {match[1]}"] = "said"
        return cases


def compare_messages(ours, theirs):
    """Lines of the guarded kernel's log that the other has not, and the other way round."""
    first, second = messages(theirs / "dmesg"), messages(ours / "dmesg")
    return [f"dmesg: {sign} {line}" for sign, lines in (("-", first - second), ("+", second - first)) for line in lines]


def main():
    mem, size = number("MEM", 2048), os.environ.get("SIZE") or "long"
    if size not in LIMIT:
        die(f"SIZE={size}: one of {' '.join(LIMIT)}")
    cpus = [int(word) for word in os.environ.get("NCPUS", "1 2").split()]
    os.environ["MODES"] = " ".join(["unguarded", *words("MODES", ["window", "notify"])])
    unguarded, *guarded = modes(["unguarded", "window", "notify"])
    chosen = [] if os.environ.get("PROGRAMS") == "no" else words("PROGRAMS", programs())
    image = subprocess.run([TESTS / "image.sh"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    raise_limit()
    wrong, rows, listed, kept = [], [], [], {}

    with Distribution(image, mem, size) as place:
        for count in cpus:
            top = TOP / f"build/distro/{count}"
            runs = {}
            for mode in (unguarded, *guarded):
                results, faults, idle = place.run(mode, count, chosen, top / mode.name)
                runs[mode.name] = [results]
                wrong += [f"{mode.name}, {count} CPU: {text}" for text in faults]
                kept[f"{mode.name} {count}"] = {"idle": idle, "results": results}
            first = runs["unguarded"][0]
            found = {mode.name: unlike(first, runs[mode.name][0]) for mode in guarded}
            again = sorted({test for name in found for test, _ in found[name] if test in chosen})
            for n in range(AGAIN if again else 0):
                for mode in (unguarded, *guarded):
                    results, faults, _ = place.run(mode, count, again, top / f"{mode.name}-again-{n + 1}")
                    runs[mode.name].append(results)
                    wrong += [f"{mode.name}, {count} CPU, again: {text}" for text in faults]
            for mode in guarded:
                wrong += [f"{mode.name}, {count} CPU: {text}" for text in compare_messages(top / mode.name, top / "unguarded")]
                verdict = {}
                for test, case in found[mode.name]:
                    sides = [[run[test].get(case, "absent") for run in runs[name] if test in run] for name in ("unguarded", mode.name)]
                    verdict[test, case] = "flaky" if set(sides[0]) & set(sides[1]) else "known" if (test, case) in KNOWN else "DIFFERENT"
                    text = " against ".join("; ".join(f"{n} x {word}" for word, n in Counter(side).most_common()) for side in sides)
                    listed.append((verdict[test, case], f"{mode.name} {count}", test, case, text))
                for test in first:
                    both, total = (first[test], runs[mode.name][0][test]), Counter()
                    for case in both[0].keys() | both[1].keys():
                        total["cases"] += 1
                        total[verdict.get((test, case), "same")] += 1
                        total["ok"] += all(re.match(r"ok\b|PASS\b", side.get(case, "")) is not None for side in both)
                    rows.append((mode.name, count, test, *(total[what] for what in ("cases", "ok", "same", "flaky", "known", "DIFFERENT"))))

    print(f"\nLinux {unguarded.version}, {Path(image).stem}, {size}\n\nmode | CPUs | program | cases | ok | same | flaky | known | different\n"
          "--- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---:")
    for row in rows:
        print(" | ".join(map(str, row)))
    print()
    for one in sorted(listed):
        print("{}: {}: {}: {}: {}".format(*one))
    for text in wrong:
        print(f"WRONG: {text}")
    write_json("distro.json", origin() | {"guest_mib": mem, "size": size, "kernel": unguarded.version, "runs": kept, "differences": listed, "wrong": wrong})
    return bool(wrong) or any(one[0] == "DIFFERENT" for one in listed)


if __name__ == "__main__":
    sys.exit(main())
