// SPDX-License-Identifier: GPL-2.0-only
//! Walks the code page from each of its bytes, as a guest can that jumps there.
//!
//! The guest chooses all registers, flags and memory, and goes on choosing, as others may write its memory. So
//! nothing is known of any value: both ways of each conditional jump can be taken, and a call can have any
//! number and arguments. What it leads to is the filters' to say: a solver is asked whether they let any call
//! through from there.

use super::*;

/// Where a walk ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// The monitor is notified, and holds the stub.
    Park,
    /// The filters end the process, whatever call it is.
    Killed,
    /// iretq: the guest's own code, by a frame of its choosing.
    Iretq,
    /// Another jump, call or return to an address of the guest's choosing.
    Jump,
    /// The processor refuses the instruction, or what comes behind the page: a signal.
    Fault,
    /// Bytes that the host's administrator has set: its hard limit. A guest may run anything in its own
    /// memory, so any instruction will do; a call from there is not at a site.
    AnyInstruction,
}

/// What an instruction leads to.
pub enum Step {
    To(Vec<u64>),
    /// A call that the filters let through, if its arguments are good.
    Call(u64),
    End(End),
}

/// What the filters do to a call, from the address behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Notified,
    Allowed,
    Killed,
}

/// The page as the host has it: behind the code there are zeros.
pub fn page() -> Vec<u8> {
    let mut page = bytes().to_vec();
    page.resize(PAGE, 0);
    page
}

/// The bytes of the hard limit.
pub fn unknown() -> std::ops::Range<u64> {
    let hard = Place::Nothing.offset() + 8;
    hard..hard + 8
}

fn step(page: &[u8], at: u64, verdict: &impl Fn(u64) -> Verdict) -> Step {
    let mut decoder = Decoder::with_ip(64, &page[at as usize..], at, DecoderOptions::NONE);
    let i = decoder.decode();
    // An instruction that is not complete at the page's end: what comes behind is not executable.
    let end = if i.is_invalid() { at + 1 } else { i.next_ip() };
    if at < unknown().end && end > unknown().start {
        return Step::End(End::AnyInstruction);
    }
    if i.is_invalid() || i.is_privileged() {
        return Step::End(End::Fault);
    }
    let inside = |address: u64| address < PAGE as u64;
    let to = |address: u64| if inside(address) { Step::To(vec![address]) } else { Step::End(End::Jump) };
    match (i.flow_control(), i.code()) {
        // The data pages are not executable.
        (FlowControl::Next, _) if !inside(i.next_ip()) => Step::End(End::Fault),
        (FlowControl::Next, _) => to(i.next_ip()),
        (FlowControl::ConditionalBranch, _) => Step::To(vec![i.next_ip(), i.near_branch_target()]),
        (FlowControl::UnconditionalBranch, _) if i.op0_kind() == OpKind::NearBranch64 => {
            to(i.near_branch_target())
        }
        (FlowControl::Return, Code::Iretq) => Step::End(End::Iretq),
        (FlowControl::Call, Code::Syscall) => match verdict(i.next_ip()) {
            Verdict::Notified => Step::End(End::Park),
            Verdict::Allowed => Step::Call(i.next_ip()),
            Verdict::Killed => Step::End(End::Killed),
        },
        // These enter the host as another architecture's calls.
        (FlowControl::Call, Code::Sysenter) => Step::End(End::Killed),
        (FlowControl::Interrupt, Code::Int_imm8) if i.immediate8() == 0x80 => Step::End(End::Killed),
        (FlowControl::Call, _) if i.op0_kind() == OpKind::NearBranch64 => to(i.near_branch_target()),
        (FlowControl::Return | FlowControl::IndirectBranch | FlowControl::IndirectCall, _) => {
            Step::End(End::Jump)
        }
        (FlowControl::UnconditionalBranch, _) => Step::End(End::Jump),
        _ => Step::End(End::Fault),
    }
}

/// What can follow, before the walk's end: the calls that the filters let through, and the ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Follows {
    pub calls: BTreeSet<u64>,
    pub ends: BTreeSet<End>,
}

/// What can follow from each byte of the page.
pub fn from_each_byte(page: &[u8], verdict: &impl Fn(u64) -> Verdict) -> Vec<Follows> {
    let steps: Vec<Step> = (0..page.len() as u64).map(|at| step(page, at, verdict)).collect();
    let mut follows = vec![Follows::default(); page.len()];
    // What follows an instruction is what follows each that it leads to; until nothing is new. Backwards, as most
    // instructions lead forwards.
    loop {
        let mut new = false;
        for at in (0..page.len()).rev() {
            let mut found = follows[at].clone();
            let mut add = |to: u64| match follows.get(to as usize) {
                Some(more) => {
                    found.calls.extend(&more.calls);
                    found.ends.extend(&more.ends);
                }
                None => drop(found.ends.insert(End::Jump)),
            };
            match &steps[at] {
                Step::To(targets) => targets.iter().copied().for_each(add),
                Step::Call(site) => {
                    add(*site);
                    found.calls.insert(*site);
                }
                Step::End(end) => drop(found.ends.insert(*end)),
            }
            if found != follows[at] {
                follows[at] = found;
                new = true;
            }
        }
        if !new {
            return follows;
        }
    }
}
