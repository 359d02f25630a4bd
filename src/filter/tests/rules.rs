// SPDX-License-Identifier: GPL-2.0-only
//! Reads the rules: the tables of `src/window/filter.md` and `src/notify/filter.md`.
//!
//! A rule is a list of rows, and the first row that holds gives the answer. A row holds if all its conditions
//! do. There are two kinds of conditions: a word is in one of some ranges, or the sum of two arguments is at
//! most a bound. `holds` asks a condition about one call. The prover writes it as a formula for all calls.

use super::*;
use crate::window::calls;
use crate::window::code::Place;

const WINDOW: &str = include_str!("../../window/filter.md");
const NOTIFY_MODE: &str = include_str!("../../notify/filter.md");

/// From and to, both included.
pub type Range = (u64, u64);

/// What a condition looks at. `Arg(n)` is all of the argument n, `Int(n)` its lower half; n counts from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    Nr,
    Arch,
    Ip,
    Arg(usize),
    Int(usize),
}

#[derive(Clone, Debug)]
pub enum Condition {
    In(Word, Vec<Range>),
    NotIn(Word, Vec<Range>),
    /// The sum of two arguments, in 65 bits.
    SumAtMost(usize, usize, u64),
}

#[derive(Clone, Debug)]
pub struct Row {
    pub text: String,
    pub conditions: Vec<Condition>,
    pub answer: u32,
}

#[derive(Clone, Debug)]
pub struct Rule(pub Vec<Row>);

/// What the words of a table mean: they depend on the configuration.
struct Meaning<'a> {
    config: &'a Config,
    fsgsbase: bool,
}

/// The rule for both filters of window mode together.
pub fn both(config: &Config, features: u32) -> Rule {
    let fsgsbase = features & crate::abi::STUBGUARD_F_FSGSBASE != 0;
    Meaning { config, fsgsbase }.table(WINDOW, 0)
}

/// The rule for the first filter of window mode alone.
pub fn first(config: &Config) -> Rule {
    Meaning { config, fsgsbase: false }.table(WINDOW, 1)
}

/// The rule for the filter of notify mode.
pub fn notify(config: &Config) -> Rule {
    Meaning { config, fsgsbase: false }.table(NOTIFY_MODE, 0)
}

impl Rule {
    /// The answer that the rule wants for a call, and the row that says so.
    pub fn row(&self, call: &Seen) -> &Row {
        let row = self.0.iter().find(|row| row.conditions.iter().all(|condition| condition.holds(call)));
        row.expect("the last row holds for all calls")
    }

    pub fn answer(&self, call: &Seen) -> u32 {
        self.row(call).answer
    }
}

impl Condition {
    fn holds(&self, call: &Seen) -> bool {
        let is_in = |word: Word, ranges: &[Range]| {
            let value = call.word(word);
            ranges.iter().any(|(from, to)| (*from..=*to).contains(&value))
        };
        match self {
            Self::In(word, ranges) => is_in(*word, ranges),
            Self::NotIn(word, ranges) => !is_in(*word, ranges),
            Self::SumAtMost(one, other, bound) => {
                let sum = u128::from(call.args[one - 1]) + u128::from(call.args[other - 1]);
                sum <= u128::from(*bound)
            }
        }
    }
}

impl Meaning<'_> {
    /// Returns the table with this index as a rule. Rows that do not apply to this configuration are left out.
    fn table(&self, text: &str, index: usize) -> Rule {
        let (mut tables, mut inside) = (Vec::new(), false);
        for line in text.lines() {
            let row = line.starts_with('|');
            if row && !inside {
                tables.push(Vec::new());
            }
            inside = row;
            tables.last_mut().into_iter().filter(|_| row).for_each(|table: &mut Vec<_>| table.push(line));
        }
        let [head, _, rows @ ..] = &*tables[index] else { panic!("no table {index}") };
        assert_eq!(cells(head), ["where", "call", "arguments", "answer"]);
        let rule = Rule(rows.iter().filter_map(|row| self.row(row)).collect());
        assert!(
            rule.0.last().is_some_and(|last| last.conditions.is_empty()),
            "the last row is for all calls"
        );
        rule
    }

    fn row(&self, text: &str) -> Option<Row> {
        let [place, call, arguments, answer] = cells(text)[..] else { panic!("{text}") };
        let mut conditions = Vec::new();
        for word in place.split(", ") {
            match word {
                "without FSGSBASE" if self.fsgsbase => return None,
                "any" | "without FSGSBASE" => {}
                "guest" if self.config.guest_end == 0 => return None,
                "guest" => conditions.push(Condition::In(Word::Ip, vec![(0, self.config.guest_end - 1)])),
                "outside" => conditions.push(Condition::NotIn(Word::Ip, vec![self.page()])),
                "native" => conditions.push(Condition::In(Word::Arch, vec![one(X86_64.into())])),
                "foreign" => conditions.push(Condition::NotIn(Word::Arch, vec![one(X86_64.into())])),
                name => conditions.push(Condition::In(Word::Ip, vec![one(self.place(name))])),
            }
        }
        if let Some(numbers) = numbers(call) {
            conditions.push(Condition::In(Word::Nr, numbers));
        }
        conditions
            .extend(arguments.split(", ").filter(|text| !text.is_empty()).map(|text| self.argument(text)));
        let answer = match answer {
            "ALLOW" => ALLOW,
            "KILL" => KILL,
            "NOTIFY" => NOTIFY,
            "TRAP" => TRAP,
            other => panic!("{other}: {text}"),
        };
        Some(Row { text: text.split_whitespace().collect::<Vec<_>>().join(" "), conditions, answer })
    }

    /// `int arg1 = 2`, `arg3 <= 7`, `arg1 + arg2 <= stub`, `int arg1 = 5 to 6`.
    fn argument(&self, text: &str) -> Condition {
        let argument =
            |name: &str| name.strip_prefix("arg").and_then(|n| n.parse().ok()).expect("arg1 to arg6");
        match text.split(' ').collect::<Vec<_>>()[..] {
            [a, "+", b, "<=", bound] => Condition::SumAtMost(argument(a), argument(b), self.value(bound).1),
            ["int", a, "=", value] => Condition::In(Word::Int(argument(a)), vec![self.value(value)]),
            ["int", a, "=", from, "to", to] => {
                Condition::In(Word::Int(argument(a)), vec![(self.value(from).0, self.value(to).1)])
            }
            ["int", a, "<=", value] => Condition::In(Word::Int(argument(a)), vec![(0, self.value(value).1)]),
            [a, "=", value] => Condition::In(Word::Arg(argument(a)), vec![self.value(value)]),
            [a, "<=", value] => Condition::In(Word::Arg(argument(a)), vec![(0, self.value(value).1)]),
            _ => panic!("{text}"),
        }
    }

    fn value(&self, name: &str) -> Range {
        match name {
            "stub" => one(self.config.stub_start),
            "futex" => one(self.config.stub_data_address(self.config.layout.futex)),
            "memory" => (
                self.config.mmap_fd_first.unsigned_abs().into(),
                self.config.mmap_fd_last.unsigned_abs().into(),
            ),
            _ => one(number(name).unwrap_or_else(|| self.place(name))),
        }
    }

    fn page(&self) -> Range {
        (self.config.stub_start, self.config.stub_start + u64::from(self.config.page_size) - 1)
    }

    fn place(&self, name: &str) -> u64 {
        let place = Place::ALL.iter().find(|place| format!("{place:?}") == name);
        self.config.stub_start + place.unwrap_or_else(|| panic!("{name}: no place")).offset()
    }
}

/// Returns the numbers that `9 mmap`, `60 exit, 231 exit_group` or `notifying` means; None for `any`.
fn numbers(text: &str) -> Option<Vec<Range>> {
    match text {
        "any" => None,
        "notifying" => {
            let mut ranges: Vec<Range> = Vec::new();
            for nr in (0..=u16::MAX.into()).filter(|nr| calls::notifies(*nr)).map(u64::from) {
                match ranges.last_mut().filter(|last| last.1 + 1 == nr) {
                    Some(last) => last.1 = nr,
                    None => ranges.push(one(nr)),
                }
            }
            Some(ranges)
        }
        _ => {
            let number =
                |call: &str| call.split(' ').next().and_then(number).expect("a call begins with its number");
            Some(text.split(", ").map(|call| one(number(call))).collect())
        }
    }
}

fn one(value: u64) -> Range {
    (value, value)
}

fn number(text: &str) -> Option<u64> {
    text.strip_prefix("0x").map_or_else(|| text.parse(), |hex| u64::from_str_radix(hex, 16)).ok()
}

fn cells(line: &str) -> Vec<&str> {
    line.trim().trim_matches('|').split('|').map(str::trim).collect()
}
