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
//! The way of one notification, top to bottom:
//!
//! | module      | what it decides |
//! |-------------|-----------------|
//! | [`capi`]    | nothing: the C functions, and how a result becomes a return value |
//! | [`monitor`] | what is done about one notification, a batch, a stub's report; when a parked stub goes on |
//! | [`policy`]  | what a stub may map and unmap: pure functions and the page-table hook |
//! | [`stub`]    | what a parked stub runs; which system calls a stub may make at all; its data's layout |
//! | [`watchdog`]| when a stub that does not report back is killed |
//! | [`listener`]| nothing: receives a notification, answers one, and tells a withdrawn call from a dead stub |
//! | [`host`]    | nothing: the host kernel's interfaces, thin |
//!
//! [`config`] holds what only the caller knows, [`counters`] what is counted, [`log`] how a line
//! reaches the caller, [`claim`] a value that one thread at a time may have. All of it but the
//! watchdog's thread runs on the caller's thread, without locks, heap, or panics.

#![cfg_attr(not(test), no_std)]

#[cfg(not(test))]
extern crate std;

pub mod capi;
pub mod claim;
pub mod config;
pub mod counters;
pub mod host;
pub mod listener;
pub mod log;
pub mod monitor;
pub mod policy;
pub mod stub;
pub mod watchdog;

/// A host error number, as it came from the host.
pub use nix::errno::Errno;

/// What nearly everything here returns.
pub type Result<T> = core::result::Result<T, Errno>;
