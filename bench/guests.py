# SPDX-License-Identifier: GPL-2.0-only
"""Guests with the measured programs, and tables."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(1, str(HERE.parent / "uml"))
# What tests and measurements share
from guest import Place, die, look, modes, number, origin, raise_limit, say, words, write_json  # noqa: E402,F401


class Bench(Place):
    """A place whose guests run guest.c."""

    def __init__(self):
        super().__init__()
        self.compile(HERE)
        self.program = self.dir / "guest"
        self.command = f"'{self.program}'"
        self.exports = {"STATIC": self.dir / "static", "DYNAMIC": self.dir / "dynamic", "SOURCE": HERE / "guest.c"}

    def operations(self):
        """All rows of the guests' program: name, operation or program, what is done once."""
        out = subprocess.run([self.program, "--list"], check=True, capture_output=True, text=True).stdout
        return [line.split(" ", 2) for line in out.splitlines()]


def present(place, chosen):
    """Boots each mode once. Returns the modes that run as their names say, and why the others are missing."""
    missing = {}
    for mode in chosen:
        _, failure = place.boot(mode, "--list", limit=20)
        if failure:
            missing[mode.name] = failure
            say(f"{mode.name}: missing: {failure}")
    return [mode for mode in chosen if mode.name not in missing], missing


def table(header, rows):
    """A table with columns of the needed width, the first one left-aligned."""
    cells = [header, *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    for n, row in enumerate(cells):
        print(" | ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))).rstrip())
        if n == 0:
            print("-+-".join("-" * w for w in widths))
