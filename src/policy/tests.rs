// SPDX-License-Identifier: GPL-2.0-only
//! Each denial on its own, then everything against a naive statement of the rule.

#![allow(clippy::arithmetic_side_effects, clippy::cast_sign_loss)]

use super::{Denial, Mmap, check_mmap, check_range};
use crate::config::Config;
use crate::config::example::notify;
use proptest::prelude::*;

const PAGE: u64 = 4096;
const STUB: u64 = 0x7fff_ffff_c000;

fn config() -> Config {
    notify()
}

fn good() -> Mmap {
    Mmap {
        addr: 0x40_0000,
        length: 3 * PAGE,
        prot: 3,
        flags: (libc::MAP_SHARED | libc::MAP_FIXED) as u64,
        fd: 2,
        offset: 0x10_0000,
    }
}

fn yes(_: u64, _: u64, _: u64) -> bool {
    true
}

fn denied(change: impl FnOnce(&mut Mmap)) -> Result<(), Denial> {
    let mut call = good();
    change(&mut call);
    check_mmap(&config(), &call, yes)
}

#[test]
fn a_proper_call_is_allowed_and_every_page_of_it_is_asked_for() {
    let mut asked = Vec::new();
    let answer = check_mmap(&config(), &good(), |addr, prot, offset| {
        asked.push((addr, prot, offset));
        true
    });
    assert_eq!(answer, Ok(()));
    assert_eq!(asked, [(0x40_0000, 3, 0x10_0000), (0x40_1000, 3, 0x10_1000), (0x40_2000, 3, 0x10_2000)]);
}

#[test]
fn one_page_that_is_not_granted_denies_all() {
    for bad in 0..3 {
        let answer = check_mmap(&config(), &good(), |addr, _, _| addr != 0x40_0000 + bad * PAGE);
        assert_eq!(answer, Err(Denial::PageTable));
    }
}

#[test]
fn the_hook_is_not_asked_again_after_a_no() {
    let mut asked = 0;
    let call = Mmap { addr: 0, length: STUB, ..good() };
    let answer = check_mmap(&config(), &call, |_, _, _| {
        asked += 1;
        asked < 5
    });
    assert_eq!((answer, asked), (Err(Denial::PageTable), 5));
}

#[test]
fn flags_are_exact() {
    for flags in [
        0,
        libc::MAP_SHARED,
        libc::MAP_FIXED,
        libc::MAP_PRIVATE | libc::MAP_FIXED,
        libc::MAP_SHARED | libc::MAP_FIXED | libc::MAP_ANONYMOUS,
        libc::MAP_SHARED | libc::MAP_FIXED | libc::MAP_POPULATE,
    ] {
        assert_eq!(denied(|c| c.flags = flags as u64), Err(Denial::Flags), "{flags:#x}");
    }
    assert_eq!(denied(|c| c.flags |= 1 << 32), Err(Denial::Flags));
}

#[test]
fn only_memory_fds() {
    for fd in [0, 1, 3, u64::from(u32::MAX), u64::MAX] {
        assert_eq!(denied(|c| c.fd = fd), Err(Denial::Fd), "{fd:#x}");
    }
    assert_eq!(denied(|c| c.fd = 2 | 0xdead << 32), Ok(()));
}

#[test]
fn protection_bits() {
    for prot in 0..8 {
        assert_eq!(denied(|c| c.prot = prot), Ok(()));
    }
    for prot in [8, libc::PROT_GROWSDOWN as u64, libc::PROT_GROWSUP as u64, 1 << 32, 1 << 63] {
        assert_eq!(denied(|c| c.prot = prot), Err(Denial::Protection), "{prot:#x}");
    }
}

#[test]
fn alignment_emptiness_wrap_and_range() {
    assert_eq!(denied(|c| c.addr += 1), Err(Denial::Unaligned));
    assert_eq!(denied(|c| c.length -= 1), Err(Denial::Unaligned));
    assert_eq!(denied(|c| c.offset += 1), Err(Denial::Offset));
    assert_eq!(denied(|c| c.offset = 0u64.wrapping_sub(PAGE)), Err(Denial::Offset));
    assert_eq!(denied(|c| c.length = 0), Err(Denial::Empty));
    assert_eq!(denied(|c| c.length = 0u64.wrapping_sub(PAGE)), Err(Denial::Wrap));
    assert_eq!(denied(|c| c.length = u64::MAX), Err(Denial::Wrap));
    assert_eq!(denied(|c| c.addr = STUB - 2 * PAGE), Err(Denial::Range));
    assert_eq!(denied(|c| c.addr = STUB - 3 * PAGE), Ok(()));
    assert_eq!(denied(|c| c.addr = STUB), Err(Denial::Range));
    assert_eq!(denied(|c| c.addr = STUB + 16 * PAGE), Err(Denial::Range));
}

#[test]
fn munmap_is_bounded_as_the_host_rounds() {
    let config = config();
    assert_eq!(check_range(&config, 0, STUB), Ok(()));
    assert_eq!(check_range(&config, 0, STUB + 1), Err(Denial::Range));
    assert_eq!(check_range(&config, STUB - PAGE, 1), Ok(()));
    assert_eq!(check_range(&config, STUB - PAGE, PAGE + 1), Err(Denial::Range));
    assert_eq!(check_range(&config, PAGE, 0), Err(Denial::Empty));
    assert_eq!(check_range(&config, PAGE + 8, PAGE), Err(Denial::Unaligned));
    assert_eq!(check_range(&config, PAGE, u64::MAX), Err(Denial::Wrap));
    assert_eq!(check_range(&config, PAGE, u64::MAX - 2 * PAGE), Err(Denial::Range));
}

/// The rule, written again in numbers that cannot wrap.
fn naive(call: &Mmap, granted: impl Fn(u128) -> bool) -> bool {
    let (addr, length, offset) = (u128::from(call.addr), u128::from(call.length), u128::from(call.offset));
    let page = u128::from(PAGE);
    call.flags == 0x11
        && call.prot <= 7
        && call.fd & 0xffff_ffff == 2
        && addr % page == 0
        && length % page == 0
        && offset % page == 0
        && length > 0
        && addr + length <= u128::from(STUB)
        && offset + length <= u128::from(u64::MAX)
        && (0..length / page).all(granted)
}

/// Values around every bound.
fn edge() -> impl Strategy<Value = u64> {
    prop_oneof![
        prop::sample::select(vec![
            0,
            STUB,
            STUB - PAGE,
            STUB + PAGE,
            u64::MAX,
            1 << 63,
            1 << 32,
            PAGE,
            0x40_0000
        ]),
        any::<u64>(),
        (0u64..64).prop_map(|n| n * PAGE),
    ]
    .prop_flat_map(|base| (Just(base), -2i64..=2, prop::sample::select(vec![1i64, PAGE as i64])))
    .prop_map(|(base, n, unit)| base.wrapping_add_signed(n * unit))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_naive_rule(
        addr in edge(), length in edge(), offset in edge(),
        prot in 0u64..10,
        flags in prop::sample::select(vec![0x11u64, 0x11, 0x11, 0x10, 0x1, 0x31, 0x1_0000_0011]),
        fd in prop::sample::select(vec![2u64, 2, 2, 0, 1, 3, 0x1_0000_0002, u64::MAX]),
        hole in 0u128..40,
    ) {
        let call = Mmap { addr, length, prot, flags, fd, offset };
        let answer = check_mmap(&config(), &call, |page, _, _| u128::from((page - addr) / PAGE) != hole);
        prop_assert_eq!(answer.is_ok(), naive(&call, |i| i != hole));
    }

    #[test]
    fn munmap_agrees_with_the_naive_rule(addr in edge(), length in edge()) {
        let end = u128::from(addr) + u128::from(length).div_ceil(u128::from(PAGE)) * u128::from(PAGE);
        let ok = addr.is_multiple_of(PAGE) && length > 0 && end <= u128::from(STUB);
        prop_assert_eq!(check_range(&config(), addr, length).is_ok(), ok);
    }
}
