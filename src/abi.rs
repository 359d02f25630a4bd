// SPDX-License-Identifier: GPL-2.0-only
//! Constants and structures of the C header: all that it shows, but the functions. include/stubguard.h is
//! generated from this file and src/capi.

use core::ffi::{c_char, c_int, c_void};

// ---- the start

/// How many CPUs a guest may have at most: the upper end of UML's `NR_CPUS` range.
pub const STUBGUARD_MAX_CPUS: u32 = 64;
/// The largest `stubguard_config.watchdog_budget_ms`: an hour, in milliseconds.
pub const STUBGUARD_BUDGET_MAX_MS: u32 = 3_600_000;
/// The largest `stubguard_config.pool_size`.
pub const STUBGUARD_POOL_MAX: u32 = 64;
/// `stubguard_config.flags`: stubguard_init() fails if the host lacks anything that protection needs. Without
/// the flag the library runs with what there is; stubguard_features() tells.
pub const STUBGUARD_REQUIRE: u32 = 1;
/// `stubguard_config.flags`: the guest's time is not the host's (UML's time-travel modes). A stub's silence
/// means nothing then, so there is no watchdog.
pub const STUBGUARD_TIME_TRAVEL: u32 = 2;
/// `stubguard_config.flags`: window mode. Stubs run the library's code, and the functions are
/// `stubguard_stub_*()`. Without the flag: notify mode.
pub const STUBGUARD_WINDOW: u32 = 4;
/// Log level of a line that reports something wrong, as in `<linux/kern_levels.h>`.
pub const STUBGUARD_LOG_ERR: c_int = 3;
/// Log level of a line that reports something to look at.
pub const STUBGUARD_LOG_WARNING: c_int = 4;
/// Log level of a line that only informs.
pub const STUBGUARD_LOG_INFO: c_int = 6;

/// Takes one line for the log: NUL-terminated, without a newline.
///
/// `level`: one of `STUBGUARD_LOG_*`. `message`: valid only until the function returns.
///
/// It is called on the thread that has something to say. That may be the watchdog's thread, which has all
/// signals blocked and a seccomp filter of its own. So no kernel code may run there, and of system calls only
/// write(2) and writev(2) work.
pub type LogFn = Option<unsafe extern "C" fn(level: c_int, message: *const c_char)>;

/// Notify mode: where the members of UML's `struct stub_data` are, in bytes. Monitor and stub share this
/// memory.
///
/// Only stubguard_collect() reads it, and bounds every value. Only stubguard_publish() writes it. In window
/// mode all members are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Layout {
    /// Size of all stub data. It starts one page after the stub's code.
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
    /// `futex`: C `unsigned int`. The monitor hands over by it. The library only puts its address into the
    /// stub's filter.
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

/// The configuration of the library: see stubguard_init(). A member that is 0 takes the default that is named
/// there.
///
/// The size comes first and is the version. Members are only added at the end. The library takes any size
/// that it knows.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Config {
    /// sizeof(struct stubguard_config).
    pub size: usize,
    /// `STUBGUARD_REQUIRE`, `STUBGUARD_TIME_TRAVEL`, `STUBGUARD_WINDOW`.
    pub flags: u32,
    /// How many CPUs the guest has: 1 to `STUBGUARD_MAX_CPUS`.
    pub cpus: u32,
    /// The address of the stub's code page in each stub (UML's `STUB_START`). Everything below is the
    /// guest's. Everything from here on is the stub's own.
    pub stub_start: u64,
    /// Bytes in a guest page: a power of two, at least 4096.
    pub page_size: u32,
    /// Notify mode: the lowest fd number by which a stub can have the guest's memory. Window mode: 0, as the
    /// number is `STUBGUARD_MEMORY_FD`.
    pub mmap_fd_first: i32,
    /// Notify mode: the highest such number. Window mode: 0.
    pub mmap_fd_last: i32,
    /// How often the watchdog looks, in milliseconds. Default: 1000, in window mode 200.
    pub watchdog_tick_ms: u32,
    /// How long a stub may keep the monitor waiting, in milliseconds of its own CPU time or sleep. At least
    /// two ticks, at most `STUBGUARD_BUDGET_MAX_MS`. Default: 5000, in window mode 800.
    pub watchdog_budget_ms: u32,
    /// A signal that nobody else uses; 0 for none. By it the watchdog interrupts a monitor that hangs in a
    /// host call. UML's own signals do not fit: their handlers restart calls.
    pub kick_signal: i32,
    /// Takes the lines for the log; may be NULL.
    pub log: LogFn,
    /// Notify mode: the layout of the stub data. Window mode: all 0.
    pub layout: Layout,
    /// Bytes of the floating-point state in a signal frame, without the trailing magic number.
    pub fp_size: u32,
    /// Window mode: how many stubs are kept for reuse at most, up to `STUBGUARD_POOL_MAX`; 0 for none.
    pub pool_size: u32,
    /// Must be 0.
    pub reserved: u32,
    /// Window mode: the end of the addresses where guests have code (UML's `TASK_SIZE`). A multiple of 2^32,
    /// at most `stub_start`. A new stub's own code must be above it, until the first batch unmaps that code.
    ///
    /// If it is not 0, and the host has `STUBGUARD_F_WAIT_KILLABLE`, `STUBGUARD_F_DISPATCH` and
    /// `STUBGUARD_F_UNFILTERED`, most calls of guests notify. Otherwise all of them make a signal frame.
    pub guest_end: u64,
}

// ---- what the host offers

/// `stubguard_features()`: stubs can have listeners, and the monitor can get them (Linux 5.9). Without it
/// there is no protection at all.
pub const STUBGUARD_F_LISTENER: u32 = 1;
/// `stubguard_features()`: /proc tells what the watchdog must know. Without it a stub can keep the monitor
/// waiting for ever.
pub const STUBGUARD_F_WATCHDOG: u32 = 2;
/// `stubguard_features()`: signals do not disturb a suspended stub (Linux 5.19). Without it the host
/// withdraws more notifications: slower, not weaker.
pub const STUBGUARD_F_WAIT_KILLABLE: u32 = 4;
/// `stubguard_features()`: monitor and stub take turns on one CPU (Linux 6.6). Without it: slower, not
/// weaker.
pub const STUBGUARD_F_SYNC_WAKE_UP: u32 = 8;
/// `stubguard_features()`: a stub can set its FS and GS base by itself (Linux 5.9, on processors with
/// FSGSBASE). Without it stubs of window mode may call arch_prctl(2) for that: slower, not weaker.
pub const STUBGUARD_F_FSGSBASE: u32 = 16;
/// `stubguard_features()`: a monitor that waits for a notification learns of the stub's death, reaped or not
/// (Linux 6.11). Without it a monitor in window mode polls before it waits: slower, not weaker.
pub const STUBGUARD_F_RECEIVE_ENDS: u32 = 32;
/// `stubguard_features()`: the host has syscall user dispatch (Linux 5.11). A byte of the stub then decides
/// whether its guest's calls notify. Without it they all make a signal frame: slower, not weaker.
pub const STUBGUARD_F_DISPATCH: u32 = 64;
/// `stubguard_features()`: this process has no seccomp filter, so only the monitor answers guests' calls.
/// Without it, or if /proc does not tell, they all make a signal frame: slower, not weaker.
pub const STUBGUARD_F_UNFILTERED: u32 = 128;

// ---- counters

/// How many reasons for a denial there are: see stubguard_denial_name().
pub const STUBGUARD_DENIALS: usize = 12;

/// The counters since the process started: see stubguard_stats_get().
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Stats {
    /// Notifications answered.
    pub served: u64,
    /// Calls that the host was let run.
    pub allowed: u64,
    /// Calls denied, by reason; `stubguard_denial_name(i)` names entry i.
    pub denied: [u64; STUBGUARD_DENIALS],
    /// Notifications that the host withdrew before their answer: a signal came, or the stub was ended.
    pub resynchronised: u64,
    /// Reports of stubs that broke the protocol.
    pub breaches: u64,
    /// Waits in which a stub kept the monitor waiting for a tick of the watchdog, or longer.
    pub stalls: u64,
    /// Stubs killed by the watchdog or by stubguard_kill_stub().
    pub kills: u64,
    /// Stubs kept for another mm.
    pub recycled: u64,
    /// Of `kills`, those by the watchdog.
    pub killed_watchdog: u64,
}

// ---- a stub's start

/// No filter has more instructions than this: the size of a caller's array.
pub const STUBGUARD_FILTER_MAX: usize = 192;
/// Notify mode: the fd by which a stub has its own listener. The stub has closed all fds but fd 0 before, and
/// the host gives the lowest free number.
pub const STUBGUARD_LISTENER_FD: c_int = 1;
/// Window mode: the fd by which a stub has the guest's memory, from its start on.
pub const STUBGUARD_MEMORY_FD: usize = 1;
/// Window mode: bytes of a stub's data, which is a control page and the signal stack.
pub const STUBGUARD_DATA_SIZE: usize = 8192;
/// Window mode: offset of the signal stack in a stub's data, in bytes.
pub const STUBGUARD_STACK: usize = 4096;
/// Window mode: bytes of a stub's signal stack.
pub const STUBGUARD_STACK_SIZE: usize = 4096;
/// Window mode: offset of the byte in a stub's data that dispatches its guest's calls (syscall user
/// dispatch). 0: calls go to the filters, by which most notify or all trap. 1: calls make a signal frame, and
/// no filter sees them.
///
/// The monitor writes the byte on every resume. A guest that writes it only changes the cost of its own
/// calls, or ends itself.
pub const STUBGUARD_SELECTOR: usize = 4088;

// ---- window mode

/// Memory for the record of a stub. Only the library uses it. The caller keeps it out of the guest's reach as
/// long as the stub exists, and does not move it.
#[derive(Debug)]
#[repr(C)]
pub struct StubRecord {
    /// Not for callers.
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
    /// A number that no other process with this pid has had or will have; 0 before stubguard_stub_attach().
    pub identity: u64,
    /// The host process; 0 before stubguard_stub_attach().
    pub pid: c_int,
    /// Its listener; -1 before stubguard_stub_attach(), and after stubguard_stub_end().
    pub listener: c_int,
}

/// `stubguard_call.kind`: mmap.
pub const STUBGUARD_CALL_MMAP: u32 = 1;
/// `stubguard_call.kind`: munmap.
pub const STUBGUARD_CALL_MUNMAP: u32 = 2;
/// `stubguard_call.kind`: mprotect, which drops write permission. The pages must have been mapped readable,
/// writable and executable; the other two rights stay. `prot` is not used.
pub const STUBGUARD_CALL_WRPROTECT: u32 = 3;
/// How many calls a batch may have. The control page has room for more, as some calls must be split.
pub const STUBGUARD_CALLS_MAX: usize = 104;

/// One call of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct BatchCall {
    /// Address in the guest.
    pub addr: u64,
    /// Length in bytes.
    pub length: u64,
    /// mmap: offset in the memory file, in bytes.
    pub offset: u64,
    /// mmap: `PROT_READ | PROT_WRITE | PROT_EXEC`, or less.
    pub prot: u32,
    /// `STUBGUARD_CALL_*`.
    pub kind: u32,
}

/// How many words a guest's registers have. They are those of `struct user_regs_struct`, in its order.
pub const STUBGUARD_REGISTERS: usize = 27;
/// `stubguard_resume.flags`: the guest traps (SIGTRAP) after one instruction.
pub const STUBGUARD_RESUME_STEP: u32 = 1;
/// `stubguard_resume.flags`: somebody (a tracer) looks at all registers when the guest makes a call.
pub const STUBGUARD_RESUME_WATCHED: u32 = 2;
/// `stubguard_resume.flags`: other threads of the guest process may need the stub while this guest is in a
/// call.
pub const STUBGUARD_RESUME_SHARED: u32 = 4;

/// What a stub shall do: see stubguard_stub_resume(). Members are only added at the end.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ResumeRequest {
    /// sizeof(struct stubguard_resume).
    pub size: usize,
    /// `STUBGUARD_RESUME_*`: how to resume, and what is known of the guest.
    pub flags: u32,
    /// The CPU that waits, if a wait is needed: as for seccomp_wd_enter().
    pub cpu: c_int,
    /// The batch; not used if `calls_len` is 0.
    pub calls: *const BatchCall,
    /// How many calls the batch has: at most `STUBGUARD_CALLS_MAX`.
    pub calls_len: u32,
    /// Must be 0.
    pub reserved: u32,
    /// The guest's registers: `STUBGUARD_REGISTERS` words, as PTRACE_GETREGS has them (`struct
    /// user_regs_struct`). NULL to run only the batch.
    pub registers: *mut u64,
    /// The guest's floating-point state: `fp_size` bytes, as NT_X86_XSTATE has them.
    pub fp: *mut c_void,
}

/// Why a stub has stopped: see stubguard_stub_wait().
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// sizeof(struct stubguard_event), as the caller knows it. The caller gets that many bytes.
    pub size: usize,
    /// The signal by which the guest stopped. 0 if it has not run: the batch is done, or has failed.
    pub signal: c_int,
    /// 1 if the guest was resumed, but a signal came before it ran. Its registers are as they were: resume
    /// again.
    pub again: c_int,
    /// The negative errno by which a call of the batch failed; 0 if none failed.
    pub error: c_int,
    /// If a call of the batch failed: how many calls were done before it.
    pub done: c_int,
    /// If the guest stopped by a system call (SIGSYS): its number; else -1.
    pub syscall: c_int,
    /// 1 if the guest's call notified. Only the registers that the call names are known. The others stay in
    /// the stub until stubguard_stub_fetch() or a resume fetches them.
    pub notified: c_int,
    /// With SIGSEGV: the error code of the page fault.
    pub error_code: u64,
    /// With SIGSEGV: the address of the page fault.
    pub address: u64,
    /// With SIGSEGV: the number of the exception.
    pub trap: u64,
}
