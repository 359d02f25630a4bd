// SPDX-License-Identifier: GPL-2.0-only
//! Arbitrary arguments of a park and data of the stub in window mode, given to the monitor.
#![no_main]

#[allow(dead_code)] // Each target uses a part of it.
mod common;

use common::{FP_SIZES, HANDLED, Input, PAGE, Pages, SIZE, config, fp_offset};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use stubguard::abi::STUBGUARD_REGISTERS;
use stubguard::config::{Config, example};
use stubguard::window::code::{PARK_DONE, PARK_FAILED, Place};
use stubguard::window::fuzz;
use stubguard::window::guest::Target;
use stubguard::window::stub::{Caller, State};

static CONFIGS: LazyLock<[Config; 2]> =
    LazyLock::new(|| FP_SIZES.map(|size| config(example::window(), size)));
const STACK: u64 = 0x7fff_ffff_c000 + 2 * PAGE as u64;
/// The registers of the host's `mcontext_t`, in its order, as indices into `struct user_regs_struct`.
const ORDER: [usize; 18] = [9, 8, 7, 6, 3, 2, 1, 0, 14, 13, 4, 5, 12, 10, 11, 19, 16, 18];

fn argument(input: &mut Input<'_>) -> u64 {
    match input.byte() % 8 {
        0 => 31,
        1 => 14,
        2 => PARK_DONE,
        3 => PARK_FAILED,
        4 => u64::from(input.byte()),
        5 => STACK + 200,
        6 => STACK + 360,
        _ => input.word(),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let states = [State::Starting, State::Running, State::Syncing];
    let state = states[usize::from(input.byte()) % states.len()];
    let (calls, asked) = (u32::from(input.byte()) % 113, u16::from(input.byte()) % 83);
    let arguments = core::array::from_fn(|_| argument(&mut input));

    // A frame as the host writes it, then the guest's changes.
    let config = &CONFIGS[usize::from(input.byte() % 2)];
    let fp_size = config.fp_size as usize;
    let rip = match input.byte() % 2 {
        0 => 0x40_0000,
        _ => config.stub_start + u64::from(input.half()) % (PAGE as u64 + 16),
    };
    let mut shared = Pages::of(&[], &[0; SIZE]);
    shared.put_frame(config, rip, fp_offset(&mut input));
    shared.change(input.0);
    let before = shared.clone();
    let mut registers = Pages::of(&[], &[0xee; SIZE]);
    let mut fp = registers.clone();
    let mut siginfo = registers.clone();
    let untouched = registers.clone();
    let target = Target {
        state: Caller { registers: registers.data(), fp: fp.data() },
        siginfo: Some(siginfo.data()),
        rest: false,
    };
    let judged = fuzz::judge(config, state, (calls, asked), shared.data(), arguments, &target);

    assert!(*shared == *before, "the monitor reads it only");
    let written = *registers != *untouched || *fp != *untouched || *siginfo != *untouched;
    let Some((event, (at, fpstate))) = judged else {
        assert!(!written, "outputs only on success");
        return;
    };
    assert!(usize::from(at) + 256 <= PAGE && usize::from(fpstate) + fp_size <= PAGE && fpstate % 64 == 0);
    if event.signal == 0 {
        // The batch has ended.
        assert!(!written);
        assert!(state == State::Syncing || event.error != 0);
        assert!(event.error <= 0 && event.error >= -4095);
        assert!(event.done == 0 || event.done < i32::from(asked));
        return;
    }
    assert!(HANDLED.contains(&event.signal) && state != State::Syncing);
    let word = |index: usize| before.u64(PAGE + usize::from(at) + index * 8);
    let place = word(16).wrapping_sub(config.stub_start);
    if place < PAGE as u64 {
        assert!((Place::Unblock.offset()..=Place::Iret.offset()).contains(&place));
        assert!(event.again == 1 && !written && [11, 14].contains(&event.signal));
        return;
    }
    assert_eq!(event.again, 0);
    for (index, register) in ORDER.into_iter().enumerate() {
        assert_eq!(registers.u64(register * 8), word(index), "register {register}");
    }
    assert_eq!(registers.u64(17 * 8), word(18) & 0xffff);
    assert_eq!(registers.u64(20 * 8), word(18) >> 48);
    assert!(registers.0[STUBGUARD_REGISTERS * 8..] == untouched.0[STUBGUARD_REGISTERS * 8..]);
    let from = PAGE + usize::from(fpstate);
    assert!(fp.0[..fp_size] == before.0[from..from + fp_size] && fp.0[fp_size..] == untouched.0[fp_size..]);
    assert!(siginfo.0[128..] == untouched.0[128..]);
});
