// SPDX-License-Identifier: GPL-2.0-only
//! How much a process may map: getrlimit(2), `RLIMIT_AS`.

use super::check;
use crate::{Errno, Result};
use core::ffi::c_int;
use core::sync::atomic::{AtomicU64, Ordering};

/// The C library has a structure of that name, and fills it by another path where `long` is shorter.
#[repr(C)]
#[derive(Clone, Copy)]
struct Limit {
    soft: u64,
    hard: u64,
}

/// This process's limit, which stubs inherit.
static SOFT: AtomicU64 = AtomicU64::new(libc::RLIM_INFINITY);
static HARD: AtomicU64 = AtomicU64::new(libc::RLIM_INFINITY);

fn prlimit(pid: c_int, new: *const Limit, old: *mut Limit) -> Result<()> {
    // SAFETY: both are NULL, or live until the call has ended.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, pid, libc::RLIMIT_AS, new, old) }).map(|_| ())
}

fn get(pid: c_int) -> Result<Limit> {
    const NONE: Limit = Limit { soft: 1, hard: 0 };
    let mut limit = NONE;
    prlimit(pid, core::ptr::null(), &raw mut limit)?;
    if limit.soft > limit.hard { Err(Errno::EIO) } else { Ok(limit) }
}

fn set(pid: c_int, limit: Limit) -> Result<()> {
    prlimit(pid, &raw const limit, core::ptr::null_mut())
}

/// Reads this process's limit. As a try, sets it to a little less, and back.
///
/// # Errors
/// As prlimit(2). `EIO` if the host says that it has read or set the limit, and has not: a filter may fake success.
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

/// The bound above which no stub can raise its limit.
#[must_use]
pub fn hard() -> u64 {
    HARD.load(Ordering::Relaxed)
}

/// Gives a stub the limit that it has inherited, in place of 0.
///
/// # Errors
/// As prlimit(2): `EPERM`, `ESRCH`.
pub fn lift(pid: c_int) -> Result<()> {
    set(pid, Limit { soft: SOFT.load(Ordering::Relaxed), hard: hard() })
}
