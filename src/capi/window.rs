// SPDX-License-Identifier: GPL-2.0-only
//! Window mode: parked stubs.

use super::sized::{self, Sized};
use super::{MmId, borrow, monitor, ret};
use crate::abi::{
    BatchCall, Event, ResumeRequest, STUBGUARD_CALLS_MAX, STUBGUARD_REGISTERS, STUBGUARD_RESUME_SHARED,
    STUBGUARD_RESUME_STEP, STUBGUARD_RESUME_WATCHED, STUBGUARD_STACK_SIZE, STUBGUARD_WINDOW, StubInfo,
    StubRecord,
};
use crate::config::{self, Config};
use crate::host::{probe, rlimit, seccomp};
use crate::memory::StubData;
use crate::window::guest::{Guest, Target};
use crate::window::run::Resume;
use crate::window::stub::{Caller, Record, Stub};
use crate::window::{Parked, code, pool};
use crate::{Errno, Result, filter, frame};
use core::ffi::{c_int, c_void};
use core::mem::offset_of;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

const RESUME_FLAGS: u32 = STUBGUARD_RESUME_STEP | STUBGUARD_RESUME_WATCHED | STUBGUARD_RESUME_SHARED;

// SAFETY: integers and pointers; the first is the size.
unsafe impl Sized for ResumeRequest {
    const LEAST: usize = size_of::<Self>();
}

// SAFETY: integers; the first is the size.
unsafe impl Sized for Event {
    const LEAST: usize = offset_of!(Self, error_code);
}

// SAFETY: integers and a pointer; the first is the size.
unsafe impl Sized for StubInfo {
    const LEAST: usize = size_of::<Self>();
}

fn window() -> Result<&'static Config> {
    let config = config::get()?;
    if config.has(STUBGUARD_WINDOW) { Ok(config) } else { Err(Errno::EOPNOTSUPP) }
}

/// Copies the code that parked stubs run to the page that is to be their code page. Its first byte is
/// the handler of all their signals: with all signals blocked meanwhile, on the signal stack, and, for calls
/// that notify, SA_RESTART (a signal that comes before the monitor has the call must not fail it). For these, and on
/// a host with `STUBGUARD_F_DISPATCH` but without `STUBGUARD_F_UNFILTERED`, the stub also has
/// prctl(PR_SET_SYSCALL_USER_DISPATCH) say that calls from elsewhere than the code page are dispatched by the byte
/// at `STUBGUARD_SELECTOR`.
///
/// The code has the limit by which a stub cannot map anything while a guest runs: a soft `RLIMIT_AS` of 0, below
/// the hard one that this process had at stubguard_init().
///
/// `page`: the configured page size; each stub maps it, not writable, at `stub_start`, and its data behind it, in which
/// its signal stack is `STUBGUARD_STACK_SIZE` bytes at `STUBGUARD_STACK`. Any thread, before the first stub.
///
/// Returns the code's length; -EINVAL for NULL, or what is not aligned; -EOPNOTSUPP without `STUBGUARD_WINDOW`; -ENODEV before
/// stubguard_init().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stubguard_stub_code(page: *mut c_void) -> c_int {
    ret::call(|| {
        window()?;
        // SAFETY: the caller's, of the configured size, which is `code::PAGE`.
        let page = unsafe { memory(page, STUBGUARD_STACK_SIZE as u32) }?;
        let length = code::write(&page, rlimit::hard()).ok_or(Errno::EIO)?;
        c_int::try_from(length).map_err(|_| Errno::EIO)
    })
}

/// Makes the listener of a parked stub. To be called in the new process that is going to be the stub,
/// while it shares the monitor's fd table (CLONE_FILES), so that the listener is the monitor's from its
/// birth and there is nothing to hand over. Afterwards the process takes a table of its own, and becomes
/// the stub by execve(2).
///
/// Sets no_new_privs on the calling thread, and installs a filter that lets all calls but the park's
/// through. Shares no state with the monitor but errno, which stays.
///
/// Returns the fd, close-on-exec, to be closed with put_stub_listener(); -EOPNOTSUPP, -ENODEV as above;
/// -EBUSY in a sandbox that has a listener; others as seccomp(2). Series: patch 1.
#[unsafe(no_mangle)]
pub extern "C" fn stubguard_listen() -> c_int {
    ret::call(|| {
        let config = window()?;
        let mut program = [const { libc::sock_filter { code: 0, jt: 0, jf: 0, k: 0 } }; 40];
        let len = filter::build_listener(config, &mut program)?;
        seccomp::install_filter(
            program.get(..len).unwrap_or_default(),
            filter::listener_flags(config, probe::features()),
        )
    })
}

/// Begins the record of a stub that is to be started.
///
/// `stub`: memory for it that the guest cannot reach. It is the library's alone until the stub has ended, and is not
/// moved. `shared`: the stub's data, `STUBGUARD_DATA_SIZE` bytes, which stay the caller's. Any thread.
///
/// Returns 0; -EINVAL for NULL, or what is not aligned; -EOPNOTSUPP, -ENODEV as above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stubguard_stub_init(stub: *mut StubRecord, shared: *mut c_void) -> c_int {
    ret::call(|| {
        window()?;
        if shared.is_null() || !shared.cast::<[u64; 2]>().is_aligned() {
            return Err(Errno::EINVAL);
        }
        // SAFETY: the caller's promise.
        unsafe { begin(stub, Stub::none(shared)) }
    })
}

/// Says what is known of a stub.
///
/// `info`: `size` is set by the caller, who gets as much. No other thread uses `stub` meanwhile.
///
/// Returns 0; -EINVAL for NULL, what is not aligned, a record that stubguard_stub_init() has not begun, or too small a
/// size; -E2BIG for a size that no version has; -EOPNOTSUPP, -ENODEV as above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stubguard_stub_info(stub: *mut StubRecord, info: *mut StubInfo) -> c_int {
    ret::call(|| {
        window()?;
        // SAFETY: the caller's promise.
        let (_, stub) = unsafe { record(stub) }?;
        // SAFETY: the caller's promise.
        let size = unsafe { sized::size(info) }?;
        let Stub { shared, identity, pid, listener, .. } = *stub;
        // SAFETY: the caller has so many bytes.
        unsafe { sized::write(info, &StubInfo { size, shared, identity, pid, listener }, size) };
        Ok(())
    })
}

/// Takes a new stub over, which has been started.
///
/// `stub`: as stubguard_stub_init() has begun it. `pid`: a child that cannot be reaped meanwhile, and stays the
/// caller's. `listener`: from stubguard_listen(); stubguard_stub_end() closes it. The stub must have the guest's memory
/// as fd `STUBGUARD_MEMORY_FD`, and nothing else that can be mapped; the host maps nothing by it but in the library's
/// code, as the stub has an `RLIMIT_AS` of 0 otherwise. The monitor's thread; does not block. The first
/// stubguard_stub_resume() waits until it parks.
///
/// Returns 0; -EINVAL; -EBADF, -ENOTTY for what is no listener; -ESRCH if there is no such process;
/// -EMFILE, ... as the host says; -EOPNOTSUPP, -ENODEV as above. On failure `stub` is as it was.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stubguard_stub_attach(stub: *mut StubRecord, pid: c_int, listener: c_int) -> c_int {
    ret::call(|| {
        window()?;
        // SAFETY: the caller's promise.
        let (_, stub) = unsafe { record(stub) }?;
        if pid <= 0 || !stub.is_none() {
            return Err(Errno::EINVAL);
        }
        *stub = stub.attached(pid, borrow(listener)?)?;
        Ok(())
    })
}

/// Keeps a stub for another address space, instead of its end.
///
/// It is resumed once more, without a guest, and waited for: nothing that its guest could have prepared is
/// left. `stub`: parked. `mm_id`, `cpu`: as for stubguard_stub_wait(). On success the record, the
/// process, its fds and its data pages are the library's, until stubguard_stub_take() gives them out
/// again. The monitor's thread of that stub; waits as stubguard_stub_wait() does, a few microseconds.
///
/// Returns 0; -EINVAL for NULL, or a stub that is not parked, or has done what honest code does not do;
/// -ENOSPC if `stubguard_config.pool_size` stubs are kept; -ETIMEDOUT, -ESRCH, -EPROTO as stubguard_stub_wait();
/// -EOPNOTSUPP, -ENODEV as above. Then the caller ends it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stubguard_stub_put(stub: *mut StubRecord, mm_id: *mut MmId, cpu: c_int) -> c_int {
    ret::call(|| {
        // SAFETY: the caller's promise.
        let mut parked = unsafe { parked(stub, mm_id) }?;
        if !pool::has_room(parked.monitor.config) {
            return Err(Errno::ENOSPC);
        }
        parked.wash(cpu)?;
        pool::put(parked.monitor.config, parked.stub)
    })
}

/// Takes a stub that stubguard_stub_put() has kept: parked, with a listener and data pages, which now
/// are the caller's. Nothing is left of its former guest.
///
/// `stub`: memory for its record, as for stubguard_stub_init(); stubguard_stub_info() tells of its process and pages. It
/// may have died meanwhile, and been reaped: see stubguard_stub_lives(). Any thread.
///
/// Returns 1; 0 if none is kept; -EINVAL; -EOPNOTSUPP, -ENODEV as above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stubguard_stub_take(stub: *mut StubRecord) -> c_int {
    ret::call(|| {
        let config = window()?;
        if stub.is_null() || !stub.is_aligned() {
            return Err(Errno::EINVAL);
        }
        let Some(taken) = pool::take() else { return Ok(false) };
        let base = NonNull::new(taken.shared).ok_or(Errno::EIO)?;
        // SAFETY: pages that a caller has given together with that stub.
        let pages = unsafe { StubData::new(base, config.layout.size) };
        pages.zero(0, config.layout.size).ok_or(Errno::EIO)?;
        // SAFETY: the caller's promise.
        unsafe { begin(stub, taken) }?;
        Ok(true)
    })
}

/// Says whether a stub lives, reaped or not. Its listener tells; before Linux 6.11 only of a stub that was reaped, so that
/// the host is asked as well.
///
/// No other thread uses `stub` meanwhile; does not block. Returns 1; 0 if it is dead; -EINTR if signals came at every of a hundred looks;
/// -EINVAL, -EBADF; -EOPNOTSUPP, -ENODEV as above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stubguard_stub_lives(stub: *mut StubRecord) -> c_int {
    ret::call(|| {
        window()?;
        // SAFETY: the caller's promise.
        let (_, stub) = unsafe { record(stub) }?;
        stub.lives(borrow(stub.listener)?, probe::features())
    })
}

/// Ends a stub that is not needed any more: kills it, and closes its listener. No breach, so `stubguard_stats.kills`
/// does not count it.
///
/// `stub`: afterwards only stubguard_stub_info() tells of it; the record is the caller's memory again. Its data pages are
/// the caller's to free, its process the caller's to reap. No other thread uses it meanwhile; does not wait for its end.
///
/// Returns 0; -ESRCH if it had died and been reaped; -EMFILE if there was no fd to kill it by. The listener is
/// closed in any of these cases, and without a listener a stub that is parked, or parks, ends itself. -EINVAL,
/// -EBADF, -ENOTTY for what is no stub's: nothing is done; -EOPNOTSUPP, -ENODEV as above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stubguard_stub_end(stub: *mut StubRecord) -> c_int {
    ret::call(|| {
        window()?;
        // SAFETY: the caller's promise.
        let (caller, stub) = unsafe { record(stub) }?;
        if stub.is_none() {
            return Err(Errno::EINVAL);
        }
        let listener = borrow(stub.listener)?;
        if !seccomp::is_listener(listener) {
            return Err(Errno::ENOTTY);
        }
        let killed = stub.kill();
        let _ = nix::unistd::close(stub.listener);
        caller.store(0, Ordering::Release);
        stub.end();
        killed
    })
}

/// # Safety
/// `memory` is NULL, or the caller's, and nobody uses it meanwhile.
unsafe fn begin(memory: *mut StubRecord, stub: Stub) -> Result<()> {
    if memory.is_null() || !memory.is_aligned() {
        return Err(Errno::EINVAL);
    }
    // SAFETY: the caller's, not NULL, aligned for a record, and large enough for one.
    unsafe { memory.cast::<Record>().write(Record::new(stub)) };
    Ok(())
}

/// The record, if [`begin`] has begun one there.
///
/// # Safety
/// `memory` is NULL, or such memory, of whose record other threads use `caller` only.
unsafe fn record<'a>(memory: *mut StubRecord) -> Result<(&'a AtomicUsize, &'a mut Stub)> {
    // SAFETY: the caller's promise.
    let record = unsafe { begun(memory) }?;
    // SAFETY: begun, so it is an atomic, which any thread may use.
    let caller = unsafe { &(*record).caller };
    // SAFETY: begun, and apart from that; no other thread uses it.
    let stub = unsafe { &mut (*record).stub };
    Ok((caller, stub))
}

/// # Safety
/// As [`record`]; a thread that uses nothing but `caller` need not have the stub.
unsafe fn begun(memory: *mut StubRecord) -> Result<*mut Record> {
    if memory.is_null() || !memory.is_aligned() {
        return Err(Errno::EINVAL);
    }
    const { assert!(offset_of!(Record, mark) == 0) };
    // SAFETY: the caller's memory, whatever is in it; nobody changes this word but at the beginning.
    let mark = unsafe { memory.cast::<u64>().read() };
    if mark == Record::MARK { Ok(memory.cast()) } else { Err(Errno::EINVAL) }
}

/// Bytes of a guest's registers.
const REGISTERS_SIZE: u32 = size_of::<[u64; STUBGUARD_REGISTERS]>() as u32;

/// # Safety
/// As [`record`], and the stub's fds are still open and its pages are still there.
unsafe fn parked<'a>(
    stub: *mut StubRecord,
    mm_id: *mut MmId,
) -> Result<Parked<'a, impl FnMut(u64, u64, u64) -> bool>> {
    let config = window()?;
    // SAFETY: the caller's promise.
    let (caller, stub) = unsafe { record(stub) }?;
    if stub.is_none() {
        return Err(Errno::EINVAL);
    }
    let base = NonNull::new(stub.shared).ok_or(Errno::EINVAL)?;
    Ok(Parked {
        monitor: monitor(mm_id, stub.listener)?,
        features: probe::features(),
        // SAFETY: the caller's promise.
        shared: unsafe { StubData::new(base, config.layout.size) },
        caller,
        stub,
    })
}

/// # Safety
/// The pointers are NULL, or point to a guest's registers and floating-point state.
unsafe fn state(config: &Config, registers: *mut u64, fp: *mut c_void) -> Result<Caller> {
    Ok(Caller {
        // SAFETY: the caller has so many words.
        registers: unsafe { memory(registers.cast(), REGISTERS_SIZE) }?,
        // SAFETY: the caller has so many bytes.
        fp: unsafe { memory(fp, config.fp_size) }?,
    })
}

/// # Safety
/// `pointer` is NULL, or points to `size` bytes.
unsafe fn memory(pointer: *mut c_void, size: u32) -> Result<StubData> {
    let base = NonNull::new(pointer).filter(|base| base.cast::<u64>().is_aligned()).ok_or(Errno::EINVAL)?;
    // SAFETY: the caller's promise.
    Ok(unsafe { StubData::new(base, size) })
}

/// Lets a stub go on: it runs the batch, then the guest.
///
/// How is the library's decision. A new stub is waited for until it parks. A guest that is in a call which has come by
/// notification, and has nothing else to do, is given the call's result, its rax, and goes on behind it. In all other
/// cases the registers of the guest that is in a call are taken over first (see stubguard_stub_fetch()), and
/// the stub is given the batch and the guest.
///
/// Each call of the batch is checked as seccomp_serve_stub_syscalls() checks it, and asks
/// stub_mmap_allowed() for each page; a page that the page table does not grant any more is left out.
///
/// `mm_id`: passed through to stub_mmap_allowed(). `request`: it and what it points to are copied before the function
/// returns. But if stubguard_stub_wait() reports a call with `notified`, `registers` and `fp` stay in use: they are where
/// stubguard_stub_fetch() and the next resume, whoever's, take that guest's registers over to. The monitor's thread of
/// that stub. At most two host calls where it need not wait, however long the batch is.
///
/// Returns 0; -EINTR: a new stub has not parked yet, look around, and call it again; -EINVAL for bad arguments, or a stub
/// that has been resumed already; -E2BIG for a request with members that are not known: nothing has changed; -EPERM for a
/// batch that is not the guest's to run; -ETIMEDOUT, -ESRCH, -EPROTO as stubguard_stub_wait(); others as prlimit(2) and
/// pidfd_open(2). After these the stub must be killed. -EOPNOTSUPP, -ENODEV as above.
/// Series: patches 2, 3, 5.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stubguard_stub_resume(
    stub: *mut StubRecord,
    mm_id: *mut MmId,
    request: *const ResumeRequest,
) -> c_int {
    ret::call(|| {
        // SAFETY: the caller's promise.
        let mut parked = unsafe { parked(stub, mm_id) }?;
        // SAFETY: the caller's promise.
        let ResumeRequest { flags, cpu, calls, calls_len, reserved, registers, fp, .. } =
            unsafe { sized::read(request) }?;
        let len = calls_len as usize;
        if flags & !RESUME_FLAGS != 0 || reserved != 0 || len > STUBGUARD_CALLS_MAX {
            return Err(Errno::EINVAL);
        }
        let calls = if len == 0 {
            &[]
        } else if calls.is_null() || !calls.is_aligned() {
            return Err(Errno::EINVAL);
        } else {
            // SAFETY: the caller has so many, and does not change them meanwhile.
            unsafe { core::slice::from_raw_parts(calls, len) }
        };
        let guest = if registers.is_null() {
            None
        } else {
            Some(Guest {
                // SAFETY: the caller's promise.
                state: unsafe { state(parked.monitor.config, registers, fp) }?,
                step: flags & STUBGUARD_RESUME_STEP != 0,
                trap: flags & (STUBGUARD_RESUME_WATCHED | STUBGUARD_RESUME_SHARED) != 0,
            })
        };
        parked.resume(&Resume { calls, guest, cpu })
    })
}

/// Waits until a stub that has been resumed stops, and takes over what it says.
///
/// `mm_id`: as for stubguard_stub_resume(). `cpu`: as for seccomp_wd_enter(): the watchdog watches the
/// wait. `event`: what has happened; `size` is set by the caller, who gets as much. `registers`: `STUBGUARD_REGISTERS`
/// words, of which those that a guest can change are written (not orig_rax, the bases, and the selectors of data). `fp`:
/// `fp_size` bytes. `siginfo`: a `siginfo_t`. These three are written if the guest was resumed, `event.signal` is not 0
/// and `event.again` is 0. With `event.notified` only `registers` are: what is not the call's is 0, but the stack
/// pointer stays as it was. Where no guest was resumed they may be NULL. All are written only on success. The monitor's
/// thread of that stub.
///
/// Blocks until the stub parks, which it does at the latest when it is signalled (SIGALRM), dies, or a
/// signal whose handler does not restart calls interrupts the wait; a stub that does neither is killed by
/// the watchdog.
///
/// Returns 0; -EINTR: look around, and call it again; -ETIMEDOUT if the watchdog has killed the stub; -ESRCH if it is dead
/// for another reason; -EPROTO if it has broken the protocol (a line has said how). After these it must be killed
/// (stubguard_kill_stub()), unless it has ended. -EINVAL for bad arguments, or a stub that was not resumed; -EOPNOTSUPP, -ENODEV as above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stubguard_stub_wait(
    stub: *mut StubRecord,
    mm_id: *mut MmId,
    cpu: c_int,
    event: *mut Event,
    registers: *mut u64,
    fp: *mut c_void,
    siginfo: *mut c_void,
) -> c_int {
    ret::call(|| {
        // SAFETY: the caller's promise.
        let mut parked = unsafe { parked(stub, mm_id) }?;
        // SAFETY: the caller's promise.
        let size = unsafe { sized::size(event) }?;
        let target = if registers.is_null() {
            None
        } else {
            Some(Target {
                // SAFETY: the caller's promise.
                state: unsafe { state(parked.monitor.config, registers, fp) }?,
                // SAFETY: the caller has room for a siginfo_t.
                siginfo: Some(unsafe { memory(siginfo, frame::SIGINFO) }?),
                rest: false,
            })
        };
        let result = parked.wait(cpu, target.as_ref())?;
        // SAFETY: the caller has so many bytes.
        unsafe { sized::write(event, &result, size) };
        Ok(())
    })
}

/// Takes over all of a guest that is in a call which has come by notification, so that it is as if the call
/// had made a signal frame: its registers are where stubguard_stub_resume() was told, and the stub is parked. Does nothing
/// if there is no such guest. To be called before anything but the call's result changes or is looked at (a signal's
/// delivery, a tracer, a restart), and before the registers' memory is another's.
///
/// `mm_id`, `cpu`: as for stubguard_stub_wait(). `registers`: whose, if it is to be only these; NULL for whoever's. Of the
/// registers those are left alone that the call's event has had: rip, rax, and the arguments. The monitor's thread of that
/// stub; it waits, for as long as it takes the stub to park.
///
/// Returns 0; -EINVAL for bad arguments: nothing has changed; -ETIMEDOUT, -ESRCH if the stub is dead; -EPROTO if it has not parked as
/// it must (a line has said so); others as pidfd_open(2): then it must be killed. -EOPNOTSUPP, -ENODEV as above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stubguard_stub_fetch(
    stub: *mut StubRecord,
    mm_id: *mut MmId,
    cpu: c_int,
    registers: *const u64,
) -> c_int {
    // SAFETY: the caller's promise.
    ret::call(|| unsafe { parked(stub, mm_id) }?.fetch(cpu, registers.addr()))
}

/// Says whose registers are in the stub, so that stubguard_stub_fetch() would do something.
///
/// Any thread, at any time from stubguard_stub_init() on, whoever has the stub; no host call. What it says of a
/// thread's own registers stays so until that thread, or another one by a function above, does something about it.
///
/// Returns the `registers` of the resume by which the guest got there; NULL if there is no guest in a call, or the
/// record has not been begun.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stubguard_stub_caller(stub: *mut StubRecord) -> *const u64 {
    // SAFETY: the caller's promise.
    let record = unsafe { begun(stub) };
    // SAFETY: begun; an atomic, which any thread may look at.
    let address = record.map_or(0, |record| unsafe { &(*record).caller }.load(Ordering::Acquire));
    core::ptr::without_provenance(address)
}

const _: () = {
    assert!(size_of::<StubRecord>() == 256 && align_of::<StubRecord>() == 8);
    assert!(size_of::<Event>() == 56 && align_of::<Event>() == 8);
    assert!(offset_of!(Event, error_code) == 32);
    assert!(size_of::<ResumeRequest>() == 48 && align_of::<ResumeRequest>() == 8);
    assert!(offset_of!(ResumeRequest, calls) == 16 && offset_of!(ResumeRequest, registers) == 32);
    assert!(size_of::<BatchCall>() == 32 && offset_of!(BatchCall, kind) == 28);
    assert!(size_of::<StubInfo>() == 32 && offset_of!(StubInfo, pid) == 24);
};
