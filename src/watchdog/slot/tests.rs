// SPDX-License-Identifier: GPL-2.0-only
//! The protocol alone, then (with `--cfg loom`) all interleavings of monitor and watchdog.

use super::*;

#[cfg(not(loom))]
const A: Stub = Stub { pid: 10, identity: 100 };
#[cfg(not(loom))]
const B: Stub = Stub { pid: 11, identity: 101 };

#[cfg(not(loom))]
mod alone {
    use super::*;

    #[test]
    fn nothing_is_seen_but_a_wait() {
        let slot = Slot::new();
        assert_eq!(slot.observe(), None);
        slot.enter(A);
        assert_eq!(slot.observe().map(|wait| wait.stub), Some(A));
        assert_eq!(slot.exit(), Step::Done);
        assert_eq!(slot.observe(), None);
    }

    #[test]
    fn progress_makes_another_wait_of_it_but_entering_again_does_not() {
        let slot = Slot::new();
        slot.enter(A);
        let before = slot.observe();
        slot.enter(A);
        assert_eq!(slot.observe(), before);
        assert_eq!(slot.progress(), Step::Done);
        assert_ne!(slot.observe(), before);
    }

    #[test]
    fn who_has_moved_on_cannot_be_condemned() {
        let slot = Slot::new();
        let moves: [fn(&Slot); 4] = [
            |slot| {
                slot.progress();
            },
            |slot| {
                slot.exit();
            },
            |slot| {
                slot.enter(B);
            },
            |slot| {
                slot.exit();
                slot.enter(A);
            },
        ];
        for step in moves {
            slot.enter(A);
            let wait = slot.observe().unwrap_or_else(|| unreachable!());
            step(&slot);
            assert!(!slot.condemn(&wait));
            slot.exit();
        }
    }

    #[test]
    fn a_monitor_learns_of_a_condemnation_once() {
        for step in [Slot::progress, Slot::exit, |slot: &Slot| slot.enter(A)] {
            let slot = Slot::new();
            slot.enter(A);
            let wait = slot.observe().unwrap_or_else(|| unreachable!());
            assert!(slot.condemn(&wait));
            assert!(!slot.condemn(&wait));
            assert_eq!(slot.observe(), None);
            assert_eq!(step(&slot), Step::Condemned);
        }
    }

    #[test]
    fn a_step_without_a_wait_is_told() {
        let slot = Slot::new();
        assert_eq!(slot.progress(), Step::NotWaiting);
        assert_eq!(slot.exit(), Step::NotWaiting);
    }
}

#[cfg(loom)]
mod interleaved {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    fn stub(n: u64) -> Stub {
        Stub { pid: n as i32, identity: n * 10 }
    }

    /// Never kills a stub that is not the one of the wait, nor one that has reported before.
    #[test]
    fn condemnation_and_report_exclude_each_other() {
        loom::model(|| {
            let slot = Arc::new(Slot::new());
            let watchdog = {
                let slot = slot.clone();
                thread::spawn(move || {
                    let wait = slot.observe()?;
                    // pid and identity are of one stub.
                    assert_eq!(wait.stub, stub(wait.stub.pid as u64));
                    slot.condemn(&wait).then_some(wait.stub.pid)
                })
            };
            // Stub 1 reports once and ends its wait; then the same CPU waits for stub 2.
            slot.enter(stub(1));
            let first = slot.progress();
            let second = slot.exit();
            slot.enter(stub(2));
            let third = slot.exit();
            let told = [(1, first), (1, second), (2, third)];
            let condemned = watchdog.join().unwrap();
            // A condemned monitor is idle: its next exit finds no wait.
            let learnt: Vec<i32> =
                told.iter().filter(|(_, step)| *step == Step::Condemned).map(|(pid, _)| *pid).collect();
            match condemned {
                // Killed exactly the stub whose monitor learns of it.
                Some(pid) => assert_eq!(learnt, [pid]),
                None => assert!(learnt.is_empty()),
            }
        });
    }

    /// A wait without a report is always seen, and can always be condemned.
    #[test]
    fn no_stall_is_missed() {
        loom::model(|| {
            let slot = Arc::new(Slot::new());
            let monitor = {
                let slot = slot.clone();
                thread::spawn(move || {
                    slot.enter(stub(1));
                    slot.progress();
                    slot.exit();
                    slot.enter(stub(2));
                })
            };
            monitor.join().unwrap();
            let wait = slot.observe().unwrap();
            assert_eq!(wait.stub, stub(2));
            assert!(slot.condemn(&wait));
            assert_eq!(slot.exit(), Step::Condemned);
        });
    }

    /// A monitor is preempted in its wait, and its CPU begins another wait. The words of the two never mix,
    /// and no stub is condemned that has reported.
    #[test]
    fn a_wait_that_replaces_another_is_seen_whole() {
        loom::model(|| {
            let slot = Arc::new(Slot::new());
            let watchdog = {
                let slot = slot.clone();
                thread::spawn(move || {
                    let wait = slot.observe()?;
                    assert_eq!(wait.stub, stub(wait.stub.pid as u64));
                    slot.condemn(&wait).then_some(wait.stub.pid)
                })
            };
            slot.enter(stub(1));
            slot.enter(stub(2));
            let told = slot.exit();
            match watchdog.join().unwrap() {
                Some(2) => assert_eq!(told, Step::Condemned),
                // Its own monitor finds stub 1 dead. (What this one is told is not asked: loom lets the
                // store of IDLE come between what the watchdog's exchange has read and written.)
                Some(_) => {}
                None => assert_eq!(told, Step::Done),
            }
        });
    }

    /// What was judged before a report is not condemned after it.
    #[test]
    fn a_report_makes_the_judgement_void() {
        loom::model(|| {
            let slot = Arc::new(Slot::new());
            slot.enter(stub(1));
            let wait = slot.observe().unwrap();
            let reported = Arc::new(loom::sync::atomic::AtomicBool::new(false));
            let watchdog = {
                let (slot, reported) = (slot.clone(), reported.clone());
                thread::spawn(move || {
                    let before = reported.load(Ordering::Acquire);
                    let condemned = slot.condemn(&wait);
                    assert!(!(before && condemned));
                })
            };
            slot.progress();
            reported.store(true, Ordering::Release);
            watchdog.join().unwrap();
        });
    }
}
