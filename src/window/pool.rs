// SPDX-License-Identifier: GPL-2.0-only
//! Parked stubs without an mm, kept for reuse. To make and to end a host process is most of what a fork and
//! an exec cost.
//!
//! The table lists all state that a parked stub has. Before a stub is kept it is washed
//! ([`Parked::wash`](super::Parked::wash)): resumed once more with nothing mapped, so that it faults at once.
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
//! | the memory's fd                          | stays: the host maps nothing while the limit is 0, as it is whenever a guest runs |
//! | dispositions, alternate stack, filters, fds, limits, name, timers, affinity, ... | a guest cannot change them: it makes no host call but at the sites of `window::code` |
//!
//! A stub is not kept if it is not parked, has ever done something that honest code does not do, or does
//! anything but fault when it is washed.

use super::Parked;
use super::stub::Stub;
use crate::abi::STUBGUARD_POOL_MAX;
use crate::claim::ClaimCell;
use crate::config::Config;
use crate::{Errno, Result, counters};
use core::ffi::c_int;

/// A place in the pool, for one stub.
type Place = ClaimCell<Stub>;

#[allow(unsafe_code)]
// SAFETY: a record of a process, not of a thread. Whoever has the record has the pages that it points to.
unsafe impl Send for Stub {}

#[cfg(not(loom))]
static POOL: [Place; STUBGUARD_POOL_MAX as usize] = [const { Place::new() }; STUBGUARD_POOL_MAX as usize];

#[cfg(loom)]
loom::lazy_static! {
    static ref POOL: Vec<Place> = (0..STUBGUARD_POOL_MAX).map(|_| Place::new()).collect();
}

impl<Hook: FnMut(u64, u64, u64) -> bool> Parked<'_, Hook> {
    /// Washes a stub, and keeps it for another mm.
    ///
    /// # Errors
    /// `ENOSPC` if the pool is full; `EINVAL` if the stub is not parked, or not to be trusted; as [`Parked::wash`].
    pub fn put(&mut self, cpu: c_int) -> Result<()> {
        // To wash a stub costs more than to look.
        if !has_room(self.monitor.config) {
            return Err(Errno::ENOSPC);
        }
        self.wash(cpu)?;
        put(self.monitor.config, self.stub)
    }
}

fn has_room(config: &Config) -> bool {
    let pool: &[Place] = &POOL;
    pool.iter().take(config.pool_size as usize).any(Place::is_empty)
}

/// Keeps a stub that has been washed.
///
/// # Errors
/// `EINVAL` if the stub is not parked, or not to be trusted; `ENOSPC` if the pool is full.
fn put(config: &Config, stub: &mut Stub) -> Result<()> {
    let pool: &[Place] = &POOL;
    put_into(pool.get(..config.pool_size as usize).ok_or(Errno::EINVAL)?, stub)
}

/// Takes a stub out of the pool. It may have died meanwhile: the caller checks that.
#[must_use]
pub fn take() -> Option<Stub> {
    let pool: &[Place] = &POOL;
    take_from(pool)
}

/// Puts a stub into the lowest empty place. [`take_from`] takes from the highest full one: last in, first
/// out, while the stub's memory is in the processor's caches.
fn put_into(pool: &[Place], stub: &mut Stub) -> Result<()> {
    if !stub.is_clean() {
        return Err(Errno::EINVAL);
    }
    if !pool.iter().any(|place| place.put(|| Ok(kept(stub))).is_ok()) {
        return Err(Errno::ENOSPC);
    }
    stub.leave();
    counters::RECYCLED.bump();
    Ok(())
}

fn take_from(pool: &[Place]) -> Option<Stub> {
    pool.iter().rev().find_map(|place| place.take(Ok).ok())
}

/// Copies the record without what it says of the last guest.
fn kept(stub: &Stub) -> Stub {
    let mut kept = *stub;
    kept.forget_guest();
    kept
}

#[cfg(test)]
mod tests;
