// SPDX-License-Identifier: GPL-2.0-only
//! The filters of window mode. A stub has two, and the stricter answer of both counts.
//!
//! The first is installed before the new process becomes the stub, and makes its listener. The second is the
//! stub's last step before it is one.
//!
//! docs/security.md says what a guest gains by jumping to a site with its own arguments: nothing.
//!
#![doc = include_str!("filter.md")]

use crate::abi::{STUBGUARD_F_FSGSBASE, STUBGUARD_MEMORY_FD};
use crate::bpf::{Program, TO_KILL, at, high, low, op};
use crate::config::Config;
use crate::window::calls;
use crate::window::code::{self, Place};
use crate::{Errno, Result, arch};
use libc::{
    SECCOMP_RET_ALLOW as ALLOW, SECCOMP_RET_TRACE as TRACE, SECCOMP_RET_TRAP as TRAP,
    SECCOMP_RET_USER_NOTIF as NOTIFY,
};

/// The word of the BPF scratch memory that holds the low half of an end address.
const END_LOW: u32 = 0;

fn site(config: &Config, place: Place) -> u64 {
    config.stub_start.saturating_add(place.offset())
}

pub(crate) fn build_listener(config: &Config, p: &mut Program<'_>) -> Result<()> {
    p.require_page(config, ALLOW, |p| {
        if !config.notifies_calls() {
            return p.ret(ALLOW);
        }
        of_a_guest(p, config, ALLOW)?;
        p.load(at::NR)?;
        for nr in calls::of_the_start() {
            p.call(nr, ALLOW, |_| Ok(()))?;
        }
        p.ret(NOTIFY)
    })?;
    p.load(at::IP_LOW)?;
    p.require(low(site(config, Place::Park)), ALLOW)?;
    p.load(at::NR)?;
    p.require(code::PARK_NR.unsigned_abs(), ALLOW)?;
    p.ret(NOTIFY)
}

pub(crate) fn build(config: &Config, features: u32, p: &mut Program<'_>) -> Result<()> {
    p.require_page(config, TRAP, |p| {
        if !config.notifies_calls() {
            return p.ret(TRAP);
        }
        of_a_guest(p, config, TRAP)?;
        trace_or_trap(p)
    })?;
    p.require_at(at::ARCH, arch::ARCH)?;
    p.load(at::IP_LOW)?;
    // Each rule ends in an answer. If its site is not the call's, IP_LOW is still loaded for the next rule.
    at_site(p, config, Place::Park, code::PARK_NR.into(), TRACE, |_| Ok(()))?;
    at_site(p, config, Place::Unblock, libc::SYS_rt_sigprocmask, ALLOW, |p| {
        p.require_at(at::arg_low(0), libc::SIG_SETMASK.unsigned_abs())?;
        p.require_arg(1, site(config, Place::Mask))?;
        p.require_arg(2, 0)
        // The host itself checks the fourth argument, the mask's size.
    })?;
    memory_calls(p, config)?;
    at_site(p, config, Place::Limit, libc::SYS_prlimit64, ALLOW, |p| {
        p.require_at(at::arg_low(0), 0)?;
        p.require_at(at::arg_low(1), libc::RLIMIT_AS)?;
        p.require_arg(2, site(config, Place::Nothing))?;
        p.require_arg(3, 0)
    })?;
    if features & STUBGUARD_F_FSGSBASE == 0 {
        for (place, what) in [(Place::SetFs, code::ARCH_SET_FS), (Place::SetGs, code::ARCH_SET_GS)] {
            at_site(p, config, place, libc::SYS_arch_prctl, ALLOW, |p| p.require_at(at::arg_low(0), what))?;
        }
    }
    Ok(())
}

/// Continues if the call comes from a guest address (the IP's high word must be loaded) and has the native
/// architecture; otherwise returns `action`.
fn of_a_guest(p: &mut Program<'_>, config: &Config, action: u32) -> Result<()> {
    p.emit(op::JGE_K, high(config.guest_end), 0, 1)?;
    p.ret(action)?;
    p.load(at::ARCH)?;
    p.require(arch::ARCH, action)
}

/// Answers TRACE to the calls that notify, TRAP to all others.
fn trace_or_trap(p: &mut Program<'_>) -> Result<()> {
    p.load(at::NR)?;
    p.emit(op::AND_K, 31, 0, 0)?;
    p.emit(op::TAX, 0, 0, 0)?;
    p.load(at::NR)?;
    p.emit(op::RSH_K, 5, 0, 0)?;
    let mut found = [0; calls::WORDS];
    for ((index, word), jump) in (0..).zip(calls::NOTIFYING).zip(&mut found) {
        if word != 0 {
            p.case(index, |p| {
                p.emit(op::LD_IMM, word, 0, 0)?;
                *jump = p.len;
                p.emit(op::JA, 0, 0, 0)
            })?;
        }
    }
    p.ret(TRAP)?;
    for jump in found.into_iter().filter(|jump| *jump != 0) {
        p.land(jump)?;
    }
    p.emit(op::RSH_X, 0, 0, 0)?;
    p.emit(op::JSET_K, 1, 0, 1)?;
    p.ret(TRACE)?;
    p.ret(TRAP)
}

/// Adds the rule for one site. The call must be `nr`. `rule` kills unless the arguments are right; then the
/// answer is `action`.
fn at_site(
    p: &mut Program<'_>,
    config: &Config,
    place: Place,
    nr: i64,
    action: u32,
    rule: impl FnOnce(&mut Program<'_>) -> Result<()>,
) -> Result<()> {
    p.case(low(site(config, place)), |p| {
        p.require_at(at::NR, u32::try_from(nr).map_err(|_| Errno::EINVAL)?)?;
        rule(p)?;
        p.ret(action)
    })
}

/// Adds the rules for the batch's sites. All three end in the same check of the range.
fn memory_calls(p: &mut Program<'_>, config: &Config) -> Result<()> {
    let mut to_range = [0; 2];
    p.case(low(site(config, Place::Mmap)), |p| {
        p.require_at(at::NR, libc::SYS_mmap as u32)?;
        p.load(at::arg_low(2))?;
        p.emit(op::JSET_K, !7, TO_KILL, 0)?;
        p.require_at(at::arg_high(2), 0)?;
        p.require_arg(3, (libc::MAP_SHARED | libc::MAP_FIXED) as u64)?;
        p.require_at(at::arg_low(4), STUBGUARD_MEMORY_FD as u32)?;
        to_range[0] = p.len;
        p.emit(op::JA, 0, 0, 0)
    })?;
    // Each page that a stub has is readable and executable: a page without rights is not mapped. So this can
    // only drop write.
    p.case(low(site(config, Place::Mprotect)), |p| {
        p.require_at(at::NR, libc::SYS_mprotect as u32)?;
        p.require_arg(2, code::WRPROTECTED.into())?;
        to_range[1] = p.len;
        p.emit(op::JA, 0, 0, 0)
    })?;
    p.case(low(site(config, Place::Munmap)), |p| {
        p.require_at(at::NR, libc::SYS_munmap as u32)?;
        for jump in to_range {
            p.land(jump)?;
        }
        below_the_stub(p, config)?;
        p.ret(ALLOW)
    })
}

/// Continues if the first argument plus the second, in 64 bits, is at most the stub's start; otherwise kills.
fn below_the_stub(p: &mut Program<'_>, config: &Config) -> Result<()> {
    let end = config.stub_start;
    // The stub's start is below 2^63. If both high words are at most its high word, their sum does not
    // overflow.
    for half in [at::arg_high(0), at::arg_high(1)] {
        p.load(half)?;
        p.emit(op::JGT_K, high(end), TO_KILL, 0)?;
    }
    p.load(at::arg_low(0))?;
    p.emit(op::TAX, 0, 0, 0)?;
    p.load(at::arg_low(1))?;
    p.emit(op::ADD_X, 0, 0, 0)?;
    p.emit(op::ST, END_LOW, 0, 0)?;
    // If the sum of the low words is less than one of them, there is a carry.
    p.emit(op::JGE_X, 0, 3, 0)?;
    p.load(at::arg_high(1))?;
    p.emit(op::ADD_K, 1, 0, 0)?;
    p.emit(op::JA, 1, 0, 0)?;
    p.load(at::arg_high(1))?;
    p.emit(op::TAX, 0, 0, 0)?;
    p.load(at::arg_high(0))?;
    p.emit(op::ADD_X, 0, 0, 0)?;
    p.emit(op::JGT_K, high(end), TO_KILL, 0)?;
    p.emit(op::JEQ_K, high(end), 0, 2)?;
    p.emit(op::LD_MEM, END_LOW, 0, 0)?;
    p.emit(op::JGT_K, low(end), TO_KILL, 0)
}
