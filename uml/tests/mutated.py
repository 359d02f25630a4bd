# SPDX-License-Identifier: GPL-2.0-only
"""A guarded kernel with changes in its sources, for the tests that break it on purpose."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
UML = TOP / "uml"
CACHE = Path(os.environ.get("STUBGUARD_CACHE", TOP / ".cache"))


def die(text):
    sys.exit(f"{Path(sys.argv[0]).stem}: {text}")


def change(path, old, new):
    """Replaces a piece of a file. The file is written anew, since trees share files."""
    text = path.read_text()
    if text.count(old) != 1:
        die(f"{path}: not once there: {old.strip()}")
    path.unlink()
    path.write_text(text.replace(old, new))


def build(version, name, edits, needs=""):
    """.cache/obj/VERSION-NAME: the guarded tree's copy with all edits in it, each a file, a unique piece of it, and what it becomes.

    The configuration is the guarded kernel's, and has the line `needs`. build.sh VERSION guarded comes before.
    """
    tree, objects = CACHE / "src" / f"linux-{version}-{name}", CACHE / "obj" / f"{version}-{name}"
    fresh = tree.with_name(tree.name + ".new")
    guarded = CACHE / "src" / f"linux-{version}-guarded"
    config = CACHE / "obj" / f"{version}-guarded" / ".config"
    if not guarded.exists() or not config.exists():
        die(f"{guarded}: not there, or not built: uml/build.sh {version} guarded")
    if not tree.exists():
        shutil.rmtree(fresh, ignore_errors=True)
        subprocess.run(["cp", "-al", guarded, fresh], check=True)
        fresh.rename(tree)
    # All of arch as it is now, changed in another folder, so that unchanged files keep their times
    wanted = tree.with_name(tree.name + ".arch")
    shutil.rmtree(wanted, ignore_errors=True)
    for part in ("arch/um", "arch/x86/um"):
        (wanted / part).parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", guarded / part, wanted / part], check=True)
    for file, old, new in edits:
        change(wanted / file, old, new)
    for path in wanted.rglob("*"):
        target = tree / path.relative_to(wanted)
        if path.is_symlink() or not path.is_file():
            continue
        if not target.exists() or target.read_bytes() != path.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            shutil.copy(path, target)
    shutil.rmtree(wanted)
    if needs and needs not in config.read_text().splitlines():
        die(f"{config} lacks {needs}: make uml builds such a kernel")
    if not objects.exists():
        objects.mkdir(parents=True)
    if not (objects / ".config").exists() or (objects / ".config").read_bytes() != config.read_bytes():
        shutil.copy(config, objects / ".config")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "CFLAGS", "KBUILD"))} | {"LC_ALL": "C"}
    jobs = os.environ.get("JOBS", str(os.cpu_count()))
    log = CACHE / "log" / f"build-{version}-{name}.log"
    log.parent.mkdir(exist_ok=True)
    print(f"build {objects.relative_to(CACHE)} (log: {log})", flush=True)
    with log.open("w") as out:
        if subprocess.run(["make", "-C", tree, "ARCH=um", f"O={objects}", f"-j{jobs}", "KBUILD_BUILD_TIMESTAMP=Thu, 01 Jan 1970 00:00:00 +0000",
                           "KBUILD_BUILD_VERSION=1", "KBUILD_BUILD_USER=uml", "KBUILD_BUILD_HOST=stubguard", "linux"], stdin=subprocess.DEVNULL,
                          stdout=out, stderr=subprocess.STDOUT, env=environment).returncode:
            die(f"the kernel does not compile:\n{log.read_text()[-2000:]}")
    return objects / "linux"
