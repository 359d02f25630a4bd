// SPDX-License-Identifier: GPL-2.0-only
//! The one architecture that there is: x86-64.

use crate::config::Config;
use core::ffi::c_int;

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", target_pointer_width = "64")))]
compile_error!("stubguard knows the stub of x86_64 only");

/// `AUDIT_ARCH_X86_64`.
///
/// cbindgen:ignore
pub const ARCH: u32 = 0xc000_003e;
/// `__NR_mmap`.
///
/// cbindgen:ignore
pub const MMAP_NR: c_int = libc::SYS_mmap as c_int;
/// `__NR_munmap`.
///
/// cbindgen:ignore
pub const MUNMAP_NR: c_int = libc::SYS_munmap as c_int;

/// Whether an instruction address is in the stub's code page.
#[must_use]
pub fn is_site(config: &Config, ip: u64) -> bool {
    ip.checked_sub(config.stub_start).is_some_and(|offset| offset < u64::from(config.page_size))
}
