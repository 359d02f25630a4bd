// SPDX-License-Identifier: GPL-2.0-only
//! The C functions. Each converts its arguments to the types of the modules below, and the result to a return
//! value. Nothing is decided here.
//!
//! `ABOUT` in cbindgen.toml says what holds for all of them. It is the head of the generated header.

#![allow(unsafe_code)]
// The documentation of each function is its contract, written for the C header.
#![allow(clippy::missing_safety_doc)]

pub mod library;
pub mod notify;
pub mod ret;
pub mod sized;
pub mod watchdog;
pub mod window;

use crate::monitor::Monitor;
use crate::{Errno, Result, config};
use core::ffi::{c_int, c_ulong};
use std::os::fd::BorrowedFd;

/// UML's `struct mm_id`. The hook finds the guest's page table by it.
#[repr(C)]
pub struct MmId {
    _opaque: [u8; 0],
}

#[cfg(not(test))]
unsafe extern "C" {
    /// Says whether the guest's page table grants a page. The caller provides this function, not the library.
    ///
    /// The library asks once for each page of each mmap call of a stub. It asks on the thread that called
    /// seccomp_notify_serve(), seccomp_notify_drain(), seccomp_serve_stub_syscalls(), or in window mode
    /// stubguard_stub_resume().
    ///
    /// `mm_id`: as given to that function. `addr`: the page's address in the guest. `prot`: `PROT_READ |
    /// PROT_WRITE | PROT_EXEC`, or less. `offset`: where the page would be in the memory file, in bytes.
    ///
    /// Returns 0 for no. Any other value means: the page is present, its frame is at that offset, and each
    /// right in `prot` is granted. It must not block, and must not call the library. Series: patch 3.
    pub fn stub_mmap_allowed(mm_id: *mut MmId, addr: c_ulong, prot: c_ulong, offset: c_ulong) -> c_int;
}

/// In tests the page table grants everything.
#[cfg(test)]
#[allow(clippy::missing_safety_doc, missing_docs)]
#[must_use]
pub unsafe fn stub_mmap_allowed(_: *mut MmId, _: c_ulong, _: c_ulong, _: c_ulong) -> c_int {
    1
}

/// Borrows an fd of the caller for the time of a call.
fn borrow<'a>(fd: c_int) -> Result<BorrowedFd<'a>> {
    if fd < 0 {
        return Err(Errno::EBADF);
    }
    // SAFETY: not -1. Whether it is open the host will say; it is the caller's, and is not closed
    // meanwhile (documented).
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// Makes a monitor that asks the C hook. The caller keeps `listener` open during the call.
fn monitor<'a>(mm_id: *mut MmId, listener: c_int) -> Result<Monitor<'a, impl FnMut(u64, u64, u64) -> bool>> {
    if mm_id.is_null() {
        return Err(Errno::EINVAL);
    }
    Ok(Monitor {
        config: config::get()?,
        listener: borrow(listener)?,
        // SAFETY: the hook is the caller's, and gets the `mm_id` that the caller has given for it.
        granted: move |addr, prot, offset| unsafe { stub_mmap_allowed(mm_id, addr, prot, offset) } != 0,
    })
}
