// SPDX-License-Identifier: GPL-2.0-only
//! The seccomp filters of a stub: which system calls it can make at all. Each mode has its own rules:
//! [`window::filter`], [`notify::filter`].

use crate::abi::{STUBGUARD_F_WAIT_KILLABLE, STUBGUARD_WINDOW};
use crate::bpf::Program;
use crate::config::Config;
use crate::{Result, notify, window};
use core::ffi::c_ulong;
use libc::sock_filter;

/// Writes the filter that a stub installs as its last step; returns its length in instructions. `features`:
/// the host's `STUBGUARD_F_*`.
///
/// # Errors
/// `ENOSPC` if `out` is too small.
pub fn build(config: &Config, features: u32, out: &mut [sock_filter]) -> Result<usize> {
    let mut program = Program { out, len: 0 };
    if config.has(STUBGUARD_WINDOW) {
        window::filter::build(config, features, &mut program)?;
    } else {
        notify::filter::build(config, &mut program)?;
    }
    program.kill()
}

/// Returns the flags by which a stub's listener is made.
///
/// With WAIT_KILLABLE_RECV only death ends a stub's wait: the stub cannot be frozen, and the host cannot
/// suspend. A park does not need the flag, as an interrupted park comes again unchanged. A guest's call needs
/// it, as the call must not be made twice.
#[must_use]
pub fn listener_flags(config: &Config, features: u32) -> c_ulong {
    let wanted = !config.has(STUBGUARD_WINDOW) || config.notifies_calls();
    let killable = wanted && features & STUBGUARD_F_WAIT_KILLABLE != 0;
    libc::SECCOMP_FILTER_FLAG_NEW_LISTENER
        | if killable { libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV } else { 0 }
}

/// Returns the flags for the filter that a stub installs as its last step. In window mode the listener exists
/// already.
#[must_use]
pub fn flags(config: &Config, features: u32) -> c_ulong {
    if config.has(STUBGUARD_WINDOW) { 0 } else { listener_flags(config, features) }
}

/// Writes the filter that makes the listener of a stub of window mode; returns its length in instructions.
///
/// # Errors
/// `ENOSPC` if `out` is too small.
pub fn build_listener(config: &Config, out: &mut [sock_filter]) -> Result<usize> {
    let mut program = Program { out, len: 0 };
    window::filter::build_listener(config, &mut program)?;
    Ok(program.len)
}

#[cfg(test)]
#[cfg(not(loom))]
pub(crate) mod tests;
