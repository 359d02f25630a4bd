// SPDX-License-Identifier: GPL-2.0-only
//! Notify mode, which implements the published series. UML's own stub code runs, and each memory call of a
//! stub is a notification. Nothing in this folder knows of window mode.

pub mod filter;
pub mod report;
pub mod serve;

use crate::abi::STUBGUARD_LISTENER_FD;
use crate::host::{pidfd, seccomp};
use crate::{Errno, Result};
use core::ffi::c_int;
use std::os::fd::{AsFd, OwnedFd};

/// Gets the listener of a stub that has installed its filter, and what tells its process from all others.
///
/// # Errors
/// `ESRCH` if there is no such process; `ENOTTY` for what is no listener; others as pidfd_open(2), pidfd_getfd(2).
pub fn listener(pid: c_int) -> Result<(OwnedFd, u64)> {
    let process = pidfd::open(pid)?;
    let identity = pidfd::identity(&process, pid)?;
    let listener = pidfd::getfd(process.as_fd(), STUBGUARD_LISTENER_FD)?;
    if !seccomp::is_listener(listener.as_fd()) {
        return Err(Errno::ENOTTY);
    }
    // An older host: slower, not weaker.
    let _ = seccomp::set_sync_wake_up(listener.as_fd());
    Ok((listener, identity))
}
