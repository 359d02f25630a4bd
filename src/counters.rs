// SPDX-License-Identifier: GPL-2.0-only
//! Counters for the administrator. They are relaxed atomics: each is right, but a snapshot is not of one
//! moment.

use crate::abi::{STUBGUARD_DENIALS, Stats};
use crate::policy::Denial;
use core::sync::atomic::{AtomicU64, Ordering};

/// One counter.
#[derive(Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds one.
    pub fn bump(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Notifications answered.
pub static SERVED: Counter = Counter::new();
/// Calls that the host was let run.
pub static ALLOWED: Counter = Counter::new();
/// Notifications that the host withdrew.
pub static RESYNCHRONISED: Counter = Counter::new();
/// Reports that broke the protocol.
pub static BREACHES: Counter = Counter::new();
/// Waits that the watchdog had to look at.
pub static STALLS: Counter = Counter::new();
/// Stubs killed by the watchdog.
pub static KILLED_WATCHDOG: Counter = Counter::new();
/// Stubs killed for the caller.
pub static KILLED_CALLER: Counter = Counter::new();
/// Stubs kept for another mm.
pub static RECYCLED: Counter = Counter::new();

static DENIED: [Counter; STUBGUARD_DENIALS] = [const { Counter::new() }; STUBGUARD_DENIALS];

/// Counts a call denied for that reason.
pub fn denied(reason: Denial) {
    if let Some(counter) = DENIED.get(reason as usize) {
        counter.bump();
    }
}

/// Returns all counters.
#[must_use]
pub fn snapshot() -> Stats {
    let mut denied = [0; STUBGUARD_DENIALS];
    for (value, counter) in denied.iter_mut().zip(&DENIED) {
        *value = counter.get();
    }
    let killed_watchdog = KILLED_WATCHDOG.get();
    Stats {
        served: SERVED.get(),
        allowed: ALLOWED.get(),
        denied,
        resynchronised: RESYNCHRONISED.get(),
        breaches: BREACHES.get(),
        stalls: STALLS.get(),
        kills: killed_watchdog.saturating_add(KILLED_CALLER.get()),
        recycled: RECYCLED.get(),
        killed_watchdog,
    }
}
