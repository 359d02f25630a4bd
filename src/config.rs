// SPDX-License-Identifier: GPL-2.0-only
//! What only the caller knows: validated once, constant afterwards.

use crate::claim::OnceCell;
use crate::monitor::pool::STUBGUARD_POOL_MAX;
use crate::stub::code;
use crate::{Errno, Result};
use core::ffi::{c_char, c_int};

/// The most CPUs that a guest may have: the upper end of UML's `NR_CPUS` range.
pub const STUBGUARD_MAX_CPUS: u32 = 64;

/// The largest `stubguard_config.watchdog_budget_ms`: an hour.
pub const STUBGUARD_BUDGET_MAX_MS: u32 = 3_600_000;

/// `stubguard_config.flags`: fail `stubguard_init()` if the host lacks anything that protection
/// needs. Without it the library runs with what there is; `stubguard_features()` tells.
pub const STUBGUARD_REQUIRE: u32 = 1;
/// `stubguard_config.flags`: the guest's time is not the host's (UML's time-travel modes), so
/// nothing can be concluded from a stub's silence: there is no watchdog.
pub const STUBGUARD_TIME_TRAVEL: u32 = 2;
/// `stubguard_config.flags`: stubs are parked ones, which run the library's code: window mode, with
/// the functions `stubguard_stub_*()`. Without it: notify mode.
pub const STUBGUARD_WINDOW: u32 = 4;

/// `stubguard_call.kind`: mmap.
pub const STUBGUARD_CALL_MMAP: u32 = 1;
/// `stubguard_call.kind`: munmap.
pub const STUBGUARD_CALL_MUNMAP: u32 = 2;
/// `stubguard_call.kind`: mprotect, which takes the right to write from pages that the stub was
/// given readable, writable and executable, and leaves the other two. Its `prot` is of no meaning.
pub const STUBGUARD_CALL_WRPROTECT: u32 = 3;

/// Log level of a line that reports something wrong, as in `<linux/kern_levels.h>`.
pub const STUBGUARD_LOG_ERR: c_int = 3;
/// Log level of a line that reports something to look at.
pub const STUBGUARD_LOG_WARNING: c_int = 4;
/// Log level of a line that only informs.
pub const STUBGUARD_LOG_INFO: c_int = 6;

/// Takes one line, NUL-terminated, without a newline.
///
/// `level` is one of `STUBGUARD_LOG_*`. `message` is valid only until the function returns. It is
/// called on the thread that had something to say, which may be the watchdog's: that thread has
/// all signals blocked and its own seccomp filter, so no kernel code may run on it, and of system
/// calls just write(2) and writev(2) work.
pub type LogFn = Option<unsafe extern "C" fn(level: c_int, message: *const c_char)>;

/// Where things are in the stub's data, the memory that monitor and stub share; all in bytes.
///
/// UML's `struct stub_data`. Nothing of it is ever read but by `stubguard_collect()`, which bounds every value, and
/// nothing written but by `stubguard_publish()`. Notify mode's: in window mode all is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Layout {
    /// Size of all stub data; it starts one page after the stub's code.
    pub size: u32,
    /// `err`: C `long`.
    pub err: u32,
    /// `syscall_data_len`: C `int`.
    pub calls_len: u32,
    /// `syscall_data[]`: the batch.
    pub calls: u32,
    /// Size of one entry of the batch.
    pub call_size: u32,
    /// How many entries there are.
    pub calls_max: u32,
    /// `mem.addr` in an entry: C `unsigned long`.
    pub call_addr: u32,
    /// `mem.length` in an entry: C `unsigned long`.
    pub call_length: u32,
    /// `mem.offset` in an entry: C `unsigned long`.
    pub call_offset: u32,
    /// `mem.prot` in an entry: C `int`.
    pub call_prot: u32,
    /// `restart_wait`: C `short`.
    pub restart_wait: u32,
    /// `futex`: C `unsigned int`. The monitor hands over by it; the library only tells the stub's
    /// filter its address.
    pub futex: u32,
    /// `signal`: C `int`.
    pub signal: u32,
    /// `si_offset`: C `unsigned short`, counted from `sigstack`.
    pub si_offset: u32,
    /// `mctx_offset`: C `unsigned short`, counted from `sigstack`.
    pub mctx_offset: u32,
    /// `arch_data`: what the stub restores besides the signal frame.
    pub arch_data: u32,
    /// Size of `arch_data`.
    pub arch_size: u32,
    /// `sigstack`: the stub's signal stack.
    pub sigstack: u32,
    /// Size of `sigstack`.
    pub sigstack_size: u32,
}

/// What `stubguard_init()` is told. Members that are zero take the default named there.
///
/// The size comes first and is the version: members are only ever added at the end, and a
/// library takes any size that it knows.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Config {
    /// sizeof(struct stubguard_config).
    pub size: usize,
    /// `STUBGUARD_REQUIRE`, `STUBGUARD_TIME_TRAVEL`, `STUBGUARD_WINDOW`.
    pub flags: u32,
    /// Number of CPUs that the guest has, 1 to `STUBGUARD_MAX_CPUS`.
    pub cpus: u32,
    /// Where the stub's code page is in each stub (UML's `STUB_START`). What lies below is the
    /// guest's, what is mapped from here on is the stub's own.
    pub stub_start: u64,
    /// Bytes in a guest page; a power of two, 4096 at least.
    pub page_size: u32,
    /// Notify mode: the lowest number under which a stub can hold an fd of the guest's memory. Window mode: 0, as it is
    /// `STUBGUARD_MEMORY_FD`.
    pub mmap_fd_first: i32,
    /// Notify mode: the highest such number. Window mode: 0.
    pub mmap_fd_last: i32,
    /// How often the watchdog looks, in milliseconds; default 1000, in window mode 200.
    pub watchdog_tick_ms: u32,
    /// How long a stub may keep the monitor waiting, in milliseconds of its own CPU time or of
    /// sleep; default 5000, in window mode 800; at least two ticks, `STUBGUARD_BUDGET_MAX_MS` at most.
    pub watchdog_budget_ms: u32,
    /// A signal that nobody else uses, by which the watchdog gets a monitor out of a host call
    /// that does not return; 0 for none. UML's own signals do not: their handlers restart calls.
    pub kick_signal: i32,
    /// Where lines go; may be NULL.
    pub log: LogFn,
    /// Notify mode: the stub data's layout. Window mode: all 0.
    pub layout: Layout,
    /// Bytes of the floating-point state in a signal frame, without the trailing magic number.
    pub fp_size: u32,
    /// Window mode: how many stubs are kept for reuse at most, up to `STUBGUARD_POOL_MAX`; 0 for none.
    pub pool_size: u32,
    /// Must be 0.
    pub reserved: u32,
    /// Window mode: no guest's code is at this address or above (UML's `TASK_SIZE`), and a new stub's own
    /// code is, until its first batch unmaps it. A multiple of 2^32, `stub_start` at most. With it, guests'
    /// calls are answered by notification, where the host has `STUBGUARD_F_WAIT_KILLABLE`, `STUBGUARD_F_DISPATCH`
    /// and `STUBGUARD_F_UNFILTERED`; 0: they all make a signal frame.
    pub guest_end: u64,
}

const DEFAULT_TICK_MS: u32 = 1000;
const DEFAULT_BUDGET_MS: u32 = 5000;
/// A parked stub cannot block the guest's timer signal, so one that does not answer some dozens of
/// them in so much CPU time of its own is not the guest's doing alone: it is to be ended soon.
const WINDOW_TICK_MS: u32 = 200;
const WINDOW_BUDGET_MS: u32 = 800;
const KNOWN_FLAGS: u32 = STUBGUARD_REQUIRE | STUBGUARD_TIME_TRAVEL | STUBGUARD_WINDOW;

impl Config {
    /// Fills in the defaults and refuses what cannot be meant.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn validated(mut self) -> Result<Self> {
        let window = self.has(STUBGUARD_WINDOW);
        let (tick, budget) =
            if window { (WINDOW_TICK_MS, WINDOW_BUDGET_MS) } else { (DEFAULT_TICK_MS, DEFAULT_BUDGET_MS) };
        if self.watchdog_tick_ms == 0 {
            // A budget that is shorter than usual wants a shorter tick.
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

    /// Where things are in window mode is the library's decision: the caller names nothing of it. A stub has the memory
    /// as its only fd, a control page, and a signal stack behind that.
    fn become_window(&mut self) -> Result<()> {
        let Self { mmap_fd_first, mmap_fd_last, layout, .. } = self;
        if (*mmap_fd_first, *mmap_fd_last, *layout) != (0, 0, Layout::default())
            || self.page_size as usize != code::PAGE
            || !self.fp_size.is_multiple_of(8)
        {
            return Err(Errno::EINVAL);
        }
        (*mmap_fd_first, *mmap_fd_last) =
            const { (code::STUBGUARD_MEMORY_FD as i32, code::STUBGUARD_MEMORY_FD as i32) };
        *layout = Layout {
            size: const { code::STUBGUARD_DATA_SIZE as u32 },
            sigstack: const { code::STUBGUARD_STACK as u32 },
            sigstack_size: const { code::STUBGUARD_STACK_SIZE as u32 },
            ..Layout::default()
        };
        Ok(())
    }

    /// Whether guests' calls are answered by notification.
    #[must_use]
    pub fn notifies_calls(&self) -> bool {
        self.guest_end != 0
    }

    /// Whether a `STUBGUARD_*` flag is set.
    #[must_use]
    pub fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// The stub's address of the word at `offset` of its data.
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
            // The offsets into it are C unsigned short.
            && self.sigstack_size <= 1 << 16
    }
}

#[cfg(not(loom))]
static GLOBAL: OnceCell<Config> = OnceCell::new();

#[cfg(loom)]
loom::lazy_static! {
    static ref GLOBAL: OnceCell<Config> = OnceCell::new();
}

/// Becomes the configuration of this process, if `prepare` succeeds, which may adapt it to the host.
///
/// # Errors
/// `EALREADY` if there is one; what `prepare` returns.
pub fn install(mut config: Config, prepare: impl FnOnce(&mut Config) -> Result<()>) -> Result<()> {
    GLOBAL.put(|| {
        prepare(&mut config)?;
        Ok(config)
    })
}

/// The configuration of this process.
///
/// # Errors
/// `ENODEV` before `stubguard_init()` has succeeded.
pub fn get() -> Result<&'static Config> {
    GLOBAL.get().ok_or(Errno::ENODEV)
}

#[cfg(test)]
#[cfg(not(loom))]
pub(crate) mod tests {
    use super::*;

    /// What UML on x86-64 says.
    pub(crate) fn example() -> Config {
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

    /// The same in window mode.
    pub(crate) fn window() -> Config {
        Config {
            flags: STUBGUARD_WINDOW,
            mmap_fd_first: 0,
            mmap_fd_last: 0,
            layout: Layout::default(),
            ..example()
        }
    }

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
            |c| c.layout = example().layout,
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
        let config = example().validated().unwrap_or_else(|_| unreachable!());
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
            let mut config = example();
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
            let notify = Config { guest_end, ..example() };
            assert_eq!(notify.validated().is_ok(), guest_end == 0, "{guest_end:#x}");
        }
    }
}
