// SPDX-License-Identifier: GPL-2.0-only
//! Parks, proper and forged, and what a resume writes: all that needs no host. The C harness tests the rest.

#![allow(clippy::arithmetic_side_effects, clippy::cast_sign_loss)]

use super::batch::{Batch, call_at};
use super::code::{Call, Control, Head, Place};
use super::guest::{CS, FS_BASE, GS_BASE, Guest, RAX, RIP, RSP, SS, Target};
use super::run::Resume;
use super::stub::{Caller, Limit, State};
use super::*;
use crate::abi::{
    BatchCall, Event, STUBGUARD_CALL_MMAP, STUBGUARD_CALL_MUNMAP, STUBGUARD_CALL_WRPROTECT,
    STUBGUARD_CALLS_MAX, STUBGUARD_F_FSGSBASE, STUBGUARD_F_RECEIVE_ENDS, STUBGUARD_REGISTERS,
    STUBGUARD_SELECTOR,
};
use crate::breach::{Breach, SIGNALS};
use crate::config::Config;
use crate::config::example::window;
use crate::host::seccomp::Notification;
use crate::memory::tests::Pages;
use crate::{Errno, Result, arch};
use core::ffi::c_int;
use core::mem::offset_of;
use core::sync::atomic::Ordering;
use proptest::prelude::*;
use std::fs::File;
use std::os::fd::AsFd;

const STUB: u64 = 0x7fff_ffff_c000;
const STACK: usize = 4096;
const STACK_AT: u64 = STUB + 4096 + STACK as u64;
const SIGINFO: u64 = STACK_AT + 200;
const UCONTEXT: u64 = STACK_AT + 360;
/// Offsets in the stub's data.
const MCONTEXT: usize = STACK + 400;
const FPSTATE: usize = STACK + 1024;
const XFEATURES: u64 = 0xe7;

type Hook<'a> = &'a mut dyn FnMut(u64, u64, u64) -> bool;

/// A stub, its data, and the monitor's.
struct World {
    config: Config,
    features: u32,
    stub: Stub,
    caller: AtomicUsize,
    shared: Pages,
    batch: Vec<BatchCall>,
    registers: Pages,
    fp: Pages,
    siginfo: Pages,
    /// Not a listener: the host refuses each answer.
    listener: File,
}

impl World {
    /// Returns a stub that has a guest's frame, as the host writes it.
    fn new(state: State) -> Self {
        let config = window().validated().unwrap_or_else(|_| unreachable!());
        let mut shared = Pages::new();
        shared.put(MCONTEXT + 184, config.stub_data_address(FPSTATE as u32));
        shared.put(FPSTATE + 464, 0x4650_5853u32);
        shared.put(FPSTATE + 468, config.fp_size + 4);
        shared.put(FPSTATE + 472, XFEATURES);
        shared.put(FPSTATE + config.fp_size as usize, 0x4650_5845u32);
        let mut stub = Stub::new(1, -1, 1, core::ptr::null_mut());
        stub.state = state;
        if state != State::Starting && state != State::None {
            (stub.siginfo, stub.mcontext, stub.fpstate, stub.xfeatures) = (200, 400, 1024, XFEATURES);
        }
        Self {
            config,
            features: STUBGUARD_F_FSGSBASE | STUBGUARD_F_RECEIVE_ENDS,
            stub,
            shared,
            caller: AtomicUsize::new(0),
            batch: Vec::new(),
            registers: Pages::new(),
            fp: Pages::new(),
            siginfo: Pages::new(),
            listener: File::open("/dev/null").unwrap_or_else(|_| unreachable!()),
        }
    }

    fn run<T>(&mut self, granted: Hook<'_>, what: impl FnOnce(&mut Parked<'_, Hook<'_>>) -> T) -> T {
        what(&mut Parked {
            monitor: Monitor { config: &self.config, listener: self.listener.as_fd(), granted },
            features: self.features,
            caller: &self.caller,
            stub: &mut self.stub,
            shared: self.shared.data(),
        })
    }

    fn target(&mut self) -> Target {
        Target { state: self.state(), siginfo: Some(self.siginfo.data()), rest: false }
    }

    /// Where the guest's state is.
    fn state(&mut self) -> Caller {
        Caller { registers: self.registers.data(), fp: self.fp.data() }
    }

    fn judge(&mut self, arguments: [u64; 3]) -> core::result::Result<Event, Breach> {
        let target = self.target();
        let judged = self.run(&mut |_, _, _| true, |parked| parked.judge(arguments, Some(&target)));
        judged.map_err(|offence| offence.breach)
    }

    /// A park by a signal whose frame is where the first one was.
    fn signal(&mut self, signal: u64) -> core::result::Result<Event, Breach> {
        self.judge([signal, SIGINFO, UCONTEXT])
    }

    fn park(&mut self, id: u64, args: [u64; 3]) -> Result<Option<Event>> {
        let ticket = self.stub.ticket;
        self.park_with(id, args, ticket)
    }

    fn park_with(&mut self, id: u64, args: [u64; 3], ticket: u64) -> Result<Option<Event>> {
        let mut call = libc::seccomp_data {
            nr: code::PARK_NR,
            arch: arch::ARCH,
            instruction_pointer: STUB + Place::Park.offset(),
            args: [0; 6],
        };
        call.args[..3].copy_from_slice(&args);
        call.args[3] = ticket;
        let target = self.target();
        self.run(&mut |_, _, _| true, |parked| parked.park(&Notification { id, call }, Some(&target)))
    }

    fn greg(&mut self, index: i32, value: u64) {
        self.shared.put(MCONTEXT + index as usize * 8, value);
    }

    fn write_batch(&mut self, batch: &[BatchCall], granted: Hook<'_>) -> Result<u32> {
        self.try_batch(batch, granted).map(|batch| batch.calls)
    }

    fn try_batch(&mut self, batch: &[BatchCall], granted: Hook<'_>) -> Result<Batch> {
        self.run(granted, |parked| parked.write_batch(batch))
    }

    /// Pretends that the batch has so many calls, each asked for by the caller.
    fn made(&mut self, calls: u32) {
        self.stub.calls = calls;
        self.stub.asked = calls as u16;
        for index in 0..calls.min(code::CALLS_MAX as u32) {
            let call = Call { index: index as u16, ..Call::default() };
            assert_eq!(self.shared.data().store_all(call_at(index).unwrap_or(0), &call), Some(()));
        }
    }

    fn written(&mut self, count: u32) -> Vec<Call> {
        let at = |index: u32| offset_of!(Control, batch) as u32 + index * size_of::<Call>() as u32;
        let data = self.shared.data();
        (0..count).map(|index| data.load_all(at(index)).unwrap_or_default()).collect()
    }

    fn guest(&mut self, registers: [u64; STUBGUARD_REGISTERS], step: bool) -> (Head, Option<()>) {
        self.guest_with(registers, step, false)
    }

    fn guest_with(
        &mut self,
        registers: [u64; STUBGUARD_REGISTERS],
        step: bool,
        trap: bool,
    ) -> (Head, Option<()>) {
        let mut head = Head::default();
        let guest = Guest { state: self.state(), step, trap };
        assert_eq!(guest.state.registers.store_all(0, &registers), Some(()));
        let filled = self.run(&mut |_, _, _| true, |parked| parked.fill_guest(&mut head, &guest));
        (head, filled)
    }

    /// Resumes, without the host's answer.
    fn resume(&mut self, guest: bool) -> Result<()> {
        let guest = guest.then(|| Guest { state: self.state(), step: false, trap: false });
        let calls = self.batch.clone();
        self.run(&mut |_, _, _| true, |parked| parked.resume(&Resume { calls: &calls, guest, cpu: 0 }))
    }

    fn head(&mut self) -> Head {
        self.shared.data().load_all(0).unwrap_or_default()
    }
}

fn mmap(pages: u64) -> BatchCall {
    BatchCall { kind: STUBGUARD_CALL_MMAP, addr: 0x40_0000, length: pages * 4096, offset: 0x10_0000, prot: 3 }
}

fn wrprotect(pages: u64) -> BatchCall {
    BatchCall { kind: STUBGUARD_CALL_WRPROTECT, addr: 0x40_0000, length: pages * 4096, offset: 7, prot: 7 }
}

fn munmap(pages: u64) -> BatchCall {
    BatchCall { kind: STUBGUARD_CALL_MUNMAP, addr: 0x40_0000, length: pages * 4096, offset: 0, prot: 0 }
}

const NOTHING: Event = Event {
    size: 0,
    signal: 0,
    again: 0,
    error: 0,
    done: 0,
    syscall: -1,
    notified: 0,
    error_code: 0,
    address: 0,
    trap: 0,
};

// ---- the table of states

#[test]
fn a_new_stub_parks_by_a_signal_in_a_sound_frame() {
    let mut world = World::new(State::Starting);
    assert_eq!(world.signal(31).map(|event| event.signal), Ok(31));
    let stub = &world.stub;
    assert_eq!((stub.siginfo, stub.mcontext, stub.fpstate, stub.xfeatures), (200, 400, 1024, XFEATURES));
    // A new stub's park needs no target.
    let mut world = World::new(State::Starting);
    let answer = world.run(&mut |_, _, _| true, |parked| parked.judge([31, SIGINFO, UCONTEXT], None));
    assert!(answer.is_ok());

    for (siginfo, ucontext) in [
        (SIGINFO + 1, UCONTEXT),
        (SIGINFO, UCONTEXT + 4),
        (STACK_AT - 8, UCONTEXT),
        (SIGINFO, STACK_AT - 8),
        (STACK_AT + 4096 - 120, UCONTEXT),
        (SIGINFO, STACK_AT + 4096 - 288),
        (SIGINFO + 0x1_0000, UCONTEXT),
        (SIGINFO, UCONTEXT | 1 << 63),
        (SIGINFO, STACK_AT + 0xfff8),
        (0, 0),
        (u64::MAX, u64::MAX),
    ] {
        let mut world = World::new(State::Starting);
        assert_eq!(world.judge([31, siginfo, ucontext]), Err(Breach::Frame), "{siginfo:#x} {ucontext:#x}");
    }
    let mut world = World::new(State::Starting);
    world.shared.put(FPSTATE + 468, 4096u32);
    assert_eq!(world.signal(31), Err(Breach::FpState));
    // There was no batch.
    for what in [code::PARK_DONE, code::PARK_FAILED] {
        assert_eq!(World::new(State::Starting).judge([what, -12i64 as u64, 1]), Err(Breach::Park));
    }
}

#[test]
fn a_guest_stops_by_the_signals_that_stubs_handle() {
    let known = [4, 5, 7, 8, 11, 14, 31];
    for signal in (0..0x1000).chain([1 << 31, u64::MAX, (1 << 32) + 14, (1 << 63) + 31, 0x1002]) {
        let answer = World::new(State::Running).signal(signal).map(|event| event.signal);
        let expected = if known.contains(&signal) {
            Ok(c_int::try_from(signal).unwrap_or(0))
        } else {
            Err(Breach::Signal)
        };
        assert_eq!(answer, expected, "{signal:#x}");
    }
}

#[test]
fn what_a_signal_tells() {
    let mut world = World::new(State::Running);
    world.greg(libc::REG_ERR, 6);
    world.greg(libc::REG_CR2, 0xdead_b000);
    world.greg(libc::REG_TRAPNO, 14);
    world.shared.put(STACK + 200 + 24, 39i32);
    for signal in [4, 5, 7, 8, 14] {
        assert_eq!(world.signal(signal), Ok(Event { signal: signal as c_int, ..NOTHING }));
    }
    let fault = Event { signal: 11, error_code: 6, address: 0xdead_b000, trap: 14, ..NOTHING };
    assert_eq!(world.signal(11), Ok(fault));
    assert_eq!(world.signal(31), Ok(Event { signal: 31, syscall: 39, ..NOTHING }));
}

#[test]
fn a_frame_is_where_the_first_one_was() {
    for state in [State::Running, State::Syncing] {
        for off in [-4096i64, -64, -8, -1, 1, 8, 16, 4096, 0x1_0000, i64::MIN] {
            for (siginfo, ucontext) in
                [(SIGINFO.wrapping_add_signed(off), UCONTEXT), (SIGINFO, UCONTEXT.wrapping_add_signed(off))]
            {
                let breach = if state == State::Syncing { Breach::Park } else { Breach::Frame };
                assert_eq!(World::new(state).judge([14, siginfo, ucontext]), Err(breach), "{off}");
            }
        }
    }
    // Even if there is a whole second frame.
    let mut world = World::new(State::Running);
    let frame = world.shared.bytes()[STACK..STACK + 700].to_vec();
    world.shared.bytes()[STACK + 64..][..700].copy_from_slice(&frame);
    assert_eq!(world.judge([14, SIGINFO + 64, UCONTEXT + 64]), Err(Breach::Frame));
}

#[test]
fn a_signal_on_the_way_to_the_guest_is_a_reason_to_resume_again() {
    let (first, last) = (Place::Unblock.offset(), Place::Iret.offset());
    assert!(first < last);
    for signal in [4, 5, 7, 8, 11, 14, 31] {
        for offset in 0..4096 {
            let mut world = World::new(State::Running);
            world.greg(libc::REG_RIP, STUB + offset);
            let expected = match (first..=last).contains(&offset) {
                false => Err(Breach::Park),
                true if signal == 14 || signal == 11 => Ok((1, -1)),
                true => Err(Breach::Signal),
            };
            let answer = world.signal(signal).map(|event| (event.again, event.syscall));
            assert_eq!(answer, expected, "{signal} at {offset:#x}");
            // The guest's registers are the monitor's.
            assert!(world.registers.bytes().iter().all(|byte| *byte == 0));
        }
        for rip in [0, STUB - 1, STUB + 4096, STUB | 1 << 63, (STUB + first) ^ 1 << 32, u64::MAX] {
            let mut world = World::new(State::Running);
            world.greg(libc::REG_RIP, rip);
            assert_eq!(world.signal(signal).map(|event| event.again), Ok(0), "{rip:#x}");
            assert_eq!(world.registers.get::<u64>(offset_of!(libc::user_regs_struct, rip)), rip);
        }
    }
}

#[test]
fn a_batch_alone_ends_in_done_or_failed() {
    let mut world = World::new(State::Syncing);
    world.stub.calls = 3;
    assert_eq!(world.judge([code::PARK_DONE, u64::MAX, 77]), Ok(NOTHING));
    for signal in (0..64).chain([u64::MAX, 0x1002, 0xfff, code::PARK_DONE | 1 << 32]) {
        assert_eq!(world.signal(signal), Err(Breach::Park), "{signal:#x}");
    }
    // A guest that runs has no batch to be done with.
    assert_eq!(World::new(State::Running).judge([code::PARK_DONE, 0, 0]), Err(Breach::Park));
}

#[test]
fn a_failed_batch_tells_an_error_and_how_far_it_got() {
    let failed = |calls: u32, result: i64, left: u64, state: State| {
        let mut world = World::new(state);
        world.made(calls);
        world.judge([code::PARK_FAILED, result as u64, left]).map(|event| {
            assert_eq!((event.signal, event.again, event.syscall), (0, 0, -1));
            (event.error, event.done)
        })
    };
    for state in [State::Running, State::Syncing] {
        assert_eq!(failed(5, -12, 5, state), Ok((-12, 0)));
        assert_eq!(failed(5, -4095, 1, state), Ok((-4095, 4)));
        // A result that is no errno is reported as EIO.
        for result in [0, 1, -4096, i64::MIN, i64::MAX, 0x40_0000, 0xffff_fff4] {
            assert_eq!(failed(5, result, 2, state), Ok((-libc::EIO, 3)), "{result}");
        }
        for (calls, left) in [
            (0, 0),
            (0, 1),
            (5, 0),
            (5, 6),
            (5, u64::from(u32::MAX)),
            (5, 1 << 32 | 2),
            (5, u64::MAX),
            (u32::MAX, 1 << 32),
        ] {
            assert_eq!(failed(calls, -12, left, state), Err(Breach::Park), "{left} of {calls}");
        }
    }
}

#[test]
fn a_failed_call_is_named_as_the_caller_counts() {
    let failed = |index: u16, asked: u16| {
        let mut world = World::new(State::Syncing);
        world.made(5);
        world.stub.asked = asked;
        let call = Call { index, ..Call::default() };
        assert_eq!(world.shared.data().store_all(call_at(3).unwrap_or(0), &call), Some(()));
        world.judge([code::PARK_FAILED, -12i64 as u64, 2]).map(|event| event.done)
    };
    assert_eq!(failed(0, 1), Ok(0), "five parts of one call");
    assert_eq!(failed(70, 80), Ok(70), "most others were left out");
    // A hijacked stub may have written the index.
    assert_eq!(failed(80, 80), Err(Breach::Park));
    assert_eq!(failed(u16::MAX, 80), Err(Breach::Park));
}

#[test]
fn a_park_makes_it_parked() {
    let mut world = World::new(State::Running);
    world.stub.calls = 9;
    let event = world.park(77, [14, SIGINFO, UCONTEXT]);
    assert_eq!(event, Ok(Some(Event { signal: 14, ..NOTHING })));
    assert_eq!(world.stub.state, State::Parked);
    assert_eq!((world.stub.notification, world.stub.calls), (77, 0));
    // A park ends the batch, so no call of it can fail later.
    world.stub.state = State::Running;
    assert_eq!(world.park(78, [code::PARK_FAILED, -12i64 as u64, 1]), Err(Errno::EPROTO));
    assert_eq!(world.stub.state, State::Running, "it is for wait() to call it broken");
}

#[test]
fn a_park_that_has_been_heard_is_answered_again() {
    for (ticket, said) in [(7, [14, SIGINFO, UCONTEXT]), (0, [code::PARK_DONE, 0, 0]), (u64::MAX, [77, 1, 2])]
    {
        let mut world = World::new(State::Running);
        world.stub.ticket = ticket;
        let last = ticket.wrapping_sub(1);
        // The monitor tried to answer, and did not judge it again. The error is the host's, as this is no
        // listener.
        assert_eq!(world.park_with(5, said, last), Err(Errno::ENOTTY));
        assert_eq!((world.stub.notification, world.stub.ticket), (5, ticket));
        assert_eq!(world.stub.state, State::Running);
        assert!(world.registers.bytes().iter().all(|byte| *byte == 0));
        // No resume ever had another ticket.
        for other in [last.wrapping_sub(1), ticket.wrapping_add(1), ticket ^ 1 << 63] {
            assert_eq!(world.park_with(5, [14, SIGINFO, UCONTEXT], other), Err(Errno::EPROTO));
        }
    }
}

#[test]
fn a_fetch_answers_no_park_from_before() {
    let mut world = World::new(State::Fetching);
    world.stub.ticket = 7;
    assert_eq!(world.park_with(5, [14, SIGINFO, UCONTEXT], 6), Err(Errno::EPROTO));
    assert!(world.park_with(5, [14, SIGINFO, UCONTEXT], 7).is_ok_and(|event| event.is_some()));
}

#[test]
fn each_resume_has_a_ticket_of_its_own() {
    let mut world = World::new(State::Parked);
    for ticket in [1, 2, 3] {
        let _ = world.resume(true);
        assert_eq!(world.stub.ticket, ticket);
        assert_eq!(world.shared.get::<u64>(offset_of!(Control, head.ticket)), ticket);
        world.stub.state = State::Parked;
    }
}

#[test]
fn waits_and_resumes_where_they_make_sense() {
    for (state, wait, resume) in [
        (State::None, Err(Errno::EINVAL), Err(Errno::EINVAL)),
        (State::Parked, Err(Errno::EINVAL), Ok(())),
        (State::Starting, Ok(()), Ok(())),
        (State::Calling, Err(Errno::EINVAL), Ok(())),
        (State::Running, Ok(()), Err(Errno::EINVAL)),
        (State::Syncing, Ok(()), Err(Errno::EINVAL)),
        (State::Broken, Err(Errno::ESRCH), Err(Errno::ESRCH)),
    ] {
        let mut world = World::new(state);
        if wait.is_err() {
            let target = world.target();
            assert_eq!(
                world.run(&mut |_, _, _| true, |parked| parked.wait(0, Some(&target))).err(),
                wait.err()
            );
            assert_eq!(world.stub.state, state);
        }
        if resume.is_err() {
            assert_eq!(world.resume(true), resume, "{state:?}");
            assert_eq!(world.stub.state, state);
        }
    }
    // There is no place for the guest's registers.
    let mut world = World::new(State::Running);
    assert_eq!(world.run(&mut |_, _, _| true, |parked| parked.wait(0, None)), Err(Errno::EINVAL));
    assert_eq!(world.stub.state, State::Running);
}

// ---- registers

/// Word of a `mcontext_t`, word of `struct user_regs_struct`.
fn registers() -> [(i32, usize); 18] {
    macro_rules! word {
        ($member:ident) => {
            offset_of!(libc::user_regs_struct, $member) / 8
        };
    }
    [
        (libc::REG_R8, word!(r8)),
        (libc::REG_R9, word!(r9)),
        (libc::REG_R10, word!(r10)),
        (libc::REG_R11, word!(r11)),
        (libc::REG_R12, word!(r12)),
        (libc::REG_R13, word!(r13)),
        (libc::REG_R14, word!(r14)),
        (libc::REG_R15, word!(r15)),
        (libc::REG_RDI, word!(rdi)),
        (libc::REG_RSI, word!(rsi)),
        (libc::REG_RBP, word!(rbp)),
        (libc::REG_RBX, word!(rbx)),
        (libc::REG_RDX, word!(rdx)),
        (libc::REG_RAX, word!(rax)),
        (libc::REG_RCX, word!(rcx)),
        (libc::REG_RSP, word!(rsp)),
        (libc::REG_RIP, word!(rip)),
        (libc::REG_EFL, word!(eflags)),
    ]
}

#[test]
fn each_register_is_taken_to_its_word() {
    let mut world = World::new(State::Running);
    world.registers.bytes().fill(0xee);
    for (index, (greg, _)) in registers().into_iter().enumerate() {
        world.greg(greg, 0x1000 + index as u64);
    }
    // cs, gs, fs, ss.
    world.greg(libc::REG_CSGSFS, 0x002b_0005_0006_0033);
    for offset in 0..world.config.fp_size as usize / 8 {
        world.shared.put(FPSTATE + offset * 8, offset as u64);
    }
    world.shared.bytes()[STACK + 200..][..128].fill(0xcc);
    let fp = world.config.fp_size as usize;
    world.shared.bytes()[FPSTATE + fp..].fill(0xbb);

    assert!(world.signal(14).is_ok());
    let mut expected = [0xeeee_eeee_eeee_eeee; STUBGUARD_REGISTERS];
    for (index, (_, word)) in registers().into_iter().enumerate() {
        expected[word] = 0x1000 + index as u64;
    }
    expected[offset_of!(libc::user_regs_struct, cs) / 8] = 0x33;
    expected[offset_of!(libc::user_regs_struct, ss) / 8] = 0x2b;
    for (word, value) in expected.into_iter().enumerate() {
        assert_eq!(world.registers.get::<u64>(word * 8), value, "word {word}");
    }
    assert_eq!(size_of::<libc::user_regs_struct>(), STUBGUARD_REGISTERS * 8);
    assert_eq!(world.registers.get::<u64>(STUBGUARD_REGISTERS * 8), 0xeeee_eeee_eeee_eeee, "not more");
    let state = world.shared.bytes()[FPSTATE..][..fp].to_vec();
    assert_eq!(world.fp.bytes()[..fp], state);
    assert!(world.fp.bytes()[fp..].iter().all(|byte| *byte == 0), "not more");
    assert_eq!(world.siginfo.bytes()[..128], [0xcc; 128]);
    assert!(world.siginfo.bytes()[128..].iter().all(|byte| *byte == 0), "not more");
}

#[test]
fn the_floating_point_state_is_where_the_first_frame_had_it() {
    let mut world = World::new(State::Running);
    world.shared.put(FPSTATE, 0x1111u64);
    // The guest can forge the pointer in the frame, and the sizes.
    for pointer in [0, STACK_AT, STUB, u64::MAX] {
        world.shared.put(MCONTEXT + 184, pointer);
        world.shared.put(FPSTATE + 468, u32::MAX);
        assert!(world.signal(14).is_ok());
        assert_eq!(world.fp.get::<u64>(0), 0x1111);
    }
    world.shared.put(FPSTATE + 472, u64::MAX);
    assert!(world.signal(14).is_ok());
    assert_eq!(world.stub.xfeatures, XFEATURES);
}

fn numbered() -> [u64; STUBGUARD_REGISTERS] {
    let mut numbered = [0; STUBGUARD_REGISTERS];
    for (value, word) in numbered.iter_mut().zip(0x2000u64..) {
        *value = word;
    }
    numbered
}

#[test]
fn each_word_is_given_to_its_register() {
    let mut world = World::new(State::Parked);
    let from = numbered();
    let (head, filled) = world.guest(from, false);
    assert_eq!(filled, Some(()));
    // The code's test says which of these goes to which register.
    let order = registers().map(|(greg, word)| (greg, from[word]));
    for (index, (greg, value)) in order[..15].iter().enumerate() {
        assert_eq!((index, head.gp[index]), (*greg as usize, *value));
    }
    let at = |offset: usize| from[offset / 8];
    assert_eq!(
        head.iret,
        [
            at(offset_of!(libc::user_regs_struct, rip)),
            0x33,
            at(offset_of!(libc::user_regs_struct, eflags)) & !0x100,
            at(offset_of!(libc::user_regs_struct, rsp)),
            0x2b
        ]
    );
    assert_eq!(head.fs_base, at(offset_of!(libc::user_regs_struct, fs_base)));
    assert_eq!(head.gs_base, at(offset_of!(libc::user_regs_struct, gs_base)));
    assert_eq!(head.xfeatures, XFEATURES);
    assert_eq!(head.calls, 0);
}

#[test]
fn steps_selectors_and_ways() {
    let mut world = World::new(State::Parked);
    let flags_of = |world: &mut World, change: fn(&mut [u64; STUBGUARD_REGISTERS])| {
        let mut registers = [0; STUBGUARD_REGISTERS];
        change(&mut registers);
        let (head, _) = world.guest(registers, false);
        (head.flags, head.iret)
    };
    assert_eq!(flags_of(&mut world, |_| ()), (code::GUEST, [0, 0x33, 0, 0, 0x2b]));
    assert_eq!(flags_of(&mut world, |r| r[18] = u64::MAX).1[2], !0x100);
    let mut registers = [0; STUBGUARD_REGISTERS];
    registers[18] = 0x246;
    assert_eq!(world.guest(registers, true).0.iret[2], 0x346);
    // A guest is user code, in 64 or 32 bits.
    for (cs, expected) in
        [(0x23, 0x23), (0x10023, 0x23), (0x33, 0x33), (0, 0x33), (0x10, 0x33), (0x20, 0x33), (u64::MAX, 0x33)]
    {
        registers[17] = cs;
        registers[20] = cs;
        let iret = world.guest(registers, false).0.iret;
        assert_eq!((iret[1], iret[4]), (expected, 0x2b), "{cs:#x}");
    }
    world.features &= !STUBGUARD_F_FSGSBASE;
    assert_eq!(flags_of(&mut world, |_| ()).0, code::GUEST | code::BY_CALL);
    world.config.fp_size = 512;
    assert_eq!(flags_of(&mut world, |_| ()).0, code::GUEST | code::BY_CALL | code::FXSAVE);
    world.config.fp_size = 520;
    assert_eq!(flags_of(&mut world, |_| ()).0, code::GUEST | code::BY_CALL);
}

#[test]
fn the_floating_point_state_is_the_monitors() {
    let mut world = World::new(State::Parked);
    let fp = world.config.fp_size as usize;
    world.fp.bytes().fill(0x5a);
    world.shared.bytes().fill(0xee);
    assert_eq!(world.guest([0; STUBGUARD_REGISTERS], false).1, Some(()));
    assert!(world.shared.bytes()[STACK..STACK + 512].iter().all(|byte| *byte == 0x5a));
    // The header as a processor takes it: parts that there are, the usual format.
    assert_eq!(world.shared.get::<u64>(STACK + 512), 0x5a5a_5a5a_5a5a_5a5a & XFEATURES);
    assert!(world.shared.bytes()[STACK + 520..STACK + 536].iter().all(|byte| *byte == 0));
    assert!(world.shared.bytes()[STACK + 536..STACK + fp].iter().all(|byte| *byte == 0x5a));
    assert!(world.shared.bytes()[STACK + fp..].iter().all(|byte| *byte == 0xee));
    // Between them are the dispatch byte and the page's last words.
    assert!(world.shared.bytes()[..STUBGUARD_SELECTOR].iter().all(|byte| *byte == 0xee));
    assert_eq!(world.shared.get::<u64>(STUBGUARD_SELECTOR), 1);
}

#[test]
fn a_filter_sees_a_guests_call_only_where_calls_notify() {
    for (notify, trap, selector) in [(true, false, 0), (true, true, 1), (false, false, 1), (false, true, 1)] {
        let mut world = World::new(State::Parked);
        world.config.guest_end = if notify { GUEST_END } else { 0 };
        world.shared.bytes().fill(0xee);
        assert_eq!(world.guest_with([0; STUBGUARD_REGISTERS], false, trap).1, Some(()));
        assert_eq!(world.shared.get::<u64>(STUBGUARD_SELECTOR), selector, "{notify} {trap}");
    }
}

#[test]
fn bases_are_set_when_they_change_and_can_be_the_guests() {
    const BOTH: u32 = code::SET_FS | code::SET_GS;
    let mut world = World::new(State::Parked);
    let set = |world: &mut World, fs: u64, gs: u64| {
        let mut registers = [0; STUBGUARD_REGISTERS];
        (registers[FS_BASE], registers[GS_BASE]) = (fs, gs);
        world.guest(registers, false).0.flags & BOTH
    };
    assert_eq!(set(&mut world, 0, 0), 0);
    assert_eq!(set(&mut world, 0x1000, 0), code::SET_FS);
    assert_eq!(set(&mut world, 0x1000, 0), 0, "it has it");
    assert_eq!(set(&mut world, 0x1000, 0x2000), code::SET_GS);
    assert_eq!(set(&mut world, 0x2000, 0x1000), BOTH);
    assert_eq!(set(&mut world, STUB - 1, STUB - 1), BOTH);
    // No guest has such a base: the host or the processor would refuse it. The stub keeps its old one.
    for base in [STUB, STUB + 4096, 1 << 47, 1 << 63, u64::MAX] {
        assert_eq!(set(&mut world, 0x1000, 0x1000) & !BOTH, 0);
        assert_eq!(set(&mut world, base, 0x1000), 0, "{base:#x}");
        assert_eq!(set(&mut world, 0x1000, base), 0, "{base:#x}");
        assert_eq!((world.stub.fs_base, world.stub.gs_base), (0x1000, 0x1000));
    }
    // A batch that failed has not set the bases.
    world.stub.state = State::Running;
    world.made(1);
    assert!(world.judge([code::PARK_FAILED, -12i64 as u64, 1]).is_ok());
    assert_eq!(set(&mut world, 0x1000, 0x1000), BOTH);
    assert_eq!(set(&mut world, 0x1000, 0x1000), 0);
}

// ---- the batch

#[test]
fn a_batch_is_copied_in_order() {
    let mut world = World::new(State::Parked);
    let other = BatchCall { addr: 0x80_0000, offset: 0, prot: 5, ..mmap(1) };
    let nothing = BatchCall { prot: 0, ..mmap(1) };
    let batch = [mmap(3), munmap(2), other, wrprotect(4), nothing];
    assert_eq!(world.write_batch(&batch, &mut |_, _, _| true), Ok(5));
    assert_eq!(
        world.written(6),
        [
            Call { addr: 0x40_0000, length: 0x3000, offset: 0x10_0000, prot: 3, maps: 1, index: 0 },
            Call { addr: 0x40_0000, length: 0x2000, offset: 0, prot: 0, maps: 0, index: 1 },
            Call { addr: 0x80_0000, length: 0x1000, offset: 0, prot: 5, maps: 1, index: 2 },
            Call { addr: 0x40_0000, length: 0x4000, offset: 0, prot: 5, maps: 0, index: 3 },
            // Without rights: munmap.
            Call { addr: 0x40_0000, length: 0x1000, offset: 0, prot: 0, maps: 0, index: 4 },
            Call::default(),
        ]
    );
}

#[test]
fn a_page_that_is_not_granted_is_left_out() {
    let calls = |denied: &[u64]| {
        let mut world = World::new(State::Parked);
        let count =
            world.write_batch(&[mmap(4)], &mut |addr, _, _| !denied.contains(&((addr - 0x40_0000) / 4096)));
        let count = count.unwrap_or(99);
        world
            .written(count)
            .iter()
            .map(|c| ((c.addr - 0x40_0000) / 4096, c.length / 4096))
            .collect::<Vec<_>>()
    };
    assert_eq!(calls(&[]), [(0, 4)]);
    assert_eq!(calls(&[0]), [(1, 3)]);
    assert_eq!(calls(&[3]), [(0, 3)]);
    assert_eq!(calls(&[1]), [(0, 1), (2, 2)]);
    assert_eq!(calls(&[1, 2]), [(0, 1), (3, 1)]);
    assert_eq!(calls(&[0, 2]), [(1, 1), (3, 1)]);
    assert_eq!(calls(&[0, 1, 2, 3]), []);
}

#[test]
fn a_page_that_is_granted_to_be_read_only_is_mapped_so() {
    let mut asked = Vec::new();
    let mut world = World::new(State::Parked);
    let count = world.write_batch(&[BatchCall { prot: 7, ..mmap(4) }], &mut |addr, prot, offset| {
        asked.push((addr, prot, offset));
        // The second page may not be written, and the third may not be used at all.
        prot & 2 == 0 && addr != 0x40_2000 || addr == 0x40_0000 || addr == 0x40_3000
    });
    assert_eq!(count, Ok(3));
    let run = |page: u64, prot| Call {
        addr: 0x40_0000 + page * 4096,
        length: 4096,
        offset: 0x10_0000 + page * 4096,
        prot,
        maps: 1,
        index: 0,
    };
    assert_eq!(world.written(3), [run(0, 7), run(1, 5), run(3, 7)]);
    let page = |page: u64, prot| (0x40_0000 + page * 4096, prot, 0x10_0000 + page * 4096);
    assert_eq!(asked, [page(0, 7), page(1, 7), page(1, 5), page(2, 7), page(2, 5), page(3, 7)]);
    // A page cannot be left with write as its only right.
    let mut world = World::new(State::Parked);
    let batch = world.try_batch(&[BatchCall { prot: 2, ..mmap(1) }], &mut |_, prot, _| prot == 0);
    assert!(batch.is_ok_and(|batch| batch.calls == 0 && !batch.maps));
}

#[test]
fn only_what_maps_needs_the_memory() {
    let batch = |call| World::new(State::Parked).try_batch(&[call], &mut |_, _, _| true);
    for call in [munmap(1), wrprotect(1), BatchCall { prot: 0, ..mmap(1) }] {
        assert!(batch(call).is_ok_and(|batch| batch.calls == 1 && !batch.maps), "{call:?}");
    }
    assert!(batch(mmap(1)).is_ok_and(|batch| batch.calls == 1 && batch.maps));
}

#[test]
fn a_batch_that_is_not_the_guests_to_run() {
    let refused =
        |call: BatchCall| World::new(State::Parked).write_batch(&[munmap(1), call], &mut |_, _, _| true);
    assert_eq!(refused(mmap(1)), Ok(2));
    assert_eq!(refused(BatchCall { prot: 8, ..mmap(1) }), Err(Errno::EPERM));
    assert_eq!(refused(BatchCall { addr: STUB, ..mmap(1) }), Err(Errno::EPERM));
    assert_eq!(refused(BatchCall { addr: STUB - 4096, ..mmap(2) }), Err(Errno::EPERM));
    assert_eq!(refused(BatchCall { addr: 0x40_0001, ..mmap(1) }), Err(Errno::EPERM));
    assert_eq!(refused(BatchCall { length: 0, ..mmap(1) }), Err(Errno::EPERM));
    assert_eq!(refused(BatchCall { length: u64::MAX - 4095, ..mmap(1) }), Err(Errno::EPERM));
    assert_eq!(refused(BatchCall { offset: 1, ..mmap(1) }), Err(Errno::EPERM));
    assert_eq!(refused(BatchCall { addr: STUB, ..munmap(1) }), Err(Errno::EPERM));
    assert_eq!(refused(BatchCall { addr: 0, ..munmap(STUB / 4096) }), Ok(2));
    assert_eq!(refused(BatchCall { addr: 4096, ..munmap(STUB / 4096) }), Err(Errno::EPERM));
    assert_eq!(refused(munmap(0)), Err(Errno::EPERM));
    assert_eq!(refused(wrprotect(2)), Ok(2));
    assert_eq!(refused(wrprotect(0)), Err(Errno::EPERM));
    assert_eq!(refused(BatchCall { addr: STUB - 4096, ..wrprotect(2) }), Err(Errno::EPERM));
    assert_eq!(refused(BatchCall { addr: 0x40_0001, ..wrprotect(1) }), Err(Errno::EPERM));
    // arch/um queues no such call.
    assert_eq!(refused(BatchCall { prot: u32::MAX, ..mmap(1) }), Err(Errno::EPERM));
    assert_eq!(refused(BatchCall { prot: 8, ..mmap(1) }), Err(Errno::EPERM));
    for kind in [0, 4, 1 << 31, u32::MAX] {
        let mut world = World::new(State::Parked);
        world.batch = vec![BatchCall { kind, ..mmap(1) }];
        assert_eq!(world.resume(false), Err(Errno::EPERM), "{kind}");
    }
}

#[test]
fn a_batch_never_gets_longer_than_its_room() {
    // Every second page is left out.
    let every_second = &mut |addr: u64, _, _| addr & 4096 == 0;
    let room = u64::from(CALLS);
    let mut world = World::new(State::Parked);
    world.shared.bytes()[STACK..].fill(0xee);
    assert_eq!(world.write_batch(&[mmap(2 * room)], every_second), Ok(CALLS));
    assert_eq!(world.written(CALLS)[CALLS as usize - 1].addr, 0x40_0000 + 2 * (room - 1) * 4096);
    assert_eq!(world.write_batch(&[mmap(2 * room + 1)], every_second), Err(Errno::EPERM));
    assert_eq!(world.write_batch(&[munmap(1), mmap(2 * room)], every_second), Err(Errno::EPERM));
    assert_eq!(world.write_batch(&[mmap(2 * room), munmap(1)], every_second), Err(Errno::EPERM));
    assert!(world.shared.bytes()[STACK..].iter().all(|byte| *byte == 0xee), "nothing beyond the page");
}

#[test]
fn the_limit_is_lifted_for_a_batch_that_maps() {
    // Our own limit is infinite, and stays so.
    let own = std::process::id().cast_signed();
    let limit = |limit: Limit, maps: bool, pid: c_int| {
        let mut world = World::new(State::Parked);
        (world.stub.pid, world.stub.limit) = (pid, limit);
        let flags = world.run(&mut |_, _, _| true, |parked| parked.limit(maps));
        (flags, world.stub.limit)
    };
    let set = |limit: Limit| (Ok(code::LIMIT), limit);
    assert_eq!(limit(Limit::Holds, true, own), set(Limit::Returning));
    assert_eq!(limit(Limit::Holds, false, own), (Ok(0), Limit::Holds));
    // There is no process to lift the limit of.
    assert_eq!(limit(Limit::Holds, true, c_int::MAX), (Err(Errno::ESRCH), Limit::Holds));
    assert_eq!(limit(Limit::Holds, false, c_int::MAX), (Ok(0), Limit::Holds));
    // A new stub has no limit yet. Its first resume sets it, whatever the resume is for.
    for maps in [false, true] {
        assert_eq!(limit(Limit::Lifted, maps, c_int::MAX), set(Limit::Returning));
    }
}

#[test]
fn a_stub_that_parks_has_put_the_limit_back() {
    for state in [State::Running, State::Syncing, State::Starting] {
        for limit in [Limit::Lifted, Limit::Returning, Limit::Holds] {
            let mut world = World::new(state);
            world.stub.limit = limit;
            let args =
                if state == State::Syncing { [code::PARK_DONE, 0, 0] } else { [14, SIGINFO, UCONTEXT] };
            assert!(matches!(world.park(7, args), Ok(Some(_))));
            let after = if limit == Limit::Returning { Limit::Holds } else { limit };
            assert_eq!(world.stub.limit, after, "{state:?}");
        }
        let mut world = World::new(state);
        world.stub.limit = Limit::Returning;
        assert_eq!(world.park(7, [77, 0, 0]), Err(Errno::EPROTO));
        assert_eq!(world.stub.limit, Limit::Returning, "{state:?}");
    }
}

const CALLS: u32 = code::CALLS_MAX as u32;

/// What the calls do, in order: each page that they map, and each range that loses rights.
#[derive(Debug, PartialEq, Eq)]
enum Effect {
    Map { page: u64, offset: u64, prot: u32 },
    Take { addr: u64, length: u64, prot: u32 },
}

fn effects(calls: &[Call]) -> Vec<Effect> {
    let mut effects = Vec::new();
    for call in calls {
        if call.maps == 0 {
            effects.push(Effect::Take { addr: call.addr, length: call.length, prot: call.prot });
            continue;
        }
        assert!(call.length > 0 && call.length % 4096 == 0);
        for at in (0..call.length).step_by(4096) {
            let (page, offset) = (call.addr + at, call.offset + at);
            effects.push(Effect::Map { page, offset, prot: call.prot });
        }
    }
    effects
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1_000, ..ProptestConfig::default() })]

    /// Exactly what is granted is mapped, in the order in which it was queued, in as few calls as can be.
    #[test]
    fn a_batch_does_what_is_granted(
        queued in prop::collection::vec((0u64..64, 1u64..12, 0u64..64, 0u32..8, 1u32..4), 1..40),
        denied in any::<[u64; 4]>(),
        all: bool,
    ) {
        let batch: Vec<_> = queued
            .iter()
            .map(|(page, pages, offset, prot, kind)| BatchCall {
                kind: *kind, addr: page * 4096, length: pages * 4096, offset: offset * 4096, prot: *prot,
            })
            .collect();
        // By address, offset and rights, as a page table would.
        let granted = |addr: u64, prot: u64, offset: u64| {
            all || (denied[(prot & 3) as usize] >> ((addr / 4096 * 7 + offset / 4096) % 64)) & 1 == 0
        };
        let (mut expected, mut runs) = (Vec::new(), 0u32);
        for call in &batch {
            let take = |prot| Effect::Take { addr: call.addr, length: call.length, prot };
            match call.kind {
                STUBGUARD_CALL_WRPROTECT => {
                    expected.push(take(5));
                    runs += 1;
                    continue;
                }
                STUBGUARD_CALL_MMAP if call.prot != 0 => {}
                _ => {
                    expected.push(take(0));
                    runs += 1;
                    continue;
                }
            }
            let (prot, mut before) = (u64::from(call.prot), 0);
            for at in (0..call.length).step_by(4096) {
                let (page, offset) = (call.addr + at, call.offset + at);
                let rights = [prot, prot & !2].into_iter().find(|prot| granted(page, *prot, offset)).unwrap_or(0);
                if rights != 0 {
                    expected.push(Effect::Map { page, offset, prot: rights as u32 });
                    runs += u32::from(rights != before);
                }
                before = rights;
            }
        }
        let mut world = World::new(State::Parked);
        let count = world.write_batch(&batch, &mut |a, p, o| granted(a, p, o));
        if runs <= CALLS {
            prop_assert_eq!(count, Ok(runs));
            prop_assert_eq!(effects(&world.written(runs)), expected);
        } else {
            prop_assert_eq!(count, Err(Errno::EPERM));
        }
    }

    /// A guest's registers survive a park and a resume.
    #[test]
    fn registers_go_round(words in prop::collection::vec(any::<u64>(), 18)) {
        let mut world = World::new(State::Running);
        for (index, word) in words.iter().enumerate() {
            world.greg(index as i32, *word);
        }
        prop_assume!(words[16].wrapping_sub(STUB) >= 4096);
        prop_assert!(world.signal(14).is_ok());
        let data = world.registers.data();
        let (head, _) = world.guest(data.load_all(0).unwrap_or([0; STUBGUARD_REGISTERS]), false);
        prop_assert_eq!(&head.gp[..], &words[..15]);
        prop_assert_eq!((head.iret[3], head.iret[0], head.iret[2]), (words[15], words[16], words[17] & !0x100));
    }

    /// Whatever a guest says and writes, only a proper report is accepted.
    #[test]
    fn anything_at_all(
        state in prop::sample::select(vec![State::Starting, State::Running, State::Syncing]),
        what in prop_oneof![0u64..40, 0xff0u64..0x1010, any::<u64>()],
        second in prop_oneof![Just(SIGINFO), STACK_AT - 8..STACK_AT + 4104, any::<u64>()],
        third in prop_oneof![Just(UCONTEXT), STACK_AT - 8..STACK_AT + 4104, 0u64..8, any::<u64>()],
        calls in 0u32..6,
        junk in prop::collection::vec((0usize..8184, any::<u64>()), 0..20),
    ) {
        let mut world = World::new(state);
        world.stub.calls = calls;
        for (offset, value) in junk {
            world.shared.put(offset, value);
        }
        if let Ok(event) = world.judge([what, second, third]) {
            prop_assert!(event.signal == 0 || SIGNALS.contains(&event.signal));
            prop_assert!((-4095..=0).contains(&event.error));
            prop_assert!(event.done == 0 || (event.error < 0 && (event.done as u32) < calls));
            prop_assert_eq!(event.signal == 0, [code::PARK_DONE, code::PARK_FAILED].contains(&what));
            prop_assert!(state != State::Syncing || event.signal == 0);
            let stub = &world.stub;
            prop_assert!(stub.siginfo <= 4096 - 128 && stub.mcontext <= 4096 - 256);
            prop_assert!(u32::from(stub.fpstate) + world.config.fp_size <= 4096);
        }
    }
}

// ---- resumes

#[cfg_attr(miri, ignore = "asks the host")]
#[test]
fn a_resume_writes_all_that_the_stub_will_read() {
    for (calls, maps, guest) in
        [(0, false, true), (1, true, false), (1, true, true), (2, true, true), (2, false, false)]
    {
        let mut world = World::new(State::Parked);
        world.batch = vec![if maps { mmap(1) } else { munmap(1) }; calls as usize];
        world.stub.limit = Limit::Holds;
        world.stub.pid = std::process::id().cast_signed();
        world.shared.bytes()[..STACK].fill(0xee);
        // The host does not know this listener: the last step fails.
        assert_eq!(world.resume(guest), Err(Errno::ENOTTY));
        assert_eq!(world.stub.state, State::Broken);
        let head = world.head();
        assert_eq!(head.calls, calls);
        assert_eq!(world.stub.calls, calls);
        assert_eq!(head.flags & code::LIMIT != 0, maps);
        assert_eq!(head.flags & code::GUEST != 0, guest);
        assert_eq!(head.flags & !0x7f, 0);
        if !guest {
            // Nothing of an earlier guest's.
            assert_eq!((head.gp, head.iret, head.fs_base, head.xfeatures), ([0; 15], [0; 5], 0, 0));
        }
    }
}

#[test]
fn what_cannot_be_resumed_changes_nothing() {
    for (calls, guest) in [(0, false), (STUBGUARD_CALLS_MAX + 1, true), (1 << 17, false)] {
        let mut world = World::new(State::Parked);
        world.batch = vec![munmap(1); calls];
        assert_eq!(world.resume(guest), Err(Errno::EINVAL), "{calls}");
        assert_eq!(world.stub.state, State::Parked);
        assert!(world.shared.bytes()[..STACK].iter().all(|byte| *byte == 0));
    }
    // A batch that is denied breaks the stub before the limit is lifted.
    let mut world = World::new(State::Parked);
    world.stub.limit = Limit::Holds;
    world.batch = vec![BatchCall { addr: STUB, ..mmap(1) }];
    assert_eq!(world.resume(true), Err(Errno::EPERM));
    assert_eq!(world.stub.state, State::Broken);
    assert_eq!(world.stub.limit, Limit::Holds);
    assert_eq!(world.head().flags, 0);
}

#[test]
fn the_limit_stays_if_no_call_is_left() {
    let mut world = World::new(State::Parked);
    world.stub.limit = Limit::Holds;
    let resume = Resume { calls: &[mmap(3)], guest: None, cpu: 0 };
    let answer = world.run(&mut |_, _, _| false, |parked| parked.try_resume(&resume));
    assert_eq!(answer, Err(Errno::ENOTTY));
    assert_eq!((world.head().calls, world.head().flags), (0, 0));
    assert_eq!(world.stub.limit, Limit::Holds);
    assert_eq!(world.stub.state, State::Syncing, "it parks at once");
}

// ---- a stub that is to be another guest's

#[test]
fn it_is_washed_of_its_guest() {
    let mut world = World::new(State::Parked);
    world.stub.xfeatures = 0x200e7;
    (world.stub.fs_base, world.stub.gs_base) = (7, 7);
    // Left by the last guest where the floating-point state goes.
    let fp = STACK..STACK + world.config.fp_size as usize;
    world.shared.put(fp.start, 0x1234_5678u32);
    assert_eq!(world.run(&mut |_, _, _| false, |parked| parked.wash(0)), Err(Errno::ENOTTY));
    let head = world.head();
    assert_eq!(world.written(head.calls), [Call { length: STUB, ..Call::default() }]);
    let all = code::GUEST | code::SET_FS | code::SET_GS | code::SELECTORS;
    assert_eq!(head.flags & all, all);
    assert_eq!((head.fs_base, head.gs_base, head.xfeatures), (0, 0, 0x200e7));
    assert_eq!((head.gp, head.iret), ([0; 15], [0, 0x33, 0x202, 0, 0x2b]), "where nothing is mapped");
    assert!(world.shared.bytes()[fp].iter().all(|byte| *byte == 0));
    assert_eq!((world.stub.fs_base, world.stub.gs_base), (0, 0));
    assert_eq!(world.stub.state, State::Broken, "it did not come back");

    for state in [State::None, State::Starting, State::Running, State::Syncing, State::Broken] {
        let mut world = World::new(state);
        assert_eq!(world.run(&mut |_, _, _| false, |parked| parked.wash(0)), Err(Errno::EINVAL));
        assert_eq!(world.stub.state, state);
    }
}

#[test]
fn only_an_honest_stub_is_reused() {
    let mut world = World::new(State::Running);
    assert!(!world.stub.is_clean());
    assert!(world.park(5, [14, SIGINFO, UCONTEXT]).is_ok());
    assert!(world.stub.is_clean());
    // A guest can forge the report of a failed batch.
    let mut world = World::new(State::Running);
    world.made(1);
    assert!(world.park(5, [code::PARK_FAILED, -12i64 as u64, 1]).is_ok());
    assert!(!world.stub.is_clean());
}

// ---- calls that notify

const GUEST_END: u64 = 0x7f80_0000_0000;
const READ: i32 = 0;

fn call_of(nr: i32, arch: u32, instruction_pointer: u64) -> Notification {
    Notification {
        id: 77,
        call: libc::seccomp_data { nr, arch, instruction_pointer, args: [1, 2, 3, 4, 5, 6] },
    }
}

impl World {
    fn takes(&mut self, notification: &Notification) -> bool {
        self.run(&mut |_, _, _| true, |parked| parked.is_guests(notification))
    }

    fn with_calls(state: State) -> Self {
        let mut world = Self::new(state);
        world.config.guest_end = GUEST_END;
        world
    }
}

#[test]
fn a_guests_call_is_taken_while_the_guest_runs() {
    let good = call_of(READ, arch::ARCH, 0x40_1000);
    assert!(World::with_calls(State::Running).takes(&good));
    assert!(World::with_calls(State::Running).takes(&call_of(READ, arch::ARCH, GUEST_END - 1)));
    for state in [State::None, State::Starting, State::Parked, State::Syncing, State::Broken, State::Calling]
    {
        assert!(!World::with_calls(state).takes(&good), "{state:?}");
    }
    // clone, execve, exit, mmap, x32, unknown ones
    for nr in [56, 59, 60, 9, 0x4000_0000, 471, -1, i32::MIN, i32::MAX] {
        assert!(!World::with_calls(State::Running).takes(&call_of(nr, arch::ARCH, 0x40_1000)), "{nr}");
    }
    for arch in [0, 0x4000_0003, u32::MAX] {
        assert!(!World::with_calls(State::Running).takes(&call_of(READ, arch, 0x40_1000)));
    }
    for ip in [GUEST_END, STUB, STUB + Place::Park.offset(), STUB + 4096, u64::MAX] {
        assert!(!World::with_calls(State::Running).takes(&call_of(READ, arch::ARCH, ip)), "{ip:#x}");
    }
    assert!(!World::new(State::Running).takes(&good));
}

#[test]
fn of_a_guests_call_the_host_has_captured_some_registers() {
    let mut world = World::with_calls(State::Running);
    world.made(3);
    for index in 0..STUBGUARD_REGISTERS {
        world.registers.put(index * 8, 0xaa00 + index as u64);
    }
    let target = world.target();
    let event = world
        .run(&mut |_, _, _| true, |parked| parked.call(&call_of(READ, arch::ARCH, 0x40_1002), Some(&target)));
    assert_eq!(event, Some(Event { signal: libc::SIGSYS, syscall: READ, notified: 1, ..NOTHING }));
    assert_eq!(world.stub.state, State::Calling);
    assert_eq!((world.stub.notification, world.stub.call_ip, world.stub.calls), (77, 0x40_1002, 0));
    assert_eq!(world.caller.load(Ordering::Relaxed), world.registers.data().address());
    let known = [(14, 1), (13, 2), (12, 3), (7, 4), (9, 5), (8, 6), (RAX, 0), (RIP, 0x40_1002)];
    let untouched = [15, CS, RSP, SS, FS_BASE, GS_BASE, 23, 24, 25, 26];
    for index in 0..STUBGUARD_REGISTERS {
        let expected = known.iter().find(|(known, _)| *known == index).map_or(0, |(_, value)| *value);
        let expected = if untouched.contains(&index) { 0xaa00 + index as u64 } else { expected };
        assert_eq!(world.registers.get::<u64>(index * 8), expected, "{index}");
    }
}

#[test]
fn the_rest_of_a_call_is_a_frame_right_behind_it() {
    let rest = |world: &mut World, signal: u64| {
        let target = Target { siginfo: None, rest: true, ..world.target() };
        world
            .run(&mut |_, _, _| true, |parked| parked.judge([signal, SIGINFO, UCONTEXT], Some(&target)))
            .map_err(|offence| offence.breach)
    };
    for (word, index) in registers() {
        let mut world = World::with_calls(State::Running);
        world.stub.call_ip = 0x1234;
        world.greg(16, 0x1234);
        if index != RIP {
            world.greg(word, 0x5555);
        }
        world.registers.put(index * 8, 0x7777u64);
        assert!(rest(&mut world, 14).is_ok());
        let captured = [14, 13, 12, 7, 9, 8, RAX, RIP].contains(&index);
        let expected = if captured { 0x7777 } else { 0x5555 };
        assert_eq!(world.registers.get::<u64>(index * 8), expected, "{index}");
        // At any other address the guest has gone on.
        for ip in [0x1233, 0x1235, 0, u64::MAX] {
            world.greg(16, ip);
            assert_eq!(rest(&mut world, 14), Err(Breach::Park), "{ip:#x}");
        }
    }
}

/// A guest that is in a call, which has a result.
fn in_a_call(result: i64) -> World {
    let mut world = World::with_calls(State::Calling);
    world.stub.caller = Some(world.state());
    world.caller = AtomicUsize::new(world.registers.data().address());
    world.registers.put(RAX * 8, result);
    world
}

/// Returns what the library chooses for that guest: an answer (the host does not know this listener) or a
/// fetch (there is no such process).
fn chosen(world: &mut World, calls: &[BatchCall], guest: Option<Guest>) -> Result<()> {
    world.stub.pid = c_int::MAX;
    let answer = world.run(&mut |_, _, _| true, |parked| parked.resume(&Resume { calls, guest, cpu: 0 }));
    assert_eq!(world.stub.state, State::Broken);
    assert_eq!(world.caller.load(Ordering::Relaxed), 0);
    answer
}

const ANSWERED: Result<()> = Err(Errno::ENOTTY);
const FETCHED: Result<()> = Err(Errno::ESRCH);

#[cfg_attr(miri, ignore = "asks the host")]
#[test]
fn a_guest_in_a_call_goes_on_behind_it_if_there_is_nothing_else() {
    for result in [-511, -532, 0, i64::MIN, i64::MAX, -1] {
        let mut world = in_a_call(result);
        let guest = Guest { state: world.state(), step: false, trap: false };
        assert_eq!(chosen(&mut world, &[], Some(guest)), ANSWERED, "{result}");
    }
    // Results that only a kernel understands: it then changes other registers, too.
    for result in -531..=-512 {
        let mut world = in_a_call(result);
        let guest = Guest { state: world.state(), step: false, trap: false };
        assert_eq!(chosen(&mut world, &[], Some(guest)), FETCHED, "{result}");
    }
    let mut world = in_a_call(0);
    let guest = Guest { state: world.state(), step: true, trap: false };
    assert_eq!(chosen(&mut world, &[], Some(guest)), FETCHED);
    let mut world = in_a_call(0);
    let guest = Guest { state: world.state(), step: false, trap: false };
    assert_eq!(chosen(&mut world, &[munmap(1)], Some(guest)), FETCHED);
    assert!(world.stub.trap, "the next call is likely to lead to a batch, too");
    let mut world = in_a_call(0);
    assert_eq!(chosen(&mut world, &[munmap(1)], None), FETCHED);
    assert!(!world.stub.trap);
    // Another guest.
    let mut world = in_a_call(0);
    let (mut registers, fp) = (Pages::new(), world.fp.data());
    let state = Caller { registers: registers.data(), fp };
    assert_eq!(chosen(&mut world, &[], Some(Guest { state, step: false, trap: false })), FETCHED);
}

#[cfg_attr(miri, ignore = "asks the host")]
#[test]
fn a_fetch_is_of_what_is_in_the_stub() {
    let fetch = |world: &mut World, cpu: c_int, registers: usize| {
        world.stub.pid = c_int::MAX;
        world.run(&mut |_, _, _| true, |parked| parked.fetch(cpu, registers))
    };
    for state in [State::None, State::Starting, State::Parked, State::Running, State::Syncing] {
        let mut world = World::with_calls(state);
        assert_eq!(fetch(&mut world, 0, 0), Ok(()), "{state:?}");
        assert_eq!(world.stub.state, state);
    }
    assert_eq!(fetch(&mut World::with_calls(State::Broken), 0, 0), Err(Errno::ESRCH));
    let mut world = in_a_call(0);
    let registers = world.registers.data().address();
    for (cpu, other, answer) in
        [(-1, 0, Err(Errno::EINVAL)), (2, registers, Err(Errno::EINVAL)), (0, registers + 8, Ok(()))]
    {
        assert_eq!(fetch(&mut world, cpu, other), answer);
        assert_eq!(world.stub.state, State::Calling);
        assert_eq!(world.caller.load(Ordering::Relaxed), registers);
    }
    assert_eq!(fetch(&mut world, 0, registers), FETCHED);
    assert_eq!(world.stub.state, State::Broken);
    assert_eq!(world.caller.load(Ordering::Relaxed), 0);
    assert_eq!(fetch(&mut in_a_call(0), 1, 0), FETCHED);
    assert!(!in_a_call(0).stub.is_clean());
}

#[test]
fn calls_make_frames_while_that_is_cheaper() {
    let selector = |world: &mut World| {
        world.stub.state = State::Parked;
        assert_eq!(world.resume(true), Err(Errno::ENOTTY));
        world.shared.get::<u64>(STUBGUARD_SELECTOR)
    };
    let mut world = World::with_calls(State::Parked);
    assert_eq!(selector(&mut world), 0);
    // A call has led to a batch.
    world.stub.trap = true;
    assert_eq!(selector(&mut world), 1);
    // The next one has as well; then one has not.
    world.stub.trapped = true;
    world.batch = vec![munmap(1)];
    assert_eq!(selector(&mut world), 1);
    world.batch.clear();
    assert_eq!(selector(&mut world), 0);
    assert_eq!(selector(&mut world), 0);
}
