// SPDX-License-Identifier: GPL-2.0-only
//! Notify mode.

use super::{MmId, monitor, ret};
use crate::memory::StubData;
use crate::notify::report::Hand;
use crate::notify::serve::Batch;
use crate::{Errno, Result, config, notify};
use core::ffi::{c_int, c_void};
use core::ptr::NonNull;
use std::os::fd::IntoRawFd;

/// Gets the listener of a stub that has installed its filter, as a new fd of the calling process:
/// close-on-exec, in SYNC_WAKE_UP mode where the host has that. The stub keeps its own, which is of
/// no use to it: its filter has no ioctl.
///
/// `pid`: the stub, a child that cannot be reaped meanwhile (or the pid could have become another
/// process's). `identity`: where to store what tells this process from all others, for
/// seccomp_wd_enter() and stubguard_kill_stub(). Any thread; does not block.
///
/// Returns the fd, to be closed with put_stub_listener(); -EINVAL; -ENODEV before
/// stubguard_init(); -ESRCH if there is no such process; -EBADF or -ENOTTY if it has no listener
/// (yet); -EPERM if the host lets nobody look into it; -EMFILE. On failure nothing stays open and
/// `identity` is not written. Series: patch 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn get_stub_listener(pid: c_int, identity: *mut u64) -> c_int {
    ret::call(|| {
        config::get()?;
        if pid <= 0 || identity.is_null() || !identity.is_aligned() {
            return Err(Errno::EINVAL);
        }
        let (listener, number) = notify::listener(pid)?;
        // SAFETY: the caller's, not NULL, aligned.
        unsafe { identity.write(number) };
        Ok(listener.into_raw_fd())
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
