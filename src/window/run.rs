// SPDX-License-Identifier: GPL-2.0-only
//! How a guest goes on: the call is answered, fetched, or the stub is resumed; then the monitor waits.

use super::Parked;
use super::batch::Batch;
use super::code::{self, Head};
use super::guest::{Guest, RAX, Target};
use super::stub::{Limit, State};
use crate::abi::{BatchCall, Event, STUBGUARD_CALLS_MAX, STUBGUARD_F_RECEIVE_ENDS};
use crate::breach::Breach;
use crate::host::seccomp::{self, Answer, Notification, Pending};
use crate::host::{pidfd, rlimit};
use crate::listener::{self, Received};
use crate::{Errno, Result, watchdog};
use core::ffi::c_int;
use core::sync::atomic::Ordering;
use std::os::fd::AsFd;

/// How long the monitor of a host that does not tell of a stub's death waits before it looks.
const WAIT_MS: u16 = 50;
/// A park that the host has withdrawn comes again: so often in a row before the caller looks after everything else.
const REPEATS_MAX: u32 = 8;

/// Results that only mean something to a kernel, from ERESTARTSYS on: the host would act on them, too.
const RESTARTS: core::ops::RangeInclusive<i64> = -531..=-512;

/// What to resume with.
pub struct Resume<'a> {
    /// The batch.
    pub calls: &'a [BatchCall],
    /// `None` for the batch only.
    pub guest: Option<Guest>,
    /// The CPU that waits, if it has to.
    pub cpu: c_int,
}

/// The watchdog's `ESRCH` is its own kill. Callers tell it from other deaths.
fn by_watchdog(error: Errno) -> Errno {
    if error == Errno::ESRCH { Errno::ETIMEDOUT } else { error }
}

impl<Hook: FnMut(u64, u64, u64) -> bool> Parked<'_, Hook> {
    /// Lets a stub go on, in the way that its state asks for: a new one is waited for first; a guest's call is answered,
    /// if that is all there is to do, or else its registers are fetched; a parked one is given the batch and the guest.
    ///
    /// # Errors
    /// `EINVAL` if it runs, or for what cannot be asked; `EINTR` if a new one has not parked yet: nothing has
    /// changed. `EPERM` for a batch that is not the guest's to run; `ESRCH` if it is dead; others from the host: the stub is
    /// broken then.
    pub fn resume(&mut self, resume: &Resume<'_>) -> Result<()> {
        self.stub.expect(&[State::Starting, State::Parked, State::Calling])?;
        if resume.calls.len() > STUBGUARD_CALLS_MAX
            || (resume.calls.is_empty() && resume.guest.is_none())
            || !self.knows(resume.cpu)
        {
            return Err(Errno::EINVAL);
        }
        if self.stub.state == State::Starting {
            self.wait(resume.cpu, None)?;
        }
        self.or_broken(|parked| parked.try_resume(resume))
    }

    pub(super) fn try_resume(&mut self, resume: &Resume<'_>) -> Result<()> {
        if self.stub.state == State::Calling {
            if let Some(result) = self.result_of_call(resume) {
                self.forget_caller();
                return self.let_go(result);
            }
            // A call that leads to a batch: the next one is likely to, and a frame is cheaper than a fetch.
            self.stub.trap |= resume.guest.is_some() && !resume.calls.is_empty();
            self.fetch_caller(resume.cpu)?;
        }
        if resume.guest.is_some() && self.stub.trapped && resume.calls.is_empty() {
            self.stub.trap = false;
        }
        let Batch { calls, maps } = self.write_batch(resume.calls)?;
        let mut head = Head { calls, flags: self.limit(maps)?, ..Head::default() };
        if let Some(guest) = &resume.guest {
            self.fill_guest(&mut head, guest).ok_or(Errno::EINVAL)?;
        }
        self.write_head(head)?;
        self.stub.calls = calls;
        self.stub.state = if resume.guest.is_some() { State::Running } else { State::Syncing };
        self.answer()
    }

    /// What the call that holds the stub is to return, if its guest is to go on behind it, and nothing else is to be
    /// done.
    pub(super) fn result_of_call(&self, resume: &Resume<'_>) -> Option<i64> {
        let guest = resume.guest.as_ref()?;
        let caller = self.stub.caller?;
        if !resume.calls.is_empty() || guest.step || !caller.registers.is(&guest.state.registers) {
            return None;
        }
        let result = guest.state.registers.load::<i64>(const { (RAX * 8) as u32 })?;
        (!RESTARTS.contains(&result)).then_some(result)
    }

    /// The stub has no registers of a guest's any more: their owner, on another CPU, may go on with them.
    pub(super) fn forget_caller(&mut self) {
        self.stub.caller = None;
        self.caller.store(0, Ordering::Release);
    }

    /// Lets the stub map if the batch is to, and says by which flag it ends that.
    ///
    /// By pid, as there is no other way: should the stub have died and been reaped at this moment, and its pid
    /// be another process's already, that one has the limit lifted which it has from us.
    pub(super) fn limit(&mut self, maps: bool) -> Result<u32> {
        match self.stub.limit {
            Limit::Holds if !maps => return Ok(0),
            Limit::Holds => rlimit::lift(self.stub.pid)?,
            Limit::Lifted | Limit::Returning => {}
        }
        self.stub.limit = Limit::Returning;
        Ok(code::LIMIT)
    }

    /// Answers the park that holds the stub.
    pub(super) fn answer(&mut self) -> Result<()> {
        match self.send(code::ANSWER) {
            Err(Errno::ENOENT) => {
                match seccomp::wait(self.monitor.listener, 0) {
                    Ok(pending) if self.is_dead(pending) => Err(Errno::ESRCH),
                    // It comes again: see `park`.
                    _ => Ok(()),
                }
            }
            result => result,
        }
    }

    /// Has the call that holds the stub return a value.
    pub(super) fn send(&self, value: i64) -> Result<()> {
        listener::send(self.monitor.listener, self.stub.notification, Answer::Return(value))
    }

    /// Lets a guest go on behind its call. No signal withdraws a call that has been received
    /// (WAIT_KILLABLE_RECV): if there is none to answer, the stub is dead.
    pub(super) fn let_go(&mut self, result: i64) -> Result<()> {
        self.stub.state = State::Running;
        self.send(result).map_err(|error| {
            self.stub.state = State::Broken;
            if error == Errno::ENOENT { Errno::ESRCH } else { error }
        })
    }

    /// Takes over the registers of a guest that is in a call, if there is one, and if they are the ones at `registers`:
    /// it is as if the call had made a signal frame.
    ///
    /// A signal is sent while the host holds the stub in the call, so it comes first thing behind that: the
    /// host makes a frame, before the guest makes a step, and the stub parks.
    ///
    /// # Errors
    /// `EINVAL` for a CPU that there is not: nothing has changed. `ESRCH` if the stub is dead, `EPROTO` if it does not
    /// park as it must, others from the host: the stub is broken then.
    pub fn fetch(&mut self, cpu: c_int, registers: usize) -> Result<()> {
        if !self.knows(cpu) {
            return Err(Errno::EINVAL);
        }
        match self.stub.state {
            State::Broken => Err(Errno::ESRCH),
            State::Calling if registers == 0 || self.caller.load(Ordering::Relaxed) == registers => {
                self.or_broken(|parked| parked.fetch_caller(cpu))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn fetch_caller(&mut self, cpu: c_int) -> Result<()> {
        let state = self.stub.caller.ok_or(Errno::EIO)?;
        let result = self.try_fetch(cpu, &Target { state, siginfo: None, rest: true });
        self.forget_caller();
        result
    }

    pub(super) fn try_fetch(&mut self, cpu: c_int, target: &Target) -> Result<()> {
        let process = pidfd::open(self.stub.pid)?;
        // The stub still is in its call: it has lived all the time, so this is its pid.
        match seccomp::is_suspended(self.monitor.listener, self.stub.notification) {
            Err(Errno::ENOENT) => return Err(Errno::ESRCH),
            other => other?,
        }
        pidfd::signal(process.as_fd(), libc::SIGALRM)?;
        self.let_go(0)?;
        let event = loop {
            match self.try_wait(cpu, Some(target)) {
                Err(Errno::EINTR) => {}
                other => break other?,
            }
        };
        // Whichever signal the host has delivered first, the state is the same.
        if event.signal == 0 || event.again != 0 || event.notified != 0 {
            return Err(self.broken(&Breach::Park.number("signal", event.signal.into())));
        }
        Ok(())
    }

    /// Waits until the stub parks.
    ///
    /// # Errors
    /// `EINTR`: look around, and wait again. `ETIMEDOUT` if the watchdog has killed it, `ESRCH` if it is dead
    /// otherwise, `EPROTO` if it has broken the protocol: it must be killed. `EINVAL` if it was not resumed.
    pub fn wait(&mut self, cpu: c_int, target: Option<&Target>) -> Result<Event> {
        self.stub.expect(&[State::Starting, State::Running, State::Syncing])?;
        if !self.knows(cpu) || (target.is_none() && self.stub.state == State::Running) {
            return Err(Errno::EINVAL);
        }
        let ran = self.stub.state == State::Running;
        match self.try_wait(cpu, target) {
            Ok(event) => {
                if ran {
                    self.stub.trapped = event.signal == libc::SIGSYS && event.notified == 0;
                }
                Ok(event)
            }
            Err(Errno::EINTR) => Err(Errno::EINTR),
            Err(error) => {
                self.stub.state = State::Broken;
                Err(error)
            }
        }
    }

    /// Whether there is such a CPU: a bad argument changes nothing.
    pub(super) fn knows(&self, cpu: c_int) -> bool {
        u32::try_from(cpu).is_ok_and(|cpu| cpu < self.monitor.config.cpus)
    }

    pub(super) fn try_wait(&mut self, cpu: c_int, target: Option<&Target>) -> Result<Event> {
        for _ in 0..REPEATS_MAX {
            watchdog::enter(cpu, self.stub.pid, self.stub.identity).map_err(by_watchdog)?;
            let received = self.receive();
            // What is no report does not end the wait, however many come.
            let goes_on = match &received {
                Ok(notification) => self.is_park(notification) && self.repeats(notification),
                Err(error) => *error == Errno::EINTR,
            };
            if !goes_on {
                match watchdog::exit(cpu) {
                    // EINVAL: another wait of this CPU, in an interrupt, has ended it. Nobody was killed.
                    Ok(()) | Err(Errno::EINVAL) => {}
                    Err(error) => return Err(by_watchdog(error)),
                }
            }
            let notification = received?;
            if self.is_guests(&notification) {
                return self.call(&notification, target).ok_or(Errno::EINVAL);
            }
            if !self.is_park(&notification) {
                // No filter of ours lets anything else notify.
                return Err(self.broken(&Self::no_call(&notification)));
            }
            if let Some(event) = self.park(&notification, target)? {
                return Ok(event);
            }
        }
        Err(Errno::EINTR)
    }

    /// A host that does not tell a receive of the stub's death is polled before, so that the monitor may look.
    pub(super) fn receive(&self) -> Result<Notification> {
        let timeout = (self.features & STUBGUARD_F_RECEIVE_ENDS == 0).then_some(WAIT_MS);
        let pending = match listener::receive(self.monitor.listener, timeout) {
            Ok(Received::Call(notification)) => return Ok(notification),
            Ok(Received::Gone) => Pending::Gone,
            Ok(Received::Nothing) => Pending::Nothing,
            // With a timer each poll may end so.
            Err(Errno::EINTR) if timeout.is_some() => Pending::Nothing,
            Err(error) => return Err(error),
        };
        Err(if self.is_dead(pending) { Errno::ESRCH } else { Errno::EINTR })
    }

    /// Whether the stub is dead. Before Linux 6.11 its listener tells only when it has been reaped, which a monitor
    /// that holds off SIGCHLD must not wait for.
    pub(super) fn is_dead(&self, pending: Pending) -> bool {
        let told = self.features & STUBGUARD_F_RECEIVE_ENDS != 0;
        pending == Pending::Gone || (pending == Pending::Nothing && !told && pidfd::has_ended(self.stub.pid))
    }

    /// Numbers a resume, and writes what the stub will read of it.
    pub(super) fn write_head(&mut self, head: Head) -> Result<()> {
        self.stub.ticket = self.stub.ticket.wrapping_add(1);
        self.shared.store_all(0, &Head { ticket: self.stub.ticket, ..head }).ok_or(Errno::EINVAL)
    }

    /// Does what breaks the stub if it fails.
    pub(super) fn or_broken<T>(&mut self, what: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        what(self).inspect_err(|_| self.stub.state = State::Broken)
    }
}
