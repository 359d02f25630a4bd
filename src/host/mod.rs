// SPDX-License-Identifier: GPL-2.0-only
//! The host kernel's interfaces, thin and safe. Nothing is decided here.
//!
//! Everything goes through a C library function of that name (`ioctl`, `poll`, `syscall`, ...), so
//! a test that defines one of them can make the host answer whatever it may answer.
//!
//! `unsafe` is allowed in this folder, in `capi`, and where a comment says so.

#![allow(unsafe_code)]

pub mod pidfd;
pub mod probe;
pub mod procfs;
pub mod rlimit;
pub mod seccomp;
pub mod thread;

use crate::{Errno, Result};
use core::ffi::c_long;

/// What a raw system call returned, as a result.
fn check(value: c_long) -> Result<c_long> {
    if value < 0 { Err(Errno::last()) } else { Ok(value) }
}

/// How often a call is made that a signal may interrupt, the listener's ioctls for example, which take
/// the filter's lock. The signal has been handled when it is made again.
const TRIES: u32 = 100;

/// A call that does not wait for anything that may never come, and is not to fail because of signals.
fn insist<T>(call: impl Fn() -> Result<T>) -> Result<T> {
    for _ in 1..TRIES {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
    call()
}
