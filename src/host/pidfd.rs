// SPDX-License-Identifier: GPL-2.0-only
//! Processes, by pidfd: a number that cannot come to mean another process.

use super::{check, procfs};
use crate::{Errno, Result};
use core::ffi::c_int;
use nix::sys::stat::fstat;
use nix::sys::statfs::{FsType, fstatfs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// `PID_FS_MAGIC`: here a pidfd's inode number names one process, for ever (Linux 6.9).
const PIDFS: FsType = FsType(0x5049_4446);

/// Takes over an fd that the host has just opened for us.
///
/// # Errors
/// `EIO` if the number is not an fd.
pub(super) fn owned(fd: libc::c_long) -> Result<OwnedFd> {
    // OwnedFd panics at -1, so check the number first.
    let fd = RawFd::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or(Errno::EIO)?;
    // SAFETY: the host has just opened it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Opens a process by its pid.
///
/// # Errors
/// As pidfd_open(2): `ESRCH`, `EMFILE`, ...
pub fn open(pid: c_int) -> Result<OwnedFd> {
    // SAFETY: takes numbers. The fd is close-on-exec.
    owned(check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?)
}

/// Copies an fd of another process to this one, close-on-exec.
///
/// # Errors
/// As pidfd_getfd(2): `EBADF`, `EPERM`, `ESRCH`, `EMFILE`.
pub fn getfd(process: BorrowedFd<'_>, number: c_int) -> Result<OwnedFd> {
    // SAFETY: takes numbers.
    owned(check(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) })?)
}

/// Sends a signal to a process.
///
/// # Errors
/// `ESRCH` if it has ended.
pub fn signal(process: BorrowedFd<'_>, signal: c_int) -> Result<()> {
    let info = core::ptr::null::<libc::siginfo_t>();
    // SAFETY: takes numbers and a null pointer.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, info, 0) })?;
    Ok(())
}

/// Ends a process.
///
/// # Errors
/// `ESRCH` if it has ended.
pub fn kill(process: BorrowedFd<'_>) -> Result<()> {
    signal(process, libc::SIGKILL)
}

/// Checks that a process can still be signalled: it has not been reaped.
///
/// # Errors
/// `ESRCH` if it has been reaped.
pub fn is_alive(process: BorrowedFd<'_>) -> Result<()> {
    signal(process, 0)
}

/// Whether a child of ours has ended, and has not been reaped.
///
/// If another child got the pid meanwhile, the process that was meant has ended before.
#[must_use]
pub fn has_ended(pid: c_int) -> bool {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    let mut info = core::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    let usage = core::ptr::null_mut::<libc::rusage>();
    // SAFETY: the host writes a `siginfo_t`. Nothing is reaped.
    let ret = unsafe { libc::syscall(libc::SYS_waitid, libc::P_PID, pid, info.as_mut_ptr(), options, usage) };
    // SAFETY: integers, which were zero before.
    check(ret).is_ok() && unsafe { info.assume_init() }.si_signo != 0
}

/// Returns a number that no other process with this pid will ever have.
///
/// It is the pidfd's inode number on hosts with pidfs, which never reuses one. On other hosts it is the time
/// when the process started. The host gives out all other pids before it reuses one, which takes longer than
/// a clock tick.
///
/// # Errors
/// `ESRCH` if the process has been reaped; what the host says of the files.
pub fn identity(process: &OwnedFd, pid: c_int) -> Result<u64> {
    if fstatfs(process)?.filesystem_type() == PIDFS {
        return Ok(fstat(process)?.st_ino);
    }
    Ok(procfs::process(pid)?.started)
}

/// Opens the process that has both this pid and this identity.
///
/// # Errors
/// `ESRCH` if there is none (any more).
pub fn open_identified(pid: c_int, expected: u64) -> Result<OwnedFd> {
    let process = open(pid)?;
    if identity(&process, pid)? == expected { Ok(process) } else { Err(Errno::ESRCH) }
}

/// Ends the process that has both this pid and this identity.
///
/// # Errors
/// `ESRCH` if there is none (any more); what the host says of the pidfd.
pub fn kill_identified(pid: c_int, expected: u64) -> Result<()> {
    kill(open_identified(pid, expected)?.as_fd())
}
