// SPDX-License-Identifier: GPL-2.0-only
//! Stub data as memory: bounded accesses through a raw pointer.
//!
//! There are two copies of a stub's data: the shared one, which the guest may change at any
//! moment, and the monitor's own. A word is loaded from the shared one once; what is copied out of
//! it is looked at only after the copy.

#![allow(unsafe_code)]

use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::{Ordering, compiler_fence};

/// One copy of a stub's data.
#[derive(Clone, Copy, Debug)]
pub struct StubData {
    base: NonNull<u8>,
    size: usize,
}

impl StubData {
    /// # Safety
    /// `base` must point to `size` bytes that may be read and written as long as this lives, by
    /// this thread and, if they are shared, by the stub.
    #[must_use]
    pub unsafe fn new(base: NonNull<c_void>, size: u32) -> Self {
        Self { base: base.cast(), size: size as usize }
    }

    /// The `len` bytes at `offset`, if they are inside.
    fn at(&self, offset: u32, len: usize) -> Option<NonNull<u8>> {
        let offset = offset as usize;
        if offset.checked_add(len)? > self.size {
            return None;
        }
        // SAFETY: inside, as just checked.
        Some(unsafe { self.base.byte_add(offset) })
    }

    /// Loads a word, exactly once. `T` is one of the integers.
    #[must_use]
    pub fn load<T: Word>(&self, offset: u32) -> Option<T> {
        let at = self.at(offset, size_of::<T>())?;
        // SAFETY: inside; any bits are a valid integer; volatile, so that it happens once, whoever
        // writes to it meanwhile; byte arrays need no alignment.
        Some(T::from_bytes(unsafe { at.cast::<T::Bytes>().read_volatile() }))
    }

    /// Stores a word. `None`: it would be outside, and is not stored.
    #[must_use]
    pub fn store<T: Word>(&self, offset: u32, value: T) -> Option<()> {
        let at = self.at(offset, size_of::<T>())?;
        // SAFETY: inside; byte arrays need no alignment.
        unsafe { at.cast::<T::Bytes>().write_volatile(value.to_bytes()) };
        Some(())
    }

    /// Copies `len` bytes at `offset` to the same place of another copy.
    #[must_use]
    pub fn copy_to(&self, to: &Self, offset: u32, len: u32) -> Option<()> {
        let len = len as usize;
        let source = self.at(offset, len)?;
        let target = to.at(offset, len)?;
        // SAFETY: both inside, in different mappings or pages.
        unsafe { target.copy_from_nonoverlapping(source, len) };
        // Nothing that is read from the copy later may be read from the source instead.
        compiler_fence(Ordering::SeqCst);
        Some(())
    }
}

/// An integer as it lies in memory.
pub trait Word: Sized + Copy {
    /// Its bytes.
    type Bytes;
    /// From memory.
    fn from_bytes(bytes: Self::Bytes) -> Self;
    /// To memory.
    fn to_bytes(self) -> Self::Bytes;
}

macro_rules! words {
    ($($int:ty)*) => {$(
        impl Word for $int {
            type Bytes = [u8; size_of::<$int>()];
            fn from_bytes(bytes: Self::Bytes) -> Self {
                Self::from_ne_bytes(bytes)
            }
            fn to_bytes(self) -> Self::Bytes {
                self.to_ne_bytes()
            }
        }
    )*};
}
words!(u16 i16 u32 i32 u64 i64);
