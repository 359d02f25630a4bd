// SPDX-License-Identifier: GPL-2.0-only
//! Takes the code apart: what it can do at all, and what it does on every way through it.
//!
//! Addresses count from the start of the code page; the two data pages are behind it.

#![allow(clippy::arithmetic_side_effects)]

mod proof;
mod resume;
mod walk;

use super::*;
use crate::memory::tests::Pages;
use iced_x86::{
    Code, ConditionCode, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic,
    OpAccess, OpKind, Register,
};
use std::collections::{BTreeMap, BTreeSet};

const CONTROL: u64 = PAGE as u64;
const SIGSTACK: u64 = CONTROL + FP as u64;

/// Every call: its place, its number, and its arguments as far as the filter looks at them.
const CALLS: [(Place, i64, &[Value]); 9] = {
    use Value::{Constant as C, Mask, Nothing, Trusted as T};
    [
        // What the first byte is called with is the host's; the rest: see the_ways_to_the_park.
        (Place::Park, 110, &[]),
        (Place::Mmap, 9, &[T, T, T, C(0x11), C(1), T]),
        (Place::Munmap, 11, &[T, T]),
        (Place::Mprotect, 10, &[T, T, T]),
        (Place::Limit, 302, &[C(0), C(9), Nothing, C(0)]),
        (Place::SetFs, 158, &[C(0x1002), T]),
        (Place::SetGs, 158, &[C(0x1001), T]),
        (Place::Unblock, 14, &[C(2), Mask, C(0), C(8)]),
        (Place::Kill, 231, &[]),
    ]
};

const ARGUMENTS: [Register; 6] =
    [Register::RDI, Register::RSI, Register::RDX, Register::R10, Register::R8, Register::R9];

fn eflags_at() -> u64 {
    Place::Mask.offset() - 8
}

/// All instructions; the last is the jump behind `Place::Kill`.
fn instructions() -> Vec<Instruction> {
    let mut found: Vec<Instruction> = Vec::new();
    for instruction in &mut Decoder::with_ip(64, bytes(), 0, DecoderOptions::NONE) {
        let last = instruction.ip() == Place::Kill.offset();
        found.push(instruction);
        if last {
            break;
        }
    }
    found
}

fn all(mut holds: impl FnMut(&Instruction) -> bool) {
    for instruction in &instructions() {
        assert!(holds(instruction), "{:#x}: {instruction:?}", instruction.ip());
    }
}

fn only(wanted: impl Fn(&Instruction) -> bool) -> Instruction {
    let found: Vec<_> = instructions().into_iter().filter(wanted).collect();
    assert_eq!(found.len(), 1);
    found[0]
}

/// The call that ends at a place.
fn call_at(place: Place) -> u64 {
    only(|i| i.mnemonic() == Mnemonic::Syscall && i.next_ip() == place.offset()).ip()
}

#[test]
fn it_is_code_then_constants() {
    let code = instructions();
    assert!(code.iter().all(|i| !i.is_invalid()));
    let end = code.last().map(Instruction::next_ip).unwrap_or_default();
    assert_eq!(code.last().map(Instruction::mnemonic), Some(Mnemonic::Jmp));
    let bytes = bytes();
    let nothing = Place::Nothing.offset();
    assert_eq!(nothing, end.next_multiple_of(8));
    assert!(bytes[end as usize..nothing as usize].iter().all(|byte| *byte == 0));
    // The limit. The soft one is 0; write() stores the hard one in the copy.
    assert_eq!(bytes[nothing as usize..][..16], [0; 16]);
    assert_eq!(eflags_at(), nothing + 16);
    assert_eq!(bytes[eflags_at() as usize..][..8], 0x202u64.to_le_bytes());
    assert_eq!(bytes[Place::Mask.offset() as usize..], [0; 8]);
    assert!(bytes.len() < PAGE / 4, "{}", bytes.len());
}

#[test]
fn a_copy_has_the_hosts_bound_in_the_limit() {
    let mut page = Pages::new();
    assert_eq!(write(&page.data(), 0x1234_5678_9abc), Some(bytes().len()));
    let (copy, bound) = (page.bytes()[..bytes().len()].to_vec(), Place::Nothing.offset() as usize + 8);
    assert_eq!(copy[..bound], bytes()[..bound]);
    assert_eq!(copy[bound..bound + 8], 0x1234_5678_9abcu64.to_le_bytes());
    assert_eq!(copy[bound + 8..], bytes()[bound + 8..]);
}

#[test]
fn it_calls_nothing_and_uses_no_stack() {
    all(|i| match i.flow_control() {
        FlowControl::Next | FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => {
            !i.is_stack_instruction() || i.mnemonic() == Mnemonic::Popfq
        }
        FlowControl::Call => i.code() == Code::Syscall,
        FlowControl::Return => i.code() == Code::Iretq,
        _ => false,
    });
    all(|i| !i.is_string_instruction() && !i.is_privileged());
    all(|i| !i.has_lock_prefix() && !i.has_rep_prefix() && !i.has_repne_prefix());
    all(|i| i.segment_prefix() == Register::None);
    // No bytes in the middle of instructions make a call.
    let calls: Vec<_> =
        instructions().iter().filter(|i| i.code() == Code::Syscall).map(|i| i.ip() as usize).collect();
    for (at, pair) in bytes().windows(2).enumerate() {
        let call = matches!(pair, [0x0f, 0x05 | 0x34] | [0xcd, 0x80]);
        assert!(!call || calls.contains(&at), "{at:#x}: {pair:x?}");
    }
}

#[test]
fn every_jump_lands_on_an_instruction() {
    let code: BTreeMap<u64, Instruction> = instructions().into_iter().map(|i| (i.ip(), i)).collect();
    all(|i| match i.op0_kind() {
        // No jump leads between a compare and the jump that depends on it.
        OpKind::NearBranch64 => code
            .get(&i.near_branch_target())
            .is_some_and(|target| target.condition_code() == ConditionCode::None),
        _ => i.flow_control() != FlowControl::UnconditionalBranch,
    });
}

#[test]
fn every_call_is_at_a_place_with_its_number() {
    let code = instructions();
    let mut places = BTreeMap::new();
    for pair in code.windows(2) {
        if pair[1].mnemonic() == Mnemonic::Syscall {
            assert_eq!((pair[0].code(), pair[0].op0_register()), (Code::Mov_r32_imm32, Register::EAX));
            places.insert(pair[1].next_ip(), i64::from(pair[0].immediate32()));
        }
    }
    assert_eq!(code[2].ip(), call_at(Place::Park), "the handler is the park");
    let wanted: BTreeMap<_, _> = CALLS.iter().map(|(place, nr, _)| (place.offset(), *nr)).collect();
    assert_eq!(places, wanted);
    // Nothing else is a place.
    for place in Place::ALL {
        let known = wanted.contains_key(&place.offset());
        assert!(known || matches!(place, Place::Iret | Place::Nothing | Place::Mask), "{place:?}");
    }
    assert_eq!(only(|i| i.mnemonic() == Mnemonic::Iretq).ip(), Place::Iret.offset());
}

/// The parts of the data pages that can be read where they start: address, bytes.
fn readable() -> BTreeMap<u64, usize> {
    let mut fields = BTreeMap::new();
    for index in 0..15 {
        fields.insert(offset_of!(Control, head.gp) + index * 8, 8);
    }
    fields.insert(offset_of!(Control, head.flags), 4);
    fields.insert(offset_of!(Control, head.calls), 4);
    fields.insert(offset_of!(Control, head.fs_base), 8);
    fields.insert(offset_of!(Control, head.gs_base), 8);
    fields.insert(offset_of!(Control, head.xfeatures), 4);
    fields.insert(offset_of!(Control, head.xfeatures) + 4, 4);
    fields.insert(offset_of!(Control, head.ticket), 8);
    fields.into_iter().map(|(offset, size)| (CONTROL + offset as u64, size)).collect()
}

#[test]
fn it_reads_known_words_and_writes_none() {
    let (mut read, mut named) = (BTreeSet::new(), BTreeSet::new());
    let mut factory = InstructionInfoFactory::new();
    all(|i| {
        let has_memory = (0..i.op_count()).any(|op| i.op_kind(op) == OpKind::Memory);
        let reads_only = factory
            .info(i)
            .used_memory()
            .iter()
            .all(|memory| matches!(memory.access(), OpAccess::Read | OpAccess::NoMemAccess));
        if !has_memory {
            return reads_only;
        }
        let plain = reads_only && i.memory_index() == Register::None;
        match (i.memory_base(), i.mnemonic()) {
            (Register::RIP, Mnemonic::Lea) => {
                plain && named.insert((i.op0_register(), i.ip_rel_memory_address()))
            }
            (Register::RIP, _) => {
                let at = i.ip_rel_memory_address();
                read.insert(at);
                plain && readable().get(&at) == Some(&i.memory_size().size())
            }
            // A member of a call.
            (Register::R12, Mnemonic::Mov | Mnemonic::Cmp) => {
                let member = (i.memory_displacement64() as usize, i.memory_size().size());
                plain
                    && [
                        (offset_of!(Call, addr), 8),
                        (offset_of!(Call, length), 8),
                        (offset_of!(Call, offset), 8),
                        (offset_of!(Call, prot), 4),
                        (offset_of!(Call, maps), 2),
                    ]
                    .contains(&member)
            }
            (Register::RDI, Mnemonic::Xrstor64 | Mnemonic::Fxrstor64) => {
                plain && i.memory_displacement64() == 0
            }
            _ => false,
        }
    });
    assert_eq!(read, readable().into_keys().collect(), "all that the monitor writes is used");
    let control = |offset: usize| CONTROL + offset as u64;
    assert_eq!(
        named,
        BTreeSet::from([
            (Register::RSP, eflags_at()),
            (Register::R12, control(offset_of!(Control, batch))),
            (Register::RDX, Place::Nothing.offset()),
            (Register::RSI, Place::Mask.offset()),
            (Register::RDI, SIGSTACK),
            (Register::RSP, control(offset_of!(Control, head.iret))),
        ])
    );
}

#[test]
fn the_stack_pointer_is_ours_from_the_first_instruction_on() {
    let code = instructions();
    let park = code.iter().position(|i| i.ip() == Place::Park.offset()).unwrap_or_default();
    assert_eq!((code[park].mnemonic(), code[park].op0_register()), (Mnemonic::Lea, Register::RSP));
    assert_eq!(code[park].ip_rel_memory_address(), eflags_at());
    assert_eq!(code[park + 1].code(), Code::Popfq);
    assert_eq!(only(|i| i.mnemonic() == Mnemonic::Popfq).ip(), code[park + 1].ip());
    // And then where iretq finds the guest.
    let iret = code.iter().position(|i| i.ip() == Place::Iret.offset()).unwrap_or_default();
    assert_eq!((code[iret - 1].mnemonic(), code[iret - 1].op0_register()), (Mnemonic::Lea, Register::RSP));
    assert_eq!(code.iter().filter(|i| i.op0_register() == Register::RSP).count(), 2);
}

#[test]
fn the_guest_gets_each_register_from_its_word() {
    use Register::{R8, R9, R10, R11, R12, R13, R14, R15, RAX, RBP, RBX, RCX, RDI, RDX, RSI};
    let code = instructions();
    let iret = code.iter().position(|i| i.ip() == Place::Iret.offset()).unwrap_or_default();
    let loads: Vec<_> =
        code[iret - 16..iret - 1].iter().map(|i| (i.op0_register(), i.ip_rel_memory_address())).collect();
    let order = [R8, R9, R10, R11, R12, R13, R14, R15, RDI, RSI, RBP, RBX, RDX, RAX, RCX];
    let wanted: Vec<_> = order
        .into_iter()
        .enumerate()
        .map(|(index, register)| (register, CONTROL + (offset_of!(Control, head.gp) + index * 8) as u64))
        .collect();
    assert_eq!(loads, wanted);
}

/// What is known of a register's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    /// It may be the guest's.
    Guest,
    /// It comes from the monitor or the host.
    Trusted,
    Constant(u64),
    /// This address.
    Start(u64),
    /// This address, or a few calls behind it.
    Behind(u64),
    /// The constant mask's address, which is known at run time only.
    Mask,
    /// The constant limit's.
    Nothing,
}

impl Value {
    fn either(self, other: Self) -> Self {
        match (self, other) {
            _ if self == other => self,
            (Self::Guest, _) | (_, Self::Guest) => Self::Guest,
            (Self::Start(a) | Self::Behind(a), Self::Start(b) | Self::Behind(b)) if a == b => Self::Behind(a),
            _ => Self::Trusted,
        }
    }
}

type State = BTreeMap<Register, Value>;
/// Stands for the flags, which iced has no register name for.
const FLAGS: Register = Register::EIP;

fn known(state: &State, register: Register) -> Value {
    state.get(&register).copied().unwrap_or(Value::Guest)
}

/// Applies an instruction to a state. Asserts that it reads nothing of the guest's.
fn step(i: &Instruction, factory: &mut InstructionInfoFactory, before: &State) -> State {
    let at = i.ip();
    let mut after = before.clone();
    let same = i.mnemonic() == Mnemonic::Xor && i.op0_register() == i.op1_register();
    let info = factory.info(i);
    for used in info.used_registers() {
        use OpAccess::{CondRead, Read, ReadCondWrite, ReadWrite};
        if !same && matches!(used.access(), Read | CondRead | ReadWrite | ReadCondWrite) {
            let register = used.register().full_register();
            let segment = register.is_segment_register();
            assert!(segment || known(before, register) != Value::Guest, "{at:#x} reads {register:?}: {i:?}");
        }
    }
    if i.condition_code() != ConditionCode::None {
        assert_ne!(known(before, FLAGS), Value::Guest, "{at:#x} reads flags");
    }
    if i.rflags_modified() != 0 {
        after.insert(FLAGS, Value::Trusted);
    }
    for used in info.used_registers() {
        if matches!(used.access(), OpAccess::Write | OpAccess::ReadWrite) {
            after.insert(used.register().full_register(), Value::Trusted);
        }
    }
    if i.memory_base() == Register::R12 {
        let calls = known(before, Register::R12);
        assert!(calls == Value::Start(batch()) || calls == Value::Behind(batch()), "{at:#x}: {calls:?}");
    }
    if matches!(i.mnemonic(), Mnemonic::Xrstor64 | Mnemonic::Fxrstor64) {
        assert_eq!(known(before, Register::RDI), Value::Start(SIGSTACK), "{at:#x}");
    }
    let target = i.op0_register().full_register();
    match i.mnemonic() {
        Mnemonic::Xor if same => {
            after.insert(target, Value::Constant(0));
        }
        Mnemonic::Mov if i.op1_kind() == OpKind::Immediate32 => {
            after.insert(target, Value::Constant(i.immediate32().into()));
        }
        Mnemonic::Mov if i.op1_kind() == OpKind::Register => {
            after.insert(target, known(before, i.op1_register().full_register()));
        }
        Mnemonic::Lea if i.ip_rel_memory_address() == Place::Mask.offset() => {
            after.insert(target, Value::Mask);
        }
        Mnemonic::Lea if i.ip_rel_memory_address() == Place::Nothing.offset() => {
            after.insert(target, Value::Nothing);
        }
        Mnemonic::Lea => {
            after.insert(target, Value::Start(i.ip_rel_memory_address()));
        }
        Mnemonic::Add => {
            assert_eq!((target, i.immediate(1)), (Register::R12, size_of::<Call>() as u64), "{at:#x}");
            after.insert(target, Value::Behind(batch()));
        }
        Mnemonic::Syscall => {
            // The host's: the result, and where and with which flags it was called.
            after.insert(Register::RAX, Value::Trusted);
            after.insert(Register::RCX, Value::Guest);
            after.insert(Register::R11, Value::Guest);
            let place = i.next_ip();
            for (_, _, wanted) in CALLS.iter().filter(|(known, ..)| known.offset() == place) {
                for (register, wanted) in ARGUMENTS.iter().zip(*wanted) {
                    let value = known(before, *register);
                    let good =
                        if *wanted == Value::Trusted { value != Value::Guest } else { value == *wanted };
                    assert!(good, "{at:#x}: {register:?} is {value:?}, not {wanted:?}");
                }
            }
        }
        _ => {}
    }
    after
}

fn batch() -> u64 {
    CONTROL + offset_of!(Control, batch) as u64
}

/// Returns where an instruction can lead.
fn next(i: &Instruction) -> Vec<u64> {
    match i.flow_control() {
        FlowControl::UnconditionalBranch => vec![i.near_branch_target()],
        FlowControl::ConditionalBranch => vec![i.next_ip(), i.near_branch_target()],
        FlowControl::Return => vec![],
        _ => vec![i.next_ip()],
    }
}

/// What is known before an instruction, in two cases: no calls are left (ebx is 0), and some are left. Only
/// in the second case is a result known that a park could report.
type States = BTreeMap<(u64, bool), State>;

fn none_left(state: &State) -> bool {
    known(state, Register::RBX) == Value::Constant(0)
}

/// What a conditional jump tells of ebx, if the instruction before it has compared ebx.
fn learn(before: &Instruction, zero: bool, mut state: State) -> Option<State> {
    let looked = before.op0_register() == Register::EBX
        && match before.mnemonic() {
            Mnemonic::Test => before.op1_register() == Register::EBX,
            Mnemonic::Dec => true,
            _ => false,
        };
    if looked && zero {
        state.insert(Register::RBX, Value::Constant(0));
    }
    (!looked || zero || !none_left(&state)).then_some(state)
}

/// Walks all ways from after the park, where only the call's result is not the guest's, to the next park or
/// to the guest.
fn states() -> States {
    let code = instructions();
    let mut factory = InstructionInfoFactory::new();
    let start = State::from([(Register::RAX, Value::Trusted)]);
    let mut states = States::from([((Place::Park.offset(), false), start)]);
    let mut todo = vec![(Place::Park.offset(), false)];
    while let Some(from) = todo.pop() {
        let index = code.iter().position(|i| i.ip() == from.0).unwrap_or_default();
        let i = &code[index];
        let after = step(i, &mut factory, &states[&from]);
        for to in next(i).into_iter().filter(|to| *to != 0) {
            let zero = (i.condition_code() == ConditionCode::e) == (to != i.next_ip());
            let after = match i.condition_code() {
                ConditionCode::None => Some(after.clone()),
                _ => learn(&code[index - 1], zero, after.clone()),
            };
            let Some(after) = after else { continue };
            let to = (to, none_left(&after));
            let merged = match states.get(&to) {
                None => after,
                // A register that one of the two ways does not know counts as the guest's.
                Some(old) => old
                    .iter()
                    .filter(|(register, _)| after.contains_key(register))
                    .map(|(register, value)| (*register, value.either(after[register])))
                    .collect(),
            };
            if states.get(&to) != Some(&merged) {
                states.insert(to, merged);
                todo.push(to);
            }
        }
    }
    states
}

#[test]
fn nothing_of_the_guests_is_used_on_any_way() {
    let states = states();
    // All instructions were reached, but the handler's own three.
    let walked: BTreeSet<_> = states.keys().map(|(at, _)| *at).collect();
    assert_eq!(walked, instructions()[3..].iter().map(Instruction::ip).collect());
    // The guest is resumed only with no calls left.
    let at_iret = |none_left| states.get(&(Place::Iret.offset(), none_left));
    assert_eq!(at_iret(true), None, "rbx is the guest's");
    for register in [Register::RAX, Register::RCX, Register::R11, Register::RBX, Register::RBP] {
        assert_eq!(at_iret(false).map(|state| known(state, register)), Some(Value::Trusted));
    }
    let iret = CONTROL + offset_of!(Control, head.iret) as u64;
    assert_eq!(at_iret(false).map(|state| known(state, Register::RSP)), Some(Value::Start(iret)));
    assert!(!states.contains_key(&(Place::Unblock.offset(), false)), "the guest, with calls left");
}

#[test]
fn the_ways_to_the_park() {
    let states = states();
    let jumps = jumps_to_the_park();
    assert_eq!(jumps.len(), 2);
    let arguments = |jump: u64, none_left: bool| {
        states.get(&(jump, none_left)).map(|state| [0, 1, 2].map(|index| known(state, ARGUMENTS[index])))
    };
    // Each park says its ticket: the handler's first instruction loads it.
    let ticket = CONTROL + offset_of!(Control, head.ticket) as u64;
    let first = instructions()[0];
    assert_eq!((first.op0_register(), first.ip_rel_memory_address()), (Register::R10, ticket));
    // Done, with none left; the other two are not looked at.
    assert_eq!(arguments(jumps[0], true).map(|way| way[0]), Some(Value::Constant(PARK_DONE)));
    assert_eq!(arguments(jumps[0], false), None);
    let failed = [Value::Constant(PARK_FAILED), Value::Trusted, Value::Trusted];
    assert_eq!(arguments(jumps[1], false), Some(failed));
    assert_eq!(arguments(jumps[1], true), None);
}

fn jumps_to_the_park() -> Vec<u64> {
    let code = instructions();
    let to_it = |i: &&Instruction| i.op0_kind() == OpKind::NearBranch64 && i.near_branch_target() == 0;
    code.iter().filter(to_it).map(Instruction::ip).collect()
}

/// Returns all that can be reached from `start` with these flags of the control page, up to `until`.
fn reached(start: u64, flags: u32, until: &[u64]) -> BTreeSet<u64> {
    let code = instructions();
    let by_address: BTreeMap<u64, usize> =
        code.iter().enumerate().map(|(index, i)| (i.ip(), index)).collect();
    let flags_at = CONTROL + offset_of!(Control, head.flags) as u64;
    let (mut found, mut todo) = (BTreeSet::new(), vec![start]);
    while let Some(at) = todo.pop() {
        if !found.insert(at) || until.contains(&at) {
            continue;
        }
        let index = by_address[&at];
        let (i, before) = (&code[index], &code[index.saturating_sub(1)]);
        let tested = before.mnemonic() == Mnemonic::Test
            && before.op0_kind() == OpKind::Memory
            && before.ip_rel_memory_address() == flags_at;
        if i.flow_control() == FlowControl::ConditionalBranch && tested {
            let zero = flags & before.immediate32() == 0;
            let taken = match i.condition_code() {
                ConditionCode::e => zero,
                ConditionCode::ne => !zero,
                other => unreachable!("{other:?}"),
            };
            todo.push(if taken { i.near_branch_target() } else { i.next_ip() });
        } else {
            todo.extend(next(i).into_iter().filter(|to| *to != 0));
        }
    }
    found
}

#[test]
fn what_each_flag_does() {
    let at = |mnemonic: Mnemonic| only(|i| i.mnemonic() == mnemonic).ip();
    for flags in 0..128 {
        let reached = reached(Place::Park.offset(), flags, &[]);
        let is = |flag: u32| flags & flag != 0;
        for (what, at, expected) in [
            ("mmap", call_at(Place::Mmap), true),
            ("munmap", call_at(Place::Munmap), true),
            ("mprotect", call_at(Place::Mprotect), true),
            ("limit", call_at(Place::Limit), is(LIMIT)),
            ("unblock", call_at(Place::Unblock), is(GUEST)),
            ("iret", Place::Iret.offset(), is(GUEST)),
            ("xrstor", at(Mnemonic::Xrstor64), is(GUEST) && !is(FXSAVE)),
            ("fxrstor", at(Mnemonic::Fxrstor64), is(GUEST) && is(FXSAVE)),
            ("wrfsbase", at(Mnemonic::Wrfsbase), is(GUEST) && is(SET_FS) && !is(BY_CALL)),
            ("wrgsbase", at(Mnemonic::Wrgsbase), is(GUEST) && is(SET_GS) && !is(BY_CALL)),
            ("selectors", only(|i| i.op0_register() == Register::DS).ip(), is(GUEST) && is(SELECTORS)),
            ("set_fs", call_at(Place::SetFs), is(GUEST) && is(SET_FS) && is(BY_CALL)),
            ("set_gs", call_at(Place::SetGs), is(GUEST) && is(SET_GS) && is(BY_CALL)),
        ] {
            assert_eq!(reached.contains(&at), expected, "{what} with {flags:#x}");
        }
    }
}

#[test]
fn the_window_is_closed_on_every_way_out_of_it() {
    let close = call_at(Place::Limit);
    for flags in (0..128).filter(|flags| flags & LIMIT != 0) {
        let open = reached(Place::Park.offset(), flags, &[close, call_at(Place::Kill)]);
        assert!(open.contains(&close));
        let mut calls: Vec<_> = CALLS.iter().filter(|(place, ..)| open.contains(&call_at(*place))).collect();
        calls.retain(|(place, ..)| {
            !matches!(place, Place::Mmap | Place::Munmap | Place::Mprotect | Place::Limit | Place::Kill)
        });
        assert!(calls.is_empty(), "{calls:?}");
        assert!(!open.contains(&Place::Iret.offset()));
        assert!(jumps_to_the_park().iter().all(|jump| !open.contains(jump)));
    }
    // If the limit cannot be set, the stub ends: the jump after the call leads to the kill.
    let code = instructions();
    let index = code.iter().position(|i| i.ip() == Place::Limit.offset()).unwrap_or_default();
    assert_eq!((code[index].code(), code[index].op0_register()), (Code::Test_rm64_r64, Register::RAX));
    assert_eq!(code[index + 1].condition_code(), ConditionCode::ne);
    let failed = reached(code[index + 1].near_branch_target(), u32::MAX, &[]);
    assert_eq!(failed.len(), 3, "{failed:x?}");
    assert!(failed.contains(&call_at(Place::Kill)));
}

#[test]
fn a_park_that_is_not_answered_by_the_monitor_ends_it() {
    let code = instructions();
    let index = code.iter().position(|i| i.ip() == Place::Park.offset()).unwrap_or_default() + 2;
    assert_eq!((code[index].mnemonic(), code[index].op0_register()), (Mnemonic::Cmp, Register::RAX));
    assert_eq!(code[index].immediate(1), ANSWER as u64);
    assert_eq!(code[index + 1].condition_code(), ConditionCode::ne);
    assert_eq!(code[index + 1].near_branch_target(), call_at(Place::Kill) - 5);
}

#[test]
fn signals_may_come_only_where_the_monitor_expects_them() {
    // From the unblocking to the guest there is no other call, and no way back.
    let after = reached(Place::Unblock.offset(), 0, &[]);
    let also = reached(Place::Unblock.offset(), u32::MAX, &[]);
    for at in after.union(&also) {
        assert!((Place::Unblock.offset()..=Place::Iret.offset()).contains(at));
    }
    for (place, ..) in CALLS {
        assert!(!after.contains(&call_at(place)) && !also.contains(&call_at(place)), "{place:?}");
    }
}
