// SPDX-License-Identifier: GPL-2.0-only
//! Proves the filters for every input: `make check-filters`.
//!
//! A call is nine free words. A program becomes a formula for its answer (`formula.rs`), and so does the rule
//! (`../rules.rs`, which reads the tables). A solver looks for a call for which a claim is false (`solver.rs`).
//! If there is none, the claim is proved for all of them. If there is one, it is printed, with what the
//! filters and the rule say; an interpreter, which shares nothing with the formulas, says the same.
//!
//! `mutants.rs` changes each instruction: the claims notice, or the change makes no difference for any call.

mod formula;
mod mutants;
mod solver;

use super::rules::{Condition, Range, Rule, Word, both, first, notify};
use super::*;
use crate::abi::STUBGUARD_F_FSGSBASE;
use crate::window::code::Place;
use formula::{CALL, Formula, constant, formula};
use solver::Solver;

/// What is proved of one configuration.
struct Case {
    name: String,
    config: Config,
    /// The programs, the first that is installed first, and the rule for each by itself, if there is one.
    programs: Vec<(Vec<sock_filter>, Option<Rule>)>,
    /// The rule for all of them together.
    rule: Rule,
}

impl Case {
    fn window(config: Config, features: u32) -> Self {
        let calls = if config.notifies_calls() { "calls notify" } else { "calls trap" };
        let bases = if features & STUBGUARD_F_FSGSBASE == 0 { "arch_prctl" } else { "FSGSBASE" };
        Self {
            name: format!("window mode, {calls}, {bases}, stub at {:#x}", config.stub_start),
            programs: vec![
                (made(|out| build_listener(&config, out)), Some(first(&config))),
                (made(|out| build(&config, features, out)), None),
            ],
            rule: both(&config, features),
            config,
        }
    }

    fn notify(config: Config) -> Self {
        Self {
            name: format!("notify mode, stub at {:#x}", config.stub_start),
            programs: vec![(made(|out| build(&config, 0, out)), None)],
            rule: notify(&config),
            config,
        }
    }

    /// The cases with UML's own addresses.
    fn usual() -> Vec<Self> {
        let trap = window::config();
        let notifies = window::config_with_calls();
        vec![
            Self::window(trap, 0),
            Self::window(trap, STUBGUARD_F_FSGSBASE),
            Self::window(notifies, 0),
            Self::window(notifies, STUBGUARD_F_FSGSBASE),
            Self::notify(example()),
        ]
    }

    /// The stub in other places: at the ends of what a configuration may say, and around 2^32.
    fn elsewhere() -> Vec<Self> {
        let mut cases = Vec::new();
        for stub_start in
            [0x1000, 0x7fff_f000, 0xffff_f000, 0x1_0000_0000, 0x1234_5678_9000, (1 << 63) - 4096]
        {
            let mut ends = vec![0, 1 << 32, stub_start & !0xffff_ffff];
            ends.retain(|end| *end <= stub_start);
            ends.dedup();
            for guest_end in ends {
                for features in [0, STUBGUARD_F_FSGSBASE] {
                    cases.push(Self::window(Config { stub_start, guest_end, ..window::config() }, features));
                }
            }
            cases.push(Self::notify(Config { stub_start, mmap_fd_last: 5, ..example() }));
        }
        cases
    }

    /// What the filters answer together, and each by itself, by the interpreter.
    fn answers(programs: &[Vec<sock_filter>], call: &Seen) -> (u32, Vec<u32>) {
        let each: Vec<u32> = programs.iter().map(|program| answer(&mut machine(program), call)).collect();
        (each.iter().rev().fold(ALLOW, |one, other| stricter(one, *other)), each)
    }

    fn programs(&self) -> Vec<Vec<sock_filter>> {
        self.programs.iter().map(|(program, _)| program.clone()).collect()
    }
}

/// The host asks the filters from the last that was installed to the first. An answer counts if its action is
/// less, as a signed number, than all before (`seccomp_run_filters()`).
const PRECEDENCE: &str = "
(define-fun stricter ((old (_ BitVec 32)) (new (_ BitVec 32))) (_ BitVec 32)
  (ite (bvslt (bvand new #xffff0000) (bvand old #xffff0000)) new old))
";

/// A claim about one configuration: its name, and the formula.
type Claim = (&'static str, String);

/// The answer of all filters.
fn together(each: &[String]) -> String {
    each.iter().rev().fold(constant(ALLOW), |old, new| format!("(stricter {old} {new})"))
}

/// The claims that say what the filters do. `each`: the answers of the programs.
fn rules_hold(case: &Case, each: &[String]) -> Vec<Claim> {
    let together = together(each);
    let mut claims =
        vec![("all filters together do what the rule says", format!("(= {together} {})", case.rule.term()))];
    for ((_, rule), answer) in case.programs.iter().zip(each) {
        if let Some(rule) = rule {
            claims.push((
                "the first filter alone does what its rule says",
                format!("(= {answer} {})", rule.term()),
            ));
        }
    }
    if let [_, second] = each {
        let (notify, trace) = (constant(NOTIFY), constant(TRACE));
        claims.push((
            "the second filter says TRACE to what the first notifies",
            format!("(=> (= {together} {notify}) (= {second} {trace}))"),
        ));
    }
    claims
}

/// Claims that follow from the rule, said without it.
fn guests_cannot(case: &Case, each: &[String]) -> Vec<Claim> {
    let (start, last) =
        (case.config.stub_start, case.config.stub_start + u64::from(case.config.page_size) - 1);
    let page = format!("(and (bvule #x{start:016x} ip) (bvule ip #x{last:016x}))");
    let strict = each.last().unwrap();
    let allow = constant(ALLOW);
    let mut claims = vec![
        (
            "no call from outside the page is allowed",
            format!("(=> (not {page}) (distinct {strict} {allow}))"),
        ),
        (
            "no call of another architecture is allowed",
            format!("(=> (distinct arch {}) (distinct {strict} {allow}))", constant(X86_64)),
        ),
    ];
    if each.len() == 2 {
        let sites = window::good().map(|(place, _)| format!("(= ip #x{:016x})", start + place.offset()));
        claims.push((
            "what is allowed is allowed at a site",
            format!("(=> (= {strict} {allow}) (or {}))", sites.join(" ")),
        ));
        let constant_at = |place: Place| format!("#x{:016x}", start + place.offset());
        let open = format!(
            "(and (= nr {}) (= ((_ extract 31 0) arg1) {}) (= arg2 {}))",
            constant(14),
            constant(2),
            constant_at(Place::Mask)
        );
        let limit = format!("(and (= nr {}) (= arg3 {}))", constant(302), constant_at(Place::Nothing));
        let others = [9, 10, 11, 158].map(|nr| format!("(= nr {})", constant(nr))).join(" ");
        claims.push((
            "what is allowed blocks no signal, and sets no limit but 0",
            format!("(=> (= {strict} {allow}) (or {others} {open} {limit}))"),
        ));
        for (what, place, arguments) in [
            (
                "mmap's range is below the stub and does not wrap",
                Place::Mmap,
                "(= arg3 #x0000000000000003) (= arg4 #x0000000000000011) (= arg5 #x0000000000000001)",
            ),
            ("munmap's range is below the stub and does not wrap", Place::Munmap, ""),
            (
                "mprotect's range is below the stub and does not wrap",
                Place::Mprotect,
                "(= arg3 #x0000000000000005)",
            ),
        ] {
            let nr = window::good().into_iter().find(|(of, _)| *of == place).unwrap().1.nr;
            claims.push((what, format!(
                "(=> (and (= ip #x{:016x}) (= arch {}) (= nr {}) {arguments}) \
                 (= (= {strict} {allow}) (and (bvule arg1 #x{start:016x}) (bvule arg2 (bvsub #x{start:016x} arg1)))))",
                start + place.offset(), constant(X86_64), constant(nr),
            )));
        }
    }
    claims
}

/// Tells the solver the programs, and returns their formulas.
fn tell(solver: &mut Solver, programs: &[Vec<sock_filter>]) -> Vec<Formula> {
    let formulas: Vec<_> = programs
        .iter()
        .enumerate()
        .map(|(index, program)| {
            formula(&format!("f{}", index + 1), program).unwrap_or_else(|why| panic!("{why}"))
        })
        .collect();
    for formula in &formulas {
        solver.tell(&formula.text);
    }
    formulas
}

fn answers_of(formulas: &[Formula]) -> Vec<String> {
    formulas.iter().map(|formula| formula.answer.clone()).collect()
}

/// Proves a claim, or panics with a call for which it is false.
fn prove(solver: &mut Solver, case: &Case, (what, claim): &Claim) {
    if let Some(call) = solver.find(&format!("(not {claim})")) {
        let (together, each) = Case::answers(&case.programs(), &call);
        let row = case.rule.row(&call);
        panic!(
            "{}: refuted: {what}\n  {}\n  the filters: {}, each by itself: {}\n  the rule: {}, by the row {}",
            case.name,
            shown(&call, &case.config),
            named(together),
            each.into_iter().map(named).collect::<Vec<_>>().join(", "),
            named(row.answer),
            row.text
        );
    }
}

/// A call as one reads it.
fn shown(call: &Seen, config: &Config) -> String {
    let offset = call.ip.wrapping_sub(config.stub_start);
    let place = match Place::ALL.iter().find(|place| place.offset() == offset) {
        Some(place) => format!(" ({place:?})"),
        None if offset < 4096 => format!(" (stub + {offset:#x})"),
        None => String::new(),
    };
    let args: Vec<_> = call.args.iter().map(|arg| format!("{arg:#x}")).collect();
    format!(
        "call {} from {:#x}{place}, architecture {:#x}, arguments {}",
        call.nr,
        call.ip,
        call.arch,
        args.join(", ")
    )
}

fn named(answer: u32) -> String {
    match answer {
        ALLOW => "ALLOW".into(),
        KILL => "KILL".into(),
        NOTIFY => "NOTIFY".into(),
        TRAP => "TRAP".into(),
        TRACE => "TRACE".into(),
        other => format!("{other:#x}"),
    }
}

/// What the filters do to calls from one address: is there a call that they allow, one that they notify, one
/// that they neither kill nor do one of these to?
pub struct Verdicts {
    solver: Solver,
    start: u64,
    together: String,
}

impl Verdicts {
    /// Of the filters that allow the most: on a host without FSGSBASE.
    pub fn new() -> Self {
        let case = Case::window(window::config_with_calls(), 0);
        let mut solver = Solver::new();
        solver.tell(PRECEDENCE);
        let each = answers_of(&tell(&mut solver, &case.programs()));
        Self { solver, start: case.config.stub_start, together: together(&each) }
    }

    /// Whether there is a call from an offset of the code page with one of these answers.
    pub fn can(&mut self, offset: u64, answers: &[u32]) -> bool {
        let ip = self.start + offset;
        let one = |answer: &u32| format!("(= {} {})", self.together, constant(*answer));
        let any: Vec<_> = answers.iter().map(one).collect();
        self.solver.find(&format!("(and (= ip #x{ip:016x}) (or {} false))", any.join(" "))).is_some()
    }

    /// Whether all calls from an offset have this answer for which `condition` holds.
    pub fn always(&mut self, offset: u64, condition: &str, answer: u32) -> bool {
        let ip = self.start + offset;
        let (native, answer) = (constant(X86_64), constant(answer));
        let is = format!("(and (= ip #x{ip:016x}) (= arch {native}) {condition})");
        self.solver.find(&format!("(and {is} (distinct {} {answer}))", self.together)).is_none()
            && self.solver.find(&is).is_some()
    }
}

/// Proves all claims of a case; returns how many, and a call for each way through the programs.
fn prove_case(case: &Case, every_way: bool) -> (usize, Vec<Seen>) {
    let mut solver = Solver::new();
    solver.tell(PRECEDENCE);
    let formulas = tell(&mut solver, &case.programs());
    let each = answers_of(&formulas);
    let mut claims = rules_hold(case, &each);
    claims.extend(guests_cannot(case, &each));
    for formula in &formulas {
        claims.extend(
            formula
                .obligations
                .iter()
                .map(|claim| ("each path is defined and ends in a return", claim.clone())),
        );
    }
    for claim in &claims {
        prove(&mut solver, case, claim);
    }
    let mut calls = Vec::new();
    for (index, formula) in formulas.iter().enumerate().filter(|_| every_way) {
        for (at, way) in &formula.ways {
            let Some(call) = solver.find(way) else {
                panic!(
                    "{}: instruction {at} of filter {}: no call takes this way: {way}",
                    case.name,
                    index + 1
                );
            };
            calls.push(call);
        }
    }
    (claims.len() + calls.len(), calls)
}

#[test]
#[ignore = "needs z3: make check-filters"]
fn the_filters_do_what_the_rule_says_for_every_call() {
    for case in Case::usual() {
        let (count, _) = prove_case(&case, true);
        println!("  proved: {}: {count} claims", case.name);
    }
}

#[test]
#[ignore = "needs z3: make check-filters"]
fn and_so_they_do_wherever_the_stub_is() {
    for case in Case::elsewhere() {
        let (count, _) = prove_case(&case, false);
        println!("  proved: {}: {count} claims", case.name);
    }
}

#[test]
fn no_other_feature_of_the_host_changes_a_filter() {
    for config in [window::config(), window::config_with_calls(), example()] {
        for (one, other) in [(0, !STUBGUARD_F_FSGSBASE), (STUBGUARD_F_FSGSBASE, u32::MAX)] {
            let programs = [one, other].map(|features| made(|out| build(&config, features, out)));
            let [one, other] =
                programs.map(|program| program.iter().map(|i| (i.code, i.jt, i.jf, i.k)).collect::<Vec<_>>());
            assert_eq!(one, other);
        }
    }
}
