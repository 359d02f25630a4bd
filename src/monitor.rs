// SPDX-License-Identifier: GPL-2.0-only
//! A monitor's view of one stub, as both modes use it.

use crate::config::Config;
use std::os::fd::BorrowedFd;

/// A listener, and what decides about its calls.
pub struct Monitor<'a, Hook> {
    /// The configuration.
    pub config: &'a Config,
    /// The stub's listener.
    pub listener: BorrowedFd<'a>,
    /// `granted(addr, prot, offset)`: asks the guest's page table.
    pub granted: Hook,
}
