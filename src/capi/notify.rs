// SPDX-License-Identifier: GPL-2.0-only
//! Notifications.

use super::{MmId, borrow, ret, stub_mmap_allowed};
use crate::monitor::notification::{Batch, Monitor};
use crate::stub::memory::StubData;
use crate::{Errno, Result, config};
use core::ffi::{c_int, c_void};
use core::ptr::NonNull;

/// A monitor that asks the C hook. A caller's `listener` stays open during the call.
pub(super) fn monitor<'a>(
    mm_id: *mut MmId,
    listener: c_int,
) -> Result<Monitor<'a, impl FnMut(u64, u64, u64) -> bool>> {
    if mm_id.is_null() {
        return Err(Errno::EINVAL);
    }
    Ok(Monitor {
        config: config::get()?,
        listener: borrow(listener)?,
        // SAFETY: `mm_id` is the caller's, for the caller's hook.
        granted: move |addr, prot, offset| unsafe { stub_mmap_allowed(mm_id, addr, prot, offset) } != 0,
    })
}

/// Answers one suspended call of a stub that nobody has asked for: one receive, one decision, one
/// answer.
///
/// `mm_id`: passed through to stub_mmap_allowed(). `listener`: from get_stub_listener().
/// `timeout_ms`: how long to wait for a call, 0 to 1000; 0 does not wait. The monitor's thread of
/// that stub; two threads must not serve one listener at a time.
///
/// Returns 1 if a call was answered, or withdrawn before it was; 0 if none came; -EINTR if a signal was handled (look around,
/// call again); -ESRCH if the stub is dead (without STUBGUARD_F_RECEIVE_ENDS: if it has been reaped as well, so a caller
/// that cannot have it reaped asks waitid(2) with WNOWAIT); -EINVAL, -EBADF, -ENOTTY for bad arguments; -ENODEV
/// before stubguard_init(). With any other error a call may stay suspended for good: end the stub. A denied call is answered
/// too: it fails in the stub with EPERM.
/// Series: patches 2, 3, 5.
#[unsafe(no_mangle)]
pub extern "C" fn seccomp_notify_serve(mm_id: *mut MmId, listener: c_int, timeout_ms: c_int) -> c_int {
    ret::call(|| {
        let timeout =
            u16::try_from(timeout_ms).ok().filter(|timeout| *timeout <= 1000).ok_or(Errno::EINVAL)?;
        monitor(mm_id, listener)?.serve(timeout, None)
    })
}

/// Answers the calls that are suspended now, a few at most; does not wait.
///
/// To be called whenever the monitor wakes, and at least every tenth of a second while it waits:
/// a call that nobody has asked for stays suspended until then.
///
/// Arguments, thread and errors as seccomp_notify_serve(). Returns the number of calls answered.
/// Series: patch 4.
#[unsafe(no_mangle)]
pub extern "C" fn seccomp_notify_drain(mm_id: *mut MmId, listener: c_int) -> c_int {
    ret::call(|| monitor(mm_id, listener)?.drain())
}

/// Answers the calls of a batch that the stub works on.
///
/// `own`: the monitor's copy of the stub's data, which holds the batch (stubguard_publish()).
/// `calls`: how many it has. `pending`: how many of them are still to come; both from the monitor's
/// own memory. Waits for each a few hundredths of a second at most, so a stub that ends the batch
/// early, or dies, holds nobody up: look whether it has reported, and call again for the rest if not.
///
/// A call of the batch that the page table does not grant any more, as another thread of the guest
/// process has unmapped the page meanwhile, is not run and *succeeds* in the stub: the page stays as
/// it is until that change is synchronised in its turn. All other denials fail with EPERM.
///
/// Other arguments, thread and errors as seccomp_notify_serve(). Returns the number of calls
/// answered, which may be less than `pending`. Series: patches 2, 5.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn seccomp_serve_stub_syscalls(
    mm_id: *mut MmId,
    listener: c_int,
    own: *mut c_void,
    calls: c_int,
    pending: c_int,
) -> c_int {
    ret::call(|| {
        let mut monitor = monitor(mm_id, listener)?;
        let layout = &monitor.config.layout;
        let count = |value| u32::try_from(value).ok().filter(|value| *value <= layout.calls_max);
        let (Some(own), Some(calls), Some(pending)) = (NonNull::new(own), count(calls), count(pending))
        else {
            return Err(Errno::EINVAL);
        };
        // SAFETY: the caller's stub data, of the configured size.
        let own = unsafe { StubData::new(own, layout.size) };
        monitor.batch(&Batch { own, calls }, pending)
    })
}
