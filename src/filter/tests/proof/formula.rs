// SPDX-License-Identifier: GPL-2.0-only
//! Turns a filter, and a condition of a rule, into formulas (SMT-LIB) over one call: its number, architecture,
//! address and six arguments, all free.
//!
//! Jumps lead forwards only. So one pass over the program is enough: when an instruction's turn comes, all
//! ways to it are known. Where ways meet, their states are merged. A state has a condition, under which it is
//! reached, the registers A and X, and the scratch memory.

use super::*;
use std::fmt::Write;

/// The call.
pub const CALL: &str = "
(declare-const nr (_ BitVec 32))
(declare-const arch (_ BitVec 32))
(declare-const ip (_ BitVec 64))
(declare-const arg1 (_ BitVec 64))
(declare-const arg2 (_ BitVec 64))
(declare-const arg3 (_ BitVec 64))
(declare-const arg4 (_ BitVec 64))
(declare-const arg5 (_ BitVec 64))
(declare-const arg6 (_ BitVec 64))
";

const WORD: &str = "(_ BitVec 32)";

/// A program as formulas.
pub struct Formula {
    /// The definitions of all names below.
    pub text: String,
    /// The answer.
    pub answer: String,
    /// Under which condition each instruction is reached, and each of the two ways of a conditional jump is
    /// taken.
    pub ways: Vec<(usize, String)>,
    /// What must hold of every call, or the host's machine does something that is not defined here.
    pub obligations: Vec<String>,
}

#[derive(Clone)]
struct State {
    reached: String,
    a: String,
    x: String,
    memory: [Option<String>; 16],
}

/// Gives a term a name, if it is not one already.
fn define(text: &mut String, name: &str, sort: &str, term: String) -> String {
    if !term.contains(' ') {
        return term;
    }
    writeln!(text, "(define-fun {name} () {sort} {term})").unwrap();
    name.into()
}

/// The value of the state whose condition holds: exactly one does.
fn choose(values: &[(&str, &str)]) -> String {
    let (last, others) = values.split_last().unwrap();
    others.iter().rev().fold(last.1.into(), |rest, (reached, value)| {
        if *value == rest { rest } else { format!("(ite {reached} {value} {rest})") }
    })
}

fn merge(text: &mut String, name: &str, states: &[State]) -> State {
    let of = |value: fn(&State) -> &String| {
        choose(&states.iter().map(|state| (&*state.reached, &**value(state))).collect::<Vec<_>>())
    };
    let conditions: Vec<_> = states.iter().map(|state| &*state.reached).collect();
    let reached = match &conditions[..] {
        [one] => (*one).to_string(),
        several => format!("(or {})", several.join(" ")),
    };
    // The host refuses a program that may read a word of the scratch memory before it is written.
    let memory = std::array::from_fn(|index| {
        let values: Option<Vec<_>> =
            states.iter().map(|state| Some((&*state.reached, state.memory[index].as_deref()?))).collect();
        values.map(|values| choose(&values))
    });
    let (a, x) = (of(|state| &state.a), of(|state| &state.x));
    let (reached, a, x) = (
        define(text, &format!("{name}-reached"), "Bool", reached),
        define(text, &format!("{name}-a"), WORD, a),
        define(text, &format!("{name}-x"), WORD, x),
    );
    let mut index = 0;
    let memory = memory.map(|word| {
        index += 1;
        word.map(|word| define(text, &format!("{name}-m{index}"), WORD, word))
    });
    State { reached, a, x, memory }
}

/// Returns the condition of a conditional jump.
fn compare(step: sock_filter, State { a, x, .. }: &State) -> Option<String> {
    let k = constant(step.k);
    Some(match step.code {
        op::JEQ_K => format!("(= {a} {k})"),
        op::JGT_K => format!("(bvugt {a} {k})"),
        op::JGE_K => format!("(bvuge {a} {k})"),
        op::JSET_K => format!("(distinct (bvand {a} {k}) {})", constant(0)),
        op::JGE_X => format!("(bvuge {a} {x})"),
        JGT_X => format!("(bvugt {a} {x})"),
        JEQ_X => format!("(= {a} {x})"),
        _ => return None,
    })
}

/// Applies an instruction that is no jump to X and the memory; returns A.
fn apply(step: sock_filter, state: &mut State) -> std::result::Result<String, &'static str> {
    let (a, x, k) = (state.a.clone(), &state.x, constant(step.k));
    let word = step.k as usize;
    Ok(match step.code {
        op::LD_W_ABS => word_of_the_call(step.k)?,
        op::LD_IMM => k,
        op::LD_MEM => {
            let word = state.memory.get(word).ok_or("no such word")?;
            word.clone().ok_or("a word that may not be written yet")?
        }
        op::ST => {
            *state.memory.get_mut(word).ok_or("no such word")? = Some(a.clone());
            a
        }
        op::TAX => {
            state.x.clone_from(&a);
            a
        }
        op::AND_K => format!("(bvand {a} {k})"),
        op::ADD_K => format!("(bvadd {a} {k})"),
        op::ADD_X => format!("(bvadd {a} {x})"),
        op::RSH_K if step.k >= 32 => return Err("a shift by 32 or more"),
        op::RSH_K => format!("(bvlshr {a} {k})"),
        op::RSH_X => format!("(bvlshr {a} (bvand {x} {}))", constant(31)),
        _ => return Err("an instruction that no filter has"),
    })
}

/// Returns the program's formulas, or why the host would refuse it.
pub fn formula(name: &str, program: &[sock_filter]) -> std::result::Result<Formula, &'static str> {
    let start =
        State { reached: "true".into(), a: constant(0), x: constant(0), memory: [const { None }; 16] };
    let mut incoming: Vec<Vec<State>> = vec![Vec::new(); program.len()];
    incoming.first_mut().ok_or("no instruction")?.push(start.clone());
    let (mut text, mut returns, mut ways, mut obligations) = (String::new(), Vec::new(), vec![], vec![]);
    for (at, step) in program.iter().copied().enumerate() {
        let states = std::mem::take(&mut incoming[at]);
        let name = format!("{name}-{at}");
        // What is not reached by any jump is checked all the same, as the host does it.
        let mut state = match &states[..] {
            [] => State {
                reached: "false".into(),
                memory: std::array::from_fn(|_| Some(constant(0))),
                ..start.clone()
            },
            states => merge(&mut text, &name, states),
        };
        ways.push((at, state.reached.clone()));
        match step.code {
            op::RET_K => {
                returns.push((state.reached, constant(step.k)));
                continue;
            }
            op::JA => {
                incoming.get_mut(at + 1 + step.k as usize).ok_or("a jump beyond the end")?.push(state);
                continue;
            }
            // A shift by 32 or more is not defined.
            op::RSH_X => {
                obligations.push(format!("(=> {} (bvult {} {}))", state.reached, state.x, constant(32)));
            }
            _ => {}
        }
        let Some(condition) = compare(step, &state) else {
            let a = apply(step, &mut state)?;
            state.a = define(&mut text, &format!("{name}-new-a"), WORD, a);
            incoming.get_mut(at + 1).ok_or("no return at the end")?.push(state);
            continue;
        };
        for (taken, skip) in [(true, step.jt), (false, step.jf)] {
            let reached = if taken {
                format!("(and {} {condition})", state.reached)
            } else {
                format!("(and {} (not {condition}))", state.reached)
            };
            let reached = define(&mut text, &format!("{name}-{taken}"), "Bool", reached);
            ways.push((at, reached.clone()));
            incoming
                .get_mut(at + 1 + usize::from(skip))
                .ok_or("a jump beyond the end")?
                .push(State { reached, ..state.clone() });
        }
    }
    let conditions: Vec<_> = returns.iter().map(|(reached, _)| &**reached).collect();
    obligations.push(format!("(or {} false)", conditions.join(" ")));
    let values: Vec<_> = returns.iter().map(|(reached, value)| (&**reached, &**value)).collect();
    let answer = define(&mut text, &format!("{name}-answer"), WORD, choose(&values));
    Ok(Formula { text, answer, ways, obligations })
}

/// A 32-bit constant.
pub fn constant(value: u32) -> String {
    format!("#x{value:08x}")
}

/// The word at an offset of `struct seccomp_data`.
fn word_of_the_call(offset: u32) -> std::result::Result<String, &'static str> {
    if !offset.is_multiple_of(4) || offset >= 64 {
        return Err("no word of a call");
    }
    let half = |name: &str| {
        if offset.is_multiple_of(8) {
            format!("((_ extract 31 0) {name})")
        } else {
            format!("((_ extract 63 32) {name})")
        }
    };
    Ok(match offset {
        0 => "nr".into(),
        4 => "arch".into(),
        8 | 12 => half("ip"),
        _ => half(&format!("arg{}", offset / 8 - 1)),
    })
}

impl Word {
    fn term(self) -> (String, usize) {
        match self {
            Self::Nr => ("nr".into(), 32),
            Self::Arch => ("arch".into(), 32),
            Self::Ip => ("ip".into(), 64),
            Self::Arg(n) => (format!("arg{n}"), 64),
            Self::Int(n) => (format!("((_ extract 31 0) arg{n})"), 32),
        }
    }
}

impl Condition {
    pub fn term(&self) -> String {
        match self {
            Self::In(word, ranges) => is_in(*word, ranges),
            Self::NotIn(word, ranges) => format!("(not {})", is_in(*word, ranges)),
            Self::SumAtMost(one, other, bound) => {
                let wide = |n: usize| format!("((_ zero_extend 1) arg{n})");
                format!("(bvule (bvadd {} {}) (concat #b0 #x{bound:016x}))", wide(*one), wide(*other))
            }
        }
    }
}

fn is_in(word: Word, ranges: &[Range]) -> String {
    let (term, bits) = word.term();
    let constant = |value: u64| {
        assert!(bits == 64 || value >> 32 == 0, "{value:#x} in 32 bits");
        format!("#x{value:0width$x}", width = bits / 4)
    };
    let one = |&(from, to): &Range| {
        if from == to {
            return format!("(= {term} {})", constant(from));
        }
        format!("(and (bvule {} {term}) (bvule {term} {}))", constant(from), constant(to))
    };
    format!("(or {} false)", ranges.iter().map(one).collect::<Vec<_>>().join(" "))
}

impl Rule {
    /// The answer that the rule wants.
    pub fn term(&self) -> String {
        self.0.iter().rev().fold(constant(KILL), |rest, row| {
            let conditions: Vec<_> = row.conditions.iter().map(Condition::term).collect();
            format!("(ite (and {} true) {} {rest})", conditions.join(" "), constant(row.answer))
        })
    }
}
