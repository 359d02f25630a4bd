// SPDX-License-Identifier: GPL-2.0-only
//! Assembles a seccomp filter: a program for the host's BPF machine, written front to back.

use crate::config::Config;
use crate::{Errno, Result};
use libc::sock_filter;

/// Opcodes of `linux/bpf_common.h`.
pub(crate) mod op {
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
    /// cbindgen:ignore
    pub const JSET_K: u16 = 0x45;
    /// cbindgen:ignore
    pub const JGE_X: u16 = 0x3d;
    /// cbindgen:ignore
    pub const JA: u16 = 0x05;
    /// cbindgen:ignore
    pub const ADD_K: u16 = 0x04;
    /// cbindgen:ignore
    pub const ADD_X: u16 = 0x0c;
    /// cbindgen:ignore
    pub const TAX: u16 = 0x07;
    /// cbindgen:ignore
    pub const ST: u16 = 0x02;
    /// cbindgen:ignore
    pub const LD_MEM: u16 = 0x60;
    /// cbindgen:ignore
    pub const LD_IMM: u16 = 0x00;
    /// cbindgen:ignore
    pub const RSH_K: u16 = 0x74;
    /// cbindgen:ignore
    pub const RSH_X: u16 = 0x7c;
}

/// Offsets in `struct seccomp_data`, little endian.
pub(crate) mod at {
    /// cbindgen:ignore
    pub const NR: u32 = 0;
    /// cbindgen:ignore
    pub const ARCH: u32 = 4;
    /// cbindgen:ignore
    pub const IP_LOW: u32 = 8;
    /// cbindgen:ignore
    pub const IP_HIGH: u32 = 12;
    /// cbindgen:ignore
    const ARGS: u32 = 16;

    /// Offset of the low word of an argument.
    pub const fn arg_low(index: u32) -> u32 {
        ARGS.saturating_add(index.saturating_mul(8))
    }

    /// Offset of the high word of an argument.
    pub const fn arg_high(index: u32) -> u32 {
        arg_low(index).saturating_add(4)
    }
}

/// A program that is written front to back. Each stub compiles it anew, so it is short: all rules that kill
/// jump to one instruction, the last.
pub(crate) struct Program<'a> {
    pub(crate) out: &'a mut [sock_filter],
    pub(crate) len: usize,
}

/// `sock_filter.jt` or `jf` of a jump to the last instruction, until that is written. No other jump is that
/// long, as a program has at most `STUBGUARD_FILTER_MAX` instructions.
pub(crate) const TO_KILL: u8 = u8::MAX;

impl Program<'_> {
    pub(crate) fn emit(&mut self, code: u16, k: u32, jt: u8, jf: u8) -> Result<()> {
        *self.out.get_mut(self.len).ok_or(Errno::ENOSPC)? = sock_filter { code, jt, jf, k };
        self.len = self.len.saturating_add(1);
        Ok(())
    }

    pub(crate) fn load(&mut self, offset: u32) -> Result<()> {
        self.emit(op::LD_W_ABS, offset, 0, 0)
    }

    pub(crate) fn ret(&mut self, action: u32) -> Result<()> {
        self.emit(op::RET_K, action, 0, 0)
    }

    /// Continues if the loaded word is `value`, else returns `action`.
    pub(crate) fn require(&mut self, value: u32, action: u32) -> Result<()> {
        self.emit(op::JEQ_K, value, 1, 0)?;
        self.ret(action)
    }

    /// Continues if the word at `offset` is `value`, else kills.
    pub(crate) fn require_at(&mut self, offset: u32, value: u32) -> Result<()> {
        self.load(offset)?;
        self.emit(op::JEQ_K, value, 0, TO_KILL)
    }

    /// Makes the jump at `jump` (`op::JA`) lead to the next instruction.
    pub(crate) fn land(&mut self, jump: usize) -> Result<()> {
        let skip = self.len.checked_sub(jump).and_then(|skip| skip.checked_sub(1)).ok_or(Errno::EINVAL)?;
        self.out.get_mut(jump).ok_or(Errno::ENOSPC)?.k = u32::try_from(skip).map_err(|_| Errno::ENOSPC)?;
        Ok(())
    }

    /// Ends the program with the instruction that kills; returns its length.
    pub(crate) fn kill(mut self) -> Result<usize> {
        self.ret(libc::SECCOMP_RET_KILL_PROCESS)?;
        for (behind, instruction) in self.out.iter_mut().take(self.len).rev().enumerate() {
            for jump in [&mut instruction.jt, &mut instruction.jf] {
                if *jump == TO_KILL {
                    // Skip the instructions between this one and the last.
                    *jump = u8::try_from(behind.saturating_sub(1)).map_err(|_| Errno::ENOSPC)?;
                }
            }
        }
        Ok(self.len)
    }

    /// Continues if all 64 bits of an argument are `value`, else kills.
    pub(crate) fn require_arg(&mut self, index: u32, value: u64) -> Result<()> {
        self.require_at(at::arg_low(index), low(value))?;
        self.require_at(at::arg_high(index), high(value))
    }

    /// Continues if the call comes from the stub's code page.
    ///
    /// If the high word of the instruction's address is not the page's, runs what `elsewhere` emits, with
    /// that word loaded. If only the low word is wrong, returns `action`.
    pub(crate) fn require_page(
        &mut self,
        config: &Config,
        action: u32,
        elsewhere: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        self.load(at::IP_HIGH)?;
        let jump = self.len;
        self.emit(op::JEQ_K, high(config.stub_start), 0, 0)?;
        elsewhere(self)?;
        let skip = self.len.saturating_sub(jump).saturating_sub(1);
        self.out.get_mut(jump).ok_or(Errno::ENOSPC)?.jt = short(skip)?;
        self.load(at::IP_LOW)?;
        self.emit(op::AND_K, config.page_size.wrapping_neg(), 0, 0)?;
        self.require(low(config.stub_start), action)
    }

    /// Adds a rule for one call: if the loaded number is `nr`, what `rule` emits, then `action`.
    pub(crate) fn call(
        &mut self,
        nr: i64,
        action: u32,
        rule: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        self.case(u32::try_from(nr).map_err(|_| Errno::EINVAL)?, |p| {
            rule(p)?;
            p.ret(action)
        })
    }

    /// Adds a rule: if the loaded word is `value`, what `rule` emits. That must end in an answer.
    pub(crate) fn case(&mut self, value: u32, rule: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let jump = self.len;
        self.emit(op::JEQ_K, value, 0, 0)?;
        let start = self.len;
        rule(self)?;
        let skip = short(self.len.saturating_sub(start))?;
        self.out.get_mut(jump).ok_or(Errno::ENOSPC)?.jf = skip;
        Ok(())
    }
}

/// Returns the jump offset that skips so many instructions.
fn short(skip: usize) -> Result<u8> {
    u8::try_from(skip).ok().filter(|skip| *skip != TO_KILL).ok_or(Errno::ENOSPC)
}

pub(crate) fn low(value: u64) -> u32 {
    value as u32
}

pub(crate) fn high(value: u64) -> u32 {
    (value >> 32) as u32
}
