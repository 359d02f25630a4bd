// SPDX-License-Identifier: GPL-2.0-only
//! Structures that may grow. The first member is the size, as the caller knows it.
//!
//! Members are only added at the end, and 0 means what was before there was the member.
//! - An older caller's smaller structure is read as if zeros followed it. It is written only as far as it
//!   goes.
//! - A newer caller's larger structure is read if only zeros follow what is known here.

use crate::{Errno, Result};
use core::mem::MaybeUninit;

/// The largest size that is believed.
const MOST: usize = 4096;

/// # Safety
/// Any bits must be a valid value, the first member a `usize`, and `LEAST` at least the size of that.
pub unsafe trait Sized: Copy {
    /// The end of the members that every caller has.
    const LEAST: usize;
}

/// Returns the size that the caller has set.
///
/// # Errors
/// `EINVAL` for NULL, a pointer that is not aligned, or too small a size; `E2BIG` for too large a one.
///
/// # Safety
/// `structure` is NULL, or points to as many bytes as its first member says.
pub unsafe fn size<T: Sized>(structure: *const T) -> Result<usize> {
    if structure.is_null() || !structure.is_aligned() {
        return Err(Errno::EINVAL);
    }
    // SAFETY: not NULL, aligned; the first member is there whatever the size.
    match unsafe { structure.cast::<usize>().read() } {
        size if size < T::LEAST => Err(Errno::EINVAL),
        size if size > MOST => Err(Errno::E2BIG),
        size => Ok(size),
    }
}

/// Reads a caller's structure.
///
/// # Errors
/// As [`size`]; `E2BIG` also if what is not known here is not zero.
///
/// # Safety
/// As [`size`].
pub unsafe fn read<T: Sized>(structure: *const T) -> Result<T> {
    // SAFETY: the caller's promise.
    let size = unsafe { size(structure) }?;
    for offset in size_of::<T>()..size {
        // SAFETY: within the size that the caller has stated.
        let byte = unsafe { structure.cast::<u8>().add(offset) };
        // SAFETY: as above.
        if unsafe { byte.read() } != 0 {
            return Err(Errno::E2BIG);
        }
    }
    let mut value = MaybeUninit::<T>::zeroed();
    let known = size.min(size_of::<T>());
    // SAFETY: both have so many bytes, and `value` is new.
    unsafe { value.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(structure.cast(), known) };
    // SAFETY: any bits are a valid value, and all are initialised.
    Ok(unsafe { value.assume_init() })
}

/// Writes a value to a caller's structure of `size` bytes: as much as fits, and not its first member.
///
/// # Safety
/// `structure` points to `size` bytes, and `size` is what [`size`] has returned.
pub unsafe fn write<T: Sized>(structure: *mut T, value: &T, size: usize) {
    const FIRST: usize = core::mem::size_of::<usize>();
    let rest = size.min(size_of::<T>()).saturating_sub(FIRST);
    // SAFETY: the caller has the first member.
    let to = unsafe { structure.cast::<u8>().add(FIRST) };
    // SAFETY: so has the value.
    let from = unsafe { (&raw const *value).cast::<u8>().add(FIRST) };
    // SAFETY: both have so many bytes behind the first member; `value` is somewhere else.
    unsafe { to.copy_from_nonoverlapping(from, rest) };
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    /// As an older, this, and a newer version have it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[repr(C)]
    struct Versions<const WORDS: usize> {
        size: usize,
        words: [u64; WORDS],
    }

    // SAFETY: integers, the first is the size.
    unsafe impl Sized for Versions<2> {
        const LEAST: usize = 16;
    }

    fn with<const WORDS: usize>(words: [u64; WORDS]) -> Versions<WORDS> {
        Versions { size: size_of::<Versions<WORDS>>(), words }
    }

    fn read_as<const WORDS: usize>(from: &Versions<WORDS>) -> Result<[u64; 2]> {
        // SAFETY: as large as it says.
        unsafe { read((&raw const *from).cast::<Versions<2>>()) }.map(|read| read.words)
    }

    #[test]
    fn an_older_caller_has_zeros_behind() {
        assert_eq!(read_as(&with([7])), Ok([7, 0]));
        assert_eq!(read_as(&with([7, 8])), Ok([7, 8]));
    }

    #[test]
    fn a_newer_caller_must_have_zeros_behind() {
        assert_eq!(read_as(&with([7, 8, 0, 0])), Ok([7, 8]));
        assert_eq!(read_as(&with([7, 8, 0, 1])), Err(Errno::E2BIG));
        assert_eq!(read_as(&with([7, 8, 1 << 63, 0])), Err(Errno::E2BIG));
    }

    #[test]
    fn sizes_that_cannot_be() {
        for (size, error) in
            [(0, Errno::EINVAL), (15, Errno::EINVAL), (4097, Errno::E2BIG), (usize::MAX, Errno::E2BIG)]
        {
            assert_eq!(read_as(&Versions { size, words: [0; 2] }), Err(error), "{size}");
        }
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { read(core::ptr::null::<Versions<2>>()) }.err(), Some(Errno::EINVAL));
    }

    #[test]
    fn what_the_caller_does_not_know_is_not_written() {
        let mut old = Versions { size: 16, words: [1, 2] };
        let new = Versions { size: 99, words: [3, 4] };
        // SAFETY: as large as they say.
        unsafe { write(&raw mut old, &new, 16) };
        assert_eq!(old, Versions { size: 16, words: [3, 2] });
        let mut newer = with([1, 2, 5]);
        // SAFETY: larger than what is written.
        unsafe { write((&raw mut newer).cast::<Versions<2>>(), &new, size_of::<Versions<3>>()) };
        assert_eq!(newer, with([3, 4, 5]));
    }
}
