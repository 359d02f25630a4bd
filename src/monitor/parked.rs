// SPDX-License-Identifier: GPL-2.0-only
//! A parked stub: who may go on, and with what.
//!
//! The stub hands over by one call at one place, and the host holds it there until the monitor
//! answers: one notification a resume, and while the monitor works nothing of the stub runs. What
//! the guest can influence is the three arguments of that call and, if they name a signal, the frame
//! that the host has put on the signal stack. The frame of a stub is always at the same place.
//!
//! | state              | what happens                                               | then    |
//! |--------------------|------------------------------------------------------------|---------|
//! | Starting           | parks by its first signal, in a sound frame                 | Parked  |
//! | Parked             | the monitor resumes it, with the guest                       | Running |
//! | Parked             | the monitor resumes it for a batch only                      | Syncing |
//! | Running            | parks by a signal of the guest's                             | Parked, registers are the frame's |
//! | Running            | parks by a signal between the unblocking and the guest       | Parked, registers as before: resume again |
//! | Running            | the guest makes a call that notifies                         | Calling, arguments are known |
//! | Calling            | the monitor answers the call                                 | Running |
//! | Calling            | the monitor fetches: a signal, by which the stub parks       | Parked, registers are the frame's |
//! | Running, Syncing   | a call of the batch failed: parks and says which             | Parked  |
//! | Syncing            | parks with the batch done                                    | Parked  |
//! | any                | any other park                                               | Broken: kill it |
//! | any                | any other notification                                       | Broken: kill it |
//! | any                | the host says that it is dead                                | Broken  |
//!
//! A guest's call that notifies is no park, but the host holds the stub all the same, in the call. What the
//! monitor knows of it, the host has captured: number, arguments, address. All other registers are in the
//! stub until they are fetched.
//!
//! A stub has the fd of the guest's memory all the time. But while a guest may run it has an address-space limit of 0,
//! under which the host maps nothing at all. The monitor lifts the limit before it resumes the stub for a batch that maps, and
//! the stub's code puts it back behind the batch, before a signal can come, and before the guest runs ([`Limit`]).
//!
//! What interrupts a stub in its park (a freezer, a debugger, a stop; not with WAIT_KILLABLE_RECV) has it park again, by the
//! same call with the same arguments. The answer to the first one then finds none (ENOENT), or the host takes it and
//! loses it (`seccomp_do_user_notification()` looks for a signal before it looks for an answer). So each resume has a
//! ticket, which the stub's code passes on when it parks: a park with the last ticket but one is one that has been
//! heard, and it is answered again, with nothing else done.

use super::notification::{self, Monitor};
use super::report::{MAX_ERRNO, SIGNALS, broken};
use crate::config::{STUBGUARD_CALL_MMAP, STUBGUARD_CALL_MUNMAP, STUBGUARD_CALL_WRPROTECT};
use crate::host::probe::{STUBGUARD_F_FSGSBASE, STUBGUARD_F_RECEIVE_ENDS};
use crate::host::seccomp::{self, Answer, Notification, Pending};
use crate::host::{pidfd, rlimit};
use crate::listener::{self, Received};
use crate::policy::{self, Denial, Mmap};
use crate::stub::calls;
use crate::stub::code::{self, Call, Control, Head, Place};
use crate::stub::frame::{self, Breach, Frame};
use crate::stub::memory::StubData;
use crate::{Errno, Result, counters, stub, watchdog};
use core::ffi::{c_int, c_void};
use core::mem::offset_of;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::os::fd::AsFd;

/// How long the monitor of a host that does not tell of a stub's death waits before it looks.
const WAIT_MS: u16 = 50;
/// A park that the host has withdrawn comes again: so often in a row before the caller looks after everything else.
const REPEATS_MAX: u32 = 8;

/// Words of `struct user_regs_struct`: how many, and which.
pub const STUBGUARD_REGISTERS: usize = 27;

/// How many calls a batch may have. There is room for more in the stub's page, as some may have to be split.
pub const STUBGUARD_CALLS_MAX: usize = 104;

/// The memory of a stub's record: the library's alone. The caller has it somewhere out of the guest's reach, as long as
/// there is the stub, and does not move it.
#[derive(Debug)]
#[repr(C)]
pub struct Memory {
    /// Of no meaning to a caller.
    pub opaque: [u64; 32],
}

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

const _: () =
    assert!(size_of::<Record>() <= size_of::<Memory>() && align_of::<Record>() <= align_of::<Memory>());

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

/// What a park says: see stubguard_stub_wait().
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// sizeof(struct stubguard_event), as the caller knows it: it gets as much.
    pub size: usize,
    /// The signal by which the guest stopped; 0 if it has not run: a batch is done, or has failed.
    pub signal: c_int,
    /// 1 if the guest has not run, although it was resumed: registers are as they were.
    pub again: c_int,
    /// What a call of the batch answered, a negative errno; 0 if all are done.
    pub error: c_int,
    /// How many calls were done before.
    pub done: c_int,
    /// The call by which the guest stopped, with SIGSYS; else -1.
    pub syscall: c_int,
    /// 1 if the call has come by notification: of the registers only those are known that the call has, the others are
    /// in the stub until stubguard_stub_fetch() or a resume takes them over.
    pub notified: c_int,
    /// With SIGSEGV: the page fault's error code,
    pub error_code: u64,
    /// its address,
    pub address: u64,
    /// and the number of the exception.
    pub trap: u64,
}

/// A call of the batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct BatchCall {
    /// Where in the guest's address space.
    pub addr: u64,
    /// How much, in bytes.
    pub length: u64,
    /// mmap: where in the memory's file.
    pub offset: u64,
    /// mmap: `PROT_READ | PROT_WRITE | PROT_EXEC`, or less.
    pub prot: u32,
    /// A `STUBGUARD_CALL_*`.
    pub kind: u32,
}

/// What to resume with.
pub struct Resume<'a> {
    /// The batch.
    pub calls: &'a [BatchCall],
    /// `None` for the batch only.
    pub guest: Option<Guest>,
    /// The CPU that waits, if it has to.
    pub cpu: c_int,
}

/// A guest, and what its kernel knows of it.
pub struct Guest {
    /// Its state.
    pub state: Caller,
    /// Whether to trap after one instruction.
    pub step: bool,
    /// Whether somebody is going to look at its registers, or other threads want its stub: its calls would be fetched.
    pub trap: bool,
}

/// Where a park's state goes.
pub struct Target {
    /// Registers and floating-point state.
    pub state: Caller,
    /// A `siginfo_t`.
    pub siginfo: Option<StubData>,
    /// The rest of the registers is wanted of a guest that is in a call: what the host has captured of that,
    /// the caller has, and may have changed.
    pub rest: bool,
}

/// Words of `struct user_regs_struct`, for each general register of a `mcontext_t` in its order:
/// r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags. The first 15 are [`Head::gp`]'s.
const FROM_MCONTEXT: [usize; 18] = [9, 8, 7, 6, 3, 2, 1, 0, 14, 13, 4, 5, 12, 10, 11, 19, 16, 18];
/// Words of `struct user_regs_struct`: a call's arguments.
const ARGUMENTS: [usize; 6] = [14, 13, 12, 7, 9, 8];
/// `rax` in `struct user_regs_struct`.
const RAX: usize = 10;
/// `rip` in `struct user_regs_struct`.
const RIP: usize = 16;
/// `cs` in `struct user_regs_struct`.
const CS: usize = 17;
/// `rsp` in `struct user_regs_struct`.
const RSP: usize = 19;
/// `ss` in `struct user_regs_struct`.
const SS: usize = 20;
/// `fs_base` in `struct user_regs_struct`.
const FS_BASE: usize = 21;
/// `gs_base` in `struct user_regs_struct`.
const GS_BASE: usize = 22;

/// `mcontext_t.gregs`, as words.
mod mcontext {
    /// cbindgen:ignore
    pub const RIP: usize = 16;
    /// cbindgen:ignore
    pub const CSGSFS: usize = 18;
    /// cbindgen:ignore
    pub const ERR: usize = 19;
    /// cbindgen:ignore
    pub const TRAPNO: usize = 20;
    /// cbindgen:ignore
    pub const CR2: usize = 22;
    /// cbindgen:ignore
    pub const WORDS: usize = 23;
}

/// `siginfo_t.si_syscall`, in bytes.
const SI_SYSCALL: u32 = 24;

/// `__USER_CS`, `__USER32_CS`, `__USER_DS` of the host, by which a guest may run.
const USER_CS: u64 = 0x33;
const USER32_CS: u64 = 0x23;
const USER_DS: u64 = 0x2b;
const TRAP_FLAG: u64 = 1 << 8;
/// The flags of a new process: interrupts, and the bit that is always set.
const EFLAGS: u64 = 0x202;

/// Results that only mean something to a kernel, from ERESTARTSYS on: the host would act on them, too.
const RESTARTS: core::ops::RangeInclusive<i64> = -531..=-512;

/// How often a stub is washed, should signals disturb it.
const WASHES: u32 = 8;

/// No base that a guest may have.
const UNKNOWN_BASE: u64 = u64::MAX;

/// One stub and what is needed to deal with it.
pub struct Parked<'a, Hook> {
    /// The monitor that answers other calls than parks.
    pub monitor: Monitor<'a, Hook>,
    /// `STUBGUARD_F_*`.
    pub features: u32,
    /// See [`Record`].
    pub caller: &'a AtomicUsize,
    /// The stub.
    pub stub: &'a mut Stub,
    /// What the stub sees of its data.
    pub shared: StubData,
}

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
    fn stopped(&mut self, state: State) {
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
    fn forget_bases(&mut self) {
        (self.fs_base, self.gs_base) = (UNKNOWN_BASE, UNKNOWN_BASE);
    }

    /// Whether a resume, a wait make sense now.
    ///
    /// # Errors
    /// `ESRCH` for a stub that is to be killed; `EINVAL`.
    fn expect(&self, states: &[State]) -> Result<()> {
        match self.state {
            state if states.contains(&state) => Ok(()),
            State::Broken => Err(Errno::ESRCH),
            _ => Err(Errno::EINVAL),
        }
    }
}

impl<Hook: FnMut(u64, u64, u64) -> bool> Parked<'_, Hook> {
    /// Lets a stub go on, in the way that its state asks for: a new one is waited for first; a guest's call is answered,
    /// if that is all there is to do, or else its registers are fetched; a parked one is given the batch and the guest.
    ///
    /// # Errors
    /// `EINVAL` if it runs, or for what cannot be asked; `EINTR` if a new one has not parked yet: nothing has
    /// changed. `EPERM` for a batch that is not the guest's to run; `ESRCH` if it is dead; others from the host: the stub is
    /// broken then.
    pub fn resume(&mut self, resume: &Resume<'_>) -> Result<()> {
        self.stub.expect(&[State::Starting, State::Parked, State::Calling])?;
        if resume.calls.len() > STUBGUARD_CALLS_MAX
            || (resume.calls.is_empty() && resume.guest.is_none())
            || !self.knows(resume.cpu)
        {
            return Err(Errno::EINVAL);
        }
        if self.stub.state == State::Starting {
            self.wait(resume.cpu, None)?;
        }
        self.or_broken(|parked| parked.try_resume(resume))
    }

    fn try_resume(&mut self, resume: &Resume<'_>) -> Result<()> {
        if self.stub.state == State::Calling {
            if let Some(result) = self.result_of_call(resume) {
                self.forget_caller();
                return self.let_go(result);
            }
            // A call that leads to a batch: the next one is likely to, and a frame is cheaper than a fetch.
            self.stub.trap |= resume.guest.is_some() && !resume.calls.is_empty();
            self.fetch_caller(resume.cpu)?;
        }
        if resume.guest.is_some() && self.stub.trapped && resume.calls.is_empty() {
            self.stub.trap = false;
        }
        let Batch { calls, maps } = self.write_batch(resume.calls)?;
        let mut head = Head { calls, flags: self.limit(maps)?, ..Head::default() };
        if let Some(guest) = &resume.guest {
            self.fill_guest(&mut head, guest).ok_or(Errno::EINVAL)?;
        }
        self.write_head(head)?;
        self.stub.calls = calls;
        self.stub.state = if resume.guest.is_some() { State::Running } else { State::Syncing };
        self.answer()
    }

    /// What the call that holds the stub is to return, if its guest is to go on behind it, and nothing else is to be
    /// done.
    fn result_of_call(&self, resume: &Resume<'_>) -> Option<i64> {
        let guest = resume.guest.as_ref()?;
        let caller = self.stub.caller?;
        if !resume.calls.is_empty() || guest.step || !caller.registers.is(&guest.state.registers) {
            return None;
        }
        let result = guest.state.registers.load::<i64>(const { (RAX * 8) as u32 })?;
        (!RESTARTS.contains(&result)).then_some(result)
    }

    /// The stub has no registers of a guest's any more: their owner, on another CPU, may go on with them.
    fn forget_caller(&mut self) {
        self.stub.caller = None;
        self.caller.store(0, Ordering::Release);
    }

    /// Does what breaks the stub if it fails.
    fn or_broken<T>(&mut self, what: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        what(self).inspect_err(|_| self.stub.state = State::Broken)
    }

    /// Lets the stub map if the batch is to, and says by which flag it ends that.
    ///
    /// By pid, as there is no other way: should the stub have died and been reaped at this moment, and its pid
    /// be another process's already, that one has the limit lifted which it has from us.
    fn limit(&mut self, maps: bool) -> Result<u32> {
        match self.stub.limit {
            Limit::Holds if !maps => return Ok(0),
            Limit::Holds => rlimit::lift(self.stub.pid)?,
            Limit::Lifted | Limit::Returning => {}
        }
        self.stub.limit = Limit::Returning;
        Ok(code::LIMIT)
    }

    /// Answers the park that holds the stub.
    fn answer(&mut self) -> Result<()> {
        match self.send(code::ANSWER) {
            Err(Errno::ENOENT) => {
                match seccomp::wait(self.monitor.listener, 0) {
                    Ok(pending) if self.is_dead(pending) => Err(Errno::ESRCH),
                    // It comes again: see `park`.
                    _ => Ok(()),
                }
            }
            result => result,
        }
    }

    /// Has the call that holds the stub return a value.
    fn send(&self, value: i64) -> Result<()> {
        listener::send(self.monitor.listener, self.stub.notification, Answer::Return(value))
    }

    /// Lets a guest go on behind its call. No signal withdraws a call that has been received
    /// (WAIT_KILLABLE_RECV): if there is none to answer, the stub is dead.
    fn let_go(&mut self, result: i64) -> Result<()> {
        self.stub.state = State::Running;
        self.send(result).map_err(|error| {
            self.stub.state = State::Broken;
            if error == Errno::ENOENT { Errno::ESRCH } else { error }
        })
    }

    /// Takes over the registers of a guest that is in a call, if there is one, and if they are the ones at `registers`:
    /// it is as if the call had made a signal frame.
    ///
    /// A signal is sent while the host holds the stub in the call, so it comes first thing behind that: the
    /// host makes a frame, before the guest makes a step, and the stub parks.
    ///
    /// # Errors
    /// `EINVAL` for a CPU that there is not: nothing has changed. `ESRCH` if the stub is dead, `EPROTO` if it does not
    /// park as it must, others from the host: the stub is broken then.
    pub fn fetch(&mut self, cpu: c_int, registers: usize) -> Result<()> {
        if !self.knows(cpu) {
            return Err(Errno::EINVAL);
        }
        match self.stub.state {
            State::Broken => Err(Errno::ESRCH),
            State::Calling if registers == 0 || self.caller.load(Ordering::Relaxed) == registers => {
                self.or_broken(|parked| parked.fetch_caller(cpu))
            }
            _ => Ok(()),
        }
    }

    fn fetch_caller(&mut self, cpu: c_int) -> Result<()> {
        let state = self.stub.caller.ok_or(Errno::EIO)?;
        let result = self.try_fetch(cpu, &Target { state, siginfo: None, rest: true });
        self.forget_caller();
        result
    }

    fn try_fetch(&mut self, cpu: c_int, target: &Target) -> Result<()> {
        let process = pidfd::open(self.stub.pid)?;
        // The stub still is in its call: it has lived all the time, so this is its pid.
        match seccomp::is_suspended(self.monitor.listener, self.stub.notification) {
            Err(Errno::ENOENT) => return Err(Errno::ESRCH),
            other => other?,
        }
        pidfd::signal(process.as_fd(), libc::SIGALRM)?;
        self.let_go(0)?;
        let event = loop {
            match self.try_wait(cpu, Some(target)) {
                Err(Errno::EINTR) => {}
                other => break other?,
            }
        };
        // Whichever signal the host has delivered first, the state is the same.
        if event.signal == 0 || event.again != 0 || event.notified != 0 {
            return Err(broken(self.monitor.config, Breach::Park));
        }
        Ok(())
    }

    fn fill_guest(&mut self, head: &mut Head, guest: &Guest) -> Option<()> {
        let registers: [u64; STUBGUARD_REGISTERS] = guest.state.registers.load_all(0)?;
        let register = |index: usize| registers.get(index).copied().unwrap_or(0);
        let mut from = FROM_MCONTEXT.iter().map(|index| register(*index));
        for (target, value) in head.gp.iter_mut().zip(&mut from) {
            *target = value;
        }
        let (rsp, rip, mut eflags) = (from.next()?, from.next()?, from.next()?);
        eflags &= !TRAP_FLAG;
        if guest.step {
            eflags |= TRAP_FLAG;
        }
        let cs = if register(CS) & 0xffff == USER32_CS { USER32_CS } else { USER_CS };
        head.iret = [rip, cs, eflags, rsp, USER_DS];
        head.flags |= self.guest_flags();
        head.xfeatures = self.stub.xfeatures;
        // A base that cannot be the guest's is not set, as the host would refuse to: it stays what it is.
        let base = |wanted: u64, old: u64| if wanted < self.monitor.config.stub_start { wanted } else { old };
        head.fs_base = base(register(FS_BASE), self.stub.fs_base);
        head.gs_base = base(register(GS_BASE), self.stub.gs_base);
        if head.fs_base != self.stub.fs_base {
            head.flags |= code::SET_FS;
        }
        if head.gs_base != self.stub.gs_base {
            head.flags |= code::SET_GS;
        }
        (self.stub.fs_base, self.stub.gs_base) = (head.fs_base, head.gs_base);
        // Dispatched before the host asks any filter: another one around this process does not see the call.
        let trap = guest.trap || self.stub.trap || !self.monitor.config.notifies_calls();
        self.shared.store(code::STUBGUARD_SELECTOR as u32, u64::from(trap))?;
        self.write_fp(&guest.state.fp)
    }

    /// The guest's floating-point state, its header without what no processor loads: a guest's own sigreturn or a
    /// debugger may have put it there, and each resume would fault. (Without a guard such a task lives.)
    fn write_fp(&self, from: &StubData) -> Option<()> {
        let size = self.monitor.config.fp_size;
        from.copy(0, &self.shared, code::FP as u32, size)?;
        if size >= frame::XSAVE_LEAST {
            let features = from.load::<u64>(frame::XSTATE_HEADER)?;
            self.shared.store_all(
                const { code::FP as u32 + frame::XSTATE_HEADER },
                &[features & self.stub.xfeatures, 0, 0],
            )?;
        }
        Some(())
    }

    /// How this host's stubs get to their guest.
    fn guest_flags(&self) -> u32 {
        let mut flags = code::GUEST;
        if self.monitor.config.fp_size == frame::FXSAVE {
            flags |= code::FXSAVE;
        }
        if self.features & STUBGUARD_F_FSGSBASE == 0 {
            flags |= code::BY_CALL;
        }
        flags
    }

    /// Makes a parked stub one that has no guest: nothing mapped, all state as at its start.
    ///
    /// It may have come into the park by itself, with signals open or what else a hijacked guest can
    /// prepare. So it has to go through the host's own door once more: resumed with nothing mapped, at
    /// address 0, it faults, and the host makes a frame and enters the handler, as it should be.
    ///
    /// # Errors
    /// As [`Self::resume`] and [`Self::wait`]; `EPROTO` if it does anything else.
    pub fn wash(&mut self, cpu: c_int) -> Result<()> {
        if !self.stub.is_clean() || !self.knows(cpu) {
            return Err(Errno::EINVAL);
        }
        self.or_broken(|parked| parked.try_wash(cpu))
    }

    fn try_wash(&mut self, cpu: c_int) -> Result<()> {
        for _ in 0..WASHES {
            let mut calls = 0;
            self.write_call(&mut calls, Call { length: self.monitor.config.stub_start, ..Call::default() })?;
            let head = Head {
                flags: self.limit(false)?
                    | self.guest_flags()
                    | code::SET_FS
                    | code::SET_GS
                    | code::SELECTORS,
                calls,
                iret: [0, USER_CS, EFLAGS, 0, USER_DS],
                xfeatures: self.stub.xfeatures,
                ..Head::default()
            };
            self.write_head(head)?;
            self.shared.zero(code::FP as u32, self.monitor.config.fp_size).ok_or(Errno::EINVAL)?;
            self.stub.calls = calls;
            (self.stub.fs_base, self.stub.gs_base) = (0, 0);
            self.stub.state = State::Running;
            self.answer()?;
            let event = loop {
                match self.try_wait(cpu, None) {
                    Err(Errno::EINTR) => {}
                    other => break other?,
                }
            };
            match (event.signal, event.again, event.address) {
                (libc::SIGSEGV, 0, 0) if event.error == 0 => return Ok(()),
                // A timer's signal, pending or on the way.
                (libc::SIGALRM, ..) => {}
                _ => break,
            }
        }
        Err(Errno::EPROTO)
    }

    /// Checks the batch, and copies it to the stub.
    ///
    /// The page table may have changed since a call was queued: another thread of the guest process has
    /// unmapped or write-protected a page. The old rights must not be given any more, but it is
    /// nobody's fault: such a page is left out, or mapped without the right to write. Its change was marked for a
    /// synchronisation of its own, which for the latter may be an mprotect: that needs the page to be there.
    fn write_batch(&mut self, calls: &[BatchCall]) -> Result<Batch> {
        let mut batch = Batch::default();
        self.stub.asked = u16::try_from(calls.len()).map_err(|_| Errno::EINVAL)?;
        for (index, call) in (0..self.stub.asked).zip(calls) {
            let BatchCall { addr, length, offset, prot, kind } = *call;
            let left = match kind {
                STUBGUARD_CALL_MMAP => {
                    let mmap = Mmap {
                        addr,
                        length,
                        prot: prot.into(),
                        flags: (libc::MAP_SHARED | libc::MAP_FIXED) as u64,
                        fd: code::STUBGUARD_MEMORY_FD as u64,
                        offset,
                    };
                    batch.maps |= self.write_mmap(&mut batch.calls, &mmap, index)?;
                    continue;
                }
                STUBGUARD_CALL_MUNMAP => 0,
                STUBGUARD_CALL_WRPROTECT => code::WRPROTECTED,
                _ => return Err(Errno::EPERM),
            };
            policy::check_range(self.monitor.config, addr, length).map_err(denied)?;
            self.write_call(&mut batch.calls, Call { addr, length, prot: left, index, ..Call::default() })?;
        }
        Ok(batch)
    }

    /// Whether it maps anything. (Without any rights it is made a munmap: of what the stub has, nothing may be out of
    /// the guest's reach, see the filter's rule for mprotect.)
    #[allow(clippy::arithmetic_side_effects)] // Within the range that `pages` has checked.
    fn write_mmap(&mut self, count: &mut u32, mmap: &Mmap, index: u16) -> Result<bool> {
        let pages = policy::pages(self.monitor.config, mmap).map_err(denied)?;
        let page = u64::from(self.monitor.config.page_size);
        let Mmap { addr, length, offset, prot, .. } = *mmap;
        if prot == 0 {
            self.write_call(count, Call { addr, length, index, ..Call::default() })?;
            return Ok(false);
        }
        let before = *count;
        // A run of pages that are granted with the same rights.
        let mut run = Call { addr, length: 0, offset, prot: prot as u32, maps: 1, index };
        for (page_addr, page_offset) in pages {
            let rights = self.granted(page_addr, prot, page_offset);
            if rights != u64::from(run.prot) {
                self.write_run(count, run)?;
                run = Call { addr: page_addr, length: 0, offset: page_offset, prot: rights as u32, ..run };
            }
            run.length += page;
        }
        self.write_run(count, run)?;
        Ok(*count > before)
    }

    /// What the page table does not grant is left out.
    fn write_run(&self, count: &mut u32, run: Call) -> Result<()> {
        if run.prot == 0 || run.length == 0 { Ok(()) } else { self.write_call(count, run) }
    }

    /// What of these rights the page table grants, to this page of the memory: all, all but that to write, or none.
    fn granted(&mut self, addr: u64, prot: u64, offset: u64) -> u64 {
        const WRITE: u64 = libc::PROT_WRITE as u64;

        if (self.monitor.granted)(addr, prot, offset) {
            return prot;
        }
        counters::denied(Denial::PageTable);
        let less = prot & !WRITE;
        if less != prot && (self.monitor.granted)(addr, less, offset) { less } else { 0 }
    }

    fn write_call(&self, count: &mut u32, call: Call) -> Result<()> {
        // Split into more calls than there is room for: no honest guest gets there.
        let at = call_at(*count).ok_or_else(|| denied(Denial::PageTable))?;
        *count = count.saturating_add(1);
        self.shared.store_all(at, &call).ok_or(Errno::EINVAL)
    }

    /// Waits until the stub parks.
    ///
    /// # Errors
    /// `EINTR`: look around, and wait again. `ESRCH` if it is dead, `EPROTO` if it has broken the
    /// protocol: it must be killed. `EINVAL` if it was not resumed.
    pub fn wait(&mut self, cpu: c_int, target: Option<&Target>) -> Result<Event> {
        self.stub.expect(&[State::Starting, State::Running, State::Syncing])?;
        if !self.knows(cpu) || (target.is_none() && self.stub.state == State::Running) {
            return Err(Errno::EINVAL);
        }
        let ran = self.stub.state == State::Running;
        match self.try_wait(cpu, target) {
            Ok(event) => {
                if ran {
                    self.stub.trapped = event.signal == libc::SIGSYS && event.notified == 0;
                }
                Ok(event)
            }
            Err(Errno::EINTR) => Err(Errno::EINTR),
            Err(error) => {
                self.stub.state = State::Broken;
                Err(error)
            }
        }
    }

    /// Whether there is such a CPU: a bad argument changes nothing.
    fn knows(&self, cpu: c_int) -> bool {
        u32::try_from(cpu).is_ok_and(|cpu| cpu < self.monitor.config.cpus)
    }

    fn try_wait(&mut self, cpu: c_int, target: Option<&Target>) -> Result<Event> {
        for _ in 0..REPEATS_MAX {
            watchdog::enter(cpu, self.stub.pid, self.stub.identity)?;
            let received = self.receive();
            // What is no report does not end the wait, however many come.
            let goes_on = match &received {
                Ok(notification) => self.is_park(notification) && self.repeats(notification),
                Err(error) => *error == Errno::EINTR,
            };
            if !goes_on {
                match watchdog::exit(cpu) {
                    // EINVAL: another wait of this CPU, in an interrupt, has ended it. Nobody was killed.
                    Ok(()) | Err(Errno::EINVAL) => {}
                    Err(error) => return Err(error),
                }
            }
            let notification = received?;
            if self.is_guests(&notification) {
                return self.call(&notification, target).ok_or(Errno::EINVAL);
            }
            if !self.is_park(&notification) {
                // No filter of ours lets anything else notify.
                return Err(broken(self.monitor.config, Breach::Call));
            }
            if let Some(event) = self.park(&notification, target)? {
                return Ok(event);
            }
        }
        Err(Errno::EINTR)
    }

    fn is_park(&self, notification: &Notification) -> bool {
        let call = &notification.call;
        let place = call.instruction_pointer.wrapping_sub(self.monitor.config.stub_start);
        call.arch == stub::ARCH && call.nr == code::PARK_NR && place == Place::Park.offset()
    }

    /// Whether it is a park from before the last resume.
    fn repeats(&self, notification: &Notification) -> bool {
        let ticket = notification::argument(notification, 3);
        self.stub.state != State::Starting && ticket == self.stub.ticket.wrapping_sub(1)
    }

    /// Whether it is a call of the guest's own, which notifies by `stub::filter`'s rule.
    fn is_guests(&self, notification: &Notification) -> bool {
        let call = &notification.call;
        self.stub.state == State::Running
            && call.arch == stub::ARCH
            && call.instruction_pointer < self.monitor.config.guest_end
            && calls::notifies(call.nr.cast_unsigned())
    }

    /// Takes over what the host has captured of a guest's call. The other registers are not known and read as 0,
    /// except the stack pointer: it stays as the guest was resumed with it, which is near enough for
    /// `/proc/PID/syscall`.
    fn call(&mut self, notification: &Notification, target: Option<&Target>) -> Option<Event> {
        let Notification { id, call } = notification;
        if let Some(target) = target {
            let store = |index: usize, value: u64| {
                target.state.registers.store(u32::try_from(index.checked_mul(8)?).ok()?, value)
            };
            for index in FROM_MCONTEXT.into_iter().filter(|index| *index != RSP) {
                store(index, 0)?;
            }
            for (index, value) in ARGUMENTS.iter().zip(call.args) {
                store(*index, value)?;
            }
            store(RAX, call.nr.cast_unsigned().into())?;
            store(RIP, call.instruction_pointer)?;
            self.stub.caller = Some(target.state);
            self.caller.store(target.state.registers.address(), Ordering::Release);
        }
        self.stub.notification = *id;
        self.stub.call_ip = call.instruction_pointer;
        self.stub.stopped(State::Calling);
        Some(Event { signal: libc::SIGSYS, syscall: call.nr, notified: 1, ..Event::default() })
    }

    /// A host that does not tell a receive of the stub's death is polled before, so that the monitor may look.
    fn receive(&self) -> Result<Notification> {
        let timeout = (self.features & STUBGUARD_F_RECEIVE_ENDS == 0).then_some(WAIT_MS);
        let pending = match listener::receive(self.monitor.listener, timeout) {
            Ok(Received::Call(notification)) => return Ok(notification),
            Ok(Received::Gone) => Pending::Gone,
            Ok(Received::Nothing) => Pending::Nothing,
            // With a timer each poll may end so.
            Err(Errno::EINTR) if timeout.is_some() => Pending::Nothing,
            Err(error) => return Err(error),
        };
        Err(if self.is_dead(pending) { Errno::ESRCH } else { Errno::EINTR })
    }

    /// Whether the stub is dead. Before Linux 6.11 its listener tells only when it has been reaped, which a monitor
    /// that holds off SIGCHLD must not wait for.
    fn is_dead(&self, pending: Pending) -> bool {
        let told = self.features & STUBGUARD_F_RECEIVE_ENDS != 0;
        pending == Pending::Gone || (pending == Pending::Nothing && !told && pidfd::has_ended(self.stub.pid))
    }

    /// Numbers a resume, and writes what the stub will read of it.
    fn write_head(&mut self, head: Head) -> Result<()> {
        self.stub.ticket = self.stub.ticket.wrapping_add(1);
        self.shared.store_all(0, &Head { ticket: self.stub.ticket, ..head }).ok_or(Errno::EINVAL)
    }

    /// Takes a park over; `None` if it was one that has been answered before.
    fn park(&mut self, notification: &Notification, target: Option<&Target>) -> Result<Option<Event>> {
        let [first, second, third, ticket] =
            [0, 1, 2, 3].map(|index| notification::argument(notification, index));
        self.stub.notification = notification.id;
        if self.stub.state == State::Starting {
            self.stub.ticket = ticket;
        }
        if self.repeats(notification) {
            // Its answer came too late, or the host has lost it. What it says was heard then.
            // Should a guest say so itself, it has the limit already, and what it finds behind the park is its own.
            counters::RESYNCHRONISED.bump();
            self.answer()?;
            return Ok(None);
        }
        if ticket != self.stub.ticket {
            return Err(broken(self.monitor.config, Breach::Park));
        }
        let arguments = [first, second, third];
        let event = self.judge(arguments, target).map_err(|breach| broken(self.monitor.config, breach))?;
        self.stub.stopped(State::Parked);
        Ok(Some(event))
    }

    fn judge(&mut self, arguments: [u64; 3], target: Option<&Target>) -> core::result::Result<Event, Breach> {
        let [what, second, third] = arguments;
        let state = self.stub.state;
        match what {
            code::PARK_DONE if state == State::Syncing => Ok(Event { syscall: -1, ..Event::default() }),
            code::PARK_FAILED => self.failed(second as i64, third),
            code::PARK_DONE => Err(Breach::Park),
            _ if state == State::Syncing => Err(Breach::Park),
            signal => {
                let signal = c_int::try_from(signal).map_err(|_| Breach::Signal)?;
                if !SIGNALS.contains(&signal) {
                    return Err(Breach::Signal);
                }
                self.signal(signal, second, third, target)
            }
        }
    }

    /// A call of the batch has failed: with a result that is no error if the host has mapped elsewhere,
    /// which no host does.
    fn failed(&mut self, result: i64, left: u64) -> core::result::Result<Event, Breach> {
        let left = u32::try_from(left).map_err(|_| Breach::Park)?;
        let done = self.stub.calls.checked_sub(left).filter(|_| left > 0).ok_or(Breach::Park)?;
        // Which of the caller's calls that was is in the control page, as the stub has it.
        let at = call_at(done).and_then(|at| at.checked_add(offset_of!(Call, index) as u32));
        let index: u16 = at.and_then(|at| self.shared.load(at)).ok_or(Breach::Park)?;
        if index >= self.stub.asked {
            return Err(Breach::Park);
        }
        let known = (MAX_ERRNO.saturating_neg()..0).contains(&result);
        // The guest's bases have not been set. Whether it is as it says nobody knows.
        self.stub.forget_bases();
        self.stub.suspect = true;
        Ok(Event {
            error: if known { result as c_int } else { -libc::EIO },
            done: index.into(),
            syscall: -1,
            ..Event::default()
        })
    }

    fn signal(
        &mut self,
        signal: c_int,
        siginfo: u64,
        ucontext: u64,
        target: Option<&Target>,
    ) -> core::result::Result<Event, Breach> {
        let config = self.monitor.config;
        let stack = config.stub_data_address(code::FP as u32);
        let on_stack = |address: u64| {
            address.checked_sub(stack).and_then(|offset| u16::try_from(offset).ok()).ok_or(Breach::Frame)
        };
        let (siginfo, ucontext) = (on_stack(siginfo)?, on_stack(ucontext)?);
        let mcontext = ucontext.checked_add(frame::UCONTEXT_TO_MCONTEXT as u16).ok_or(Breach::Frame)?;
        if self.stub.state == State::Starting {
            // No guest has run: this is where the host puts this stub's frames.
            let frame = Frame::new(config, siginfo, mcontext)?;
            let fpstate = frame.fpstate(config, &self.shared)?;
            self.stub.fpstate = u16::try_from(fpstate).map_err(|_| Breach::FpState)?;
            (self.stub.siginfo, self.stub.mcontext) = (siginfo, mcontext);
            let at = (code::FP as u32).saturating_add(fpstate).saturating_add(frame::XFEATURES);
            self.stub.xfeatures = self.shared.load(at).ok_or(Breach::FpState)?;
        } else if (siginfo, mcontext) != (self.stub.siginfo, self.stub.mcontext) {
            return Err(Breach::Frame);
        }
        let at = |offset: u16| (code::FP as u32).saturating_add(offset.into());
        let words: [u64; mcontext::WORDS] = self.shared.load_all(at(mcontext)).ok_or(Breach::Frame)?;
        let word = |index: usize| words.get(index).copied().unwrap_or(0);

        let mut event = Event { signal, syscall: -1, ..Event::default() };
        if signal == libc::SIGSEGV {
            event.error_code = word(mcontext::ERR);
            event.address = word(mcontext::CR2);
            event.trap = word(mcontext::TRAPNO);
        }
        let place = word(mcontext::RIP).wrapping_sub(config.stub_start);
        if place < u64::from(config.page_size) {
            // On its way to the guest, or at any place if the guest has jumped into the page.
            if place < Place::Unblock.offset() || place > Place::Iret.offset() {
                return Err(Breach::Park);
            }
            // A fault there: xrstor or iretq do not like what the guest has for a state.
            if !matches!(signal, libc::SIGALRM | libc::SIGSEGV) {
                return Err(Breach::Signal);
            }
            event.again = 1;
            return Ok(event);
        }
        if signal == libc::SIGSYS {
            let at = at(siginfo).saturating_add(SI_SYSCALL);
            event.syscall = self.shared.load(at).ok_or(Breach::Frame)?;
        }
        if let Some(target) = target {
            if target.rest && word(mcontext::RIP) != self.stub.call_ip {
                return Err(Breach::Park);
            }
            self.take(&words, target, at(siginfo), at(self.stub.fpstate)).ok_or(Breach::Frame)?;
        }
        Ok(event)
    }

    /// Writes the guest's state to where the caller wants it.
    fn take(
        &self,
        words: &[u64; mcontext::WORDS],
        target: &Target,
        siginfo: u32,
        fpstate: u32,
    ) -> Option<()> {
        let store = |index: usize, value: u64| {
            target.state.registers.store(u32::try_from(index.checked_mul(8)?).ok()?, value)
        };
        for (index, value) in FROM_MCONTEXT.iter().zip(words) {
            let captured = *index == RAX || *index == RIP || ARGUMENTS.contains(index);
            if !(target.rest && captured) {
                store(*index, *value)?;
            }
        }
        let selectors = *words.get(mcontext::CSGSFS)?;
        store(CS, selectors & 0xffff)?;
        store(SS, selectors >> 48)?;
        if let Some(target) = &target.siginfo {
            self.shared.copy(siginfo, target, 0, frame::SIGINFO)?;
        }
        self.shared.copy(fpstate, &target.state.fp, 0, self.monitor.config.fp_size)
    }
}

/// Where a call of the batch is in the control page.
fn call_at(index: u32) -> Option<u32> {
    let at = index.checked_mul(size_of::<Call>() as u32)?.checked_add(offset_of!(Control, batch) as u32)?;
    ((index as usize) < code::CALLS_MAX).then_some(at)
}

/// What the stub is to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Batch {
    calls: u32,
    /// Whether it maps anything.
    maps: bool,
}

fn denied(denial: Denial) -> Errno {
    counters::denied(denial);
    Errno::EPERM
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;

#[cfg(fuzzing)]
pub mod fuzz;
