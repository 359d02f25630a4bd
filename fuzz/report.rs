// SPDX-License-Identifier: GPL-2.0-only
//! Arbitrary data of a stub in notify mode: the monitor takes over only values within their bounds.
#![no_main]

#[allow(dead_code)] // Each target uses a part of it.
mod common;

use common::{FP_SIZES, HANDLED, Input, PAGE, Pages, SIZE, config, fp_offset};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use stubguard::config::{Config, example};
use stubguard::notify::report::Hand;

static CONFIGS: LazyLock<[Config; 2]> =
    LazyLock::new(|| FP_SIZES.map(|size| config(example::notify(), size)));

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let (calls, batch_only) = (input.byte(), input.byte());
    let config = &CONFIGS[usize::from(input.byte() % 2)];
    let layout = &config.layout;
    // A report as a stub makes it, then the guest's changes.
    let mut shared = Pages::of(&[], &[0; SIZE]);
    shared.put(3960, &31i32.to_ne_bytes());
    shared.put(3964, &200u16.to_ne_bytes());
    shared.put(3966, &400u16.to_ne_bytes());
    shared.put_frame(config, 0x40_0000, fp_offset(&mut input));
    shared.change(input.0);
    let mut own = Pages::of(&[], &[0; SIZE]);
    own.0[3952] = batch_only % 2;
    let before = own.clone();
    let calls = u32::from(calls);
    let hand = Hand { config, shared: shared.data(), own: own.data() };
    let result = hand.collect(calls, 0);

    // After a breach only the frame may have changed.
    let frame = layout.sigstack as usize;
    if result.is_err() {
        assert!(own.0[..frame] == before.0[..frame]);
        return;
    }
    assert!(calls <= layout.calls_max);
    let (signal, err, done) = (own.i32(3960), own.u64(0) as i64, own.i32(8));
    assert!(HANDLED.contains(&signal));
    assert!(err == 0 && done == 0 || (-4095..0).contains(&err) && (0..calls as i32).contains(&done));
    assert_eq!(own.u16(3952), 0);
    if batch_only % 2 == 1 || err != 0 {
        assert!(own.0[frame..] == before.0[frame..]);
        return;
    }
    let (siginfo, mcontext) = (own.u16(3964), own.u16(3966));
    assert!(usize::from(siginfo) + 128 <= PAGE && (40..=PAGE - 256).contains(&usize::from(mcontext)));
    let fp = own.u64(PAGE + usize::from(mcontext) + 184) - config.stub_data_address(PAGE as u32);
    assert!(fp.is_multiple_of(64) && fp as u32 + config.fp_size <= PAGE as u32);
    // Inside of what was copied: from the frame's start on.
    assert!(fp as u16 >= siginfo.min(mcontext - 40));
    // Nothing else was taken.
    assert!(own.0[12..3952] == before.0[12..3952] && own.0[3968..frame] == before.0[3968..frame]);
});
