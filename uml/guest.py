# SPDX-License-Identifier: GPL-2.0-only
"""What tests and measurements in Python share: modes of guests, booting one (boot.sh), its processes on the host."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path

UML = Path(__file__).resolve().parent
TOP = UML.parent


def say(text):
    print(f"[{Path(sys.argv[0]).stem}] {text}", flush=True)


def die(text):
    sys.exit(f"{Path(sys.argv[0]).name}: {text}")


def number(name, default):
    """A positive number from the environment."""
    text = os.environ.get(name) or str(default)
    if not text.isdigit() or int(text) < 1:
        die(f"{name}={text}: a number from 1 on")
    return int(text)


def words(name, default):
    """A list from the environment. If there is a default list, each word must be in it."""
    chosen = os.environ.get(name, "").split() or default
    for word in chosen:
        if word not in default:
            die(f"{name}: {word} is none of {' '.join(default)}")
    return chosen


class Mode:
    """A kernel and how it is booted; without a kernel: the host itself. runs_as: the mode that the guest must report; None: any."""

    def __init__(self, name, linux, args=(), runs_as=None):
        self.name, self.linux, self.args, self.runs_as = name, linux, list(args), runs_as
        self.version = None
        if linux and not os.access(linux, os.X_OK):
            die(f"{linux} is not a UML kernel that can be run: make uml builds them")


def modes(default):
    """The default modes that MODES names, and those of PEERS. Without a mended kernel there is no such mode."""
    if len(sys.argv) not in (3, 4):
        die("two arguments: an unguarded and a guarded kernel; a third one can be a mended kernel")
    unguarded, guarded, *mended = sys.argv[1:]
    if not mended:
        default = [name for name in default if name != "mended"]
    known = {
        "native": (None, [], None),
        "unguarded": (unguarded, [], "seccomp"),
        "mended": (*mended, [], "seccomp"),
        "ptrace": (unguarded, ["seccomp=off"], "ptrace"),
        "notify": (guarded, ["stubguard=notify"], "notify"),
        "window": (guarded, ["stubguard=window"], "window"),
    }
    found = [Mode(name, *known[name]) for name in words("MODES", default)]
    for peer in os.environ.get("PEERS", "").split():
        name, _, rest = peer.partition("=")
        # A value may have commas, so an argument begins at its name.
        linux, *args = re.split(r",(?=\w+=)", rest)
        found.append(Mode(name, linux, args))
    names = [mode.name for mode in found]
    if len(set(names)) != len(names):
        die(f"two modes have one name: {' '.join(names)}")
    return found


def runs_as(lines):
    """The guard's mode, or seccomp or ptrace, as the guest's kernel reports it."""
    log = "\n".join(lines)
    guard = re.search(r"^stubguard (\w+)$", log, re.M)
    if guard and guard[1] != "off":
        return guard[1]
    check = r"^Checking (?:that (seccomp) filters can be installed|syscall emulation for (ptrace))\.\.\.OK$"
    unguarded = re.search(check, log, re.M)
    return unguarded and (unguarded[1] or unguarded[2])


class Place:
    """A folder that guests see, with their programs.

    command: what the guest's shell runs. exports: more environment for it.
    """

    command = None

    def __init__(self):
        self.busybox = shutil.which("busybox") or die("busybox is missing, the guests' shell: install busybox-static")
        self.holder = tempfile.TemporaryDirectory(prefix="stubguard.")
        self.dir = Path(self.holder.name)
        for name in ("tmp", "uml"):
            (self.dir / name).mkdir()
        self.exports = {}
        self.script = None

    def compile(self, folder):
        """Compiles a folder's programs for guests."""
        if subprocess.run(["make", "-s", "-C", folder, f"OUT={self.dir}"]).returncode:
            die("the guests' programs do not compile")

    def __enter__(self):
        # Whoever ends us ends the guest.
        for which in (signal.SIGINT, signal.SIGTERM):
            signal.signal(which, lambda n, _: sys.exit(128 + n))
        return self

    def __exit__(self, *_):
        self.end()
        self.holder.cleanup()

    def end(self):
        """Ends the guest that another thread has booted here, if it runs."""
        if self.script and self.script.poll() is None:
            self.script.terminate()

    def pid(self):
        """The process of the guest's kernel, on the host."""
        return int((self.dir / "uml/guest/pid").read_text())

    def write_init(self, arguments):
        init = self.dir / "init"
        exports = "\n".join(f"export {name}='{value}'" for name, value in self.exports.items())
        init.write_text(f"""#!{self.busybox} sh
export PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin BUSYBOX='{self.busybox}' TMPDIR='{self.dir}/tmp'
{exports}
$BUSYBOX mount -t proc proc /proc
$BUSYBOX mount -t tmpfs tmpfs "$TMPDIR"
$BUSYBOX sed -n 's/^mode /stubguard /p' /proc/stubguard 2>/dev/null
{self.command} {arguments}
echo "exit-status $?"
$BUSYBOX poweroff -f
""")
        init.chmod(0o755)
        return init

    def write_wrapper(self, command, linux):
        """A script that starts the kernel by a command."""
        script = self.dir / "linux"
        script.write_text(f"#!/bin/sh\nexec {command} '{linux}' \"$@\"\n")
        script.chmod(0o755)
        return script

    def read(self, watch):
        """Returns the script's lines, at its end; or ends it."""
        lines = []
        try:
            for line in self.script.stdout:
                lines.append(line.rstrip("\n"))
                if watch:
                    watch(lines[-1])
        finally:
            self.end()
            self.script.wait()
        return lines

    def run_here(self, arguments, limit, watch):
        """Runs the command on the host itself, as boot() does in a guest."""
        environment = os.environ | self.exports | {"BUSYBOX": self.busybox, "TMPDIR": f"{self.dir}/tmp"}
        script = self.script = subprocess.Popen(
            ["timeout", str(limit), "sh", "-c", f"exec {self.command} {arguments}"], env=environment, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace")
        lines = self.read(watch)
        return lines, script.returncode and f"exit status {script.returncode}" or None

    def boot(self, mode, arguments, limit=60, mem=512, cpus=1, wrapper=None, watch=None):
        """Runs the command with these arguments in a guest. Returns its lines, and what went wrong or None.

        limit: seconds. mem: MiB. wrapper: a command that starts the kernel. watch: called with each line as it comes.
        """
        if not mode.linux:
            return self.run_here(arguments, limit, watch)
        linux = Path(mode.linux).resolve()
        if wrapper:
            linux = self.write_wrapper(wrapper, linux)
        with tempfile.TemporaryFile("w+") as errors:
            # It ends the guest when the time is up, and on SIGTERM.
            script = self.script = subprocess.Popen(
                [UML / "boot.sh", linux, self.write_init(arguments), f"uml_dir={self.dir}/uml/", *mode.args],
                env=os.environ | {"TIMEOUT": str(limit), "MEM": str(mem), "NCPUS": str(cpus)}, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True, errors="replace")
            lines = self.read(watch)
            errors.seek(0)
            complaint = errors.read().strip().splitlines()
        version = re.search(r"^Linux version (\S+)", "\n".join(lines), re.M)
        mode.version = version and version[1]
        found = runs_as(lines)
        if found and mode.runs_as not in (None, found):
            return [], f"it runs as {found}, not as {mode.runs_as}"
        if script.returncode:
            panic = [line for line in lines if line.startswith("Kernel panic")]
            return lines, (panic or complaint[-1:] or [f"exit status {script.returncode}"])[0]
        return lines, None


def raise_limit():
    """Raises RLIMIT_NOFILE: a guest needs a few fds for each of its processes."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def kib(path, field):
    """A field in KiB of a file in /proc; a process that has just ended has none."""
    try:
        match = re.search(rf"^{field}:\s+(\d+) kB", path.read_text(), re.M)
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(match[1]) if match else 0


def processes_of(kernel):
    """The kernel and its children, which are the stubs."""
    found = [Path(f"/proc/{kernel}")]
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = stat.read_text().rpartition(")")[2].split()[1]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == str(kernel):
            found.append(stat.parent)
    return found


def look(kernel):
    """The guest's processes, memory and fds on the host now."""
    processes = processes_of(kernel)
    return {
        "stubs": len(processes) - 1,
        "fds": len(os.listdir(f"/proc/{kernel}/fd")),
        "host_kib": sum(kib(p / "smaps_rollup", "Pss") + kib(p / "status", "VmPTE") for p in processes),
    }


def host():
    """The machine on which the figures were measured."""
    model = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.M)
    return {"kernel": os.uname().release, "cpu": model[1] if model else "?", "cpus": os.cpu_count()}


def origin():
    """The date and the machine, with which a result begins."""
    return {"date": datetime.now(timezone.utc).strftime("%Y-%m-%d"), "host": host()}


def write_json(name, result):
    """Writes a file into the folder BENCH_OUT; returns its path."""
    folder = Path(os.environ.get("BENCH_OUT") or TOP / "build/bench")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path
