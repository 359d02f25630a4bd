// SPDX-License-Identifier: GPL-2.0-only
//! Talks to the solver, z3, in SMT-LIB.

use super::*;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const SOLVER: &str = "z3";
const END: &str = "end of the reply";

pub struct Solver {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    pub questions: usize,
}

impl Solver {
    /// A solver that knows what a call is.
    pub fn new() -> Self {
        let mut child = Command::new(SOLVER)
            .args(["-in", "-smt2"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{SOLVER}: {error}. Nothing is proved without it"));
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut solver = Self { child, input, output, questions: 0 };
        solver.tell("(set-option :produce-models true)\n(set-logic QF_BV)");
        solver.tell(CALL);
        solver
    }

    /// What holds from here on: definitions.
    pub fn tell(&mut self, text: &str) {
        writeln!(self.input.as_mut().unwrap(), "{text}").unwrap();
    }

    fn reply(&mut self, question: &str) -> String {
        self.tell(&format!("{question}\n(echo \"{END}\")"));
        self.input.as_mut().unwrap().flush().unwrap();
        let mut reply = String::new();
        loop {
            let mut line = String::new();
            let count = self.output.read_line(&mut line).unwrap();
            assert!(count > 0, "{SOLVER} ended: {question}");
            assert!(!line.starts_with("(error"), "{SOLVER}: {line}{question}");
            if line.trim_end() == END {
                return reply;
            }
            reply += &line;
        }
    }

    /// Returns a call for which a formula holds, or None if there is none.
    pub fn find(&mut self, formula: &str) -> Option<Seen> {
        self.questions += 1;
        let answer = self.reply(&format!("(push)\n(assert {formula})\n(check-sat)"));
        let found = match answer.trim() {
            "unsat" => None,
            "sat" => Some(self.reply("(get-value (nr arch ip arg1 arg2 arg3 arg4 arg5 arg6))")),
            other => panic!("{SOLVER} says {other}: {formula}"),
        };
        self.tell("(pop)");
        found.map(|model| {
            let values: Vec<u64> = model
                .split("#x")
                .skip(1)
                .map(|rest| {
                    let end = rest.find(')').unwrap();
                    u64::from_str_radix(&rest[..end], 16).unwrap()
                })
                .collect();
            let [nr, arch, ip, args @ ..] = &values[..] else { panic!("{model}") };
            let word = |value: &u64| u32::try_from(*value).unwrap();
            Seen { nr: word(nr), arch: word(arch), ip: *ip, args: args.try_into().unwrap() }
        })
    }

    /// What `inside` tells is forgotten afterwards.
    pub fn forget<T>(&mut self, inside: impl FnOnce(&mut Self) -> T) -> T {
        self.tell("(push)");
        let result = inside(self);
        self.tell("(pop)");
        result
    }
}

impl Drop for Solver {
    fn drop(&mut self) {
        // At the end of its input it ends.
        drop(self.input.take());
        let _ = self.child.wait();
    }
}
