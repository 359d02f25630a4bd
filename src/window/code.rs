// SPDX-License-Identifier: GPL-2.0-only
//! The code of a parked stub, and where its system calls are (x86-64).
//!
//! The code itself is `code.s`. This file gives it the layout of what it reads, and says where its sites are.
//!
//! The caller copies [`bytes`] to the start of the stub's code page, so it is position independent
//! within that page and the data pages behind it. Its first byte is the handler of all the stub's
//! signals. The handler *is* the park: its arguments (signal, siginfo, ucontext) are the arguments
//! of the call by which the stub hands over, with the ticket of its last resume as a fourth, and the host holds
//! the stub until the monitor answers.
//!
//! Whatever stands behind the park may be reached by a guest that has jumped there with registers
//! and a stack of its own. So from the park on
//! - nothing is taken from a register but the call's own result, and nothing from the stack: all
//!   else comes from the control page ([`Control`]), which the monitor writes on every resume;
//! - nothing is called, nothing returns, nothing is pushed (rsp is in the read-only code page);
//! - the limit is back before a signal can come, and before the guest can run.
//!
//! | site      | call                                        | |
//! |-----------|---------------------------------------------|-|
//! | park      | getppid, which notifies                     | hands over to the monitor |
//! | mmap      | `MAP_SHARED \| MAP_FIXED` below the stub      | a call of the batch |
//! | munmap    | below the stub                              | a call of the batch |
//! | mprotect  | below the stub, to `PROT_READ \| PROT_EXEC` | a call of the batch: takes the right to write |
//! | limit     | prlimit of its own `RLIMIT_AS`, to a constant, 0 | ends the window: nothing can be mapped from here on |
//! | `set_fs`, `set_gs` | arch_prctl                         | only on hosts without FSGSBASE |
//! | unblock   | rt_sigprocmask with a constant, empty mask  | signals may come from here on |
//! | kill      | anything: no rule allows it                 | the filter ends the process |

#![allow(unsafe_code)]

use crate::abi::{
    STUBGUARD_DATA_SIZE, STUBGUARD_MEMORY_FD, STUBGUARD_SELECTOR, STUBGUARD_STACK, STUBGUARD_STACK_SIZE,
};
use crate::memory::{Plain, StubData};
use core::mem::offset_of;

/// How many calls fit into the control page: more than UML's `struct stub_data` holds, as one of
/// its calls may have to be split.
///
/// cbindgen:ignore
pub const CALLS_MAX: usize = 112;

/// The call that parks: it takes no arguments, so it harms nobody where it does not notify.
///
/// cbindgen:ignore
pub const PARK_NR: i32 = libc::SYS_getppid as i32;
/// What the batch's mprotect leaves of a page's rights: all that arch/um gives but the right to write.
///
/// cbindgen:ignore
pub const WRPROTECTED: u32 = (libc::PROT_READ | libc::PROT_EXEC) as u32;
/// What a park is answered with. Any other result (the listener is gone: ENOSYS) ends the stub.
///
/// cbindgen:ignore
pub const ANSWER: i64 = 1;
/// A park's first argument, if it is no signal: the batch is done, and nothing else was to be done.
///
/// cbindgen:ignore
pub const PARK_DONE: u64 = 0x1000;
/// A park's first argument: a call of the batch has failed. Second: its result. Third: how many
/// calls were left, this one included.
///
/// cbindgen:ignore
pub const PARK_FAILED: u64 = 0x1001;

/// `Control::flags`: resume the guest after the batch.
///
/// cbindgen:ignore
pub const GUEST: u32 = 1;
/// `Control::flags`: set the FS base.
///
/// cbindgen:ignore
pub const SET_FS: u32 = 2;
/// `Control::flags`: set the GS base.
///
/// cbindgen:ignore
pub const SET_GS: u32 = 4;
/// `Control::flags`: the host has no FSGSBASE, so by arch_prctl.
///
/// cbindgen:ignore
pub const BY_CALL: u32 = 8;
/// `Control::flags`: the host has no XSAVE.
///
/// cbindgen:ignore
pub const FXSAVE: u32 = 16;
/// `Control::flags`: the data selectors are to be as a new process has them.
///
/// cbindgen:ignore
pub const SELECTORS: u32 = 32;
/// `Control::flags`: nothing can be mapped after the batch.
///
/// cbindgen:ignore
pub const LIMIT: u32 = 64;

/// A call of the batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Call {
    /// First byte.
    pub addr: u64,
    /// Bytes.
    pub length: u64,
    /// In the memory file.
    pub offset: u64,
    /// `PROT_*`; 0 for munmap.
    pub prot: u32,
    /// Not 0 for mmap.
    pub maps: u16,
    /// Which of the caller's calls this is, or is a part of.
    pub index: u16,
}

#[allow(unsafe_code)]
// SAFETY: its members are integers that fill it.
unsafe impl Plain for Call {}

/// What the control page starts with: the monitor writes all of it on every resume.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Head {
    /// r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx.
    pub gp: [u64; 15],
    /// `GUEST`, `SET_FS`, ...
    pub flags: u32,
    /// How many calls there are.
    pub calls: u32,
    /// rip, cs, rflags, rsp, ss: what iretq pops.
    pub iret: [u64; 5],
    /// FS base.
    pub fs_base: u64,
    /// GS base.
    pub gs_base: u64,
    /// Which parts the floating-point state has. (With more, xrstor would want to reach beyond the
    /// stub's pages, where no address is.)
    pub xfeatures: u64,
    /// Another one for each resume: the next park says it.
    pub ticket: u64,
}

#[allow(unsafe_code)]
// SAFETY: its members are integers that fill it.
unsafe impl Plain for Head {}

/// The first of the stub's data pages: what the stub's code reads. The monitor writes it, while the
/// stub is parked; the guest can write it while it runs, which is why the monitor does not read it.
#[repr(C, align(16))]
pub struct Control {
    /// The part that is always written.
    pub head: Head,
    /// The batch.
    pub batch: [Call; CALLS_MAX],
}

/// The second data page starts with the floating-point state to resume with. It also is the stub's
/// signal stack: a frame is only there while the guest's own state is the monitor's.
///
/// cbindgen:ignore
pub const FP: usize = PAGE;

/// The stub's page: fixed for x86-64.
///
/// cbindgen:ignore
pub const PAGE: usize = 4096;

const _: () = {
    assert!(size_of::<Control>() <= STUBGUARD_SELECTOR);
    assert!(STUBGUARD_STACK == FP && STUBGUARD_STACK == PAGE);
    assert!(STUBGUARD_DATA_SIZE == STUBGUARD_STACK + STUBGUARD_STACK_SIZE);
    assert!(size_of::<Head>() == 25 * 8);
    assert!(size_of::<Call>() == 32);
};

core::arch::global_asm!(
    include_str!("code.s"),
    page = const PAGE,
    answer = const ANSWER,
    done = const PARK_DONE,
    failed = const PARK_FAILED,
    nr_park = const PARK_NR,
    nr_mmap = const libc::SYS_mmap,
    nr_munmap = const libc::SYS_munmap,
    nr_mprotect = const libc::SYS_mprotect,
    nr_prlimit = const libc::SYS_prlimit64,
    nr_arch_prctl = const libc::SYS_arch_prctl,
    nr_sigprocmask = const libc::SYS_rt_sigprocmask,
    nr_exit_group = const libc::SYS_exit_group,
    map = const libc::MAP_SHARED | libc::MAP_FIXED,
    memory_fd = const STUBGUARD_MEMORY_FD,
    sig_setmask = const libc::SIG_SETMASK,
    // The host's sigset_t: 64 signals.
    sigset_size = const size_of::<u64>(),
    arch_set_fs = const ARCH_SET_FS,
    arch_set_gs = const ARCH_SET_GS,
    // IF and the bit that is always set: an IF of 0 would be ignored, but would look odd.
    eflags = const 0x202,
    limit = const LIMIT,
    rlimit_as = const libc::RLIMIT_AS,
    guest = const GUEST,
    set_any = const SET_FS | SET_GS | SELECTORS,
    selectors = const SELECTORS,
    set_fs = const SET_FS,
    set_gs = const SET_GS,
    by_call = const BY_CALL,
    fxsave = const FXSAVE,
    flags = const offset_of!(Control, head.flags),
    calls = const offset_of!(Control, head.calls),
    batch = const offset_of!(Control, batch),
    fs_base = const offset_of!(Control, head.fs_base),
    gs_base = const offset_of!(Control, head.gs_base),
    xfeatures = const offset_of!(Control, head.xfeatures),
    ticket = const offset_of!(Control, head.ticket),
    gp = const offset_of!(Control, head.gp),
    iret = const offset_of!(Control, head.iret),
    fp = const FP,
    addr = const offset_of!(Call, addr),
    length = const offset_of!(Call, length),
    offset = const offset_of!(Call, offset),
    prot = const offset_of!(Call, prot),
    maps = const offset_of!(Call, maps),
    call_size = const size_of::<Call>(),
    options(att_syntax),
);

/// cbindgen:ignore
pub const ARCH_SET_GS: u32 = 0x1001;
/// cbindgen:ignore
pub const ARCH_SET_FS: u32 = 0x1002;

macro_rules! places {
    ($($(#[$doc:meta])* $name:ident = $symbol:ident,)*) => {
        unsafe extern "C" {
            static stubguard_blob: u8;
            static stubguard_blob_end: u8;
            $(static $symbol: u8;)*
        }

        /// A place in the code: the address behind a call's instruction, or of a constant.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Place {
            $($(#[$doc])* $name,)*
        }

        impl Place {
            /// All of them.
            #[cfg(test)]
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            fn symbol(self) -> *const u8 {
                match self {
                    $(Self::$name => &raw const $symbol,)*
                }
            }
        }
    };
}

places! {
    /// Behind the park.
    Park = stubguard_at_park,
    /// Behind the batch's mmap.
    Mmap = stubguard_at_mmap,
    /// Behind the batch's munmap.
    Munmap = stubguard_at_munmap,
    /// Behind the batch's mprotect.
    Mprotect = stubguard_at_mprotect,
    /// Behind prlimit.
    Limit = stubguard_at_limit,
    /// Behind arch_prctl SET_FS.
    SetFs = stubguard_at_set_fs,
    /// Behind arch_prctl SET_GS.
    SetGs = stubguard_at_set_gs,
    /// Behind rt_sigprocmask: from here to `Iret` a signal is a reason to resume again.
    Unblock = stubguard_at_unblock,
    /// The iretq.
    Iret = stubguard_at_iret,
    /// Behind the call that is never allowed.
    Kill = stubguard_at_kill,
    /// The limit that prlimit gets: 0, and the host's bound.
    Nothing = stubguard_at_nothing,
    /// The signal mask that rt_sigprocmask gets: no signals.
    Mask = stubguard_at_mask,
}

impl Place {
    /// Its distance from the start of the code page.
    #[must_use]
    pub fn offset(self) -> u64 {
        if cfg!(miri) {
            // It has no code: any places do, in their order.
            return (self as u64).wrapping_mul(16).wrapping_add(16);
        }
        self.symbol().addr().wrapping_sub((&raw const stubguard_blob).addr()) as u64
    }
}

/// The code, as it is in the library.
#[must_use]
pub fn bytes() -> &'static [u8] {
    let start = &raw const stubguard_blob;
    let length = (&raw const stubguard_blob_end).addr().wrapping_sub(start.addr());
    // SAFETY: the two symbols are the start and the end of one run of constant bytes.
    unsafe { core::slice::from_raw_parts(start, length) }
}

/// Copies the code to the start of a code page, with the bound that the stub may not exceed nor change: its own hard
/// limit. Returns the code's length.
#[must_use]
pub fn write(page: &StubData, hard_limit: u64) -> Option<usize> {
    let bytes = bytes();
    page.fill(0, bytes)?;
    let hard = u32::try_from(Place::Nothing.offset()).ok()?.checked_add(8)?;
    page.store(hard, hard_limit)?;
    Some(bytes.len())
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
