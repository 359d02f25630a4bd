// SPDX-License-Identifier: GPL-2.0-only
//! Window mode has two filters, and the stricter answer counts.

use super::rules::Rule;
use super::*;
use crate::abi::STUBGUARD_F_FSGSBASE;
use crate::window::code::Place;
use proptest::prelude::*;

/// Hosts with and without FSGSBASE; all other features make no difference.
const HOSTS: [u32; 4] = [0, STUBGUARD_F_FSGSBASE, !STUBGUARD_F_FSGSBASE, u32::MAX];

/// The fd by which a stub has the memory.
const MEMORY: u64 = 1;

const PARK: u32 = 110;
const MMAP: u32 = 9;
const MUNMAP: u32 = 11;
const MPROTECT: u32 = 10;
const SIGPROCMASK: u32 = 14;
const ARCH_PRCTL: u32 = 158;
const PRLIMIT: u32 = 302;

/// An address above all guests.
const GUEST_END: u64 = 0x7f80_0000_0000;

pub fn config() -> Config {
    Config { flags: STUBGUARD_WINDOW, mmap_fd_first: 1, mmap_fd_last: 1, ..example() }
}

pub fn config_with_calls() -> Config {
    Config { guest_end: GUEST_END, ..config() }
}

fn mask() -> u64 {
    PAGE + Place::Mask.offset()
}

fn nothing() -> u64 {
    PAGE + Place::Nothing.offset()
}

struct Checker {
    listener: BpfVM,
    strict: BpfVM,
    rule: Rule,
    first: Rule,
    count: usize,
}

impl Checker {
    fn new(features: u32) -> Self {
        Self::with(&config(), features)
    }

    fn with(config: &Config, features: u32) -> Self {
        Self {
            listener: machine(&made(|out| build_listener(config, out))),
            strict: machine(&made(|out| build(config, features, out))),
            rule: rules::both(config, features),
            first: rules::first(config),
            count: 0,
        }
    }

    fn answer(&mut self, call: &Seen) -> u32 {
        stricter(answer(&mut self.listener, call), answer(&mut self.strict, call))
    }

    fn check(&mut self, call: Seen) {
        let first = answer(&mut self.listener, &call);
        assert_eq!(first, self.first.answer(&call), "the listener's alone: {call:x?}");
        let second = answer(&mut self.strict, &call);
        let both = stricter(first, second);
        assert_eq!(both, self.rule.answer(&call), "{call:x?}");
        // If the first filter did not notify, the host would not make the call.
        if both == NOTIFY {
            assert_eq!(second, TRACE, "the strict one's alone: {call:x?}");
        }
        self.count += 1;
    }
}

/// The calls that the stub's code makes.
pub fn good() -> [(Place, Seen); 9] {
    let at = |place: Place, nr, args| (place, Seen::at(place.offset(), nr, args));
    [
        at(Place::Park, PARK, [14, PAGE, PAGE, 0, 0, 0]),
        at(Place::Mmap, MMAP, [0x40_0000, 4096, 3, 0x11, 1, 0x10_0000]),
        at(Place::Mmap, MMAP, [0, PAGE, 7, 0x11, MEMORY, u64::MAX]),
        at(Place::Munmap, MUNMAP, [PAGE - 4096, 4096, 0, 0, 0, 0]),
        at(Place::Mprotect, MPROTECT, [PAGE - 4096, 4096, 5, 0, 0, 0]),
        at(Place::Limit, PRLIMIT, [0, 9, nothing(), 0, 0, 0]),
        at(Place::SetFs, ARCH_PRCTL, [0x1002, 0x1234, 0, 0, 0, 0]),
        at(Place::SetGs, ARCH_PRCTL, [0x1001, 0x1234, 0, 0, 0, 0]),
        at(Place::Unblock, SIGPROCMASK, [2, mask(), 0, 8, 0, 0]),
    ]
}

#[test]
fn what_the_code_calls_is_allowed_and_nothing_else_at_its_place() {
    for features in HOSTS {
        let mut checker = Checker::new(features);
        for (place, call) in good() {
            let expected = match place {
                Place::Park => NOTIFY,
                Place::SetFs | Place::SetGs if features & STUBGUARD_F_FSGSBASE != 0 => KILL,
                _ => ALLOW,
            };
            assert_eq!(checker.answer(&call), expected, "{place:?}");
            // With the site's own arguments: every number, and every other place.
            for nr in (0..=600).chain([call.nr | 0x4000_0000, call.nr | 1 << 31, u32::MAX]) {
                checker.check(Seen { nr, ..call });
            }
            for offset in 0..4096 {
                checker.check(Seen { ip: PAGE + offset, ..call });
            }
        }
    }
}

#[test]
fn every_number_at_every_offset_of_the_page() {
    for features in [0, STUBGUARD_F_FSGSBASE] {
        let mut checker = Checker::new(features);
        for nr in (0..=600).chain([0x4000_0009, 0x4000_000b, 0x4000_006e, u32::MAX]) {
            for offset in 0..4096 {
                checker.check(Seen::at(offset, nr, [0; 6]));
            }
        }
        assert_eq!(checker.count, 605 * 4096);
    }
}

#[test]
fn the_page_is_the_same_where_calls_notify() {
    let mut checker = Checker::with(&config_with_calls(), STUBGUARD_F_FSGSBASE);
    for nr in (0..=600).chain([0x4000_0009, u32::MAX]) {
        for offset in 0..4096 {
            checker.check(Seen::at(offset, nr, [0; 6]));
        }
    }
    for (_, call) in good() {
        for offset in 0..4096 {
            checker.check(Seen { ip: PAGE + offset, ..call });
        }
    }
}

#[test]
fn guests_calls_notify_or_trap_and_are_never_made() {
    let mut checker = Checker::with(&config_with_calls(), STUBGUARD_F_FSGSBASE);
    let places = [
        0,
        0x40_0000,
        PAGE & 0xffff_ffff,
        GUEST_END - 1,
        GUEST_END,
        GUEST_END + 0xffff_ffff,
        PAGE - 0x1_0000_0000,
        PAGE - 1,
        PAGE - 4096,
        PAGE + 4096,
        PAGE | 1 << 63,
        u64::MAX,
    ];
    let numbers = (0..=600).chain((0..=600).map(|nr| nr | 0x4000_0000));
    let others = (0..32).map(|bit| 1 << bit).chain([(1 << 31) + 39, u32::MAX - 31, u32::MAX]);
    for nr in numbers.chain(others) {
        for ip in places {
            for arch in ARCHITECTURES {
                for args in [[0; 6], [u64::MAX; 6], good()[1].1.args] {
                    let call = Seen { nr, arch, ip, args };
                    checker.check(call);
                    let both = checker.answer(&call);
                    assert!([NOTIFY, TRAP].contains(&both), "{call:x?}");
                    if ip >= GUEST_END {
                        assert_eq!(both, TRAP, "{call:x?}");
                    }
                }
            }
        }
    }
}

#[test]
fn each_argument_a_little_off() {
    for features in HOSTS {
        let mut checker = Checker::new(features);
        for (_, call) in good() {
            for index in 0..6 {
                // Change each half by one and in its highest bit: up and down, with and without a carry.
                let changes = (0..64).map(|bit| 1u64 << bit);
                let old = call.args[index];
                let values = changes
                    .flat_map(|change| [old ^ change, old.wrapping_add(change), old.wrapping_sub(change)])
                    .chain([0, 1, u64::MAX, 0xffff_ffff, 0xffff_ffff_0000_0000]);
                for value in values {
                    let mut args = call.args;
                    args[index] = value;
                    checker.check(Seen { args, ..call });
                }
            }
        }
    }
}

#[test]
fn memory_calls_with_every_combination_of_the_others() {
    let (flags, prots, fds) = (
        [0, 1, 2, 0x10, 0x11, 0x12, 0x31, 0x8011, 0x10_0011, 1 << 32 | 0x11, 1 << 63 | 0x11, u64::MAX],
        (0..=16).chain([0x100, 0x0100_0000, 0x0200_0000, 1 << 31, 1 << 32, 1 << 32 | 3, 1 << 63, u64::MAX]),
        [0, 1, 2, 3, 4, 5, 6, 0x7fff_ffff, 0xffff_ffff, 1 << 31 | 1, 1 << 32, 1 << 32 | 1, u64::MAX],
    );
    let mut checker = Checker::new(STUBGUARD_F_FSGSBASE);
    for prot in prots {
        for flag in flags {
            for fd in fds {
                for (addr, length) in [(0x40_0000, 4096), (0, PAGE), (1, PAGE), (PAGE, 0), (u64::MAX, 4096)] {
                    for place in [Place::Mmap, Place::Munmap, Place::Mprotect] {
                        let args = [addr, length, prot, flag, fd, 0];
                        checker.check(Seen::at(place.offset(), MMAP, args));
                        checker.check(Seen::at(place.offset(), MPROTECT, args));
                    }
                }
            }
        }
    }
}

/// Values around all places where a sum of two halves could go wrong.
fn edges() -> Vec<u64> {
    let mut edges = Vec::new();
    for base in [
        0,
        PAGE,
        PAGE / 2,
        PAGE & 0xffff_ffff,
        PAGE & !0xffff_ffff,
        1 << 31,
        1 << 32,
        1 << 33,
        1 << 46,
        1 << 47,
        1 << 62,
        1 << 63,
        0x8000_0000_8000_0000,
        0x7fff_0000_0000,
        0x7ffe_ffff_ffff,
        0xffff_ffff_0000_0000,
        0u64.wrapping_sub(PAGE),
    ] {
        for off in [-4097i64, -4096, -4095, -2, -1, 0, 1, 2, 4095, 4096, 4097] {
            edges.push(base.wrapping_add_signed(off));
        }
    }
    edges.sort_unstable();
    edges.dedup();
    edges
}

fn at_all(checker: &mut Checker, addr: u64, length: u64) {
    checker.check(Seen::at(Place::Mmap.offset(), MMAP, [addr, length, 3, 0x11, 1, 0]));
    checker.check(Seen::at(Place::Munmap.offset(), MUNMAP, [addr, length, 0, 0, 0, 0]));
    checker.check(Seen::at(Place::Mprotect.offset(), MPROTECT, [addr, length, 5, 0, 0, 0]));
}

#[test]
fn ranges_end_below_the_stub() {
    let edges = edges();
    let mut checker = Checker::new(0);
    for addr in &edges {
        for length in &edges {
            at_all(&mut checker, *addr, *length);
        }
        // Ranges that end within a few bytes of the stub's start.
        for off in -3..=3 {
            at_all(&mut checker, *addr, PAGE.wrapping_add_signed(off).wrapping_sub(*addr));
        }
    }
}

#[test]
fn only_the_page_and_only_the_architecture() {
    let mut checker = Checker::new(0);
    let outside = [
        0,
        PAGE - 1,
        PAGE + 4096,
        PAGE ^ 1 << 32,
        PAGE & 0xffff_ffff,
        PAGE | 1 << 63,
        PAGE | 1 << 48,
        u64::MAX,
    ];
    for (_, call) in good() {
        for arch in ARCHITECTURES {
            for nr in 0..512 {
                checker.check(Seen { nr, arch, ..call });
                for page in outside {
                    let ip = (page & !0xfff) | (call.ip & 0xfff);
                    checker.check(Seen { nr, arch, ip, ..call });
                    checker.check(Seen { nr, arch, ip: page, ..call });
                }
            }
            checker.check(Seen { arch, ..call });
        }
    }
}

#[test]
fn the_stub_may_be_anywhere() {
    for stub_start in [0x1000, 0x7fff_f000, 0xffff_f000, 0x1_0000_0000, 0x1234_5678_9000, (1 << 63) - 4096] {
        let config = Config { stub_start, ..config() };
        let mut strict = machine(&made(|out| build(&config, 0, out)));
        let mut listener = machine(&made(|out| build_listener(&config, out)));
        let ends = [0, 1, stub_start - 1, stub_start, stub_start + 1, u64::MAX];
        for (addr, length) in ends.into_iter().flat_map(|addr| ends.map(|length| (addr, length))) {
            let call = Seen {
                ip: stub_start + Place::Munmap.offset(),
                ..Seen::at(0, MUNMAP, [addr, length, 0, 0, 0, 0])
            };
            let below = u128::from(addr) + u128::from(length) <= u128::from(stub_start);
            assert_eq!(answer(&mut strict, &call), if below { ALLOW } else { KILL }, "{call:x?}");
        }
        let park = Seen { ip: stub_start + Place::Park.offset(), ..Seen::at(0, PARK, [0; 6]) };
        assert_eq!(answer(&mut listener, &park), NOTIFY);
        assert_eq!(answer(&mut listener, &Seen { ip: park.ip.wrapping_add(1 << 32), ..park }), ALLOW);
    }
}

#[test]
fn fits_what_callers_reserve_and_says_so_if_not() {
    for features in HOSTS {
        assert_sound(&made(|out| build(&config(), features, out)));
        assert_needs_its_room(|out| build(&config(), features, out));
    }
    for features in HOSTS {
        assert_sound(&made(|out| build(&config_with_calls(), features, out)));
        assert_needs_its_room(|out| build(&config_with_calls(), features, out));
    }
    for config in [config(), config_with_calls()] {
        assert_sound(&made(|out| build_listener(&config, out)));
        assert_needs_its_room(|out| build_listener(&config, out));
        // The size of stubguard_listen()'s buffer.
        assert!(made(|out| build_listener(&config, out)).len() <= 40);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_range(pairs in prop::collection::vec((any::<u64>(), any::<u64>(), 0u32..64, 0u32..64), 200)) {
        let mut checker = Checker::new(STUBGUARD_F_FSGSBASE);
        for (addr, length, a, b) in pairs {
            at_all(&mut checker, addr >> a, length >> b);
            at_all(&mut checker, addr >> a, PAGE.wrapping_sub(addr >> a));
            at_all(&mut checker, addr >> a, PAGE.wrapping_sub(addr >> a).wrapping_add(1));
        }
    }

    /// Any call, mostly at the places.
    #[test]
    fn any_call(
        calls in prop::collection::vec((0usize..9, any::<u32>(), any::<[u64; 6]>(), any::<u16>(), 0u64..8192), 200),
    ) {
        let mut checker = Checker::new(0);
        for (which, nr, args, change, offset) in calls {
            let (_, mut call) = good()[which];
            for (index, arg) in args.into_iter().enumerate() {
                if change & 1 << index != 0 {
                    call.args[index] = arg >> (change >> 10);
                }
            }
            if change & 1 << 6 != 0 {
                call.nr = nr % 600;
            }
            if change & 0b11 << 7 == 0 {
                call.ip = PAGE + offset;
            }
            checker.check(call);
        }
    }
}
