// SPDX-License-Identifier: GPL-2.0-only
//! Shared by the targets: a configuration like UML's, and memory.

use core::ptr::NonNull;
use stubguard::config::Config;
use stubguard::memory::StubData;

pub const PAGE: usize = 4096;
/// Size of a stub's data.
pub const SIZE: usize = 2 * PAGE;

/// Sizes of the floating-point state with and without XSAVE: its rules differ.
pub const FP_SIZES: [u32; 2] = [832, 512];

/// The signals that a stub has a handler for: SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGALRM, SIGSYS.
pub const HANDLED: [i32; 7] = [4, 5, 7, 8, 11, 14, 31];

/// UML's configuration with floating-point state of that size.
pub fn config(config: Config, fp_size: u32) -> Config {
    Config { fp_size, ..config }.validated().expect("it is UML's")
}

/// Two pages, aligned as the stub's.
#[derive(Clone, PartialEq, Eq)]
#[repr(C, align(4096))]
pub struct Pages(pub [u8; SIZE]);

impl Pages {
    /// Pages with these bytes, followed by those of `rest`.
    pub fn of(bytes: &[u8], rest: &[u8; SIZE]) -> Box<Self> {
        let mut pages = Box::new(Self(*rest));
        let length = bytes.len().min(SIZE);
        pages.0[..length].copy_from_slice(&bytes[..length]);
        pages
    }

    /// Writes a signal frame as the host does, for a guest at `rip`: the context at offset 400, the
    /// floating-point state at `fp` of the signal stack, as far as there is room.
    pub fn put_frame(&mut self, config: &Config, rip: u64, fp: u16) {
        let stack = PAGE;
        self.put(stack + 400 + 128, &rip.to_ne_bytes());
        self.put(stack + 400 + 184, &config.stub_data_address(stack as u32 + u32::from(fp)).to_ne_bytes());
        let (size, fp) = (config.fp_size, stack + usize::from(fp));
        if size > 512 {
            self.put(fp + 464, &0x4650_5853u32.to_ne_bytes());
            self.put(fp + 468, &(size + 4).to_ne_bytes());
            self.put(fp + size as usize, &0x4650_5845u32.to_ne_bytes());
        }
    }

    /// Makes a guest's changes: each has an offset, in units of four bytes, and the four bytes.
    pub fn change(&mut self, changes: &[u8]) {
        for change in changes.chunks_exact(6) {
            let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % (SIZE / 4) * 4;
            self.put(at, &change[2..]);
        }
    }

    /// Writes the bytes that fit.
    pub fn put(&mut self, at: usize, value: &[u8]) {
        if let Some(to) = self.0.get_mut(at..at + value.len()) {
            to.copy_from_slice(value);
        }
    }

    pub fn data(&mut self) -> StubData {
        // SAFETY: the memory is its own, and outlives its use by a target.
        unsafe { StubData::new(NonNull::from(&mut self.0).cast(), SIZE as u32) }
    }

    pub fn u16(&self, at: usize) -> u16 {
        u16::from_ne_bytes(self.0[at..at + 2].try_into().unwrap())
    }

    pub fn i32(&self, at: usize) -> i32 {
        i32::from_ne_bytes(self.0[at..at + 4].try_into().unwrap())
    }

    pub fn u64(&self, at: usize) -> u64 {
        u64::from_ne_bytes(self.0[at..at + 8].try_into().unwrap())
    }
}

/// An offset of the floating-point state, mostly where the host would put it.
pub fn fp_offset(input: &mut Input<'_>) -> u16 {
    match input.byte() % 2 {
        0 => 1024,
        _ => input.half() % (PAGE as u16 + 64) / 8 * 8,
    }
}

/// The input, piece by piece; zeros after its end.
pub struct Input<'a>(pub &'a [u8]);

impl Input<'_> {
    pub fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *byte
    }

    pub fn half(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    pub fn word(&mut self) -> u64 {
        u64::from_le_bytes(core::array::from_fn(|_| self.byte()))
    }
}
