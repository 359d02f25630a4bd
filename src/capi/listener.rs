// SPDX-License-Identifier: GPL-2.0-only
//! A stub's filter, and the life of its listener.

use super::{borrow, ret};
use crate::config::STUBGUARD_WINDOW;
use crate::host::probe::{STUBGUARD_F_WAIT_KILLABLE, STUBGUARD_LISTENER_FD};
use crate::host::{pidfd, seccomp};
use crate::stub::filter;
use crate::{Errno, config, counters};
use core::ffi::{c_int, c_ulong};
use std::os::fd::{AsFd, IntoRawFd};

/// Writes the seccomp filter that a stub must install, with the flags stubguard_filter_flags(), as
/// its last step before it runs the guest.
///
/// `out`: room for `capacity` instructions; `STUBGUARD_FILTER_MAX` are always enough. The stub must
/// have closed all fds but fd 0 before: in notify mode its listener becomes fd 1, in window mode the
/// numbers from 1 on are the memory fds'. Any thread.
///
/// Returns the number of instructions; -ENODEV before stubguard_init(); -EINVAL for NULL; -ENOSPC.
/// Series: patches 1, 2, 5.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stubguard_filter(out: *mut libc::sock_filter, capacity: usize) -> c_int {
    ret::call(|| {
        let config = config::get()?;
        if out.is_null() || !out.is_aligned() {
            return Err(Errno::EINVAL);
        }
        let mut program =
            [const { libc::sock_filter { code: 0, jt: 0, jf: 0, k: 0 } }; filter::STUBGUARD_FILTER_MAX];
        let room = program.get_mut(..capacity.min(filter::STUBGUARD_FILTER_MAX)).unwrap_or_default();
        let len = filter::build(config, super::library::stubguard_features(), room)?;
        // SAFETY: the caller has room for `capacity` instructions, and `len` is not more.
        unsafe { out.copy_from_nonoverlapping(program.as_ptr(), len) };
        c_int::try_from(len).map_err(|_| Errno::EIO)
    })
}

/// The flags for seccomp(SECCOMP_SET_MODE_FILTER) in a stub. In notify mode NEW_LISTENER, and
/// WAIT_KILLABLE_RECV where the host has it: seccomp(2) then returns the stub's listener, or fails
/// with EBUSY in a sandbox that has one. In window mode 0: see stubguard_listen().
///
/// Any thread, after stubguard_init().
#[unsafe(no_mangle)]
pub extern "C" fn stubguard_filter_flags() -> u32 {
    if config::get().is_ok_and(|config| config.has(STUBGUARD_WINDOW)) { 0 } else { listener_flags() as u32 }
}

/// Not WAIT_KILLABLE_RECV for stubs that only park: what interrupts a park has it come again, the same. But a wait that
/// nothing but death ends cannot be frozen, nor can a host suspend. A guest's call, though, must not be made twice.
pub(super) fn listener_flags() -> c_ulong {
    let wanted = config::get().is_ok_and(|config| !config.has(STUBGUARD_WINDOW) || config.notifies_calls());
    let killable = wanted && super::library::stubguard_features() & STUBGUARD_F_WAIT_KILLABLE != 0;
    libc::SECCOMP_FILTER_FLAG_NEW_LISTENER
        | if killable { libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV } else { 0 }
}

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
        let process = pidfd::open(pid)?;
        let number = pidfd::identity(&process, pid)?;
        let listener = pidfd::getfd(process.as_fd(), STUBGUARD_LISTENER_FD)?;
        if !seccomp::is_listener(listener.as_fd()) {
            return Err(Errno::ENOTTY);
        }
        // An older host: slower, not weaker.
        let _ = seccomp::set_sync_wake_up(listener.as_fd());
        // SAFETY: the caller's, not NULL, aligned.
        unsafe { identity.write(number) };
        Ok(listener.into_raw_fd())
    })
}

/// Closes a listener.
///
/// `listener`: from get_stub_listener() or stubguard_listen(), and used by nobody any more. A stub of
/// notify mode has an fd of its own, so that a call that is suspended stays so; a parked stub ends by
/// it. Kill the stub in any case. Any thread.
///
/// Returns 0; -EBADF for what is not open; -ENOTTY for what is no listener, which stays open.
#[unsafe(no_mangle)]
pub extern "C" fn put_stub_listener(listener: c_int) -> c_int {
    ret::call(|| {
        let fd = borrow(listener)?;
        nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_GETFD)?;
        if !seccomp::is_listener(fd) {
            return Err(Errno::ENOTTY);
        }
        nix::unistd::close(listener)
    })
}

/// Kills a stub that has broken the protocol.
///
/// `pid`, `identity`: as of get_stub_listener(), or of `struct stubguard_stub`. Only that process can be
/// hit, even if the pid has been reaped and given to another. Any thread; does not wait for the end.
///
/// Returns 0; -EINVAL; -ESRCH if it is gone.
#[unsafe(no_mangle)]
pub extern "C" fn stubguard_kill_stub(pid: c_int, identity: u64) -> c_int {
    ret::call(|| {
        if pid <= 0 {
            return Err(Errno::EINVAL);
        }
        pidfd::kill_identified(pid, identity)?;
        counters::KILLS.bump();
        Ok(())
    })
}
