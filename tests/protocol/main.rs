// SPDX-License-Identifier: GPL-2.0-only
//! Model checking of window mode's protocol, with the library's own code.
//!
//! The library runs on a host that is simulated at the C functions by which it makes host calls (host.rs). The
//! stub's code and its guest are simulated, too (stub.rs). The guest kernel does with the stub what the library
//! allows (kernel.rs). Each thing that may go one way or another is a choice: what the kernel does, what the
//! guest does, what disturbs them. All choices are tried, breadth first; a state that was met before is not
//! followed again. So within the bounds (Bounds) nothing is left out.
//!
//! | always holds | where |
//! |---|---|
//! | no guest instruction runs while its stub can map | `Host::guest`, `enter_guest` |
//! | a stub maps only what the page table grants | `Host::batch` |
//! | an honest guest has its own registers, FS base and pages | `enter_guest` |
//! | each call of an honest guest happens once, and returns its own result | `Kernel::happened`, `Host::returned` |
//! | an honest guest loses its stub only if that has died | `Kernel::check` |
//! | a kept stub has nothing of its last guest | `Kernel::put`, `take` |
//! | no process but a stub gets a signal | `Host::signal` |
//! | the monitor waits for no stub that waits for it | `Host::receive` |

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

mod host;
mod kernel;
mod stub;
mod trail;

use host::{Host, Kind};
use kernel::Kernel;
use std::collections::{HashSet, VecDeque};
use stubguard::abi::{Config, Layout, STUBGUARD_WINDOW};
use trail::{Choice, Trail};

/// What is tried.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    kind: Kind,
    /// Deaths, signals, lost answers, refused mappings, in all.
    disturbances: u8,
    /// What hostile guests do.
    acts: u8,
    /// Address spaces, one after the other. The first ones are hostile.
    spaces: u8,
    hostile_spaces: u8,
    /// Changes of the page table.
    changes: u8,
    /// Of the guest: 1 or 2, which take turns in the stub.
    threads: u8,
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
    State(u64),
}

/// Does so many acts with these choices, and one act more.
fn run(
    bounds: &Bounds,
    acts_before: usize,
    prefix: &[Choice],
    story: bool,
) -> (End, Trail, Option<Vec<String>>) {
    let Bounds { kind, disturbances, acts, .. } = *bounds;
    host::enter(Host::new(kind, Trail::starting_with(prefix), disturbances, acts, story));
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
            break End::State(0);
        }
        done += 1;
    };
    let mut host = host::leave();
    let end = match end {
        End::State(_) => End::State(kernel.fingerprint(&mut host)),
        end => end,
    };
    (end, host.trail, host.story)
}

/// Tries all. Returns how many states and how many acts there are.
fn explore(bounds: &Bounds) -> (usize, usize) {
    let mut seen = HashSet::new();
    let mut acts = 0;
    let mut queue = VecDeque::from([(0, Vec::new())]);
    while let Some((before, prefix)) = queue.pop_front() {
        let mut next = Some(prefix.clone());
        while let Some(choices) = next {
            let (end, trail, _) = run(bounds, before, &choices, false);
            acts += 1;
            match end {
                End::Violation(what) => {
                    let (_, _, story) = run(bounds, before, trail.choices(), true);
                    panic!("{what}\n{bounds:?}\n{}", story.unwrap_or_default().join("\n"));
                }
                End::State(state) if seen.insert(state) => {
                    queue.push_back((before + 1, trail.choices().to_vec()))
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
    };
    let reused = Bounds { spaces: 2, changes: 2, threads: 1, ..honest };
    let hostile = Bounds { disturbances: 0, acts: 2 + more, hostile_spaces: 1, changes: 1, ..reused };
    let disturbed = Bounds { disturbances: 1, acts: 1 + more, ..hostile };
    let all = vec![honest, reused, hostile, disturbed];
    all.into_iter().take(if kind.killable || more > 0 { 4 } else { 3 }).collect()
}

#[test]
fn all_that_can_happen() {
    assert!(stubguard::config::install(config(true), |_| Ok(())).is_ok());
    let more = std::env::var_os("STUBGUARD_MORE").is_some();
    for bounds in KINDS.into_iter().flat_map(|kind| bounds(kind, more)) {
        let (states, acts) = explore(&bounds);
        println!("  explored: {states} states, {acts} acts: {bounds:?}");
        // A simulation in which nothing happens proves nothing.
        assert!(states > 1000, "{states}");
    }
}
