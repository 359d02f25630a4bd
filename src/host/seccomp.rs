// SPDX-License-Identifier: GPL-2.0-only
//! seccomp(2) and seccomp_unotify(2).

use super::{check, insist};
use crate::{Errno, Result};
use core::ffi::{c_int, c_ulong};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsRawFd, BorrowedFd};

// The structures are part of the host's ABI. Their sizes are those of include/uapi/linux/seccomp.h.
const _: () = {
    assert!(size_of::<libc::seccomp_data>() == 64);
    assert!(size_of::<libc::seccomp_notif>() == 80);
    assert!(size_of::<libc::seccomp_notif_resp>() == 24);
};

/// The listener's SYNC_WAKE_UP mode (Linux 6.6): monitor and stub take turns on one CPU.
const FD_SYNC_WAKE_UP: c_ulong = 1;
/// Room for `struct seccomp_notif`, which a later host may have made larger.
const NOTIF_ROOM: usize = 128;
/// Room for `struct seccomp_notif_resp`.
const RESP_ROOM: usize = 64;

/// One suspended call.
#[derive(Clone, Copy, Debug)]
pub struct Notification {
    /// Its id, which the answer must name.
    pub id: u64,
    /// The call as the host captured it.
    pub call: libc::seccomp_data,
}

/// How a suspended call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The host makes the call.
    Continue,
    /// The host does not make the call. It returns this value.
    Return(i64),
    /// The host does not make the call. It fails with this error.
    Fail(Errno),
}

/// Whether a listener has something for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// Nothing within the time given.
    Nothing,
    /// A suspended call.
    Notification,
    /// All processes with this filter have ended: the stub is dead (Linux 5.9; before 6.11 it must have been
    /// reaped).
    Gone,
}

/// A buffer for one of the structures, as large as the host's may be.
#[repr(C, align(8))]
struct Room<const N: usize>([u8; N]);

/// Waits for a suspended call, `timeout_ms` milliseconds at most.
///
/// # Errors
/// `EINTR`: a signal was handled on this thread, or is about to be. `EBADF`.
pub fn wait(listener: BorrowedFd<'_>, timeout_ms: u16) -> Result<Pending> {
    let mut fds = [PollFd::new(listener, PollFlags::POLLIN)];
    if poll(&mut fds, PollTimeout::from(timeout_ms))? == 0 {
        return Ok(Pending::Nothing);
    }
    let events = fds.first().and_then(PollFd::revents).unwrap_or(PollFlags::empty());
    if events.contains(PollFlags::POLLIN) {
        Ok(Pending::Notification)
    } else if events.contains(PollFlags::POLLNVAL) {
        Err(Errno::EBADF)
    } else if events.contains(PollFlags::POLLHUP) {
        Ok(Pending::Gone)
    } else if events.contains(PollFlags::POLLERR) {
        // A signal came while the host waited for the filter's lock, so the host does not know.
        Err(Errno::EINTR)
    } else {
        Ok(Pending::Nothing)
    }
}

/// Whether all processes with this filter have ended. Signals do not interrupt this.
///
/// # Errors
/// `EBADF`.
pub fn is_gone(listener: BorrowedFd<'_>) -> Result<bool> {
    insist(|| wait(listener, 0)).map(|pending| pending == Pending::Gone)
}

/// Receives a suspended call. Blocks until there is one, or until all processes with this filter have ended
/// (`ENOENT`, since Linux 6.11). On an older host call [`wait`] first.
///
/// # Errors
/// As `SECCOMP_IOCTL_NOTIF_RECV`: `EINTR`, `ENOENT`, ...
pub fn receive(listener: BorrowedFd<'_>) -> Result<Notification> {
    // The host returns EINVAL for a buffer that is not zero.
    let mut room = Room([0; NOTIF_ROOM]);
    // SAFETY: the host writes a `struct seccomp_notif` of its own size, which check_sizes() has found to fit,
    // and nothing else.
    let ret = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut room) };
    check(ret.into())?;
    // SAFETY: `Room` is aligned and larger; every bit pattern is a valid structure of integers.
    let notif = unsafe { (&raw const room).cast::<libc::seccomp_notif>().read() };
    Ok(Notification { id: notif.id, call: notif.data })
}

/// Answers a suspended call.
///
/// # Errors
/// As `SECCOMP_IOCTL_NOTIF_SEND`: `ENOENT` if the call was withdrawn, `EINPROGRESS` if it was answered
/// already.
pub fn send(listener: BorrowedFd<'_>, id: u64, answer: Answer) -> Result<()> {
    if cfg!(miri) {
        // Miri has no such ioctls. ENOTTY is what any other file returns.
        return Err(Errno::ENOTTY);
    }
    let mut room = Room([0; RESP_ROOM]);
    let mut response = libc::seccomp_notif_resp { id, val: 0, error: 0, flags: 0 };
    match answer {
        Answer::Continue => response.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
        Answer::Return(value) => response.val = value,
        Answer::Fail(error) => response.error = (error as i32).saturating_neg(),
    }
    // SAFETY: `Room` is aligned and larger.
    unsafe { (&raw mut room).cast::<libc::seccomp_notif_resp>().write(response) };
    // SAFETY: the host reads a structure of its own size, which fits; what it adds is zero.
    let ret = unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut room) };
    check(ret.into())?;
    Ok(())
}

/// Whether an fd is a seccomp listener: only a listener returns ENOENT for the unknown id 0.
#[must_use]
pub fn is_listener(fd: BorrowedFd<'_>) -> bool {
    is_suspended(fd, 0) == Err(Errno::ENOENT)
}

/// Checks that a received call is still suspended. If it is, its process lives.
///
/// # Errors
/// `ENOENT` if the call is not suspended any more.
pub fn is_suspended(listener: BorrowedFd<'_>, id: u64) -> Result<()> {
    insist(|| {
        // SAFETY: the host reads eight bytes.
        let ret =
            unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const id) };
        check(ret.into()).map(drop)
    })
}

/// Puts a listener into SYNC_WAKE_UP mode.
///
/// # Errors
/// `EINVAL` or `ENOTTY` on an older host.
pub fn set_sync_wake_up(listener: BorrowedFd<'_>) -> Result<()> {
    insist(|| {
        // SAFETY: the argument is a number.
        let ret = unsafe {
            libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, FD_SYNC_WAKE_UP)
        };
        check(ret.into()).map(drop)
    })
}

/// Checks that the host's notification structures fit ours (`SECCOMP_GET_NOTIF_SIZES`).
///
/// # Errors
/// `E2BIG` if they do not fit; others as seccomp(2).
pub fn check_sizes() -> Result<()> {
    let mut sizes = libc::seccomp_notif_sizes { seccomp_notif: 0, seccomp_notif_resp: 0, seccomp_data: 0 };
    // SAFETY: the host writes a `struct seccomp_notif_sizes`.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_NOTIF_SIZES, 0, &raw mut sizes) })?;
    let fits = |host: u16, ours: usize, room| (ours..=room).contains(&usize::from(host));
    if fits(sizes.seccomp_notif, size_of::<libc::seccomp_notif>(), NOTIF_ROOM)
        && fits(sizes.seccomp_notif_resp, size_of::<libc::seccomp_notif_resp>(), RESP_ROOM)
    {
        Ok(())
    } else {
        Err(Errno::E2BIG)
    }
}

/// Whether the host knows a filter flag. It checks the flags before the program, so no program is needed.
#[must_use]
pub fn knows_filter_flag(flag: c_ulong) -> bool {
    // Ask for a listener, too: some flags are only valid with one.
    let flags = flag | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    let none = core::ptr::null::<libc::sock_fprog>();
    // SAFETY: without a program nothing can be installed.
    let ret = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, none) };
    check(ret) == Err(Errno::EFAULT)
}

/// Installs a filter on the calling thread for good. Returns the listener's fd if the flags ask for one.
///
/// # Errors
/// As seccomp(2): `EBUSY` if the thread has a listener already.
pub fn install_filter(program: &[libc::sock_filter], flags: c_ulong) -> Result<c_int> {
    let fprog = libc::sock_fprog {
        len: program.len().try_into().map_err(|_| Errno::EINVAL)?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: takes numbers; concerns this thread only.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into())?;
    // SAFETY: the host reads `len` instructions.
    let fd = check(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const fprog)
    })?;
    c_int::try_from(fd).map_err(|_| Errno::EIO)
}

/// Returns an argument of the call.
#[must_use]
pub fn argument(notification: &Notification, index: usize) -> u64 {
    notification.call.args.get(index).copied().unwrap_or(0)
}
