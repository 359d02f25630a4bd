// SPDX-License-Identifier: GPL-2.0-only
//! A stub that breaks the protocol: what it may report at all, and how a breach is told.

use crate::abi::STUBGUARD_LOG_WARNING;
use crate::config::Config;
use crate::log::Line;
use crate::{Errno, counters};
use core::ffi::c_int;

/// What is wrong with a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// A signal that no stub reports.
    Signal,
    /// An error that no call of the batch can have had.
    Error,
    /// A signal frame that is not on the signal stack.
    Frame,
    /// Floating-point state that is not where the host puts it, or not of its size.
    FpState,
    /// A notification that no parked stub makes.
    Call,
    /// A hand-over that the monitor cannot have caused: in the middle of a batch, a result of none.
    Park,
}

impl Breach {
    /// What the log calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Error => "error or batch length",
            Self::Frame => "signal frame",
            Self::FpState => "floating-point state",
            Self::Call => "system call",
            Self::Park => "park",
        }
    }
}

/// `MAX_ERRNO` of the host.
///
/// cbindgen:ignore
pub const MAX_ERRNO: i64 = 4095;
/// What the stub has handlers for.
///
/// cbindgen:ignore
pub const SIGNALS: [c_int; 7] =
    [libc::SIGSEGV, libc::SIGSYS, libc::SIGALRM, libc::SIGTRAP, libc::SIGILL, libc::SIGFPE, libc::SIGBUS];

/// Counts and logs a breach of the protocol.
#[inline(never)]
pub fn broken(config: &Config, breach: Breach) -> Errno {
    counters::BREACHES.bump();
    Line::new()
        .str("a stub broke the protocol (")
        .str(breach.name())
        .str(")")
        .send(config.log, STUBGUARD_LOG_WARNING);
    Errno::EPROTO
}
