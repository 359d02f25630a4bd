// SPDX-License-Identifier: GPL-2.0-only
//! The slot of one CPU: what its monitor waits for, told to the watchdog without a lock.
//!
//! The word `state` holds a phase in its two low bits and a sequence number above; each wait and
//! each report gets a new number, and a number never comes back. The watchdog may condemn a wait
//! only by exchanging exactly the word that it has judged. So there are two cases, and no third:
//!
//! - the monitor has moved on first: the exchange fails, and nothing is killed;
//! - the exchange succeeds: the stub had not been found to report by then, and the monitor learns
//!   at its next step that this stub is dead.
//!
//! The words that name the stub are written only while the phase is IDLE. The watchdog reads them
//! between two loads of `state`, and its exchange is a third: they belong to the wait it condemns.

#[cfg(not(loom))]
use core::sync::atomic::{AtomicI32, AtomicU64, Ordering, fence};
#[cfg(loom)]
use loom::sync::atomic::{AtomicI32, AtomicU64, Ordering, fence};

const IDLE: u64 = 0;
const WAITING: u64 = 1;
const CONDEMNED: u64 = 2;
const PHASE: u64 = 3;
const STEP: u64 = 4;

/// A process: its number, and what tells it from all others that have had or will have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stub {
    /// The host's pid.
    pub pid: i32,
    /// See `host::pidfd::identity()`.
    pub identity: u64,
}

/// A wait that the watchdog has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    state: u64,
    /// The stub that the monitor waits for.
    pub stub: Stub,
    /// The monitor's thread.
    pub tid: i32,
}

/// What a monitor is told when it moves on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Go on.
    Done,
    /// The watchdog has killed the stub.
    Condemned,
    /// No wait is on: a bug.
    NotWaiting,
}

/// One CPU's slot, in cache lines of its own (the host fetches them in pairs).
#[repr(align(128))]
#[derive(Debug)]
pub struct Slot {
    state: AtomicU64,
    identity: AtomicU64,
    pid: AtomicI32,
    tid: AtomicI32,
}

impl Slot {
    /// An idle slot.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: AtomicU64::new(IDLE),
            identity: AtomicU64::new(0),
            pid: AtomicI32::new(0),
            tid: AtomicI32::new(0),
        }
    }

    /// An idle slot.
    #[cfg(loom)]
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: AtomicU64::new(IDLE),
            identity: AtomicU64::new(0),
            pid: AtomicI32::new(0),
            tid: AtomicI32::new(0),
        }
    }

    /// Monitor: the thread that this CPU is, 0 if unknown.
    pub fn tid(&self) -> i32 {
        self.tid.load(Ordering::Relaxed)
    }

    /// Monitor: makes the thread known.
    pub fn set_tid(&self, tid: i32) {
        self.tid.store(tid, Ordering::Relaxed);
    }

    /// Monitor: waits for `stub` from now on. Saying so again changes nothing.
    pub fn enter(&self, stub: Stub) -> Step {
        let state = self.state.load(Ordering::Relaxed);
        match state & PHASE {
            WAITING if self.stub() == stub => return Step::Done,
            CONDEMNED if self.stub() == stub => return Step::Condemned,
            _ => {}
        }
        // IDLE before the words change. If another stub was condemned here, its monitor was preempted, and
        // will find that stub dead.
        let idle = state.wrapping_add(STEP) & !PHASE | IDLE;
        self.state.store(idle, Ordering::Relaxed);
        // Whoever sees the new words must see IDLE, or what came after.
        fence(Ordering::Release);
        self.pid.store(stub.pid, Ordering::Relaxed);
        self.identity.store(stub.identity, Ordering::Relaxed);
        // If another monitor preempts this one here, on the same CPU, the words may be mixed. But the other
        // one has changed `state`, so nobody watches until the next enter().
        let _ =
            self.state.compare_exchange(idle, idle & !PHASE | WAITING, Ordering::Release, Ordering::Relaxed);
        Step::Done
    }

    /// Monitor: the stub has reported; the wait goes on.
    pub fn progress(&self) -> Step {
        self.advance(WAITING)
    }

    /// Monitor: the wait is over.
    pub fn exit(&self) -> Step {
        self.advance(IDLE)
    }

    fn advance(&self, phase: u64) -> Step {
        let state = self.state.load(Ordering::Relaxed);
        let next = state.wrapping_add(STEP) & !PHASE;
        match state & PHASE {
            // Only the watchdog's condemn() can change `state` meanwhile.
            WAITING => {
                match self.state.compare_exchange(state, next | phase, Ordering::AcqRel, Ordering::Relaxed) {
                    Ok(_) => Step::Done,
                    Err(_) => self.condemned(),
                }
            }
            CONDEMNED => self.condemned(),
            _ => Step::NotWaiting,
        }
    }

    fn condemned(&self) -> Step {
        let next = self.state.load(Ordering::Relaxed).wrapping_add(STEP) & !PHASE | IDLE;
        self.state.store(next, Ordering::Release);
        Step::Condemned
    }

    fn stub(&self) -> Stub {
        Stub { pid: self.pid.load(Ordering::Relaxed), identity: self.identity.load(Ordering::Relaxed) }
    }

    /// Watchdog: the wait that is on.
    pub fn observe(&self) -> Option<Wait> {
        let state = self.state.load(Ordering::Acquire);
        let stub = self.stub();
        let tid = self.tid();
        fence(Ordering::Acquire);
        let unchanged = self.state.load(Ordering::Relaxed) == state;
        (state & PHASE == WAITING && unchanged).then_some(Wait { state, stub, tid })
    }

    /// Watchdog: condemns the stub of exactly this wait. If that succeeds, it must be killed.
    pub fn condemn(&self, wait: &Wait) -> bool {
        let condemned = wait.state & !PHASE | CONDEMNED;
        self.state.compare_exchange(wait.state, condemned, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
