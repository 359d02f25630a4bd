// SPDX-License-Identifier: GPL-2.0-only
//! Window mode: parked stubs.

use super::{MmId, borrow, listener, notify, ret};
use crate::config::{self, Config, STUBGUARD_WINDOW};
use crate::host::probe::STUBGUARD_F_RECEIVE_ENDS;
use crate::host::seccomp;
use crate::host::{pidfd, rlimit};
use crate::monitor::parked::{Event, Guest, Parked, Resume, STUBGUARD_REGISTERS, Stub, Target};
use crate::monitor::pool;
use crate::stub::memory::StubData;
use crate::stub::{code, filter, frame};
use crate::{Errno, Result};
use core::ffi::{c_int, c_void};
use core::ptr::NonNull;

/// How a stub is to go on: see stubguard_stub_resume().
#[derive(Debug)]
#[repr(C)]
pub struct ResumeRequest {
    /// The monitor's copy of the stub's data, which holds the batch.
    pub own: *const c_void,
    /// How many calls that has.
    pub calls: c_int,
    /// 0.
    pub reserved: c_int,
    /// The guest's registers: `STUBGUARD_REGISTERS` words, as PTRACE_GETREGS has them (`struct
    /// user_regs_struct`). NULL to run only the batch.
    pub registers: *const u64,
    /// The guest's floating-point state: `fp_size` bytes, as NT_X86_XSTATE has them.
    pub fp: *const c_void,
    /// Not 0: the guest traps (SIGTRAP) after one instruction.
    pub step: c_int,
    /// Not 0: the guest's calls make a signal frame, all of them. To be said of one that would have to be
    /// fetched anyway: other threads want the stub, or a tracer watches.
    pub trap: c_int,
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
/// `page`: the configured page size; each stub maps it, not writable, at `stub_start`, and its two
/// data pages behind it. Any thread, before the first stub.
///
/// Returns the code's length; -EINVAL for NULL, or what is not aligned; -EOPNOTSUPP without `STUBGUARD_WINDOW`; -ENODEV before
/// stubguard_init().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stubguard_stub_code(page: *mut c_void) -> c_int {
    ret::call(|| {
        window()?;
        // SAFETY: the caller's, of the configured size, which is `code::PAGE`.
        let page = unsafe { memory(page, code::PAGE as u32) }?;
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
        seccomp::install_filter(program.get(..len).unwrap_or_default(), listener::listener_flags())
    })
}

/// Takes a new stub over.
///
/// `stub`: the library's record of it, in memory that the guest cannot reach; the caller keeps it as
/// long as the stub. `pid`: a child that cannot be reaped meanwhile. `listener`: from stubguard_listen().
/// `shared`: the stub's two data pages. Both stay the caller's. The stub must have the guest's memory as fd
/// `STUBGUARD_MEMORY_FD`, and nothing else that can be mapped; the host maps nothing by it but in the library's
/// code, as the stub has an `RLIMIT_AS` of 0 otherwise. The monitor's thread; does not block. Then
/// stubguard_stub_wait() waits for the first park.
///
/// Returns 0; -EINVAL; -EBADF, -ENOTTY for what is no listener; -ESRCH if there is no such process;
/// -EMFILE, ... as the host says; -EOPNOTSUPP, -ENODEV as above. On failure `stub` is as it was.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stubguard_stub_attach(
    stub: *mut Stub,
    pid: c_int,
    listener: c_int,
    shared: *mut c_void,
) -> c_int {
    ret::call(|| {
        window()?;
        if stub.is_null() || !stub.is_aligned() || pid <= 0 || !is_data(shared) {
            return Err(Errno::EINVAL);
        }
        let fd = borrow(listener)?;
        if !seccomp::is_listener(fd) {
            return Err(Errno::ENOTTY);
        }
        let process = pidfd::open(pid)?;
        let identity = pidfd::identity(&process, pid)?;
        // An older host: slower, not weaker.
        let _ = seccomp::set_sync_wake_up(fd);
        let new = Stub::new(pid, listener, identity, shared);
        // SAFETY: the caller's, not NULL, aligned.
        unsafe { stub.write(new) };
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
/// -ENOSPC if `stubguard_config.pool_size` stubs are kept; -ESRCH, -EPROTO as stubguard_stub_wait();
/// -EOPNOTSUPP, -ENODEV as above. Then the caller ends it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stubguard_stub_put(stub: *mut Stub, mm_id: *mut MmId, cpu: c_int) -> c_int {
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
/// `stub`: where its record goes. It may have died meanwhile, and been reaped: see stubguard_stub_lives().
/// Any thread.
///
/// Returns 1; 0 if none is kept; -EINVAL; -EOPNOTSUPP, -ENODEV as above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stubguard_stub_take(stub: *mut Stub) -> c_int {
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
        // SAFETY: the caller's, not NULL, aligned.
        unsafe { stub.write(taken) };
        Ok(true)
    })
}

/// Says whether a stub lives, reaped or not. Its listener tells; before Linux 6.11 only of a stub that was reaped, so that
/// the host is asked as well.
///
/// Any thread; does not block. Returns 1; 0 if it is dead; -EINTR if signals came at every of a hundred looks;
/// -EINVAL, -EBADF; -EOPNOTSUPP, -ENODEV as above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stubguard_stub_lives(stub: *const Stub) -> c_int {
    ret::call(|| {
        window()?;
        // SAFETY: the caller's promise.
        let stub = unsafe { record(stub) }?;
        let told = super::library::stubguard_features() & STUBGUARD_F_RECEIVE_ENDS != 0;
        Ok(!seccomp::is_gone(borrow(stub.listener)?)? && (told || !pidfd::has_ended(stub.pid)))
    })
}

/// Ends a stub that is not needed any more, as one that stubguard_stub_take() has given out: kills it, and closes
/// its listener. No breach, so `stubguard_stats.kills` does not count it.
///
/// `stub`: not to be used again, but for its data pages, which are the caller's to free, and its process, the
/// caller's to reap. Any thread; does not wait for its end.
///
/// Returns 0; -ESRCH if it had died and been reaped; -EMFILE if there was no fd to kill it by. The listener is
/// closed in any of these cases, and without a listener a stub that is parked, or parks, ends itself. -EINVAL,
/// -EBADF, -ENOTTY for what is no stub's: nothing is done; -EOPNOTSUPP, -ENODEV as above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stubguard_stub_end(stub: *const Stub) -> c_int {
    ret::call(|| {
        window()?;
        // SAFETY: the caller's promise.
        let stub = unsafe { record(stub) }?;
        if stub.pid <= 0 {
            return Err(Errno::EINVAL);
        }
        if !seccomp::is_listener(borrow(stub.listener)?) {
            return Err(Errno::ENOTTY);
        }
        let killed = pidfd::kill_identified(stub.pid, stub.identity);
        let _ = nix::unistd::close(stub.listener);
        killed
    })
}

/// # Safety
/// `stub` is NULL, or a record that nobody writes meanwhile.
unsafe fn record<'a>(stub: *const Stub) -> Result<&'a Stub> {
    if stub.is_null() || !stub.is_aligned() {
        return Err(Errno::EINVAL);
    }
    // SAFETY: the caller's promise; not NULL, aligned.
    Ok(unsafe { &*stub })
}

/// Bytes of a guest's registers.
const REGISTERS_SIZE: u32 = size_of::<[u64; STUBGUARD_REGISTERS]>() as u32;

fn is_data(shared: *mut c_void) -> bool {
    !shared.is_null() && shared.cast::<[u64; 2]>().is_aligned()
}

/// # Safety
/// `stub` is NULL, or a record that stubguard_stub_attach() has written, with its fds still open and its
/// memory still there.
unsafe fn parked<'a>(
    stub: *mut Stub,
    mm_id: *mut MmId,
) -> Result<Parked<'a, impl FnMut(u64, u64, u64) -> bool>> {
    let config = window()?;
    if stub.is_null() || !stub.is_aligned() {
        return Err(Errno::EINVAL);
    }
    // SAFETY: the caller's promise; nobody else uses it meanwhile (documented).
    let stub = unsafe { &mut *stub };
    let base = NonNull::new(stub.shared).ok_or(Errno::EINVAL)?;
    Ok(Parked {
        monitor: notify::monitor(mm_id, stub.listener)?,
        features: super::library::stubguard_features(),
        // SAFETY: the caller's promise.
        shared: unsafe { StubData::new(base, config.layout.size) },
        stub,
    })
}

/// # Safety
/// `pointer` is NULL, or points to `size` bytes.
unsafe fn memory(pointer: *mut c_void, size: u32) -> Result<StubData> {
    let base = NonNull::new(pointer).filter(|base| base.cast::<u64>().is_aligned()).ok_or(Errno::EINVAL)?;
    // SAFETY: the caller's promise.
    Ok(unsafe { StubData::new(base, size) })
}

/// Lets a parked stub go on: it runs the batch, then the guest.
///
/// Each call of the batch is checked as seccomp_serve_stub_syscalls() checks it, and asks
/// stub_mmap_allowed() for each page; a page that the page table does not grant any more is left out.
///
/// `mm_id`: passed through to stub_mmap_allowed(). `request`: copied before the function returns. The
/// monitor's thread of that stub; does not block. Two host calls at most, however long the batch is.
///
/// Returns 0; -EINVAL for bad arguments, or a stub that is not parked: nothing has changed; -EPERM for a
/// batch that is not the guest's to run; -ESRCH if the stub is dead; others as prlimit(2). After
/// these the stub must be killed. -EOPNOTSUPP, -ENODEV as above. Series: patches 2, 3, 5.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stubguard_stub_resume(
    stub: *mut Stub,
    mm_id: *mut MmId,
    request: *const ResumeRequest,
) -> c_int {
    ret::call(|| {
        // SAFETY: the caller's promise.
        let mut parked = unsafe { parked(stub, mm_id) }?;
        if request.is_null() || !request.is_aligned() {
            return Err(Errno::EINVAL);
        }
        // SAFETY: the caller's, not NULL, aligned.
        let request = unsafe { &*request };
        let layout = &parked.monitor.config.layout;
        let calls = u32::try_from(request.calls).map_err(|_| Errno::EINVAL)?;
        if request.reserved != 0 {
            return Err(Errno::EINVAL);
        }
        let guest = if request.registers.is_null() {
            None
        } else {
            if !request.registers.is_aligned() {
                return Err(Errno::EINVAL);
            }
            Some(Guest {
                // SAFETY: the caller has so many words.
                registers: unsafe { request.registers.cast::<[u64; STUBGUARD_REGISTERS]>().read() },
                // SAFETY: the caller has so many bytes.
                fp: unsafe { memory(request.fp.cast_mut(), layout.fp_size) }?,
                step: request.step != 0,
                trap: request.trap != 0,
            })
        };
        // SAFETY: the caller's stub data, of the configured size.
        let own = unsafe { memory(request.own.cast_mut(), layout.size) }?;
        parked.resume(&Resume { own, calls, guest })
    })
}

/// Waits until a stub parks, and takes over what it says.
///
/// `mm_id`: as for stubguard_stub_resume(). `cpu`: as for seccomp_wd_enter(): the watchdog watches the
/// wait. `event`: what has happened. `registers`: `STUBGUARD_REGISTERS` words, of which those that a guest
/// can change are written (not orig_rax, the bases, and the selectors of data). `fp`: `fp_size` bytes.
/// `siginfo`: a `siginfo_t`. These three are written if the guest was resumed, `event.signal` is not 0
/// and `event.again` is 0 (with `event.notified` only `registers`: what is not the call's is 0, but the stack pointer stays as it was); where no guest was resumed (the first park, a batch) they may be NULL. All
/// are written only on success. The monitor's thread of that stub.
///
/// Blocks until the stub parks, which it does at the latest when it is signalled (SIGALRM), dies, or a
/// signal whose handler does not restart calls interrupts the wait; a stub that does neither is killed by
/// the watchdog.
///
/// Returns 0; -EINTR: look around, and call it again; -ESRCH if the stub is dead; -EPROTO if it has
/// broken the protocol (a line has said how): it must be killed (stubguard_kill_stub()); -EINVAL for bad
/// arguments, or a stub that was not resumed; -EOPNOTSUPP, -ENODEV as above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stubguard_stub_wait(
    stub: *mut Stub,
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
        if event.is_null() || !event.is_aligned() {
            return Err(Errno::EINVAL);
        }
        let target = if registers.is_null() {
            None
        } else {
            Some(Target {
                // SAFETY: the caller has so many words.
                registers: unsafe { memory(registers.cast(), REGISTERS_SIZE) }?,
                // SAFETY: the caller has so many bytes.
                fp: unsafe { memory(fp, parked.monitor.config.layout.fp_size) }?,
                // SAFETY: the caller has room for a siginfo_t.
                siginfo: Some(unsafe { memory(siginfo, frame::SIGINFO) }?),
                rest: false,
            })
        };
        let result = parked.wait(cpu, target.as_ref())?;
        // SAFETY: the caller's, not NULL, aligned.
        unsafe { event.write(result) };
        Ok(())
    })
}

/// Answers a guest's call that has come by notification (`stubguard_event.notified`), and lets the guest go on
/// behind it, with all registers but the result as they are in the stub.
///
/// `result`: what the guest gets in rax. `mm_id`: as for stubguard_stub_resume(). The monitor's thread of
/// that stub; does not block; one host call. Then stubguard_stub_wait() waits.
///
/// Returns 0; -EINVAL if the stub is in no such call, or the result is one that only a kernel understands
/// (-ERESTARTSYS and the like): nothing has changed; -ESRCH if the stub is dead, others as the host says:
/// then it must be killed. -EOPNOTSUPP, -ENODEV as above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stubguard_stub_return(stub: *mut Stub, mm_id: *mut MmId, result: i64) -> c_int {
    ret::call(|| {
        // SAFETY: the caller's promise.
        let mut parked = unsafe { parked(stub, mm_id) }?;
        parked.return_call(result)
    })
}

/// Takes over all of a guest that is in a call which has come by notification, so that it is as if the call
/// had made a signal frame: the stub is parked, and is to be resumed. To be called before anything but the
/// call's result changes or is looked at (a signal's delivery, a tracer, a restart), before another thread
/// of the guest is resumed in this stub, and before a batch.
///
/// `mm_id`, `cpu`, `registers`, `fp`: as for stubguard_stub_wait(); of the registers those are left alone that
/// the call's event has had: rip, rax, and the arguments. The monitor's thread of that stub; it waits, for as
/// long as it takes the stub to park.
///
/// Returns 0; -EINVAL for bad arguments, or if the stub is in no such call: nothing has changed; -ESRCH if
/// the stub is dead; -EPROTO if it has not parked as it must (a line has said so); others as
/// pidfd_open(2): then it must be killed. -EOPNOTSUPP, -ENODEV as above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn stubguard_stub_fetch(
    stub: *mut Stub,
    mm_id: *mut MmId,
    cpu: c_int,
    registers: *mut u64,
    fp: *mut c_void,
) -> c_int {
    ret::call(|| {
        // SAFETY: the caller's promise.
        let mut parked = unsafe { parked(stub, mm_id) }?;
        let target = Target {
            // SAFETY: the caller has so many words.
            registers: unsafe { memory(registers.cast(), REGISTERS_SIZE) }?,
            // SAFETY: the caller has so many bytes.
            fp: unsafe { memory(fp, parked.monitor.config.layout.fp_size) }?,
            siginfo: None,
            rest: true,
        };
        parked.fetch(cpu, &target)
    })
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<Stub>() == 96 && align_of::<Stub>() == 8);
    assert!(offset_of!(Stub, identity) == 16 && offset_of!(Stub, notification) == 32);
    assert!(size_of::<Event>() == 48 && align_of::<Event>() == 8);
    assert!(offset_of!(Event, error_code) == 24);
    assert!(size_of::<ResumeRequest>() == 40 && align_of::<ResumeRequest>() == 8);
    assert!(offset_of!(ResumeRequest, registers) == 16);
};
