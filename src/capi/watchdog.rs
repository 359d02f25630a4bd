// SPDX-License-Identifier: GPL-2.0-only
//! The C functions of the watchdog.

use super::ret;
use crate::watchdog;
use core::ffi::c_int;

/// Starts the watchdog: a thread that looks at each CPU's wait every `watchdog_tick_ms`. It kills a stub that
/// keeps its monitor waiting for `watchdog_budget_ms` by its own doing.
///
/// The watchdog charges a stub for the CPU time that it has used and the time that it has slept, as the host
/// reports them (proc_pid_stat(5)). It does not charge a stub that is starved, stopped, traced, frozen or in
/// an uninterruptible sleep.
///
/// Any thread. Makes a thread (all signals blocked, with a seccomp filter of its own) and a timerfd.
///
/// Returns
/// - 0;
/// - -EALREADY: it runs;
/// - -EOPNOTSUPP: with `STUBGUARD_TIME_TRAVEL`;
/// - -EBUSY: the kick signal has a handler;
/// - -ENODEV before stubguard_init();
/// - -EAGAIN, -EMFILE, ...: as pthread_create(3) and timerfd_create(2).
///
/// Series: patch 6.
#[unsafe(no_mangle)]
pub extern "C" fn start_seccomp_watchdog() -> c_int {
    ret::call(watchdog::start)
}

/// Ends the watchdog, and waits until its thread has ended (milliseconds).
///
/// Any thread but the watchdog's own (so not a log function on that thread). The watchdog may be started
/// again.
///
/// Returns 0; -EALREADY if it does not run.
#[unsafe(no_mangle)]
pub extern "C" fn stop_seccomp_watchdog() -> c_int {
    ret::call(watchdog::stop)
}

/// Tells the watchdog that this CPU waits for a stub from now on.
///
/// Repeating it for the same stub changes nothing. So a monitor that may have been preempted in its wait
/// calls this each time before it sleeps.
///
/// `cpu`: 0 to `cpus` - 1; a thread always uses the same number. `pid`, `identity`: from get_stub_listener().
/// The CPU's thread only. It makes two system calls the first time, none later.
///
/// Returns 0; -ESRCH if the watchdog has killed this stub: treat it as dead; -EINVAL for bad arguments;
/// -ENODEV before stubguard_init(). Series: patch 6.
#[unsafe(no_mangle)]
pub extern "C" fn seccomp_wd_enter(cpu: c_int, pid: c_int, identity: u64) -> c_int {
    ret::call(|| watchdog::enter(cpu, pid, identity))
}

/// Tells the watchdog that the stub has reported, and that the CPU waits for it again.
///
/// `cpu`, thread: as seccomp_wd_enter(). No system call.
///
/// Returns 0; -ESRCH if the watchdog has killed the stub: treat it as dead, whatever it reported; the wait is
/// over; -EINVAL if there is no wait, or for a bad CPU; -ENODEV before stubguard_init(). Series: patch 6.
#[unsafe(no_mangle)]
pub extern "C" fn seccomp_wd_progress(cpu: c_int) -> c_int {
    ret::call(|| watchdog::progress(cpu))
}

/// Tells the watchdog that the CPU no longer waits.
///
/// `cpu`, thread, return value: as seccomp_wd_progress().
#[unsafe(no_mangle)]
pub extern "C" fn seccomp_wd_exit(cpu: c_int) -> c_int {
    ret::call(|| watchdog::exit(cpu))
}

/// Kills a stub as the watchdog would: looks at it in /proc, then kills it. No counter and no line tells of
/// it.
///
/// A caller learns by this, before the first guest, whether the host lets the watchdog work. A watchdog that
/// cannot look at a stub does not kill it.
///
/// `pid`, `identity`: from get_stub_listener(), or of `struct stubguard_stub_info`. Any thread, whether the
/// watchdog runs or not. The caller reaps the process.
///
/// Returns 0; -ESRCH if there is no such process (any more); -EINVAL for a bad pid; -ENODEV before
/// stubguard_init(); others as /proc/PID/stat (-ENOENT: the host hides it), pidfd_open(2) and
/// pidfd_send_signal(2).
#[unsafe(no_mangle)]
pub extern "C" fn stubguard_watchdog_rehearse(pid: c_int, identity: u64) -> c_int {
    ret::call(|| watchdog::rehearse(pid, identity))
}
