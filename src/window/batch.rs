// SPDX-License-Identifier: GPL-2.0-only
//! The batch: what the page table does not grant any more is left out, the rest is copied to the stub.

use super::Parked;
use super::code::{self, Call, Control};
use crate::abi::{
    BatchCall, STUBGUARD_CALL_MMAP, STUBGUARD_CALL_MUNMAP, STUBGUARD_CALL_WRPROTECT, STUBGUARD_MEMORY_FD,
};
use crate::policy::{self, Denial, Mmap};
use crate::{Errno, Result, counters};
use core::mem::offset_of;

/// What the stub is to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) calls: u32,
    /// Whether it maps anything.
    pub(super) maps: bool,
}

impl<Hook: FnMut(u64, u64, u64) -> bool> Parked<'_, Hook> {
    /// Checks the batch, and copies it to the stub.
    ///
    /// The page table may have changed since a call was queued: another thread of the guest process has
    /// unmapped or write-protected a page. The old rights must not be given any more, but it is
    /// nobody's fault: such a page is left out, or mapped without the right to write. Its change was marked for a
    /// synchronisation of its own, which for the latter may be an mprotect: that needs the page to be there.
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

    /// Whether it maps anything. (Without any rights it is made a munmap: of what the stub has, nothing may be out of
    /// the guest's reach, see the filter's rule for mprotect.)
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
        // A run of pages that are granted with the same rights.
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

    /// What the page table does not grant is left out.
    pub(super) fn write_run(&self, count: &mut u32, run: Call) -> Result<()> {
        if run.prot == 0 || run.length == 0 { Ok(()) } else { self.write_call(count, run) }
    }

    /// What of these rights the page table grants, to this page of the memory: all, all but that to write, or none.
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
        // Split into more calls than there is room for: no honest guest gets there.
        let at = call_at(*count).ok_or_else(|| denied(Denial::PageTable))?;
        *count = count.saturating_add(1);
        self.shared.store_all(at, &call).ok_or(Errno::EINVAL)
    }
}

/// Where a call of the batch is in the control page.
pub(super) fn call_at(index: u32) -> Option<u32> {
    let at = index.checked_mul(size_of::<Call>() as u32)?.checked_add(offset_of!(Control, batch) as u32)?;
    ((index as usize) < code::CALLS_MAX).then_some(at)
}

fn denied(denial: Denial) -> Errno {
    counters::denied(denial);
    Errno::EPERM
}
