// SPDX-License-Identifier: GPL-2.0-only
//! Which of a guest's calls notify, and which trap (x86-64).
//!
//! A call that *traps* makes a signal frame: the stub's handler parks, and the monitor has all registers. A
//! call that *notifies* makes none: the host suspends the stub in the call, and the monitor knows number,
//! arguments and address, and answers with the result. The lists below name the calls that trap, each with
//! the reason. A number that is not known traps, too. All others notify.
//!
//! If a call that notified needs more (a signal is to be delivered, memory is to be mapped), the monitor
//! fetches the other registers: see [`Parked::fetch`](super::Parked::fetch). So a call that is missing in
//! `MAPPINGS` or `SIGNALS` is slower, not wrong.

/// They read or write more registers than their arguments and result. A child starts with a copy of all
/// registers, a new program sets all, sigaltstack(2) looks at the stack pointer, ptrace(2) shows them to
/// others. Those from arch_prctl(2) on set other state that a thread has in the processor.
const REGISTERS: &[i64] = &[
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_ptrace,
    libc::SYS_arch_prctl,
    libc::SYS_modify_ldt,
    libc::SYS_set_thread_area,
    libc::SYS_get_thread_area,
    libc::SYS_iopl,
    libc::SYS_ioperm,
];

/// The caller does not come back: nobody would be left to answer. A tracer or a core dump may want its last
/// registers.
const ENDS: &[i64] = &[
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_reboot,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
];

/// They change mappings, so a batch follows, for which the stub must be parked.
const MAPPINGS: &[i64] = &[
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_pkey_mprotect,
    libc::SYS_mremap,
    libc::SYS_remap_file_pages,
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_process_madvise,
    libc::SYS_shmat,
    libc::SYS_shmdt,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_mlockall,
    libc::SYS_munlock,
    libc::SYS_munlockall,
    libc::SYS_mbind,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_io_setup,
    libc::SYS_io_destroy,
    MAP_SHADOW_STACK,
    libc::SYS_mseal,
];

/// They end in a signal's delivery, which needs all registers.
const SIGNALS: &[i64] = &[libc::SYS_pause, libc::SYS_rt_sigsuspend];

/// A new stub makes them itself, after its listener exists and before its second filter does. Nobody would
/// answer. (The calls of the stub's program come from above the guest's addresses.)
const START: &[i64] =
    &[libc::SYS_close_range, libc::SYS_dup3, libc::SYS_execveat, libc::SYS_exit_group, libc::SYS_exit];

const MAP_SHADOW_STACK: i64 = 453;

/// The numbers that were examined, from and to: those of Linux 7.2.
const KNOWN: [(u32, u32); 2] = [(0, 334), (424, 470)];

/// Words of 32 numbers each.
///
/// cbindgen:ignore
pub const WORDS: usize = 15;

/// Bit n % 32 of word n / 32 says that the call with number n notifies.
///
/// cbindgen:ignore
#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)] // At compile time.
pub const NOTIFYING: [u32; WORDS] = {
    let mut words = [0; WORDS];
    let mut range = 0;
    while range < KNOWN.len() {
        let (mut nr, last) = KNOWN[range];
        while nr <= last {
            if !traps(nr as i64) {
                words[nr as usize / 32] |= 1 << (nr % 32);
            }
            nr += 1;
        }
        range += 1;
    }
    words
};

#[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)] // At compile time.
const fn has(list: &[i64], nr: i64) -> bool {
    let mut index = 0;
    while index < list.len() {
        if list[index] == nr {
            return true;
        }
        index += 1;
    }
    false
}

const fn traps(nr: i64) -> bool {
    has(REGISTERS, nr) || has(ENDS, nr) || has(MAPPINGS, nr) || has(SIGNALS, nr) || has(START, nr)
}

/// Returns the calls that a new stub makes itself.
pub fn of_the_start() -> impl Iterator<Item = i64> {
    START.iter().copied()
}

/// Whether a guest's call with this number notifies.
#[must_use]
pub fn notifies(nr: u32) -> bool {
    NOTIFYING.get(nr as usize / 32).is_some_and(|word| (word >> (nr % 32)) % 2 == 1)
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_and_what_is_unknown_traps_all_else_notifies() {
        let listed: Vec<u32> = [REGISTERS, ENDS, MAPPINGS, SIGNALS, START]
            .concat()
            .into_iter()
            .map(|nr| u32::try_from(nr).unwrap_or(u32::MAX))
            .collect();
        let known = |nr: u32| nr <= 334 || (424..=470).contains(&nr);
        assert!(listed.iter().all(|nr| known(*nr)));
        for nr in (0..1000).chain([1 << 30, (1 << 30) + 39, 1 << 31, u32::MAX]) {
            assert_eq!(notifies(nr), known(nr) && !listed.contains(&nr), "{nr}");
        }
    }

    #[test]
    fn those_that_must_not_notify_do_not() {
        // clone, fork, vfork, execve, exit, exit_group, rt_sigreturn, sigaltstack, ptrace, arch_prctl,
        // clone3, execveat, mmap, munmap, brk, mprotect, mremap
        for nr in [56, 57, 58, 59, 60, 231, 15, 131, 101, 158, 435, 322, 9, 11, 12, 10, 25] {
            assert!(!notifies(nr), "{nr}");
        }
        // read, write, openat, getpid, wait4, futex, newfstatat, statx, rt_sigprocmask
        for nr in [0, 1, 257, 39, 61, 202, 262, 332, 14] {
            assert!(notifies(nr), "{nr}");
        }
    }
}
