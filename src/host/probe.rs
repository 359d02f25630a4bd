// SPDX-License-Identifier: GPL-2.0-only
//! Finds out once, at start, what the host offers: makes a process, and tries everything with it.

use super::{check, pidfd, procfs, rlimit, seccomp};
use crate::abi::{
    STUBGUARD_F_DISPATCH, STUBGUARD_F_FSGSBASE, STUBGUARD_F_LISTENER, STUBGUARD_F_RECEIVE_ENDS,
    STUBGUARD_F_SYNC_WAKE_UP, STUBGUARD_F_UNFILTERED, STUBGUARD_F_WAIT_KILLABLE, STUBGUARD_F_WATCHDOG,
};
use crate::{Errno, Result};
use core::ffi::{c_int, c_ulong, c_void};
use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The step that fails in a sandbox with a listener of its own.
pub const NEW_LISTENER: &str = "SECCOMP_FILTER_FLAG_NEW_LISTENER";

static FEATURES: AtomicU32 = AtomicU32::new(0);

/// Keeps what the host offers, `STUBGUARD_F_*`.
pub fn remember(features: u32) {
    FEATURES.store(features, Ordering::Relaxed);
}

/// Returns what [`remember`] has kept; 0 before.
#[must_use]
pub fn features() -> u32 {
    FEATURES.load(Ordering::Relaxed)
}

/// What the host offers.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// `STUBGUARD_F_*`.
    pub features: u32,
    /// If there can be no stubs: the step that failed, and the host's error.
    pub no_stub: Option<(&'static str, Errno)>,
    /// If there can be no watchdog: the host's error.
    pub no_watchdog: Option<Errno>,
    /// Whether this process has a seccomp filter (which is an outer one), or why that is not known.
    pub outer_filter: Result<bool>,
}

type Step<T> = core::result::Result<T, (&'static str, Errno)>;

/// Finds out what the host offers. `window`: for stubs of window mode.
#[must_use]
pub fn host(window: bool) -> Host {
    let mut found = Host { features: 0, no_stub: None, no_watchdog: None, outer_filter: Ok(true) };
    let limit =
        if window { rlimit::learn().map_err(|error| ("prlimit of RLIMIT_AS", error)) } else { Ok(()) };
    match limit.and_then(|()| listener(window)) {
        Ok(features) => found.features |= features,
        Err(why) => found.no_stub = Some(why),
    }
    if fsgsbase() {
        found.features |= STUBGUARD_F_FSGSBASE;
    }
    if dispatch() {
        found.features |= STUBGUARD_F_DISPATCH;
    }
    match procfs::own_thread(super::thread::own_tid()) {
        Ok(_) => found.features |= STUBGUARD_F_WATCHDOG,
        Err(why) => found.no_watchdog = Some(why),
    }
    found.outer_filter = procfs::is_filtered(super::thread::own_tid());
    if found.outer_filter == Ok(false) {
        found.features |= STUBGUARD_F_UNFILTERED;
    }
    found
}

/// Makes a process with a listener, gets the listener, and tries it. In window mode the process shares our fd
/// table, as a new stub does. In notify mode it has its own, as a stub has when it makes its listener.
fn listener(window: bool) -> Step<u32> {
    seccomp::check_sizes().map_err(|error| ("SECCOMP_GET_NOTIF_SIZES", error))?;
    let mut features = STUBGUARD_F_LISTENER;
    let mut flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    if seccomp::knows_filter_flag(libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) {
        flags |= libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
        features |= STUBGUARD_F_WAIT_KILLABLE;
    }
    let child = Child::start(Task::Listen { flags, our_fds: window }).map_err(|error| ("clone", error))?;
    let tried = child.try_out();
    let ended = child.end().map_err(|error| ("waitid", error));
    let (more, listener) = tried?;
    ended?;
    features |= more;
    if receive_ends(&listener) {
        features |= STUBGUARD_F_RECEIVE_ENDS;
    }
    Ok(features)
}

/// Whether a receive returns when all processes with the filter have ended. On an older host it does not
/// return, so another process tries it, and is killed after a while.
fn receive_ends(listener: &OwnedFd) -> bool {
    let Ok(child) = Child::start(Task::Receive(listener.as_fd())) else { return false };
    let answer = child.answer(RECEIVE_PATIENCE);
    let _ = child.end();
    answer == Err(Errno::ENOENT)
}

/// Whether `AT_HWCAP2` says that FSGSBASE instructions may be used.
fn fsgsbase() -> bool {
    const HWCAP2_FSGSBASE: c_ulong = 2;
    // SAFETY: takes a number.
    unsafe { libc::getauxval(libc::AT_HWCAP2) & HWCAP2_FSGSBASE != 0 }
}

/// Whether the host has syscall user dispatch. Turning it off where it is not on changes nothing.
fn dispatch() -> bool {
    const PR_SET_SYSCALL_USER_DISPATCH: c_int = 59;
    const PR_SYS_DISPATCH_OFF: c_ulong = 0;
    // SAFETY: takes numbers.
    unsafe { libc::prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF, 0, 0, 0) == 0 }
}

/// What a child does.
#[derive(Clone, Copy)]
enum Task<'a> {
    /// Installs a filter with these flags. The answer is the listener, in our fd table or the child's.
    Listen { flags: c_ulong, our_fds: bool },
    /// Receives from this listener, in our fd table. The answer is the result.
    Receive(BorrowedFd<'a>),
}

/// What the child shares with us. It runs in our memory, on a stack of its own.
struct Shared<'a> {
    task: Task<'a>,
    /// `WAITING`, then the child's answer or its negative errno.
    answer: AtomicI32,
}

/// How long to wait for an answer.
const PATIENCE: libc::timespec = libc::timespec { tv_sec: 5, tv_nsec: 0 };
/// How long to wait for an answer that may never come.
const RECEIVE_PATIENCE: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 100_000_000 };

const WAITING: i32 = i32::MIN;
const STACK: usize = 64 * 1024;

struct Child<'a> {
    stack: *mut c_void,
    shared: *const Shared<'a>,
    pid: c_int,
    /// Whether its fd table is ours.
    our_fds: bool,
}

extern "C" fn child_main(shared: *mut c_void) -> c_int {
    // SAFETY: Child::start() gave it, and unmaps it only after this process has ended.
    let shared = unsafe { &*shared.cast::<Shared<'_>>() };
    // SAFETY: takes numbers. Should the parent die, so does this.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
    let allow = [libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW }];
    let result = match shared.task {
        Task::Listen { flags, .. } => seccomp::install_filter(&allow, flags),
        Task::Receive(listener) => seccomp::receive(listener).map(|_| 0),
    };
    let answer = result.unwrap_or_else(|error| (error as i32).saturating_neg());
    shared.answer.store(answer, Ordering::Release);
    // SAFETY: a word that outlives the call.
    unsafe { libc::syscall(libc::SYS_futex, shared.answer.as_ptr(), libc::FUTEX_WAKE, 1) };
    loop {
        // SAFETY: takes nothing. The parent ends this.
        unsafe { libc::pause() };
    }
}

impl<'a> Child<'a> {
    /// Starts a child by clone(2), not by fork(2): UML's memory, with its stacks, is shared with a forked
    /// child.
    fn start(task: Task<'a>) -> Result<Self> {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let map = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, nobody else's.
        let stack = unsafe { libc::mmap(core::ptr::null_mut(), STACK, prot, map, -1, 0) };
        if stack == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let shared = stack.cast::<Shared<'a>>();
        // SAFETY: the start of the mapping, aligned; the stack grows down from its end.
        unsafe { shared.write(Shared { task, answer: AtomicI32::new(WAITING) }) };
        // SAFETY: the end of the mapping.
        let top = unsafe { stack.byte_add(STACK) };
        // `child_main` uses that stack and `shared`, which live until end(). There is no exit signal, so no
        // SIGCHLD handler reaps the child.
        let our_fds = !matches!(task, Task::Listen { our_fds: false, .. });
        let table = if our_fds { libc::CLONE_FILES } else { 0 };
        // SAFETY: as above.
        let pid = unsafe { libc::clone(child_main, top, libc::CLONE_VM | table, shared.cast()) };
        if pid < 0 {
            let error = Errno::last();
            // SAFETY: mapped above, used by nobody.
            unsafe { libc::munmap(stack, STACK) };
            return Err(error);
        }
        Ok(Self { stack, shared, pid, our_fds })
    }

    /// Returns the child's answer. Waits for it no longer than `timeout`.
    fn answer(&self, timeout: libc::timespec) -> Result<c_int> {
        // SAFETY: lives until end().
        let shared = unsafe { &*self.shared };
        for _ in 0..100 {
            let answer = shared.answer.load(Ordering::Acquire);
            if answer != WAITING {
                return if answer < 0 { Err(Errno::from_raw(answer.saturating_neg())) } else { Ok(answer) };
            }
            // SAFETY: a word and a timeout that outlive the call.
            let ret = unsafe {
                libc::syscall(
                    libc::SYS_futex,
                    shared.answer.as_ptr(),
                    libc::FUTEX_WAIT,
                    WAITING,
                    &raw const timeout,
                )
            };
            if check(ret) == Err(Errno::ETIMEDOUT) {
                break;
            }
        }
        Err(Errno::ETIMEDOUT)
    }

    fn try_out(&self) -> Step<(u32, OwnedFd)> {
        let number = self.answer(PATIENCE).map_err(|error| (NEW_LISTENER, error))?;
        // It is in our fd table, so we close it, whatever fails below.
        let own = if self.our_fds { Some(pidfd::owned(number.into())) } else { None };
        let process = pidfd::open(self.pid).map_err(|error| ("pidfd_open", error))?;
        pidfd::identity(&process, self.pid).map_err(|error| ("identity of a process", error))?;
        let listener = own
            .unwrap_or_else(|| pidfd::getfd(process.as_fd(), number))
            .map_err(|error| ("pidfd_getfd", error))?;
        if !seccomp::is_listener(listener.as_fd()) {
            return Err(("SECCOMP_IOCTL_NOTIF_ID_VALID", Errno::ENOTTY));
        }
        let sync = seccomp::set_sync_wake_up(listener.as_fd()).is_ok();
        Ok((if sync { STUBGUARD_F_SYNC_WAKE_UP } else { 0 }, listener))
    }

    fn end(self) -> Result<()> {
        // SAFETY: our own child that nobody has reaped: it has no exit signal.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        let reaped = loop {
            // SAFETY: takes numbers and a null pointer.
            let ret = unsafe { libc::waitpid(self.pid, core::ptr::null_mut(), libc::__WALL) };
            match check(ret.into()) {
                Err(Errno::EINTR) => {}
                other => break other,
            }
        };
        reaped?;
        // SAFETY: the child has ended; nobody else knows of the mapping.
        unsafe { libc::munmap(self.stack, STACK) };
        Ok(())
    }
}
