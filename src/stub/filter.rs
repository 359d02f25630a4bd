// SPDX-License-Identifier: GPL-2.0-only
//! The stub's seccomp filter: which system calls a stub can make at all.
//!
//! | where           | call                                   | answer |
//! |-----------------|----------------------------------------|--------|
//! | not in the page | any                                    | TRAP: it is the guest's own call |
//! | in the page     | another architecture                   | KILL   |
//! | in the page     | mmap, munmap                           | USER_NOTIF: the monitor decides |
//! | in the page     | futex WAIT and WAKE on the hand-over's word | ALLOW |
//! | in the page     | recvmsg on fd 0 without flags          | ALLOW: never blocks, the socket is non-blocking |
//! | in the page     | close of an fd of the guest's memory   | ALLOW  |
//! | in the page     | arch_prctl SET_FS, SET_GS              | ALLOW  |
//! | in the page     | rt_sigreturn                           | ALLOW: its frame cannot be checked |
//! | in the page     | anything else, x32 numbers with it     | KILL   |
//!
//! Upstream's filter lets the same calls through with any arguments.

use crate::config::Config;
use crate::{Errno, Result, stub};
use libc::sock_filter;

/// `linux/bpf_common.h`
mod op {
    /// cbindgen:ignore
    pub const LD_W_ABS: u16 = 0x20;
    /// cbindgen:ignore
    pub const AND_K: u16 = 0x54;
    /// cbindgen:ignore
    pub const JEQ_K: u16 = 0x15;
    /// cbindgen:ignore
    pub const JGT_K: u16 = 0x25;
    /// cbindgen:ignore
    pub const JGE_K: u16 = 0x35;
    /// cbindgen:ignore
    pub const RET_K: u16 = 0x06;
}

/// Offsets in `struct seccomp_data`, little endian.
mod at {
    /// cbindgen:ignore
    pub const NR: u32 = 0;
    /// cbindgen:ignore
    pub const ARCH: u32 = 4;
    /// cbindgen:ignore
    pub const IP_LOW: u32 = 8;
    /// cbindgen:ignore
    pub const IP_HIGH: u32 = 12;
    /// cbindgen:ignore
    pub const ARG0_LOW: u32 = 16;
    /// cbindgen:ignore
    pub const ARG0_HIGH: u32 = 20;
    /// cbindgen:ignore
    pub const ARG1_LOW: u32 = 24;
    /// cbindgen:ignore
    pub const ARG2_LOW: u32 = 32;
}

/// cbindgen:ignore
const ARCH_SET_GS: u32 = 0x1001;
/// cbindgen:ignore
const ARCH_SET_FS: u32 = 0x1002;

/// A number that no filter exceeds; what a caller's array needs.
pub const STUBGUARD_FILTER_MAX: usize = 64;

/// A program that is put together front to back.
struct Program<'a> {
    out: &'a mut [sock_filter],
    len: usize,
}

impl Program<'_> {
    fn emit(&mut self, code: u16, k: u32, jt: u8, jf: u8) -> Result<()> {
        *self.out.get_mut(self.len).ok_or(Errno::ENOSPC)? = sock_filter { code, jt, jf, k };
        self.len = self.len.saturating_add(1);
        Ok(())
    }

    fn load(&mut self, offset: u32) -> Result<()> {
        self.emit(op::LD_W_ABS, offset, 0, 0)
    }

    fn ret(&mut self, action: u32) -> Result<()> {
        self.emit(op::RET_K, action, 0, 0)
    }

    /// Goes on if the loaded word is `value`, else returns `action`.
    fn require(&mut self, value: u32, action: u32) -> Result<()> {
        self.emit(op::JEQ_K, value, 1, 0)?;
        self.ret(action)
    }

    /// Goes on if the word at `offset` is `value`, else kills.
    fn require_at(&mut self, offset: u32, value: u32) -> Result<()> {
        self.load(offset)?;
        self.require(value, libc::SECCOMP_RET_KILL_PROCESS)
    }

    /// The rule for one call: if the loaded number is `nr`, what `rule` emits, ended by `action`.
    fn call(&mut self, nr: i64, action: u32, rule: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let jump = self.len;
        let nr = u32::try_from(nr).map_err(|_| Errno::EINVAL)?;
        self.emit(op::JEQ_K, nr, 0, 0)?;
        let start = self.len;
        rule(self)?;
        self.ret(action)?;
        let skip = u8::try_from(self.len.saturating_sub(start)).map_err(|_| Errno::ENOSPC)?;
        self.out.get_mut(jump).ok_or(Errno::ENOSPC)?.jf = skip;
        Ok(())
    }
}

fn low(value: u64) -> u32 {
    value as u32
}

fn high(value: u64) -> u32 {
    (value >> 32) as u32
}

/// Writes the filter for `config`'s stubs; returns its length in instructions.
///
/// # Errors
/// `ENOSPC`.
pub fn build(config: &Config, out: &mut [sock_filter]) -> Result<usize> {
    use libc::{SECCOMP_RET_ALLOW as ALLOW, SECCOMP_RET_KILL_PROCESS as KILL};
    use libc::{SECCOMP_RET_TRAP as TRAP, SECCOMP_RET_USER_NOTIF as NOTIFY};

    let futex = config.stub_data_address(config.layout.futex);
    let fds = (config.mmap_fd_first.unsigned_abs(), config.mmap_fd_last.unsigned_abs());
    let mut program = Program { out, len: 0 };
    let p = &mut program;

    p.load(at::IP_HIGH)?;
    p.require(high(config.stub_start), TRAP)?;
    p.load(at::IP_LOW)?;
    p.emit(op::AND_K, config.page_size.wrapping_neg(), 0, 0)?;
    p.require(low(config.stub_start), TRAP)?;
    p.require_at(at::ARCH, stub::ARCH)?;

    p.load(at::NR)?;
    // Each rule loads words of its own, and ends: behind it, the number is still loaded.
    p.call(libc::SYS_futex, ALLOW, |p| {
        p.require_at(at::ARG0_LOW, low(futex))?;
        p.require_at(at::ARG0_HIGH, high(futex))?;
        // FUTEX_WAIT is 0, FUTEX_WAKE is 1, all else is more.
        p.load(at::ARG1_LOW)?;
        p.emit(op::JGT_K, libc::FUTEX_WAKE.unsigned_abs(), 0, 1)?;
        p.ret(KILL)
    })?;
    p.call(stub::mmap_nr(config).into(), NOTIFY, |_| Ok(()))?;
    p.call(stub::MUNMAP_NR.into(), NOTIFY, |_| Ok(()))?;
    p.call(libc::SYS_rt_sigreturn, ALLOW, |_| Ok(()))?;
    p.call(libc::SYS_recvmsg, ALLOW, |p| {
        p.require_at(at::ARG0_LOW, 0)?;
        p.require_at(at::ARG2_LOW, 0)
    })?;
    p.call(libc::SYS_close, ALLOW, |p| {
        p.load(at::ARG0_LOW)?;
        p.emit(op::JGE_K, fds.0, 1, 0)?;
        p.ret(KILL)?;
        p.emit(op::JGT_K, fds.1, 0, 1)?;
        p.ret(KILL)
    })?;
    p.call(libc::SYS_arch_prctl, ALLOW, |p| {
        p.load(at::ARG0_LOW)?;
        p.emit(op::JEQ_K, ARCH_SET_FS, 2, 0)?;
        p.emit(op::JEQ_K, ARCH_SET_GS, 1, 0)?;
        p.ret(KILL)
    })?;
    p.ret(KILL)?;
    Ok(program.len)
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
