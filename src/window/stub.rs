// SPDX-License-Identifier: GPL-2.0-only
//! The record of one stub: its process, its state, and what the monitor must remember of it.

use crate::abi::{STUBGUARD_F_RECEIVE_ENDS, StubRecord};
use crate::host::{pidfd, seccomp};
use crate::memory::StubData;
use crate::{Errno, Result};
use core::ffi::{c_int, c_void};
use core::sync::atomic::AtomicUsize;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What the library keeps in a caller's [`StubRecord`].
#[derive(Debug)]
#[repr(C)]
pub struct Record {
    /// [`Self::MARK`]. Memory without it has no record.
    pub mark: u64,
    /// The address of the registers of a guest that is in a call (see [`Stub::caller`]); 0 if no guest is.
    /// Any thread may read it.
    pub caller: AtomicUsize,
    /// Only the monitor's thread uses the rest.
    pub stub: Stub,
}

const _: () = assert!(
    size_of::<Record>() <= size_of::<StubRecord>() && align_of::<Record>() <= align_of::<StubRecord>()
);

impl Record {
    /// "stubguar".
    pub const MARK: u64 = 0x7261_7567_6275_7473;

    /// Makes the record of `stub`.
    #[must_use]
    pub const fn new(stub: Stub) -> Self {
        Self { mark: Self::MARK, caller: AtomicUsize::new(0), stub }
    }
}

/// A guest's state, in its monitor's memory.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// As in `struct user_regs_struct`: [`STUBGUARD_REGISTERS`](crate::abi::STUBGUARD_REGISTERS) words.
    pub registers: StubData,
    /// As the host's XSAVE lays it out, `fp_size` bytes.
    pub fp: StubData,
}

/// A stub, as its monitor knows it.
#[derive(Clone, Copy, Debug)]
pub struct Stub {
    /// The host process.
    pub pid: c_int,
    /// Its listener.
    pub listener: c_int,
    /// What the stub is doing.
    pub state: State,
    /// Whether the host maps anything for it.
    pub limit: Limit,
    /// Tells the process from all others that have had or will have this pid.
    pub identity: u64,
    /// The stub's data pages.
    pub shared: *mut c_void,
    /// The id of the notification that holds it.
    pub notification: u64,
    /// The ticket of its last resume. Its next park must say it.
    pub ticket: u64,
    /// The FS base that the stub has now.
    pub fs_base: u64,
    /// The GS base that the stub has now.
    pub gs_base: u64,
    /// The XSAVE features that the host saves in the stub's frames.
    pub xfeatures: u64,
    /// How many calls the batch has that the stub works on.
    pub calls: u32,
    /// Offset of the frame's siginfo on the signal stack.
    pub siginfo: u16,
    /// Offset of the frame's machine context on the signal stack.
    pub mcontext: u16,
    /// Offset of the frame's floating-point state on the signal stack.
    pub fpstate: u16,
    /// How many calls the caller's batch had. The monitor made `calls` of them.
    pub asked: u16,
    /// Whether it has done something that honest code does not do. It is not reused then.
    pub suspect: bool,
    /// The address after the guest's call that holds it.
    pub call_ip: u64,
    /// Where to store the registers of the guest that is in a call.
    pub caller: Option<Caller>,
    /// Whether the guest's last stop was a call that trapped.
    pub trapped: bool,
    /// Whether the guest's next call must trap.
    pub trap: bool,
}

/// Whether the host maps anything for a stub: its `RLIMIT_AS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// It maps. The stub is new, or its batch maps.
    Lifted,
    /// The stub was resumed to set the limit to 0. When it parks, it has done so.
    Returning,
    /// It maps nothing: the limit is 0.
    Holds,
}

/// What a stub is doing: see the table in [`window`](super).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has no process, or another record has its process.
    None,
    /// Attached, but it has not parked yet.
    Starting,
    /// The host holds it in a park.
    Parked,
    /// Resumed with a guest.
    Running,
    /// Resumed for a batch only.
    Syncing,
    /// It must be killed.
    Broken,
    /// The host holds it in a call of its guest.
    Calling,
    /// It was in a call of its guest, and has a signal: it parks before the guest's next instruction.
    Fetching,
}

/// A base that no guest can have.
const UNKNOWN_BASE: u64 = u64::MAX;

impl Stub {
    /// Returns a stub that has no process yet.
    #[must_use]
    pub fn none(shared: *mut c_void) -> Self {
        Self { state: State::None, ..Self::new(0, -1, 0, shared) }
    }

    /// Returns a new stub, which has not parked yet.
    #[must_use]
    pub fn new(pid: c_int, listener: c_int, identity: u64, shared: *mut c_void) -> Self {
        Self {
            pid,
            listener,
            limit: Limit::Lifted,
            state: State::Starting,
            identity,
            shared,
            notification: 0,
            ticket: 0,
            fs_base: 0,
            gs_base: 0,
            xfeatures: 0,
            calls: 0,
            siginfo: 0,
            mcontext: 0,
            fpstate: 0,
            suspect: false,
            asked: 0,
            call_ip: 0,
            caller: None,
            trapped: false,
            trap: false,
        }
    }

    /// Returns the stub for a process that has been started.
    ///
    /// # Errors
    /// `ENOTTY` if `listener` is not a seccomp listener, `ESRCH` if there is no such process, others as
    /// pidfd_open(2).
    pub fn attached(&self, pid: c_int, listener: BorrowedFd<'_>) -> Result<Self> {
        if !seccomp::is_listener(listener) {
            return Err(Errno::ENOTTY);
        }
        let process = pidfd::open(pid)?;
        let identity = pidfd::identity(&process, pid)?;
        // An older host lacks this mode: slower, not weaker.
        let _ = seccomp::set_sync_wake_up(listener);
        Ok(Self::new(pid, listener.as_raw_fd(), identity, self.shared))
    }

    /// Whether the process lives. If the listener does not report a death (before Linux 6.11: not before the
    /// stub is reaped), asks the host, too.
    ///
    /// # Errors
    /// `EINTR`; any other error is a bug.
    pub fn lives(&self, listener: BorrowedFd<'_>, features: u32) -> Result<bool> {
        let told = features & STUBGUARD_F_RECEIVE_ENDS != 0;
        Ok(!seccomp::is_gone(listener)? && (told || !pidfd::has_ended(self.pid)))
    }

    /// Kills its process, and no other process that got its pid.
    ///
    /// # Errors
    /// `ESRCH` if it was reaped, others as pidfd_open(2).
    pub fn kill(&self) -> Result<()> {
        pidfd::kill_identified(self.pid, self.identity)
    }

    /// Whether it has no process, or another record has its process.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.state == State::None
    }

    /// Records that the stub was ended.
    pub fn end(&mut self) {
        self.state = State::None;
        self.listener = -1;
        self.caller = None;
    }

    /// Whether another guest may have it.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.state == State::Parked && !self.suspect
    }

    /// Records that the host holds the stub again. It has then done all that it was resumed for.
    pub(super) fn stopped(&mut self, state: State) {
        if self.limit == Limit::Returning {
            self.limit = Limit::Holds;
        }
        self.calls = 0;
        self.state = state;
    }

    /// Empties this record: another record has the stub now.
    pub fn leave(&mut self) {
        *self = Self::none(core::ptr::null_mut());
    }

    /// Clears what the record says of the last guest.
    pub fn forget_guest(&mut self) {
        (self.fs_base, self.gs_base, self.call_ip) = (0, 0, 0);
        (self.calls, self.asked) = (0, 0);
        (self.trapped, self.trap) = (false, false);
        self.caller = None;
    }

    /// Makes the next resume set both bases, whatever they are.
    pub(super) fn forget_bases(&mut self) {
        (self.fs_base, self.gs_base) = (UNKNOWN_BASE, UNKNOWN_BASE);
    }

    /// Checks that the stub is in one of `states`.
    ///
    /// # Errors
    /// `ESRCH` if the stub is broken; `EINVAL` if it is in another state.
    pub(super) fn expect(&self, states: &[State]) -> Result<()> {
        match self.state {
            state if states.contains(&state) => Ok(()),
            State::Broken => Err(Errno::ESRCH),
            _ => Err(Errno::EINVAL),
        }
    }
}
