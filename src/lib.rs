// SPDX-License-Identifier: GPL-2.0-only
//! stubguard hardens the userspace stub of User Mode Linux's seccomp mode.
//!
//! Every guest address space lives in a host process, the *stub*. Its guest can jump into the
//! stub's code page and issue the system calls that the stub's seccomp filter lets through. This
//! library is the *monitor's* side of the answer: the stub's memory calls become seccomp user
//! notifications, and the monitor, UML's kernel, decides on each of them.
//!
//! The way of one notification, top to bottom:
//!
//! | module      | what it decides |
//! |-------------|-----------------|
//! | [`capi`]    | nothing: the C functions, and how a result becomes a return value |
//! | [`monitor`] | what is done about one notification, a batch, or a stub's report |
//! | [`policy`]  | what a stub may map and unmap: pure functions and the page-table hook |
//! | [`stub`]    | which system calls a stub may make at all: its seccomp filter, its data layout |
//! | [`watchdog`]| when a stub that does not report back is killed |
//! | [`host`]    | nothing: the host kernel's interfaces, thin |
//!
//! [`config`] holds what only the caller knows, [`counters`] what is counted, [`log`] how a line
//! reaches the caller. All of it but the watchdog's thread runs on the caller's thread, without
//! locks, heap, or panics.

#![cfg_attr(not(test), no_std)]

#[cfg(not(test))]
extern crate std;

pub mod capi;
pub mod config;
pub mod counters;
pub mod host;
pub mod log;
pub mod monitor;
pub mod policy;
pub mod stub;
pub mod watchdog;

/// A host error number, as it came from the host.
pub use nix::errno::Errno;

/// What nearly everything here returns.
pub type Result<T> = core::result::Result<T, Errno>;
