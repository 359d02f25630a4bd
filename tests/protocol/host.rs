// SPDX-License-Identifier: GPL-2.0-only
//! A host that is simulated: processes, their notifications, signals, limits. The library reaches it by the C
//! functions at the end.

use super::graph::{Letters, park};
use super::stub::{Held, Pc, Stub};
use super::trail::Trail;
use core::ffi::{c_int, c_long, c_ulong, c_void};
use libc::{EINTR, ENOENT, ESRCH};
use std::cell::RefCell;
use stubguard::Errno;
use stubguard::window::code;

/// Listener of process 0. Numbers that no real fd has.
pub const LISTENER: c_int = 1 << 20;
const PIDFD: c_int = 1 << 21;
/// Pid of process 0. No real process has it.
pub const PID: c_int = 1 << 24;
/// After so many receives in one act the watchdog kills the stub. Repeated parks are no reports, so to the watchdog
/// they are one wait.
const PATIENCE: u32 = 32;
const PIDFS_MAGIC: i64 = 0x5049_4446;

/// What kind of host it is.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// WAIT_KILLABLE_RECV: no signal withdraws a call that was received. Guests' calls notify.
    pub killable: bool,
    /// The listener tells of a death before the process is reaped.
    pub tells: bool,
}

/// What the kernel has resumed a stub with, and what must hold when the guest runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expected {
    /// Pages that the page table grants.
    pub granted: u8,
    /// Pages that the stub must have.
    pub pages: u8,
    pub fs: u64,
    /// Nothing is known of a hostile guest's registers.
    pub hostile: bool,
}

/// A guest's thread, as it is in truth.
#[derive(Clone, Copy, Debug, Default)]
pub struct Thread {
    pub registers: [u64; 18],
    /// Which call is next, or is being made.
    pub call: u64,
    pub calling: bool,
}

pub struct Host {
    pub kind: Kind,
    pub stubs: Vec<Stub>,
    pub threads: [Thread; 2],
    pub expected: Expected,
    pub trail: Trail,
    /// How many disturbances are still to come: deaths, signals, lost answers, refused mappings.
    pub disturbances: u8,
    /// How many hostile acts of guests are still to come.
    pub acts: u8,
    /// The kernel takes the guest for running: it may execute instructions.
    pub runs: bool,
    /// Stubs run while the monitor runs, too. Otherwise they run only while it waits.
    pub beside: bool,
    /// How often the monitor has received in this act.
    pub receives: u32,
    pub violation: Option<String>,
    pub story: Option<Vec<String>>,
    /// What the stub and the monitor for it have called in this act.
    pub letters: Letters,
    pidfds: Vec<usize>,
    next_id: u64,
}

thread_local! {
    static HOST: RefCell<Option<Host>> = const { RefCell::new(None) };
}

/// Makes a host the one that the library finds.
pub fn enter(host: Host) {
    HOST.with(|slot| *slot.borrow_mut() = Some(host));
}

/// Ends the simulation.
pub fn leave() -> Host {
    HOST.with(|slot| slot.borrow_mut().take()).expect("a host")
}

/// Works on the host.
pub fn with<T>(work: impl FnOnce(&mut Host) -> T) -> T {
    HOST.with(|slot| work(slot.borrow_mut().as_mut().expect("a host")))
}

impl Host {
    pub fn new(kind: Kind, trail: Trail, disturbances: u8, acts: u8, told: bool) -> Self {
        Self {
            kind,
            trail,
            disturbances,
            acts,
            story: told.then(Vec::new),
            stubs: Vec::new(),
            threads: [Thread::default(); 2],
            expected: Expected::default(),
            receives: 0,
            runs: false,
            beside: false,
            violation: None,
            letters: Letters::default(),
            pidfds: Vec::new(),
            next_id: 1,
        }
    }

    pub fn tell(&mut self, what: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(what());
        }
    }

    pub fn violated(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.tell(|| format!("VIOLATION: {what}"));
        self.violation.get_or_insert(what);
    }

    pub fn choose(&mut self, of: usize) -> usize {
        self.trail.choose(of)
    }

    /// Whether something happens that may happen a few times only.
    pub fn disturbed(&mut self) -> bool {
        if self.disturbances == 0 || self.choose(2) == 0 {
            return false;
        }
        self.disturbances -= 1;
        true
    }

    /// Whether the stub makes a step before the host answers the monitor at once.
    pub fn runs_beside(&mut self) -> bool {
        self.beside && self.choose(2) == 1
    }

    /// A new notification's id.
    pub fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// The process that has this pid now.
    fn by_pid(&self, pid: c_int) -> Option<usize> {
        self.stubs.iter().rposition(|stub| stub.pid == pid && !stub.reaped)
    }

    /// What may happen to a stub while the monitor is about to make a host call.
    fn meanwhile(&mut self, number: usize) {
        while self.disturbances > 0 {
            let mut ways = vec!["nothing"];
            let stub = &self.stubs[number];
            if stub.pc == Pc::Dead {
                if !stub.reaped {
                    ways.push("is reaped, and its pid is another's");
                }
            } else {
                ways.push("dies");
                ways.push("dies, and its pid is another's");
                if !stub.alarm {
                    ways.push("timer");
                }
                if stub.may_be_interrupted(self.kind) {
                    ways.push("interrupted");
                }
                if !matches!(stub.pc, Pc::Held(..)) {
                    ways.push("runs");
                }
            }
            let way = ways[self.choose(ways.len())];
            if way == "nothing" {
                return;
            }
            self.disturbances -= 1;
            self.tell(|| format!("stub {number} {way}"));
            match way {
                "dies" => self.stubs[number].pc = Pc::Dead,
                "timer" => self.stubs[number].alarm = true,
                "interrupted" => self.interrupt(number),
                "runs" => self.step(number),
                _ => {
                    self.stubs[number].pc = Pc::Dead;
                    self.stubs[number].reaped = true;
                    let pid = self.stubs[number].pid;
                    let identity = self.stubs.len() as u64 + 100;
                    self.stubs.push(Stub::stranger(pid, identity));
                }
            }
        }
    }

    /// UML reaps the process.
    pub fn reap(&mut self, number: usize) {
        self.stubs[number].reaped = true;
    }

    fn receive(&mut self, number: usize) -> Result<libc::seccomp_notif, c_int> {
        self.meanwhile(number);
        self.receives += 1;
        if self.receives > PATIENCE && self.stubs[number].pc != Pc::Dead {
            if !self.expected.hostile {
                self.violated("the monitor hears nothing of an honest guest");
            }
            self.tell(|| format!("the watchdog kills stub {number}"));
            self.stubs[number].pc = Pc::Dead;
        }
        if self.disturbed() {
            self.tell(|| "receive is interrupted".into());
            return Err(EINTR);
        }
        loop {
            let Stub { pc, withdrawn, .. } = self.stubs[number];
            match pc {
                Pc::Held(id, false, held) => {
                    if self.disturbed() {
                        let way = self.choose(4);
                        let (timer, woken) = (way & 1 != 0, way & 2 != 0);
                        self.tell(|| {
                            format!("stub {number} is interrupted, timer: {timer}, monitor woken: {woken}")
                        });
                        self.stubs[number].alarm |= timer;
                        self.interrupt(number);
                        if woken {
                            self.stubs[number].withdrawn -= 1;
                            self.letters.add("receive-gone");
                            return Err(ENOENT);
                        }
                        continue;
                    }
                    self.stubs[number].pc = Pc::Held(id, true, held);
                    self.tell(|| format!("received from stub {number}: {held:x?}"));
                    self.letters.add(match held {
                        Held::Park(args, _) => park(args[0]),
                        Held::Call(..) => "receive-call",
                    });
                    // SAFETY: integers.
                    let mut notif: libc::seccomp_notif = unsafe { core::mem::zeroed() };
                    notif.id = id;
                    notif.data = held.data();
                    return Ok(notif);
                }
                Pc::Held(_, true, _) => {
                    self.violated("the monitor waits for a stub that waits for it");
                    self.stubs[number].pc = Pc::Dead;
                }
                Pc::Dead => {
                    self.letters.add("receive-gone");
                    return Err(ENOENT);
                }
                _ if withdrawn > 0 && !self.runs_beside() => {
                    self.stubs[number].withdrawn -= 1;
                    self.letters.add("receive-gone");
                    return Err(ENOENT);
                }
                _ if self.violation.is_some() => self.stubs[number].pc = Pc::Dead,
                _ => self.step(number),
            }
        }
    }

    fn send(&mut self, number: usize, id: u64, value: i64) -> Result<(), c_int> {
        self.meanwhile(number);
        let held = match self.stubs[number].pc {
            Pc::Held(held_id, true, held) if held_id == id => held,
            _ => {
                self.letters.add("send-gone");
                return Err(ENOENT);
            }
        };
        self.tell(|| format!("stub {number} is answered {value}"));
        self.letters.add("send");
        if !self.kind.killable && self.disturbed() {
            // The host takes the answer, and the stub was interrupted before it looked.
            self.tell(|| "the answer is lost".into());
            self.interrupt(number);
            return Ok(());
        }
        self.stubs[number].answered(held, value);
        Ok(())
    }

    fn ioctl(&mut self, number: usize, request: c_ulong, argument: *mut c_void) -> Result<(), c_int> {
        match request {
            r if r == libc::SECCOMP_IOCTL_NOTIF_RECV => {
                let notif = self.receive(number)?;
                // SAFETY: the library's buffer.
                unsafe { argument.cast::<libc::seccomp_notif>().write(notif) };
                Ok(())
            }
            r if r == libc::SECCOMP_IOCTL_NOTIF_SEND => {
                // SAFETY: the library's buffer.
                let response = unsafe { argument.cast::<libc::seccomp_notif_resp>().read() };
                if response.flags != 0 || response.error != 0 {
                    self.violated("window mode answers with a value");
                }
                self.send(number, response.id, response.val)
            }
            r if r == libc::SECCOMP_IOCTL_NOTIF_ID_VALID => {
                self.meanwhile(number);
                // SAFETY: the library's number.
                let id = unsafe { argument.cast::<u64>().read() };
                let valid = matches!(self.stubs[number].pc, Pc::Held(held, true, _) if held == id);
                self.letters.add(if valid { "valid" } else { "not-valid" });
                if valid { Ok(()) } else { Err(ENOENT) }
            }
            _ => Ok(()),
        }
    }

    fn poll(&mut self, number: usize, timeout: c_int) -> i16 {
        self.meanwhile(number);
        let events = self.polled(number, timeout);
        self.letters.add(match events {
            0 => "poll-nothing",
            libc::POLLIN => "poll-in",
            _ => "poll-gone",
        });
        events
    }

    fn polled(&mut self, number: usize, timeout: c_int) -> i16 {
        loop {
            let pc = self.stubs[number].pc;
            match pc {
                Pc::Held(_, false, _) => return libc::POLLIN,
                Pc::Held(_, true, _) => return 0,
                Pc::Dead if self.kind.tells || self.stubs[number].reaped => return libc::POLLHUP,
                Pc::Dead => return 0,
                _ if timeout == 0 && !self.runs_beside() => return 0,
                _ => self.step(number),
            }
        }
    }

    fn open(&mut self, pid: c_int) -> Result<c_int, c_int> {
        let number = self.by_pid(pid).ok_or(ESRCH)?;
        self.meanwhile(number);
        let number = self.by_pid(pid).ok_or(ESRCH)?;
        self.pidfds.push(number);
        Ok(PIDFD + self.pidfds.len() as c_int - 1)
    }

    fn signal(&mut self, fd: c_int, signal: c_int) -> Result<(), c_int> {
        let number = self.pidfds[(fd - PIDFD) as usize];
        self.meanwhile(number);
        self.tell(|| format!("signal {signal} to stub {number}"));
        match signal {
            0 => {}
            libc::SIGKILL => self.letters.add("kill"),
            _ => self.letters.add("signal"),
        }
        let stub = &mut self.stubs[number];
        if stub.reaped {
            return Err(ESRCH);
        }
        if stub.stranger && signal != 0 {
            self.violated("a signal to a process that is no stub");
        } else if signal == libc::SIGKILL {
            stub.pc = Pc::Dead;
        } else if signal != 0 && stub.pc != Pc::Dead {
            stub.alarm = true;
        }
        Ok(())
    }

    fn lift(&mut self, pid: c_int) -> Result<(), c_int> {
        let number = self.by_pid(pid).ok_or(ESRCH)?;
        self.meanwhile(number);
        let number = self.by_pid(pid).ok_or(ESRCH)?;
        self.tell(|| format!("stub {number} may map"));
        self.letters.add("lift");
        self.stubs[number].lifted = true;
        Ok(())
    }
}

impl Held {
    /// What the host tells of the call.
    fn data(self) -> libc::seccomp_data {
        let mut data = libc::seccomp_data {
            nr: code::PARK_NR,
            arch: stubguard::arch::ARCH,
            instruction_pointer: super::stub::park_address(),
            args: [0; 6],
        };
        match self {
            Held::Park(args, ticket) => {
                data.args[..3].copy_from_slice(&args);
                data.args[3] = ticket;
            }
            Held::Call(nr, ip, args) => {
                data.nr = nr;
                data.instruction_pointer = ip;
                data.args = args;
            }
        }
        data
    }
}

// ---- the C functions

fn is_listener(fd: c_int) -> bool {
    (LISTENER..LISTENER + 1000).contains(&fd)
}

fn is_pidfd(fd: c_int) -> bool {
    fd >= PIDFD
}

/// # Safety
/// As the call.
unsafe fn raw(nr: c_long, args: [c_long; 6]) -> c_long {
    let [a, b, c, d, e, f] = args;
    let result: c_long;
    // SAFETY: a system call, with the caller's arguments.
    unsafe {
        core::arch::asm!("syscall", inlateout("rax") nr => result, in("rdi") a, in("rsi") b, in("rdx") c,
            in("r10") d, in("r8") e, in("r9") f, lateout("rcx") _, lateout("r11") _);
    }
    if (-4095..0).contains(&result) { failed(-result as c_int).into() } else { result }
}

fn failed(errno: c_int) -> c_int {
    Errno::from_raw(errno).set();
    -1
}

fn returned(result: Result<(), c_int>) -> c_int {
    result.map_or_else(failed, |()| 0)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int {
    if is_listener(fd) {
        return returned(with(|host| host.ioctl((fd - LISTENER) as usize, request, argument)));
    }
    // SAFETY: the caller's.
    unsafe { raw(libc::SYS_ioctl, [fd.into(), request as c_long, argument as c_long, 0, 0, 0]) as c_int }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn poll(fds: *mut libc::pollfd, n: libc::nfds_t, timeout: c_int) -> c_int {
    // SAFETY: the caller's.
    if n == 1 && is_listener(unsafe { (*fds).fd }) {
        // SAFETY: the caller's.
        let fd = unsafe { &mut *fds };
        fd.revents = with(|host| host.poll((fd.fd - LISTENER) as usize, timeout));
        return c_int::from(fd.revents != 0);
    }
    // SAFETY: the caller's.
    unsafe { raw(libc::SYS_poll, [fds as c_long, n as c_long, timeout.into(), 0, 0, 0]) as c_int }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(
    nr: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    let pid = |number: c_long| number as c_int;
    match nr {
        libc::SYS_pidfd_open if pid(a) >= PID => {
            with(|host| host.open(pid(a))).map_or_else(|errno| failed(errno).into(), Into::into)
        }
        libc::SYS_pidfd_send_signal if is_pidfd(pid(a)) => {
            returned(with(|host| host.signal(pid(a), pid(b)))).into()
        }
        libc::SYS_prlimit64 if pid(a) >= PID => returned(with(|host| host.lift(pid(a)))).into(),
        libc::SYS_waitid if pid(b) >= PID => with(|host| {
            let Some(number) = host.by_pid(pid(b)) else { return failed(libc::ECHILD).into() };
            if host.stubs[number].pc == Pc::Dead {
                // SAFETY: the library's buffer.
                unsafe { (*(c as *mut libc::siginfo_t)).si_signo = libc::SIGCHLD };
            }
            0
        }),
        // SAFETY: the caller's.
        _ => unsafe { raw(nr, [a, b, c, d, e, f]) },
    }
}

/// fstatfs, by the name by which nix calls it.
#[unsafe(no_mangle)]
unsafe extern "C" fn fstatfs64(fd: c_int, to: *mut libc::statfs64) -> c_int {
    if is_pidfd(fd) {
        // SAFETY: the caller's.
        unsafe { (*to).f_type = PIDFS_MAGIC };
        return 0;
    }
    // SAFETY: the caller's.
    unsafe { raw(libc::SYS_fstatfs, [fd.into(), to as c_long, 0, 0, 0, 0]) as c_int }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fstat(fd: c_int, to: *mut libc::stat) -> c_int {
    if is_pidfd(fd) {
        let identity = with(|host| host.stubs[host.pidfds[(fd - PIDFD) as usize]].identity);
        // SAFETY: the caller's.
        unsafe { (*to).st_ino = identity };
        return 0;
    }
    // SAFETY: the caller's.
    unsafe { raw(libc::SYS_fstat, [fd.into(), to as c_long, 0, 0, 0, 0]) as c_int }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn close(fd: c_int) -> c_int {
    if is_pidfd(fd) || is_listener(fd) {
        return 0;
    }
    // SAFETY: the caller's.
    unsafe { raw(libc::SYS_close, [fd.into(), 0, 0, 0, 0, 0]) as c_int }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fcntl(fd: c_int, command: c_int, argument: c_long) -> c_int {
    if is_pidfd(fd) || is_listener(fd) {
        return 0;
    }
    // SAFETY: the caller's.
    unsafe { raw(libc::SYS_fcntl, [fd.into(), command.into(), argument, 0, 0, 0]) as c_int }
}
