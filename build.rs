// SPDX-License-Identifier: GPL-2.0-only
//! Compiles the seccomp filter of the watchdog's thread into a constant, so that the library
//! itself needs neither seccompiler nor a heap.

use seccompiler::SeccompCmpArgLen::Dword;
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{BpfProgram, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule, TargetArch};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::{env, fs, path::Path};

/// `O_ACCMODE | O_CREAT | O_TRUNC`: none of them may be set, so a file can only be read.
const OPEN_TO_CHANGE: u64 = 0o3 | 0o100 | 0o1000;

/// What the thread calls: watchdog/mod.rs and what that uses of host/, a log function's write(2),
/// and the C library's end of a thread.
fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, Box<dyn Error>> {
    let when = |argument, operator, value| -> Result<Vec<SeccompRule>, Box<dyn Error>> {
        Ok(vec![SeccompRule::new(vec![SeccompCondition::new(argument, Dword, operator, value)?])?])
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_close,
        libc::SYS_fstat,
        libc::SYS_newfstatat,
        libc::SYS_fstatfs,
        libc::SYS_pidfd_open,
        libc::SYS_getpid,
        libc::SYS_futex,
        libc::SYS_restart_syscall,
        libc::SYS_rt_sigprocmask,
        libc::SYS_madvise,
        libc::SYS_munmap,
        libc::SYS_exit,
    ]
    .into_iter()
    .map(|call| (call, Vec::new()))
    .collect();
    rules.insert(libc::SYS_openat, when(2, MaskedEq(OPEN_TO_CHANGE), 0)?);
    let mut signals = when(1, Eq, 9)?;
    signals.extend(when(1, Eq, 0)?);
    rules.insert(libc::SYS_pidfd_send_signal, signals);
    // The kick: a signal to a thread of this process. Which process cannot be known here.
    rules.insert(libc::SYS_tgkill, Vec::new());
    Ok(rules)
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let arch: TargetArch = env::var("CARGO_CFG_TARGET_ARCH")?.as_str().try_into()?;
    // A call that is not listed fails: ending the whole kernel for it would be the greater harm.
    let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let program: BpfProgram = SeccompFilter::new(rules()?, denied, SeccompAction::Allow, arch)?.try_into()?;

    let mut text = format!("pub const PROGRAM: [libc::sock_filter; {}] = [\n", program.len());
    for instruction in &program {
        let seccompiler::sock_filter { code, jt, jf, k } = instruction;
        writeln!(text, "    libc::sock_filter {{ code: {code:#x}, jt: {jt}, jf: {jf}, k: {k:#x} }},")?;
    }
    text.push_str("];\n");
    fs::write(Path::new(&env::var("OUT_DIR")?).join("watchdog_filter.rs"), text)?;
    Ok(())
}
