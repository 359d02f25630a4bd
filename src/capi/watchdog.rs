// SPDX-License-Identifier: GPL-2.0-only
//! The watchdog.

use super::ret;
use crate::watchdog;
use core::ffi::c_int;

/// Starts the watchdog: a thread that looks every `watchdog_tick_ms` at each CPU's wait, and kills
/// a stub that keeps its monitor waiting for `watchdog_budget_ms` by its own doing. What counts is
/// what the host says of it: the CPU time that it has used, and time that it has slept away. One
/// that is starved, stopped, traced, frozen or in an uninterruptible sleep is left alone.
///
/// Any thread; makes a thread (all signals blocked, a seccomp filter of its own) and a timerfd.
///
/// Returns 0; -EALREADY if it runs; -EOPNOTSUPP with `STUBGUARD_TIME_TRAVEL`; -EBUSY if the kick
/// signal has a handler; -ENODEV before stubguard_init(); -EAGAIN, -EMFILE, ... as the host says.
/// Series: patch 6.
#[unsafe(no_mangle)]
pub extern "C" fn start_seccomp_watchdog() -> c_int {
    ret::call(watchdog::start)
}

/// Ends the watchdog, and waits until its thread has ended (milliseconds).
///
/// Any thread but the watchdog's own (a log function). May be started again.
///
/// Returns 0; -EALREADY if it does not run.
#[unsafe(no_mangle)]
pub extern "C" fn stop_seccomp_watchdog() -> c_int {
    ret::call(watchdog::stop)
}

/// Tells the watchdog that this CPU waits for a stub from now on. Saying so again changes nothing,
/// so a monitor that may have been preempted in its wait says it each time before it sleeps.
///
/// `cpu`: 0 to `cpus` - 1, the same for the same thread always. `pid`, `identity`: as of
/// get_stub_listener(). The CPU's thread only; no system call but two the first time.
///
/// Returns 0; -ESRCH if the watchdog has killed this stub: take it for dead; -EINVAL; -ENODEV.
/// Series: patch 6.
#[unsafe(no_mangle)]
pub extern "C" fn seccomp_wd_enter(cpu: c_int, pid: c_int, identity: u64) -> c_int {
    ret::call(|| watchdog::enter(cpu, pid, identity))
}

/// Tells the watchdog that the stub has reported, and that the CPU waits for it again.
///
/// `cpu`, thread: as seccomp_wd_enter(). No system call.
///
/// Returns 0; -ESRCH if the watchdog has killed the stub: take it for dead, whatever it reported;
/// the wait is over then; -EINVAL if there is no wait; -ENODEV. Series: patch 6.
#[unsafe(no_mangle)]
pub extern "C" fn seccomp_wd_progress(cpu: c_int) -> c_int {
    ret::call(|| watchdog::progress(cpu))
}

/// Tells the watchdog that the CPU waits no more.
///
/// `cpu`, thread, return value: as seccomp_wd_progress().
#[unsafe(no_mangle)]
pub extern "C" fn seccomp_wd_exit(cpu: c_int) -> c_int {
    ret::call(|| watchdog::exit(cpu))
}

/// Does to a stub what the watchdog does to one that does not report back: looks at it, and kills it. So the
/// caller learns before the first guest whether the host lets it; a watchdog that cannot look does not
/// kill. No counter, and no line.
///
/// `pid`, `identity`: as of get_stub_listener(), or `stubguard_stub.identity`. Any thread, with the watchdog
/// started or not. The process is the caller's to reap.
///
/// Returns 0; -ESRCH if there is no such process (any more); -EINVAL; -ENODEV before stubguard_init(); others as the
/// host says of /proc/PID/stat (-ENOENT: the host hides it), pidfd_open(2) and pidfd_send_signal(2).
#[unsafe(no_mangle)]
pub extern "C" fn stubguard_watchdog_rehearse(pid: c_int, identity: u64) -> c_int {
    ret::call(|| watchdog::rehearse(pid, identity))
}
