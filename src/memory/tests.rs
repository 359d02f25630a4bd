// SPDX-License-Identifier: GPL-2.0-only
//! Stub data that the tests make, and its bounds.

#![allow(clippy::arithmetic_side_effects)]

use super::*;
use crate::window::code::{Call, Head};

/// A stub's data on the heap: two pages, aligned as far as the code checks.
pub(crate) struct Pages(Vec<u128>);

pub(crate) const SIZE: u32 = 8192;

impl Pages {
    pub(crate) fn new() -> Self {
        Self(vec![0; SIZE as usize / 16])
    }

    pub(crate) fn data(&mut self) -> StubData {
        let base = NonNull::new(self.0.as_mut_ptr().cast()).unwrap_or(NonNull::dangling());
        #[allow(unsafe_code)]
        // SAFETY: so many bytes, which live longer than what the tests do with them.
        unsafe {
            StubData::new(base, SIZE)
        }
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        #[allow(unsafe_code)]
        // SAFETY: the vector's own memory.
        unsafe {
            core::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), SIZE as usize)
        }
    }

    /// Stores a word anywhere, as a guest can.
    pub(crate) fn put<T: Word>(&mut self, offset: usize, value: T) {
        let mut aligned = Self::new();
        assert!(aligned.data().store(0, value).is_some());
        let bytes = aligned.bytes()[..size_of::<T>()].to_vec();
        self.bytes()[offset..][..bytes.len()].copy_from_slice(&bytes);
    }

    pub(crate) fn get<T: Word>(&mut self, offset: usize) -> T {
        self.data().load(u32::try_from(offset).unwrap_or(u32::MAX)).unwrap_or_else(|| unreachable!())
    }
}

#[test]
fn words_are_inside_and_aligned() {
    let mut pages = Pages::new();
    let data = pages.data();
    for offset in (0..32).chain(SIZE - 32..SIZE + 32).chain([u32::MAX - 7, u32::MAX]) {
        let fits = |size: u32| offset % size == 0 && u64::from(offset) + u64::from(size) <= u64::from(SIZE);
        assert_eq!(data.load::<u16>(offset).is_some(), fits(2), "{offset}");
        assert_eq!(data.load::<i32>(offset).is_some(), fits(4), "{offset}");
        assert_eq!(data.load::<u64>(offset).is_some(), fits(8), "{offset}");
        assert_eq!(data.store(offset, u64::from(offset)).is_some(), fits(8), "{offset}");
        if fits(8) {
            assert_eq!(data.load(offset), Some(u64::from(offset)));
        }
    }
}

#[test]
fn structures_and_copies_are_inside() {
    let mut pages = Pages::new();
    let mut other = Pages::new();
    let (data, to) = (pages.data(), other.data());
    let call = Call { addr: 1, length: 2, offset: 3, prot: 4, maps: 5, index: 6 };
    assert_eq!(data.store_all(SIZE - 31, &call), None);
    assert_eq!(data.store_all(SIZE - 32, &call), Some(()));
    assert_eq!(data.load::<u64>(SIZE - 16), Some(3));
    assert_eq!(data.load_all(SIZE - 32), Some(call));
    assert!(data.load_all::<Call>(SIZE - 31).is_none());
    assert!(data.load_all::<Head>(u32::MAX).is_none());

    assert_eq!(data.copy_to(&to, SIZE - 32, 32), Some(()));
    assert_eq!(to.load_all(SIZE - 32), Some(call));
    assert_eq!(data.copy(SIZE - 32, &to, 7, 32), Some(()));
    assert_eq!(to.load_all(7), Some(call));
    for (from, at, len) in
        [(SIZE - 31, 0, 32), (0, SIZE - 31, 32), (u32::MAX, 0, 1), (0, u32::MAX, 1), (0, 0, SIZE + 1)]
    {
        assert_eq!(data.copy(from, &to, at, len), None, "{from} {at} {len}");
    }
    assert_eq!(data.copy(SIZE, &to, SIZE, 0), Some(()));
    assert_eq!(other.bytes()[..7], [0; 7], "nothing before it");
    assert_eq!(other.bytes()[39..48], [0; 9], "nothing behind it");
}
