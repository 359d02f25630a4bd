// SPDX-License-Identifier: GPL-2.0-only
//! Parked stubs without an address space, to be used again: making and ending a host process is the
//! most of what a fork and an exec cost.
//!
//! A parked stub has no state of its own but what is listed here. Before it is kept it is washed
//! ([`Parked::wash`](super::parked::Parked::wash)): resumed once more, with nothing mapped, to fault at once.
//!
//! | what a process has                       | what makes it clean |
//! |------------------------------------------|---------------------|
//! | mappings below the stub's own pages      | unmapped by the washing's batch |
//! | control page, signal stack, dispatch byte | cleared when it is taken; the byte is each resume's |
//! | registers, flags                         | all are the resume's |
//! | FPU, vector state, PKRU                  | the washing's, and loaded whole on each resume |
//! | FS and GS base, data selectors           | the washing's |
//! | signal mask                              | the host has entered the handler: all blocked; none after a resume |
//! | pending signals                          | a timer's at most: the next resume is done again |
//! | the memory's fd                          | as ever: it maps nothing while the limit holds, which it does when a guest runs |
//! | dispositions, alternate stack, filters, fds, limits, name, timers, affinity, ... | a guest cannot change them: it makes no host call but at the sites of `stub::code` |
//!
//! Only a stub that is parked, and has never done what honest code does not do, is taken in; one that does
//! anything else when it is washed is not.

use super::parked::{Limit, Stub};
use crate::config::Config;
use crate::{Errno, Result, counters};
#[cfg(not(loom))]
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};
#[cfg(loom)]
use loom::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// The most stubs that can be kept.
pub const STUBGUARD_POOL_MAX: u32 = 64;

const EMPTY: u8 = 0;
/// Belongs to whoever has moved it here.
const BUSY: u8 = 1;
const FULL: u8 = 2;

/// What is kept of a stub, as words.
const WORDS: usize = 8;

/// A place for one stub.
#[derive(Debug)]
pub struct Place {
    state: AtomicU8,
    words: [AtomicU64; WORDS],
}

impl Place {
    /// An empty one.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        Self { state: AtomicU8::new(EMPTY), words: [const { AtomicU64::new(0) }; WORDS] }
    }

    /// An empty one.
    #[cfg(loom)]
    #[must_use]
    pub fn new() -> Self {
        Self { state: AtomicU8::new(EMPTY), words: core::array::from_fn(|_| AtomicU64::new(0)) }
    }

    fn claim(&self, from: u8) -> bool {
        self.state.compare_exchange(from, BUSY, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Keeps these words, if there is room.
    pub fn put(&self, words: [u64; WORDS]) -> bool {
        if !self.claim(EMPTY) {
            return false;
        }
        for (kept, word) in self.words.iter().zip(words) {
            kept.store(word, Ordering::Relaxed);
        }
        self.state.store(FULL, Ordering::Release);
        true
    }

    /// What is kept, which then is the caller's.
    pub fn take(&self) -> Option<[u64; WORDS]> {
        if !self.claim(FULL) {
            return None;
        }
        let mut words = [0; WORDS];
        for (word, kept) in words.iter_mut().zip(&self.words) {
            *word = kept.load(Ordering::Relaxed);
        }
        self.state.store(EMPTY, Ordering::Release);
        Some(words)
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(not(loom))]
static POOL: [Place; STUBGUARD_POOL_MAX as usize] = [const { Place::new() }; STUBGUARD_POOL_MAX as usize];

#[cfg(loom)]
loom::lazy_static! {
    static ref POOL: Vec<Place> = (0..STUBGUARD_POOL_MAX).map(|_| Place::new()).collect();
}

/// Whether one more may be kept.
#[must_use]
pub fn has_room(config: &Config) -> bool {
    let pool: &[Place] = &POOL;
    pool.iter().take(config.pool_size as usize).any(|place| place.state.load(Ordering::Relaxed) == EMPTY)
}

/// Takes a stub in that has been washed.
///
/// # Errors
/// `EINVAL` if it is not parked, or not to be trusted; `ENOSPC` if there are enough.
pub fn put(config: &Config, stub: &mut Stub) -> Result<()> {
    if !stub.is_clean() {
        return Err(Errno::EINVAL);
    }
    let pool: &[Place] = &POOL;
    let words = to_words(stub);
    // The lowest place that is empty, and take() the highest that is full: the last one in is the first
    // one out, while its memory is in the processor's caches.
    if !pool.iter().take(config.pool_size as usize).any(|place| place.put(words)) {
        return Err(Errno::ENOSPC);
    }
    stub.leave();
    counters::RECYCLED.bump();
    Ok(())
}

/// Hands a stub out, as it has come in: the caller looks whether it lives.
pub fn take() -> Option<Stub> {
    let pool: &[Place] = &POOL;
    pool.iter().rev().find_map(Place::take).map(from_words)
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

fn to_words(stub: &Stub) -> [u64; WORDS] {
    [
        pair(stub.pid.cast_unsigned(), stub.listener.cast_unsigned()),
        pair(0, stub.fpstate.into()),
        pair(stub.siginfo.into(), stub.mcontext.into()),
        stub.identity,
        stub.shared.expose_provenance() as u64,
        stub.notification,
        stub.xfeatures,
        stub.ticket,
    ]
}

fn from_words(words: [u64; WORDS]) -> Stub {
    let [process, limit, frame, identity, shared, notification, xfeatures, ticket] = words;
    let low = |word: u64| word as u32;
    let high = |word: u64| (word >> 32) as u32;
    let shared = core::ptr::with_exposed_provenance_mut(shared as usize);
    let mut stub = Stub::new(low(process).cast_signed(), high(process).cast_signed(), identity, shared);
    stub.limit = Limit::Holds;
    stub.notification = notification;
    stub.ticket = ticket;
    stub.xfeatures = xfeatures;
    stub.fpstate = high(limit) as u16;
    (stub.siginfo, stub.mcontext) = (low(frame) as u16, high(frame) as u16);
    stub.reuse();
    stub
}

#[cfg(test)]
mod tests;
