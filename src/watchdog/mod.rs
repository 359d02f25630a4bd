// SPDX-License-Identifier: GPL-2.0-only
//! The watchdog: kills a stub that does not report back, when it is the stub's own doing.
//!
//! [`mod@slot`] is what monitors and watchdog share, [`judge`] decides, this file acts. The watchdog's thread has
//! all signals blocked and a seccomp filter of its own (build.rs). It calls no kernel code, and holds nothing
//! that a monitor could wait for.

pub mod judge;
pub mod slot;

use crate::abi::{STUBGUARD_LOG_ERR, STUBGUARD_LOG_WARNING, STUBGUARD_MAX_CPUS, STUBGUARD_TIME_TRAVEL};
use crate::claim::ClaimCell;
use crate::config::{self, Config};
use crate::host::{pidfd, procfs, seccomp, thread};
use crate::log::Line;
use crate::{Errno, Result, counters};
use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use judge::{Account, Doing, Look};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use slot::{Slot, Step, Stub, Wait};
use std::os::fd::AsFd;

/// The thread's filter, compiled by build.rs.
#[allow(clippy::unreadable_literal)]
mod filter {
    include!(concat!(env!("OUT_DIR"), "/watchdog_filter.rs"));
}

#[cfg(not(loom))]
static SLOTS: [Slot; STUBGUARD_MAX_CPUS as usize] = [const { Slot::new() }; STUBGUARD_MAX_CPUS as usize];

#[cfg(loom)]
loom::lazy_static! {
    static ref SLOTS: Vec<Slot> = (0..STUBGUARD_MAX_CPUS).map(|_| Slot::new()).collect();
}

/// The thread, while there is one, and the timer that it reads.
struct Running {
    thread: thread::Thread,
    timer: TimerFd,
}

#[cfg(not(loom))]
static RUNNING: ClaimCell<Running> = ClaimCell::new();

#[cfg(loom)]
loom::lazy_static! {
    static ref RUNNING: ClaimCell<Running> = ClaimCell::new();
}

/// Tells the thread to end.
static STOP: AtomicBool = AtomicBool::new(false);

fn slot(cpu: c_int) -> Result<&'static Slot> {
    let config = config::get()?;
    let cpu = u32::try_from(cpu).ok().filter(|cpu| *cpu < config.cpus).ok_or(Errno::EINVAL)?;
    SLOTS.get(cpu as usize).ok_or(Errno::EINVAL)
}

fn told(step: Step) -> Result<()> {
    match step {
        Step::Done => Ok(()),
        Step::Condemned => Err(Errno::ESRCH),
        Step::NotWaiting => Err(Errno::EINVAL),
    }
}

/// Monitor: tells that it waits for a stub from now on.
///
/// # Errors
/// `EINVAL`; `ENODEV`; `ESRCH` if this very stub has been killed.
pub fn enter(cpu: c_int, pid: c_int, identity: u64) -> Result<()> {
    let slot = slot(cpu)?;
    if pid <= 0 {
        return Err(Errno::EINVAL);
    }
    if slot.tid() == 0 {
        slot.set_tid(thread::own_tid());
        let signal = config::get()?.kick_signal;
        if signal != 0 {
            thread::accept_kick(signal);
        }
    }
    told(slot.enter(Stub { pid, identity }))
}

/// Monitor: the stub has reported.
///
/// # Errors
/// As [`enter`]; `EINVAL` without a wait.
pub fn progress(cpu: c_int) -> Result<()> {
    told(slot(cpu)?.progress())
}

/// Monitor: the wait is over.
///
/// # Errors
/// As [`progress`].
pub fn exit(cpu: c_int) -> Result<()> {
    told(slot(cpu)?.exit())
}

/// Looks at a stub, and kills it, by the same calls as the watchdog's thread. Counts and reports nothing.
///
/// # Errors
/// `ENODEV`; `EINVAL`; `ESRCH` if there is no such process; what the host says of /proc and the pidfd.
pub fn rehearse(pid: c_int, identity: u64) -> Result<()> {
    config::get()?;
    if pid <= 0 {
        return Err(Errno::EINVAL);
    }
    look(Stub { pid, identity }, thread::own_tid())?;
    pidfd::kill_identified(pid, identity)
}

/// Starts the thread.
///
/// # Errors
/// `EALREADY`; `EOPNOTSUPP` in time-travel mode; `EBUSY` if the kick signal is taken; what the host
/// says.
pub fn start() -> Result<()> {
    let config = config::get()?;
    if config.has(STUBGUARD_TIME_TRAVEL) {
        return Err(Errno::EOPNOTSUPP);
    }
    RUNNING.put(|| {
        if config.kick_signal != 0 {
            thread::claim_kick(config.kick_signal)?;
        }
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC)?;
        let tick = Duration::from_millis(config.watchdog_tick_ms.into());
        timer.set(Expiration::Interval(TimeSpec::from(tick)), TimerSetTimeFlags::empty())?;
        STOP.store(false, Ordering::Relaxed);
        let thread = thread::start(main, timer.as_fd())?;
        Ok(Running { thread, timer })
    })
}

/// Ends the thread, and waits until it has ended.
///
/// # Errors
/// `EALREADY` if there is none; what the host says.
pub fn stop() -> Result<()> {
    RUNNING.take(|Running { thread, timer }| {
        STOP.store(true, Ordering::Release);
        let soon = Expiration::IntervalDelayed(
            TimeSpec::from(Duration::from_nanos(1)),
            TimeSpec::from(Duration::from_millis(10)),
        );
        timer.set(soon, TimerSetTimeFlags::empty())?;
        thread.join()?;
        let slots: &[Slot] = &SLOTS;
        for slot in slots {
            slot.set_tid(0);
        }
        Ok(())
    })
}

/// One wait that the watchdog has seen at its last tick.
#[derive(Clone, Copy)]
struct Seen {
    wait: Wait,
    account: Account,
}

extern "C" fn main(timer: *mut c_void) -> *mut c_void {
    let mut seen = [None; STUBGUARD_MAX_CPUS as usize];
    let Ok(config) = config::get() else { return core::ptr::null_mut() };
    if let Err(error) = seccomp::install_filter(&filter::PROGRAM, 0) {
        // It watches all the same: it would be worse to have no watchdog.
        Line::new()
            .str("the watchdog runs without a filter of its own, errno ")
            .num(error as i64)
            .send(config.log, STUBGUARD_LOG_WARNING);
    }
    let timer = thread::borrow_argument(timer);
    loop {
        // One look a wakeup, however many ticks have passed. A watchdog that was not scheduled charges less,
        // never more.
        let mut expirations = [0; 8];
        let read = nix::unistd::read(timer, &mut expirations);
        if STOP.load(Ordering::Acquire) {
            return core::ptr::null_mut();
        }
        if matches!(read, Err(error) if error != Errno::EINTR) {
            Line::new().str("the watchdog has lost its timer").send(config.log, STUBGUARD_LOG_ERR);
            return core::ptr::null_mut();
        }
        for (slot, seen) in SLOTS.iter().zip(&mut seen).take(config.cpus as usize) {
            *seen = watch(config, slot, *seen);
        }
    }
}

/// Looks at one slot; returns what to remember of it.
fn watch(config: &Config, slot: &Slot, seen: Option<Seen>) -> Option<Seen> {
    let wait = slot.observe()?;
    let Some(mut seen) = seen.filter(|seen| seen.wait == wait) else {
        let look = look(wait.stub, wait.tid).ok()?;
        return Some(Seen { wait, account: Account::open(&look) });
    };
    let look = look(wait.stub, wait.tid);
    if config.kick_signal != 0 {
        // The monitor has waited for a tick or longer. If it hangs in a receive whose notification the host has
        // withdrawn, the kick ends that. Otherwise it handles other events, and waits again.
        thread::kick(wait.tid, config.kick_signal);
    }
    let Ok(look) = look else { return Some(seen) };
    let nanoseconds = |milliseconds: u32| u64::from(milliseconds).saturating_mul(1_000_000);
    let (tick, budget) = (nanoseconds(config.watchdog_tick_ms), nanoseconds(config.watchdog_budget_ms));
    let verdict = seen.account.charge(&look, tick, budget);
    if verdict.stall {
        counters::STALLS.bump();
    }
    if verdict.kill {
        kill(config, slot, &wait, &look, seen.account.charged_ns());
        return None;
    }
    Some(seen)
}

fn kill(config: &Config, slot: &Slot, wait: &Wait, look: &Look, charged_ns: u64) {
    // First the process, by a number that stays its own; then the right to kill it; then the kill.
    let Ok(process) = pidfd::open_identified(wait.stub.pid, wait.stub.identity) else { return };
    if !slot.condemn(wait) {
        return;
    }
    // The monitor takes it for dead from now on. ESRCH: it has died by itself.
    if let Err(error) = pidfd::kill(process.as_fd())
        && error != Errno::ESRCH
    {
        Line::new()
            .str("cannot kill stub ")
            .num(wait.stub.pid.into())
            .str(", which does not report back, errno ")
            .num(error as i64)
            .send(config.log, STUBGUARD_LOG_ERR);
        return;
    }
    counters::KILLED_WATCHDOG.bump();
    Line::new()
        .str("killed stub ")
        .num(wait.stub.pid.into())
        .str(if look.stub == Doing::Sleeping { ", which sleeps" } else { ", which spins" })
        .str(" and does not report back (SIGALRM blocked?): charged ")
        .num((charged_ns / 1_000_000).cast_signed())
        .str(" ms, budget ")
        .num(config.watchdog_budget_ms.into())
        .str(" ms")
        .send(config.log, STUBGUARD_LOG_WARNING);
}

/// `tid`: the monitor's thread.
fn look(stub: Stub, tid: c_int) -> Result<Look> {
    // What is read by pid is the stub's if the pid is the stub's before and after.
    let process = pidfd::open_identified(stub.pid, stub.identity)?;
    let stat = procfs::process(stub.pid)?;
    let mut state = doing(stat.state);
    if state == Doing::Sleeping && procfs::is_frozen(stub.pid) {
        state = Doing::Held;
    }
    pidfd::is_alive(process.as_fd())?;
    // A monitor that cannot be looked at is no excuse for the stub.
    let monitor = procfs::own_thread(tid).map_or(Doing::Sleeping, |stat| doing(stat.state));
    Ok(Look { stub: state, monitor, cpu_ns: stat.cpu_ns })
}

/// proc_pid_stat(5), field 3.
fn doing(state: u8) -> Doing {
    match state {
        b'R' => Doing::Running,
        b'S' => Doing::Sleeping,
        _ => Doing::Held,
    }
}
