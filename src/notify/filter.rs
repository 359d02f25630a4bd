// SPDX-License-Identifier: GPL-2.0-only
//! The filter of notify mode.
//!
//! Upstream's filter lets the same calls through with any arguments.
//!
#![doc = include_str!("filter.md")]

use crate::bpf::{Program, TO_KILL, at, op};
use crate::config::Config;
use crate::window::code::{ARCH_SET_FS, ARCH_SET_GS};
use crate::{Result, arch};
use libc::{SECCOMP_RET_ALLOW as ALLOW, SECCOMP_RET_TRAP as TRAP, SECCOMP_RET_USER_NOTIF as NOTIFY};

pub(crate) fn build(config: &Config, p: &mut Program<'_>) -> Result<()> {
    let futex = config.stub_data_address(config.layout.futex);
    let fds = (config.mmap_fd_first.unsigned_abs(), config.mmap_fd_last.unsigned_abs());

    p.require_page(config, TRAP, |p| p.ret(TRAP))?;
    p.require_at(at::ARCH, arch::ARCH)?;
    p.load(at::NR)?;
    // Each rule ends in an answer. If a rule does not match, the number is still loaded for the next one.
    p.call(libc::SYS_futex, ALLOW, |p| {
        p.require_arg(0, futex)?;
        // FUTEX_WAIT is 0 and FUTEX_WAKE is 1. All other operations and flags are larger.
        p.load(at::arg_low(1))?;
        p.emit(op::JGT_K, libc::FUTEX_WAKE.unsigned_abs(), TO_KILL, 0)
    })?;
    p.call(arch::MMAP_NR.into(), NOTIFY, |_| Ok(()))?;
    p.call(arch::MUNMAP_NR.into(), NOTIFY, |_| Ok(()))?;
    p.call(libc::SYS_rt_sigreturn, ALLOW, |_| Ok(()))?;
    p.call(libc::SYS_recvmsg, ALLOW, |p| {
        p.require_at(at::arg_low(0), 0)?;
        p.require_at(at::arg_low(2), 0)
    })?;
    p.call(libc::SYS_close, ALLOW, |p| {
        p.load(at::arg_low(0))?;
        p.emit(op::JGE_K, fds.0, 0, TO_KILL)?;
        p.emit(op::JGT_K, fds.1, TO_KILL, 0)
    })?;
    p.call(libc::SYS_arch_prctl, ALLOW, |p| {
        p.load(at::arg_low(0))?;
        p.emit(op::JEQ_K, ARCH_SET_FS, 1, 0)?;
        p.emit(op::JEQ_K, ARCH_SET_GS, 0, TO_KILL)
    })
}
