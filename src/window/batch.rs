// SPDX-License-Identifier: GPL-2.0-only
//! The batch. The monitor checks each call, leaves out pages that the page table no longer grants, and copies
//! the rest to the stub.

use super::Parked;
use super::code::{self, Call, Control};
use crate::abi::{
    BatchCall, STUBGUARD_CALL_MMAP, STUBGUARD_CALL_MUNMAP, STUBGUARD_CALL_WRPROTECT, STUBGUARD_MEMORY_FD,
};
use crate::policy::{self, Denial, Mmap};
use crate::{Errno, Result, counters};
use core::mem::offset_of;

/// What the monitor has written for the stub to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) calls: u32,
    /// Whether it maps anything.
    pub(super) maps: bool,
}

impl<Hook: FnMut(u64, u64, u64) -> bool> Parked<'_, Hook> {
    /// Checks the batch, and copies it to the stub.
    ///
    /// Another thread of the guest process may have unmapped or write-protected a page after its call was
    /// queued. The old rights must not be granted, but this is no breach: the page is left out, or mapped
    /// without write. (A later mprotect for the page would fail with ENOMEM if it were left out.)
    pub(super) fn write_batch(&mut self, calls: &[BatchCall]) -> Result<Batch> {
        let mut batch = Batch::default();
        self.stub.asked = u16::try_from(calls.len()).map_err(|_| Errno::EINVAL)?;
        for (index, call) in (0..self.stub.asked).zip(calls) {
            let BatchCall { addr, length, offset, prot, kind } = *call;
            let left = match kind {
                STUBGUARD_CALL_MMAP => {
                    let mmap = Mmap {
                        addr,
                        length,
                        prot: prot.into(),
                        flags: (libc::MAP_SHARED | libc::MAP_FIXED) as u64,
                        fd: STUBGUARD_MEMORY_FD as u64,
                        offset,
                    };
                    batch.maps |= self.write_mmap(&mut batch.calls, &mmap, index)?;
                    continue;
                }
                STUBGUARD_CALL_MUNMAP => 0,
                STUBGUARD_CALL_WRPROTECT => code::WRPROTECTED,
                _ => return Err(Errno::EPERM),
            };
            policy::check_range(self.monitor.config, addr, length).map_err(denied)?;
            self.write_call(&mut batch.calls, Call { addr, length, prot: left, index, ..Call::default() })?;
        }
        Ok(batch)
    }

    /// Writes the granted parts of an mmap. Returns whether anything is mapped.
    ///
    /// An mmap without rights becomes an munmap. The filter's rule for mprotect relies on it: each page that
    /// a stub has is readable and executable.
    #[allow(clippy::arithmetic_side_effects)] // Within the range that `pages` has checked.
    pub(super) fn write_mmap(&mut self, count: &mut u32, mmap: &Mmap, index: u16) -> Result<bool> {
        let pages = policy::pages(self.monitor.config, mmap).map_err(denied)?;
        let page = u64::from(self.monitor.config.page_size);
        let Mmap { addr, length, offset, prot, .. } = *mmap;
        if prot == 0 {
            self.write_call(count, Call { addr, length, index, ..Call::default() })?;
            return Ok(false);
        }
        let before = *count;
        // A run of pages that are granted the same rights.
        let mut run = Call { addr, length: 0, offset, prot: prot as u32, maps: 1, index };
        for (page_addr, page_offset) in pages {
            let rights = self.granted(page_addr, prot, page_offset);
            if rights != u64::from(run.prot) {
                self.write_run(count, run)?;
                run = Call { addr: page_addr, length: 0, offset: page_offset, prot: rights as u32, ..run };
            }
            run.length += page;
        }
        self.write_run(count, run)?;
        Ok(*count > before)
    }

    /// Writes a run. A run without rights is not granted, and left out.
    pub(super) fn write_run(&self, count: &mut u32, run: Call) -> Result<()> {
        if run.prot == 0 || run.length == 0 { Ok(()) } else { self.write_call(count, run) }
    }

    /// Returns the granted subset of `prot` for this page: all of it, all but write, or none.
    pub(super) fn granted(&mut self, addr: u64, prot: u64, offset: u64) -> u64 {
        const WRITE: u64 = libc::PROT_WRITE as u64;

        if (self.monitor.granted)(addr, prot, offset) {
            return prot;
        }
        counters::denied(Denial::PageTable);
        let less = prot & !WRITE;
        if less != prot && (self.monitor.granted)(addr, less, offset) { less } else { 0 }
    }

    pub(super) fn write_call(&self, count: &mut u32, call: Call) -> Result<()> {
        // There is no room: the batch was split into too many calls. No honest guest gets here.
        let at = call_at(*count).ok_or_else(|| denied(Denial::PageTable))?;
        *count = count.saturating_add(1);
        self.shared.store_all(at, &call).ok_or(Errno::EINVAL)
    }
}

/// Returns the offset of a call of the batch in the control page.
pub(super) fn call_at(index: u32) -> Option<u32> {
    let at = index.checked_mul(size_of::<Call>() as u32)?.checked_add(offset_of!(Control, batch) as u32)?;
    ((index as usize) < code::CALLS_MAX).then_some(at)
}

fn denied(denial: Denial) -> Errno {
    counters::denied(denial);
    Errno::EPERM
}
