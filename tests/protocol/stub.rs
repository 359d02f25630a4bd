// SPDX-License-Identifier: GPL-2.0-only
//! A stub, step by step: the code of src/window/code.s, and a guest that is honest or hostile.

use super::host::{Host, Kind};
use core::ffi::c_int;
use core::ptr::NonNull;
use libc::{SIGALRM, SIGSEGV, SIGSYS};
use stubguard::abi::STUBGUARD_SELECTOR;
use stubguard::memory::StubData;
use stubguard::window::code::{self, Call, Head, Place};

pub const STUB: u64 = 0x7fff_ffff_c000;
const PAGE: u64 = 4096;
const SIZE: usize = 8192;
/// Where the host writes a stub's frame.
const SIGINFO: u64 = STUB + 2 * PAGE + 200;
const UCONTEXT: u64 = STUB + 2 * PAGE + 360;
const MCONTEXT: u32 = 4096 + 400;
const FPSTATE: u64 = STUB + 2 * PAGE + 1024;
const SI_SYSCALL: u32 = 4096 + 200 + 24;

/// The guest's program: a call at CALL, and AFTER is behind its instruction.
pub const CALL: u64 = 0x40_0000;
pub const AFTER: u64 = CALL + 2;
const FAULT: u64 = 0x5000;
const CALL_NR: u64 = libc::SYS_getpid as u64;
/// The calls have the arguments 0 to CALLS - 1, in turn.
pub const CALLS: u64 = 2;
/// What a call's result is: this, and its argument.
pub const RESULT: u64 = 100;

/// Words of the general registers in an `mcontext_t`.
pub const RDI: usize = 8;
pub const RSI: usize = 9;
pub const RBX: usize = 11;
pub const RAX: usize = 13;
pub const RSP: usize = 15;
pub const RIP: usize = 16;
pub const EFLAGS: usize = 17;
pub type Registers = [u64; 18];

/// The pages of a guest, and the program of a new stub.
pub const FIRST_PAGE: u64 = 0x10_0000;
pub const PROGRAM: u8 = 4;

/// A call that the host holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The park: its arguments and its ticket.
    Park([u64; 3], u64),
    /// A guest's call: number, address, arguments.
    Call(i32, u64, [u64; 6]),
}

/// Where a stub is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pc {
    /// At the handler's start, with these arguments.
    Handler([u64; 3]),
    /// At the park's call. The ticket is read.
    Parking([u64; 3], u64),
    /// The host holds it in this notification. Has the monitor received it?
    Held(u64, bool, Held),
    /// Behind the park.
    Answered,
    /// At this call of the batch, with so many left.
    Batch(u32, u32),
    /// Behind the batch: how many calls are left, the result of the one that failed.
    EndOfWindow(u32, u64),
    /// The limit is set.
    WindowClosed(u32, u64),
    Bases,
    Unblock,
    /// Signals are open, and the guest does not run yet.
    OnTheWay,
    Guest,
    Dead,
}

pub struct Stub {
    pub pid: c_int,
    pub identity: u64,
    pub reaped: bool,
    /// A process that only has the pid of a stub that was.
    pub stranger: bool,
    pub pc: Pc,
    pub open: bool,
    /// A SIGALRM is pending.
    pub alarm: bool,
    /// The host maps for it.
    pub lifted: bool,
    pub pages: u8,
    pub fs: u64,
    /// Notifications that were withdrawn before the monitor received them. The host counts them still: for each a later
    /// receive does not wait, and finds nothing.
    pub withdrawn: u8,
    pub registers: Registers,
    memory: Vec<u128>,
}

pub fn park_address() -> u64 {
    STUB + Place::Park.offset()
}

/// Memory as the library uses it.
pub fn data(memory: &mut [u128]) -> StubData {
    let base = NonNull::new(memory.as_mut_ptr().cast()).expect("a vector");
    // SAFETY: a vector of that size, which nobody moves.
    unsafe { StubData::new(base, size_of_val(memory) as u32) }
}

impl Stub {
    /// A new stub: its first park comes by SIGSYS.
    pub fn new(pid: c_int, identity: u64) -> Self {
        let mut stub = Self::stranger(pid, identity);
        stub.stranger = false;
        stub.lifted = true;
        stub.pages = PROGRAM;
        stub.memory = vec![0; SIZE / 16];
        stub.registers[RIP] = CALL;
        stub.signalled(SIGSYS, 0, 0);
        stub
    }

    pub fn stranger(pid: c_int, identity: u64) -> Self {
        Self {
            pid,
            identity,
            reaped: false,
            stranger: true,
            pc: Pc::Dead,
            open: false,
            alarm: false,
            lifted: false,
            pages: 0,
            fs: 0,
            withdrawn: 0,
            registers: [0; 18],
            memory: Vec::new(),
        }
    }

    pub fn data(&mut self) -> StubData {
        data(&mut self.memory)
    }

    pub fn memory(&mut self) -> *mut core::ffi::c_void {
        self.memory.as_mut_ptr().cast()
    }

    pub fn head(&mut self) -> Head {
        self.data().load_all(0).expect("inside")
    }

    fn call(&mut self, index: u32) -> Call {
        let at = size_of::<Head>() as u32 + index * size_of::<Call>() as u32;
        self.data().load_all(at).expect("inside")
    }

    fn store(&mut self, offset: u32, value: u64) {
        self.data().store(offset, value).expect("inside");
    }

    /// The host delivers a signal: it writes a frame, and enters the handler.
    fn signalled(&mut self, signal: c_int, address: u64, syscall: i32) {
        for (index, value) in self.registers.into_iter().enumerate() {
            self.store(MCONTEXT + index as u32 * 8, value);
        }
        for (index, value) in [(18, 0x2b_0000_0000_0033), (19, 6), (20, 14), (22, address), (23, FPSTATE)] {
            self.store(MCONTEXT + index * 8, value);
        }
        self.data().store(SI_SYSCALL, syscall).expect("inside");
        if signal == SIGALRM {
            self.alarm = false;
        }
        self.open = false;
        self.pc = Pc::Handler([signal as u64, SIGINFO, UCONTEXT]);
    }

    /// A signal while the stub's own code runs.
    fn signalled_at(&mut self, place: Place, signal: c_int) {
        self.registers[RIP] = STUB + place.offset();
        self.signalled(signal, 0, 0);
    }

    /// Whether something may end the host's wait for the monitor's answer.
    pub fn may_be_interrupted(&self, kind: Kind) -> bool {
        matches!(self.pc, Pc::Held(_, received, _) if !(received && kind.killable))
    }

    pub fn answered(&mut self, held: Held, value: i64) {
        match held {
            Held::Park(..) if value == code::ANSWER => self.pc = Pc::Answered,
            Held::Park(..) => self.pc = Pc::Dead,
            Held::Call(..) => {
                self.registers[RAX] = value as u64;
                self.pc = Pc::Guest;
            }
        }
    }
}

impl Host {
    /// The wait for the answer ends by a signal, a freezer, or a debugger.
    pub fn interrupt(&mut self, number: usize) {
        let Pc::Held(_, received, held) = self.stubs[number].pc else { return };
        if !received {
            // Where a guest goes on for ever, one may be left from before.
            self.stubs[number].withdrawn += 1 + u8::from(self.runs_beside());
        }
        let stub = &mut self.stubs[number];
        let delivered = stub.alarm && stub.open;
        match held {
            Held::Park(args, ticket) if !delivered => stub.pc = Pc::Parking(args, ticket),
            Held::Park(..) => stub.signalled_at(Place::Park, SIGALRM),
            Held::Call(..) => {
                // SA_RESTART: the call is made again.
                stub.registers[RIP] = CALL;
                stub.pc = Pc::Guest;
                let thread = stub.registers[RSI] as usize & 1;
                if !self.expected.hostile {
                    self.threads[thread].calling = false;
                    self.threads[thread].registers = stub.registers;
                }
            }
        }
    }

    /// One step of a stub.
    pub fn step(&mut self, number: usize) {
        let pc = self.stubs[number].pc;
        self.tell(|| format!("stub {number}: {pc:x?}"));
        let stub = &mut self.stubs[number];
        if stub.open && stub.alarm {
            return self.timer(number);
        }
        match pc {
            Pc::Handler(args) => stub.pc = Pc::Parking(args, stub.head().ticket),
            Pc::Parking(args, ticket) => {
                let id = self.id();
                self.stubs[number].pc = Pc::Held(id, false, Held::Park(args, ticket));
            }
            Pc::Answered => {
                let calls = stub.head().calls;
                stub.pc = if calls == 0 { Pc::EndOfWindow(0, 0) } else { Pc::Batch(0, calls) };
            }
            Pc::Batch(index, left) => self.batch(number, index, left),
            Pc::EndOfWindow(left, result) => {
                if stub.head().flags & code::LIMIT != 0 {
                    stub.lifted = false;
                    self.letters.add("limit");
                }
                let stub = &mut self.stubs[number];
                stub.pc = Pc::WindowClosed(left, result);
            }
            Pc::WindowClosed(left, result) => {
                stub.pc = if left > 0 {
                    Pc::Handler([code::PARK_FAILED, result, left.into()])
                } else if stub.head().flags & code::GUEST != 0 {
                    Pc::Bases
                } else {
                    Pc::Handler([code::PARK_DONE, stub.registers[RSI], 0])
                };
            }
            Pc::Bases => {
                let head = stub.head();
                if head.flags & code::SET_FS != 0 {
                    stub.fs = head.fs_base;
                }
                stub.pc = Pc::Unblock;
            }
            Pc::Unblock => {
                stub.open = true;
                stub.pc = Pc::OnTheWay;
                self.letters.add("unblock");
            }
            Pc::OnTheWay => self.enter_guest(number),
            Pc::Guest => self.guest(number),
            Pc::Held(..) | Pc::Dead => {}
        }
    }

    fn timer(&mut self, number: usize) {
        let stub = &mut self.stubs[number];
        match stub.pc {
            Pc::Guest => {
                stub.signalled(SIGALRM, 0, 0);
                self.left(number);
            }
            Pc::OnTheWay => stub.signalled_at(Place::Unblock, SIGALRM),
            Pc::Held(..) | Pc::Dead => {}
            // A guest that has jumped into the stub's code.
            _ => stub.signalled_at(Place::Mmap, SIGALRM),
        }
    }

    fn batch(&mut self, number: usize, index: u32, left: u32) {
        let granted = self.expected.granted;
        let Call { addr, length, prot, maps, offset, .. } = self.stubs[number].call(index);
        let pages = pages(addr, length);
        let mut result = 0;
        if prot == 0 {
            self.stubs[number].pages &= !pages;
        } else if maps == 0 {
            // mprotect: nothing here depends on it.
        } else if !self.stubs[number].lifted || self.disturbed() {
            if !self.stubs[number].lifted && !self.expected.hostile {
                self.violated("the batch of an honest guest cannot map");
            }
            result = -libc::ENOMEM as u64;
        } else {
            if pages & !granted != 0 || offset != addr {
                self.violated("a stub maps what the page table does not grant");
            }
            self.stubs[number].pages |= pages;
        }
        match result {
            0 if index == 0 => self.letters.add("batch"),
            0 => {}
            _ => self.letters.add("batch-failed"),
        }
        let left = left.saturating_sub(1);
        self.stubs[number].pc = match (result, left) {
            (0, 0) => Pc::EndOfWindow(0, 0),
            (0, _) => Pc::Batch(index + 1, left),
            _ => Pc::EndOfWindow(left + 1, result),
        };
    }

    /// iretq.
    fn enter_guest(&mut self, number: usize) {
        let stub = &mut self.stubs[number];
        let head = stub.head();
        stub.registers[..15].copy_from_slice(&head.gp);
        let [rip, _, eflags, rsp, _] = head.iret;
        (stub.registers[RIP], stub.registers[EFLAGS], stub.registers[RSP]) = (rip, eflags, rsp);
        let (registers, lifted, pages, fs) = (stub.registers, stub.lifted, stub.pages, stub.fs);
        if rip == 0 {
            // A wash.
            stub.signalled(SIGSEGV, 0, 0);
        } else {
            stub.pc = Pc::Guest;
        }
        if lifted {
            self.violated("a guest runs while its stub can map");
        }
        if rip != 0 && !self.runs {
            self.violated("a guest runs while the kernel takes it for held");
        }
        if rip == 0 || self.expected.hostile {
            return;
        }
        let (expected, thread) = (self.expected, self.threads[registers[RSI] as usize & 1]);
        let mut wanted = thread.registers;
        if thread.calling {
            wanted[RAX] = RESULT + thread.call;
        }
        if registers != wanted {
            self.violated(format!("registers are {registers:x?}, not {wanted:x?}"));
        }
        if pages != expected.pages {
            self.violated(format!("pages are {pages:#x}, not {:#x}", expected.pages));
        }
        if fs != expected.fs {
            self.violated(format!("FS base is {fs:#x}, not {:#x}", expected.fs));
        }
    }

    /// What a guest does next.
    fn guest(&mut self, number: usize) {
        if !self.runs {
            self.violated("a guest runs while the kernel takes it for held");
        }
        if self.stubs[number].lifted {
            self.violated("a guest runs while its stub can map");
        }
        if self.expected.hostile && self.acts > 0 {
            return self.hostile(number);
        }
        self.returned(number);
        match self.choose(2) {
            0 => self.make_call(number),
            _ => {
                self.stubs[number].signalled(SIGSEGV, FAULT, 0);
                self.left(number);
            }
        }
    }

    /// A call has returned. The program jumps back.
    fn returned(&mut self, number: usize) {
        let stub = &mut self.stubs[number];
        let thread = stub.registers[RSI] as usize & 1;
        if stub.registers[RIP] != AFTER {
            return;
        }
        let result = stub.registers[RAX];
        let truth = &mut self.threads[thread];
        let wanted = RESULT + truth.call;
        let made = truth.calling;
        truth.calling = false;
        truth.call = (truth.call + 1) % CALLS;
        stub.registers[RIP] = CALL;
        stub.registers[RBX] = truth.call;
        if !self.expected.hostile && (!made || result != wanted) {
            self.violated(format!("a call returned {result}, not {wanted}"));
        }
    }

    fn make_call(&mut self, number: usize) {
        let killable = self.kind.killable;
        let thread = self.stubs[number].registers[RSI] as usize & 1;
        let argument = self.threads[thread].call;
        let stub = &mut self.stubs[number];
        stub.registers[RDI] = argument;
        stub.registers[RAX] = CALL_NR;
        stub.registers[RIP] = AFTER;
        self.threads[thread].calling = true;
        let traps = stub.data().load::<u64>(STUBGUARD_SELECTOR as u32) != Some(0);
        // Some calls always trap. A hostile guest has ways enough to make a frame.
        if traps || !killable || (!self.expected.hostile && self.choose(2) == 1) {
            let stub = &mut self.stubs[number];
            stub.signalled(SIGSYS, 0, CALL_NR as i32);
        } else {
            let r = self.stubs[number].registers;
            let id = self.id();
            let held = Held::Call(CALL_NR as i32, AFTER, [r[RDI], r[RSI], r[12], r[2], r[0], r[1]]);
            self.stubs[number].pc = Pc::Held(id, false, held);
        }
        self.left(number);
    }

    /// The guest has left: these are its registers.
    fn left(&mut self, number: usize) {
        let registers = self.stubs[number].registers;
        if !self.expected.hostile {
            self.threads[registers[RSI] as usize & 1].registers = registers;
        }
    }

    fn hostile(&mut self, number: usize) {
        self.acts -= 1;
        let ticket = self.stubs[number].head().ticket;
        let act = self.choose(10);
        self.tell(|| format!("hostile act {act}"));
        let stub = &mut self.stubs[number];
        match act {
            0 => {
                stub.signalled(SIGSEGV, FAULT, 0);
            }
            1 => self.make_call(number),
            2 => {
                // A park, with signals open.
                let what =
                    [code::PARK_DONE, code::PARK_FAILED, SIGSEGV as u64, SIGALRM as u64, SIGSYS as u64];
                let what = what[self.choose(what.len())];
                let ticket = [ticket, ticket.wrapping_sub(1), ticket.wrapping_add(1)][self.choose(3)];
                let args = match what {
                    code::PARK_FAILED => [what, -libc::ENOMEM as u64, [1, 2, 0][self.choose(3)]],
                    code::PARK_DONE => [what, 0, 0],
                    _ => [what, SIGINFO, UCONTEXT],
                };
                self.stubs[number].pc = Pc::Parking(args, ticket);
            }
            3 => {
                // A frame of its own: as if the guest had not run, or in the stub's code.
                let rip = [STUB + Place::Unblock.offset(), STUB + Place::Mmap.offset(), 0][self.choose(3)];
                self.stubs[number].store(MCONTEXT + RIP as u32 * 8, rip);
            }
            4 => {
                // A control page of its own: a batch, or none, and the guest without the limit.
                let calls = self.choose(2) as u32;
                let stub = &mut self.stubs[number];
                let head = Head { calls, flags: code::GUEST, ..stub.head() };
                let call =
                    Call { addr: FIRST_PAGE, length: PAGE, offset: FIRST_PAGE, prot: 7, maps: 1, index: 9 };
                stub.data().store_all(0, &head).expect("inside");
                stub.data().store_all(size_of::<Head>() as u32, &call).expect("inside");
            }
            5 => {
                let others = [ticket.wrapping_sub(1), ticket.wrapping_add(1)];
                let ticket = others[self.choose(2)];
                let stub = &mut self.stubs[number];
                let head = Head { ticket, ..stub.head() };
                stub.data().store_all(0, &head).expect("inside");
            }
            6 => {
                // It jumps into the stub's code.
                let places =
                    [Pc::Answered, Pc::EndOfWindow(0, 0), Pc::WindowClosed(1, 0), Pc::Bases, Pc::OnTheWay];
                self.stubs[number].pc = places[self.choose(places.len())];
            }
            7 => {
                // The sites of munmap and prlimit.
                stub.pages = 0;
                stub.lifted = false;
            }
            8 => stub.fs = 0x666,
            _ => {
                // A system call of an mmap at its site: the limit holds.
                if stub.lifted {
                    stub.pages |= 1;
                }
            }
        }
    }
}

/// Which pages lie in a range.
fn pages(addr: u64, length: u64) -> u8 {
    let end = addr + length;
    (0..2)
        .filter(|page| (addr..end).contains(&(FIRST_PAGE + page * PAGE)))
        .fold(if addr == 0 && end == STUB { PROGRAM } else { 0 }, |pages, page| pages | 1 << page)
}

impl Pc {
    /// Without what is in registers, and without ids.
    pub fn control(self) -> String {
        match self {
            Self::Handler([what, ..]) => format!("handler {what}"),
            Self::Parking([what, ..], _) => format!("parking {what}"),
            Self::Held(_, received, Held::Park([what, ..], _)) => format!("held {received} {what}"),
            Self::Held(_, received, Held::Call(..)) => format!("held {received} in a call"),
            Self::EndOfWindow(left, _) => format!("end of window {left}"),
            Self::WindowClosed(left, _) => format!("window closed {left}"),
            other => format!("{other:?}"),
        }
    }

    /// With tickets and ids as differences.
    pub fn relative(self, ticket: u64, id: u64) -> String {
        let held = |held| match held {
            Held::Park(args, said) => Held::Park(args, said.wrapping_sub(ticket)),
            other => other,
        };
        match self {
            Self::Parking(args, said) => format!("{:?}", Self::Parking(args, said.wrapping_sub(ticket))),
            Self::Held(own, received, what) => format!("{:?} {received} {:?}", own == id, held(what)),
            other => format!("{other:?}"),
        }
    }
}

impl Stub {
    /// Registers and memory, as far as something may still depend on them.
    pub fn remembers(&mut self, hostile: bool) -> Vec<u64> {
        let memory = self.data();
        let words = |from: u32, count: u32| (0..count).map(move |word| from + word * 8);
        let parks = matches!(self.pc, Pc::Handler(_) | Pc::Parking(..) | Pc::Held(_, _, Held::Park(..)));
        // While the host holds it in a park, the next resume writes all of this.
        let held = matches!(self.pc, Pc::Held(..));
        let guest = matches!(self.pc, Pc::Guest | Pc::Held(_, _, Held::Call(..)));
        let head = words(0, size_of::<Head>() as u32 / 8 - 1).chain(words(size_of::<Head>() as u32, 12));
        let mut of = Vec::new();
        let mut add = |at: u32| of.push(memory.load::<u64>(at).expect("inside"));
        if hostile || !(guest || held) {
            head.for_each(&mut add);
        }
        if hostile || !held {
            add(STUBGUARD_SELECTOR as u32);
        }
        if hostile || parks {
            words(MCONTEXT, 23).for_each(&mut add);
        }
        if hostile || guest {
            of.extend(self.registers);
        }
        of
    }
}
