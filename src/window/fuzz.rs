// SPDX-License-Identifier: GPL-2.0-only
//! For fuzz/park.rs: judges one park, without a host.

use super::Parked;
use super::guest::Target;
use super::stub::{State, Stub};
use crate::abi::Event;
use crate::config::Config;
use crate::memory::StubData;
use crate::monitor::Monitor;
use core::sync::atomic::AtomicUsize;
use std::io::stdin;
use std::os::fd::AsFd;

/// Judges a park. Returns the event, and the offsets of the frame's machine context and floating-point state;
/// `None` if the park is a breach. Only a stub in the state Starting sets these offsets from its frame; for
/// others they are where fuzz/park.rs puts the frame.
///
/// `batch`: how many calls the stub was given, and how many the caller asked for.
#[must_use]
pub fn judge(
    config: &Config,
    state: State,
    batch: (u32, u16),
    shared: StubData,
    arguments: [u64; 3],
    target: &Target,
) -> Option<(Event, (u16, u16))> {
    let mut stub = Stub::new(1, -1, 1, core::ptr::null_mut());
    stub.state = state;
    (stub.calls, stub.asked) = batch;
    (stub.siginfo, stub.mcontext, stub.fpstate) = (200, 400, 1024);
    // The judge never uses the listener.
    let input = stdin();
    let event = Parked {
        monitor: Monitor { config, listener: input.as_fd(), granted: |_, _, _| false },
        features: 0,
        caller: &AtomicUsize::new(0),
        stub: &mut stub,
        shared,
    }
    .judge(arguments, Some(target))
    .ok()?;
    Some((event, (stub.mcontext, stub.fpstate)))
}
