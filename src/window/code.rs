// SPDX-License-Identifier: GPL-2.0-only
//! The code that a stub of window mode runs, and the sites of its host calls (x86-64).
//!
//! The code itself is `code.s`. This file gives it the layout of what it reads, and the addresses of its
//! sites.
//!
//! [`write()`] copies the code to the start of the stub's code page. It is position independent within that
//! page and the data pages after it. Its first byte is the handler of all the stub's signals. The handler
//! *is* the park: its arguments (signal, siginfo, ucontext) are the arguments of the park's call. The ticket
//! of the last resume is the fourth. The host holds the stub in this call until the monitor answers.
//!
//! A guest can jump to any instruction after the park, with registers and a stack of its own. So from the
//! park on
//! - nothing is taken from a register but the call's own result, and nothing from the stack. All else comes
//!   from the control page ([`Control`]), which the monitor writes on every resume;
//! - nothing is called, nothing returns, nothing is pushed (rsp points into the read-only code page);
//! - the limit is 0 again before a signal can come, and before the guest can run.
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

/// How many calls fit into the control page. This is more than `STUBGUARD_CALLS_MAX`, as some calls must be
/// split.
///
/// cbindgen:ignore
pub const CALLS_MAX: usize = 112;

/// The call that parks. It takes no arguments and changes nothing, so it does no harm where it does not
/// notify.
///
/// cbindgen:ignore
pub const PARK_NR: i32 = libc::SYS_getppid as i32;
/// The rights that the batch's mprotect leaves: all that arch/um gives a page, but write.
///
/// cbindgen:ignore
pub const WRPROTECTED: u32 = (libc::PROT_READ | libc::PROT_EXEC) as u32;
/// The monitor's answer to a park. Any other result ends the stub (ENOSYS: the listener is closed).
///
/// cbindgen:ignore
pub const ANSWER: i64 = 1;
/// First argument of a park that is not a signal's: the batch is done, and there was no guest to run.
///
/// cbindgen:ignore
pub const PARK_DONE: u64 = 0x1000;
/// First argument of a park that is not a signal's: a call of the batch failed. The second is its result. The
/// third is how many calls were left, this one included.
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
/// `Control::flags`: the host has no FSGSBASE, so set the bases by arch_prctl.
///
/// cbindgen:ignore
pub const BY_CALL: u32 = 8;
/// `Control::flags`: the host has no XSAVE.
///
/// cbindgen:ignore
pub const FXSAVE: u32 = 16;
/// `Control::flags`: set the data selectors to those of a new process.
///
/// cbindgen:ignore
pub const SELECTORS: u32 = 32;
/// `Control::flags`: set the address-space limit to 0 after the batch.
///
/// cbindgen:ignore
pub const LIMIT: u32 = 64;

/// A call of the batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Call {
    /// Address of the first byte.
    pub addr: u64,
    /// Length in bytes.
    pub length: u64,
    /// Offset in the memory file, in bytes.
    pub offset: u64,
    /// `PROT_*`; 0 for munmap.
    pub prot: u32,
    /// 1 for mmap, 0 for mprotect and munmap.
    pub maps: u16,
    /// The index of the caller's call that this one is, or is a part of.
    pub index: u16,
}

#[allow(unsafe_code)]
// SAFETY: its members are integers that fill it.
unsafe impl Plain for Call {}

/// The start of the control page. The monitor writes all of it on every resume.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Head {
    /// r8 to r15, rdi, rsi, rbp, rbx, rdx, rax, rcx.
    pub gp: [u64; 15],
    /// The flags above: `GUEST`, `SET_FS`, ...
    pub flags: u32,
    /// How many calls the batch has.
    pub calls: u32,
    /// rip, cs, rflags, rsp, ss: what iretq pops.
    pub iret: [u64; 5],
    /// FS base.
    pub fs_base: u64,
    /// GS base.
    pub gs_base: u64,
    /// The XSAVE features to load. (With more features xrstor would read past the stub's pages, where nothing
    /// can be mapped.)
    pub xfeatures: u64,
    /// The ticket of this resume: each has another one, and the next park says it.
    pub ticket: u64,
}

#[allow(unsafe_code)]
// SAFETY: its members are integers that fill it.
unsafe impl Plain for Head {}

/// The control page, which is the first of the stub's data pages. The monitor writes it while the stub is
/// parked, and the stub's code reads it. The guest can write it while it runs, so the monitor reads nothing
/// of it but the `index` of a failed call, which it checks.
#[repr(C, align(16))]
pub struct Control {
    /// The part that every resume writes.
    pub head: Head,
    /// The batch.
    pub batch: [Call; CALLS_MAX],
}

/// The second data page starts with the floating-point state of a resume. It is also the stub's signal stack.
/// Both fit: while a frame is there, the guest's state is in the monitor's memory.
///
/// cbindgen:ignore
pub const FP: usize = PAGE;

/// The page size of x86-64.
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
    // IF, and the bit that is always set. popfq ignores IF here; 0 would only look odd.
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

        /// A place in the code: the address after a call's instruction, or the address of a constant.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Place {
            $($(#[$doc])* $name,)*
        }

        impl Place {
            /// All places.
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
    /// After the park.
    Park = stubguard_at_park,
    /// After the batch's mmap.
    Mmap = stubguard_at_mmap,
    /// After the batch's munmap.
    Munmap = stubguard_at_munmap,
    /// After the batch's mprotect.
    Mprotect = stubguard_at_mprotect,
    /// After prlimit.
    Limit = stubguard_at_limit,
    /// After arch_prctl SET_FS.
    SetFs = stubguard_at_set_fs,
    /// After arch_prctl SET_GS.
    SetGs = stubguard_at_set_gs,
    /// After rt_sigprocmask. If a signal comes between here and `Iret`, the monitor resumes again.
    Unblock = stubguard_at_unblock,
    /// The iretq.
    Iret = stubguard_at_iret,
    /// After the call that no rule allows.
    Kill = stubguard_at_kill,
    /// Constant: the limit that prlimit sets, which is 0 and the monitor's hard limit.
    Nothing = stubguard_at_nothing,
    /// Constant: the empty signal mask that rt_sigprocmask sets.
    Mask = stubguard_at_mask,
}

impl Place {
    /// Returns its distance from the start of the code page.
    #[must_use]
    pub fn offset(self) -> u64 {
        if cfg!(miri) {
            // Miri has no assembler: any places do, in their order.
            return (self as u64).wrapping_mul(16).wrapping_add(16);
        }
        self.symbol().addr().wrapping_sub((&raw const stubguard_blob).addr()) as u64
    }
}

/// Returns the code, as it is in the library.
#[must_use]
pub fn bytes() -> &'static [u8] {
    let start = &raw const stubguard_blob;
    let length = (&raw const stubguard_blob_end).addr().wrapping_sub(start.addr());
    // SAFETY: the two symbols are the start and the end of one run of constant bytes.
    unsafe { core::slice::from_raw_parts(start, length) }
}

/// Copies the code to the start of a code page, and stores `hard_limit` in it: the hard limit that the stub's
/// prlimit sets together with the soft limit of 0. Returns the code's length.
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
