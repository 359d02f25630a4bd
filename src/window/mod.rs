// SPDX-License-Identifier: GPL-2.0-only
//! A parked stub: who may go on, and with what.
//!
//! The stub hands over by one call at one place, and the host holds it there until the monitor
//! answers: one notification a resume, and while the monitor works nothing of the stub runs. What
//! the guest can influence is the three arguments of that call and, if they name a signal, the frame
//! that the host has put on the signal stack. The frame of a stub is always at the same place.
//!
//! | state              | what happens                                               | then    |
//! |--------------------|------------------------------------------------------------|---------|
//! | Starting           | parks by its first signal, in a sound frame                 | Parked  |
//! | Parked             | the monitor resumes it, with the guest                       | Running |
//! | Parked             | the monitor resumes it for a batch only                      | Syncing |
//! | Running            | parks by a signal of the guest's                             | Parked, registers are the frame's |
//! | Running            | parks by a signal between the unblocking and the guest       | Parked, registers as before: resume again |
//! | Running            | the guest makes a call that notifies                         | Calling, arguments are known |
//! | Calling            | the monitor answers the call                                 | Running |
//! | Calling            | the monitor fetches: a signal, by which the stub parks       | Parked, registers are the frame's |
//! | Running, Syncing   | a call of the batch failed: parks and says which             | Parked  |
//! | Syncing            | parks with the batch done                                    | Parked  |
//! | any                | any other park                                               | Broken: kill it |
//! | any                | any other notification                                       | Broken: kill it |
//! | any                | the host says that it is dead                                | Broken  |
//!
//! A guest's call that notifies is no park, but the host holds the stub all the same, in the call. What the
//! monitor knows of it, the host has captured: number, arguments, address. All other registers are in the
//! stub until they are fetched.
//!
//! A stub has the fd of the guest's memory all the time. But while a guest may run it has an address-space limit of 0,
//! under which the host maps nothing at all. The monitor lifts the limit before it resumes the stub for a batch that maps, and
//! the stub's code puts it back behind the batch, before a signal can come, and before the guest runs ([`Limit`]).
//!
//! What interrupts a stub in its park (a freezer, a debugger, a stop; not with WAIT_KILLABLE_RECV) has it park again, by the
//! same call with the same arguments. The answer to the first one then finds none (ENOENT), or the host takes it and
//! loses it (`seccomp_do_user_notification()` looks for a signal before it looks for an answer). So each resume has a
//! ticket, which the stub's code passes on when it parks: a park with the last ticket but one is one that has been
//! heard, and it is answered again, with nothing else done.

pub mod batch;
pub mod calls;
pub mod code;
pub mod filter;
pub mod guest;
pub mod park;
pub mod pool;
pub mod run;
pub mod stub;
pub mod wash;

use crate::memory::StubData;
use crate::monitor::Monitor;
use core::sync::atomic::AtomicUsize;
use stub::Stub;

/// One stub and what is needed to deal with it.
pub struct Parked<'a, Hook> {
    /// The monitor that answers other calls than parks.
    pub monitor: Monitor<'a, Hook>,
    /// `STUBGUARD_F_*`.
    pub features: u32,
    /// See [`Record`].
    pub caller: &'a AtomicUsize,
    /// The stub.
    pub stub: &'a mut Stub,
    /// What the stub sees of its data.
    pub shared: StubData,
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;

#[cfg(fuzzing)]
pub mod fuzz;
