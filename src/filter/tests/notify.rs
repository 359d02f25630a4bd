// SPDX-License-Identifier: GPL-2.0-only
//! Notify mode: one program.

use super::rules::Rule;
use super::*;

const FUTEX: u64 = PAGE + 4096 + 3956;

fn build_one(out: &mut [sock_filter]) -> Result<usize> {
    build(&example(), 0, out)
}

struct Checker(BpfVM, Rule, usize);

impl Checker {
    fn check(&mut self, call: Seen) {
        assert_eq!(answer(&mut self.0, &call), self.1.answer(&call), "{call:x?}");
        self.2 += 1;
    }
}

fn checker() -> Checker {
    Checker(machine(&made(build_one)), rules::notify(&example()), 0)
}

#[test]
fn every_number_at_every_offset_of_the_page() {
    let mut checker = checker();
    for nr in (0..=600).chain([0x4000_0009, 0x4000_0000 + 15, u32::MAX]) {
        for offset in 0..4096 {
            checker.check(Seen::at(offset, nr, [0; 6]));
        }
    }
    assert_eq!(checker.2, 604 * 4096);
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
                    checker.check(Seen::at(0x123, nr, [a, b, c, 0, 0, 0]));
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
        for arch in ARCHITECTURES {
            for nr in 0..512 {
                checker.check(Seen { nr, arch, ip, args: [FUTEX, 1, 0, 0, 0, 0] });
            }
        }
    }
}

#[test]
fn fits_what_callers_reserve_and_says_so_if_not() {
    assert_sound(&made(build_one));
    assert_needs_its_room(build_one);
}
