// SPDX-License-Identifier: GPL-2.0-only
//! Takes over a stub's report, and writes what the stub shall do next.
//!
//! The stub reports through memory that the guest can write while it runs. So the monitor works on its own
//! copy. `publish` writes that copy to the shared memory before the stub is woken. `collect` takes the report
//! over: it loads each value once, bounds it, and only then stores it in the copy. So registers are all that
//! a guest can choose freely there.
//!
//! | in the stub data           | publish              | collect |
//! |----------------------------|----------------------|---------|
//! | batch, its length          | written              | not read; on an error: how many calls were done, below the batch's length |
//! | err                        | 0                    | 0, or an error number, and that only after a batch |
//! | `restart_wait`             | written              | not read; 0 in the copy |
//! | signal                     | 0                    | one of the signals that stubs handle |
//! | `si_offset`, `mctx_offset` | not written          | a frame that is whole on the signal stack |
//! | signal frame               | written, on a resume | copied, then: FP state where and as large as the host makes it |
//! | `arch_data`                | written              | not read |
//! | futex                      | not written          | not read: the caller hands over by it |

use crate::breach::{Breach, MAX_ERRNO, Offence, SIGNALS, broken};
use crate::config::Config;
use crate::frame::Frame;
use crate::memory::StubData;
use crate::{Errno, Result};
use core::ffi::c_int;

/// The two copies of a stub's data.
pub struct Hand<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The copy that the stub shares.
    pub shared: StubData,
    /// The copy that only the monitor has.
    pub own: StubData,
}

impl Hand<'_> {
    /// Writes the monitor's copy to the shared one, with a batch of `calls` calls.
    ///
    /// # Errors
    /// `EINVAL` if the batch is too long, or if the copy has no frame to resume with.
    pub fn publish(&self, calls: u32) -> Result<()> {
        self.try_publish(calls).ok_or(Errno::EINVAL)
    }

    #[allow(clippy::arithmetic_side_effects)] // The layout has been validated: products and sums are inside it.
    fn try_publish(&self, calls: u32) -> Option<()> {
        let layout = &self.config.layout;
        if calls > layout.calls_max {
            return None;
        }
        let restart_wait: i16 = self.own.load(layout.restart_wait)?;
        if restart_wait == 0 {
            let frame =
                Frame::new(self.config, self.own.load(layout.si_offset)?, self.own.load(layout.mctx_offset)?)
                    .ok()?;
            let start = frame.start();
            self.own.copy_to(&self.shared, layout.sigstack + start, layout.sigstack_size - start)?;
        }
        self.own.copy_to(&self.shared, layout.calls, layout.call_size * calls)?;
        self.own.copy_to(&self.shared, layout.arch_data, layout.arch_size)?;
        self.shared.store(layout.calls_len, i32::try_from(calls).ok()?)?;
        self.shared.store(layout.restart_wait, restart_wait)?;
        self.shared.store(layout.err, 0i64)?;
        self.shared.store(layout.signal, 0i32)
    }

    /// Takes a report over. `calls`: how many calls the published batch has. `pid`: the stub's, for the log.
    ///
    /// # Errors
    /// `EPROTO`: the stub has broken the protocol and must be killed. `EINVAL` if a batch cannot be that
    /// long.
    pub fn collect(&self, calls: u32, pid: c_int) -> Result<()> {
        if calls > self.config.layout.calls_max {
            return Err(Errno::EINVAL);
        }
        self.try_collect(calls).map_err(|offence| broken(self.config, pid, &offence))
    }

    fn try_collect(&self, calls: u32) -> core::result::Result<(), Offence> {
        let layout = &self.config.layout;
        let batch_only = self.own.load::<i16>(layout.restart_wait).is_none_or(|wait| wait != 0);

        let signal: i32 = self.shared.load(layout.signal).unwrap_or(0);
        if !SIGNALS.contains(&signal) || (batch_only && signal != libc::SIGSYS) {
            return Err(Breach::Signal.number("signal", signal.into()));
        }
        let (err, done) = self.batch_result(calls)?;

        // If no guest has run, there is no new frame: the copy keeps its frame.
        if !batch_only && err == 0 {
            let load = |offset| self.shared.load::<u16>(offset).unwrap_or(0);
            let frame = Frame::new(self.config, load(layout.si_offset), load(layout.mctx_offset))?;
            let offence = Breach::Frame.number("context", frame.mcontext.into());
            let start = frame.start();
            let at = layout.sigstack.checked_add(start).ok_or(offence)?;
            let len = layout.sigstack_size.checked_sub(start).ok_or(offence)?;
            self.shared.copy_to(&self.own, at, len).ok_or(offence)?;
            frame.fpstate(self.config, &self.own)?;
            self.own.store(layout.si_offset, frame.siginfo).ok_or(offence)?;
            self.own.store(layout.mctx_offset, frame.mcontext).ok_or(offence)?;
        }
        let store = || {
            self.own.store(layout.signal, signal)?;
            self.own.store(layout.err, err)?;
            self.own.store(layout.calls_len, done)?;
            self.own.store(layout.restart_wait, 0i16)
        };
        store().ok_or(Breach::Error.number("error", err))
    }

    /// Returns the error that ended the batch, and how many calls were done before; 0 and 0 if there was no
    /// error.
    fn batch_result(&self, calls: u32) -> core::result::Result<(i64, i32), Offence> {
        let err: i64 = self.shared.load(self.config.layout.err).unwrap_or(1);
        if err == 0 {
            return Ok((0, 0));
        }
        if !(MAX_ERRNO.saturating_neg()..0).contains(&err) {
            return Err(Breach::Error.number("error", err));
        }
        let done: i32 = self.shared.load(self.config.layout.calls_len).unwrap_or(-1);
        if !u32::try_from(done).is_ok_and(|done| done < calls) {
            return Err(Breach::Error.number("calls done", done.into()));
        }
        Ok((err, done))
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
