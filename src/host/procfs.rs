// SPDX-License-Identifier: GPL-2.0-only
//! What /proc tells of a process: proc_pid_stat(5), proc_pid_status(5), proc_pid_wchan(5).

use crate::{Errno, Result};
use core::ffi::{CStr, c_int};
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::read;
use std::os::fd::OwnedFd;

/// The clock tick of the times in /proc (USER_HZ), which is 100 a second on every architecture that UML has.
const TICK_NS: u64 = 10_000_000;

/// What /proc/PID/stat says of a process or thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The state's letter.
    pub state: u8,
    /// User and system time that it has used, in nanoseconds (in steps of a tick).
    pub cpu_ns: u64,
    /// When it started, in ticks since the host's boot.
    pub started: u64,
}

/// Looks at a process.
///
/// # Errors
/// `ENOENT`, `ESRCH` if there is none; `EPROTO` if the text is not understood.
pub fn process(pid: c_int) -> Result<Stat> {
    stat(&Path::new().text(b"/proc/").number(pid).text(b"/stat"))
}

/// Looks at a thread of this process.
///
/// # Errors
/// As [`process`].
pub fn own_thread(tid: c_int) -> Result<Stat> {
    stat(&Path::new().text(b"/proc/self/task/").number(tid).text(b"/stat"))
}

/// Whether a thread of this process has a seccomp filter.
///
/// # Errors
/// What the host says of the file. `EPROTO` if the file has no such line, as on a host without seccomp.
pub fn is_filtered(tid: c_int) -> Result<bool> {
    let path = Path::new().text(b"/proc/self/task/").number(tid).text(b"/status");
    let file = open(&path)?;
    let mut line = SeccompLine::default();
    // The line comes after that of the groups, which may have some hundred kilobytes.
    for _ in 0..STATUS_READS {
        let mut buffer = [0; 512];
        let len = read(&file, &mut buffer)?;
        let text = buffer.get(..len).filter(|text| !text.is_empty()).ok_or(Errno::EPROTO)?;
        if let Some(mode) = text.iter().find_map(|byte| line.take(*byte)) {
            return Ok(mode != b'0');
        }
    }
    Err(Errno::EPROTO)
}

/// How many parts of the file are read. It may have 65,536 groups of eleven bytes each.
const STATUS_READS: u32 = 2048;

/// Finds the seccomp mode in a text that comes byte by byte.
#[derive(Default)]
struct SeccompLine {
    /// How many bytes of the line's start have matched.
    seen: usize,
}

impl SeccompLine {
    const START: &[u8] = b"\nSeccomp:\t";

    /// Returns the first byte after the line's start.
    fn take(&mut self, byte: u8) -> Option<u8> {
        match Self::START.get(self.seen) {
            None => return Some(byte),
            Some(expected) if *expected == byte => self.seen = self.seen.saturating_add(1),
            // Only the first byte of the line's start is a newline, so a mismatch restarts there.
            Some(_) => self.seen = usize::from(byte == b'\n'),
        }
        None
    }
}

/// Whether the freezer of a cgroup (v2) holds a sleeping process. Its state is that of any sleep, but its
/// wait channel tells.
#[must_use]
pub fn is_frozen(pid: c_int) -> bool {
    let mut buffer = [0; 64];
    let path = Path::new().text(b"/proc/").number(pid).text(b"/wchan");
    // Most compilers inline do_freezer_trap() into its only caller, get_signal(), which sleeps for nothing
    // else in this state.
    slurp(&path, &mut buffer).is_ok_and(|text| text == b"do_freezer_trap" || text == b"get_signal")
}

fn stat(path: &Path) -> Result<Stat> {
    let mut buffer = [0; 512];
    parse(slurp(path, &mut buffer)?).ok_or(Errno::EPROTO)
}

/// Parses a line of proc_pid_stat(5). Field 2 is the name in parentheses, which may hold anything, so the
/// fields are counted from the last parenthesis.
fn parse(text: &[u8]) -> Option<Stat> {
    let name_end = text.iter().rposition(|byte| *byte == b')')?;
    let mut fields = text.get(name_end..)?.split(|byte| *byte == b' ').skip(1);
    let state = *fields.next()?.first()?;
    // Fields 14 and 15 are the times, field 22 is the start. The state was field 3.
    let user = number(fields.nth(10)?)?;
    let system = number(fields.next()?)?;
    let started = number(fields.nth(6)?)?;
    let cpu_ns = user.saturating_add(system).saturating_mul(TICK_NS);
    Some(Stat { state, cpu_ns, started })
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

fn open(path: &Path) -> Result<OwnedFd> {
    openat(AT_FDCWD, path.as_cstr()?, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
}

/// Reads the start of a small file: as much as the buffer holds.
fn slurp<'a>(path: &Path, buffer: &'a mut [u8]) -> Result<&'a [u8]> {
    let len = read(&open(path)?, buffer)?;
    buffer.get(..len).ok_or(Errno::EIO)
}

/// A path that is built without heap.
struct Path {
    text: [u8; 64],
    len: usize,
}

impl Path {
    fn new() -> Self {
        Self { text: [0; 64], len: 0 }
    }

    fn text(mut self, text: &[u8]) -> Self {
        for byte in text {
            if let Some(slot) = self.text.get_mut(self.len) {
                *slot = *byte;
                self.len = self.len.saturating_add(1);
            }
        }
        self
    }

    fn number(self, value: c_int) -> Self {
        let mut digits = [0u8; 10];
        let mut value = value.unsigned_abs();
        let mut start = digits.len();
        for slot in digits.iter_mut().rev() {
            // A remainder of ten fits a byte.
            *slot = b'0'.saturating_add((value % 10) as u8);
            start = start.saturating_sub(1);
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.text(digits.get(start..).unwrap_or_default())
    }

    fn as_cstr(&self) -> Result<&CStr> {
        CStr::from_bytes_until_nul(&self.text).map_err(|_| Errno::ENAMETOOLONG)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_forge_fields() {
        let text = b"12 (a) R 1 (b) S 1 2 3 4 5 6 7 8 9 10 700 30 0 0 20 0 1 0 4242 99 1\n";
        assert_eq!(parse(text), Some(Stat { state: b'S', cpu_ns: 7_300_000_000, started: 4242 }));
    }

    #[test]
    fn what_is_cut_short_or_no_number_is_refused() {
        let text = b"12 (x) S 1 2 3 4 5 6 7 8 9 10 700 30 0 0 20 0 1 0 4242 99 1\n";
        for len in 0..text.len() - 8 {
            assert_eq!(parse(&text[..len]).filter(|stat| stat.started == 4242), None, "{len}");
        }
        assert_eq!(parse(b"12 (x) S 1 2 3 4 5 6 7 8 9 10 -1 30 0 0 20 0 1 0 4242 99 1\n"), None);
        assert_eq!(parse(b""), None);
    }

    fn mode(text: &[u8]) -> Option<u8> {
        let mut line = SeccompLine::default();
        text.iter().find_map(|byte| line.take(*byte))
    }

    #[test]
    fn the_mode_is_what_its_own_line_says() {
        let status = b"Name:\tx\nGroups:\t0 1 \nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t7\n";
        assert_eq!(mode(status), Some(b'2'));
        for len in 0..status.len() {
            let there = status[..len].windows(11).any(|text| text.starts_with(b"\nSeccomp:\t"));
            assert_eq!(mode(&status[..len]), there.then_some(b'2'), "{len}");
        }
        // The host writes a newline in a name as two characters.
        assert_eq!(mode(b"Name:\tSeccomp:\t0\nSeccomp_filters:\t7\n"), None);
        assert_eq!(mode(b"Name:\t\\nSeccomp:\t0\n\n\nSeccomp:\t1\n"), Some(b'1'));
        assert_eq!(mode(b"\nSec\nSeccomp:\t0\n"), Some(b'0'));
    }

    #[test]
    fn this_process_is_there_and_runs() {
        let pid = c_int::try_from(std::process::id()).unwrap_or(0);
        let stat = process(pid).unwrap_or_else(|error| unreachable!("{error}"));
        assert!(stat.started > 0);
        assert_eq!(process(0), Err(Errno::ENOENT));
        assert!(!is_frozen(pid));
    }
}
