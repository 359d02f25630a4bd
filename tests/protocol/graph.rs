// SPDX-License-Identifier: GPL-2.0-only
//! The model as a graph: states, and between them the host calls of a stub and its monitor. uml/tests/traces.py looks
//! whether what a real guest does is a way through it.

use std::collections::{BTreeSet, HashMap};
use stubguard::window::code;

/// What the monitor receives when a stub parks with this first argument.
pub fn park(what: u64) -> &'static str {
    match what {
        code::PARK_DONE => "receive-done",
        code::PARK_FAILED => "receive-failed",
        signal if signal == libc::SIGSYS as u64 => "receive-trap",
        signal if signal == libc::SIGALRM as u64 => "receive-timer",
        _ => "receive-fault",
    }
}

/// The host calls of one act of the kernel, in their order.
#[derive(Clone, Debug, Default)]
pub struct Letters(Vec<&'static str>);

impl Letters {
    pub fn add(&mut self, letter: &'static str) {
        self.0.push(letter);
    }
}

/// States get numbers in the order in which they are met. How much may still happen is no part of a state here, as a real
/// guest has no bounds. The contents of registers and memory are none either.
#[derive(Default)]
pub struct Graph {
    numbers: HashMap<u64, usize>,
    edges: BTreeSet<(usize, usize, String)>,
}

impl Graph {
    fn number(&mut self, state: u64) -> usize {
        let next = self.numbers.len();
        *self.numbers.entry(state).or_insert(next)
    }

    /// An act that leads from one state to another.
    pub fn add(&mut self, from: u64, to: u64, letters: &Letters) {
        let (from, to) = (self.number(from), self.number(to));
        self.edges.insert((from, to, letters.0.join(" ")));
    }

    /// A line for each act: two states, and the letters
    pub fn lines(&self) -> String {
        self.edges.iter().map(|(from, to, letters)| format!("{from} {to} {letters}\n")).collect()
    }
}
