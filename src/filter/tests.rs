// SPDX-License-Identifier: GPL-2.0-only
//! Runs the filters in a BPF interpreter, and compares them with the rules. `rules.rs` reads these from the
//! tables at the heads of the filters' modules; `proof.rs` proves them for every input.

#![allow(clippy::arithmetic_side_effects, clippy::cast_sign_loss)]

mod notify;
pub mod proof;
mod rules;
mod window;

use super::*;
use crate::Errno;
use crate::abi::STUBGUARD_FILTER_MAX;
use crate::bpf::op;
use crate::config::example::notify as example;
use bpfvm::vm::BpfVM;
use libc::SECCOMP_RET_ALLOW as ALLOW;
use libc::SECCOMP_RET_KILL_PROCESS as KILL;
use libc::SECCOMP_RET_TRACE as TRACE;
use libc::SECCOMP_RET_TRAP as TRAP;
use libc::SECCOMP_RET_USER_NOTIF as NOTIFY;
use rules::Word;

const PAGE: u64 = 0x7fff_ffff_c000;
const X86_64: u32 = 0xc000_003e;
const ARCHITECTURES: [u32; 5] = [X86_64, 0x4000_0003, 0, 0xc000_00b7, u32::MAX];

/// Opcodes that only mutants of the filters have.
const JEQ_X: u16 = 0x1d;
const JGT_X: u16 = 0x2d;

const NOTHING: sock_filter = sock_filter { code: 0, jt: 0, jf: 0, k: 0 };

/// A call, as the host shows it to the programs.
#[derive(Clone, Copy, Debug)]
struct Seen {
    nr: u32,
    arch: u32,
    ip: u64,
    args: [u64; 6],
}

impl Seen {
    fn at(offset: u64, nr: u32, args: [u64; 6]) -> Self {
        Self { nr, arch: X86_64, ip: PAGE + offset, args }
    }

    fn word(&self, word: Word) -> u64 {
        match word {
            Word::Nr => self.nr.into(),
            Word::Arch => self.arch.into(),
            Word::Ip => self.ip,
            Word::Arg(n) => self.args[n - 1],
            // All that the host looks at where it takes an int.
            Word::Int(n) => u64::from(self.args[n - 1] as u32),
        }
    }

    fn words(&self) -> [u32; 16] {
        let mut words = [0; 16];
        words[..4].copy_from_slice(&[self.nr, self.arch, self.ip as u32, (self.ip >> 32) as u32]);
        for (pair, arg) in words[4..].chunks_mut(2).zip(self.args) {
            pair.copy_from_slice(&[arg as u32, (arg >> 32) as u32]);
        }
        words
    }
}

/// A filter of each mode, cut to its length.
fn made(make: impl FnOnce(&mut [sock_filter]) -> Result<usize>) -> Vec<sock_filter> {
    let mut out = vec![NOTHING; STUBGUARD_FILTER_MAX];
    let len = make(&mut out).unwrap_or(0);
    assert!(len > 0);
    out.truncate(len);
    out
}

fn machine(program: &[sock_filter]) -> BpfVM {
    BpfVM::new(&program.to_vec()).unwrap_or_else(|_| unreachable!())
}

/// Returns the filter's answer. The interpreter lacks the index register and the carry, so they are done
/// here.
fn answer(machine: &mut BpfVM, call: &Seen) -> u32 {
    let words = call.words();
    machine.reset().unwrap_or_else(|_| unreachable!());
    loop {
        let step = machine.prog[machine.pc];
        match step.code {
            op::TAX => machine.idx = machine.acc,
            op::ADD_K => machine.acc = machine.acc.wrapping_add(step.k),
            op::RSH_X => machine.acc = machine.acc.wrapping_shr(machine.idx),
            op::ADD_X => machine.acc = machine.acc.wrapping_add(machine.idx),
            op::JGE_X | JGT_X | JEQ_X => {
                let holds = match step.code {
                    op::JGE_X => machine.acc >= machine.idx,
                    JGT_X => machine.acc > machine.idx,
                    _ => machine.acc == machine.idx,
                };
                machine.pc += usize::from(if holds { step.jt } else { step.jf });
            }
            _ => match machine.execute(&words) {
                Ok(None) => continue,
                Ok(Some(answer)) => return answer,
                Err(error) => panic!("{step:?}: {error}"),
            },
        }
        machine.pc += 1;
    }
}

/// Returns the answer that counts with the host: the stricter one, which is the less as a signed number.
fn stricter(one: u32, other: u32) -> u32 {
    let rank = |answer: u32| (answer & libc::SECCOMP_RET_ACTION_FULL).cast_signed();
    if rank(one) <= rank(other) { one } else { other }
}

/// Checks what the host demands of a filter (`bpf_check_classic`, `seccomp_check_filter`), and that no
/// instruction of it is unreachable.
fn assert_sound(program: &[sock_filter]) {
    let len = program.len();
    assert!(len <= STUBGUARD_FILTER_MAX, "{len}");
    let mut reached = vec![false; len];
    reached[0] = true;
    // Jumps only go forwards.
    for (at, step) in program.iter().enumerate() {
        let next = match step.code {
            0x06 => {
                assert!([ALLOW, KILL, TRAP, NOTIFY, TRACE].contains(&step.k), "{at}");
                vec![]
            }
            0x05 => vec![step.k as usize],
            0x15 | 0x25 | 0x35 | 0x3d | 0x45 => vec![step.jt.into(), step.jf.into()],
            0x20 => {
                assert!(step.k % 4 == 0 && step.k < 64, "{at}");
                vec![0]
            }
            // Scratch memory, and sums.
            0x02 | 0x60 => {
                assert!(step.k < 16);
                vec![0]
            }
            0x54 | 0x04 | 0x0c | 0x07 | 0x00 | 0x74 | 0x7c => vec![0],
            code => panic!("{at}: {code:#x}"),
        };
        if reached[at] {
            for skip in next {
                assert!(at + 1 + skip < len, "{at} jumps beyond the end");
                reached[at + 1 + skip] = true;
            }
        }
    }
    assert!(reached.iter().all(|reached| *reached), "{reached:?}");
}

/// A smaller buffer is refused, and nothing is written beyond it.
fn assert_needs_its_room(make: impl Fn(&mut [sock_filter]) -> Result<usize>) {
    let mut out = vec![sock_filter { code: 0xbad, ..NOTHING }; 4096];
    let len = make(&mut out).unwrap_or(0);
    assert!((1..=STUBGUARD_FILTER_MAX).contains(&len), "{len}");
    assert!(out[len..].iter().all(|step| step.code == 0xbad));
    for room in 0..len {
        assert_eq!(make(&mut out[..room]), Err(Errno::ENOSPC), "{room}");
    }
    assert_eq!(make(&mut out[..len]), Ok(len));
}
