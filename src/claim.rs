// SPDX-License-Identifier: GPL-2.0-only
//! Two cells for one value. A [`ClaimCell`] belongs to the one call that has claimed it. A [`OnceCell`] is filled
//! once, and all may read it from then on.
//!
//! | state | who may touch the value                                       |
//! |-------|---------------------------------------------------------------|
//! | EMPTY | nobody; there is none                                         |
//! | BUSY  | the one call that has moved the state here, until it moves it on |
//! | FULL  | nobody; there is one                                          |
//!
//! This is not a lock: nobody waits. A call that finds the cell in another state fails at once. So a signal
//! handler may make it, whatever the interrupted thread was doing. If a call never ends, the cell stays BUSY
//! for ever: the value is lost, and nobody touches it.

#![allow(unsafe_code)]

use crate::{Errno, Result};
#[cfg(not(loom))]
use core::sync::atomic::{AtomicU8, Ordering};
#[cfg(loom)]
use loom::cell::UnsafeCell;
#[cfg(loom)]
use loom::sync::atomic::{AtomicU8, Ordering};

const EMPTY: u8 = 0;
const BUSY: u8 = 1;
const FULL: u8 = 2;

/// A cell with one value, or none.
pub struct ClaimCell<T> {
    state: AtomicU8,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: only `put` and `take` touch `value`, between a claim and its release. Claims exclude each other, as each is
// an exchange to BUSY that succeeds from another state only. The exchange acquires what the release before it has
// stored, so the value goes from thread to thread as through a channel: for that it must be `Send`.
unsafe impl<T: Send> Sync for ClaimCell<T> {}

impl<T> ClaimCell<T> {
    /// Makes an empty cell.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        Self { state: AtomicU8::new(EMPTY), value: UnsafeCell::new(None) }
    }

    /// Makes an empty cell.
    #[cfg(loom)]
    #[must_use]
    pub fn new() -> Self {
        Self { state: AtomicU8::new(EMPTY), value: UnsafeCell::new(None) }
    }

    /// Whether a value could be put in. Another thread may be faster.
    pub fn is_empty(&self) -> bool {
        self.state.load(Ordering::Relaxed) == EMPTY
    }

    /// Puts in what `make` returns. The cell is BUSY while `make` runs. If `make` fails, the cell stays
    /// empty.
    ///
    /// # Errors
    /// `EALREADY` if the cell is not empty: `make` was not called. What `make` returns.
    pub fn put(&self, make: impl FnOnce() -> Result<T>) -> Result<()> {
        self.claim(EMPTY)?;
        let result = make().map(|value| {
            // SAFETY: this call has claimed the cell, and the reference ends with this statement.
            self.value.with_mut(|place| unsafe { *place = Some(value) });
        });
        self.release(if result.is_ok() { FULL } else { EMPTY });
        result
    }

    /// Takes the value out, and passes it to `end`. The cell is BUSY while `end` runs, and empty afterwards,
    /// whatever `end` returns.
    ///
    /// # Errors
    /// `EALREADY` if there is no value: `end` was not called. What `end` returns.
    pub fn take<R>(&self, end: impl FnOnce(T) -> Result<R>) -> Result<R> {
        self.claim(FULL)?;
        // SAFETY: this call has claimed the cell, and the reference ends with this statement.
        let value = self.value.with_mut(|place| unsafe { (*place).take() });
        let result = value.ok_or(Errno::EALREADY).and_then(end);
        self.release(EMPTY);
        result
    }

    fn claim(&self, from: u8) -> Result<()> {
        // Acquire: all that the last owner did comes before.
        let claimed = self.state.compare_exchange(from, BUSY, Ordering::Acquire, Ordering::Relaxed);
        claimed.map(drop).map_err(|_| Errno::EALREADY)
    }

    fn release(&self, state: u8) {
        self.state.store(state, Ordering::Release);
    }
}

impl<T> Default for ClaimCell<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// A cell that is filled once. From then on all may read the value, and nobody takes it out.
pub struct OnceCell<T>(ClaimCell<T>);

impl<T> OnceCell<T> {
    /// Makes an empty cell.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        Self(ClaimCell::new())
    }

    /// Makes an empty cell.
    #[cfg(loom)]
    #[must_use]
    pub fn new() -> Self {
        Self(ClaimCell::new())
    }

    /// Fills it with what `make` returns.
    ///
    /// # Errors
    /// As [`ClaimCell::put`].
    pub fn put(&self, make: impl FnOnce() -> Result<T>) -> Result<()> {
        self.0.put(make)
    }

    /// Returns the value; `None` before the cell is filled.
    pub fn get(&self) -> Option<&T>
    where
        T: Sync,
    {
        if self.0.state.load(Ordering::Acquire) != FULL {
            return None;
        }
        // SAFETY: the release that made the cell full comes before this. A full one stays as it is: no method takes the
        // value out, and `put` claims an empty one only.
        self.0.value.with(|value| unsafe { &*value }).as_ref()
    }
}

impl<T> Default for OnceCell<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The standard library's `UnsafeCell`, with loom's interface.
#[cfg(not(loom))]
struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    const fn new(value: T) -> Self {
        Self(core::cell::UnsafeCell::new(value))
    }

    fn with<R>(&self, with: impl FnOnce(*const T) -> R) -> R {
        with(self.0.get())
    }

    fn with_mut<R>(&self, with: impl FnOnce(*mut T) -> R) -> R {
        with(self.0.get())
    }
}

#[cfg(test)]
mod tests;
