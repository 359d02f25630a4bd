// SPDX-License-Identifier: GPL-2.0-only
//! stubguard hardens the userspace stub of User Mode Linux's seccomp mode.
//!
//! Every guest address space lives in a host process, the *stub*. Its guest can jump into the
//! stub's code page and issue the system calls that the stub's seccomp filter lets through. This
//! library is the answer: the stub's filter and code, and the *monitor's* side, which UML's kernel
//! calls. There are two modes. In *window* mode the stub hands over by one notification, by which the
//! host holds it until the monitor resumes it with a batch of memory calls (`docs/design.md`). In
//! *notify* mode each memory call of UML's own stub is a notification, on which the monitor decides.
//!
//! A folder a mode, and what both need beside them; each file depends on those below it, none on one above.
//!
//! | module       | what it decides |
//! |--------------|-----------------|
//! | [`capi`]     | nothing: the C functions, and how a result becomes a return value |
//! | [`filter`]   | which filter a stub installs, and how its listener is made |
//! | [`window`]   | window mode: how a guest goes on, what is in a batch, what a park may say, which stubs are kept; the stub's code and filter |
//! | [`notify`]   | notify mode, the published series': what is done about one notification, a batch, a stub's report; the filter |
//! | [`watchdog`] | when a stub that does not report back is killed |
//! | [`policy`]   | what a stub may map and unmap: pure functions and the page-table hook |
//! | [`breach`]   | what a stub may report at all, and how a breach is told |
//! | [`frame`]    | where a signal frame may be |
//! | [`config`]   | what a configuration may be; what is left out on this host |
//! | [`listener`] | nothing: receives a notification, answers one, and tells a withdrawn call from a dead stub |
//! | [`monitor`], [`memory`], [`bpf`], [`arch`] | nothing: a monitor's stub, a stub's data, how a filter is written, x86-64 |
//! | [`host`]     | nothing: the host kernel's interfaces, thin |
//! | [`counters`], [`log`], [`claim`] | nothing: what is counted, how a line reaches the caller, a value that one thread at a time may have |
//! | [`abi`]      | what the C header shows besides the functions |
//!
//! All of it but the watchdog's thread runs on the caller's thread, without locks, heap, or panics.

#![cfg_attr(not(test), no_std)]

#[cfg(not(test))]
extern crate std;

pub mod abi;
pub mod arch;
pub mod bpf;
pub mod breach;
pub mod capi;
pub mod claim;
pub mod config;
pub mod counters;
pub mod filter;
pub mod frame;
pub mod host;
pub mod listener;
pub mod log;
pub mod memory;
pub mod monitor;
pub mod notify;
pub mod policy;
pub mod watchdog;
pub mod window;

/// A host error number, as it came from the host.
pub use nix::errno::Errno;

/// What nearly everything here returns.
pub type Result<T> = core::result::Result<T, Errno>;
