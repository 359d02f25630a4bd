// SPDX-License-Identifier: GPL-2.0-only
//! How much a process may map: getrlimit(2), `RLIMIT_AS`.

use super::check;
use crate::Result;
use core::ffi::c_int;

/// The C library has a structure of that name, and fills it by another path where `long` is shorter.
#[repr(C)]
struct Limit {
    soft: u64,
    hard: u64,
}

static INFINITE: Limit = Limit { soft: libc::RLIM_INFINITY, hard: libc::RLIM_INFINITY };

fn prlimit(pid: c_int, new: *const Limit, old: *mut Limit) -> Result<()> {
    // SAFETY: both are NULL, or live until the call has ended.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, pid, libc::RLIMIT_AS, new, old) }).map(|_| ())
}

/// Lets a process map what it likes.
///
/// # Errors
/// As prlimit(2): `EPERM` if there is a bound that we may not lift, `ESRCH`.
pub fn lift(pid: c_int) -> Result<()> {
    prlimit(pid, &raw const INFINITE, core::ptr::null_mut())
}

/// Whether we, and so our children, have no limit now, and may lift one.
#[must_use]
pub fn is_ours() -> bool {
    let mut now = Limit { soft: 0, hard: 0 };
    // SAFETY: takes nothing.
    let own = unsafe { libc::getpid() };
    prlimit(own, core::ptr::null(), &raw mut now).is_ok()
        && now.soft == INFINITE.soft
        && now.hard == INFINITE.hard
        && lift(own).is_ok()
}
