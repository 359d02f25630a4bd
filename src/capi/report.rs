// SPDX-License-Identifier: GPL-2.0-only
//! The two copies of a stub's data.

use super::ret;
use crate::monitor::report::Hand;
use crate::stub::memory::StubData;
use crate::{Errno, Result, config};
use core::ffi::{c_int, c_void};
use core::ptr::NonNull;

/// # Safety
/// Both pointers are NULL, or point to stub data of the configured size.
unsafe fn hand<'a>(shared: *mut c_void, own: *mut c_void) -> Result<Hand<'a>> {
    let config = config::get()?;
    let copy = |pointer| {
        let base =
            NonNull::new(pointer).filter(|base| base.cast::<u64>().is_aligned()).ok_or(Errno::EINVAL)?;
        // SAFETY: the caller's promise.
        Ok(unsafe { StubData::new(base, config.layout.size) })
    };
    if shared == own {
        return Err(Errno::EINVAL);
    }
    Ok(Hand { config, shared: copy(shared)?, own: copy(own)? })
}

/// Writes the monitor's copy of a stub's data to the memory that the stub shares: batch, signal
/// frame (unless `restart_wait` says that the stub is not to resume the guest), architecture data;
/// all but the futex, by which the caller then hands over.
///
/// `shared`: the stub data as the stub has it. `own`: the monitor's copy, of the same layout, on
/// which alone it works. `calls`: how many calls the batch has. The stub waits meanwhile; should it
/// not, as a hijacked stub, it harms nobody but its guest. The monitor's thread of that stub.
///
/// Returns 0; -EINVAL for NULL, the same pointer twice, a negative or too large number of calls, or
/// a copy that has no frame; -ENODEV before stubguard_init().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stubguard_publish(shared: *mut c_void, own: *mut c_void, calls: c_int) -> c_int {
    ret::call(|| {
        let calls = u32::try_from(calls).map_err(|_| Errno::EINVAL)?;
        // SAFETY: the caller's promise.
        unsafe { hand(shared, own) }?.publish(calls)
    })
}

/// Takes a stub's report over into the monitor's copy: `signal`, `err`, how many calls were done if
/// that is not 0, and after a resume the signal frame. The guest may have written anything: each
/// value is loaded once, checked, and stored in the copy only then.
///
/// `calls`: as published. Other arguments and thread as stubguard_publish().
///
/// Returns 0; -EPROTO if the stub has broken the protocol: it must be killed
/// (stubguard_kill_stub()), a line has said why, and the copy's frame is not to be used; -EINVAL;
/// -ENODEV.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stubguard_collect(shared: *mut c_void, own: *mut c_void, calls: c_int) -> c_int {
    ret::call(|| {
        let calls = u32::try_from(calls).map_err(|_| Errno::EINVAL)?;
        // SAFETY: the caller's promise.
        unsafe { hand(shared, own) }?.collect(calls)
    })
}
