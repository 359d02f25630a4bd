// SPDX-License-Identifier: GPL-2.0-only
//! The host kernel's interfaces, thin and safe. Nothing is decided here.
//!
//! Each call goes through a C library function of its name (`ioctl`, `poll`, `syscall`, ...). So a test can
//! define such a function, and make the host answer whatever it may answer.
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

/// Converts what a raw system call returned to a result.
fn check(value: c_long) -> Result<c_long> {
    if value < 0 { Err(Errno::last()) } else { Ok(value) }
}

/// How often a call is repeated if a signal interrupts it. The listener's ioctls are such calls: they take
/// the filter's lock. The signal has been handled before the call is repeated.
const TRIES: u32 = 100;

/// Repeats a call that signals interrupt. The call must not wait for anything that may never come.
fn insist<T>(call: impl Fn() -> Result<T>) -> Result<T> {
    for _ in 1..TRIES {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
    call()
}
