// SPDX-License-Identifier: GPL-2.0-only
//! How a result becomes what a C function returns: 0 or a count, or a negative errno.

use crate::{Errno, Result};
use core::ffi::c_int;

/// What a C function can return.
pub trait Value {
    /// As a number that is not negative.
    fn into_int(self) -> c_int;
}

impl Value for () {
    fn into_int(self) -> c_int {
        0
    }
}

impl Value for bool {
    fn into_int(self) -> c_int {
        self.into()
    }
}

impl Value for u32 {
    fn into_int(self) -> c_int {
        c_int::try_from(self).unwrap_or(c_int::MAX)
    }
}

impl Value for c_int {
    fn into_int(self) -> c_int {
        self
    }
}

/// Runs a C function's body. errno is the caller's own, and stays as it was.
pub fn call<T: Value>(body: impl FnOnce() -> Result<T>) -> c_int {
    let saved = Errno::last_raw();
    let result = body();
    Errno::set_raw(saved);
    match result {
        Ok(value) => value.into_int(),
        Err(error) => negative(error),
    }
}

fn negative(error: Errno) -> c_int {
    match error as c_int {
        // An error number that nix does not know.
        0 => -libc::EIO,
        number => number.saturating_neg(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_never_a_success() {
        for number in 0..4096 {
            assert!(negative(Errno::from_raw(number)) < 0, "{number}");
        }
        assert_eq!(call(|| Err::<u32, _>(Errno::ESRCH)), -libc::ESRCH);
        assert_eq!(call(|| Ok(u32::MAX)), c_int::MAX);
    }

    #[test]
    fn errno_stays() {
        Errno::set_raw(77);
        call(|| {
            Errno::set_raw(5);
            Ok(())
        });
        assert_eq!(Errno::last_raw(), 77);
    }
}
