// SPDX-License-Identifier: GPL-2.0-only
//! The guest kernel: does with a stub what the library allows, in each order, and believes what it is told.

use super::graph::Letters;
use super::host::{self, Expected, Host, Kind, LISTENER, PID, Thread};
use super::stub::{
    AFTER, CALL, CALLS, EFLAGS, FIRST_PAGE, Pc, RBX, RDI, RESULT, RIP, RSI, RSP, Registers, STUB, data,
};
use super::{Bounds, FOREVER};
use core::ffi::c_int;
use core::sync::atomic::AtomicUsize;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::BorrowedFd;
use stubguard::Errno;
use stubguard::abi::{
    BatchCall, Event, STUBGUARD_CALL_MMAP, STUBGUARD_CALL_MUNMAP, STUBGUARD_DATA_SIZE, STUBGUARD_F_FSGSBASE,
    STUBGUARD_F_RECEIVE_ENDS, STUBGUARD_F_WAIT_KILLABLE, STUBGUARD_SELECTOR,
};
use stubguard::config::Config;
use stubguard::memory::StubData;
use stubguard::monitor::Monitor;
use stubguard::window::guest::{Guest, Target};
use stubguard::window::run::Resume;
use stubguard::window::stub::{Caller, State, Stub};
use stubguard::window::{Parked, pool};

const CPU: c_int = 0;
const PAGE: u64 = 4096;

/// For each word of an `mcontext_t`, the word of `struct user_regs_struct`.
const USER_WORDS: [usize; 18] = [9, 8, 7, 6, 3, 2, 1, 0, 14, 13, 4, 5, 12, 10, 11, 19, 16, 18];
const USER_FS_BASE: usize = 21;
const USER_RAX: u32 = 10 * 8;
const USER_RDI: u32 = 14 * 8;

/// What the kernel knows of a thread.
struct Task {
    registers: Vec<u128>,
    fp: Vec<u128>,
    /// The call that it will make next.
    call: u64,
    fs: u64,
}

impl Task {
    fn state(&mut self) -> Caller {
        Caller { registers: data(&mut self.registers), fp: data(&mut self.fp) }
    }
}

pub struct Kernel {
    config: Config,
    features: u32,
    stub: Stub,
    caller: AtomicUsize,
    tasks: [Task; 2],
    /// Whose turn the last resume was.
    current: usize,
    hostile: bool,
    /// The page table.
    pages: u8,
    /// What the stub has. `None`: anything.
    synced: Option<u8>,
    /// What a batch under way will have made of it.
    syncing: u8,
    pooled: bool,
    /// What is still to come.
    bounds: Bounds,
}

impl Kernel {
    pub fn new(config: &Config, bounds: &Bounds) -> Self {
        let Kind { tells, killable } = bounds.kind;
        while pool::take().is_some() {}
        let task = |fs| Task { registers: vec![0; 16], fp: vec![0; 256], call: 0, fs };
        let tells = if tells { STUBGUARD_F_RECEIVE_ENDS } else { 0 };
        let killable = if killable { STUBGUARD_F_WAIT_KILLABLE } else { 0 };
        Self {
            config: *config,
            features: STUBGUARD_F_FSGSBASE | tells | killable,
            stub: Stub::none(core::ptr::null_mut()),
            caller: AtomicUsize::new(0),
            tasks: [task(0x1000), task(0x2000)],
            current: 0,
            hostile: false,
            pages: 0,
            synced: None,
            syncing: 0,
            pooled: false,
            bounds: *bounds,
        }
    }

    fn number(&self) -> usize {
        (self.stub.listener - LISTENER) as usize
    }

    fn run<T>(
        &mut self,
        work: impl FnOnce(&mut Parked<'_, &mut dyn FnMut(u64, u64, u64) -> bool>) -> T,
    ) -> T {
        let pages = self.pages;
        let mut granted = |addr: u64, _: u64, offset: u64| {
            let page = addr.wrapping_sub(FIRST_PAGE) / PAGE;
            addr == offset && page < 2 && pages & 1 << page != 0
        };
        let number = self.number();
        let shared = host::with(|host| host.stubs[number].data());
        // SAFETY: the simulated host keeps it.
        let listener = unsafe { BorrowedFd::borrow_raw(self.stub.listener) };
        work(&mut Parked {
            monitor: Monitor { config: &self.config, listener, granted: &mut granted },
            features: self.features,
            caller: &self.caller,
            stub: &mut self.stub,
            shared,
        })
    }

    /// The kernel's next act. `false` if there is none.
    pub fn act(&mut self) -> bool {
        let mut ways: Vec<&str> = match self.stub.state {
            State::None if self.bounds.spaces == 0 => return false,
            State::None if self.pooled => vec!["take", "start"],
            State::None => vec!["start"],
            State::Starting => vec!["resume", "resume another", "sync", "end"],
            State::Parked => vec!["resume", "resume another", "sync", "put", "end"],
            State::Calling => vec!["resume", "resume another", "fetch", "sync", "end"],
            State::Running | State::Syncing => vec!["wait"],
            State::Broken => vec!["end"],
            State::Fetching => unreachable!("a fetch waits for the park"),
        };
        if self.bounds.threads == 1 {
            ways.retain(|way| *way != "resume another");
        }
        let way = ways[host::with(|host| host.choose(ways.len()))];
        host::with(|host| {
            host.receives = 0;
            host.letters = Letters::default();
            host.runs = false;
            host.tell(|| format!("kernel: {way}"));
        });
        match way {
            "take" => self.take(),
            "start" => self.start(),
            "resume" => self.resume(false),
            "resume another" => self.resume(true),
            "sync" => self.sync(),
            "fetch" => {
                let result = self.run(|parked| parked.fetch(CPU, 0));
                self.check("fetch", result);
            }
            "wait" => self.wait(),
            "put" => self.put(),
            _ => self.end(),
        }
        true
    }

    /// An honest guest's stub breaks only if something has ended it.
    fn check<T>(&mut self, what: &str, result: Result<T, Errno>) -> Option<T> {
        host::with(|host| host.tell(|| format!("{what}: {:?}", result.as_ref().err())));
        match result {
            Ok(value) => return Some(value),
            Err(Errno::EINTR) => {}
            Err(error) => {
                let (number, hostile) = (self.number(), self.hostile);
                host::with(|host| {
                    let dead = host.stubs[number].pc == Pc::Dead;
                    if error == Errno::EINVAL || error == Errno::EIO {
                        host.violated(format!("{what} has failed: {error}"));
                    } else if !(hostile || (dead && error == Errno::ESRCH)) {
                        host.violated(format!("{what}: an honest guest has lost its stub: {error}"));
                    }
                });
            }
        }
        None
    }

    fn new_space(&mut self) {
        self.bounds.spaces -= u8::from(self.bounds.spaces != FOREVER);
        self.hostile = self.bounds.hostile_spaces > 0;
        self.bounds.hostile_spaces = self.bounds.hostile_spaces.saturating_sub(1);
        (self.pages, self.synced, self.current) = (0, None, 0);
        let mut threads = [Thread::default(); 2];
        for (number, task) in self.tasks.iter_mut().enumerate() {
            let mut registers: Registers = [0; 18];
            registers[RSI] = number as u64;
            (registers[RIP], registers[EFLAGS], registers[RSP]) = (CALL, 0x202, 0x7000 + number as u64);
            threads[number] = Thread { registers, ..Thread::default() };
            task.call = 0;
            let state = task.state().registers;
            for (word, value) in USER_WORDS.iter().zip(registers) {
                state.store(*word as u32 * 8, value).expect("inside");
            }
            state.store(USER_FS_BASE as u32 * 8, task.fs).expect("inside");
        }
        host::with(|host| host.threads = threads);
    }

    fn start(&mut self) {
        self.new_space();
        host::with(|host| host.letters.add("start"));
        let (number, shared) = host::with(|host| {
            let number = host.stubs.len();
            let stub = super::stub::Stub::new(PID + number as c_int, number as u64 + 1);
            host.stubs.push(stub);
            (number, host.stubs[number].memory())
        });
        self.stub = Stub::new(PID + number as c_int, LISTENER + number as c_int, number as u64 + 1, shared);
        self.caller = AtomicUsize::new(0);
    }

    fn take(&mut self) {
        let Some(stub) = pool::take() else {
            return host::with(|host| host.violated("the pool has lost a stub"));
        };
        self.pooled = false;
        self.new_space();
        self.stub = stub;
        self.caller = AtomicUsize::new(0);
        let number = self.number();
        let shared = host::with(|host| host.stubs[number].data());
        shared.zero(0, STUBGUARD_DATA_SIZE as u32).expect("inside");
        // SAFETY: the simulated host keeps it.
        let listener = unsafe { BorrowedFd::borrow_raw(self.stub.listener) };
        // When it is taken, and when UML waits for its deaths again.
        for _ in 0..2 {
            host::with(|host| {
                if host.disturbed() {
                    host.tell(|| format!("stub {number} has died meanwhile"));
                    host.stubs[number].pc = Pc::Dead;
                }
            });
            match self.stub.lives(listener, self.features) {
                Ok(true) if host::with(|host| host.stubs[number].pc == Pc::Dead) => {
                    host::with(|host| host.violated("a stub that is dead is used again"));
                }
                Ok(true) => {}
                Ok(false) => {
                    self.stub.state = State::Broken;
                    return;
                }
                Err(error) => host::with(|host| host.violated(format!("lives: {error}"))),
            }
        }
        if host::with(|host| host.stubs[number].open) {
            host::with(|host| host.violated("a kept stub has signals open"));
        }
    }

    /// The page table may change. Returns the batch that follows.
    fn batch(&mut self) -> Vec<BatchCall> {
        let forever = self.bounds.changes == FOREVER;
        if self.bounds.changes > 0 {
            let changed = [0, 1, 3, 2][host::with(|host| host.choose(if forever { 4 } else { 3 }))];
            self.bounds.changes -= u8::from(changed != 0 && !forever);
            self.pages ^= changed;
        }
        let mut batch = Vec::new();
        let munmap =
            |addr, length| BatchCall { kind: STUBGUARD_CALL_MUNMAP, addr, length, offset: 0, prot: 0 };
        let synced = self.synced.unwrap_or_else(|| {
            batch.push(munmap(0, STUB));
            0
        });
        for page in 0..2u8 {
            let addr = FIRST_PAGE + u64::from(page) * PAGE;
            let bit = 1 << page;
            if self.pages & !synced & bit != 0 {
                batch.push(BatchCall {
                    kind: STUBGUARD_CALL_MMAP,
                    addr,
                    length: PAGE,
                    offset: addr,
                    prot: 7,
                });
            } else if synced & !self.pages & bit != 0 {
                batch.push(munmap(addr, PAGE));
            }
        }
        // Of a page that it has not got: so any number of batches may be without a mapping.
        if forever && batch.is_empty() && host::with(|host| host.choose(2)) == 1 {
            batch.push(munmap(FIRST_PAGE + 2 * PAGE, PAGE));
        }
        self.syncing = self.pages;
        batch
    }

    fn expect(&self) {
        let expected = Expected {
            granted: self.pages,
            pages: self.pages,
            fs: self.tasks[self.current].fs,
            hostile: self.hostile,
        };
        host::with(|host| host.expected = expected);
    }

    fn resume(&mut self, other: bool) {
        let before = self.current;
        let task = if other { 1 - self.current } else { self.current };
        let calls = self.batch();
        let state = self.tasks[task].state();
        let trap = self.bounds.threads > 1 && host::with(|host| host.choose(2)) == 1;
        // If the resume fetches, it fetches the registers of the task before. An honest guest does not run then.
        self.current = task;
        self.expect();
        let guest = Some(Guest { state, step: false, trap });
        let result = self.run(|parked| parked.resume(&Resume { calls: &calls, guest, cpu: CPU }));
        if result.is_err() && self.stub.state == State::Starting {
            self.current = before;
        }
        self.check("resume", result);
    }

    fn sync(&mut self) {
        let calls = self.batch();
        if calls.is_empty() {
            return;
        }
        self.expect();
        let result = self.run(|parked| parked.resume(&Resume { calls: &calls, guest: None, cpu: CPU }));
        self.check("sync", result);
    }

    fn wait(&mut self) {
        let state = self.tasks[self.current].state();
        let target = Target { state, siginfo: None, rest: false };
        let runs = self.stub.state == State::Running;
        host::with(|host| host.runs = runs);
        let result = self.run(|parked| parked.wait(CPU, Some(&target)));
        if runs && matches!(result, Ok(event) if event.signal == 0 && event.error == 0) {
            host::with(|host| host.violated("a guest has stopped for no reason"));
        }
        if let Some(event) = self.check("wait", result) {
            self.happened(&event);
        }
    }

    fn happened(&mut self, event: &Event) {
        host::with(|host| host.tell(|| format!("{event:?}")));
        if event.error != 0 {
            self.synced = None;
            return;
        }
        self.synced = Some(self.syncing);
        if event.signal != libc::SIGSYS {
            return;
        }
        // The guest's call.
        let task = &mut self.tasks[self.current];
        let registers: StubData = task.state().registers;
        let argument: u64 = registers.load(USER_RDI).expect("inside");
        if argument != task.call && !self.hostile {
            let wanted = task.call;
            host::with(|host| host.violated(format!("call {argument} is made, and {wanted} was next")));
        }
        task.call = (task.call + 1) % CALLS;
        registers.store(USER_RAX, RESULT + argument).expect("inside");
    }

    fn put(&mut self) {
        host::with(|host| host.expected.granted = 0);
        let number = self.number();
        match self.run(|parked| parked.put(CPU)) {
            Ok(()) => {
                host::with(|host| {
                    let stub = &host.stubs[number];
                    if stub.pages != 0 || stub.lifted || stub.open || stub.fs != 0 {
                        host.violated("a kept stub has something of its last guest");
                    }
                });
                self.pooled = true;
            }
            Err(error) => {
                host::with(|host| host.tell(|| format!("put: {error}")));
                self.stub.state = State::Broken;
            }
        }
    }

    fn end(&mut self) {
        let number = self.number();
        let killed = self.stub.kill();
        host::with(|host| {
            if !matches!(killed, Ok(()) | Err(Errno::ESRCH)) {
                host.violated(format!("kill: {killed:?}"));
            }
            if host.stubs[number].pc != Pc::Dead {
                host.violated("a stub that was killed lives");
            }
        });
        self.stub.end();
        host::with(|host| host.reap(number));
    }

    pub fn fingerprint(&mut self, host: &mut Host) -> super::State {
        let mut hasher = DefaultHasher::new();
        let own = self.stub.listener - LISTENER;
        let Bounds { spaces, hostile_spaces, changes, .. } = self.bounds;
        (self.hostile, self.pages, self.synced, self.syncing, self.pooled, self.current).hash(&mut hasher);
        let expected = host.expected;
        (expected.granted, expected.pages, expected.fs, expected.hostile).hash(&mut hasher);
        for (task, thread) in self.tasks.iter().zip(host.threads) {
            (&task.registers, task.call).hash(&mut hasher);
            (thread.registers, thread.call, thread.calling).hash(&mut hasher);
        }
        let s = self.stub;
        (s.state as u8, s.limit as u8, s.calls, s.asked, s.suspect, s.call_ip, s.trapped, s.trap)
            .hash(&mut hasher);
        (s.fs_base, s.gs_base, s.fpstate).hash(&mut hasher);
        let caller = s.caller.map(|caller| {
            self.tasks.iter_mut().position(|task| task.state().registers.is(&caller.registers))
        });
        caller.hash(&mut hasher);
        for (number, stub) in host.stubs.iter_mut().enumerate() {
            let own = own == number as c_int;
            if stub.reaped && !own {
                continue;
            }
            (
                own,
                stub.reaped,
                stub.stranger,
                stub.open,
                stub.alarm,
                stub.lifted,
                stub.pages,
                stub.fs,
                stub.withdrawn,
            )
                .hash(&mut hasher);
            if stub.stranger || stub.pc == Pc::Dead {
                continue;
            }
            let head = stub.head();
            // Tickets and ids only count in relation to each other.
            let (base, id) = if own { (s.ticket, s.notification) } else { (head.ticket, 0) };
            stub.pc.relative(base, id).hash(&mut hasher);
            head.ticket.wrapping_sub(base).hash(&mut hasher);
            stub.remembers(expected.hostile).hash(&mut hasher);
        }
        (host.disturbances, host.acts, spaces, hostile_spaces, changes).hash(&mut hasher);
        let control = self.control(host);
        super::State { all: hasher.finish(), control, disturbances: host.disturbances }
    }

    /// What decides which host calls can follow: no contents of registers and memory, and nothing that only counts.
    fn control(&self, host: &mut Host) -> u64 {
        let mut hasher = DefaultHasher::new();
        let s = self.stub;
        (self.pages, self.synced, self.syncing, self.pooled).hash(&mut hasher);
        (s.state as u8, s.limit as u8, s.calls, s.asked, s.suspect, s.trapped, s.trap, s.caller.is_some())
            .hash(&mut hasher);
        let stub = usize::try_from(s.listener - LISTENER).ok().and_then(|own| host.stubs.get_mut(own));
        if let Some(stub) = stub {
            (stub.open, stub.alarm, stub.lifted, stub.pages, stub.withdrawn, stub.reaped).hash(&mut hasher);
            stub.pc.control().hash(&mut hasher);
            if stub.pc != Pc::Dead {
                let head = stub.head();
                let dispatch: u64 = stub.data().load(STUBGUARD_SELECTOR as u32).expect("inside");
                (head.calls, head.flags, dispatch).hash(&mut hasher);
            }
        }
        hasher.finish()
    }
}

/// The guest's program has one call.
const _: () = assert!(AFTER > CALL && RBX != RDI);
