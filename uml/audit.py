#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The mapping oracle, host side: does each stub have exactly the pages that its guest's page table grants?

audit.py DIR            serves guests as long as DIR exists: answers each DIR/NAME/snapshot of uml/guests/audit by DIR/NAME/verdict
audit.py --check FILE   checks one snapshot of a guest that stands still; prints the verdict

It compares the guest kernel's snapshot (/proc/stubguard_audit; kernel/skas/stubguard/audit.c has the format) with /proc/PID of each
child of the kernel on the host. docs/audit.md says what is a violation, and what is only counted.
"""

import os
import re
import sys
import time
from pathlib import Path

MMAP, MUNMAP, WRPROTECT = 1, 2, 3
READ, WRITE, EXEC = 1, 2, 4
PAGE = 4096
# Violations that a verdict lists.
MOST = 40
# Fds of a stub: what it has read its init data from; its listener (notify mode) or the memory (window mode).
START, OTHER = 0, 1
# The host maps it into each process, above the guest's addresses, and it cannot be unmapped.
VSYSCALL = "[vsyscall]"


class Mm:
    """An address space, as the guest's kernel sees it."""

    def __init__(self, fields):
        self.pid, self.users, self.task, self.comm = int(fields[0]), int(fields[1]), int(fields[2]), fields[3]
        self.data, self.starting, self.runs = int(fields[4], 16), int(fields[5]), int(fields[6])
        self.due = int(fields[7], 16), int(fields[8], 16)
        # The host has refused a mapping of its stub, so all were dropped
        self.dropped = fields[9] != "0"
        self.calls, self.pages, self.stale, self.bad = [], [], [], []

    def __str__(self):
        return f"{self.comm} ({self.task}), stub {self.pid}" if self.task else f"no task, stub {self.pid}"


class Snapshot:
    def __init__(self, text):
        self.mms, self.end, self.kernel = [], None, None
        for line in text.splitlines():
            word, *fields = line.split(" ")
            getattr(self, f"_{word}")(fields)
        if not self.kernel or self.end is None:
            raise ValueError("the snapshot is cut off")

    def _kernel(self, fields):
        self.kernel, self.mode, self.fd = int(fields[0]), fields[1], int(fields[2])
        self.size, self.start, self.code = (int(n, 16) for n in fields[3:6])
        self.data_pages = int(fields[6])

    def _mm(self, fields):
        self.mms.append(Mm(fields))

    def _call(self, fields):
        kind, addr, length, prot, fd, offset = fields
        self.mms[-1].calls.append((int(kind), int(addr, 16), int(length, 16), int(prot, 16), int(fd), int(offset, 16)))

    def _page(self, fields):
        addr, frame, count, rights, flag = fields
        addr = int(addr, 16)
        self.mms[-1].pages.append((addr, addr + int(count) * PAGE, int(frame, 16), bits(rights), flag))

    def _stale(self, fields):
        self.mms[-1].stale.append((int(fields[0], 16), int(fields[1], 16)))

    def _bad(self, fields):
        self.mms[-1].bad.append((int(fields[0], 16), int(fields[1], 16), " ".join(fields[2:])))

    def _end(self, fields):
        self.end = [int(n) for n in fields]


def bits(rights):
    return sum(bit for bit, letter in ((READ, "r"), (WRITE, "w"), (EXEC, "x")) if letter in rights)


def letters(rights):
    return "".join(letter if rights & bit else "-" for bit, letter in ((READ, "r"), (WRITE, "w"), (EXEC, "x")))


class Map:
    """What a process has mapped: (start, end, frame, rights). frame is None if it is not the guest's memory."""

    def __init__(self, pieces):
        self.pieces = sorted(pieces, key=lambda piece: piece[0])

    def cut(self, start, end):
        """Removes a range, and returns what was there."""
        kept, gone = [], []
        for at, to, frame, rights in self.pieces:
            low, high = max(at, start), min(to, end)
            if low >= high:
                kept.append((at, to, frame, rights))
                continue
            gone.append((low, high, shift(frame, low - at), rights))
            if at < low:
                kept.append((at, low, frame, rights))
            if high < to:
                kept.append((high, to, shift(frame, high - at), rights))
        self.pieces = kept
        return gone

    def put(self, pieces):
        self.pieces = sorted(self.pieces + pieces, key=lambda piece: piece[0])


def shift(frame, by):
    return None if frame is None else frame + by


class Process:
    """A stub, as the host sees it."""

    LINE = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) ([0-9a-f]+) (\S+) (\d+)\s*(.*)")

    def __init__(self, pid, memory):
        self.pid, self.memory = pid, memory
        proc = Path(f"/proc/{pid}")
        pieces = []
        for line in (proc / "maps").read_text().splitlines():
            start, end, rights, offset, device, inode, name = self.LINE.fullmatch(line).groups()
            if name == VSYSCALL:
                continue
            mine = (device, int(inode)) == memory and rights[3] == "s"
            pieces.append((int(start, 16), int(end, 16), int(offset, 16) if mine else None, bits(rights)))
        self.map = Map(pieces)
        limit = re.search(r"^Max address space +(\S+)", (proc / "limits").read_text(), re.M)
        self.limit = limit[1]
        self.fds = {}
        for fd in (proc / "fd").iterdir():
            try:
                self.fds[int(fd.name)] = (os.readlink(fd), identity(os.stat(fd)))
            except FileNotFoundError:
                pass


def identity(stat):
    return f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}", stat.st_ino


def state_of(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def children(kernel):
    found = set()
    for task in Path(f"/proc/{kernel}/task").glob("*/children"):
        try:
            found.update(map(int, task.read_text().split()))
        except FileNotFoundError:
            pass
    return {pid for pid in found if state_of(pid) not in "ZX"}


def is_stub(pid):
    """False for helpers of UML, such as those for a terminal or the network."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == "uml-userspace"
    except (FileNotFoundError, ProcessLookupError):
        return False


def stops(pid, patience=2.0):
    """Waits until it does not run: a stub may still be on its way to its first park."""
    until = time.monotonic() + patience
    while state_of(pid) == "R":
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


class Audit:
    def __init__(self, snapshot):
        self.snapshot = snapshot
        self.wrong, self.notes = [], []
        self.count = dict.fromkeys("granted mapped pending missing dropped lacking dying".split(), 0)
        self.kept = 0
        stat = os.stat(f"/proc/{snapshot.kernel}/fd/{snapshot.fd}")
        self.memory = identity(stat)
        self.data_frames = {}

    def run(self):
        snapshot = self.snapshot
        known = {mm.pid for mm in snapshot.mms if mm.pid > 0}
        if len(known) != sum(mm.pid > 0 for mm in snapshot.mms):
            self.wrong.append("two address spaces have the same stub")
        alive = children(snapshot.kernel)
        for mm in snapshot.mms:
            for addr, frame, text in mm.bad:
                self.wrong.append(f"{mm}: {addr:#x} is granted frame {frame:#x}: {text}")
            if mm.pid in alive:
                self.check_mm(mm)
            elif mm.pid > 0:
                # Killed, and the kernel does not know it yet
                self.notes.append(f"{mm}: not there")
        if snapshot.end[2] > sum(len(mm.bad) for mm in snapshot.mms):
            self.wrong.append(f"{snapshot.end[2]} PTEs are wrong in all")
        for pid in sorted(alive - known):
            if is_stub(pid):
                self.check_kept(pid)
        return self

    def check_mm(self, mm):
        stub = self.look(mm.pid, str(mm))
        if not stub:
            return
        for call in mm.calls:
            self.queued(stub, mm, call)
        self.check_own(stub, str(mm), mm.data, mm.starting)
        if mm.users == 0:
            # Its page tables are gone. It is washed or killed before any guest runs in it again.
            self.count["dying"] += sum(to - at for at, to, _, _ in stub.map.pieces) // PAGE
            return
        self.compare(stub, mm)

    def check_kept(self, pid):
        """Checks a stub that no address space has: it waits in the pool."""
        name = f"stub {pid} of no address space"
        stub = self.look(pid, name)
        if not stub:
            return
        self.kept += 1
        self.check_own(stub, name, None, False)
        if stub.map.pieces:
            at, _, frame, rights = stub.map.pieces[0]
            pages = sum(to - at for at, to, _, _ in stub.map.pieces) // PAGE
            self.wrong.append(f"{name} has {pages} pages, the first at {at:#x}, {where(frame)} {letters(rights)}")

    def look(self, pid, name):
        if not stops(pid):
            self.wrong.append(f"{name} runs, although no task does")
        try:
            return Process(pid, self.memory)
        except (FileNotFoundError, ProcessLookupError):
            self.notes.append(f"{name}: ended meanwhile")
            return None

    def check_own(self, stub, name, data, fresh):
        """Checks the stub's own pages, and removes them from the map; checks its fds and its limit."""
        snapshot = self.snapshot
        start, first = snapshot.start, snapshot.start + PAGE
        end = first + snapshot.data_pages * PAGE
        own = stub.map.cut(start, 1 << 64)
        code = [piece for piece in own if piece[0] < first]
        rest = [piece for piece in own if piece[0] >= first]
        if code != [(start, first, snapshot.code, READ | EXEC)]:
            self.wrong.append(f"{name}: its code page is {describe(code)}, not {where(snapshot.code)} r-x")
        frame = rest[0][2] if rest else None
        if rest != [(first, end, frame, READ | WRITE)] or frame is None or (data is not None and frame != data):
            self.wrong.append(f"{name}: its data is {describe(rest)}, not {where(data)} rw-")
        elif frame in self.data_frames:
            self.wrong.append(f"{name}: has the same data as {self.data_frames[frame]}")
        else:
            self.data_frames[frame] = name
        if snapshot.mode == "off":
            return

        for fd, (target, which) in sorted(stub.fds.items()):
            if fd == START and target.startswith("socket:" if snapshot.mode == "notify" else "pipe:"):
                continue
            if snapshot.mode == "notify" and fd == OTHER and target == "anon_inode:seccomp notify":
                continue
            if snapshot.mode == "window" and fd == OTHER and which == self.memory:
                if stub.limit != "0" and not fresh:
                    self.wrong.append(f"{name}: has the memory's fd, and its address-space limit is {stub.limit}")
                continue
            self.wrong.append(f"{name}: has fd {fd}, {target}")

    def queued(self, stub, mm, call):
        """Applies a queued call to the map."""
        kind, addr, length, prot, fd, offset = call
        end = addr + length
        if end > self.snapshot.start or addr % PAGE or length % PAGE:
            self.wrong.append(f"{mm}: a queued call of {addr:#x} to {end:#x}")
            return
        gone = stub.map.cut(addr, end)
        if kind == MMAP:
            if fd != self.snapshot.fd:
                self.wrong.append(f"{mm}: a queued mmap at {addr:#x} of fd {fd}")
            elif prot:
                stub.map.put([(addr, end, offset, prot)])
        elif kind == WRPROTECT:
            stub.map.put([(at, to, frame, rights & ~WRITE) for at, to, frame, rights in gone])
        elif kind != MUNMAP:
            self.wrong.append(f"{mm}: a queued call of type {kind}")

    def compare(self, stub, mm):
        """Compares what is granted with what is mapped, from boundary to boundary."""
        lists = [[(at, to, (frame, rights, flag)) for at, to, frame, rights, flag in mm.pages],
                 [(at, to, True) for at, to in mm.stale],
                 [(at, to, (frame, rights)) for at, to, frame, rights in stub.map.pieces]]
        bounds = {bound for one in lists for piece in one for bound in piece[:2]}
        bounds.update(mm.due)
        bounds = sorted(bounds)
        place = [0, 0, 0]
        for start, end in zip(bounds, bounds[1:]):
            found = [None, None, None]
            for i, one in enumerate(lists):
                while place[i] < len(one) and one[place[i]][1] <= start:
                    place[i] += 1
                if place[i] < len(one) and one[place[i]][0] <= start:
                    at, _, value = one[place[i]]
                    found[i] = (start - at, value)
            self.piece(mm, start, end, *found)

    def piece(self, mm, start, end, granted, stale, has):
        if granted is None and has is None:
            return
        pages = (end - start) // PAGE
        frame, rights, flag, needs = None, 0, "-", stale is not None
        if granted:
            frame, rights, flag = granted[1]
            frame += granted[0]
            needs = flag == "n"
            self.count["granted"] += pages
        host, more = None, 0
        if has:
            host, more = has[1]
            host = shift(host, has[0])
            self.count["mapped"] += pages
        absent = "dropped" if mm.dropped else "missing"
        what = f"{mm}: {start:#x}, {pages} pages: the host has {where(host)} {letters(more)}"

        if needs and has:
            # Allowed if the next synchronisation covers it, and the guest does not run before that
            self.count["pending"] += pages
            if not (mm.due[0] <= start and end <= mm.due[1]):
                self.wrong.append(f"{what}, {'which has changed' if granted else 'which is gone'}, and no synchronisation is due")
            elif mm.runs:
                self.wrong.append(f"{what}, which is to be synchronised, and the guest runs")
        elif has and not more:
            # Mapped without rights is not mapped
            self.count[absent] += pages if rights else 0
        elif has and not granted:
            self.wrong.append(f"{what}, nothing is granted")
        elif has and host != frame:
            self.wrong.append(f"{what}, {where(frame)} {letters(rights)} is granted")
        elif has and more & ~rights:
            self.wrong.append(f"{what}, {letters(rights)} is granted")
        elif has and rights & ~more:
            self.count["lacking"] += pages
        elif granted and not has and not needs and rights:
            self.count[absent] += pages
        elif granted and not has:
            self.count["pending"] += pages if rights else 0

    def verdict(self):
        count = " ".join(f"{name} {n}" for name, n in self.count.items())
        head = f"mode {self.snapshot.mode}, {len(self.snapshot.mms)} address spaces, {self.kept} kept stubs, pages: {count}"
        if self.wrong:
            lines = [f"audit: FAILED {len(self.wrong)} violations; {head}"]
            lines += [f"audit-wrong {text}" for text in self.wrong[:MOST]]
        else:
            lines = [f"audit: ok, {head}"]
        lines += [f"audit-note {text}" for text in self.notes[:MOST]]
        return "\n".join(lines) + "\n"


def where(frame):
    return "memory that is not the guest's" if frame is None else f"frame {frame:#x}"


def describe(pieces):
    return ", ".join(f"{at:#x}-{to:#x} {where(frame)} {letters(rights)}" for at, to, frame, rights in pieces) or "not there"


def check(text):
    try:
        return Audit(Snapshot(text)).run().verdict()
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        return f"audit: FAILED, the auditor: {type(error).__name__}: {error}\n"


def answer(folder):
    """Answers the snapshot of a guest that waits, if there is one."""
    snapshot, verdict = folder / "snapshot", folder / "verdict"
    if verdict.exists() or not snapshot.exists():
        return
    text = check(snapshot.read_text())
    part = folder / "verdict.part"
    part.write_text(text)
    part.rename(verdict)


def serve(base):
    while base.is_dir():
        try:
            for folder in base.iterdir():
                answer(folder)
        except OSError:
            # A guest's folder is gone, or the base folder
            pass
        time.sleep(0.03)


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--check":
        text = check(Path(sys.argv[2]).read_text())
        print(text, end="")
        return not text.startswith("audit: ok")
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        print(__doc__, file=sys.stderr)
        return 2
    serve(Path(sys.argv[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
