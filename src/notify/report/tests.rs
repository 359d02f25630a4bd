// SPDX-License-Identifier: GPL-2.0-only
//! Reports, proper and forged. Whatever the shared data holds, the monitor's copy gets only what the code
//! that reads it can handle.

#![allow(clippy::arithmetic_side_effects, clippy::cast_sign_loss)]

use super::*;
use crate::config::example::notify;
use crate::memory::tests::Pages;
use proptest::prelude::*;

const SIGSTACK: usize = 4096;
const SIGINFO: u16 = 200;
const MCONTEXT: u16 = 400;
const FPREGS: usize = 1024;

struct Both {
    config: Config,
    shared: Pages,
    own: Pages,
}

impl Both {
    /// A stub that reports a guest's system call as the host and UML's stub would.
    fn proper() -> Self {
        let config = notify();
        let mut shared = Pages::new();
        shared.put(config.layout.signal as usize, libc::SIGSYS);
        shared.put(config.layout.si_offset as usize, SIGINFO);
        shared.put(config.layout.mctx_offset as usize, MCONTEXT);
        let fp = config.fp_size;
        shared.put(SIGSTACK + MCONTEXT as usize + 184, config.stub_data_address(4096 + FPREGS as u32));
        shared.put(SIGSTACK + FPREGS + 464, 0x4650_5853u32);
        shared.put(SIGSTACK + FPREGS + 468, fp + 4);
        shared.put(SIGSTACK + FPREGS + fp as usize, 0x4650_5845u32);
        Self { config, shared, own: Pages::new() }
    }

    fn hand(&mut self) -> Hand<'_> {
        Hand { shared: self.shared.data(), own: self.own.data(), config: &self.config }
    }

    fn collect(&mut self, calls: u32) -> core::result::Result<(), Breach> {
        self.hand().try_collect(calls).map_err(|offence| offence.breach)
    }
}

fn forged(calls: u32, change: impl FnOnce(&mut Both)) -> core::result::Result<(), Breach> {
    let mut both = Both::proper();
    change(&mut both);
    both.collect(calls)
}

#[test]
fn a_proper_report_is_taken_over() {
    let mut both = Both::proper();
    both.shared.put(SIGSTACK + MCONTEXT as usize + 16 * 8, 0x1234_5678u64);
    assert_eq!(both.collect(0), Ok(()));
    let layout = both.config.layout;
    assert_eq!(both.own.get::<i32>(layout.signal as usize), libc::SIGSYS);
    assert_eq!(both.own.get::<u16>(layout.si_offset as usize), SIGINFO);
    assert_eq!(both.own.get::<u16>(layout.mctx_offset as usize), MCONTEXT);
    assert_eq!(both.own.get::<u64>(SIGSTACK + MCONTEXT as usize + 16 * 8), 0x1234_5678);
}

#[test]
fn only_signals_that_stubs_handle() {
    for signal in -2..130 {
        let known = [4, 5, 7, 8, 11, 14, 31].contains(&signal);
        let answer = forged(0, |both| both.shared.put(both.config.layout.signal as usize, signal));
        assert_eq!(answer, if known { Ok(()) } else { Err(Breach::Signal) }, "{signal}");
    }
}

#[test]
fn an_error_needs_a_batch_and_a_number() {
    let error = |err: i64, done: i32, calls: u32| {
        forged(calls, |both| {
            both.shared.put(both.config.layout.err as usize, err);
            both.shared.put(both.config.layout.calls_len as usize, done);
        })
    };
    assert_eq!(error(-12, 0, 1), Ok(()));
    assert_eq!(error(-4095, 4, 5), Ok(()));
    for (err, done, calls) in [
        (-12, 0, 0),
        (-12, 1, 1),
        (-12, -1, 5),
        (-12, i32::MAX, 5),
        (-12, i32::MIN, 5),
        (-4096, 0, 1),
        (i64::MIN, 0, 1),
        // Hole 20: a positive error became the length of the next batch.
        (1, 0, 1),
        (0x7fff_ffff, 0, 1),
        (i64::MAX, 0, 1),
    ] {
        assert_eq!(error(err, done, calls), Err(Breach::Error), "{err} {done} {calls}");
    }
    // Without an error nobody reads the length.
    assert_eq!(error(0, i32::MAX, 0), Ok(()));
}

#[test]
fn a_frame_is_whole_on_the_signal_stack() {
    let offsets = |si: u16, mctx: u16| {
        forged(0, |both| {
            both.shared.put(both.config.layout.si_offset as usize, si);
            both.shared.put(both.config.layout.mctx_offset as usize, mctx);
        })
    };
    assert_eq!(offsets(SIGINFO, MCONTEXT), Ok(()));
    assert_eq!(offsets(0, MCONTEXT), Ok(()));
    assert_eq!(offsets(4096 - 128, MCONTEXT), Ok(()));
    for (si, mctx) in [
        (4096 - 120, MCONTEXT),
        (u16::MAX, MCONTEXT),
        (SIGINFO + 1, MCONTEXT),
        (SIGINFO, 32),
        (SIGINFO, 0),
        (SIGINFO, MCONTEXT + 4),
        (SIGINFO, 4096 - 248),
        (SIGINFO, u16::MAX),
    ] {
        assert_eq!(offsets(si, mctx), Err(Breach::Frame), "{si} {mctx}");
    }
}

#[test]
fn fp_state_is_where_and_as_large_as_the_host_makes_it() {
    let fp = notify().fp_size;
    let at = |offset: u64| move |both: &mut Both| both.shared.put(SIGSTACK + MCONTEXT as usize + 184, offset);
    let base = notify().stub_data_address(4096);
    for pointer in [0, base - 64, base + 4096, base + 1024 + 8, base + 64, u64::MAX, (base + 1024) | 1 << 63]
    {
        assert_eq!(forged(0, at(pointer)), Err(Breach::FpState), "{pointer:#x}");
    }
    // The last offset where it would fit, without the magic number after it.
    assert_eq!(forged(0, at(base + ((4096 - u64::from(fp)) & !63) + 64)), Err(Breach::FpState));
    for size in [0, 1, 3, 4, 512, fp - 4, fp, fp + 3, fp + 5, 4096, 0x8000_0000, u32::MAX] {
        let answer = forged(0, |both| both.shared.put(SIGSTACK + FPREGS + 468, size));
        assert_eq!(answer, Err(Breach::FpState), "{size:#x}");
    }
    assert_eq!(forged(0, |both| both.shared.put(SIGSTACK + FPREGS + 464, 0u32)), Err(Breach::FpState));
    assert_eq!(
        forged(0, |both| both.shared.put(SIGSTACK + FPREGS + fp as usize, 0u32)),
        Err(Breach::FpState)
    );
    // A host without XSAVE.
    let plain = |both: &mut Both| {
        both.config.fp_size = 512;
        both.shared.put(SIGSTACK + FPREGS + 464, 0u32);
    };
    assert_eq!(forged(0, plain), Ok(()));
}

#[test]
fn after_a_batch_alone_the_frame_stays_what_it_was() {
    let mut both = Both::proper();
    assert_eq!(both.collect(0), Ok(()));
    both.own.put(both.config.layout.restart_wait as usize, 1i16);
    // A hijacked stub rewrites everything between publish and collect.
    both.shared.bytes().fill(0xff);
    both.shared.put(both.config.layout.signal as usize, libc::SIGSYS);
    both.shared.put(both.config.layout.err as usize, 0i64);
    let frame = both.own.bytes()[SIGSTACK..].to_vec();
    assert_eq!(both.collect(3), Ok(()));
    assert_eq!(both.own.bytes()[SIGSTACK..], frame);
    assert_eq!(both.own.get::<u16>(both.config.layout.mctx_offset as usize), MCONTEXT);
    assert_eq!(both.own.get::<i16>(both.config.layout.restart_wait as usize), 0);

    both.own.put(both.config.layout.restart_wait as usize, 1i16);
    both.shared.put(both.config.layout.signal as usize, libc::SIGALRM);
    assert_eq!(both.collect(3), Err(Breach::Signal));
}

#[test]
fn what_is_published_is_the_monitors() {
    let mut both = Both::proper();
    assert_eq!(both.collect(0), Ok(()));
    let layout = both.config.layout;
    both.own.bytes()[layout.calls as usize..][..96].fill(7);
    both.own.bytes()[layout.arch_data as usize..][..24].fill(9);
    both.shared.bytes().fill(0xee);
    assert_eq!(both.hand().publish(2), Ok(()));
    assert_eq!(both.shared.bytes()[layout.calls as usize..][..96], [7; 96]);
    assert_eq!(both.shared.bytes()[layout.calls as usize..][96], 0xee, "not more than the batch");
    assert_eq!(both.shared.bytes()[layout.arch_data as usize..][..24], [9; 24]);
    assert_eq!(both.shared.get::<i32>(layout.calls_len as usize), 2);
    assert_eq!(both.shared.get::<i64>(layout.err as usize), 0);
    assert_eq!(both.shared.get::<i32>(layout.signal as usize), 0);
    assert_eq!(both.shared.get::<u32>(layout.futex as usize), 0xeeee_eeee, "the caller's");
    let (own, shared) =
        (both.own.bytes()[SIGSTACK + 360..].to_vec(), both.shared.bytes()[SIGSTACK + 360..].to_vec());
    assert_eq!(own, shared);
}

#[test]
fn what_cannot_be_published_is_refused() {
    let mut both = Both::proper();
    assert_eq!(both.hand().publish(0), Err(Errno::EINVAL), "no frame yet");
    assert_eq!(both.collect(0), Ok(()));
    let max = both.config.layout.calls_max;
    assert_eq!(both.hand().publish(max), Ok(()));
    assert_eq!(both.hand().publish(max + 1), Err(Errno::EINVAL));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 5_000, ..ProptestConfig::default() })]

    /// What arch/um does with the copy stays inside it, whatever the guest wrote.
    #[test]
    fn nothing_out_of_range_comes_through(
        changes in prop::collection::vec((prop_oneof![
            0usize..16, 3952usize..3992, Just(SIGSTACK + 584), (SIGSTACK + 400)..(SIGSTACK + 600),
            (SIGSTACK + FPREGS + 460)..(SIGSTACK + FPREGS + 480), 0usize..8188,
        ], any::<u32>()), 0..6),
        calls in 0u32..83,
        batch_only: bool,
    ) {
        let mut both = Both::proper();
        prop_assert_eq!(both.collect(0), Ok(()));
        both.own.put(both.config.layout.restart_wait as usize, i16::from(batch_only));
        for (offset, value) in changes {
            both.shared.put(offset, value);
        }
        if both.collect(calls).is_ok() {
            let layout = both.config.layout;
            let err = both.own.get::<i64>(layout.err as usize);
            let done = both.own.get::<i32>(layout.calls_len as usize);
            prop_assert!((-4095..=0).contains(&err));
            prop_assert!(done == 0 || (err < 0 && u32::try_from(done).is_ok_and(|done| done < calls)));
            prop_assert!(SIGNALS.contains(&both.own.get::<i32>(layout.signal as usize)));
            let si = usize::from(both.own.get::<u16>(layout.si_offset as usize));
            let mctx = usize::from(both.own.get::<u16>(layout.mctx_offset as usize));
            prop_assert!(si + 128 <= 4096 && mctx + 256 <= 4096);
            let fp = both.own.get::<u64>(SIGSTACK + mctx + 184) - both.config.stub_data_address(4096);
            let fp = usize::try_from(fp).unwrap_or(usize::MAX);
            prop_assert!(fp + both.config.fp_size as usize + 4 <= 4096);
            prop_assert_eq!(both.own.get::<u32>(SIGSTACK + fp + 468), both.config.fp_size + 4);
        }
    }
}
