// SPDX-License-Identifier: GPL-2.0-only
//! The program, run by an interpreter, against the rule written plainly.

#![allow(clippy::arithmetic_side_effects, clippy::cast_sign_loss)]

use super::*;
use crate::config::tests::example;
use bpfvm::vm::BpfVM;
use libc::{SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_TRAP, SECCOMP_RET_USER_NOTIF};

const PAGE: u64 = 0x7fff_ffff_c000;
const FUTEX: u64 = PAGE + 4096 + 3956;

/// The rule. (An argument's upper half counts only where the host looks at it.)
fn rule(nr: u32, arch: u32, ip: u64, args: [u64; 6]) -> u32 {
    if ip & !0xfff != PAGE {
        return SECCOMP_RET_TRAP;
    }
    if arch != 0xc000_003e {
        return SECCOMP_RET_KILL_PROCESS;
    }
    let word = |index: usize| args[index] as u32;
    let allowed = match nr {
        9 | 11 => return SECCOMP_RET_USER_NOTIF,
        15 => true,
        202 => args[0] == FUTEX && word(1) <= 1,
        47 => word(0) == 0 && word(2) == 0,
        3 => word(0) == 2,
        158 => matches!(word(0), 0x1001 | 0x1002),
        _ => false,
    };
    if allowed { SECCOMP_RET_ALLOW } else { SECCOMP_RET_KILL_PROCESS }
}

fn program() -> Vec<sock_filter> {
    let mut out = vec![sock_filter { code: 0, jt: 0, jf: 0, k: 0 }; STUBGUARD_FILTER_MAX];
    let len = build(&example(), 0, &mut out).unwrap_or(0);
    assert!(len > 0);
    out.truncate(len);
    out
}

fn words(nr: u32, arch: u32, ip: u64, args: [u64; 6]) -> Vec<u32> {
    let mut words = vec![nr, arch, low(ip), high(ip)];
    words.extend(args.iter().flat_map(|arg| [low(*arg), high(*arg)]));
    words
}

struct Checker(BpfVM, usize);

impl Checker {
    fn check(&mut self, nr: u32, arch: u32, ip: u64, args: [u64; 6]) {
        let got = self.0.run(&words(nr, arch, ip, args)).unwrap_or(0xdead_beef);
        assert_eq!(got, rule(nr, arch, ip, args), "nr {nr:#x} arch {arch:#x} ip {ip:#x} args {args:x?}");
        self.1 += 1;
    }
}

fn checker() -> Checker {
    Checker(BpfVM::new(&program()).unwrap_or_else(|_| unreachable!()), 0)
}

#[test]
fn every_number_at_every_offset_of_the_page() {
    let mut checker = checker();
    for nr in (0..=600).chain([0x4000_0009, 0x4000_0000 + 15, u32::MAX]) {
        for offset in 0..4096 {
            checker.check(nr, 0xc000_003e, PAGE + offset, [0; 6]);
        }
    }
    assert_eq!(checker.1, 604 * 4096);
}

#[test]
fn boundary_arguments() {
    let mut checker = checker();
    let values = [
        0,
        1,
        2,
        3,
        4,
        FUTEX,
        FUTEX + 4,
        FUTEX & 0xffff_ffff,
        FUTEX | 1 << 63,
        0x1000,
        0x1001,
        0x1002,
        0x1003,
        0x1011,
        0x2001,
        0x3001,
        0x4000,
        1 << 32,
        (1 << 32) + 2,
        u64::MAX,
        128,
        129,
        256,
        6,
        9,
    ];
    for nr in [3, 9, 11, 15, 47, 158, 202, 56, 231, 0] {
        for a in values {
            for b in values {
                for c in [0, 1, 0x40, 1 << 32, u64::MAX] {
                    checker.check(nr, 0xc000_003e, PAGE + 0x123, [a, b, c, 0, 0, 0]);
                }
            }
        }
    }
}

#[test]
fn only_the_page_and_only_the_architecture() {
    let mut checker = checker();
    let outside =
        [0, PAGE - 1, PAGE + 4096, PAGE ^ 1 << 32, PAGE & 0xffff_ffff, PAGE | 1 << 63, u64::MAX, FUTEX];
    for ip in outside.into_iter().chain([PAGE, PAGE + 4095]) {
        for arch in [0xc000_003e, 0x4000_0003, 0, 0xc000_00b7] {
            for nr in 0..512 {
                checker.check(nr, arch, ip, [FUTEX, 1, 0, 0, 0, 0]);
            }
        }
    }
}

#[test]
fn fits_what_callers_reserve_and_says_so_if_not() {
    let len = program().len();
    assert!(len <= STUBGUARD_FILTER_MAX, "{len}");
    for room in 0..len {
        let mut out = vec![sock_filter { code: 0, jt: 0, jf: 0, k: 0 }; room];
        assert_eq!(build(&example(), 0, &mut out), Err(Errno::ENOSPC), "{room}");
    }
}
