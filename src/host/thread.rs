// SPDX-License-Identifier: GPL-2.0-only
//! Threads and signals for the watchdog.

use super::check;
use crate::{Errno, Result};
use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

/// A thread that can be joined.
#[derive(Clone, Copy, Debug)]
pub struct Thread(libc::pthread_t);

/// The stack's size in bytes: enough for the watchdog and a log function. The default is several megabytes.
const STACK: usize = 256 * 1024;

fn result(code: c_int) -> Result<()> {
    if code == 0 { Ok(()) } else { Err(Errno::from_raw(code)) }
}

/// Starts a thread with all signals blocked, so that none of the process's handlers runs on it. `main` gets
/// the fd as its argument: see [`borrow_argument`].
///
/// # Errors
/// As pthread_create(3).
pub fn start(main: extern "C" fn(*mut c_void) -> *mut c_void, fd: BorrowedFd<'_>) -> Result<Thread> {
    let mut attr = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut old = MaybeUninit::<libc::sigset_t>::uninit();
    let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
    // SAFETY: initialises `attr`.
    result(unsafe { libc::pthread_attr_init(attr.as_mut_ptr()) })?;
    // SAFETY: `attr` is initialised; a size that the C library refuses leaves its default.
    let _ = unsafe { libc::pthread_attr_setstacksize(attr.as_mut_ptr(), STACK) };
    // SAFETY: initialises `all`.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: `all` is initialised, `old` is written.
    let masked = result(unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr()) });
    let argument = core::ptr::without_provenance_mut(fd.as_raw_fd().unsigned_abs() as usize);
    let created = masked.and_then(|()| {
        // SAFETY: `attr` is initialised; the argument is a number.
        let code = unsafe { libc::pthread_create(thread.as_mut_ptr(), attr.as_ptr(), main, argument) };
        // SAFETY: `old` was written above.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, old.as_ptr(), core::ptr::null_mut()) };
        result(code)
    });
    // SAFETY: `attr` is initialised and not used any more.
    unsafe { libc::pthread_attr_destroy(attr.as_mut_ptr()) };
    created?;
    // SAFETY: pthread_create() succeeded, so it was written.
    Ok(Thread(unsafe { thread.assume_init() }))
}

/// Returns the fd that a thread was started with. The starter keeps it open until the thread has ended.
#[must_use]
pub fn borrow_argument(argument: *mut c_void) -> BorrowedFd<'static> {
    let fd = c_int::try_from(argument.addr()).unwrap_or(c_int::MAX);
    // SAFETY: start() was given an open fd, and no thread outlives it: see `watchdog::stop()`.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

impl Thread {
    /// Waits for the thread's end.
    ///
    /// # Errors
    /// As pthread_join(3).
    pub fn join(self) -> Result<()> {
        // SAFETY: a thread that start() made and that nobody has joined: it is moved in here.
        result(unsafe { libc::pthread_join(self.0, core::ptr::null_mut()) })
    }
}

/// Returns the calling thread's tid.
#[must_use]
pub fn own_tid() -> c_int {
    // SAFETY: takes nothing.
    c_int::try_from(unsafe { libc::syscall(libc::SYS_gettid) }).unwrap_or(0)
}

extern "C" fn nothing(_: c_int) {}

/// Installs a handler for the kick: the signal interrupts host calls, and does nothing else.
///
/// # Errors
/// `EBUSY` if the signal has another handler; others as sigaction(2).
pub fn claim_kick(signal: c_int) -> Result<()> {
    let mut old = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: asks only.
    check(unsafe { libc::sigaction(signal, core::ptr::null(), old.as_mut_ptr()) }.into())?;
    // SAFETY: all zeros is a valid sigaction, and the host has written it.
    let old = unsafe { old.assume_init() };
    let handler: extern "C" fn(c_int) = nothing;
    let ours = handler as libc::sighandler_t;
    if old.sa_sigaction == ours {
        return Ok(());
    }
    // A signal that is ignored has no owner: whoever started this process may have set that.
    if old.sa_sigaction != libc::SIG_DFL && old.sa_sigaction != libc::SIG_IGN {
        return Err(Errno::EBUSY);
    }
    // SAFETY: all zeros is a valid sigaction: no flags, so no SA_RESTART, and an empty mask.
    let mut new = unsafe { MaybeUninit::<libc::sigaction>::zeroed().assume_init() };
    new.sa_sigaction = ours;
    // UML's kernel stacks are small, so its handlers run on the thread's signal stack. So does this one.
    new.sa_flags = libc::SA_ONSTACK;
    // SAFETY: the handler does nothing, so it may run anywhere.
    check(unsafe { libc::sigaction(signal, &raw const new, core::ptr::null_mut()) }.into())?;
    Ok(())
}

/// Unblocks the kick on the calling thread.
pub fn accept_kick(signal: c_int) {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: initialises `set`.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: `set` is initialised; a bad number is refused.
    unsafe { libc::sigaddset(set.as_mut_ptr(), signal) };
    // SAFETY: `set` is initialised.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), core::ptr::null_mut()) };
}

/// Sends the kick to a thread of this process, which interrupts its host call.
pub fn kick(tid: c_int, signal: c_int) {
    // SAFETY: takes nothing.
    let pid = unsafe { libc::getpid() };
    // SAFETY: takes numbers; the signal's handler does nothing. A thread that has ended is no error.
    let _ = unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, signal) };
}
