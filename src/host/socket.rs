// SPDX-License-Identifier: GPL-2.0-only
//! Handing over fds: unix(7), `SCM_RIGHTS`.

use super::{check, insist};
use crate::stub::code::STUBGUARD_FDS_MAX;
use crate::{Errno, Result};
use core::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd};

/// One control message with fds: `struct cmsghdr`, then their numbers.
#[repr(C, align(8))]
struct Rights {
    header: libc::cmsghdr,
    fds: [c_int; STUBGUARD_FDS_MAX],
}

const _: () = assert!(size_of::<libc::cmsghdr>() == 16);

/// Sends a few fds, with one byte; does not wait for room.
///
/// # Errors
/// As sendmsg(2): `EAGAIN` without room, `EPIPE` if the other end is gone. `EINVAL` for too many.
#[allow(clippy::arithmetic_side_effects)] // At most STUBGUARD_FDS_MAX.
pub fn send_fds(socket: BorrowedFd<'_>, fds: &[c_int]) -> Result<()> {
    let mut rights = Rights {
        header: libc::cmsghdr { cmsg_len: 0, cmsg_level: libc::SOL_SOCKET, cmsg_type: libc::SCM_RIGHTS },
        fds: [-1; STUBGUARD_FDS_MAX],
    };
    rights.fds.get_mut(..fds.len()).ok_or(Errno::EINVAL)?.copy_from_slice(fds);
    rights.header.cmsg_len = size_of::<libc::cmsghdr>() + size_of_val(fds);
    let mut byte = 0u8;
    let mut iov = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: all zeros is a valid message without anything.
    let mut message: libc::msghdr = unsafe { core::mem::zeroed() };
    message.msg_iov = &raw mut iov;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut rights).cast::<c_void>();
    message.msg_controllen = rights.header.cmsg_len.next_multiple_of(8);
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // Not sendmsg(): that is a cancellation point, which costs as much again.
    let sent = insist(|| {
        // SAFETY: the message and what it points to live until the call has ended.
        check(unsafe { libc::syscall(libc::SYS_sendmsg, socket.as_raw_fd(), &raw const message, flags) })
    })?;
    if sent == 1 { Ok(()) } else { Err(Errno::EIO) }
}
