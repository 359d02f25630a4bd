// SPDX-License-Identifier: GPL-2.0-only
//! Executes the code from behind the park, where the monitor's answer lets a stub go on, up to the next stop.
//!
//! The stub may have come to its park by a jump, so every register and flag is the guest's, but the result of
//! the call. The control page is what the monitor has written. A state has what is known of each register.
//! Where the way depends on the control page or on the host, both are taken, and what that tells is kept. The
//! number of calls in the batch is tried in full: with a number and the addresses that follow from it known,
//! the loop is a finite walk.
//!
//! An error says what must not be: something of the guest's is used, memory is read that is not named, a call is
//! not the one of its site, or a stop is reached in a state in which it must not be.

use super::*;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};

/// What is known of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// It may be the guest's.
    Guest,
    Known(u64),
    /// The monitor's: the word at this address of the control page.
    Control(u64),
    /// The host's result of the call at this site.
    Result(u64),
}

/// What the zero flag says. The code looks at no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Zero {
    Guest,
    /// Not the guest's, and not to be looked at.
    Loaded,
    Is(bool),
    /// Whether two values are equal.
    Equal(Value, Value),
    /// Whether these bits of the control page's flags are all 0.
    Bits(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signals {
    /// As the park was made: blocked, or as a guest has them that jumped there.
    AsParked,
    Open,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // It is a record of what has happened.
struct State {
    at: u64,
    /// The 16 general ones, then the segments: `slot`.
    registers: [Value; 22],
    zero: Zero,
    /// The bits of the control page's flags that the way so far tells, and what they are.
    flags: (u32, u32),
    /// The result of the park's call was the monitor's answer.
    answered: bool,
    /// The direction and trap flags, and all others, were loaded from the constant.
    flags_loaded: bool,
    /// The limit was set to 0 by the host's word.
    closed: bool,
    /// How many calls of the batch have succeeded, and whether one has failed.
    made: u64,
    failed: bool,
    signals: Signals,
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        // Nearly all states differ in these.
        (self.at, self.made, self.flags, self.failed).hash(hasher);
    }
}

/// Where an execution stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    Done,
    Failed,
    Guest,
    Killed,
}

/// All that was seen on all ways.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Each call: its site, number and arguments.
    pub calls: BTreeSet<(u64, u64, Vec<Value>)>,
    /// All memory that is read: address and size.
    pub reads: BTreeSet<(u64, usize)>,
    pub stops: BTreeSet<Stop>,
    /// The instructions that were executed.
    pub executed: BTreeSet<u64>,
    /// How many instructions there are at most to the next stop.
    pub longest: usize,
    /// In how many different states.
    pub states: usize,
}

type Checked<T> = std::result::Result<T, String>;

macro_rules! ensure {
    ($condition:expr, $($text:tt)*) => {
        if !$condition {
            return Err(format!($($text)*));
        }
    };
}

pub struct Machine<'a> {
    page: &'a [u8],
    /// How many calls the batch has.
    calls: u64,
    factory: InstructionInfoFactory,
    decoded: BTreeMap<u64, Instruction>,
    /// The words at the start of the control page.
    words: BTreeMap<u64, usize>,
    pub seen: Seen,
    /// The states that were executed, and how far each is from the farthest stop. None: it is being executed.
    known: HashMap<State, Option<usize>>,
}

/// The registers that a call's arguments are in, and how many of them the host looks at: four of a park, as that
/// is what the monitor reads.
const LOOKED_AT: [(Place, usize); 9] = [
    (Place::Park, 4),
    (Place::Mmap, 6),
    (Place::Munmap, 2),
    (Place::Mprotect, 3),
    (Place::Limit, 4),
    (Place::SetFs, 2),
    (Place::SetGs, 2),
    (Place::Unblock, 4),
    (Place::Kill, 0),
];

const GENERAL: [Register; 15] = [
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
    Register::RDI,
    Register::RSI,
    Register::RBP,
    Register::RBX,
    Register::RDX,
    Register::RAX,
    Register::RCX,
];

fn head(offset: usize) -> u64 {
    CONTROL + offset as u64
}

impl<'a> Machine<'a> {
    pub fn new(page: &'a [u8], calls: usize) -> Self {
        Self {
            page,
            calls: calls as u64,
            factory: InstructionInfoFactory::new(),
            decoded: BTreeMap::new(),
            words: readable(),
            seen: Seen::default(),
            known: HashMap::new(),
        }
    }

    /// Executes all ways from the monitor's answer on.
    pub fn run(&mut self) -> Checked<()> {
        let mut start = State {
            at: Place::Park.offset(),
            registers: [Value::Guest; 22],
            zero: Zero::Guest,
            flags: (0, 0),
            answered: false,
            flags_loaded: false,
            closed: false,
            made: 0,
            failed: false,
            signals: Signals::AsParked,
        };
        start.set_register(Register::RAX, Value::Result(Place::Park.offset()));
        self.seen.longest = self.execute(&start)?;
        self.seen.states = self.known.len();
        Ok(())
    }

    /// Returns how many instructions there are at most from here to a stop.
    fn execute(&mut self, start: &State) -> Checked<usize> {
        // The states on the way here, what still follows each, and how far their farthest stop is as far as known.
        let mut way = vec![(*start, self.step(start)?, 0)];
        self.known.insert(*start, None);
        let mut farthest = 0;
        while let Some((state, follows, longest)) = way.last_mut() {
            let Some(next) = follows.pop() else {
                farthest = *longest + 1;
                self.known.insert(*state, Some(farthest));
                way.pop();
                if let Some((.., longest)) = way.last_mut() {
                    *longest = farthest.max(*longest);
                }
                continue;
            };
            match self.known.get(&next) {
                Some(Some(count)) => *longest = *count.max(longest),
                Some(None) => return Err(format!("{:#x}: an endless loop", next.at)),
                None => {
                    self.known.insert(next, None);
                    way.push((next, self.step(&next)?, 0));
                }
            }
        }
        Ok(farthest)
    }

    /// Takes an instruction apart, once. No instruction writes memory, or has a prefix that changes what it does.
    fn decode(&mut self, at: u64) -> Checked<Instruction> {
        if let Some(known) = self.decoded.get(&at) {
            return Ok(*known);
        }
        ensure!(at < PAGE as u64, "{at:#x}: outside the page");
        let i = Decoder::with_ip(64, &self.page[at as usize..], at, DecoderOptions::NONE).decode();
        ensure!(!i.is_invalid(), "{at:#x}: no instruction");
        let plain = !i.has_lock_prefix() && !i.has_rep_prefix() && !i.has_repne_prefix();
        ensure!(plain && i.segment_prefix() == Register::None, "{at:#x}: a prefix");
        self.seen.executed.insert(at);
        for used in self.factory.info(&i).used_memory() {
            let reads = matches!(used.access(), OpAccess::Read | OpAccess::NoMemAccess);
            ensure!(reads, "{at:#x} writes memory: {i:?}");
        }
        self.decoded.insert(at, i);
        Ok(i)
    }

    /// Executes one instruction; returns the states that may follow: none behind a stop.
    fn step(&mut self, state: &State) -> Checked<Vec<State>> {
        let at = state.at;
        let i = self.decode(at)?;
        let mut next = *state;
        next.at = i.next_ip();
        match i.mnemonic() {
            Mnemonic::Mov => {
                let value = self.operand(&i, 1, state)?;
                ensure!(value != Value::Guest, "{at:#x} moves what is the guest's: {i:?}");
                let selector = i.op0_register().is_segment_register();
                ensure!(!selector || value == Value::Known(0), "{at:#x}: a selector is {value:?}");
                next.set(&i, value)?;
            }
            Mnemonic::Lea => {
                ensure!(i.memory_base() == Register::RIP && i.op0_register().is_gpr64(), "{at:#x}: {i:?}");
                next.set(&i, Value::Known(i.ip_rel_memory_address()))?;
            }
            Mnemonic::Xor => {
                let zeroes = i.op0_kind() == OpKind::Register && i.op1_kind() == OpKind::Register;
                ensure!(
                    zeroes && i.op0_register() == i.op1_register() && i.op0_register().size() >= 4,
                    "{at:#x}: {i:?}"
                );
                next.set(&i, Value::Known(0))?;
                next.zero = Zero::Is(true);
            }
            Mnemonic::Add | Mnemonic::Dec => {
                let size = i.op0_register().size();
                ensure!(i.op0_kind() == OpKind::Register && size >= 4, "{at:#x}: {i:?}");
                let by = match self.operand(&i, 1, state) {
                    _ if i.mnemonic() == Mnemonic::Dec => u64::MAX,
                    Ok(Value::Known(by)) => by,
                    other => return Err(format!("{at:#x} adds {other:?}")),
                };
                let Value::Known(old) = self.operand(&i, 0, state)? else {
                    return Err(format!("{at:#x} counts: {i:?}"));
                };
                let mask = if size == 4 { u64::from(u32::MAX) } else { u64::MAX };
                let sum = old.wrapping_add(by) & mask;
                next.set(&i, Value::Known(sum))?;
                next.zero = Zero::Is(sum == 0);
            }
            Mnemonic::Test | Mnemonic::Cmp => next.zero = self.compare(&i, state)?,
            Mnemonic::Popfq => {
                let at_constant = state.register(Register::RSP) == Value::Known(eflags_at());
                ensure!(at_constant, "{at:#x}: flags from {:?}", state.register(Register::RSP));
                let value = self.constant(eflags_at());
                // IF and the bit that is always set: no TF, DF, NT, AC.
                ensure!(value == 0x202, "{at:#x}: flags {value:#x}");
                self.seen.reads.insert((eflags_at(), 8));
                next.set_register(Register::RSP, Value::Known(eflags_at() + 8));
                (next.zero, next.flags_loaded) = (Zero::Loaded, true);
            }
            Mnemonic::Je | Mnemonic::Jne => return branch(&i, state),
            Mnemonic::Jmp => {
                ensure!(i.op0_kind() == OpKind::NearBranch64, "{at:#x}: {i:?}");
                next.at = i.near_branch_target();
            }
            Mnemonic::Wrfsbase | Mnemonic::Wrgsbase => {
                let value = self.operand(&i, 0, state)?;
                let base = if i.mnemonic() == Mnemonic::Wrfsbase { Register::FS } else { Register::GS };
                ensure!(i.op0_register().is_gpr64() && value != Value::Guest, "{at:#x}: {value:?}");
                next.set_register(base, value);
            }
            Mnemonic::Xrstor64 | Mnemonic::Fxrstor64 => {
                let good = state.register(Register::RDI) == Value::Known(SIGSTACK)
                    && i.memory_base() == Register::RDI
                    && i.memory_index() == Register::None
                    && i.memory_displacement64() == 0;
                ensure!(good, "{at:#x}: {i:?}");
                if i.mnemonic() == Mnemonic::Xrstor64 {
                    let features = head(offset_of!(Control, head.xfeatures));
                    let wanted = [Value::Control(features), Value::Control(features + 4)];
                    let found = [Register::RAX, Register::RDX].map(|register| state.register(register));
                    ensure!(found == wanted, "{at:#x}: features {found:?}");
                }
                self.seen.reads.insert((SIGSTACK, 0));
            }
            Mnemonic::Iretq => {
                ensure!(i.code() == Code::Iretq && at == Place::Iret.offset(), "{at:#x}: {i:?}");
                state.may_run_the_guest(self.calls)?;
                let frame = head(offset_of!(Control, head.iret));
                self.seen.reads.insert((frame, 40));
                self.seen.stops.insert(Stop::Guest);
                return Ok(Vec::new());
            }
            Mnemonic::Syscall => return self.call(&i, state),
            _ => return Err(format!("{at:#x}: an instruction that the code does not have: {i:?}")),
        }
        Ok(vec![next])
    }

    fn constant(&self, at: u64) -> u64 {
        let bytes = self.page.get(at as usize..at as usize + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(u64::MAX, u64::from_le_bytes)
    }

    /// The value of an operand that is read.
    fn operand(&mut self, i: &Instruction, index: u32, state: &State) -> Checked<Value> {
        match i.op_kind(index) {
            OpKind::Register => {
                let register = i.op_register(index);
                let value = state.register(register.full_register());
                Ok(match (value, register.size()) {
                    (value, 8) | (value @ Value::Guest, 4) => value,
                    (Value::Known(value), 4) => Value::Known(value & u64::from(u32::MAX)),
                    (Value::Control(at), 4) if self.word(at) == Some(4) => value,
                    _ => return Err(format!("{:#x} takes a part of {value:?}: {i:?}", i.ip())),
                })
            }
            OpKind::Memory => self.load(i, state),
            _ => match i.try_immediate(index) {
                Ok(value) => Ok(Value::Known(value)),
                Err(_) => Err(format!("{:#x}: operand {index} of {i:?}", i.ip())),
            },
        }
    }

    /// The size of the word that begins at an address, if one does that may be read.
    fn word(&self, address: u64) -> Option<usize> {
        let batch = head(offset_of!(Control, batch));
        let in_batch = address.checked_sub(batch).is_some_and(|offset| offset / CALL_SIZE < self.calls);
        let member = (address.wrapping_sub(batch) % CALL_SIZE) as usize;
        let of_a_call =
            CALL_MEMBERS.iter().find(|(offset, _)| in_batch && *offset == member).map(|(_, size)| *size);
        of_a_call.or_else(|| self.words.get(&address).copied())
    }

    /// The value of a word in memory, which must be one that has a name.
    fn load(&mut self, i: &Instruction, state: &State) -> Checked<Value> {
        let (at, size) = (i.ip(), i.memory_size().size());
        ensure!(i.memory_index() == Register::None, "{at:#x}: {i:?}");
        let address = match (i.memory_base(), state.register(i.memory_base().full_register())) {
            (Register::RIP, _) => i.ip_rel_memory_address(),
            (base, Value::Known(address)) if base.size() == 8 => {
                address.wrapping_add(i.memory_displacement64())
            }
            (base, value) => return Err(format!("{at:#x} reads from {base:?}, which is {value:?}")),
        };
        let good = self.word(address) == Some(size);
        ensure!(good, "{at:#x} reads {size} bytes at {address:#x}, of {} calls", self.calls);
        self.seen.reads.insert((address, size));
        Ok(if address == head(offset_of!(Control, head.calls)) {
            Value::Known(self.calls)
        } else {
            Value::Control(address)
        })
    }

    fn compare(&mut self, i: &Instruction, state: &State) -> Checked<Zero> {
        let at = i.ip();
        let is_test = i.mnemonic() == Mnemonic::Test;
        let one = self.operand(i, 0, state)?;
        let other = self.operand(i, 1, state)?;
        ensure!(one != Value::Guest && other != Value::Guest, "{at:#x} compares what is the guest's: {i:?}");
        if is_test {
            let flags = Value::Control(head(offset_of!(Control, head.flags)));
            return match (one, other) {
                (Value::Known(one), Value::Known(other)) => Ok(Zero::Is(one & other == 0)),
                (one, Value::Known(bits)) if one == flags && i.op0_kind() == OpKind::Memory => {
                    Ok(Zero::Bits(u32::try_from(bits).map_err(|_| format!("{at:#x}: {bits:#x}"))?))
                }
                (one, other) if one == other && i.op0_register() == i.op1_register() => {
                    Ok(Zero::Equal(one, Value::Known(0)))
                }
                _ => Err(format!("{at:#x} tests {one:?}, {other:?}: {i:?}")),
            };
        }
        Ok(match (one, other) {
            (Value::Known(one), Value::Known(other)) => Zero::Is(one == other),
            _ => Zero::Equal(one, other),
        })
    }

    fn call(&mut self, i: &Instruction, state: &State) -> Checked<Vec<State>> {
        let (at, site) = (i.ip(), i.next_ip());
        let Value::Known(nr) = state.register(Register::RAX) else {
            return Err(format!("{at:#x}: an unknown call"));
        };
        let known = LOOKED_AT.iter().find(|(place, _)| place.offset() == site);
        let Some((place, count)) = known else { return Err(format!("{at:#x}: a call at no site")) };
        let arguments: Vec<_> =
            ARGUMENTS[..*count].iter().map(|register| state.register(*register)).collect();
        let is = |value: u64| Value::Known(value);
        let wanted = CALLS.iter().find(|(other, ..)| other == place).map(|(_, nr, _)| nr.unsigned_abs());
        ensure!(Some(nr) == wanted, "{at:#x}: number {nr} at {place:?}");
        if *place != Place::Kill {
            ensure!(
                state.answered && state.flags_loaded,
                "{at:#x}: {place:?} without an answer, or with the guest's flags"
            );
            ensure!(state.signals == Signals::AsParked, "{at:#x}: {place:?} while signals may come");
        }
        let mut next = *state;
        match place {
            Place::Park => {
                let ticket = Value::Control(head(offset_of!(Control, head.ticket)));
                ensure!(arguments[3] == ticket, "{at:#x}: a park with the ticket {:?}", arguments[3]);
                ensure!(state.is_closed(), "{at:#x}: a park, and the limit may be lifted");
                let stop = if state.failed { Stop::Failed } else { Stop::Done };
                let left = state.register(Register::RBX);
                let good = if state.failed {
                    let left_some = left == is(self.calls - state.made);
                    arguments[0] == is(PARK_FAILED)
                        && matches!(arguments[1], Value::Result(_))
                        && arguments[2] == left
                        && left_some
                        && state.made < self.calls
                } else {
                    arguments[0] == is(PARK_DONE) && state.made == self.calls
                };
                ensure!(good, "{at:#x}: {stop:?}, {left:?} left: {arguments:?}");
                self.seen.stops.insert(stop);
            }
            Place::Kill => drop(self.seen.stops.insert(Stop::Killed)),
            Place::Mmap | Place::Munmap | Place::Mprotect => {
                ensure!(
                    !state.closed && !state.failed,
                    "{at:#x}: {place:?} behind the window, or behind a failure"
                );
                // The batch's calls in their order, each once.
                let call = head(offset_of!(Control, batch)) + CALL_SIZE * state.made;
                let member = |offset: usize| Value::Control(call + offset as u64);
                let range = [member(offset_of!(Call, addr)), member(offset_of!(Call, length))];
                ensure!(
                    arguments[..2] == range,
                    "{at:#x}: {place:?} of {:?}, not {range:?}",
                    &arguments[..2]
                );
                let prot = *place == Place::Munmap || arguments[2] == member(offset_of!(Call, prot));
                let file = [is(0x11), is(1), member(offset_of!(Call, offset))];
                ensure!(
                    prot && (*place != Place::Mmap || arguments[3..] == file),
                    "{at:#x}: {place:?}: {arguments:?}"
                );
            }
            // The filter looks at all of these, and the host at the size of the mask.
            Place::Limit => {
                let constants =
                    [self.constant(Place::Nothing.offset()), self.constant(Place::Nothing.offset() + 8)];
                ensure!(
                    arguments == [is(0), is(9), is(Place::Nothing.offset()), is(0)],
                    "{at:#x}: {arguments:?}"
                );
                ensure!(constants[0] == 0, "the limit is {:#x}", constants[0]);
            }
            Place::Unblock => {
                let mask = self.constant(Place::Mask.offset());
                ensure!(
                    arguments == [is(2), is(Place::Mask.offset()), is(0), is(8)],
                    "{at:#x}: {arguments:?}"
                );
                ensure!(mask == 0, "the mask is {mask:#x}");
                ensure!(state.is_closed(), "{at:#x}: signals may come, and the limit may be lifted");
                next.signals = Signals::Open;
            }
            Place::SetFs | Place::SetGs => {
                let (code, base) =
                    if *place == Place::SetFs { (0x1002, Register::FS) } else { (0x1001, Register::GS) };
                ensure!(arguments[0] == is(code), "{at:#x}: {arguments:?}");
                next.set_register(base, arguments[1]);
            }
            other => return Err(format!("{at:#x}: {other:?}")),
        }
        let of_the_guest = *place != Place::Park && arguments.contains(&Value::Guest);
        ensure!(!of_the_guest, "{at:#x}: {place:?} with what is the guest's: {arguments:?}");
        self.seen.calls.insert((site, nr, arguments));
        if matches!(place, Place::Park | Place::Kill) {
            return Ok(Vec::new());
        }
        (next.at, next.zero) = (site, Zero::Loaded);
        next.set_register(Register::RAX, Value::Result(site));
        // The host leaves the address and the flags there. Nothing may need them.
        next.set_register(Register::RCX, Value::Guest);
        next.set_register(Register::R11, Value::Guest);
        Ok(vec![next])
    }
}

/// Takes both ways of a conditional jump, if what is known allows both.
fn branch(i: &Instruction, state: &State) -> Checked<Vec<State>> {
    let at = i.ip();
    let mut found = Vec::new();
    for zero in [true, false] {
        let mut next = *state;
        match state.zero {
            Zero::Guest | Zero::Loaded => {
                return Err(format!("{at:#x} looks at flags that nobody has set"));
            }
            Zero::Is(is) if is != zero => continue,
            Zero::Bits(bits) if !next.learn(bits, zero) => continue,
            Zero::Is(_) | Zero::Bits(_) => {}
            Zero::Equal(one, other) => next.learn_result(one, other, zero),
        }
        let taken = (i.mnemonic() == Mnemonic::Je) == zero;
        next.at = if taken { i.near_branch_target() } else { i.next_ip() };
        found.push(next);
    }
    Ok(found)
}

const CALL_SIZE: u64 = size_of::<Call>() as u64;
const CALL_MEMBERS: [(usize, usize); 5] = [
    (offset_of!(Call, addr), 8),
    (offset_of!(Call, length), 8),
    (offset_of!(Call, offset), 8),
    (offset_of!(Call, prot), 4),
    (offset_of!(Call, maps), 2),
];

/// Where a whole register is in a state: the general ones, then ES, CS, SS, DS, FS, GS.
fn slot(register: Register) -> Option<usize> {
    let (number, first) = (register as usize, register.full_register() as usize);
    if register.is_gpr64() {
        return Some(number - Register::RAX as usize);
    }
    register.is_segment_register().then(|| 16 + first - Register::ES as usize)
}

impl State {
    fn register(&self, register: Register) -> Value {
        slot(register).map_or(Value::Guest, |slot| self.registers[slot])
    }

    fn set_register(&mut self, register: Register, value: Value) {
        match slot(register) {
            Some(slot) => self.registers[slot] = value,
            None => unreachable!("{register:?}"),
        }
    }

    /// Sets the first operand, which must be a whole register: a write of 32 bits clears the others.
    fn set(&mut self, i: &Instruction, value: Value) -> Checked<()> {
        let register = i.op0_register();
        ensure!(i.op0_kind() == OpKind::Register, "{:#x} writes memory: {i:?}", i.ip());
        let whole = register.is_segment_register() || register.size() >= 4;
        ensure!(whole, "{:#x} writes a part of a register: {i:?}", i.ip());
        let value = match value {
            Value::Known(value) if register.size() == 4 => Value::Known(value & u64::from(u32::MAX)),
            other => other,
        };
        self.set_register(register.full_register(), value);
        Ok(())
    }

    /// Takes a way on which these bits of the flags are all 0, or not. Returns whether there is such a way.
    fn learn(&mut self, bits: u32, zero: bool) -> bool {
        let (known, values) = &mut self.flags;
        if zero {
            let possible = *values & bits == 0;
            *known |= bits;
            return possible;
        }
        // If all but one are known to be 0, that one is 1.
        let open = bits & (!*known | *values);
        if open.is_power_of_two() {
            *known |= open;
            *values |= open;
        }
        open != 0
    }

    /// What the result of a call tells.
    fn learn_result(&mut self, one: Value, other: Value, equal: bool) {
        let is_result = |place: Place| one == Value::Result(place.offset());
        if is_result(Place::Park) && other == Value::Known(ANSWER as u64) {
            self.answered = equal;
        } else if is_result(Place::Limit) && other == Value::Known(0) {
            self.closed = equal;
        } else if is_result(Place::Munmap) || is_result(Place::Mprotect) {
            self.end_of_call(equal && other == Value::Known(0));
        } else if is_result(Place::Mmap) {
            self.end_of_call(equal && other == self.register(Register::RDI));
        }
    }

    fn end_of_call(&mut self, good: bool) {
        self.made += u64::from(good);
        self.failed = !good;
    }

    fn flag(&self, bit: u32) -> Option<bool> {
        (self.flags.0 & bit != 0).then_some(self.flags.1 & bit != 0)
    }

    /// Whether the limit is 0 for sure: it has been set, or the monitor has not lifted it, and so said that in the
    /// flags.
    fn is_closed(&self) -> bool {
        self.closed || self.flag(LIMIT) == Some(false)
    }

    /// Whether all is as it must be where the guest goes on.
    fn may_run_the_guest(&self, calls: u64) -> Checked<()> {
        ensure!(self.answered && self.flags_loaded, "the guest goes on without an answer");
        ensure!(self.is_closed(), "the guest goes on, and the limit may be lifted");
        ensure!(self.signals == Signals::Open, "the guest goes on, and signals are blocked");
        ensure!(
            !self.failed && self.made == calls,
            "the guest goes on behind {} of {calls} calls",
            self.made
        );
        ensure!(self.flag(GUEST) == Some(true), "the guest goes on, and nobody has said so");
        let frame = Value::Known(head(offset_of!(Control, head.iret)));
        ensure!(self.register(Register::RSP) == frame, "the frame is at {:?}", self.register(Register::RSP));
        for (index, register) in GENERAL.into_iter().enumerate() {
            let (value, wanted) =
                (self.register(register), Value::Control(head(offset_of!(Control, head.gp) + 8 * index)));
            ensure!(value == wanted, "{register:?} is {value:?}");
        }
        for (flag, base, offset) in [
            (SET_FS, Register::FS, offset_of!(Control, head.fs_base)),
            (SET_GS, Register::GS, offset_of!(Control, head.gs_base)),
        ] {
            let good = self.flag(flag) != Some(true) || self.register(base) == Value::Control(head(offset));
            ensure!(good, "{base:?} is {:?}", self.register(base));
        }
        Ok(())
    }
}
