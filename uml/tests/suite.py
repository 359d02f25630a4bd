#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Runs test suites of others: guests with and without the guard must have the same results, case by case.

suite.py UNGUARDED GUARDED   two UML kernels; `make suite` builds them

NCPUS      the guests' CPUs (2); MEM: their memory in MiB (1024)
MODES      the modes to compare with the unguarded one (window notify)
KVER       the kernel version of the selftests (the default of uml/versions)
TESTS      tests to run (all), as python/test_signal
BENCH_OUT  where suite.json goes, with all results; build/suite/MODE.log has the tests' output

A case that differs runs again, three times on both sides. If a result of one side is among the other's,
it is flaky; otherwise it is different, or known to be.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).resolve().parent
sys.path.insert(1, str(HERE.parent))
from guest import TOP, Place, die, modes, number, origin, say, words, write_json  # noqa: E402

AGAIN = 3
LIMIT = 100  # seconds for a test
MANY = 2000  # cases of a test

# CPython's, of Debian's package. None of the network, which the guests' kernels lack.
PYTHON = """
test_signal test_threadsignals test_eintr test_faulthandler test_threading test_thread test_threading_local test_queue test_sched
test_subprocess test_popen test_fork1 test_wait3 test_wait4 test_posix test_os test_pty test_resource test_pwd
test_multiprocessing_main_handling test_select test_poll test_fcntl test_ioctl test_time test_mmap test_memoryview test_gc
test_io test_fileio test_tempfile test_shutil test_posixpath test_ctypes test_struct test_array test_sys test_builtin
test_float test_math test_cmath test_complex test_strtod test_decimal test_random test_statistics test_zlib test_bz2 test_hashlib test_json
""".split()
PYTHON_WITHOUT = {
    "test_itimer_virtual": "UML accounts no user time to wait for",
    "test_siginterrupt_off": "waits for half a minute",
}


def python_cases(said):
    """The cases in regrtest's XML, which ends its output."""
    start = next((n for n, line in enumerate(said) if line.startswith("<testsuites")), len(said))
    if start == len(said):
        return {}
    kinds = {"failure": "failed", "error": "failed", "skipped": "skipped", "output": "failed as expected"}
    cases = {}
    for case in ElementTree.fromstring("\n".join(said[start:])).iter("testcase"):
        found = [kinds[child.tag] for child in case if child.tag in kinds]
        cases[case.get("name")] = found[0] if found else "ok"
    return cases


def python_tests():
    """By name: the command, and the function that finds the cases in its output."""
    without = " ".join(f"-i {name}" for name in PYTHON_WITHOUT)
    command = f'/usr/bin/python3 -B -m test -v {without} --junit-xml "$TMPDIR/xml" %s; s=$?; cat "$TMPDIR/xml"; exit $s'
    return {f"python/{name}": (command % name, python_cases) for name in PYTHON}


# The kernel's selftests, by folder. None that sleep for more than a minute.
SELFTESTS = {
    "signal": "mangle_uc_sigmask sas",
    "timers": "nanosleep threadtest mqueue-lat",
    "futex/functional": """futex_wait futex_wait_timeout futex_wait_wouldblock futex_wait_uninitialized_heap
        futex_wait_private_mapped_file futex_waitv futex_requeue futex_requeue_pi futex_requeue_pi_mismatched_ops
        futex_requeue_pi_signal_restart futex_priv_hash futex_numa robust_list""",
    "ptrace": "get_syscall_info set_syscall_info peeksiginfo vmaccess get_set_sud",
    "syscall_user_dispatch": "sud_test",
    "seccomp": "seccomp_bpf",
    "breakpoints": "breakpoint_test",
    "clone3": "clone3 clone3_clear_sighand clone3_set_tid",
    "pidfd": """pidfd_test pidfd_open_test pidfd_poll_test pidfd_wait pidfd_getfd_test pidfd_fdinfo_test pidfd_info_test
        pidfd_setattr_test pidfd_autoreap_test""",
    "core": "close_range_test unshare_test",
    "sched": "cs_prctl_test",
    "exec": """execveat non-regular null-argv recursion-depth check-exec load_address.0x1000 load_address.0x200000
        load_address.static.0x1000 load_address.static.0x200000""",
    "proc": """fd-001-lookup fd-002-posix-eq fd-003-kthread proc-2-is-kthread proc-empty-vm proc-loadavg-001 proc-pid-vm
        proc-self-isnt-kthread proc-self-map-files-001 proc-self-map-files-002 proc-self-syscall proc-self-wchan proc-tid0
        proc-uptime-001 proc-uptime-002 proc-maps-race read self thread-self""",
    "kcmp": "kcmp_test",
    "ipc": "msgque",
    "filelock": "ofdlocks",
    "mqueue": "mq_open_tests",
    "memfd": "memfd_test",
    "filesystems/eventfd": "eventfd_test",
    "membarrier": "membarrier_test_single_thread membarrier_test_multi_thread membarrier_rseq_stress",
    "rseq": "basic_test basic_percpu_ops_test basic_percpu_ops_mm_cid_test syscall_errors_test legacy_check slice_test param_test",
    "mincore": "mincore_selftest",
    "mm": """map_populate map_fixed_noreplace mremap_test mremap_dontunmap mlock2-tests mlock-random-test on-fault-limit
        madv_populate guard-regions merge mseal_test mkdirty mdwe_test mrelease_test process_madv droppable soft-dirty
        pagemap_ioctl cow prctl_thp_disable va_high_addr_switch transhuge-stress ksm_functional_tests uffd-unit-tests
        uffd-wp-mremap pfnmap compaction_test memory-failure""",
    "x86": """single_step_syscall_64 syscall_arg_fault_64 sigaltstack_64 sigreturn_64 sigtrap_loop_64 mov_ss_trap_64
        check_initial_reg_state_64 corrupt_xstate_header_64 fsgsbase_64 fsgsbase_restore_64 syscall_nt_64 syscall_numbering_64
        sysret_rip_64 sysret_ss_attrs_64 test_mremap_vdso_64 test_vsyscall_64 nx_stack_64 ioperm_64 iopl_64 avx_64 apx_64 amx_64
        lam_64 test_shadow_stack_64""",
    "vDSO": "vdso_test_abi vdso_test_getcpu vdso_test_gettimeofday",
}

# Known: fails on both sides in different ways, or fails only without the guard.
KNOWN = {
    "kernel/mm/uffd-unit-tests": "without uml/series a signal does not end the wait for a page (0009), and a poisoned page panics (0006)",
    "kernel/x86/fsgsbase_64": "UML keeps no thread's selectors, and what is left of another thread's differs",
    "kernel/x86/sigreturn_64": "UML sets no code segment for a handler: here 32-bit code is entered, and then its 64-bit handler as such",
}


def selftest_cases(said):
    """The cases in TAP, or in the words in brackets of older tests."""
    cases, seen = {}, Counter()
    for line in said:
        if match := re.match(r"(?:# )*(ok|not ok) \d+ ?-? ?(.*?)(?: *# *(SKIP|XFAIL).*)?$", line):
            word, name, why = match.groups()
            word = {"SKIP": "skipped", "XFAIL": "failed as expected"}.get(why, "failed" if word == "not ok" else word)
        elif match := re.match(r"\[(OK|PASS|FAIL|SKIP)\]\s*(.*)", line):
            word, name = {"FAIL": "failed", "SKIP": "skipped"}.get(match[1], "ok"), match[2]
        else:
            continue
        cases[f"{name} (again {seen[name]})" if seen[name] else name] = word
        seen[name] += 1
    # Of thousands of cases only count how many there are of each kind.
    return cases if len(cases) <= MANY else {word: str(n) for word, n in Counter(cases.values()).items()}


def selftests(folder):
    command = f'cp -r "{folder}/%s/." . && exec ./%s'
    return {f"kernel/{place}/{name}": (command % (place, name), selftest_cases)
            for place, names in SELFTESTS.items() for name in names.split() if (folder / place / name).exists()}


class Suite(Place):
    """A guest that runs tests."""

    def __init__(self, cpus, mem):
        super().__init__()
        self.cpus, self.mem = cpus, mem
        self.command = f"'{shutil.copy(HERE / 'suite.sh', self.dir)}'"
        self.logs = TOP / "build/suite"
        self.logs.mkdir(parents=True, exist_ok=True)

    def guest(self, mode, tests, results):
        """Runs the tests in one guest, and adds their cases to the results. Returns the test in which the guest has ended, and why."""
        (self.dir / "tests").write_text("".join(f"{LIMIT} {name} {command}\n" for name, (command, _) in tests.items()))
        name, said, cases, start = None, [], {}, 0

        def line(text):
            nonlocal name, said, cases, start
            print(text, file=log)
            if match := re.match(r"begin (\S+)$", text):
                name, said, cases, start = match[1], [], {}, time.monotonic()
            elif text.startswith("| "):
                said.append(text[2:])
            elif match := re.match(r"! .*?((WARNING|BUG|INFO|rcu|stubguard): .{,40})", text):
                cases[f"kernel: {match[1]}"] = "said"
            elif match := re.match(r"end (\S+) (\d+)$", text):
                cases |= tests[name][1](said)
                # The status of a test that reports cases counts only if a signal has killed it.
                if not cases or int(match[2]) > 123:
                    cases["exit status"] = match[2]
                results[name] = cases
                print(f"took {time.monotonic() - start:.1f} s", file=log)
                name = None

        with (self.logs / f"{mode.name}.log").open("a") as log:
            _, failure = self.boot(mode, "", limit=LIMIT * len(tests) + 60, mem=self.mem, cpus=self.cpus, watch=line)
        return name, failure

    def run(self, mode, tests):
        """Returns the cases of each test with their results. If a test ends the guest, another guest runs the rest."""
        start, results, left = time.monotonic(), {}, tests
        while left:
            name, failure = self.guest(mode, left, results)
            if name:
                results[name] = {"the guest": failure or "gone"}
            elif failure or len(results) < len(tests):
                die(f"{mode.name}: {failure or 'not all tests were run'}")
            left = {name: test for name, test in left.items() if name not in results}
        say(f"{mode.name}: {len(tests)} tests, {time.monotonic() - start:.0f} s")
        return results


def unlike(ours, theirs):
    """The cases that differ, as (test, case)."""
    return [(test, case) for test in ours for case in sorted(ours[test].keys() | theirs[test].keys())
            if ours[test].get(case) != theirs[test].get(case)]


def main():
    cpus, mem = number("NCPUS", 2), number("MEM", 1024)
    os.environ["MODES"] = " ".join(["unguarded", *words("MODES", ["window", "notify"])])
    unguarded, *guarded = chosen = modes(["unguarded", "window", "notify"])
    folder = TOP / "build/suite/kernel"
    subprocess.run([HERE / "selftests.sh", folder, *SELFTESTS], check=True)
    tests = python_tests() | selftests(folder)
    tests = {name: tests[name] for name in words("TESTS", list(tests))}
    suites = sorted({name.split("/")[0] for name in tests})

    with Suite(cpus, mem) as place:
        for mode in chosen:
            (place.logs / f"{mode.name}.log").unlink(missing_ok=True)
        first = place.run(unguarded, tests)
        # Two suites without a passed case would be the same.
        for suite in suites:
            if not any("ok" in first[name].values() for name in tests if name.startswith(suite + "/")):
                die(f"{suite}: nothing passes without the guard either: see {place.logs}/unguarded.log")
        runs = {"unguarded": [first]} | {mode.name: [place.run(mode, tests)] for mode in guarded}
        found = {mode.name: unlike(first, runs[mode.name][0]) for mode in guarded}
        again = {mode.name: {test for test, _ in found[mode.name]} for mode in guarded}
        again["unguarded"] = set().union(*again.values())
        for mode in chosen:
            some = {name: test for name, test in tests.items() if name in again[mode.name]}
            runs[mode.name] += [place.run(mode, some) for _ in range(AGAIN if some else 0)]

    def results(mode, test, case):
        return [run[test].get(case, "absent") for run in runs[mode] if test in run]

    print(f"\nLinux {unguarded.version}, {cpus} CPUs\n\nmode | suite | cases | ok | same | flaky | known | different\n--- | --- | ---: | ---: | ---: | ---: | ---: | ---:")
    listed = []
    for mode in guarded:
        verdict = {}
        for test, case in found[mode.name]:
            sides = results("unguarded", test, case), results(mode.name, test, case)
            verdict[test, case] = "flaky" if set(sides[0]) & set(sides[1]) else "known" if test in KNOWN else "DIFFERENT"
            text = " against ".join(", ".join(f"{n} {word}" for word, n in Counter(side).most_common()) for side in sides)
            listed.append((verdict[test, case], mode.name, test, case, text))
        for suite in suites:
            count = Counter()
            for test in (name for name in tests if name.startswith(suite + "/")):
                both = first[test], runs[mode.name][0][test]
                for case in both[0].keys() | both[1].keys():
                    count["cases"] += 1
                    count[verdict.get((test, case), "same")] += 1
                    count["ok"] += both[0].get(case) == both[1].get(case) == "ok"
            print(" | ".join([mode.name, suite, *(str(count[what]) for what in ("cases", "ok", "same", "flaky", "known", "DIFFERENT"))]))
    print()
    for one in sorted(listed):
        print("{}: {}: {}: {}: {}".format(*one))
    for test in sorted({one[2] for one in listed if one[0] == "known"}):
        print(f"known: {test}: {KNOWN[test]}")
    write_json("suite.json", origin() | {
        "cpus": cpus, "guest_mib": mem,
        "kernel": unguarded.version, "results": runs, "differences": listed,
    })
    return any(one[0] == "DIFFERENT" for one in listed)


if __name__ == "__main__":
    sys.exit(main())
