// SPDX-License-Identifier: GPL-2.0-only
//! How a guest goes on. The monitor answers the guest's call, or fetches the registers, or resumes the stub;
//! then it waits.

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

/// How long the monitor waits before it checks whether the stub is dead. Only on hosts that do not report a
/// stub's death.
const WAIT_MS: u16 = 50;
/// How many repeated parks one wait answers before it returns to the caller with EINTR.
const REPEATS_MAX: u32 = 8;

/// ERESTARTSYS and the like. The host acts on these results, too, so they must not reach it as a call's
/// result.
const RESTARTS: core::ops::RangeInclusive<i64> = -531..=-512;

/// What a stub is resumed with.
pub struct Resume<'a> {
    /// The batch.
    pub calls: &'a [BatchCall],
    /// `None` to run only the batch.
    pub guest: Option<Guest>,
    /// The CPU that waits, if a wait is needed.
    pub cpu: c_int,
}

/// The watchdog's `ESRCH` is its own kill. Callers tell it from other deaths.
fn by_watchdog(error: Errno) -> Errno {
    if error == Errno::ESRCH { Errno::ETIMEDOUT } else { error }
}

impl<Hook: FnMut(u64, u64, u64) -> bool> Parked<'_, Hook> {
    /// Lets a stub go on, in the way that its state asks for.
    ///
    /// - If it is new, waits for its first park.
    /// - If it is in a guest's call and only the result is needed, answers the call. Otherwise fetches the
    ///   guest's registers.
    /// - If it is parked, writes the batch and the guest to its data, and answers the park.
    ///
    /// # Errors
    /// `EINVAL` if the stub runs, or for bad arguments: nothing has changed. `EINTR` if a new stub has not
    /// parked yet: nothing has changed. `EPERM` if the batch has a call that the policy denies, `ESRCH` if
    /// the stub is dead, others from the host: the stub is broken then.
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
            // A call that needs a batch is likely to come again, and a signal frame costs less than a fetch.
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

    /// Returns the result of the call that holds the stub. `None` if an answer is not enough: there is a
    /// batch, or no guest, or another guest, or a single step, or a restart.
    pub(super) fn result_of_call(&self, resume: &Resume<'_>) -> Option<i64> {
        let guest = resume.guest.as_ref()?;
        let caller = self.stub.caller?;
        if !resume.calls.is_empty() || guest.step || !caller.registers.is(&guest.state.registers) {
            return None;
        }
        let result = guest.state.registers.load::<i64>(const { (RAX * 8) as u32 })?;
        (!RESTARTS.contains(&result)).then_some(result)
    }

    /// Records that no guest's registers are in the stub. Their owner may then continue on another CPU.
    pub(super) fn forget_caller(&mut self) {
        self.stub.caller = None;
        self.caller.store(0, Ordering::Release);
    }

    /// Lifts the address-space limit if the batch maps. Returns the flag by which the stub's code sets it to
    /// 0 again.
    ///
    /// prlimit(2) takes a pid. If the stub has died, was reaped, and its pid was reused before this call, the
    /// new process gets the limit of this process, which a child of ours has from its start.
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
    ///
    /// If the host has withdrawn the park, the stub parks again and `park` answers that.
    pub(super) fn answer(&mut self) -> Result<()> {
        match self.send(code::ANSWER) {
            Err(Errno::ENOENT) => {
                match seccomp::wait(self.monitor.listener, 0) {
                    Ok(pending) if self.is_dead(pending) => Err(Errno::ESRCH),
                    // The stub lives: it parks again.
                    _ => Ok(()),
                }
            }
            result => result,
        }
    }

    /// Makes the call that holds the stub return a value.
    pub(super) fn send(&self, value: i64) -> Result<()> {
        listener::send(self.monitor.listener, self.stub.notification, Answer::Return(value))
    }

    /// Answers a guest's call: the guest continues after it.
    ///
    /// No signal withdraws a received call (WAIT_KILLABLE_RECV). So ENOENT means that the stub is dead.
    pub(super) fn let_go(&mut self, result: i64) -> Result<()> {
        self.stub.state = State::Running;
        self.send(result).map_err(|error| {
            self.stub.state = State::Broken;
            if error == Errno::ENOENT { Errno::ESRCH } else { error }
        })
    }

    /// Takes over the registers of a guest that is in a call, as if the call had made a signal frame. Does
    /// nothing if no guest is in a call, or if `registers` is the address of another guest's registers (0:
    /// any guest's).
    ///
    /// The monitor sends SIGALRM while the host holds the stub in the call, then answers. The host delivers
    /// the signal before the guest's next instruction, so the stub parks.
    ///
    /// # Errors
    /// `EINVAL` for a bad CPU number: nothing has changed. `ESRCH` if the stub is dead, `EPROTO` if it does
    /// not park as it must, others from the host: the stub is broken then.
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
        // The stub is still in its call, so it has lived all the time: the pidfd is the stub's.
        match seccomp::is_suspended(self.monitor.listener, self.stub.notification) {
            Err(Errno::ENOENT) => return Err(Errno::ESRCH),
            other => other?,
        }
        pidfd::signal(process.as_fd(), libc::SIGALRM)?;
        self.let_go(0)?;
        // The kernel takes this guest for held, so none of its instructions may run until the next resume. Whatever
        // parks meanwhile is not answered: see `repeats`.
        self.stub.state = State::Fetching;
        let event = loop {
            match self.try_wait(cpu, Some(target)) {
                Err(Errno::EINTR) => {}
                other => break other?,
            }
        };
        // If another signal was delivered first, the registers are the same.
        if event.signal == 0 || event.again != 0 || event.notified != 0 {
            return Err(self.broken(&Breach::Park.number("signal", event.signal.into())));
        }
        Ok(())
    }

    /// Waits until the stub parks or its guest's call notifies. Stores the guest's state in `target`.
    ///
    /// # Errors
    /// `EINTR`: handle other events, then wait again. `ETIMEDOUT` if the watchdog has killed the stub, `ESRCH` if
    /// it is dead for another reason, `EPROTO` if it has broken the protocol: kill it. `EINVAL` if it was not
    /// resumed, or for bad arguments.
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

    /// Whether the guest has this CPU. Checked before anything changes.
    pub(super) fn knows(&self, cpu: c_int) -> bool {
        u32::try_from(cpu).is_ok_and(|cpu| cpu < self.monitor.config.cpus)
    }

    pub(super) fn try_wait(&mut self, cpu: c_int, target: Option<&Target>) -> Result<Event> {
        for _ in 0..REPEATS_MAX {
            watchdog::enter(cpu, self.stub.pid, self.stub.identity).map_err(|error| {
                // The watchdog has killed this stub during an interrupted wait, which is over now.
                let _ = watchdog::exit(cpu);
                by_watchdog(error)
            })?;
            let received = self.receive();
            // Neither EINTR nor a repeated park is a report. The watchdog's wait goes on, so a stub cannot
            // reset its charge.
            let goes_on = match &received {
                Ok(notification) => self.is_park(notification) && self.repeats(notification),
                Err(error) => *error == Errno::EINTR,
            };
            if !goes_on {
                match watchdog::exit(cpu) {
                    // EINVAL: a wait in an interrupt handler of this CPU has ended it already. Nobody was
                    // killed.
                    Ok(()) | Err(Errno::EINVAL) => {}
                    Err(error) => return Err(by_watchdog(error)),
                }
            }
            let notification = received?;
            if self.is_guests(&notification) {
                return self.call(&notification, target).ok_or(Errno::EINVAL);
            }
            if !self.is_park(&notification) {
                // Our filters let nothing else notify.
                return Err(self.broken(&Self::no_call(&notification)));
            }
            if let Some(event) = self.park(&notification, target)? {
                return Ok(event);
            }
        }
        Err(Errno::EINTR)
    }

    /// Receives a notification. If the host does not report a stub's death to a receive, waits for
    /// [`WAIT_MS`] at most.
    pub(super) fn receive(&self) -> Result<Notification> {
        let timeout = (self.features & STUBGUARD_F_RECEIVE_ENDS == 0).then_some(WAIT_MS);
        let pending = match listener::receive(self.monitor.listener, timeout) {
            Ok(Received::Call(notification)) => return Ok(notification),
            Ok(Received::Gone) => Pending::Gone,
            Ok(Received::Nothing) => Pending::Nothing,
            // A periodic timer of the monitor may interrupt each poll.
            Err(Errno::EINTR) if timeout.is_some() => Pending::Nothing,
            Err(error) => return Err(error),
        };
        Err(if self.is_dead(pending) { Errno::ESRCH } else { Errno::EINTR })
    }

    /// Whether the stub is dead.
    ///
    /// Before Linux 6.11 the listener reports the death only after the stub was reaped. A monitor that blocks
    /// SIGCHLD must not wait for that, so it asks the host.
    pub(super) fn is_dead(&self, pending: Pending) -> bool {
        let told = self.features & STUBGUARD_F_RECEIVE_ENDS != 0;
        pending == Pending::Gone || (pending == Pending::Nothing && !told && pidfd::has_ended(self.stub.pid))
    }

    /// Gives the resume a new ticket, and writes the head of the control page.
    pub(super) fn write_head(&mut self, head: Head) -> Result<()> {
        self.stub.ticket = self.stub.ticket.wrapping_add(1);
        self.shared.store_all(0, &Head { ticket: self.stub.ticket, ..head }).ok_or(Errno::EINVAL)
    }

    /// Runs `what`. If it fails, the stub is broken.
    pub(super) fn or_broken<T>(&mut self, what: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        what(self).inspect_err(|_| self.stub.state = State::Broken)
    }
}
