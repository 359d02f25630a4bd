// SPDX-License-Identifier: GPL-2.0-only
//! The record of one stub: where it is, and what its monitor has to remember.

use crate::abi::{STUBGUARD_F_RECEIVE_ENDS, StubRecord};
use crate::host::{pidfd, seccomp};
use crate::memory::StubData;
use crate::{Errno, Result};
use core::ffi::{c_int, c_void};
use core::sync::atomic::AtomicUsize;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What is in that memory.
#[derive(Debug)]
#[repr(C)]
pub struct Record {
    /// [`Self::MARK`], so that memory without a record is known.
    pub mark: u64,
    /// Address of the registers of a guest that is in a call, see [`Stub::caller`]; 0 if there is none. Any thread may
    /// look at it.
    pub caller: AtomicUsize,
    /// The rest is the monitor's thread's.
    pub stub: Stub,
}

const _: () = assert!(
    size_of::<Record>() <= size_of::<StubRecord>() && align_of::<Record>() <= align_of::<StubRecord>()
);

impl Record {
    /// "stubguar".
    pub const MARK: u64 = 0x7261_7567_6275_7473;

    /// The record of this stub.
    #[must_use]
    pub const fn new(stub: Stub) -> Self {
        Self { mark: Self::MARK, caller: AtomicUsize::new(0), stub }
    }
}

/// Where a guest's state is, in its monitor's memory.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// As in `struct user_regs_struct`: [`STUBGUARD_REGISTERS`] words.
    pub registers: StubData,
    /// As the host's XSAVE lays it out, `fp_size` bytes.
    pub fp: StubData,
}

/// A parked stub, as its monitor knows it.
#[derive(Clone, Copy, Debug)]
pub struct Stub {
    /// The host's process.
    pub pid: c_int,
    /// Its listener.
    pub listener: c_int,
    /// Where it is.
    pub state: State,
    /// What the host maps for it.
    pub limit: Limit,
    /// Tells the process from all others that have had or will have this pid.
    pub identity: u64,
    /// The stub's data pages.
    pub shared: *mut c_void,
    /// The notification that holds it.
    pub notification: u64,
    /// The number of its last resume, which its next park has to say.
    pub ticket: u64,
    /// FS base that it has.
    pub fs_base: u64,
    /// GS base that it has.
    pub gs_base: u64,
    /// The parts of the floating-point state that the host puts into its frames.
    pub xfeatures: u64,
    /// Calls of the batch that it works on.
    pub calls: u32,
    /// Where on the signal stack its frame's siginfo is,
    pub siginfo: u16,
    /// the machine context,
    pub mcontext: u16,
    /// and the floating-point state.
    pub fpstate: u16,
    /// How many calls the caller's batch had, of which `calls` were made.
    pub asked: u16,
    /// Whether it has done what honest code does not do.
    pub suspect: bool,
    /// The address behind the guest's call that holds it.
    pub call_ip: u64,
    /// Whose call that is: where the registers go that still are in the stub.
    pub caller: Option<Caller>,
    /// Whether the guest has stopped last by a call that made a signal frame.
    pub trapped: bool,
    /// Whether the guest's next call is to make one.
    pub trap: bool,
}

/// What the host maps for a stub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Anything: a new one, or one that is to map.
    Lifted,
    /// It has been resumed to put the limit back. If it parks, it has.
    Returning,
    /// Nothing.
    Holds,
}

/// Where a stub is, see the table above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has no process, or another record has it.
    None,
    /// Attached, has not parked yet.
    Starting,
    /// The host holds it.
    Parked,
    /// Resumed, with the guest.
    Running,
    /// Resumed for a batch.
    Syncing,
    /// To be killed.
    Broken,
    /// The host holds it in a call of its guest's.
    Calling,
}

/// No base that a guest may have.
const UNKNOWN_BASE: u64 = u64::MAX;

impl Stub {
    /// One that has no process yet.
    #[must_use]
    pub fn none(shared: *mut c_void) -> Self {
        Self { state: State::None, ..Self::new(0, -1, 0, shared) }
    }

    /// A new one, which has not parked yet.
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

    /// Returns the record of a stub that has been started.
    ///
    /// # Errors
    /// `ENOTTY` for what is no listener; `ESRCH` if there is no such process; others as pidfd_open(2).
    pub fn attached(&self, pid: c_int, listener: BorrowedFd<'_>) -> Result<Self> {
        if !seccomp::is_listener(listener) {
            return Err(Errno::ENOTTY);
        }
        let process = pidfd::open(pid)?;
        let identity = pidfd::identity(&process, pid)?;
        // An older host: slower, not weaker.
        let _ = seccomp::set_sync_wake_up(listener);
        Ok(Self::new(pid, listener.as_raw_fd(), identity, self.shared))
    }

    /// Whether it lives, reaped or not. Before Linux 6.11 the listener tells only of a stub that was reaped.
    ///
    /// # Errors
    /// `EINTR`; others are bugs.
    pub fn lives(&self, listener: BorrowedFd<'_>, features: u32) -> Result<bool> {
        let told = features & STUBGUARD_F_RECEIVE_ENDS != 0;
        Ok(!seccomp::is_gone(listener)? && (told || !pidfd::has_ended(self.pid)))
    }

    /// Kills its process, and no other that has its pid.
    ///
    /// # Errors
    /// `ESRCH` if it has been reaped; others as pidfd_open(2).
    pub fn kill(&self) -> Result<()> {
        pidfd::kill_identified(self.pid, self.identity)
    }

    /// Whether it has no process, or another record has it.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.state == State::None
    }

    /// It has been ended.
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

    /// The host holds it again: it has done all that it was resumed for.
    pub(super) fn stopped(&mut self, state: State) {
        if self.limit == Limit::Returning {
            self.limit = Limit::Holds;
        }
        self.calls = 0;
        self.state = state;
    }

    /// Another record has it.
    pub fn leave(&mut self) {
        *self = Self::none(core::ptr::null_mut());
    }

    /// Nothing that it says is about a guest any more.
    pub fn forget_guest(&mut self) {
        (self.fs_base, self.gs_base, self.call_ip) = (0, 0, 0);
        (self.calls, self.asked) = (0, 0);
        (self.trapped, self.trap) = (false, false);
        self.caller = None;
    }

    /// Has both bases set on the next resume, whatever they are.
    pub(super) fn forget_bases(&mut self) {
        (self.fs_base, self.gs_base) = (UNKNOWN_BASE, UNKNOWN_BASE);
    }

    /// Whether a resume, a wait make sense now.
    ///
    /// # Errors
    /// `ESRCH` for a stub that is to be killed; `EINVAL`.
    pub(super) fn expect(&self, states: &[State]) -> Result<()> {
        match self.state {
            state if states.contains(&state) => Ok(()),
            State::Broken => Err(Errno::ESRCH),
            _ => Err(Errno::EINVAL),
        }
    }
}
