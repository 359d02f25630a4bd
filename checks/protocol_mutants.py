#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Breaks one line of window mode at a time, and checks that the protocol's test refutes it (docs/protocol.md).

protocol_mutants.py [NAME...]   all changes, or those whose names begin so; in a copy of the tree, build/mutants
"""

import sys

import mutants
from mutants import first, run

# Those of mutants.py that this test must find, too.
SHARED = (
    "ip: a saved address inside the window",
    "ENOENT: a withdrawn call is a death, window",
    "ENOENT: a park that comes again is taken for another",
    "pidfd: signalled though it may be another",
    "limit: not put back before the guest runs",
    "pool: not washed",
    "resume: another guest's call is answered",
    "resume: a batch is forgotten in a call",
)

MUTANTS = [m for m in mutants.MUTANTS if m[0] in SHARED] + [
    ("ticket: it stays", "src/window/run.rs", "self.stub.ticket = self.stub.ticket.wrapping_add(1);", ""),
    ("ticket: a withdrawn answer is an error", "src/window/run.rs", "            Err(Errno::ENOENT) => {\n", "            Err(Errno::ENOENT) if false => {\n"),
    ("ticket: a park that comes again is not answered", "src/window/park.rs", "            self.answer()?;\n            return Ok(None);",
     "            return Ok(None);"),
    ("state: a batch is done while the guest runs", "src/window/park.rs", "code::PARK_DONE if state == State::Syncing =>", "code::PARK_DONE =>"),
    ("state: any signal on the way is a stop", "src/window/park.rs", "            event.again = 1;\n            return Ok(event);", "            event.again = 1;"),
    ("fetch: a park from before is answered", "src/window/park.rs", " | State::Fetching", ""),
    ("fetch: of all registers", "src/window/guest.rs", "if !(target.rest && captured) {", "if true {"),
    ("limit: not lifted", "src/window/run.rs", "Limit::Holds => rlimit::lift(self.stub.pid)?,", "Limit::Holds => {}"),
    ("wash: no FS base", "src/window/wash.rs", "                    | code::SET_FS\n", ""),
    ("wash: nothing is unmapped", "src/window/wash.rs", "length: self.monitor.config.stub_start", "length: 4096"),
    ("death: not seen", "src/window/run.rs", "Err(if self.is_dead(pending) { Errno::ESRCH } else { Errno::EINTR })", "Err(Errno::EINTR)"),
    ("death: nobody looks before a stub is used again", "src/window/stub.rs",
     "Ok(!seccomp::is_gone(listener)? && (told || !pidfd::has_ended(self.pid)))", "Ok(true)"),
]


def caught():
    """The violation, or None."""
    code, text = run("cargo", "test", "--locked", "--quiet", "--test", "protocol", "--no-run")
    if code:
        sys.exit(f"protocol mutants: it does not compile:\n{text[-2000:]}")
    code, text = run("cargo", "test", "--locked", "--quiet", "--test", "protocol", limit=600)
    return (first(r"panicked at .*\n(.*)", text) or "it hangs") if code else None


if __name__ == "__main__":
    missing = set(SHARED) - {m[0] for m in MUTANTS}
    if missing:
        sys.exit(f"protocol mutants: not in mutants.py: {missing}")
    sys.exit(mutants.main(MUTANTS, caught))
