// SPDX-License-Identifier: GPL-2.0-only
//! A stub that breaks the protocol: what it may report at all, and how a breach is told.

use crate::abi::STUBGUARD_LOG_WARNING;
use crate::config::Config;
use crate::log::Line;
use crate::{Errno, counters};
use core::ffi::c_int;

/// In which part a report is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// A signal that no stub reports.
    Signal,
    /// An error that no call of the batch can have had.
    Error,
    /// A signal frame that is not on the signal stack.
    Frame,
    /// Floating-point state that is not where the host puts it, or not of its size.
    FpState,
    /// A notification that no parked stub makes.
    Call,
    /// A park that cannot follow the last resume, as the result of a batch that it did not have.
    Park,
}

impl Breach {
    /// What the log calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Error => "error or batch length",
            Self::Frame => "signal frame",
            Self::FpState => "floating-point state",
            Self::Call => "system call",
            Self::Park => "park",
        }
    }

    /// A breach by a number: `name` says which one.
    #[must_use]
    pub const fn number(self, name: &'static str, value: i64) -> Offence {
        Offence { breach: self, name, value: Value::Number(value), expected: None }
    }

    /// A breach by an address.
    #[must_use]
    pub const fn address(self, name: &'static str, value: u64) -> Offence {
        Offence { breach: self, name, value: Value::Address(value), expected: None }
    }
}

/// A value of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Printed in decimal.
    Number(i64),
    /// Printed in hexadecimal.
    Address(u64),
}

impl Value {
    fn append(self, line: &mut Line) {
        match self {
            Self::Number(value) => line.num(value),
            Self::Address(value) => line.hex(value),
        };
    }
}

/// A breach, with the value that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offence {
    /// In which part.
    pub breach: Breach,
    /// What the value is.
    pub name: &'static str,
    /// The value.
    pub value: Value,
    /// The one that was expected, if no other is right.
    pub expected: Option<Value>,
}

impl Offence {
    /// Says which value alone would have been right.
    #[must_use]
    pub const fn not(self, expected: Value) -> Self {
        Self { expected: Some(expected), ..self }
    }

    /// Appends what the log says. `pid`: the stub's on the host.
    pub fn tell(&self, pid: c_int, line: &mut Line) {
        line.str("stub ").num(pid.into()).str(" broke the protocol (").str(self.breach.name());
        line.str("): ").str(self.name);
        self.value.append(line.str(" "));
        if let Some(expected) = self.expected {
            expected.append(line.str(", not "));
        }
    }
}

/// `MAX_ERRNO` of the host.
///
/// cbindgen:ignore
pub const MAX_ERRNO: i64 = 4095;
/// The signals for which a stub has a handler.
///
/// cbindgen:ignore
pub const SIGNALS: [c_int; 7] =
    [libc::SIGSEGV, libc::SIGSYS, libc::SIGALRM, libc::SIGTRAP, libc::SIGILL, libc::SIGFPE, libc::SIGBUS];

/// Counts and logs a breach of the protocol by the stub `pid`.
#[inline(never)]
pub fn broken(config: &Config, pid: c_int, offence: &Offence) -> Errno {
    counters::BREACHES.bump();
    let mut line = Line::new();
    offence.tell(pid, &mut line);
    line.send(config.log, STUBGUARD_LOG_WARNING);
    Errno::EPROTO
}

#[cfg(test)]
mod tests {
    use super::{Breach, Line, Value};

    #[test]
    fn a_line_says_who_and_by_which_value() {
        let text = |offence: super::Offence, pid| {
            let mut line = Line::new();
            offence.tell(pid, &mut line);
            String::from_utf8_lossy(line.as_bytes()).into_owned()
        };
        assert_eq!(
            text(Breach::Park.number("ticket", 5).not(Value::Number(6)), 1234),
            "stubguard: stub 1234 broke the protocol (park): ticket 5, not 6"
        );
        assert_eq!(
            text(Breach::Frame.address("at", 0x7fff_1000), i32::MAX),
            "stubguard: stub 2147483647 broke the protocol (signal frame): at 0x7fff1000"
        );
        assert_eq!(
            text(Breach::Error.number("error", i64::MIN), 1),
            "stubguard: stub 1 broke the protocol (error or batch length): error -9223372036854775808"
        );
    }
}
