// SPDX-License-Identifier: GPL-2.0-only
//! The signal frame that the host writes to a stub's signal stack (x86-64). The guest can change it until the
//! monitor has copied it.
//!
//! Layouts: `struct rt_sigframe`, `struct ucontext`, `struct _fpstate_64` of the host's UAPI.

use crate::breach::{Breach, Offence};
use crate::config::Config;
use crate::memory::StubData;

/// `sizeof(siginfo_t)`.
///
/// cbindgen:ignore
pub const SIGINFO: u32 = size_of::<libc::siginfo_t>() as u32;
/// `offsetof(ucontext_t, uc_mcontext)`.
///
/// cbindgen:ignore
pub const UCONTEXT_TO_MCONTEXT: u32 = core::mem::offset_of!(libc::ucontext_t, uc_mcontext) as u32;
/// `sizeof(mcontext_t)`.
const MCONTEXT: u32 = size_of::<libc::mcontext_t>() as u32;
/// `offsetof(mcontext_t, fpregs)`.
const MCONTEXT_FPREGS: u32 = core::mem::offset_of!(libc::mcontext_t, fpregs) as u32;
/// `sizeof(struct _fpstate_64)`: the whole floating-point state on a host without XSAVE.
///
/// cbindgen:ignore
pub const FXSAVE: u32 = 512;
/// `offsetof(struct _xstate, xstate_hdr)`: the word `xfeatures`, which names the parts of the state, then two
/// words that must be 0.
///
/// cbindgen:ignore
pub const XSTATE_HEADER: u32 = FXSAVE;
/// The least size with XSAVE: the header has 64 bytes.
///
/// cbindgen:ignore
pub const XSAVE_LEAST: u32 = XSTATE_HEADER + 64;
/// `offsetof(struct _fpstate_64, sw_reserved)`: `magic1`, `extended_size`.
const SW_RESERVED: u32 = 464;
/// `offsetof(struct _fpstate_64, sw_reserved.xfeatures)`.
///
/// cbindgen:ignore
pub const XFEATURES: u32 = 472;
const FP_XSTATE_MAGIC1: u32 = 0x4650_5853;
const FP_XSTATE_MAGIC2: u32 = 0x4650_5845;
/// XSAVE needs this alignment.
const FP_ALIGN: u32 = 64;

const _: () = {
    assert!(SIGINFO == 128);
    assert!(UCONTEXT_TO_MCONTEXT == 40);
    assert!(MCONTEXT == 256);
    assert!(MCONTEXT_FPREGS == 184);
};

/// The offsets of a frame on the signal stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The siginfo.
    pub siginfo: u16,
    /// The machine context.
    pub mcontext: u16,
}

impl Frame {
    /// Returns the frame at these offsets, if all of it is on the signal stack.
    ///
    /// # Errors
    /// [`Breach::Frame`].
    pub fn new(config: &Config, siginfo: u16, mcontext: u16) -> Result<Self, Offence> {
        let size = config.layout.sigstack_size;
        let inside = |start: u32, len: u32| {
            start.is_multiple_of(8) && start.checked_add(len).is_some_and(|end| end <= size)
        };
        if !inside(siginfo.into(), SIGINFO) {
            return Err(Breach::Frame.number("siginfo", siginfo.into()));
        }
        if u32::from(mcontext) < UCONTEXT_TO_MCONTEXT || !inside(mcontext.into(), MCONTEXT) {
            return Err(Breach::Frame.number("context", mcontext.into()));
        }
        Ok(Self { siginfo, mcontext })
    }

    /// Returns the offset of its first byte on the signal stack. All of it lies between there and the stack's
    /// top.
    #[must_use]
    pub fn start(self) -> u32 {
        u32::from(self.mcontext).saturating_sub(UCONTEXT_TO_MCONTEXT).min(self.siginfo.into())
    }

    /// Returns the offset of the floating-point state on the signal stack. Its size must be exactly what the
    /// host makes it, as UML copies that many bytes from and to the frame. `own`: the monitor's copy.
    ///
    /// # Errors
    /// [`Breach::FpState`].
    pub fn fpstate(self, config: &Config, own: &StubData) -> Result<u32, Offence> {
        let fpregs_at = config.layout.sigstack.checked_add(self.mcontext.into());
        let fpregs_at = fpregs_at.and_then(|at| at.checked_add(MCONTEXT_FPREGS));
        let fpregs = fpregs_at.and_then(|at| own.load(at)).unwrap_or(0);
        self.sound_fpstate(config, own, fpregs).ok_or(Breach::FpState.address("at", fpregs))
    }

    fn sound_fpstate(self, config: &Config, own: &StubData, fpregs: u64) -> Option<u32> {
        let layout = &config.layout;
        let offset = u32::try_from(fpregs.checked_sub(config.stub_data_address(layout.sigstack))?).ok()?;
        let end = offset.checked_add(config.fp_size)?;
        if !offset.is_multiple_of(FP_ALIGN) || offset < self.start() || end > layout.sigstack_size {
            return None;
        }
        let word = |at: u32| own.load::<u32>(layout.sigstack.checked_add(offset)?.checked_add(at)?);
        if word(SW_RESERVED)? != FP_XSTATE_MAGIC1 {
            return (config.fp_size == FXSAVE).then_some(offset);
        }
        // The second magic number is the last word of the extended size. It must be on the stack, too.
        let sound = end.checked_add(4)? <= layout.sigstack_size
            && word(SW_RESERVED.checked_add(4)?)? == config.fp_size.checked_add(4)?
            && word(config.fp_size)? == FP_XSTATE_MAGIC2;
        sound.then_some(offset)
    }
}
