// SPDX-License-Identifier: GPL-2.0-only
//! Receives a notification from a stub's listener, and answers one.
//!
//! What the host may return, and what is done about it:
//!
//! | call | answer            | meaning                               | what is done               |
//! |------|-------------------|---------------------------------------|----------------------------|
//! | poll | EINTR             | a signal was handled                  | to the caller              |
//! | poll | POLLERR           | a signal while the listener was busy  | EINTR, to the caller       |
//! | poll | POLLHUP           | the stub is dead (and reaped, if the host is older than 6.11) | [`Received::Gone`] |
//! | RECV | EINTR             | a signal, or the watchdog's kick      | to the caller              |
//! | RECV | ENOENT            | withdrawn, or the stub is dead        | counted; poll again: POLLHUP tells |
//! | RECV | EINVAL and others | a bug, or not a listener              | to the caller              |
//! | SEND | ENOENT            | withdrawn, or the stub is dead        | to the caller              |
//! | SEND | EINTR             | not answered yet                      | again, a few times; EIO    |
//! | SEND | EINPROGRESS       | it has its answer: a bug              | to the caller              |

use crate::host::seccomp::{self, Answer, Notification, Pending};
use crate::{Errno, Result, counters};
use std::os::fd::BorrowedFd;

/// No host that we know interrupts SEND. If that changes, do not spin.
const SEND_TRIES: u32 = 8;

/// What a receive has found.
#[derive(Clone, Copy, Debug)]
pub enum Received {
    /// A suspended call. It must be answered.
    Call(Notification),
    /// No call came in time, or the host has withdrawn it. The stub may be dead: before Linux 6.11 the
    /// listener does not tell until the stub is reaped.
    Nothing,
    /// The stub is dead.
    Gone,
}

/// Receives a call. Waits for it `timeout_ms` milliseconds at most. With `None` it waits until there is a
/// call or the stub is dead; only hosts since Linux 6.11 report the death then.
///
/// # Errors
/// `EINTR`; any other error is a bug.
pub fn receive(listener: BorrowedFd<'_>, timeout_ms: Option<u16>) -> Result<Received> {
    if let Some(timeout_ms) = timeout_ms {
        match seccomp::wait(listener, timeout_ms)? {
            Pending::Nothing => return Ok(Received::Nothing),
            Pending::Gone => return Ok(Received::Gone),
            Pending::Notification => {}
        }
    }
    match seccomp::receive(listener) {
        Err(Errno::ENOENT) => {
            counters::RESYNCHRONISED.bump();
            Ok(match seccomp::wait(listener, 0)? {
                Pending::Gone => Received::Gone,
                Pending::Nothing | Pending::Notification => Received::Nothing,
            })
        }
        received => received.map(Received::Call),
    }
}

/// Answers a call that was received.
///
/// # Errors
/// `ENOENT` if the call is gone: the host has withdrawn it, or the stub is dead. `EIO` if the host is
/// interrupted each time. Any other error is a bug.
pub fn send(listener: BorrowedFd<'_>, id: u64, answer: Answer) -> Result<()> {
    for _ in 0..SEND_TRIES {
        match seccomp::send(listener, id, answer) {
            Err(Errno::EINTR) => {}
            Ok(()) => {
                counters::SERVED.bump();
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    Err(Errno::EIO)
}
