// SPDX-License-Identifier: GPL-2.0-only
//! Changes each instruction of the filters in each way that one could think of, one at a time. The claims
//! refute the changed program, or they hold for it: then the change makes no difference for any call.
//!
//! Most changes are refuted by a call that was found for one before; the interpreter says so. For the others
//! the solver looks for a new one.

use super::*;

const KILL_THREAD: u32 = 0;
const ERRNO: u32 = libc::SECCOMP_RET_ERRNO;
const LOG: u32 = libc::SECCOMP_RET_LOG;

/// Goes on with the next instruction.
const NO_OPERATION: sock_filter = sock_filter { code: op::JA, jt: 0, jf: 0, k: 0 };

/// All changes of one instruction: what is done, and what it becomes.
fn changes(old: sock_filter) -> Vec<(String, sock_filter)> {
    let mut found: Vec<(String, sock_filter)> = Vec::new();
    let with_k = |k: u32| sock_filter { k, ..old };
    let bits = |k: u32| (0..32).map(move |bit| (format!("bit {bit} of k flipped"), with_k(k ^ (1 << bit))));
    let steps = |by: u32| {
        [("more", old.k.wrapping_add(by)), ("less", old.k.wrapping_sub(by))]
            .map(|(what, k)| (format!("k {by} {what}"), with_k(k)))
    };
    match old.code {
        op::JEQ_K | op::JGT_K | op::JGE_K | op::JSET_K | op::JGE_X => {
            let sock_filter { jt, jf, .. } = old;
            found.push(("ways swapped".into(), sock_filter { jt: jf, jf: jt, ..old }));
            for (what, jt, jf) in [
                ("true is one further", jt.wrapping_add(1), jf),
                ("true is one nearer", jt.wrapping_sub(1), jf),
                ("false is one further", jt, jf.wrapping_add(1)),
                ("false is one nearer", jt, jf.wrapping_sub(1)),
                ("always true", jt, jt),
                ("always false", jf, jf),
            ] {
                found.push((what.into(), sock_filter { jt, jf, ..old }));
            }
            let by_x = old.code == op::JGE_X;
            let codes =
                if by_x { &[JEQ_X, JGT_X][..] } else { &[op::JEQ_K, op::JGT_K, op::JGE_K, op::JSET_K] };
            for code in codes.iter().filter(|code| **code != old.code) {
                found.push((format!("another comparison, {code:#x}"), sock_filter { code: *code, ..old }));
            }
            if !by_x {
                found.extend(steps(1).into_iter().chain(bits(old.k)));
            }
        }
        op::RET_K => {
            for answer in [ALLOW, KILL, TRAP, NOTIFY, TRACE, KILL_THREAD, ERRNO, LOG] {
                found.push((format!("returns {}", named(answer)), with_k(answer)));
            }
            found.push(("left out".into(), NO_OPERATION));
        }
        op::LD_W_ABS => {
            found.extend(steps(4));
            found.extend((0..64).step_by(4).map(|offset| (format!("loads from {offset}"), with_k(offset))));
            found.push(("left out".into(), NO_OPERATION));
        }
        op::LD_IMM | op::AND_K => {
            found.extend(bits(old.k));
            found.push(("left out".into(), NO_OPERATION));
        }
        op::JA => found.extend(steps(1)),
        op::ADD_K | op::RSH_K | op::ST | op::LD_MEM => {
            found.extend(steps(1));
            found.push(("left out".into(), NO_OPERATION));
        }
        // It has no constant.
        _ => found.push(("left out".into(), NO_OPERATION)),
    }
    let same = |new: &sock_filter| (new.code, new.jt, new.jf, new.k) == (old.code, old.jt, old.jf, old.k);
    found.retain(|(_, new)| !same(new));
    found
}

/// Whether the interpreter sees that the programs break the rules for this call.
fn breaks(case: &Case, programs: &[Vec<sock_filter>], call: &Seen) -> bool {
    let (together, each) = Case::answers(programs, call);
    let alone = case
        .programs
        .iter()
        .zip(&each)
        .any(|((_, rule), answer)| rule.as_ref().is_some_and(|rule| rule.answer(call) != *answer));
    alone
        || together != case.rule.answer(call)
        || (each.len() == 2 && together == NOTIFY && each.last() != Some(&TRACE))
}

#[derive(Default)]
struct Count {
    all: usize,
    refuted: usize,
    refused: usize,
    same: Vec<String>,
}

/// `calls`: to begin with, one for each way through the programs.
fn refute(case: &Case, mut calls: Vec<Seen>, count: &mut Count) {
    let mut solver = Solver::new();
    solver.tell(PRECEDENCE);
    let each = answers_of(&tell(&mut solver, &case.programs()));
    for which in 0..case.programs.len() {
        let mut programs = case.programs();
        for at in 0..programs[which].len() {
            let old = programs[which][at];
            let mut noticed = 0;
            for (what, new) in changes(old) {
                programs[which][at] = new;
                count.all += 1;
                let Ok(changed) = formula("changed", &programs[which]) else {
                    count.refused += 1;
                    noticed += 1;
                    continue;
                };
                // The last calls were found for the instructions near this one.
                if calls.iter().rev().any(|call| breaks(case, &programs, call)) {
                    count.refuted += 1;
                    noticed += 1;
                    continue;
                }
                let found = solver.forget(|solver| {
                    solver.tell(&changed.text);
                    let mut each = each.clone();
                    each[which].clone_from(&changed.answer);
                    let claims = rules_hold(case, &each);
                    claims.iter().find_map(|(_, claim)| solver.find(&format!("(not {claim})")))
                });
                let change = format!("filter {}, instruction {at} ({old:x?}): {what}", which + 1);
                if let Some(call) = found {
                    assert!(
                        breaks(case, &programs, &call),
                        "{}: {change}: not so by the interpreter: {call:x?}",
                        case.name
                    );
                    calls.push(call);
                    count.refuted += 1;
                    noticed += 1;
                } else {
                    count.same.push(format!("{}: {change}", case.name));
                }
            }
            programs[which][at] = old;
            assert!(
                noticed > 0,
                "{}: no change of instruction {at} of filter {} makes a difference",
                case.name,
                which + 1
            );
        }
    }
}

#[test]
#[ignore = "needs z3, and minutes: make check-filter-mutants"]
fn each_change_of_an_instruction_is_refuted_or_makes_no_difference() {
    let mut count = Count::default();
    for case in Case::usual() {
        let (_, calls) = prove_case(&case, true);
        refute(&case, calls, &mut count);
    }
    let Count { all, refuted, refused, same } = &count;
    for change in same {
        println!("makes no difference: {change}");
    }
    println!(
        "  proved: {all} changes: {refuted} refuted, {refused} refused by the host, {} proved to make no difference",
        same.len()
    );
    assert_eq!(refuted + refused + same.len(), *all);
}
