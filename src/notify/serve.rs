// SPDX-License-Identifier: GPL-2.0-only
//! One notification, all that are pending, or those of a batch.
//!
//! Nothing here waits without a bound. What the host may answer, and what it means: see [`listener`]. A dead stub is
//! ESRCH to the caller. A call that the host withdraws is nothing to the caller; if it is withdrawn before its
//! answer, it counts as served.
//!
//! What was received and could not be answered never comes again, and its stub stays in the call: the caller is told
//! at once, whatever was answered before, and ends the stub.

use crate::config::Config;
use crate::host::seccomp::{Answer, Notification, argument};
use crate::listener::{self, Received};
use crate::memory::StubData;
use crate::monitor::Monitor;
use crate::policy::{self, Denial, Mmap};
use crate::{Errno, Result, arch, counters};

/// How long the monitor waits for the next call of a batch, before its caller looks whether the
/// stub has ended the batch early: long against a call (microseconds), short for a user.
const BATCH_WAIT_MS: u16 = 20;
/// A stub has one thread, so one call pending; more than a few in one go are a storm, which can
/// wait until the monitor has looked after everything else.
const DRAIN_MAX: u32 = 8;

/// The calls that the monitor has queued and the stub works on.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// The monitor's copy of the stub's data.
    pub own: StubData,
    /// How many there are.
    pub calls: u32,
}

impl Batch {
    /// Whether the monitor has asked for this very mmap.
    fn asks_for(&self, config: &Config, mmap: &Mmap) -> bool {
        (0..self.calls)
            .any(|index| self.call(config, index) == Some((mmap.addr, mmap.length, mmap.offset, mmap.prot)))
    }

    /// Address, length, offset and protection of a call.
    fn call(&self, config: &Config, index: u32) -> Option<(u64, u64, u64, u64)> {
        let layout = &config.layout;
        let call = layout.call_size.checked_mul(index)?.checked_add(layout.calls)?;
        let word = |member: u32| self.own.load::<u64>(call.checked_add(member)?);
        let prot: i32 = self.own.load(call.checked_add(layout.call_prot)?)?;
        Some((
            word(layout.call_addr)?,
            word(layout.call_length)?,
            word(layout.call_offset)?,
            u64::try_from(prot).ok()?,
        ))
    }
}

impl<Hook: FnMut(u64, u64, u64) -> bool> Monitor<'_, Hook> {
    /// Answers one call; waits for it `timeout_ms` at most. Returns whether there was one. Without a
    /// batch nobody has asked for it: the guest has got into the stub's code.
    ///
    /// # Errors
    /// `EINTR`; `ESRCH` if the stub is dead; others are bugs.
    pub fn serve(&mut self, timeout_ms: u16, batch: Option<&Batch>) -> Result<bool> {
        let Some(notification) = self.next(timeout_ms)? else { return Ok(false) };
        self.answer(&notification, batch)?;
        Ok(true)
    }

    /// Receives a call.
    fn next(&self, timeout_ms: u16) -> Result<Option<Notification>> {
        match listener::receive(self.listener, Some(timeout_ms))? {
            Received::Call(notification) => Ok(Some(notification)),
            Received::Nothing => Ok(None),
            Received::Gone => Err(Errno::ESRCH),
        }
    }

    /// Answers a call that was received.
    ///
    /// # Errors
    /// As [`Self::serve`].
    pub fn answer(&mut self, notification: &Notification, batch: Option<&Batch>) -> Result<()> {
        let answer = self.decide(notification, batch);
        self.send(notification.id, answer)
    }

    /// Answers what is pending now.
    ///
    /// # Errors
    /// As [`Self::serve`]: from before a call was received if nothing was answered, and if one cannot be answered.
    pub fn drain(&mut self) -> Result<u32> {
        self.several(DRAIN_MAX, 0, None)
    }

    /// Answers `pending` calls of a batch; fewer if the next one does not come.
    ///
    /// # Errors
    /// As [`Self::drain`].
    pub fn batch(&mut self, batch: &Batch, pending: u32) -> Result<u32> {
        self.several(pending, BATCH_WAIT_MS, Some(batch))
    }

    fn several(&mut self, max: u32, timeout_ms: u16, batch: Option<&Batch>) -> Result<u32> {
        let mut served = 0u32;
        while served < max {
            match self.next(timeout_ms) {
                Ok(Some(notification)) => self.answer(&notification, batch)?,
                Err(error) if served == 0 => return Err(error),
                // What was answered counts; the next call meets the error again.
                Ok(None) | Err(_) => break,
            }
            served = served.saturating_add(1);
        }
        Ok(served)
    }

    fn decide(&mut self, notification: &Notification, batch: Option<&Batch>) -> Answer {
        let Err(denial) = self.judge(notification) else {
            counters::ALLOWED.bump();
            return Answer::Continue;
        };
        counters::denied(denial);
        // The page table may have changed since the call was queued: another CPU's thread of the same
        // guest process has unmapped or write-protected the page. The old rights must not be given any
        // more, but it is nobody's fault. The change was marked for its own synchronisation, so leaving
        // the page as it is and going on is right.
        if denial == Denial::PageTable
            && batch.is_some_and(|batch| batch.asks_for(self.config, &mmap(notification)))
            && let Ok(value) = i64::try_from(argument(notification, 0))
        {
            return Answer::Return(value);
        }
        Answer::Fail(Errno::EPERM)
    }

    fn judge(&mut self, notification: &Notification) -> core::result::Result<(), Denial> {
        let call = &notification.call;
        // The filter sees to both; a filter that does not must not be the end of the matter.
        if call.arch != arch::ARCH {
            return Err(Denial::Architecture);
        }
        if !arch::is_site(self.config, call.instruction_pointer) {
            return Err(Denial::Site);
        }
        if call.nr == arch::MMAP_NR {
            policy::check_mmap(self.config, &mmap(notification), &mut self.granted)
        } else if call.nr == arch::MUNMAP_NR {
            policy::check_range(self.config, argument(notification, 0), argument(notification, 1))
        } else {
            Err(Denial::Call)
        }
    }

    fn send(&self, id: u64, answer: Answer) -> Result<()> {
        match listener::send(self.listener, id, answer) {
            // No death: a freezer, a debugger, or a signal took the stub out of the call.
            Err(Errno::ENOENT) => {
                counters::RESYNCHRONISED.bump();
                Ok(())
            }
            result => result,
        }
    }
}

fn mmap(notification: &Notification) -> Mmap {
    Mmap {
        addr: argument(notification, 0),
        length: argument(notification, 1),
        prot: argument(notification, 2),
        flags: argument(notification, 3),
        fd: argument(notification, 4),
        offset: argument(notification, 5),
    }
}
