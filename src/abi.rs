// SPDX-License-Identifier: GPL-2.0-only
//! What the C header shows, but for the functions: constants and structures. include/stubguard.h is made of it.

use core::ffi::{c_char, c_int, c_void};

// ---- the start

/// The most CPUs that a guest may have: the upper end of UML's `NR_CPUS` range.
pub const STUBGUARD_MAX_CPUS: u32 = 64;
/// The largest `stubguard_config.watchdog_budget_ms`: an hour.
pub const STUBGUARD_BUDGET_MAX_MS: u32 = 3_600_000;
/// The most stubs that can be kept.
pub const STUBGUARD_POOL_MAX: u32 = 64;
/// `stubguard_config.flags`: fail `stubguard_init()` if the host lacks anything that protection
/// needs. Without it the library runs with what there is; `stubguard_features()` tells.
pub const STUBGUARD_REQUIRE: u32 = 1;
/// `stubguard_config.flags`: the guest's time is not the host's (UML's time-travel modes), so
/// nothing can be concluded from a stub's silence: there is no watchdog.
pub const STUBGUARD_TIME_TRAVEL: u32 = 2;
/// `stubguard_config.flags`: stubs are parked ones, which run the library's code: window mode, with
/// the functions `stubguard_stub_*()`. Without it: notify mode.
pub const STUBGUARD_WINDOW: u32 = 4;
/// Log level of a line that reports something wrong, as in `<linux/kern_levels.h>`.
pub const STUBGUARD_LOG_ERR: c_int = 3;
/// Log level of a line that reports something to look at.
pub const STUBGUARD_LOG_WARNING: c_int = 4;
/// Log level of a line that only informs.
pub const STUBGUARD_LOG_INFO: c_int = 6;

/// Takes one line, NUL-terminated, without a newline.
///
/// `level` is one of `STUBGUARD_LOG_*`. `message` is valid only until the function returns. It is
/// called on the thread that had something to say, which may be the watchdog's: that thread has
/// all signals blocked and its own seccomp filter, so no kernel code may run on it, and of system
/// calls just write(2) and writev(2) work.
pub type LogFn = Option<unsafe extern "C" fn(level: c_int, message: *const c_char)>;

/// Where things are in the stub's data, the memory that monitor and stub share; all in bytes.
///
/// UML's `struct stub_data`. Nothing of it is ever read but by `stubguard_collect()`, which bounds every value, and
/// nothing written but by `stubguard_publish()`. Notify mode's: in window mode all is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Layout {
    /// Size of all stub data; it starts one page after the stub's code.
    pub size: u32,
    /// `err`: C `long`.
    pub err: u32,
    /// `syscall_data_len`: C `int`.
    pub calls_len: u32,
    /// `syscall_data[]`: the batch.
    pub calls: u32,
    /// Size of one entry of the batch.
    pub call_size: u32,
    /// How many entries there are.
    pub calls_max: u32,
    /// `mem.addr` in an entry: C `unsigned long`.
    pub call_addr: u32,
    /// `mem.length` in an entry: C `unsigned long`.
    pub call_length: u32,
    /// `mem.offset` in an entry: C `unsigned long`.
    pub call_offset: u32,
    /// `mem.prot` in an entry: C `int`.
    pub call_prot: u32,
    /// `restart_wait`: C `short`.
    pub restart_wait: u32,
    /// `futex`: C `unsigned int`. The monitor hands over by it; the library only tells the stub's
    /// filter its address.
    pub futex: u32,
    /// `signal`: C `int`.
    pub signal: u32,
    /// `si_offset`: C `unsigned short`, counted from `sigstack`.
    pub si_offset: u32,
    /// `mctx_offset`: C `unsigned short`, counted from `sigstack`.
    pub mctx_offset: u32,
    /// `arch_data`: what the stub restores besides the signal frame.
    pub arch_data: u32,
    /// Size of `arch_data`.
    pub arch_size: u32,
    /// `sigstack`: the stub's signal stack.
    pub sigstack: u32,
    /// Size of `sigstack`.
    pub sigstack_size: u32,
}

/// What `stubguard_init()` is told. Members that are zero take the default named there.
///
/// The size comes first and is the version: members are only ever added at the end, and a
/// library takes any size that it knows.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Config {
    /// sizeof(struct stubguard_config).
    pub size: usize,
    /// `STUBGUARD_REQUIRE`, `STUBGUARD_TIME_TRAVEL`, `STUBGUARD_WINDOW`.
    pub flags: u32,
    /// Number of CPUs that the guest has, 1 to `STUBGUARD_MAX_CPUS`.
    pub cpus: u32,
    /// Where the stub's code page is in each stub (UML's `STUB_START`). What lies below is the
    /// guest's, what is mapped from here on is the stub's own.
    pub stub_start: u64,
    /// Bytes in a guest page; a power of two, 4096 at least.
    pub page_size: u32,
    /// Notify mode: the lowest number under which a stub can hold an fd of the guest's memory. Window mode: 0, as it is
    /// `STUBGUARD_MEMORY_FD`.
    pub mmap_fd_first: i32,
    /// Notify mode: the highest such number. Window mode: 0.
    pub mmap_fd_last: i32,
    /// How often the watchdog looks, in milliseconds; default 1000, in window mode 200.
    pub watchdog_tick_ms: u32,
    /// How long a stub may keep the monitor waiting, in milliseconds of its own CPU time or of
    /// sleep; default 5000, in window mode 800; at least two ticks, `STUBGUARD_BUDGET_MAX_MS` at most.
    pub watchdog_budget_ms: u32,
    /// A signal that nobody else uses, by which the watchdog gets a monitor out of a host call
    /// that does not return; 0 for none. UML's own signals do not: their handlers restart calls.
    pub kick_signal: i32,
    /// Where lines go; may be NULL.
    pub log: LogFn,
    /// Notify mode: the stub data's layout. Window mode: all 0.
    pub layout: Layout,
    /// Bytes of the floating-point state in a signal frame, without the trailing magic number.
    pub fp_size: u32,
    /// Window mode: how many stubs are kept for reuse at most, up to `STUBGUARD_POOL_MAX`; 0 for none.
    pub pool_size: u32,
    /// Must be 0.
    pub reserved: u32,
    /// Window mode: no guest's code is at this address or above (UML's `TASK_SIZE`), and a new stub's own
    /// code is, until its first batch unmaps it. A multiple of 2^32, `stub_start` at most. With it, guests'
    /// calls are answered by notification, where the host has `STUBGUARD_F_WAIT_KILLABLE`, `STUBGUARD_F_DISPATCH`
    /// and `STUBGUARD_F_UNFILTERED`; 0: they all make a signal frame.
    pub guest_end: u64,
}

// ---- what the host offers

/// `stubguard_features()`: stubs can have listeners, and the monitor can get hold of them (Linux
/// 5.9). Without it there is no protection at all.
pub const STUBGUARD_F_LISTENER: u32 = 1;
/// `stubguard_features()`: the host tells what the watchdog must know (/proc). Without it a stub
/// can keep the monitor waiting for ever.
pub const STUBGUARD_F_WATCHDOG: u32 = 2;
/// `stubguard_features()`: a suspended stub is not disturbed by signals (Linux 5.19). Without it
/// more notifications are withdrawn: slower, not weaker.
pub const STUBGUARD_F_WAIT_KILLABLE: u32 = 4;
/// `stubguard_features()`: monitor and stub take turns on one CPU (Linux 6.6). Without it slower,
/// not weaker.
pub const STUBGUARD_F_SYNC_WAKE_UP: u32 = 8;
/// `stubguard_features()`: a stub can set its FS and GS base by itself (Linux 5.9, on processors that
/// have FSGSBASE). Without it a parked stub may call arch_prctl for that: slower, not weaker.
pub const STUBGUARD_F_FSGSBASE: u32 = 16;
/// `stubguard_features()`: a monitor that waits for a notification learns of the stub's death (Linux
/// 6.11), reaped or not. Without it the monitor of a parked stub polls before it waits: slower, not weaker.
pub const STUBGUARD_F_RECEIVE_ENDS: u32 = 32;
/// `stubguard_features()`: a process can have its system calls dispatched by a byte of its own (Linux 5.11),
/// which decides whether a guest's calls notify. Without it they all make a signal frame: slower, not
/// weaker.
pub const STUBGUARD_F_DISPATCH: u32 = 64;
/// `stubguard_features()`: this process has no seccomp filter, so that nobody but the monitor answers guests'
/// calls. Without it, or if /proc does not tell, they all make a signal frame: slower, not weaker.
pub const STUBGUARD_F_UNFILTERED: u32 = 128;

// ---- counters

/// How many reasons for a denial there are: see `stubguard_denial_name()`.
pub const STUBGUARD_DENIALS: usize = 12;

/// All counters since the process started, as `stubguard_stats_get()` returns them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Stats {
    /// Notifications answered.
    pub served: u64,
    /// Calls let through.
    pub allowed: u64,
    /// Calls denied, by reason; `stubguard_denial_name(i)` names entry i.
    pub denied: [u64; STUBGUARD_DENIALS],
    /// Notifications that the host withdrew before they were answered: a signal came, or the stub was ended.
    pub resynchronised: u64,
    /// Reports that broke the protocol.
    pub breaches: u64,
    /// Waits in which a stub kept the monitor waiting for a watchdog's tick and more.
    pub stalls: u64,
    /// Stubs killed, by the watchdog or through `stubguard_kill_stub()`.
    pub kills: u64,
    /// Stubs kept for another address space.
    pub recycled: u64,
    /// Of `kills`, those by the watchdog.
    pub killed_watchdog: u64,
}

// ---- a stub's start

/// A number that no filter exceeds; what a caller's array needs.
pub const STUBGUARD_FILTER_MAX: usize = 192;
/// The fd under which a stub holds its own listener: it has closed all but fd 0 before, and the
/// host gives the lowest number that is free.
pub const STUBGUARD_LISTENER_FD: c_int = 1;
/// The number under which a stub has the memory's fd, from its start on.
pub const STUBGUARD_MEMORY_FD: usize = 1;
/// Bytes of a parked stub's data: a control page, and the signal stack.
pub const STUBGUARD_DATA_SIZE: usize = 8192;
/// Where in a parked stub's data its signal stack begins.
pub const STUBGUARD_STACK: usize = 4096;
/// Bytes of a parked stub's signal stack.
pub const STUBGUARD_STACK_SIZE: usize = 4096;
/// A byte at this offset of the stub's data decides what becomes of a guest's calls (syscall user
/// dispatch): with 0 they go to the filters, by which most notify or all trap; with 1 they make a signal frame, and
/// no filter sees them. The monitor writes it on every resume. A guest that does changes the cost of its own calls, or ends itself.
pub const STUBGUARD_SELECTOR: usize = 4088;

// ---- window mode

/// The memory of a stub's record: the library's alone. The caller has it somewhere out of the guest's reach, as long as
/// there is the stub, and does not move it.
#[derive(Debug)]
#[repr(C)]
pub struct StubRecord {
    /// Of no meaning to a caller.
    pub opaque: [u64; 32],
}

/// What is known of a stub: see stubguard_stub_info(). Members are only added at the end.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct StubInfo {
    /// sizeof(struct stubguard_stub_info).
    pub size: usize,
    /// The stub's data, `STUBGUARD_DATA_SIZE` bytes.
    pub shared: *mut c_void,
    /// Tells the process from all others that have had or will have this pid; 0 before stubguard_stub_attach().
    pub identity: u64,
    /// The host's process; 0 before stubguard_stub_attach().
    pub pid: c_int,
    /// Its listener; -1 before stubguard_stub_attach(), and after stubguard_stub_end().
    pub listener: c_int,
}

/// `stubguard_call.kind`: mmap.
pub const STUBGUARD_CALL_MMAP: u32 = 1;
/// `stubguard_call.kind`: munmap.
pub const STUBGUARD_CALL_MUNMAP: u32 = 2;
/// `stubguard_call.kind`: mprotect, which takes the right to write from pages that the stub was
/// given readable, writable and executable, and leaves the other two. Its `prot` is of no meaning.
pub const STUBGUARD_CALL_WRPROTECT: u32 = 3;
/// How many calls a batch may have. There is room for more in the stub's page, as some may have to be split.
pub const STUBGUARD_CALLS_MAX: usize = 104;

/// A call of the batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct BatchCall {
    /// Where in the guest's address space.
    pub addr: u64,
    /// How much, in bytes.
    pub length: u64,
    /// mmap: where in the memory's file.
    pub offset: u64,
    /// mmap: `PROT_READ | PROT_WRITE | PROT_EXEC`, or less.
    pub prot: u32,
    /// A `STUBGUARD_CALL_*`.
    pub kind: u32,
}

/// Words of `struct user_regs_struct`: how many, and which.
pub const STUBGUARD_REGISTERS: usize = 27;
/// `stubguard_resume.flags`: the guest traps (SIGTRAP) after one instruction.
pub const STUBGUARD_RESUME_STEP: u32 = 1;
/// `stubguard_resume.flags`: somebody (a tracer) looks at all registers when the guest makes a call.
pub const STUBGUARD_RESUME_WATCHED: u32 = 2;
/// `stubguard_resume.flags`: other threads of the guest process may want the stub while this one is in a call.
pub const STUBGUARD_RESUME_SHARED: u32 = 4;

/// What a stub is to do: see stubguard_stub_resume(). Members are only added at the end.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ResumeRequest {
    /// sizeof(struct stubguard_resume).
    pub size: usize,
    /// `STUBGUARD_RESUME_*`: what is known of the guest.
    pub flags: u32,
    /// The CPU that waits, should that be needed: as for seccomp_wd_enter().
    pub cpu: c_int,
    /// The batch.
    pub calls: *const BatchCall,
    /// How many calls it has: `STUBGUARD_CALLS_MAX` at most.
    pub calls_len: u32,
    /// 0.
    pub reserved: u32,
    /// The guest's registers: `STUBGUARD_REGISTERS` words, as PTRACE_GETREGS has them (`struct
    /// user_regs_struct`). NULL to run only the batch.
    pub registers: *mut u64,
    /// The guest's floating-point state: `fp_size` bytes, as NT_X86_XSTATE has them.
    pub fp: *mut c_void,
}

/// What a park says: see stubguard_stub_wait().
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// sizeof(struct stubguard_event), as the caller knows it: it gets as much.
    pub size: usize,
    /// The signal by which the guest stopped; 0 if it has not run: a batch is done, or has failed.
    pub signal: c_int,
    /// 1 if the guest has not run, although it was resumed: registers are as they were.
    pub again: c_int,
    /// What a call of the batch answered, a negative errno; 0 if all are done.
    pub error: c_int,
    /// How many calls were done before.
    pub done: c_int,
    /// The call by which the guest stopped, with SIGSYS; else -1.
    pub syscall: c_int,
    /// 1 if the call has come by notification: of the registers only those are known that the call has, the others are
    /// in the stub until stubguard_stub_fetch() or a resume takes them over.
    pub notified: c_int,
    /// With SIGSEGV: the page fault's error code,
    pub error_code: u64,
    /// its address,
    pub address: u64,
    /// and the number of the exception.
    pub trap: u64,
}
