// SPDX-License-Identifier: GPL-2.0-only
//! Arbitrary arguments of a call: the policy allows what the plain rule allows, and has called the hook for each
//! page.
#![no_main]

#[allow(dead_code)] // Each target uses a part of it.
mod common;

use common::{Input, PAGE, config};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use stubguard::config::{Config, example};
use stubguard::policy::{Mmap, check_mmap, check_range};

static CONFIG: LazyLock<Config> =
    LazyLock::new(|| config(Config { mmap_fd_last: 3, ..example::notify() }, 832));

/// A number, mostly near a boundary.
fn number(input: &mut Input<'_>) -> u64 {
    let how = input.byte();
    let pages = u64::from(input.byte()) * PAGE as u64;
    match how % 8 {
        0 => pages,
        1 => 0x7fff_ffff_c000u64.wrapping_sub(pages),
        2 => pages.wrapping_neg(),
        3 => pages | u64::from(input.byte()),
        4 => u64::from(input.byte()),
        5 => 1 << (input.byte() % 64),
        _ => input.word(),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let config = &*CONFIG;
    let hole = u64::from(input.byte() % 64);
    let [addr, length, prot, offset] = core::array::from_fn(|_| number(&mut input));
    let flags = if input.byte() % 8 == 0 { number(&mut input) } else { 0x11 };
    let fd = if input.byte() % 8 == 0 { number(&mut input) } else { 2 };
    let call = Mmap { addr, length, prot: prot % 16, flags, fd, offset };

    let page = PAGE as u128;
    let (start, size, at) = (u128::from(addr), u128::from(length), u128::from(offset));
    let range = length > 0
        && start % page == 0
        && start + size.next_multiple_of(page) <= u128::from(config.stub_start);
    let sound = range
        && size % page == 0
        && flags == 0x11
        && call.prot <= 7
        && [2, 3].contains(&(fd as u32))
        && at % page == 0
        && at + size < 1 << 64;
    // One page in 64 is not granted, so that no call takes too long.
    let granted =
        |addr: u64, offset: u64| (addr / PAGE as u64 * 2).wrapping_add(offset / PAGE as u64) % 64 != hole;
    let all = sound && (0..size / page).all(|i| granted((start + i * page) as u64, (at + i * page) as u64));

    let mut asked = 0;
    let answer = check_mmap(config, &call, |page_addr, page_prot, page_offset| {
        assert!(sound, "{call:x?}");
        assert_eq!(u128::from(page_addr), start + asked * page);
        assert_eq!(u128::from(page_offset), at + asked * page);
        assert_eq!(page_prot, call.prot);
        asked += 1;
        granted(page_addr, page_offset)
    });
    assert_eq!(answer.is_ok(), all, "{call:x?}");
    assert!(answer.is_err() || asked == size / page);
    assert_eq!(check_range(config, addr, length).is_ok(), range, "{call:x?}");
});
