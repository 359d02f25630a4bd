// SPDX-License-Identifier: GPL-2.0-only
//! Window mode: the states of a stub, and what the monitor checks of a park.
//!
//! A stub hands over by one host call at one site, the park. The host holds the stub in that call until the
//! monitor answers: one notification a resume. While the monitor works, nothing of the stub runs.
//!
//! The guest can influence the three arguments of the park. If they name a signal, it can also influence the
//! frame on the signal stack. A stub's frame is always at the same place.
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
//! | Calling            | the monitor fetches: it sends a signal, and answers the call | Fetching |
//! | Fetching           | parks by the signal, with the last ticket                    | Parked, registers are the frame's |
//! | Running, Syncing   | a call of the batch failed: parks and says which             | Parked  |
//! | Syncing            | parks with the batch done                                    | Parked  |
//! | any                | any other park                                               | Broken: kill it |
//! | any                | any other notification                                       | Broken: kill it |
//! | any                | the host says that it is dead                                | Broken  |
//!
//! In the state Calling the host holds the stub in the guest's own call. The monitor knows only what the host
//! has captured: number, arguments, address. All other registers stay in the stub until the monitor fetches
//! them.
//!
//! The stub has the fd of the guest's memory all the time. While a guest may run, the stub's address-space
//! limit is 0, so the host maps nothing for it. Before a batch that maps, the monitor lifts the limit. After
//! the batch the stub's code sets it to 0 again, before a signal can come and before the guest runs
//! ([`Limit`](stub::Limit)).
//!
//! Without WAIT_KILLABLE_RECV a freezer, a debugger or a stop can interrupt a parked stub. It then parks
//! again, and the monitor's answer may be lost. The ticket of each resume tells such a repeated park from a
//! new one; the monitor answers it again and does nothing else. See "A park that comes again" in
//! docs/design.md.

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

/// One stub, and what its monitor needs to handle it.
pub struct Parked<'a, Hook> {
    /// The configuration, the listener and the page-table hook.
    pub monitor: Monitor<'a, Hook>,
    /// `STUBGUARD_F_*`.
    pub features: u32,
    /// The address of the registers of a guest that is in a call: see
    /// [`Record::caller`](stub::Record::caller).
    pub caller: &'a AtomicUsize,
    /// The stub.
    pub stub: &'a mut Stub,
    /// The stub's data pages, which the stub can write, too.
    pub shared: StubData,
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;

#[cfg(fuzzing)]
pub mod fuzz;
