// SPDX-License-Identifier: GPL-2.0-only
//! A stub's data as memory: bounded accesses through a raw pointer.
//!
//! A stub's data has two copies: the shared one, which the guest may change at any moment, and the monitor's
//! own. A word of the shared copy is loaded once. What is copied out of it is checked only after the copy.

#![allow(unsafe_code)]

use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::{Ordering, compiler_fence};

/// Memory that holds state of a stub: one copy of its data, or a part of it.
#[derive(Clone, Copy, Debug)]
pub struct StubData {
    base: NonNull<u8>,
    size: usize,
}

impl StubData {
    /// Makes a view of the `size` bytes at `base`.
    ///
    /// # Safety
    /// `base` must point to `size` bytes that may be read and written as long as this lives, by
    /// this thread and, if they are shared, by the stub.
    #[must_use]
    pub unsafe fn new(base: NonNull<c_void>, size: u32) -> Self {
        Self { base: base.cast(), size: size as usize }
    }

    /// Returns its address.
    #[must_use]
    pub fn address(&self) -> usize {
        self.base.addr().get()
    }

    /// Whether both begin at the same address.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.base == other.base
    }

    /// Stores bytes at `offset`.
    #[must_use]
    pub fn fill(&self, offset: u32, bytes: &[u8]) -> Option<()> {
        let at = self.at(offset, bytes.len())?;
        // SAFETY: inside; `bytes` is somewhere else.
        unsafe { at.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
        Some(())
    }

    /// Makes `len` bytes at `offset` zero.
    #[must_use]
    pub fn zero(&self, offset: u32, len: u32) -> Option<()> {
        let at = self.at(offset, len as usize)?;
        // SAFETY: inside.
        unsafe { at.write_bytes(0, len as usize) };
        Some(())
    }

    /// Returns a pointer to the `len` bytes at `offset`, if they are inside.
    fn at(&self, offset: u32, len: usize) -> Option<NonNull<u8>> {
        let offset = offset as usize;
        if offset.checked_add(len)? > self.size {
            return None;
        }
        // SAFETY: inside, as just checked.
        Some(unsafe { self.base.byte_add(offset) })
    }

    /// Returns a pointer to the word at `offset`, if it is inside and aligned.
    fn word<T: Word>(&self, offset: u32) -> Option<NonNull<T>> {
        let at = self.at(offset, size_of::<T>())?.cast::<T>();
        at.is_aligned().then_some(at)
    }

    /// Loads a word, exactly once.
    #[must_use]
    pub fn load<T: Word>(&self, offset: u32) -> Option<T> {
        let at = self.word::<T>(offset)?;
        // SAFETY: inside, aligned; any bits are a valid integer; volatile, so that it happens once and
        // whole, whoever writes to it meanwhile.
        Some(unsafe { at.read_volatile() })
    }

    /// Stores a word. Returns `None`, and stores nothing, if it is outside or not aligned.
    #[must_use]
    pub fn store<T: Word>(&self, offset: u32, value: T) -> Option<()> {
        let at = self.word::<T>(offset)?;
        // SAFETY: inside, aligned.
        unsafe { at.write_volatile(value) };
        Some(())
    }

    /// Stores a structure of integers.
    #[must_use]
    pub fn store_all<T: Plain>(&self, offset: u32, value: &T) -> Option<()> {
        let at = self.at(offset, size_of::<T>())?;
        // SAFETY: inside; `value` is somewhere else.
        unsafe { at.copy_from_nonoverlapping(NonNull::from(value).cast(), size_of::<T>()) };
        Some(())
    }

    /// Copies a structure of integers out.
    #[must_use]
    pub fn load_all<T: Plain>(&self, offset: u32) -> Option<T> {
        let at = self.at(offset, size_of::<T>())?.cast::<T>();
        // SAFETY: inside; any bits are a valid value.
        let value = unsafe { at.read_unaligned() };
        compiler_fence(Ordering::SeqCst);
        Some(value)
    }

    /// Copies `len` bytes at `offset` to the same place of another copy.
    #[must_use]
    pub fn copy_to(&self, to: &Self, offset: u32, len: u32) -> Option<()> {
        self.copy(offset, to, offset, len)
    }

    /// Copies `len` bytes at `offset` to `to_offset` of other memory.
    #[must_use]
    pub fn copy(&self, offset: u32, to: &Self, to_offset: u32, len: u32) -> Option<()> {
        let len = len as usize;
        let source = self.at(offset, len)?;
        let target = to.at(to_offset, len)?;
        // SAFETY: both inside, in different mappings or pages.
        unsafe { copy_bytes(target, source, len) };
        Some(())
    }
}

/// Copies by `rep movsb`. A statically linked library would get UML's memcpy, which is slow on today's processors.
/// The compiler cannot see into the assembler, so it never reads the source again in place of the copy.
///
/// # Safety
/// As `copy_nonoverlapping`; the bytes may change meanwhile.
unsafe fn copy_bytes(target: NonNull<u8>, source: NonNull<u8>, len: usize) {
    // Miri has no assembler.
    #[cfg(miri)]
    // SAFETY: the caller's promise.
    unsafe {
        target.copy_from_nonoverlapping(source, len);
    }
    #[cfg(not(miri))]
    // SAFETY: the caller's promise; the direction flag is clear in all compiled code.
    unsafe {
        core::arch::asm!(
            "rep movsb",
            inout("rcx") len => _,
            inout("rdi") target.as_ptr() => _,
            inout("rsi") source.as_ptr() => _,
            options(nostack, preserves_flags),
        );
    }
}

/// A structure of integers, without gaps between them.
///
/// # Safety
/// Any bits must be a valid value, and all bytes of a value initialised.
pub unsafe trait Plain: Copy {}
// SAFETY: an array of integers.
unsafe impl<const N: usize> Plain for [u64; N] {}

/// An integer: any bits are a valid one.
pub trait Word: Copy {}
impl Word for u16 {}
impl Word for i16 {}
impl Word for u32 {}
impl Word for i32 {}
impl Word for u64 {}
impl Word for i64 {}

#[cfg(test)]
#[cfg(not(loom))]
pub(crate) mod tests;
