// SPDX-License-Identifier: GPL-2.0-only
//! The seccomp filters of a stub: which system calls it can make at all. Each mode has its rules:
//! [`window::filter`](crate::window::filter), [`notify::filter`](crate::notify::filter).

use crate::abi::{STUBGUARD_F_WAIT_KILLABLE, STUBGUARD_WINDOW};
use crate::bpf::Program;
use crate::config::Config;
use crate::{Result, notify, window};
use core::ffi::c_ulong;
use libc::sock_filter;

/// Writes the filter that `config`'s stubs install on a host with these `STUBGUARD_F_*`; returns its
/// length in instructions.
///
/// # Errors
/// `ENOSPC`.
pub fn build(config: &Config, features: u32, out: &mut [sock_filter]) -> Result<usize> {
    let mut program = Program { out, len: 0 };
    if config.has(STUBGUARD_WINDOW) {
        window::filter::build(config, features, &mut program)?;
    } else {
        notify::filter::build(config, &mut program)?;
    }
    program.kill()
}

/// The flags by which a stub's listener is made.
///
/// Not WAIT_KILLABLE_RECV for stubs that only park: what interrupts a park has it come again, the same. But a wait that
/// nothing but death ends cannot be frozen, nor can a host suspend. A guest's call, though, must not be made twice.
#[must_use]
pub fn listener_flags(config: &Config, features: u32) -> c_ulong {
    let wanted = !config.has(STUBGUARD_WINDOW) || config.notifies_calls();
    let killable = wanted && features & STUBGUARD_F_WAIT_KILLABLE != 0;
    libc::SECCOMP_FILTER_FLAG_NEW_LISTENER
        | if killable { libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV } else { 0 }
}

/// The flags for the filter that a stub installs as its last step. In window mode its listener has been made before.
#[must_use]
pub fn flags(config: &Config, features: u32) -> c_ulong {
    if config.has(STUBGUARD_WINDOW) { 0 } else { listener_flags(config, features) }
}

/// Writes the filter that makes a parked stub's listener; returns its length in instructions.
///
/// # Errors
/// `ENOSPC`.
pub fn build_listener(config: &Config, out: &mut [sock_filter]) -> Result<usize> {
    let mut program = Program { out, len: 0 };
    window::filter::build_listener(config, &mut program)?;
    Ok(program.len)
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
