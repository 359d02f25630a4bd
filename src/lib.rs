// SPDX-License-Identifier: GPL-2.0-only
//! stubguard hardens the userspace stub of User Mode Linux's seccomp mode.
//!
//! Each guest address space (mm) lives in a host process, the *stub*. Its guest can jump into the stub's code
//! page, and make the system calls that the stub's seccomp filter lets through. This library has the stub's
//! filter and code, and the functions of the *monitor*, which UML's kernel calls.
//!
//! There are two modes. In *window* mode a stub hands over by one notification. The host holds it until the
//! monitor resumes it with a batch of memory calls (`docs/design.md`). In *notify* mode UML's own stub code
//! runs, each memory call is a notification, and the monitor decides on it.
//!
//! Each mode has a folder; what both need is beside them. A file depends only on files below it in this
//! table.
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

/// An error number of the host.
pub use nix::errno::Errno;

/// The result of nearly every function here.
pub type Result<T> = core::result::Result<T, Errno>;
