// SPDX-License-Identifier: GPL-2.0-only
//! Answers one notification, all pending ones, or those of a batch.
//!
//! No wait here is without a bound. The table of [`listener`] says what the host may return. If the stub is
//! dead, the caller gets ESRCH. If the host withdraws a call, the caller gets no error; a call that is
//! withdrawn just before its answer counts as served.
//!
//! If a received call cannot be answered, it never comes again, and its stub stays in it. The caller gets
//! that error at once, even if other calls were answered before, and ends the stub.

use crate::config::Config;
use crate::host::seccomp::{Answer, Notification, argument};
use crate::listener::{self, Received};
use crate::memory::StubData;
use crate::monitor::Monitor;
use crate::policy::{self, Denial, Mmap};
use crate::{Errno, Result, arch, counters};

/// How long the monitor waits for the next call of a batch. Then its caller checks whether the stub has ended
/// the batch early. A call takes microseconds, and a user does not notice this wait.
const BATCH_WAIT_MS: u16 = 20;
/// A stub has one thread, so it has one pending call. If more than a few come in a row, the monitor first
/// handles everything else.
const DRAIN_MAX: u32 = 8;

/// A batch: the calls that the monitor has queued, and that the stub works on.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// The monitor's copy of the stub's data.
    pub own: StubData,
    /// How many calls there are.
    pub calls: u32,
}

impl Batch {
    /// Whether the batch has exactly this mmap.
    fn asks_for(&self, config: &Config, mmap: &Mmap) -> bool {
        (0..self.calls)
            .any(|index| self.call(config, index) == Some((mmap.addr, mmap.length, mmap.offset, mmap.prot)))
    }

    /// Returns address, length, offset and protection of a call.
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
    /// Answers one call. Waits for it `timeout_ms` at most. Returns whether there was one. Without a batch
    /// the monitor has not asked for it: the guest has jumped into the stub's code.
    ///
    /// # Errors
    /// `EINTR`; `ESRCH` if the stub is dead; any other error is a bug.
    pub fn serve(&mut self, timeout_ms: u16, batch: Option<&Batch>) -> Result<bool> {
        let Some(notification) = self.next(timeout_ms)? else { return Ok(false) };
        self.answer(&notification, batch)?;
        Ok(true)
    }

    /// Receives a call. `None` if none came in time, or if the host withdrew it.
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

    /// Answers the calls that are pending now.
    ///
    /// # Errors
    /// As [`Self::serve`]. If calls were answered already, an error before the next one is received is not
    /// returned.
    pub fn drain(&mut self) -> Result<u32> {
        self.several(DRAIN_MAX, 0, None)
    }

    /// Answers `pending` calls of a batch; fewer if the next one does not come in time.
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
                // Return what was answered. The next receive meets the error again.
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
        // Another thread of the guest process may have unmapped or write-protected the page after the call
        // was queued. The old rights must not be granted, but this is no breach. That change is synchronised
        // by itself, so leave the page as it is and let the batch go on.
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
        // The filter has checked both already. Do not rely on it.
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
            // The stub lives: a freezer, a debugger or a signal has interrupted its call.
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
