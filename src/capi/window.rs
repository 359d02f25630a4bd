// SPDX-License-Identifier: GPL-2.0-only
//! The C functions of window mode.

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

/// Copies the code that parked stubs run to `page`, which becomes their code page.
///
/// The code's first byte is the handler of all signals of a stub (sigaction(2)). The stub installs it
/// - with all signals blocked in the handler, and on the signal stack (SA_ONSTACK);
/// - with SA_RESTART if guests' calls notify: a signal that comes before the monitor has the call must not
///   fail it.
///
/// If guests' calls notify, or if the host has `STUBGUARD_F_DISPATCH` but not `STUBGUARD_F_UNFILTERED`, the
/// stub also calls prctl(PR_SET_SYSCALL_USER_DISPATCH): the byte at `STUBGUARD_SELECTOR` dispatches the calls
/// from outside the code page.
///
/// The code also has the limit under which a stub cannot map anything while a guest runs: a soft `RLIMIT_AS`
/// of 0, with the hard limit that this process had at stubguard_init().
///
/// `page`: one page (`page_size` bytes). Each stub maps it at `stub_start`, not writable, and its data after
/// it. The signal stack is `STUBGUARD_STACK_SIZE` bytes at `STUBGUARD_STACK` of that data. Any thread, before
/// the first stub.
///
/// Returns the code's length in bytes; -EINVAL for NULL, or a page that is not aligned; -EOPNOTSUPP in notify
/// mode; -ENODEV before stubguard_init().
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

/// Makes the listener of a stub, in the new process that will be the stub.
///
/// The new process still shares the monitor's fd table (CLONE_FILES), so the monitor has the listener from
/// the start. Afterwards the process takes an fd table of its own, and becomes the stub by execve(2).
///
/// Sets no_new_privs on the calling thread, and installs a filter that lets all calls through, but those that
/// notify. If the process shares the monitor's memory, too (vfork), this changes nothing there: errno stays.
///
/// Returns the fd, close-on-exec, which put_stub_listener() or stubguard_stub_end() closes; -EBUSY in a
/// sandbox that has a listener; -EOPNOTSUPP in notify mode; -ENODEV before stubguard_init(); others as
/// seccomp(2). Series: patch 1.
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

/// Begins the record of a stub that will be started.
///
/// `stub`: memory for the record, which the guest must not reach. Only the library uses it until the stub has
/// ended, and it must not move. `shared`: the stub's data, `STUBGUARD_DATA_SIZE` bytes, which stay the
/// caller's. Any thread.
///
/// Returns 0; -EINVAL for NULL, or a pointer that is not aligned; -EOPNOTSUPP in notify mode; -ENODEV before
/// stubguard_init().
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

/// Copies what is known of a stub to `info`: its process, its listener and its data pages.
///
/// `info`: the caller sets `size`, and gets that many bytes. Any thread; no other thread may use `stub`
/// meanwhile.
///
/// Returns 0; -EINVAL for NULL, a pointer that is not aligned, a record that was not begun, or too small a
/// size; -E2BIG for a size that no version has; -EOPNOTSUPP in notify mode; -ENODEV before stubguard_init().
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

/// Takes over a new stub that has been started.
///
/// `stub`: a record that stubguard_stub_init() has begun. `pid`: a child that nobody reaps meanwhile; it
/// stays the caller's. `listener`: from stubguard_listen(); stubguard_stub_end() closes it.
///
/// The stub must have the guest's memory as fd `STUBGUARD_MEMORY_FD`, and nothing else that can be mapped.
/// Outside the library's code the stub's `RLIMIT_AS` is 0, so the host maps nothing for it.
///
/// The monitor's thread; does not block. The first stubguard_stub_resume() waits until the stub parks. See
/// pidfd_open(2).
///
/// Returns
/// - 0;
/// - -EINVAL: bad arguments, or a record that has a stub;
/// - -EBADF, -ENOTTY: `listener` is not a listener;
/// - -ESRCH: there is no such process;
/// - -EOPNOTSUPP in notify mode; -ENODEV before stubguard_init();
/// - -EMFILE, ...: as pidfd_open(2).
///
/// On failure `stub` is as it was.
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

/// Keeps a stub for another mm, instead of ending it.
///
/// The monitor resumes the stub once more without a guest, and waits for it. Afterwards nothing is left that
/// its guest could have prepared.
///
/// `stub`: parked. `mm_id`, `cpu`: as for stubguard_stub_wait(). On success the library owns the record, the
/// process, its fds and its data pages, until stubguard_stub_take() hands them out again. The monitor's
/// thread of that stub; waits as stubguard_stub_wait() does, a few microseconds.
///
/// Returns
/// - 0;
/// - -EINVAL: bad arguments, a stub that is not parked, or one that has done what honest code does not do;
/// - -ENOSPC: `stubguard_config.pool_size` stubs are kept already;
/// - -ETIMEDOUT, -ESRCH, -EPROTO: as stubguard_stub_wait();
/// - -EOPNOTSUPP in notify mode; -ENODEV before stubguard_init().
///
/// On failure the caller ends the stub.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stubguard_stub_put(stub: *mut StubRecord, mm_id: *mut MmId, cpu: c_int) -> c_int {
    ret::call(|| {
        // SAFETY: the caller's promise.
        let mut parked = unsafe { parked(stub, mm_id) }?;
        parked.put(cpu)
    })
}

/// Takes a stub that stubguard_stub_put() has kept. It is parked, and nothing is left of its former guest.
/// Its process, listener and data pages are the caller's from now on.
///
/// `stub`: memory for its record, as for stubguard_stub_init(). stubguard_stub_info() tells its process and
/// pages. The stub may have died meanwhile, and been reaped: see stubguard_stub_lives(). Any thread.
///
/// Returns 1; 0 if no stub is kept; -EINVAL for NULL, or a pointer that is not aligned; -EOPNOTSUPP in notify
/// mode; -ENODEV before stubguard_init().
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

/// Says whether a stub lives. The answer is right whether the stub was reaped or not.
///
/// The listener tells. Before Linux 6.11 it tells only of a stub that was reaped, so the library asks
/// waitid(2) as well.
///
/// `stub`: a record that has a stub. Any thread; no other thread may use `stub` meanwhile. Does not block.
///
/// Returns
/// - 1: it lives;
/// - 0: it is dead;
/// - -EINTR: a signal came at each of a hundred looks;
/// - -EINVAL, -EBADF: a record that was not begun, or has no stub;
/// - -EOPNOTSUPP in notify mode; -ENODEV before stubguard_init().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stubguard_stub_lives(stub: *mut StubRecord) -> c_int {
    ret::call(|| {
        window()?;
        // SAFETY: the caller's promise.
        let (_, stub) = unsafe { record(stub) }?;
        stub.lives(borrow(stub.listener)?, probe::features())
    })
}

/// Ends a stub that is no longer needed: kills it, and closes its listener. This is no breach, so
/// `stubguard_stats.kills` does not count it.
///
/// `stub`: a record that has a stub, in any state. Afterwards it is the caller's memory again, and
/// stubguard_stub_info() still tells of it. The caller frees its data pages and reaps its process. Any thread; no
/// other thread may use `stub` meanwhile. Does not wait for the process's end. See pidfd_send_signal(2).
///
/// Returns
/// - 0;
/// - -ESRCH: it had died and was reaped;
/// - -EMFILE: there was no fd to kill it by. A stub that is parked, or parks, ends itself, as it has no
///   listener any more;
/// - -EINVAL, -EBADF, -ENOTTY: it is no stub's record or listener: nothing is done;
/// - -EOPNOTSUPP in notify mode; -ENODEV before stubguard_init().
///
/// After 0, -ESRCH and -EMFILE the listener is closed.
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

/// Returns the record that [`begin`] has begun there.
///
/// # Safety
/// `memory` is NULL, or such memory. Other threads use only `caller` of its record.
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
/// As [`record`]. A thread that uses only `caller` need not have the stub.
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

/// Lets a stub go on: it runs the batch, then the guest. The library decides how:
/// - If the stub is new, the monitor waits until it parks.
/// - If the guest is in a call that notified, and needs only the call's result (its rax), the monitor answers
///   the call. The guest continues after it.
/// - If the guest is in such a call and needs more, the monitor first fetches its registers (see
///   stubguard_stub_fetch()).
/// - If the stub is parked, the monitor gives it the batch and the guest.
///
/// Each call of the batch is checked as in seccomp_serve_stub_syscalls(). The library asks
/// stub_mmap_allowed() for each page. It leaves out a page that the page table no longer grants, and maps a
/// page that has lost write permission without it.
///
/// `mm_id`: passed through to stub_mmap_allowed(). `request`: the function copies it and what it points to
/// before it returns.
///
/// If stubguard_stub_wait() then reports a call with `notified`, the `registers` and `fp` of that wait stay
/// in use. stubguard_stub_fetch() and the next resume of this stub, by whichever thread, store that guest's
/// registers there.
///
/// The monitor's thread of that stub. If it need not wait, it makes at most two host calls, however long the
/// batch is.
///
/// Returns
/// - 0;
/// - -EINTR: a new stub has not parked yet. Handle other events, then call again. Nothing has changed;
/// - -EINVAL: bad arguments, or the stub was resumed already. Nothing has changed;
/// - -E2BIG: the request has members that this library does not know. Nothing has changed;
/// - -EOPNOTSUPP in notify mode; -ENODEV before stubguard_init();
/// - -EPERM: the batch has a call that the policy denies; -ETIMEDOUT: the watchdog has killed the stub;
///   -ESRCH: it is dead; -EPROTO: it has broken the protocol (a log line has said how); others as prlimit(2)
///   and pidfd_open(2). After any of these kill the stub.
///
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

/// Waits until a resumed stub stops, and takes over what it reports.
///
/// | event                                                       | `registers` | `fp` | `siginfo` |
/// |-------------------------------------------------------------|-------------|------|-----------|
/// | `signal` = 0: the batch is done, or a call of it has failed | no          | no   | no        |
/// | `again` = 1: a signal came before the guest ran             | no          | no   | no        |
/// | `notified` = 1: the guest's call, without a signal frame    | (1)         | no   | no        |
/// | else: `signal` has stopped the guest                        | (2)         | yes  | yes       |
///
/// (1) Only rip, rax (the call's number) and the arguments are known. The other general registers and the
/// flags are set to 0, but rsp stays as it is. All else is not written.
///
/// (2) All are written but orig_rax, the FS and GS base, and the selectors of data.
///
/// On failure nothing is written.
///
/// `mm_id`: as for stubguard_stub_resume(). `cpu`: as for seccomp_wd_enter(); the watchdog watches the wait.
/// `event`: the caller sets `size`, and gets that many bytes. `registers`: `STUBGUARD_REGISTERS` words. `fp`:
/// `fp_size` bytes. `siginfo`: a `siginfo_t`. The last three may be NULL if no guest was resumed.
///
/// The monitor's thread of that stub. It blocks until
/// - the stub parks, at the latest when it gets a signal (SIGALRM), or its guest's call notifies;
/// - the stub dies. The watchdog kills one that does not park;
/// - a signal interrupts the wait whose handler does not restart calls (no SA_RESTART: sigaction(2)).
///
/// Returns
/// - 0;
/// - -EINTR: handle other events, then call again;
/// - -ETIMEDOUT: the watchdog has killed the stub; -ESRCH: it is dead for another reason;
/// - -EPROTO: the stub has broken the protocol (a log line has said how): kill it (stubguard_kill_stub());
/// - -EINVAL: bad arguments, or the stub was not resumed (a new one may be waited for, until it parks: its
///   registers are its own program's);
/// - -EOPNOTSUPP in notify mode; -ENODEV before stubguard_init().
///
/// See seccomp_unotify(2).
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

/// Fetches the registers of a guest that is in a call that notified, as if the call had made a signal frame.
/// Does nothing if there is no such guest.
///
/// Afterwards the stub is parked. The guest's state is stored in the `registers` and `fp` of the
/// stubguard_stub_wait() that reported the call. rip, rax and the arguments are left alone: that wait has
/// stored them already.
///
/// Call this before anything but the call's result changes or is looked at (a signal's delivery, a tracer, a
/// restart), and before the registers' memory is used for something else.
///
/// `mm_id`, `cpu`: as for stubguard_stub_wait(). `registers`: fetch only if these are the guest's; NULL for
/// any guest's. The monitor's thread of that stub; it waits until the stub parks. See pidfd_send_signal(2).
///
/// Returns
/// - 0;
/// - -EINVAL: bad arguments. Nothing has changed;
/// - -EOPNOTSUPP in notify mode; -ENODEV before stubguard_init();
/// - -ETIMEDOUT: the watchdog has killed the stub; -ESRCH: it is dead; -EPROTO: it has not parked as it must
///   (a log line has said so); others as pidfd_open(2). After any of these kill the stub.
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

/// Returns the `registers` of the guest that is in a call that notified: those of the stubguard_stub_wait()
/// that reported the call. stubguard_stub_fetch() would fetch them. NULL if there is no such guest, or if the
/// record was not begun.
///
/// Any thread, at any time from stubguard_stub_init() on, whoever uses the stub; no host call. If a thread is
/// told its own registers, this stays true until that thread, or another one by a function above, resumes,
/// fetches or ends the stub.
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
