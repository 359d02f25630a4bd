// SPDX-License-Identifier: GPL-2.0-only
//! The code of a parked stub, and where its system calls are (x86-64).
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

use super::memory::StubData;
use core::mem::offset_of;

/// The number under which a stub has the memory's fd, from its start on.
pub const STUBGUARD_MEMORY_FD: usize = 1;
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

/// A byte at this offset of the stub's data decides what becomes of a guest's calls (syscall user
/// dispatch): with 0 they go to the filters, by which most notify or all trap; with 1 they make a signal frame, and
/// no filter sees them. The monitor writes it on every resume. A guest that does changes the cost of its own calls, or ends itself.
pub const STUBGUARD_SELECTOR: usize = 4088;

/// All of a stub's data: the control page, and the signal stack.
///
/// cbindgen:ignore
pub const DATA: usize = 2 * PAGE;

/// The stub's page: fixed for x86-64.
///
/// cbindgen:ignore
pub const PAGE: usize = 4096;

const _: () = {
    assert!(size_of::<Control>() <= STUBGUARD_SELECTOR);
    assert!(size_of::<Head>() == 25 * 8);
    assert!(size_of::<Call>() == 32);
};

core::arch::global_asm!(
    ".pushsection .rodata.stubguard_blob, \"a\", @progbits",
    ".balign 16",
    // The control page and what it has, from anywhere in here.
    ".macro stubguard_data insn:req, at:req, to",
    ".ifb \\to",
    "\\insn .Lstubguard_blob + {page} + \\at(%rip)",
    ".else",
    "\\insn .Lstubguard_blob + {page} + \\at(%rip), \\to",
    ".endif",
    ".endm",
    // A flag of the control page: ZF if it is not set.
    ".macro stubguard_flag bit:req",
    "testl $\\bit, .Lstubguard_blob + {page} + {flags}(%rip)",
    ".endm",
    // A system call at a site of that name: its address is that of what comes next.
    ".macro stubguard_call nr:req, site:req",
    "movl $\\nr, %eax",
    "syscall",
    ".hidden stubguard_at_\\site",
    ".globl stubguard_at_\\site",
    "stubguard_at_\\site:",
    ".endm",
    ".hidden stubguard_blob, stubguard_blob_end",
    ".hidden stubguard_at_iret, stubguard_at_nothing, stubguard_at_mask",
    ".globl stubguard_blob, stubguard_blob_end",
    ".globl stubguard_at_iret, stubguard_at_nothing, stubguard_at_mask",
    "stubguard_blob:",
    ".Lstubguard_blob:",
    "1:",
    "stubguard_data movq, {ticket}, %r10",
    "stubguard_call {nr_park}, park",
    // Flags of a guest's making would disturb: NT iretq, TF everything, AC the loads. No stack
    // from here on: rsp points to constants.
    "leaq 90f(%rip), %rsp",
    "popfq",
    "cmpq ${answer}, %rax",
    "jne 80f",
    // -- the batch: ebx calls, at r12
    "stubguard_data movl, {calls}, %ebx",
    "testl %ebx, %ebx",
    "jz 20f",
    "stubguard_data leaq, {batch}, %r12",
    "11:",
    "movq {addr}(%r12), %rdi",
    "movq {length}(%r12), %rsi",
    "movl {prot}(%r12), %edx",
    "testl %edx, %edx",
    "jz 12f",
    "cmpw $0, {maps}(%r12)",
    "je 14f",
    "movl ${map}, %r10d",
    "movl ${memory_fd}, %r8d",
    "movq {offset}(%r12), %r9",
    "stubguard_call {nr_mmap}, mmap",
    "cmpq %rdi, %rax",
    "jne 30f",
    "jmp 13f",
    "12:",
    "stubguard_call {nr_munmap}, munmap",
    "jmp 15f",
    "14:",
    "stubguard_call {nr_mprotect}, mprotect",
    "15:",
    "testq %rax, %rax",
    "jnz 30f",
    "13:",
    "addq ${call_size}, %r12",
    "decl %ebx",
    "jnz 11b",
    // -- the end of the window, whether all went well (ebx is 0) or not
    "20:",
    "stubguard_flag {limit}",
    "jz 23f",
    "xorl %edi, %edi",
    "movl ${rlimit_as}, %esi",
    "leaq stubguard_at_nothing(%rip), %rdx",
    "xorl %r10d, %r10d",
    "stubguard_call {nr_prlimit}, limit",
    "testq %rax, %rax",
    "jnz 80f",
    "23:",
    "testl %ebx, %ebx",
    "jnz 31f",
    "stubguard_flag {guest}",
    "jnz 40f",
    "movl ${done}, %edi",
    "jmp 1b",
    // -- a call has failed: rax
    "30:",
    "movq %rax, %r13",
    "jmp 20b",
    "31:",
    "movl ${failed}, %edi",
    "movq %r13, %rsi",
    "movl %ebx, %edx",
    "jmp 1b",
    // -- the guest
    "40:",
    "stubguard_flag {set_any}",
    "jz 46f",
    "stubguard_flag {selectors}",
    "jz 42f",
    "xorl %eax, %eax",
    "movl %eax, %ds",
    "movl %eax, %es",
    "movl %eax, %fs",
    "movl %eax, %gs",
    "42:",
    "stubguard_flag {by_call}",
    "jnz 43f",
    "stubguard_flag {set_fs}",
    "jz 41f",
    "stubguard_data movq, {fs_base}, %rsi",
    "wrfsbase %rsi",
    "41:",
    "stubguard_flag {set_gs}",
    "jz 46f",
    "stubguard_data movq, {gs_base}, %rsi",
    "wrgsbase %rsi",
    "jmp 46f",
    "43:",
    "stubguard_flag {set_fs}",
    "jz 44f",
    "movl ${arch_set_fs}, %edi",
    "stubguard_data movq, {fs_base}, %rsi",
    "stubguard_call {nr_arch_prctl}, set_fs",
    "44:",
    "stubguard_flag {set_gs}",
    "jz 46f",
    "movl ${arch_set_gs}, %edi",
    "stubguard_data movq, {gs_base}, %rsi",
    "stubguard_call {nr_arch_prctl}, set_gs",
    "46:",
    "movl ${sig_setmask}, %edi",
    "leaq stubguard_at_mask(%rip), %rsi",
    "xorl %edx, %edx",
    "movl $8, %r10d",
    "stubguard_call {nr_sigprocmask}, unblock",
    // Signals may come from here to the end: the monitor then does the same resume again.
    "stubguard_data leaq, {fp}, %rdi",
    "stubguard_flag {fxsave}",
    "jnz 50f",
    "stubguard_data movl, {xfeatures}, %eax",
    "stubguard_data movl, {xfeatures}+4, %edx",
    "xrstor64 (%rdi)",
    "jmp 51f",
    "50:",
    "fxrstor64 (%rdi)",
    "51:",
    "stubguard_data movq, {gp}+0, %r8",
    "stubguard_data movq, {gp}+8, %r9",
    "stubguard_data movq, {gp}+16, %r10",
    "stubguard_data movq, {gp}+24, %r11",
    "stubguard_data movq, {gp}+32, %r12",
    "stubguard_data movq, {gp}+40, %r13",
    "stubguard_data movq, {gp}+48, %r14",
    "stubguard_data movq, {gp}+56, %r15",
    "stubguard_data movq, {gp}+64, %rdi",
    "stubguard_data movq, {gp}+72, %rsi",
    "stubguard_data movq, {gp}+80, %rbp",
    "stubguard_data movq, {gp}+88, %rbx",
    "stubguard_data movq, {gp}+96, %rdx",
    "stubguard_data movq, {gp}+104, %rax",
    "stubguard_data movq, {gp}+112, %rcx",
    "stubguard_data leaq, {iret}, %rsp",
    "stubguard_at_iret:",
    "iretq",
    // -- the monitor is gone, or this is not what it wanted
    "80:",
    "stubguard_call {nr_exit_group}, kill",
    "jmp 80b",
    ".balign 8",
    // struct rlimit64; the hard one is the host's, see write()
    "stubguard_at_nothing:",
    ".quad 0",
    ".quad 0",
    "90:",
    ".quad {eflags}",
    "stubguard_at_mask:",
    ".quad 0",
    "stubguard_blob_end:",
    ".purgem stubguard_data",
    ".purgem stubguard_flag",
    ".purgem stubguard_call",
    ".popsection",
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
