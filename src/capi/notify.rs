// SPDX-License-Identifier: GPL-2.0-only
//! The C functions of notify mode.

use super::{MmId, monitor, ret};
use crate::memory::StubData;
use crate::notify::report::Hand;
use crate::notify::serve::Batch;
use crate::{Errno, Result, config, notify};
use core::ffi::{c_int, c_void};
use core::ptr::NonNull;
use std::os::fd::IntoRawFd;

/// Gets the listener of a stub that has installed its filter, as a new fd of the calling process.
///
/// The fd is close-on-exec, and in SYNC_WAKE_UP mode where the host has that. The stub keeps its own fd. It
/// cannot use it, as its filter allows no ioctl.
///
/// `pid`: the stub, a child that nobody reaps meanwhile (otherwise the pid could be reused). `identity`:
/// where to store a number that tells this process from all others, for seccomp_wd_enter() and
/// stubguard_kill_stub(). Any thread; does not block. See pidfd_getfd(2).
///
/// Returns
/// - the fd, which put_stub_listener() closes;
/// - -EINVAL for bad arguments; -ENODEV before stubguard_init();
/// - -ESRCH: there is no such process;
/// - -EBADF, -ENOTTY: the process has no listener (yet);
/// - -EPERM: the host does not let the caller get the fd;
/// - -EMFILE: the caller has too many fds.
///
/// On failure nothing stays open and `identity` is not written. Series: patch 1.
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

/// Answers one suspended call of a stub that the monitor has not asked for: one receive, one decision, one
/// answer. A denied call fails in the stub with EPERM.
///
/// `mm_id`: passed through to stub_mmap_allowed(). `listener`: from get_stub_listener(). `timeout_ms`: how
/// long to wait for a call, 0 to 1000 milliseconds; 0 does not wait. The monitor's thread of that stub. Two
/// threads must not serve one listener at a time.
///
/// Returns
/// - 1: a call was answered, or withdrawn before its answer;
/// - 0: no call came;
/// - -EINTR: a signal was handled. Handle other events, then call again;
/// - -ESRCH: the stub is dead. Without `STUBGUARD_F_RECEIVE_ENDS` this is only known once it was reaped: a
///   caller that reaps later asks waitid(2) with WNOWAIT;
/// - -EINVAL, -EBADF, -ENOTTY for bad arguments; -ENODEV before stubguard_init();
/// - any other error: a call may stay suspended for good, so end the stub.
///
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
/// Call this whenever the monitor wakes, and at least every tenth of a second while it waits. A call that the
/// monitor has not asked for stays suspended until then.
///
/// Arguments, thread and errors: as seccomp_notify_serve(). Returns the number of calls answered. Series:
/// patch 4.
#[unsafe(no_mangle)]
pub extern "C" fn seccomp_notify_drain(mm_id: *mut MmId, listener: c_int) -> c_int {
    ret::call(|| monitor(mm_id, listener)?.drain())
}

/// Answers the calls of a batch while the stub works on it.
///
/// `own`: the monitor's copy of the stub's data, which holds the batch (stubguard_publish()). `calls`: how
/// many calls the batch has. `pending`: how many of them are still to come. Both numbers must come from the
/// monitor's own memory.
///
/// It waits for each call a few hundredths of a second at most. So a stub that ends the batch early, or dies,
/// delays nobody. The caller then checks whether the stub has reported, and calls again for the rest if it
/// has not.
///
/// If the page table no longer grants a call of the batch (another thread of the guest process has unmapped
/// the page meanwhile), the call is not run, and *succeeds* in the stub. The page stays as it is until that
/// change is synchronised. All other denied calls fail with EPERM.
///
/// Other arguments, thread and errors: as seccomp_notify_serve(). Returns the number of calls answered, which
/// may be less than `pending`. Series: patches 2, 5.
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

/// Writes the monitor's copy of a stub's data to the memory that it shares with the stub.
///
/// It writes the batch, the signal frame (unless `restart_wait` says that the stub does not resume the
/// guest), and the architecture data. It does not write the futex: the caller hands over by that afterwards.
///
/// `shared`: the stub data that the stub sees. `own`: the monitor's copy, in the same layout; the monitor
/// works on this copy only. `calls`: how many calls the batch has. The stub waits meanwhile. If a hijacked
/// stub does not wait, it harms only its own guest. The monitor's thread of that stub.
///
/// Returns 0; -EINVAL for NULL, the same pointer twice, a negative or too large number of calls, or a copy
/// that has no frame; -ENODEV before stubguard_init().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stubguard_publish(shared: *mut c_void, own: *mut c_void, calls: c_int) -> c_int {
    ret::call(|| {
        let calls = u32::try_from(calls).map_err(|_| Errno::EINVAL)?;
        // SAFETY: the caller's promise.
        unsafe { hand(shared, own) }?.publish(calls)
    })
}

/// Takes a stub's report over into the monitor's copy.
///
/// It takes `signal`, `err`, how many calls were done (if that is not 0), and after a resume the signal
/// frame. The guest may have written anything there. So each value is loaded once, checked, and only then
/// stored in the copy.
///
/// `calls`: as published. `pid`: the stub's, for the log line. Other arguments and thread: as
/// stubguard_publish().
///
/// Returns 0; -EPROTO if the stub has broken the protocol (a log line has said how): kill it
/// (stubguard_kill_stub()), and do not use the copy's frame; -EINVAL for bad arguments; -ENODEV before
/// stubguard_init().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stubguard_collect(
    shared: *mut c_void,
    own: *mut c_void,
    calls: c_int,
    pid: c_int,
) -> c_int {
    ret::call(|| {
        let calls = u32::try_from(calls).map_err(|_| Errno::EINVAL)?;
        // SAFETY: the caller's promise.
        unsafe { hand(shared, own) }?.collect(calls, pid)
    })
}
