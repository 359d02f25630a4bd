// SPDX-License-Identifier: GPL-2.0-only
//! Proves what the code page can do, and writes it down: `make check-code` compares docs/code-page.md.
//!
//! There are two ways into the page. A guest jumps to any byte: `walk.rs`. The monitor answers a park:
//! `resume.rs`. What the filters do to a call is asked of the filters' proofs.

use super::resume::{Machine, Seen, Stop, Value};
use super::walk::{End, Follows, Verdict, from_each_byte, page, unknown};
use super::*;
use crate::filter::tests::proof::Verdicts;
use libc::{SECCOMP_RET_ALLOW as ALLOW, SECCOMP_RET_KILL_PROCESS as KILL, SECCOMP_RET_USER_NOTIF as NOTIFY};
use std::cell::RefCell;
use std::fmt::Write;

const DOC: &str = "docs/code-page.md";

/// Asks the filters, once for each address.
fn verdicts() -> impl Fn(u64) -> Verdict {
    let verdicts = RefCell::new((Verdicts::new(), BTreeMap::new()));
    move |offset| {
        let (verdicts, known) = &mut *verdicts.borrow_mut();
        *known.entry(offset).or_insert_with(|| {
            if verdicts.can(offset, &[ALLOW]) {
                return Verdict::Allowed;
            }
            let notified = verdicts.can(offset, &[NOTIFY]);
            // There is no other answer within the page.
            assert!(
                verdicts.can(offset, &[KILL])
                    && !verdicts.can(offset, &[libc::SECCOMP_RET_TRAP, libc::SECCOMP_RET_TRACE])
            );
            if notified { Verdict::Notified } else { Verdict::Killed }
        })
    }
}

/// Checks what a walk from each byte has found. No instruction of the code leads to another jump than iretq. In
/// the middle of an instruction there may be one: a guest gains nothing, as it has such jumps in its own memory.
fn check_walk(follows: &[Follows]) -> std::result::Result<(), String> {
    let sites: BTreeSet<u64> = CALLS.iter().map(|(place, ..)| place.offset()).collect();
    let starts: BTreeSet<u64> = instructions().iter().map(Instruction::ip).collect();
    for (at, follows) in follows.iter().enumerate() {
        if !follows.calls.is_subset(&sites) {
            return Err(format!("{at:#x}: a call at no site: {:x?}", follows.calls));
        }
        if starts.contains(&(at as u64)) && follows.ends.contains(&End::Jump) {
            return Err(format!("{at:#x}: a jump that is not iretq's"));
        }
    }
    // The bytes of the hard limit may be a call, and the site is the address behind it.
    let unknown = unknown();
    match sites.iter().find(|site| (unknown.start + 1..=unknown.end + 1).contains(*site)) {
        Some(site) => Err(format!("{site:#x}: a site behind bytes that are not known")),
        None => Ok(()),
    }
}

/// Numbers of calls that the page is executed with. Each call of a batch is the same loop again; all numbers would take
/// a quarter of an hour.
const BATCHES: [usize; 6] = [0, 1, 2, 3, 16, CALLS_MAX];

/// Executes the page with each of these numbers of calls.
fn check_resume(page: &[u8], batches: impl Iterator<Item = usize>) -> std::result::Result<Seen, String> {
    let mut all = Seen::default();
    for calls in batches {
        let mut machine = Machine::new(page, calls);
        machine.run().map_err(|what| format!("{calls} calls: {what}"))?;
        let Seen { calls, reads, stops, executed, longest, states } = machine.seen;
        all.calls.extend(calls);
        all.reads.extend(reads);
        all.stops.extend(stops);
        all.executed.extend(executed);
        all.states += states;
        all.longest = all.longest.max(longest);
    }
    Ok(all)
}

/// What the code calls, in words: the site, the number, the arguments that are looked at.
fn calls_in_words(seen: &Seen) -> Vec<(Place, u64, String)> {
    let mut found: Vec<(Place, u64, String)> = Vec::new();
    for (site, nr, arguments) in &seen.calls {
        let mut words: Vec<_> = arguments.iter().map(|argument| in_words(*argument)).collect();
        match arguments.first().filter(|_| *site == Place::Park.offset()) {
            Some(Value::Known(PARK_DONE)) => {
                ["done (0x1000)", "not looked at", "not looked at"]
                    .iter()
                    .zip(&mut words)
                    .for_each(|(new, word)| *word = (*new).into());
            }
            Some(Value::Known(PARK_FAILED)) => {
                words[0] = "failed (0x1001)".into();
                words[2] = "how many calls are left".into();
            }
            _ => {}
        }
        let words = words.join(", ");
        let row = (place_at(*site), *nr, words);
        if !found.contains(&row) {
            found.push(row);
        }
    }
    found
}

/// Members of the control page, by their names. Those of all calls of the batch have one name.
fn in_words(value: Value) -> String {
    let constant = [(Place::Nothing, "the constant 0"), (Place::Mask, "the empty mask")];
    match value {
        Value::Guest => "any".into(),
        Value::Known(value) => match constant.iter().find(|(place, _)| place.offset() == value) {
            Some((_, name)) => (*name).into(),
            None if value < 10 => value.to_string(),
            None => format!("{value:#x}"),
        },
        Value::Result(site) => format!("the result of {:?}", place_at(site)),
        Value::Control(at) => {
            let offset = (at - CONTROL) as usize;
            let batch = offset_of!(Control, batch);
            let (base, members): (usize, &[(usize, &str)]) = if offset >= batch {
                let members = &[
                    (offset_of!(Call, addr), "its address"),
                    (offset_of!(Call, length), "its length"),
                    (offset_of!(Call, offset), "its offset"),
                    (offset_of!(Call, prot), "its protection"),
                ];
                (batch + (offset - batch) / size_of::<Call>() * size_of::<Call>(), members)
            } else {
                let members = &[
                    (offset_of!(Control, head.fs_base), "the FS base"),
                    (offset_of!(Control, head.gs_base), "the GS base"),
                    (offset_of!(Control, head.ticket), "the ticket"),
                ];
                (0, members)
            };
            members
                .iter()
                .find(|(member, _)| base + member == offset)
                .map_or(format!("{at:#x}"), |(_, name)| (*name).into())
        }
    }
}

fn place_at(offset: u64) -> Place {
    *Place::ALL.iter().find(|place| place.offset() == offset).unwrap()
}

/// The bytes of the page that lead to the same.
struct Group<'a> {
    follows: &'a Follows,
    /// Instructions of the code, as ranges: from the first's start to the last's.
    instructions: Vec<(u64, u64)>,
    /// Bytes in the middle of instructions, and bytes behind the code.
    inside: usize,
    behind: usize,
}

fn groups(follows: &[Follows]) -> Vec<Group<'_>> {
    let code = instructions();
    let mut groups: Vec<Group> = Vec::new();
    for (at, follows) in (0..).zip(follows) {
        let index = groups.iter().position(|group| group.follows == follows).unwrap_or_else(|| {
            groups.push(Group { follows, instructions: Vec::new(), inside: 0, behind: 0 });
            groups.len() - 1
        });
        let group = &mut groups[index];
        match code.iter().position(|i| i.ip() == at) {
            Some(number) => match group.instructions.last_mut() {
                Some(last) if number > 0 && last.1 == code[number - 1].ip() => last.1 = at,
                _ => group.instructions.push((at, at)),
            },
            None if code.last().is_some_and(|last| at >= last.next_ip()) => group.behind += 1,
            None => group.inside += 1,
        }
    }
    groups
}

/// docs/code-page.md.
fn document(follows: &[Follows], seen: &Seen) -> String {
    let mut text = String::from(
        "# The code page, from each of its bytes\n\n\
        `make check-code` proves these tables and compares this page with them. `make code-page` writes it.\n\n\
        ## A guest jumps into the page\n\n\
        The guest chooses the byte, all registers, all flags and all memory. The filters decide on each call: `make check-filters`.\n\
        A call that they never let through ends the walk. What they let through at a site has exactly the arguments of\n\
        [the rule](../src/window/filter.md): it blocks no signal, and sets no limit but 0.\n\n\
        | the instructions at | bytes inside instructions | bytes behind the code | calls that the filters may let through, before the end | ends |\n\
        |---|---|---|---|---|\n",
    );
    for Group { follows, instructions, inside, behind } in groups(follows) {
        let range = |&(from, to): &(u64, u64)| {
            if from == to { format!("{from:#x}") } else { format!("{from:#x} to {to:#x}") }
        };
        let from: Vec<_> = instructions.iter().map(range).collect();
        let calls: Vec<_> = follows.calls.iter().map(|site| format!("{:?}", place_at(*site))).collect();
        let ends: Vec<_> = follows.ends.iter().map(|end| format!("{end:?}")).collect();
        writeln!(
            text,
            "| {} | {inside} | {behind} | {} | {} |",
            from.join(", "),
            calls.join(", "),
            ends.join(", ")
        )
        .unwrap();
    }
    text += "\n| end | what it is |\n|---|---|\n";
    for (end, what) in [
        (End::Park, "The monitor is notified, and holds the stub"),
        (End::Killed, "A call: the filters end the process, whatever its number and arguments"),
        (End::Iretq, "The guest's code, by a frame of the guest's choosing"),
        (End::Jump, "A jump or return to an address of the guest's choosing"),
        (End::Fault, "An instruction that the processor refuses, or the end of the page: a signal"),
        (
            End::AnyInstruction,
            "The bytes of the host's hard limit. They may be any instruction. A call among them is at no site",
        ),
    ] {
        writeln!(text, "| {end:?} | {what} |").unwrap();
    }
    text += "\n## The monitor answers a park\n\n\
        The stub may have come to its park by a jump: every register and flag is the guest's. The control page is the monitor's. On every way to the next\n\
        stop, with batches of 0 to 3, 16, and the most calls that fit, every value of the flags and every result of the host:\n\n\
        - Nothing of the guest's is used: no register, no flag, no memory.\n\
        - Only these are read: the words of the control page that `Head` names, the members of the batch's calls, the flags' constant, and by xrstor or\n  \
          fxrstor the floating-point state. Nothing is written.\n\
        - These calls are made, with these arguments. The batch's calls are made in their order, each once, up to the first that fails.\n\n";
    text += "| site | number | arguments |\n|---|---|---|\n";
    for (place, nr, arguments) in calls_in_words(seen) {
        writeln!(text, "| {place:?} | {nr} | {arguments} |").unwrap();
    }
    text += "\n| stop | what holds there |\n|---|---|\n\
        | the guest | The monitor has answered and asked for it. The whole batch succeeded. The limit is 0, signals are open, all registers are the control page's |\n\
        | a park: done | The whole batch succeeded. The limit is 0 |\n\
        | a park: failed | The call that failed is named, and how many are left. The limit is 0 |\n\
        | killed | The monitor has not answered, or the limit could not be set |\n\n";
    writeln!(text, "\"The limit is 0\" means: the host has said so, or the monitor has not lifted it. A stop is at most {} instructions away.", seen.longest).unwrap();
    text
}

#[test]
#[ignore = "needs z3: make check-code"]
fn the_document_says_what_the_page_can_do() {
    let follows = from_each_byte(&page(), &verdicts());
    check_walk(&follows).unwrap();
    let seen = check_resume(&page(), BATCHES.into_iter()).unwrap();
    let text = document(&follows, &seen);
    if std::env::var_os("STUBGUARD_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(DOC, &text).unwrap();
    }
    let found = std::fs::read_to_string(DOC).unwrap_or_default();
    let line = text.lines().zip(found.lines()).find(|(wanted, found)| wanted != found);
    assert!(text == found, "{DOC} is not what the proof says, `make code-page` writes it: {line:?}");
    println!(
        "  proved: {} bytes of the page lead to {} sites; {} states behind a park",
        follows.len(),
        CALLS.len(),
        seen.states
    );
}

#[test]
fn nothing_of_the_guests_counts_behind_a_park() {
    let seen = check_resume(&page(), [0, 1, 2, 3].into_iter()).unwrap();
    assert_eq!(seen.stops, BTreeSet::from([Stop::Done, Stop::Failed, Stop::Guest, Stop::Killed]));
    assert_eq!(
        seen.calls.iter().map(|(site, ..)| *site).collect::<BTreeSet<_>>(),
        CALLS.iter().map(|(place, ..)| place.offset()).collect()
    );
    // All of the code but the jump behind the call that ends it.
    let wanted: BTreeSet<_> =
        instructions().iter().map(Instruction::ip).filter(|at| *at != Place::Kill.offset()).collect();
    assert_eq!(seen.executed, wanted);
}

/// The filters allow what the code calls, if the batch is one that the monitor makes.
#[test]
#[ignore = "needs z3: make check-code"]
fn the_filters_let_the_code_do_its_work() {
    let mut verdicts = Verdicts::new();
    let mut asked = BTreeSet::new();
    let seen = check_resume(&page(), BATCHES.into_iter()).unwrap();
    let stub = crate::config::example::window().stub_start;
    for (site, nr, arguments) in &seen.calls {
        let mut condition = format!("(= nr #x{nr:08x})");
        for (index, argument) in arguments.iter().enumerate() {
            if let Value::Known(value) = argument {
                // Addresses count from the page's start.
                let constant = [Place::Nothing, Place::Mask].iter().any(|place| place.offset() == *value);
                let value = if constant { stub + value } else { *value };
                write!(condition, " (= arg{} #x{value:016x})", index + 1).unwrap();
            }
        }
        let (below, prot) = (
            format!(" (bvule arg1 #x{stub:016x}) (bvule arg2 (bvsub #x{stub:016x} arg1))"),
            " (bvule #x0000000000000001 arg3) (bvule arg3 #x0000000000000007)",
        );
        let answer = match place_at(*site) {
            Place::Park => NOTIFY,
            Place::Kill => KILL,
            Place::Mmap => {
                condition = condition + &below + prot;
                ALLOW
            }
            Place::Munmap => {
                condition += &below;
                ALLOW
            }
            Place::Mprotect => {
                write!(condition, "{below} (= arg3 #x{WRPROTECTED:016x})").unwrap();
                ALLOW
            }
            _ => ALLOW,
        };
        if asked.insert((*site, condition.clone())) {
            assert!(verdicts.always(*site, &condition, answer), "{:?}: {condition}", place_at(*site));
        }
    }
    // Whatever it calls there: it ends.
    assert!(verdicts.always(Place::Kill.offset(), "", KILL));
    println!("  proved: {} calls of the code have the answer that they need", asked.len());
}

/// Flips each bit of the code and its constants. The proofs notice, or the instruction is another way to write
/// the same.
#[test]
#[ignore = "needs z3: make check-code"]
fn each_bit_counts() {
    let (original, batches) = (page(), || [0, 2].into_iter());
    let verdict = verdicts();
    let wanted = check_resume(&original, batches()).unwrap();
    let follows = from_each_byte(&original, &verdict);
    let hard = Place::Nothing.offset() as usize + 8;
    let (mut flipped, mut refuted, mut same) = (0, 0, Vec::new());
    for at in (0..bytes().len()).filter(|at| !(hard..hard + 8).contains(at)) {
        for bit in 0..8 {
            let mut page = original.clone();
            page[at] ^= 1 << bit;
            flipped += 1;
            let good = check_resume(&page, batches()).is_ok_and(|seen| {
                (&seen.calls, &seen.reads, &seen.stops) == (&wanted.calls, &wanted.reads, &wanted.stops)
            });
            if !good || from_each_byte(&page, &verdict) != follows {
                refuted += 1;
                continue;
            }
            same.push((at, bit));
        }
    }
    for (at, bit) in &same {
        println!("{at:#x}, bit {bit}: no difference");
    }
    println!("  proved: of {flipped} flipped bits {refuted} are noticed, {} make no difference", same.len());
}
