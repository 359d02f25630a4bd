// SPDX-License-Identifier: GPL-2.0-only
//! The pool alone, then (with `--cfg loom`) all interleavings of those who put and take.

use super::*;

#[cfg(not(loom))]
mod alone {
    use super::*;
    use crate::config::tests::example;
    use crate::monitor::parked::State;
    use proptest::prelude::*;

    fn parked(pid: i32) -> Stub {
        let mut stub = Stub::new(pid, 1, 3, core::ptr::null_mut());
        stub.state = State::Parked;
        stub
    }

    fn pids() -> Vec<i32> {
        core::iter::from_fn(|| take().map(|stub| stub.pid)).collect()
    }

    /// One test, as there is one pool.
    #[test]
    fn the_last_in_is_the_first_out() {
        let config = |pool_size| Config { pool_size, ..example() };
        assert!(take().is_none());
        assert_eq!(put(&config(0), &mut parked(1)), Err(Errno::ENOSPC));
        for pid in 1..=3 {
            let mut stub = parked(pid);
            assert_eq!(put(&config(3), &mut stub), Ok(()));
            assert_eq!(stub.state, State::None, "it is not the caller's any more");
            assert_eq!(put(&config(3), &mut stub), Err(Errno::EINVAL));
        }
        let mut fourth = parked(4);
        assert_eq!(put(&config(3), &mut fourth), Err(Errno::ENOSPC));
        assert_eq!(fourth.state, State::Parked, "it still is the caller's");
        assert_eq!(take().map(|stub| stub.pid), Some(3));
        assert_eq!(put(&config(3), &mut fourth), Ok(()));
        assert_eq!(pids(), [4, 2, 1]);

        for state in [State::None, State::Starting, State::Running, State::Syncing, State::Broken] {
            let mut stub = parked(1);
            stub.state = state;
            assert_eq!(put(&config(3), &mut stub), Err(Errno::EINVAL), "{state:?}");
        }
        let mut suspect = Stub { suspect: true, ..parked(1) };
        assert_eq!(put(&config(3), &mut suspect), Err(Errno::EINVAL));
        for pid in 0..STUBGUARD_POOL_MAX.cast_signed() {
            assert_eq!(put(&config(STUBGUARD_POOL_MAX), &mut parked(pid)), Ok(()));
        }
        assert_eq!(put(&config(STUBGUARD_POOL_MAX), &mut parked(99)), Err(Errno::ENOSPC));
        assert!(pids().into_iter().eq((0..64).rev()));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_comes_out_as_it_has_gone_in(
            (pid, listener) in any::<(i32, i32)>(),
            (siginfo, mcontext, fpstate) in any::<(u16, u16, u16)>(),
            (identity, notification, xfeatures) in any::<(u64, u64, u64)>(),
            shared in any::<usize>(),
            ticket in any::<u64>(),
        ) {
            let shared = core::ptr::without_provenance_mut(shared);
            let mut stub = Stub::new(pid, listener, identity, shared);
            stub.limit = Limit::Holds;
            (stub.siginfo, stub.mcontext, stub.fpstate) = (siginfo, mcontext, fpstate);
            (stub.notification, stub.xfeatures, stub.ticket) = (notification, xfeatures, ticket);
            stub.reuse();
            prop_assert_eq!(format!("{:?}", from_words(to_words(&stub))), format!("{stub:?}"));
        }
    }
}

#[cfg(loom)]
mod interleaved {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    const A: [u64; WORDS] = [0xa; WORDS];
    const B: [u64; WORDS] = [0xb; WORDS];

    /// A stub has one owner: of two that take, one gets it, and whole.
    #[test]
    fn one_of_two_takes() {
        loom::model(|| {
            let place = Arc::new(Place::new());
            assert!(place.put(A));
            let other = {
                let place = place.clone();
                thread::spawn(move || place.take())
            };
            let mut got = [place.take(), other.join().unwrap()];
            got.sort();
            assert_eq!(got, [None, Some(A)]);
            assert_eq!(place.take(), None);
        });
    }

    /// Of two that put, one does; nothing is lost, and nothing mixed.
    #[test]
    fn one_of_two_puts() {
        loom::model(|| {
            let place = Arc::new(Place::new());
            let other = {
                let place = place.clone();
                thread::spawn(move || place.put(B))
            };
            let first = place.put(A);
            let second = other.join().unwrap();
            assert_ne!(first, second);
            assert_eq!(place.take(), Some(if first { A } else { B }));
        });
    }

    /// While one takes and puts something else, another takes: each stub comes out once.
    #[test]
    fn each_comes_out_once() {
        loom::model(|| {
            let place = Arc::new(Place::new());
            assert!(place.put(A));
            let other = {
                let place = place.clone();
                thread::spawn(move || {
                    let got = place.take();
                    (got, place.put(B))
                })
            };
            let mine = place.take();
            let (theirs, put) = other.join().unwrap();
            let left = place.take();
            let mut out: Vec<_> = [mine, theirs, left].into_iter().flatten().collect();
            out.sort();
            assert_eq!(out, if put { vec![A, B] } else { vec![A] });
        });
    }
}
