// SPDX-License-Identifier: GPL-2.0-only
//! What a stub may map and unmap. Pure but for the page-table hook; deny is the default.
//!
//! Arguments are judged as the host captured them in `seccomp_data` when the call was made. All of
//! them are scalars, so what is allowed is what will run (seccomp's `CONTINUE` is safe for nothing
//! else: seccomp_unotify(2)).

use crate::config::Config;

/// Why a call is denied. The order is that of `stubguard_stats.denied`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// A system call that is neither mmap nor munmap.
    Call,
    /// Not the monitor's own architecture.
    Architecture,
    /// Made from outside the stub's code page.
    Site,
    /// Flags other than `MAP_SHARED | MAP_FIXED`.
    Flags,
    /// An fd that cannot be the guest's memory.
    Fd,
    /// Protection bits beyond read, write, execute.
    Protection,
    /// Address or length that is not a multiple of the page size.
    Unaligned,
    /// Length 0.
    Empty,
    /// Address plus length wraps.
    Wrap,
    /// Reaches into or beyond the stub's own pages.
    Range,
    /// File offset that is not a multiple of the page size, or that wraps.
    Offset,
    /// The guest's page table does not grant it.
    PageTable,
}

impl Denial {
    /// All reasons, in order.
    pub const ALL: [Self; crate::abi::STUBGUARD_DENIALS] = [
        Self::Call,
        Self::Architecture,
        Self::Site,
        Self::Flags,
        Self::Fd,
        Self::Protection,
        Self::Unaligned,
        Self::Empty,
        Self::Wrap,
        Self::Range,
        Self::Offset,
        Self::PageTable,
    ];

    /// What the counter is called.
    #[must_use]
    pub const fn name(self) -> &'static core::ffi::CStr {
        match self {
            Self::Call => c"call",
            Self::Architecture => c"architecture",
            Self::Site => c"site",
            Self::Flags => c"flags",
            Self::Fd => c"fd",
            Self::Protection => c"protection",
            Self::Unaligned => c"unaligned",
            Self::Empty => c"empty",
            Self::Wrap => c"wrap",
            Self::Range => c"range",
            Self::Offset => c"offset",
            Self::PageTable => c"page_table",
        }
    }
}

/// The arguments of an mmap call.
#[derive(Clone, Copy, Debug)]
pub struct Mmap {
    /// First byte.
    pub addr: u64,
    /// Bytes.
    pub length: u64,
    /// `PROT_*`.
    pub prot: u64,
    /// `MAP_*`.
    pub flags: u64,
    /// The stub's number of the fd.
    pub fd: u64,
    /// Offset in the file, in bytes.
    pub offset: u64,
}

/// May a stub make this mmap call?
///
/// `granted(addr, prot, offset)` says whether the guest's page table maps `offset` at the page
/// `addr` with at least `prot`; it is asked for every page, since a request that is right in its
/// first page only would map whatever frames come behind it. It stops at the first "no", so it is
/// asked at most once more than the guest has frames that follow one another.
///
/// # Errors
/// The reason for the denial.
pub fn check_mmap(
    config: &Config,
    call: &Mmap,
    mut granted: impl FnMut(u64, u64, u64) -> bool,
) -> Result<(), Denial> {
    if pages(config, call)?.all(|(addr, offset)| granted(addr, call.prot, offset)) {
        Ok(())
    } else {
        Err(Denial::PageTable)
    }
}

/// Checks all of an mmap call but its page table. Returns the address and the offset of each page, for which
/// the page table must be asked.
///
/// # Errors
/// The reason for the denial.
#[allow(clippy::arithmetic_side_effects)] // Each sum is bounded by the checks above it.
pub fn pages(config: &Config, call: &Mmap) -> Result<impl Iterator<Item = (u64, u64)> + use<>, Denial> {
    const FLAGS: u64 = (libc::MAP_SHARED | libc::MAP_FIXED) as u64;
    const PROT: u64 = (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC) as u64;

    if call.flags != FLAGS {
        return Err(Denial::Flags);
    }
    if call.prot & !PROT != 0 {
        return Err(Denial::Protection);
    }
    // The host takes the low 32 bits for the fd; so does the compiled stub, which may leave
    // anything in the upper half.
    let fd = call.fd as u32 as i32;
    if !(config.mmap_fd_first..=config.mmap_fd_last).contains(&fd) {
        return Err(Denial::Fd);
    }
    check_range(config, call.addr, call.length)?;

    let page = u64::from(config.page_size);
    if !call.length.is_multiple_of(page) {
        return Err(Denial::Unaligned);
    }
    if !call.offset.is_multiple_of(page) {
        return Err(Denial::Offset);
    }
    if call.offset.checked_add(call.length).is_none() {
        return Err(Denial::Offset);
    }
    let (addr, offset) = (call.addr, call.offset);
    Ok((0..call.length / page).map(move |i| (addr + i * page, offset + i * page)))
}

/// May a stub unmap this range, or lose write permission for it?
///
/// Yes if the range is not empty, and the guest's own. A guest that takes memory from itself behind its
/// kernel's back harms nobody else.
///
/// # Errors
/// The reason for the denial.
pub fn check_range(config: &Config, addr: u64, length: u64) -> Result<(), Denial> {
    let page = u64::from(config.page_size);
    if length == 0 {
        return Err(Denial::Empty);
    }
    if !addr.is_multiple_of(page) {
        return Err(Denial::Unaligned);
    }
    // The host rounds the length up to a page: so must the bound.
    let end = length
        .checked_next_multiple_of(page)
        .and_then(|length| addr.checked_add(length))
        .ok_or(Denial::Wrap)?;
    if end > config.stub_start {
        return Err(Denial::Range);
    }
    Ok(())
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
