// SPDX-License-Identifier: GPL-2.0-only
//! Builds lines for the caller's log, without heap and without `core::fmt` (which can panic).

use crate::abi::LogFn;
use core::ffi::{c_char, c_int};

const LINE: usize = 320;

/// One line. Text that does not fit is cut off.
pub struct Line {
    text: [u8; LINE],
    len: usize,
}

impl Line {
    /// Begins a line with the prefix that all lines have.
    #[must_use]
    pub fn new() -> Self {
        let mut line = Self { text: [0; LINE], len: 0 };
        line.str("stubguard: ");
        line
    }

    fn byte(&mut self, byte: u8) {
        // The last byte stays NUL.
        if let Some(slot) = self.text.get_mut(..LINE - 1).and_then(|text| text.get_mut(self.len)) {
            *slot = byte;
            self.len = self.len.saturating_add(1);
        }
    }

    /// Appends text.
    pub fn str(&mut self, text: &str) -> &mut Self {
        text.bytes().for_each(|byte| self.byte(byte));
        self
    }

    /// Appends a number in decimal.
    pub fn num(&mut self, value: i64) -> &mut Self {
        let sign = if value < 0 { "-" } else { "" };
        self.str(sign).digits(value.unsigned_abs(), 10)
    }

    /// Appends a number in hexadecimal.
    pub fn hex(&mut self, value: u64) -> &mut Self {
        self.str("0x").digits(value, 16)
    }

    fn digits(&mut self, mut value: u64, base: u64) -> &mut Self {
        let mut digits = [0u8; 20];
        let mut count = 0;
        for slot in &mut digits {
            // `base` is 10 or 16: there is a digit for each remainder.
            *slot = b"0123456789abcdef"
                .get(usize::try_from(value.checked_rem(base).unwrap_or(0)).unwrap_or(0))
                .copied()
                .unwrap_or(b'?');
            count = usize::saturating_add(count, 1);
            value = value.checked_div(base).unwrap_or(0);
            if value == 0 {
                break;
            }
        }
        digits.iter().take(count).rev().for_each(|digit| self.byte(*digit));
        self
    }

    /// Returns the line so far.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.text.get(..self.len).unwrap_or_default()
    }

    /// Sends the line to the caller's log function. Only this place calls that function, also in the compiled
    /// object: checks/stack.py looks for it.
    #[inline(never)]
    pub fn send(&self, log: LogFn, level: c_int) {
        if let Some(log) = log {
            #[allow(unsafe_code)]
            // SAFETY: the caller of stubguard_init() promised a function that takes such a line;
            // `text` ends in NUL, since the last byte is never written.
            unsafe {
                log(level, self.text.as_ptr().cast::<c_char>());
            }
        }
    }
}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::Line;

    #[test]
    fn numbers() {
        let mut line = Line::new();
        line.num(0).str(" ").num(i64::MIN).str(" ").hex(u64::MAX).str(" ").num(42);
        assert_eq!(line.as_bytes(), b"stubguard: 0 -9223372036854775808 0xffffffffffffffff 42");
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_still_ends() {
        let mut line = Line::new();
        (0..100).for_each(|_| {
            line.str("abcdef");
        });
        assert_eq!(line.as_bytes().len(), super::LINE - 1);
        assert_eq!(line.text.last(), Some(&0));
    }
}
