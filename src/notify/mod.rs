// SPDX-License-Identifier: GPL-2.0-only
//! Notify mode, which implements the published series. UML's own stub code runs, and each memory call of a
//! stub is a notification. Nothing in this folder knows of window mode.

pub mod filter;
pub mod report;
pub mod serve;
