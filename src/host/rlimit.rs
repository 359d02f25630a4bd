// SPDX-License-Identifier: GPL-2.0-only
//! How much memory a process may map: `RLIMIT_AS` of prlimit(2).

use super::check;
use crate::{Errno, Result};
use core::ffi::c_int;
use core::sync::atomic::{AtomicU64, Ordering};

/// `struct rlimit64` of the host. The C library has a structure of that name, too, and fills it by another
/// path where `long` is shorter.
#[repr(C)]
#[derive(Clone, Copy)]
struct Limit {
    soft: u64,
    hard: u64,
}

/// The limit of this process, which stubs inherit.
static SOFT: AtomicU64 = AtomicU64::new(libc::RLIM_INFINITY);
static HARD: AtomicU64 = AtomicU64::new(libc::RLIM_INFINITY);

fn prlimit(pid: c_int, new: *const Limit, old: *mut Limit) -> Result<()> {
    // SAFETY: both are NULL, or live until the call has ended.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, pid, libc::RLIMIT_AS, new, old) }).map(|_| ())
}

fn get(pid: c_int) -> Result<Limit> {
    // No host has such a limit. If it is still there, the host has reported success and read nothing.
    const NONE: Limit = Limit { soft: 1, hard: 0 };
    let mut limit = NONE;
    prlimit(pid, core::ptr::null(), &raw mut limit)?;
    if limit.soft > limit.hard { Err(Errno::EIO) } else { Ok(limit) }
}

fn set(pid: c_int, limit: Limit) -> Result<()> {
    prlimit(pid, &raw const limit, core::ptr::null_mut())
}

/// Reads the limit of this process. Tries to set it, too: to a little less, and back.
///
/// # Errors
/// As prlimit(2). `EIO` if the host reports success but has not read or set the limit: an outer filter may
/// fake that.
pub fn learn() -> Result<()> {
    // SAFETY: takes nothing.
    let own = unsafe { libc::getpid() };
    let now = get(own)?;
    let less = Limit { soft: now.soft.saturating_sub(1), ..now };
    set(own, less)?;
    let found = get(own);
    set(own, now)?;
    if found?.soft != less.soft {
        return Err(Errno::EIO);
    }
    SOFT.store(now.soft, Ordering::Relaxed);
    HARD.store(now.hard, Ordering::Relaxed);
    Ok(())
}

/// Returns the hard limit: no stub can raise its own limit above it.
#[must_use]
pub fn hard() -> u64 {
    HARD.load(Ordering::Relaxed)
}

/// Sets a stub's limit back from 0 to the one that it has inherited.
///
/// # Errors
/// As prlimit(2): `EPERM`, `ESRCH`.
pub fn lift(pid: c_int) -> Result<()> {
    set(pid, Limit { soft: SOFT.load(Ordering::Relaxed), hard: hard() })
}
