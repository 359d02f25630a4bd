// SPDX-License-Identifier: GPL-2.0-only
//! The monitor's side of a stub: its notifications and its reports.

pub mod notification;
pub mod parked;
pub mod pool;
pub mod report;
