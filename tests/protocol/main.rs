// SPDX-License-Identifier: GPL-2.0-only
//! Model checking of window mode's protocol, with the library's own code.
//!
//! The library runs on a host that is simulated at the C functions by which it makes host calls (host.rs). The
//! stub's code and its guest are simulated, too (stub.rs). The guest kernel does with the stub what the library
//! allows (kernel.rs). Each thing that may go one way or another is a choice: what the kernel does, what the
//! guest does, what disturbs them. All choices are tried, breadth first; a state that was met before is not
//! followed again. So within the bounds (Bounds) nothing is left out.
//!
//! docs/protocol.md says what always holds, and where that is checked.

#![cfg(not(loom))]
#![allow(unsafe_code)]
// All of it is a test, which may panic.
#![allow(
    clippy::pedantic,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod graph;
mod host;
mod kernel;
mod stub;
mod trail;

use graph::{Graph, Letters};
use host::{Host, Kind};
use kernel::Kernel;
use std::collections::{HashSet, VecDeque};
use stubguard::abi::{Config, Layout, STUBGUARD_WINDOW};
use trail::{Choice, Trail};

const FOREVER: u8 = u8::MAX;

/// What is tried.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    kind: Kind,
    /// Deaths, signals, lost answers, refused mappings, in all.
    disturbances: u8,
    /// What hostile guests do.
    acts: u8,
    /// Address spaces, one after the other. FOREVER: any number of them. The first ones are hostile.
    spaces: u8,
    hostile_spaces: u8,
    /// Changes of the page table. FOREVER: any number of them.
    changes: u8,
    /// Of the guest: 1 or 2, which take turns in the stub.
    threads: u8,
    /// Stubs run beside the monitor.
    beside: bool,
}

fn config(killable: bool) -> Config {
    Config {
        size: size_of::<Config>(),
        flags: STUBGUARD_WINDOW,
        cpus: 1,
        stub_start: stub::STUB,
        page_size: 4096,
        mmap_fd_first: 0,
        mmap_fd_last: 0,
        watchdog_tick_ms: 0,
        watchdog_budget_ms: 0,
        kick_signal: 0,
        log: None,
        layout: Layout::default(),
        fp_size: 512,
        pool_size: 1,
        reserved: 0,
        guest_end: if killable { 0x7fff_0000_0000 } else { 0 },
    }
    .validated()
    .expect("a configuration")
}

/// How a run ended.
enum End {
    Violation(String),
    /// There is nothing more to do.
    Over,
    /// After an act, in this state.
    State(State),
}

/// As numbers: all that what follows depends on; what decides which host calls can follow.
#[derive(Clone, Copy, Default)]
struct State {
    all: u64,
    control: u64,
    disturbances: u8,
}

struct Run {
    end: End,
    trail: Trail,
    story: Vec<String>,
    /// Of the last act.
    letters: Letters,
}

/// Does so many acts with these choices, and one act more.
fn run(bounds: &Bounds, acts_before: usize, prefix: &[Choice], story: bool) -> Run {
    let Bounds { kind, disturbances, acts, .. } = *bounds;
    let mut host = Host::new(kind, Trail::starting_with(prefix), disturbances, acts, story);
    host.beside = bounds.beside;
    host::enter(host);
    let config = config(kind.killable);
    let mut kernel = Kernel::new(&config, bounds);
    let mut done = 0;
    let end = loop {
        let goes_on = kernel.act();
        if let Some(violation) = host::with(|host| host.violation.clone()) {
            break End::Violation(violation);
        }
        if !goes_on {
            break End::Over;
        }
        if done == acts_before {
            break End::State(State::default());
        }
        done += 1;
    };
    let mut host = host::leave();
    let end = match end {
        End::State(_) => End::State(kernel.fingerprint(&mut host)),
        end => end,
    };
    Run { end, trail: host.trail, story: host.story.unwrap_or_default(), letters: host.letters }
}

/// Tries all. Returns how many states and how many acts there are. Adds to the graph, if that is asked for.
fn explore(bounds: &Bounds, mut graph: Option<&mut Graph>) -> (usize, usize) {
    let mut seen = HashSet::new();
    // For the graph one state of each kind is enough.
    let coarse = graph.is_some();
    let key = |state: State| if coarse { (state.control, state.disturbances) } else { (state.all, 0) };
    let mut acts = 0;
    let mut queue = VecDeque::from([(0, Vec::new(), State::default())]);
    while let Some((before, prefix, from)) = queue.pop_front() {
        let mut next = Some(prefix.clone());
        while let Some(choices) = next {
            let Run { end, trail, letters, .. } = run(bounds, before, &choices, false);
            acts += 1;
            if let (Some(graph), End::State(to)) = (&mut graph, &end) {
                graph.add(from.control, to.control, &letters);
            }
            match end {
                End::Violation(what) => {
                    let Run { story, .. } = run(bounds, before, trail.choices(), true);
                    panic!("{what}\n{bounds:?}\n{}", story.join("\n"));
                }
                End::State(state) if seen.insert(key(state)) => {
                    queue.push_back((before + 1, trail.choices().to_vec(), state))
                }
                End::State(_) | End::Over => {}
            }
            next = trail.next(prefix.len());
        }
    }
    (seen.len(), acts)
}

const KINDS: [Kind; 3] = [
    Kind { killable: true, tells: true },
    Kind { killable: false, tells: true },
    Kind { killable: false, tells: false },
];

/// What is tried on such a host. `more`: for longer.
fn bounds(kind: Kind, more: bool) -> Vec<Bounds> {
    let more = u8::from(more);
    let honest = Bounds {
        kind,
        disturbances: 1 + more,
        acts: 0,
        spaces: 1,
        hostile_spaces: 0,
        changes: 1,
        threads: 2,
        beside: false,
    };
    let reused = Bounds { spaces: 2, changes: 2, threads: 1, ..honest };
    let hostile = Bounds { disturbances: 0, acts: 2 + more, hostile_spaces: 1, changes: 1, ..reused };
    let disturbed = Bounds { disturbances: 1, acts: 1 + more, ..hostile };
    let all = vec![honest, reused, hostile, disturbed];
    all.into_iter().take(if kind.killable || more > 0 { 4 } else { 3 }).collect()
}

/// The library is installed, and only this test uses it: it has one pool, and one watchdog.
fn alone() -> std::sync::MutexGuard<'static, bool> {
    static INSTALLED: std::sync::Mutex<bool> = std::sync::Mutex::new(false);
    let mut installed = INSTALLED.lock().expect("the other test is well");
    if !*installed {
        assert!(stubguard::config::install(config(true), |_| Ok(())).is_ok());
        *installed = true;
    }
    installed
}

#[test]
fn all_that_can_happen() {
    let _alone = alone();
    let more = std::env::var_os("STUBGUARD_MORE").is_some();
    for bounds in KINDS.into_iter().flat_map(|kind| bounds(kind, more)) {
        let (states, acts) = explore(&bounds, None);
        println!("  explored: {states} states, {acts} acts: {bounds:?}");
        // A simulation in which nothing happens proves nothing.
        assert!(states > 1000, "{states}");
    }
}

/// Writes the graphs of an honest guest into the folder STUBGUARD_GRAPHS, if that is set: a file for each kind of host, named as
/// UML's boot line names what the host offers (uml/tests/traces.py).
#[test]
fn graphs_of_an_honest_guest() {
    let Some(folder) = std::env::var_os("STUBGUARD_GRAPHS") else { return };
    let folder = std::path::Path::new(&folder);
    let _alone = alone();
    for (kind, file) in KINDS.into_iter().zip(["wait-killable receive-ends", "receive-ends", "neither"]) {
        let [honest, reused, ..] = bounds(kind, false)[..] else { unreachable!() };
        let mut graph = Graph::default();
        for bounds in [
            Bounds { changes: FOREVER, beside: true, ..honest },
            Bounds { changes: FOREVER, spaces: FOREVER, beside: true, ..reused },
        ] {
            let (states, acts) = explore(&bounds, Some(&mut graph));
            println!("  explored: {states} states, {acts} acts: {bounds:?}");
        }
        std::fs::write(folder.join(file), graph.lines()).expect("a file to write");
    }
}
