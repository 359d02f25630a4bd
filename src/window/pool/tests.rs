// SPDX-License-Identifier: GPL-2.0-only
//! Tests the pool alone, then (with `--cfg loom`) all interleavings of threads that put and take.

use super::*;

#[cfg(not(loom))]
mod alone {
    use super::*;
    use crate::config::example::notify;
    use crate::window::stub::{Limit, State};
    use proptest::prelude::*;

    fn parked(pid: i32) -> Stub {
        let mut stub = Stub::new(pid, 1, 3, core::ptr::null_mut());
        stub.state = State::Parked;
        stub
    }

    fn pids() -> Vec<i32> {
        core::iter::from_fn(|| take().map(|stub| stub.pid)).collect()
    }

    /// One test only, as there is one pool.
    #[test]
    fn the_last_in_is_the_first_out() {
        let config = |pool_size| Config { pool_size, ..notify() };
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
            guest in any::<(u64, u64, u64)>(),
            batch in any::<(u32, u16)>(),
        ) {
            let place = Place::new();
            let shared = core::ptr::without_provenance_mut(shared);
            let mut stub = Stub::new(pid, listener, identity, shared);
            stub.limit = Limit::Holds;
            (stub.siginfo, stub.mcontext, stub.fpstate) = (siginfo, mcontext, fpstate);
            (stub.notification, stub.xfeatures, stub.ticket) = (notification, xfeatures, ticket);
            stub.state = State::Parked;
            let before = format!("{stub:?}");
            // What a guest can have left in the record.
            (stub.fs_base, stub.gs_base, stub.call_ip) = guest;
            (stub.calls, stub.asked) = batch;
            prop_assert_eq!(put_into(core::slice::from_ref(&place), &mut stub), Ok(()));
            prop_assert_eq!(take_from(core::slice::from_ref(&place)).map(|stub| format!("{stub:?}")), Some(before));
        }
    }
}

#[cfg(loom)]
mod interleaved {
    use super::*;
    use crate::window::stub::State;
    use loom::sync::Arc;
    use loom::thread;

    /// A parked stub. Each of its words tells which stub it is.
    fn stub(pid: i32) -> Stub {
        let mut stub =
            Stub::new(pid, pid + 1, pid as u64 + 2, core::ptr::without_provenance_mut(pid as usize + 3));
        (stub.notification, stub.ticket, stub.xfeatures) = (pid as u64 + 4, pid as u64 + 5, pid as u64 + 6);
        stub.state = State::Parked;
        stub
    }

    fn put(pool: &[Place], pid: i32) -> bool {
        let mut stub = stub(pid);
        let put = put_into(pool, &mut stub);
        assert_eq!(stub.is_clean(), put.is_err(), "it is the caller's, or the pool's");
        put.is_ok()
    }

    /// Returns its pid, and asserts that all its words are of one stub.
    fn take(pool: &[Place]) -> Option<i32> {
        let taken = take_from(pool)?;
        assert_eq!(format!("{taken:?}"), format!("{:?}", stub(taken.pid)));
        Some(taken.pid)
    }

    fn pool(places: usize) -> Arc<Vec<Place>> {
        Arc::new((0..places).map(|_| Place::new()).collect())
    }

    /// If two threads take, each gets a stub of its own.
    #[test]
    fn each_of_two_takes_another() {
        loom::model(|| {
            let pool = pool(2);
            assert!(put(&pool, 10) && put(&pool, 20));
            let other = {
                let pool = pool.clone();
                thread::spawn(move || take(&pool))
            };
            let mut got = [take(&pool), other.join().unwrap()];
            got.sort();
            assert_eq!(got, [Some(10), Some(20)]);
        });
    }

    /// If two threads put, each finds a place of its own, if there are two.
    #[test]
    fn each_of_two_puts_finds_a_place() {
        loom::model(|| {
            let pool = pool(2);
            let other = {
                let pool = pool.clone();
                thread::spawn(move || put(&pool, 20))
            };
            assert!(put(&pool, 10));
            assert!(other.join().unwrap());
            let mut got = [take(&pool), take(&pool)];
            got.sort();
            assert_eq!(got, [Some(10), Some(20)]);
            assert_eq!(take(&pool), None);
        });
    }

    /// One thread takes a stub and puts another one, while another takes: each stub comes out once.
    #[test]
    fn each_comes_out_once() {
        loom::model(|| {
            let pool = pool(2);
            assert!(put(&pool, 10));
            let other = {
                let pool = pool.clone();
                thread::spawn(move || {
                    let got = take(&pool);
                    (got, put(&pool, 20))
                })
            };
            let mine = take(&pool);
            let (theirs, put) = other.join().unwrap();
            assert!(put, "there are two places");
            let mut out: Vec<_> = [mine, theirs, take(&pool), take(&pool)].into_iter().flatten().collect();
            out.sort();
            assert_eq!(out, [10, 20]);
        });
    }
}
