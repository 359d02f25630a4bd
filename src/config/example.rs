// SPDX-License-Identifier: GPL-2.0-only
//! For tests and fuzzing: what UML on x86-64 says.

use crate::abi::{Config, Layout, STUBGUARD_WINDOW};

/// In notify mode.
#[must_use]
pub fn notify() -> Config {
    Config {
        size: size_of::<Config>(),
        flags: 0,
        cpus: 2,
        stub_start: 0x7fff_ffff_c000,
        page_size: 4096,
        mmap_fd_first: 2,
        mmap_fd_last: 2,
        watchdog_tick_ms: 0,
        watchdog_budget_ms: 0,
        kick_signal: 0,
        log: None,
        layout: Layout {
            size: 8192,
            err: 0,
            calls_len: 8,
            calls: 16,
            call_size: 48,
            calls_max: 82,
            call_addr: 0,
            call_length: 8,
            call_offset: 16,
            call_prot: 28,
            restart_wait: 3952,
            futex: 3956,
            signal: 3960,
            si_offset: 3964,
            mctx_offset: 3966,
            arch_data: 3968,
            arch_size: 24,
            sigstack: 4096,
            sigstack_size: 4096,
        },
        fp_size: 2696,
        pool_size: 0,
        reserved: 0,
        guest_end: 0,
    }
}

/// In window mode.
#[must_use]
pub fn window() -> Config {
    Config {
        flags: STUBGUARD_WINDOW,
        mmap_fd_first: 0,
        mmap_fd_last: 0,
        layout: Layout::default(),
        ..notify()
    }
}
