// SPDX-License-Identifier: GPL-2.0-only
//! Notify mode, the published series': UML's own stub, of which each memory call is a notification. The functions that the
//! series names begin here; nothing in this folder knows of window mode.

pub mod filter;
pub mod report;
pub mod serve;
