#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Breaks one line that the guard needs at a time, and checks that a test notices.

mutants.py [NAME...]   all mutants, or those whose names begin so; in a copy of the tree, build/mutants

Fails if a change passes all tests. Cargo's tests run first, then the C harness, then loom's models.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
TREE = TOP / "build/mutants"

# What is broken; the file; a unique piece of a line; its replacement.
MUTANTS = [
    ("length: only the first page is asked for", "src/policy.rs", "if pages(config, call)?.all(", "if pages(config, call)?.take(1).all("),
    ("length: the range's end", "src/policy.rs", "if end > config.stub_start {", "if addr > config.stub_start {"),
    ("length: the sum may wrap", "src/policy.rs", ".and_then(|length| addr.checked_add(length))", ".map(|length| addr.wrapping_add(length))"),
    ("page table: not asked in window mode", "src/window/batch.rs",
     "if (self.monitor.granted)(addr, prot, offset) {", "if (self.monitor.granted)(addr, prot, offset) || true {"),
    ("page table: what has lost the right to write gets it", "src/window/batch.rs",
     "(self.monitor.granted)(addr, less, offset) { less }", "(self.monitor.granted)(addr, less, offset) { prot }"),
    ("mprotect: a stub may give itself any rights", "src/window/filter.rs", "p.require_arg(2, code::WRPROTECTED.into())?;", ""),
    ("mprotect: what has no rights is mapped", "src/window/batch.rs", "        if prot == 0 {\n", "        if prot == 99 {\n"),
    ("ip: any place may map", "src/notify/serve.rs", "if !arch::is_site(self.config, call.instruction_pointer) {", "if false {"),
    ("ip: any place is the park", "src/window/park.rs", "&& place == Place::Park.offset()", "&& place != u64::MAX"),
    ("ip: what nobody may notify", "src/window/run.rs", "if !self.is_park(&notification) {", "if false {"),
    ("ip: a saved address inside the window", "src/window/park.rs",
     "if place < Place::Unblock.offset() || place > Place::Iret.offset() {", "if place > Place::Iret.offset() {"),
    ("ENOENT: a withdrawn call is a death, window", "src/window/run.rs",
     "{ Errno::ESRCH } else { Errno::EINTR }", "{ Errno::ESRCH } else { Errno::ESRCH }"),
    ("ENOENT: a withdrawn call is a death, notify", "src/notify/serve.rs",
     "Received::Nothing => Ok(None),", "Received::Nothing => Err(Errno::ESRCH),"),
    ("ENOENT: a park that comes again is taken for another", "src/window/park.rs", "if self.repeats(notification) {", "if false {"),
    ("ENOENT: any park comes again", "src/window/park.rs", "&& ticket == self.stub.ticket.wrapping_sub(1)", "&& ticket != self.stub.ticket"),
    ("EINTR: an interrupted look is a death", "src/host/mod.rs", "for _ in 1..TRIES {", "for _ in 1..1 {"),
    ("pidfd: whoever has the pid", "src/host/pidfd.rs", "if identity(&process, pid)? == expected {", "if expected != u64::MAX {"),
    ("pidfd: killed though it has reported", "src/watchdog/mod.rs", "if !slot.condemn(wait) {", "if !slot.condemn(wait) && false {"),
    ("pidfd: signalled though it may be another", "src/window/run.rs", "Err(Errno::ENOENT) => return Err(Errno::ESRCH),\n            other => other?,",
     "_ => {}"),
    ("slot: a wait that is over can be condemned", "src/watchdog/slot.rs",
     "let next = state.wrapping_add(STEP) & !PHASE;", "let next = state & !PHASE;"),
    ("slot: the words change while they may be read", "src/watchdog/slot.rs", "self.state.store(idle, Ordering::Relaxed);", ""),
    ("count: from the guest's memory, notify", "src/notify/report.rs", ".is_ok_and(|done| done < calls)", ".is_ok()"),
    ("count: from the guest's memory, window", "src/window/park.rs", "if index >= self.stub.asked {", "if false {"),
    ("frame: anywhere", "src/window/park.rs", "} else if (siginfo, mcontext) != (self.stub.siginfo, self.stub.mcontext) {", "} else if false {"),
    ("limit: not put back before the guest runs", "src/window/run.rs", "Ok(code::LIMIT)", "Ok(0)"),
    ("limit: lifted for what maps nothing", "src/window/run.rs", "Limit::Holds if !maps => return Ok(0),", ""),
    ("limit: above the monitor's own", "src/capi/window.rs", "code::write(&page, rlimit::hard())", "code::write(&page, u64::MAX)"),
    ("limit: lifted higher than the monitor's own", "src/host/rlimit.rs", "soft: SOFT.load(Ordering::Relaxed)", "soft: hard()"),
    ("limit: a success that is none", "src/host/rlimit.rs", "if found?.soft != less.soft {", "if found.is_err() {"),
    ("limit: a host that refuses it", "src/host/probe.rs", "match limit.and_then(|()| listener(window)) {", "match limit.or(Ok(())).and_then(|()| listener(window)) {"),
    ("fd: any, by the batch's mmap", "src/window/filter.rs", "p.require_at(at::arg_low(4), STUBGUARD_MEMORY_FD as u32)?;", ""),
    ("limit: a stub may set it as it likes", "src/window/filter.rs", "p.require_arg(2, site(config, Place::Nothing))?;", ""),
    ("answers: one that cannot be given is kept quiet", "src/notify/serve.rs",
     "Ok(Some(notification)) => self.answer(&notification, batch)?,", "Ok(Some(notification)) => drop(self.answer(&notification, batch)),"),
    ("watchdog: a park that comes again is a report", "src/window/run.rs",
     "Ok(notification) => self.is_park(notification) && self.repeats(notification),", "Ok(_) => false,"),
    ("watchdog: a kill that fails counts", "src/watchdog/mod.rs", "&& error != Errno::ESRCH", "&& error == Errno::ESRCH"),
    ("claim: the state is seen before the value", "src/claim.rs", "self.state.store(state, Ordering::Release);", "self.state.store(state, Ordering::Relaxed);"),
    ("claim: the value of an owner before", "src/claim.rs", "BUSY, Ordering::Acquire, Ordering::Relaxed", "BUSY, Ordering::Relaxed, Ordering::Relaxed"),
    ("claim: free while its value is still at its end", "src/claim.rs",
     "let result = value.ok_or(Errno::EALREADY).and_then(end);\n        self.release(EMPTY);",
     "self.release(EMPTY);\n        let result = value.ok_or(Errno::EALREADY).and_then(end);"),
    ("pool: not washed", "src/window/pool.rs", "self.wash(cpu)?;", "let _ = cpu;"),
    ("calls: all notify, whoever watches", "src/window/guest.rs", "let trap = guest.trap || ", "let trap = "),
    ("resume: a result that restarts the call is its answer", "src/window/run.rs", "(!RESTARTS.contains(&result)).then_some(result)", "Some(result)"),
    ("resume: another guest's call is answered", "src/window/run.rs", " || !caller.registers.is(&guest.state.registers)", ""),
    ("resume: a step is forgotten in a call", "src/window/run.rs", " || guest.step || ", " || "),
    ("resume: a batch is forgotten in a call", "src/window/run.rs", "if !resume.calls.is_empty() || guest.step", "if guest.step"),
    ("resume: the call that leads to a batch is not remembered", "src/window/run.rs", "self.stub.trap |= ", "let _ = "),
    ("resume: frames are made for ever", "src/window/run.rs", "            self.stub.trap = false;\n", ""),
    ("caller: told though its registers are fetched", "src/window/run.rs", "        self.caller.store(0, Ordering::Release);\n", ""),
    ("pool: what the last guest did is held against the next", "src/window/stub.rs", "        (self.trapped, self.trap) = (false, false);\n", ""),
    ("sizes: an older caller's memory is written behind its end", "src/capi/sized.rs", "let rest = size.min(size_of::<T>())", "let rest = size_of::<T>()"),
    ("sizes: what a newer caller asks for is ignored", "src/capi/sized.rs", "if unsafe { byte.read() } != 0 {", "if false {"),
    ("record: memory without one is taken for one", "src/capi/window.rs", "if mark == Record::MARK {", "if true {"),
]


def copy():
    """Copies the files that git knows, as they are now; built files in the copy stay."""
    TREE.mkdir(parents=True, exist_ok=True)
    names = subprocess.run(["git", "ls-files", "-z"], cwd=TOP, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        source, target = TOP / name, TREE / name
        if not source.is_file():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_bytes() != source.read_bytes():
            shutil.copy(source, target)


def run(*command, limit=900):
    """Returns the command's status and output."""
    # A change may make a test hang.
    done = subprocess.run(["timeout", "-k", "5", str(limit), *command], cwd=TREE, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, errors="replace", env=os.environ | {"CARGO_TERM_COLOR": "never"})
    return done.returncode, done.stdout + done.stderr


def first(pattern, text):
    match = re.search(pattern, text, re.M)
    return match and match[1]


def caught():
    """The test that fails, or None. A change that does not compile is an error."""
    for command in (["cargo", "test", "--locked", "--quiet", "--lib", "--no-run"], ["make", "lib", "c-test-programs"]):
        code, text = run(*command)
        if code:
            sys.exit(f"mutants: it does not compile:\n{text[-2000:]}")
    code, text = run("cargo", "test", "--locked", "--quiet", "--lib", limit=300)
    if code:
        return first(r"^    ([\w:]+)$", text) or "cargo's tests hang"
    code, text = run("make", "c-test", limit=300)
    if code:
        return first(r"^build/c-tests/(\S+) .*(?:Failed|Dubious|Wstat)", text) or "the C harness hangs"
    code, text = run("checks/loom.sh", limit=700)
    if code:
        return first(r"^test (\S+) .*FAILED", text) or "loom"
    return None


def main(mutants, caught):
    """Tries those of `mutants` that the command line names, or all. `caught()`: as above."""
    chosen = [m for m in mutants if not sys.argv[1:] or m[0].startswith(tuple(sys.argv[1:]))]
    survivors = 0
    for name, file, old, new in chosen:
        copy()
        path = TREE / file
        text = path.read_text()
        if text.count(old) != 1:
            sys.exit(f"mutants: {file}: not once there: {old}")
        path.write_text(text.replace(old, new))
        test = caught()
        survivors += not test
        print(f"{'caught' if test else 'SURVIVED'}: {name}{f' ({test})' if test else ''}", flush=True)
    copy()
    print(f"mutants: {'FAILED' if survivors else 'ok'}, {len(chosen) - survivors} of {len(chosen)} caught")
    return survivors > 0


if __name__ == "__main__":
    sys.exit(main(MUTANTS, caught))
