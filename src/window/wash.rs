// SPDX-License-Identifier: GPL-2.0-only
//! Washing: a stub that is to be reused loses all state of its last guest.

use super::Parked;
use super::code::{self, Call, Head};
use super::guest::{EFLAGS, USER_CS, USER_DS};
use super::stub::State;
use crate::{Errno, Result};
use core::ffi::c_int;

/// How often a wash is repeated if signals disturb it.
const WASHES: u32 = 8;

impl<Hook: FnMut(u64, u64, u64) -> bool> Parked<'_, Hook> {
    /// Makes a parked stub clean: nothing mapped, all state as at its start.
    ///
    /// A hijacked stub may have entered its park by a jump, with signals open or other state prepared. So the
    /// monitor resumes it once more at address 0, with nothing mapped. It faults, and the host makes a frame
    /// and enters the handler with all signals blocked.
    ///
    /// # Errors
    /// As [`Self::resume`] and [`Self::wait`]; `EPROTO` if the stub does anything but fault.
    pub fn wash(&mut self, cpu: c_int) -> Result<()> {
        if !self.stub.is_clean() || !self.knows(cpu) {
            return Err(Errno::EINVAL);
        }
        self.or_broken(|parked| parked.try_wash(cpu))
    }

    pub(super) fn try_wash(&mut self, cpu: c_int) -> Result<()> {
        for _ in 0..WASHES {
            let mut calls = 0;
            self.write_call(&mut calls, Call { length: self.monitor.config.stub_start, ..Call::default() })?;
            let head = Head {
                flags: self.limit(false)?
                    | self.guest_flags()
                    | code::SET_FS
                    | code::SET_GS
                    | code::SELECTORS,
                calls,
                iret: [0, USER_CS, EFLAGS, 0, USER_DS],
                xfeatures: self.stub.xfeatures,
                ..Head::default()
            };
            self.write_head(head)?;
            self.shared.zero(code::FP as u32, self.monitor.config.fp_size).ok_or(Errno::EINVAL)?;
            self.stub.calls = calls;
            (self.stub.fs_base, self.stub.gs_base) = (0, 0);
            self.stub.state = State::Running;
            self.answer()?;
            let event = loop {
                match self.try_wait(cpu, None) {
                    Err(Errno::EINTR) => {}
                    other => break other?,
                }
            };
            match (event.signal, event.again, event.address) {
                (libc::SIGSEGV, 0, 0) if event.error == 0 => return Ok(()),
                // A timer's signal was pending, or came on the way: wash again.
                (libc::SIGALRM, ..) => {}
                _ => break,
            }
        }
        Err(Errno::EPROTO)
    }
}
