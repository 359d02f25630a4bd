// SPDX-License-Identifier: GPL-2.0-only
//! The configuration: what only the caller knows. It is validated once, and constant afterwards.

use crate::abi::{
    Layout, STUBGUARD_BUDGET_MAX_MS, STUBGUARD_DATA_SIZE, STUBGUARD_F_DISPATCH, STUBGUARD_F_UNFILTERED,
    STUBGUARD_F_WAIT_KILLABLE, STUBGUARD_MAX_CPUS, STUBGUARD_MEMORY_FD, STUBGUARD_POOL_MAX,
    STUBGUARD_REQUIRE, STUBGUARD_STACK, STUBGUARD_STACK_SIZE, STUBGUARD_TIME_TRAVEL, STUBGUARD_WINDOW,
};
use crate::claim::OnceCell;
use crate::{Errno, Result};

pub use crate::abi::Config;

const DEFAULT_TICK_MS: u32 = 1000;
const DEFAULT_BUDGET_MS: u32 = 5000;
/// Window mode's defaults are short: its stubs cannot block the guest's timer signal. A stub that leaves
/// dozens of these signals unanswered in that much CPU time of its own must end soon.
const WINDOW_TICK_MS: u32 = 200;
const WINDOW_BUDGET_MS: u32 = 800;
const KNOWN_FLAGS: u32 = STUBGUARD_REQUIRE | STUBGUARD_TIME_TRAVEL | STUBGUARD_WINDOW;

impl Config {
    /// Fills in the defaults, and checks all members.
    ///
    /// # Errors
    /// `EINVAL` if a member is out of its bounds.
    pub fn validated(mut self) -> Result<Self> {
        let window = self.has(STUBGUARD_WINDOW);
        let (tick, budget) =
            if window { (WINDOW_TICK_MS, WINDOW_BUDGET_MS) } else { (DEFAULT_TICK_MS, DEFAULT_BUDGET_MS) };
        if self.watchdog_tick_ms == 0 {
            // A shorter budget than usual needs a shorter tick.
            let half = self.watchdog_budget_ms.checked_div(2).filter(|half| *half > 0);
            self.watchdog_tick_ms = half.map_or(tick, |half| half.min(tick));
        }
        if self.watchdog_budget_ms == 0 {
            self.watchdog_budget_ms = budget.max(self.watchdog_tick_ms.saturating_mul(2));
        }
        if window {
            self.become_window()?;
        }
        let page = u64::from(self.page_size);
        let stub =
            self.stub_start.checked_add(page).and_then(|data| data.checked_add(u64::from(self.layout.size)));
        let valid = self.flags & !KNOWN_FLAGS == 0
            && (1..=STUBGUARD_MAX_CPUS).contains(&self.cpus)
            && self.page_size.is_power_of_two()
            && self.page_size >= 4096
            && self.stub_start != 0
            && self.stub_start.is_multiple_of(page)
            && stub.is_some()
            && self.stub_start < 1 << 63
            && (window || self.mmap_fd_first >= 2)
            && self.mmap_fd_first <= self.mmap_fd_last
            && self.watchdog_budget_ms <= STUBGUARD_BUDGET_MAX_MS
            && self.watchdog_tick_ms.checked_mul(2).is_some_and(|two| two <= self.watchdog_budget_ms)
            && (0..=64).contains(&self.kick_signal)
            && self.pool_size <= STUBGUARD_POOL_MAX
            && self.reserved == 0
            && self.guest_end.is_multiple_of(1 << 32)
            && self.guest_end <= self.stub_start
            && (window || self.guest_end == 0)
            && (window || self.layout.is_valid())
            && self.fp_size >= 512
            && self.fp_size < self.layout.sigstack_size;
        if valid { Ok(self) } else { Err(Errno::EINVAL) }
    }

    /// Fills in the layout of window mode, which the library decides: the caller must leave these members 0.
    /// A stub has the memory as its only fd, a control page, and a signal stack after it.
    fn become_window(&mut self) -> Result<()> {
        let Self { mmap_fd_first, mmap_fd_last, layout, .. } = self;
        if (*mmap_fd_first, *mmap_fd_last, *layout) != (0, 0, Layout::default())
            || self.page_size as usize != STUBGUARD_STACK_SIZE
            || !self.fp_size.is_multiple_of(8)
        {
            return Err(Errno::EINVAL);
        }
        (*mmap_fd_first, *mmap_fd_last) = const { (STUBGUARD_MEMORY_FD as i32, STUBGUARD_MEMORY_FD as i32) };
        *layout = Layout {
            size: const { STUBGUARD_DATA_SIZE as u32 },
            sigstack: const { STUBGUARD_STACK as u32 },
            sigstack_size: const { STUBGUARD_STACK_SIZE as u32 },
            ..Layout::default()
        };
        Ok(())
    }

    /// Turns off what this host does not offer. `features`: `STUBGUARD_F_*`.
    ///
    /// Guests' calls notify only with all three features. Without WAIT_KILLABLE a signal would withdraw calls
    /// that the guest kernel has begun. Without UNFILTERED an outer filter may answer the calls: ERRNO
    /// outranks USER_NOTIF. (It does not outrank TRAP.)
    pub fn adapt(&mut self, features: u32) {
        const FOR_CALLS: u32 = STUBGUARD_F_WAIT_KILLABLE | STUBGUARD_F_DISPATCH | STUBGUARD_F_UNFILTERED;
        if features & FOR_CALLS != FOR_CALLS {
            self.guest_end = 0;
        }
    }

    /// Whether guests' calls notify.
    #[must_use]
    pub fn notifies_calls(&self) -> bool {
        self.guest_end != 0
    }

    /// Whether a `STUBGUARD_*` flag is set.
    #[must_use]
    pub fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Returns the address in the stub of the word at `offset` of its data.
    #[must_use]
    pub fn stub_data_address(&self, offset: u32) -> u64 {
        self.stub_start.saturating_add(u64::from(self.page_size)).saturating_add(u64::from(offset))
    }
}

impl Layout {
    fn is_valid(&self) -> bool {
        let fits = |offset: u32, size: u32, align: u32| {
            offset.is_multiple_of(align) && offset.checked_add(size).is_some_and(|end| end <= self.size)
        };
        let in_call = |offset: u32, size: u32| {
            offset.is_multiple_of(size) && offset.checked_add(size).is_some_and(|end| end <= self.call_size)
        };
        fits(self.err, 8, 8)
            && fits(self.calls_len, 4, 4)
            && self.calls_max > 0
            && self.call_size > 0
            && self.call_size.is_multiple_of(8)
            && self.call_size.checked_mul(self.calls_max).is_some_and(|all| fits(self.calls, all, 8))
            && in_call(self.call_addr, 8)
            && in_call(self.call_length, 8)
            && in_call(self.call_offset, 8)
            && in_call(self.call_prot, 4)
            && fits(self.restart_wait, 2, 2)
            && fits(self.futex, 4, 4)
            && fits(self.signal, 4, 4)
            && fits(self.si_offset, 2, 2)
            && fits(self.mctx_offset, 2, 2)
            && fits(self.arch_data, self.arch_size, 1)
            && fits(self.sigstack, self.sigstack_size, 8)
            // Offsets into the signal stack are C `unsigned short`.
            && self.sigstack_size <= 1 << 16
    }
}

#[cfg(not(loom))]
static GLOBAL: OnceCell<Config> = OnceCell::new();

#[cfg(loom)]
loom::lazy_static! {
    static ref GLOBAL: OnceCell<Config> = OnceCell::new();
}

/// Makes `config` the configuration of this process, if `prepare` succeeds. `prepare` may adapt it to the
/// host.
///
/// # Errors
/// `EALREADY` if there is one already; what `prepare` returns.
pub fn install(mut config: Config, prepare: impl FnOnce(&mut Config) -> Result<()>) -> Result<()> {
    GLOBAL.put(|| {
        prepare(&mut config)?;
        Ok(config)
    })
}

/// Returns the configuration of this process.
///
/// # Errors
/// `ENODEV` before `stubguard_init()` has succeeded.
pub fn get() -> Result<&'static Config> {
    GLOBAL.get().ok_or(Errno::ENODEV)
}

#[cfg(any(test, fuzzing))]
pub mod example;

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::example::{notify, window};
    use super::*;

    #[test]
    fn window_mode_has_its_own_places() {
        let config = window().validated().unwrap_or_else(|_| unreachable!());
        assert_eq!((config.mmap_fd_first, config.mmap_fd_last), (1, 1));
        assert_eq!(
            (config.layout.size, config.layout.sigstack, config.layout.sigstack_size),
            (8192, 4096, 4096)
        );
        let bad: [fn(&mut Config); 7] = [
            |c| c.mmap_fd_first = 1,
            |c| c.mmap_fd_last = 1,
            |c| c.layout.sigstack = 4096,
            |c| c.layout = notify().layout,
            |c| c.page_size = 8192,
            |c| c.fp_size = 0,
            |c| c.fp_size = 2700,
        ];
        for (index, change) in bad.iter().enumerate() {
            let mut config = window();
            change(&mut config);
            assert_eq!(config.validated().err(), Some(Errno::EINVAL), "change {index}");
        }
    }

    #[test]
    fn defaults_are_filled_in() {
        let config = notify().validated().unwrap_or_else(|_| unreachable!());
        assert_eq!((config.watchdog_tick_ms, config.watchdog_budget_ms), (1000, 5000));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let bad: [fn(&mut Config); 26] = [
            |c| c.flags = 16,
            |c| c.cpus = 0,
            |c| c.cpus = 65,
            |c| c.stub_start = 0,
            |c| c.stub_start += 1,
            |c| c.stub_start = 0u64.wrapping_sub(8192),
            |c| c.page_size = 0,
            |c| c.page_size = 4097,
            |c| c.page_size = 512,
            |c| c.mmap_fd_first = 1,
            |c| c.mmap_fd_last = 1,
            |c| (c.watchdog_tick_ms, c.watchdog_budget_ms) = (4000, 5000),
            |c| c.watchdog_budget_ms = u32::MAX,
            |c| c.kick_signal = -1,
            |c| c.kick_signal = 65,
            |c| c.layout.err = 4,
            |c| c.layout.futex = 8190,
            |c| c.layout.calls_max = 0,
            |c| c.layout.calls_max = u32::MAX,
            |c| c.layout.call_addr = 41,
            |c| c.layout.call_length = u32::MAX,
            |c| c.layout.call_offset = 44,
            |c| c.layout.call_prot = 45,
            |c| c.layout.sigstack = u32::MAX,
            |c| c.fp_size = 4096,
            |c| c.layout = Layout::default(),
        ];
        for (index, change) in bad.iter().enumerate() {
            let mut config = notify();
            change(&mut config);
            assert_eq!(config.validated().err(), Some(Errno::EINVAL), "change {index}");
        }
    }

    #[test]
    fn guests_end_below_the_stub_in_window_mode_only() {
        let window = window();
        for (guest_end, good) in [
            (0, true),
            (1 << 32, true),
            (0x7f80_0000_0000, true),
            (0x7fff_0000_0000, true),
            (0x8000_0000_0000, false),
            (0x7f80_0000_1000, false),
            (4096, false),
            (u64::MAX, false),
        ] {
            let config = Config { guest_end, ..window };
            assert_eq!(config.validated().is_ok(), good, "{guest_end:#x}");
            let other = Config { guest_end, ..notify() };
            assert_eq!(other.validated().is_ok(), guest_end == 0, "{guest_end:#x}");
        }
    }
}
