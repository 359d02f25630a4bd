// SPDX-License-Identifier: GPL-2.0-only
//! A guest's registers and floating-point state. A resume copies them to the stub. A park copies them from
//! the stub's frame; a call that notifies, from what the host has captured.

use super::Parked;
use super::code::{self, Head};
use super::stub::{Caller, State};
use crate::abi::{Event, STUBGUARD_F_FSGSBASE, STUBGUARD_REGISTERS, STUBGUARD_SELECTOR};
use crate::frame;
use crate::host::seccomp::Notification;
use crate::memory::StubData;
use core::sync::atomic::Ordering;

/// For each general register of `mcontext_t`, in its order: the word of `struct user_regs_struct`. The order
/// is r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags. The first 15 are [`Head::gp`].
pub(super) const FROM_MCONTEXT: [usize; 18] = [9, 8, 7, 6, 3, 2, 1, 0, 14, 13, 4, 5, 12, 10, 11, 19, 16, 18];
/// The words of `struct user_regs_struct` that hold a call's arguments.
pub(super) const ARGUMENTS: [usize; 6] = [14, 13, 12, 7, 9, 8];
/// `rax` in `struct user_regs_struct`.
pub(super) const RAX: usize = 10;
/// `rip` in `struct user_regs_struct`.
pub(super) const RIP: usize = 16;
/// `cs` in `struct user_regs_struct`.
pub(super) const CS: usize = 17;
/// `rsp` in `struct user_regs_struct`.
pub(super) const RSP: usize = 19;
/// `ss` in `struct user_regs_struct`.
pub(super) const SS: usize = 20;
/// `fs_base` in `struct user_regs_struct`.
pub(super) const FS_BASE: usize = 21;
/// `gs_base` in `struct user_regs_struct`.
pub(super) const GS_BASE: usize = 22;

/// Words of `mcontext_t.gregs`.
pub(super) mod mcontext {
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

/// The host's `__USER_CS`, `__USER32_CS` and `__USER_DS`: the selectors that a guest may run with.
pub(super) const USER_CS: u64 = 0x33;
pub(super) const USER32_CS: u64 = 0x23;
pub(super) const USER_DS: u64 = 0x2b;
pub(super) const TRAP_FLAG: u64 = 1 << 8;
/// The flags of a new process: IF, and the bit that is always set.
pub(super) const EFLAGS: u64 = 0x202;

/// A guest to resume, and what its kernel knows of it.
pub struct Guest {
    /// Its registers and floating-point state.
    pub state: Caller,
    /// Whether the guest traps after one instruction.
    pub step: bool,
    /// Whether its calls must trap: a tracer will look at its registers, or other threads want its stub. Each
    /// call would need a fetch.
    pub trap: bool,
}

/// Where to store the state of a guest that stopped.
pub struct Target {
    /// Registers and floating-point state.
    pub state: Caller,
    /// A `siginfo_t`.
    pub siginfo: Option<StubData>,
    /// Whether this is a fetch: store only the registers that the call's notification did not give. The
    /// caller has those already, and may have changed them.
    pub rest: bool,
}

impl<Hook: FnMut(u64, u64, u64) -> bool> Parked<'_, Hook> {
    pub(super) fn fill_guest(&mut self, head: &mut Head, guest: &Guest) -> Option<()> {
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
        // The host would refuse a base that cannot be the guest's. The stub keeps its old base then.
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
        // Syscall user dispatch comes before all seccomp filters, so an outer filter does not see a call that
        // traps.
        let trap = guest.trap || self.stub.trap || !self.monitor.config.notifies_calls();
        self.shared.store(STUBGUARD_SELECTOR as u32, u64::from(trap))?;
        self.write_fp(&guest.state.fp)
    }

    /// Copies the guest's floating-point state, and clears the XSAVE header bits that XRSTOR rejects.
    ///
    /// A guest's sigreturn or a debugger can set such bits. Without this every resume would fault, while such
    /// a task lives in a UML without a guard.
    pub(super) fn write_fp(&self, from: &StubData) -> Option<()> {
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

    /// Returns the flags by which stubs of this host resume a guest.
    pub(super) fn guest_flags(&self) -> u32 {
        let mut flags = code::GUEST;
        if self.monitor.config.fp_size == frame::FXSAVE {
            flags |= code::FXSAVE;
        }
        if self.features & STUBGUARD_F_FSGSBASE == 0 {
            flags |= code::BY_CALL;
        }
        flags
    }

    /// Takes over what the host has captured of a guest's call.
    ///
    /// The other registers are stored as 0. Only the stack pointer keeps the value of the last resume, which
    /// is near enough for `/proc/PID/syscall`.
    pub(super) fn call(&mut self, notification: &Notification, target: Option<&Target>) -> Option<Event> {
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

    /// Stores the guest's state from its signal frame in `target`.
    pub(super) fn take(
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
