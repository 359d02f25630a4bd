// SPDX-License-Identifier: GPL-2.0-only
//! Judges a stub's notification: a new park, a repeated park, a guest's call, or a breach of the protocol.

use super::batch::call_at;
use super::code::{self, Call, Place};
use super::guest::{Target, mcontext};
use super::stub::State;
use super::{Parked, calls};
use crate::abi::Event;
use crate::breach::{Breach, MAX_ERRNO, Offence, SIGNALS, Value, broken};
use crate::frame::{self, Frame};
use crate::host::seccomp::{Notification, argument};
use crate::{Errno, Result, arch, counters};
use core::ffi::c_int;
use core::mem::offset_of;

/// Offset of `si_syscall` in `siginfo_t`, in bytes.
const SI_SYSCALL: u32 = 24;

impl<Hook: FnMut(u64, u64, u64) -> bool> Parked<'_, Hook> {
    pub(super) fn is_park(&self, notification: &Notification) -> bool {
        let call = &notification.call;
        let place = call.instruction_pointer.wrapping_sub(self.monitor.config.stub_start);
        call.arch == arch::ARCH && call.nr == code::PARK_NR && place == Place::Park.offset()
    }

    /// Whether it is a park from before the last resume.
    ///
    /// In a fetch there is none: the stub was in its guest's call, and no signal withdraws that. A guest can forge one
    /// there, as the handler reads the ticket that the guest has left in the control page. If that were answered, the guest
    /// would run while the kernel takes it for held.
    pub(super) fn repeats(&self, notification: &Notification) -> bool {
        let ticket = argument(notification, 3);
        !matches!(self.stub.state, State::Starting | State::Fetching)
            && ticket == self.stub.ticket.wrapping_sub(1)
    }

    /// Whether it is a guest's own call, which the filter lets notify.
    pub(super) fn is_guests(&self, notification: &Notification) -> bool {
        let call = &notification.call;
        self.stub.state == State::Running
            && call.arch == arch::ARCH
            && call.instruction_pointer < self.monitor.config.guest_end
            && calls::notifies(call.nr.cast_unsigned())
    }

    /// Returns what is wrong with a notification that is no park and no guest's call.
    pub(super) fn no_call(notification: &Notification) -> Offence {
        let call = &notification.call;
        if call.nr == code::PARK_NR {
            Breach::Call.address("at", call.instruction_pointer)
        } else {
            Breach::Call.number("number", call.nr.into())
        }
    }

    /// Takes a park over. Returns `None` if it was a repeated park.
    pub(super) fn park(
        &mut self,
        notification: &Notification,
        target: Option<&Target>,
    ) -> Result<Option<Event>> {
        let [first, second, third, ticket] = [0, 1, 2, 3].map(|index| argument(notification, index));
        self.stub.notification = notification.id;
        if self.stub.state == State::Starting {
            self.stub.ticket = ticket;
        }
        if self.repeats(notification) {
            // A repeated park: the host withdrew it or lost our answer. It was handled already, so only
            // answer again. A guest can forge this only while it is to run, and gains nothing: the limit is in
            // force, and it runs on with a control page of its own.
            counters::RESYNCHRONISED.bump();
            self.answer()?;
            return Ok(None);
        }
        if ticket != self.stub.ticket {
            let expected = Value::Number(self.stub.ticket.cast_signed());
            let offence = Breach::Park.number("ticket", ticket.cast_signed()).not(expected);
            return Err(self.broken(&offence));
        }
        let arguments = [first, second, third];
        let event = self.judge(arguments, target).map_err(|offence| self.broken(&offence))?;
        self.stub.stopped(State::Parked);
        Ok(Some(event))
    }

    /// The stub has broken the protocol.
    pub(super) fn broken(&self, offence: &Offence) -> Errno {
        broken(self.monitor.config, self.stub.pid, offence)
    }

    pub(super) fn judge(
        &mut self,
        arguments: [u64; 3],
        target: Option<&Target>,
    ) -> core::result::Result<Event, Offence> {
        let [what, second, third] = arguments;
        let misplaced = Breach::Park.number("report", what.cast_signed());
        let state = self.stub.state;
        match what {
            code::PARK_DONE if state == State::Syncing => Ok(Event { syscall: -1, ..Event::default() }),
            code::PARK_FAILED => self.failed(second as i64, third),
            code::PARK_DONE => Err(misplaced),
            _ if state == State::Syncing => Err(misplaced),
            value => {
                let offence = Breach::Signal.number("signal", value.cast_signed());
                let signal = c_int::try_from(value).map_err(|_| offence)?;
                if !SIGNALS.contains(&signal) {
                    return Err(offence);
                }
                self.signal(signal, second, third, target)
            }
        }
    }

    /// Handles a park that reports a failed call of the batch.
    ///
    /// If the result is not an errno, the host mapped at another address. No host does that; it is reported
    /// as EIO.
    pub(super) fn failed(&mut self, result: i64, left: u64) -> core::result::Result<Event, Offence> {
        let offence = Breach::Park.number("calls left", left.cast_signed());
        let left = u32::try_from(left).map_err(|_| offence)?;
        let done = self.stub.calls.checked_sub(left).filter(|_| left > 0).ok_or(offence)?;
        // The control page says which of the caller's calls this is. A guest may have written it, so check it
        // below.
        let at = call_at(done).and_then(|at| at.checked_add(offset_of!(Call, index) as u32));
        let index: u16 = at.and_then(|at| self.shared.load(at)).ok_or(offence)?;
        if index >= self.stub.asked {
            return Err(Breach::Park.number("call", index.into()));
        }
        let known = (MAX_ERRNO.saturating_neg()..0).contains(&result);
        // The stub has not set the guest's bases. A guest can forge this park, so the stub is not reused.
        self.stub.forget_bases();
        self.stub.suspect = true;
        Ok(Event {
            error: if known { result as c_int } else { -libc::EIO },
            done: index.into(),
            syscall: -1,
            ..Event::default()
        })
    }

    pub(super) fn signal(
        &mut self,
        signal: c_int,
        siginfo: u64,
        ucontext: u64,
        target: Option<&Target>,
    ) -> core::result::Result<Event, Offence> {
        let config = self.monitor.config;
        let stack = config.stub_data_address(code::FP as u32);
        let no_frame = Breach::Frame.address("at", ucontext);
        let on_stack = |address: u64| {
            address
                .checked_sub(stack)
                .and_then(|offset| u16::try_from(offset).ok())
                .ok_or(Breach::Frame.address("at", address))
        };
        let (siginfo, ucontext) = (on_stack(siginfo)?, on_stack(ucontext)?);
        let mcontext = ucontext.checked_add(frame::UCONTEXT_TO_MCONTEXT as u16).ok_or(no_frame)?;
        if self.stub.state == State::Starting {
            // No guest has run yet, so the host put this frame here. It puts all frames of this stub at the
            // same place.
            let frame = Frame::new(config, siginfo, mcontext)?;
            let fpstate = frame.fpstate(config, &self.shared)?;
            let offence = Breach::FpState.number("offset", fpstate.into());
            self.stub.fpstate = u16::try_from(fpstate).map_err(|_| offence)?;
            (self.stub.siginfo, self.stub.mcontext) = (siginfo, mcontext);
            let at = (code::FP as u32).saturating_add(fpstate).saturating_add(frame::XFEATURES);
            self.stub.xfeatures = self.shared.load(at).ok_or(offence)?;
        } else if (siginfo, mcontext) != (self.stub.siginfo, self.stub.mcontext) {
            let (name, value, expected) = if siginfo == self.stub.siginfo {
                ("context", mcontext, self.stub.mcontext)
            } else {
                ("siginfo", siginfo, self.stub.siginfo)
            };
            return Err(Breach::Frame.number(name, value.into()).not(Value::Number(expected.into())));
        }
        let at = |offset: u16| (code::FP as u32).saturating_add(offset.into());
        let words: [u64; mcontext::WORDS] = self.shared.load_all(at(mcontext)).ok_or(no_frame)?;
        let word = |index: usize| words.get(index).copied().unwrap_or(0);

        let mut event = Event { signal, syscall: -1, ..Event::default() };
        if signal == libc::SIGSEGV {
            event.error_code = word(mcontext::ERR);
            event.address = word(mcontext::CR2);
            event.trap = word(mcontext::TRAPNO);
        }
        let rip = word(mcontext::RIP);
        let place = rip.wrapping_sub(config.stub_start);
        if place < u64::from(config.page_size) {
            // The stub is on its way to the guest, or the guest has jumped into the code page.
            if place < Place::Unblock.offset() || place > Place::Iret.offset() {
                return Err(Breach::Park.address("at", rip));
            }
            // SIGSEGV here: xrstor or iretq rejects the guest's own state.
            if !matches!(signal, libc::SIGALRM | libc::SIGSEGV) {
                return Err(Breach::Signal.number("signal", signal.into()));
            }
            event.again = 1;
            return Ok(event);
        }
        if signal == libc::SIGSYS {
            let at = at(siginfo).saturating_add(SI_SYSCALL);
            event.syscall = self.shared.load(at).ok_or(no_frame)?;
        }
        if let Some(target) = target {
            if target.rest && rip != self.stub.call_ip {
                return Err(Breach::Park.address("at", rip).not(Value::Address(self.stub.call_ip)));
            }
            self.take(&words, target, at(siginfo), at(self.stub.fpstate)).ok_or(no_frame)?;
        }
        Ok(event)
    }
}
