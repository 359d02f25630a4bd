// SPDX-License-Identifier: GPL-2.0-only
//! The library as a whole: start, features, counters.

use super::borrow;
use super::ret;
use super::sized::{self, Sized};
use crate::abi::{
    Config, Layout, LogFn, STUBGUARD_F_DISPATCH, STUBGUARD_F_FSGSBASE, STUBGUARD_F_LISTENER,
    STUBGUARD_F_RECEIVE_ENDS, STUBGUARD_F_SYNC_WAKE_UP, STUBGUARD_F_UNFILTERED, STUBGUARD_F_WAIT_KILLABLE,
    STUBGUARD_F_WATCHDOG, STUBGUARD_FILTER_MAX, STUBGUARD_LOG_INFO, STUBGUARD_LOG_WARNING, STUBGUARD_REQUIRE,
    STUBGUARD_TIME_TRAVEL, STUBGUARD_WINDOW, Stats,
};
use crate::host::probe::{self, Host};
use crate::host::{pidfd, seccomp};
use crate::log::Line;
use crate::policy::Denial;
use crate::{Errno, config, counters, filter};
use core::ffi::{c_char, c_int, c_void};
use core::mem::offset_of;

/// How the start line names each feature.
const NAMES: [(u32, &str); 8] = [
    (STUBGUARD_F_LISTENER, "listener"),
    (STUBGUARD_F_WATCHDOG, "watchdog"),
    (STUBGUARD_F_WAIT_KILLABLE, "wait-killable"),
    (STUBGUARD_F_SYNC_WAKE_UP, "sync-wake-up"),
    (STUBGUARD_F_FSGSBASE, "fsgsbase"),
    (STUBGUARD_F_RECEIVE_ENDS, "receive-ends"),
    (STUBGUARD_F_DISPATCH, "dispatch"),
    (STUBGUARD_F_UNFILTERED, "unfiltered"),
];

/// Starts the library: checks the configuration, finds out what the host offers, and sends one line about
/// both to the log.
///
/// The line's level is `STUBGUARD_LOG_INFO`, or `STUBGUARD_LOG_WARNING` if protection lacks something.
///
/// `config`: copied. Call this once, before all other functions, while the process has one thread. It makes
/// and ends a process, and takes a few milliseconds. It uses about 2.5 KiB of stack.
///
/// Returns
/// - 0;
/// - -EINVAL: NULL, too small a size, or a member that is out of its bounds;
/// - -E2BIG: the structure is larger than this library knows, and the rest is not zero;
/// - -EALREADY: the library has been started;
/// - -EOPNOTSUPP: the host lacks what `STUBGUARD_REQUIRE` asks for. The caller may call again without that
///   flag.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stubguard_init(config: *const Config) -> c_int {
    ret::call(|| {
        // SAFETY: the caller's promise.
        let config = unsafe { sized::read(config) }?.validated()?;
        config::install(config, |config| {
            let host = probe::host(config.has(STUBGUARD_WINDOW));
            let asked = config.notifies_calls();
            config.adapt(host.features);
            report(config, asked, &host);
            let needed = if config.has(STUBGUARD_TIME_TRAVEL) {
                STUBGUARD_F_LISTENER
            } else {
                STUBGUARD_F_LISTENER | STUBGUARD_F_WATCHDOG
            };
            if config.has(STUBGUARD_REQUIRE) && host.features & needed != needed {
                return Err(Errno::EOPNOTSUPP);
            }
            probe::remember(host.features);
            Ok(())
        })
    })
}

// SAFETY: any bits are a valid value (a log function that is none is NULL); the first member is the size.
unsafe impl Sized for Config {
    const LEAST: usize = offset_of!(Self, guest_end);
}

/// Sends the start line. `asked`: whether the caller has asked for calls that notify.
fn report(config: &Config, asked: bool, host: &Host) {
    let list = |line: &mut Line, there: bool| {
        let mut names =
            NAMES.iter().filter(|(bit, _)| (host.features & bit != 0) == there).map(|(_, name)| *name);
        line.str(names.next().unwrap_or("nothing"));
        names.for_each(|name| {
            line.str(", ").str(name);
        });
    };
    let mode = if config.has(STUBGUARD_WINDOW) { "window" } else { "notify" };
    let calls = match host.outer_filter {
        _ if host.no_stub.is_some() => "",
        _ if config.notifies_calls() => ", calls notify",
        Ok(true) if asked => ", calls trap, not notify (an outer seccomp filter would answer them)",
        Err(_) if asked => ", calls trap, not notify (/proc does not tell of outer seccomp filters)",
        _ => "",
    };
    let mut line = Line::new();
    line.str(concat!(env!("CARGO_PKG_VERSION"), ", mode ")).str(mode).str(calls);
    list(line.str(": the host offers "), true);
    list(line.str("; lacks "), false);
    if let Some((step, error)) = host.no_stub {
        line.str("; no stub: ").str(step).str(" gives errno ").num(error as i64);
        if error == Errno::EBUSY && step == probe::NEW_LISTENER {
            line.str(" (a sandbox around this process has one already)");
        }
    }
    if let Some(error) = host.no_watchdog {
        line.str("; no watchdog: /proc gives errno ").num(error as i64);
    }
    let level = if host.no_stub.is_some() || host.no_watchdog.is_some() {
        STUBGUARD_LOG_WARNING
    } else {
        STUBGUARD_LOG_INFO
    };
    line.send(config.log, level);
}

/// Returns what the host offers: `STUBGUARD_F_*`; 0 before stubguard_init().
///
/// Any thread, at any time, also in a signal handler.
#[unsafe(no_mangle)]
pub extern "C" fn stubguard_features() -> u32 {
    probe::features()
}

/// Returns the library's version, as in "0.2.0".
///
/// The text is a constant; do not free it. Any thread, at any time.
#[unsafe(no_mangle)]
pub extern "C" fn stubguard_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// Copies the counters.
///
/// `out`: room for `size` bytes. `size`: sizeof(struct stubguard_stats) as the caller knows it. An older
/// caller's smaller structure gets the counters that it has. Each counter has 64 bits and only grows. Any
/// thread, at any time.
///
/// Returns 0; -EINVAL for NULL, or a size that is 0, no multiple of 8, or larger than the library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stubguard_stats_get(out: *mut Stats, size: usize) -> c_int {
    ret::call(|| {
        if out.is_null()
            || !out.is_aligned()
            || size == 0
            || !size.is_multiple_of(8)
            || size > size_of::<Stats>()
        {
            return Err(Errno::EINVAL);
        }
        let stats = counters::snapshot();
        // SAFETY: the caller has room for `size` bytes, and the structure has as many.
        unsafe { out.cast::<u8>().copy_from_nonoverlapping((&raw const stats).cast(), size) };
        Ok(())
    })
}

/// Returns the name of what `stubguard_stats.denied[index]` counts, as in "page_table"; NULL if there is no
/// such reason.
///
/// The text is a constant; do not free it. Any thread, at any time.
#[unsafe(no_mangle)]
pub extern "C" fn stubguard_denial_name(index: usize) -> *const c_char {
    Denial::ALL.get(index).map_or(core::ptr::null(), |denial| denial.name().as_ptr())
}

/// Writes the seccomp filter that a stub must install as its last step before it runs the guest. The flags
/// for seccomp(2) are stubguard_filter_flags().
///
/// `out`: room for `capacity` instructions; `STUBGUARD_FILTER_MAX` are always enough. In notify mode the stub
/// must have closed all fds but fd 0 before, so that its listener becomes fd `STUBGUARD_LISTENER_FD`. In
/// window mode fd `STUBGUARD_MEMORY_FD` is the guest's memory. Any thread.
///
/// Returns the number of instructions; -ENODEV before stubguard_init(); -EINVAL for NULL; -ENOSPC if
/// `capacity` is too small. Series: patches 1, 2, 5.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stubguard_filter(out: *mut libc::sock_filter, capacity: usize) -> c_int {
    ret::call(|| {
        let config = config::get()?;
        if out.is_null() || !out.is_aligned() {
            return Err(Errno::EINVAL);
        }
        let mut program = [const { libc::sock_filter { code: 0, jt: 0, jf: 0, k: 0 } }; STUBGUARD_FILTER_MAX];
        let room = program.get_mut(..capacity.min(STUBGUARD_FILTER_MAX)).unwrap_or_default();
        let len = filter::build(config, probe::features(), room)?;
        // SAFETY: the caller has room for `capacity` instructions, and `len` is not more.
        unsafe { out.copy_from_nonoverlapping(program.as_ptr(), len) };
        c_int::try_from(len).map_err(|_| Errno::EIO)
    })
}

/// Returns the flags for the seccomp(SECCOMP_SET_MODE_FILTER) call of a stub.
///
/// In notify mode these are NEW_LISTENER, and WAIT_KILLABLE_RECV where the host has it. seccomp(2) then
/// returns the stub's listener; in a sandbox that has a listener it fails with EBUSY. In window mode the
/// flags are 0: stubguard_listen() makes the listener.
///
/// Any thread, after stubguard_init(); 0 before.
#[unsafe(no_mangle)]
pub extern "C" fn stubguard_filter_flags() -> u32 {
    config::get().map_or(0, |config| filter::flags(config, probe::features()) as u32)
}

/// Closes a listener.
///
/// `listener`: from get_stub_listener() or stubguard_listen(); nobody may use it any more. A stub of notify
/// mode has an fd of its own, so a suspended call stays suspended. A parked stub of window mode ends. Kill
/// the stub in any case. Any thread. See seccomp_unotify(2).
///
/// Returns 0; -EBADF if the fd is not open; -ENOTTY if it is not a listener: it stays open.
#[unsafe(no_mangle)]
pub extern "C" fn put_stub_listener(listener: c_int) -> c_int {
    ret::call(|| {
        let fd = borrow(listener)?;
        nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_GETFD)?;
        if !seccomp::is_listener(fd) {
            return Err(Errno::ENOTTY);
        }
        nix::unistd::close(listener)
    })
}

/// Kills a stub that has broken the protocol.
///
/// `pid`, `identity`: from get_stub_listener(), or of `struct stubguard_stub_info`. No other process can be
/// hit, even if the pid was reaped and reused. Any thread; does not wait for the process's end. See
/// pidfd_send_signal(2).
///
/// Returns 0; -EINVAL for a bad pid; -ESRCH if the process is gone; others as pidfd_open(2).
#[unsafe(no_mangle)]
pub extern "C" fn stubguard_kill_stub(pid: c_int, identity: u64) -> c_int {
    ret::call(|| {
        if pid <= 0 {
            return Err(Errno::EINVAL);
        }
        pidfd::kill_identified(pid, identity)?;
        counters::KILLED_CALLER.bump();
        Ok(())
    })
}

// The ABI. c-tests/common/layout.c asserts the same of the header.
const _: () = {
    assert!(size_of::<Config>() == 152 && align_of::<Config>() == 8);
    assert!(offset_of!(Config, size) == 0);
    assert!(offset_of!(Config, stub_start) == 16);
    assert!(offset_of!(Config, log) == 48);
    assert!(offset_of!(Config, layout) == 56);
    assert!(size_of::<Layout>() == 76);
    assert!(size_of::<Stats>() == 160 && align_of::<Stats>() == 8);
    assert!(offset_of!(Stats, denied) == 16);
    assert!(offset_of!(Stats, resynchronised) == 112);
    assert!(size_of::<LogFn>() == size_of::<*const c_void>());
};
