#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Does to a running UML kernel and its stubs what people and programs of a host do to processes.

disturb.py HOW LINUX-PID SECONDS [SPARED...]   prints how often; 77 if this host cannot do that

  stop-stub, stop-all       SIGSTOP, and SIGCONT after a moment or some seconds: one stub, or all of UML
  freeze-stub, freeze-all   the same by a freezer of the host; WHOLE=1: it must freeze all of them at least once
  trace-stub, trace-all     a debugger attaches, stops it, and detaches: a stub, or a thread of UML
  signal-stub               signals that stubs handle or ignore; OWN_START=1: stubs start by UML's own code, in which a
                            SIGALRM kills them, without the guard too: so only stubs that handle it get one
  kill-stub                 SIGKILL
  race                      UML and its stubs run at the lowest priority, beside a spinning process

The modes for one stub do not touch SPARED: the guest needs its first process.
"""

import ctypes
import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

SEIZE, INTERRUPT, DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long

# Longer than every budget of the watchdog.
LONG = 7.0
# How long a tracer waits until its tracee stops.
PATIENCE = 0.05
UNABLE = 77
# A tracer's exit code if it fails in another way; otherwise it is an errno.
BROKEN = 255


class Unable(Exception):
    """This host cannot do that."""


def stubs(linux):
    """The children of UML's threads, alive."""
    found = set()
    for task in Path(f"/proc/{linux}/task").glob("*/children"):
        try:
            found.update(map(int, task.read_text().split()))
        except OSError:
            pass
    return sorted(found)


def send(pid, what):
    """Returns whether the process exists."""
    try:
        os.kill(pid, what)
    except ProcessLookupError:
        return False
    return True


def handles(pid, what):
    """Returns whether it is a stub with a handler for a signal. A stub keeps its handlers."""
    try:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    except OSError:
        return False
    return status["Name"].strip() == "uml-userspace" and bool(int(status["SigCgt"], 16) >> (what - 1) & 1)


def is_dead(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def cpu_time(pid):
    """CPU time of all its threads, in nanoseconds."""
    total = 0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            total += int(task.read_text().split()[0])
        except OSError:
            pass
    return total


def hold_for():
    """Seconds of a short hold, so that there are many."""
    return random.uniform(0, 0.03)


class Freezer:
    """A cgroup of our own, of cgroup v2 or of v1's freezer."""

    WAYS = [("/sys/fs/cgroup", "cgroup.freeze", "1", "0"), ("/sys/fs/cgroup/unified", "cgroup.freeze", "1", "0"),
            ("/sys/fs/cgroup/freezer", "freezer.state", "FROZEN", "THAWED")]

    def __init__(self):
        for root, self.switch, self.on, self.off in self.WAYS:
            # Without a hierarchy there, mkdir would make an ordinary folder.
            if not os.path.exists(f"{root}/cgroup.procs"):
                continue
            self.home = Path(root) / f"stubguard-disturb-{os.getpid()}"
            try:
                self.home.mkdir()
            except OSError:
                continue
            if (self.home / self.switch).exists():
                self.whole = 0
                return
            self.home.rmdir()
        raise Unable("no freezer that can be used")

    def is_frozen(self):
        """Returns whether all processes of the group are frozen."""
        if self.on == "FROZEN":
            return (self.home / self.switch).read_text().strip() == self.on
        return "frozen 1" in (self.home / "cgroup.events").read_text()

    def hold(self, pids, seconds):
        """Freezes and thaws. Returns whether the first one did not run, and, if it is the only one, was frozen."""
        for pid in pids:
            try:
                (self.home / "cgroup.procs").write_text(str(pid))
            except ProcessLookupError:
                pass
        (self.home / self.switch).write_text(self.on)
        time.sleep(0.01)
        before = cpu_time(pids[0])
        time.sleep(seconds)
        still, whole = cpu_time(pids[0]) == before, self.is_frozen()
        self.whole += still and whole
        (self.home / self.switch).write_text(self.off)
        self.empty()
        return still and (whole or len(pids) > 1)

    def empty(self):
        """Moves the living processes back to the root."""
        for pid in (self.home / "cgroup.procs").read_text().split():
            try:
                (self.home.parent / "cgroup.procs").write_text(pid)
            except OSError:
                pass

    def close(self):
        """Thaws and removes the group."""
        (self.home / self.switch).write_text(self.off)
        for _ in range(100):
            self.empty()
            try:
                self.home.rmdir()
                return
            except OSError:
                time.sleep(0.05)


def stop(pids, seconds):
    """Stops and continues them. Returns whether one of them exists."""
    stopped = [pid for pid in pids if send(pid, signal.SIGSTOP)]
    time.sleep(seconds)
    for pid in stopped:
        send(pid, signal.SIGCONT)
    return bool(stopped)


def trace(pid, seconds):
    """Attaches and detaches as a debugger does. A parked stub does not stop, and the debugger gives up."""
    tracer = os.fork()
    if tracer == 0:
        try:
            signal.setitimer(signal.ITIMER_REAL, PATIENCE)
            os._exit(trace_once(pid, seconds))
        except ChildProcessError:
            os._exit(errno.ESRCH)
        finally:
            os._exit(BROKEN)
    _, status = os.waitpid(tracer, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM:
        return False
    error = os.waitstatus_to_exitcode(status)
    if error < 0 or error == BROKEN:
        raise RuntimeError(f"a tracer ended with {error}")
    # EPERM: the process is dead and not reaped yet, or the host forbids tracing.
    if error and error != errno.ESRCH and not is_dead(pid):
        raise Unable(f"ptrace: {os.strerror(error)}")
    return not error


def trace_once(pid, seconds):
    """Returns 0 or an errno."""
    if libc.ptrace(SEIZE, pid, None, None):
        return ctypes.get_errno()
    libc.ptrace(INTERRUPT, pid, None, None)
    _, status = os.waitpid(pid, WALL)
    if not os.WIFSTOPPED(status):
        return errno.ESRCH
    signal.setitimer(signal.ITIMER_REAL, 0)
    time.sleep(seconds)
    # Any stop serves as the answer to the interrupt. If it is for a signal, deliver the signal.
    libc.ptrace(DETACH, pid, None, 0 if status >> 16 else os.WSTOPSIG(status))
    return 0


def main():
    how, linux, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    spared = set(map(int, sys.argv[4:]))
    end = time.monotonic() + seconds
    count, held_long = 0, False
    freezer = Freezer() if how.startswith("freeze") else None
    spinner = None
    if how == "race":
        for pid in [linux, *stubs(linux)]:
            os.setpriority(os.PRIO_PROCESS, pid, 19)
        spinner = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in os.sched_getaffinity(0)]
    try:
        while time.monotonic() < end and Path(f"/proc/{linux}").exists():
            alive = stubs(linux)
            others = [pid for pid in alive if pid not in spared]
            if not others:
                continue
            one = random.choice(others)
            # Many short holds and one long one, for which the watchdog must not kill the stub.
            moment = hold_for()
            if not held_long and how.startswith(("stop", "freeze")) and count > 20:
                moment, held_long = LONG, True
                end += LONG
            if how == "stop-stub":
                done = stop([one], moment)
            elif how == "stop-all":
                done = stop([linux, *alive], moment)
            elif how == "freeze-stub":
                done = freezer.hold([one], moment)
            elif how == "freeze-all":
                done = freezer.hold([linux, *alive], moment)
            elif how == "trace-stub":
                done = trace(one, moment)
            elif how == "trace-all":
                done = trace(int(random.choice(os.listdir(f"/proc/{linux}/task"))), moment)
            elif how == "signal-stub":
                what = random.choice([signal.SIGALRM, signal.SIGWINCH, signal.SIGURG, signal.SIGCONT])
                own_start = what == signal.SIGALRM and os.environ.get("OWN_START")
                done = (not own_start or handles(one, what)) and send(one, what)
                time.sleep(moment / 10)
            elif how == "kill-stub":
                done = send(one, signal.SIGKILL)
                time.sleep(moment * 3)
            elif how == "race":
                done = True
                time.sleep(0.1)
            else:
                sys.exit(__doc__)
            count += done
    except Unable as unable:
        print(unable)
        return UNABLE
    finally:
        if freezer:
            freezer.close()
        for process in spinner or []:
            process.kill()
            process.wait()
    print(count, f"times, {freezer.whole} of them completely" if freezer else "times")
    if freezer and os.environ.get("WHOLE") and not freezer.whole:
        print("never completely")
        return 1
    return count == 0


if __name__ == "__main__":
    sys.exit(main())
