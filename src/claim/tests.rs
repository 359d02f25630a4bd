// SPDX-License-Identifier: GPL-2.0-only
//! Tests the cell alone, then (with `--cfg loom`) all interleavings of threads that put and take. Loom's own
//! cell notices if two threads touch the value at once.

use super::*;

#[cfg(not(loom))]
mod alone {
    use super::*;

    fn full(value: u32) -> ClaimCell<u32> {
        let cell = ClaimCell::new();
        assert_eq!(cell.put(|| Ok(value)), Ok(()));
        cell
    }

    #[test]
    fn it_holds_one_value() {
        let cell = full(1);
        assert!(!cell.is_empty());
        assert_eq!(cell.put(|| Ok(2)), Err(Errno::EALREADY));
        assert_eq!(cell.take(Ok), Ok(1));
        assert!(cell.is_empty());
        assert_eq!(cell.take(Ok), Err(Errno::EALREADY));
    }

    #[test]
    fn what_cannot_be_made_leaves_it_empty() {
        let cell = ClaimCell::new();
        assert_eq!(cell.put(|| Err::<u32, _>(Errno::EBUSY)), Err(Errno::EBUSY));
        assert_eq!(cell.put(|| Ok(1)), Ok(()));
    }

    #[test]
    fn an_end_that_fails_empties_it() {
        let cell = full(1);
        assert_eq!(cell.take(|_| Err::<(), _>(Errno::EINTR)), Err(Errno::EINTR));
        assert!(cell.is_empty());
    }

    /// A signal handler may find the cell in this state.
    #[test]
    fn nobody_gets_in_meanwhile() {
        let cell = ClaimCell::new();
        let tried = |cell: &ClaimCell<u32>| {
            assert!(!cell.is_empty());
            assert_eq!(cell.put(|| unreachable!()), Err(Errno::EALREADY));
            assert_eq!(cell.take(|_| -> Result<()> { unreachable!() }), Err(Errno::EALREADY));
        };
        let made = cell.put(|| {
            tried(&cell);
            Ok(1)
        });
        assert_eq!(made, Ok(()));
        let ended = cell.take(|value| {
            tried(&cell);
            Ok(value)
        });
        assert_eq!(ended, Ok(1));
    }

    #[test]
    fn what_is_filled_once_stays() {
        let cell = OnceCell::new();
        assert_eq!(cell.get(), None);
        assert_eq!(cell.put(|| Err::<u32, _>(Errno::EBUSY)), Err(Errno::EBUSY));
        assert_eq!(cell.get(), None);
        let made = cell.put(|| {
            assert_eq!(cell.get(), None);
            Ok(1)
        });
        assert_eq!((made, cell.get()), (Ok(()), Some(&1)));
        assert_eq!(cell.put(|| Ok(2)), Err(Errno::EALREADY));
        assert_eq!(cell.get(), Some(&1));
    }

    #[test]
    fn a_value_is_dropped_once() {
        let value = std::sync::Arc::new(());
        let cell = ClaimCell::new();
        assert_eq!(cell.put(|| Ok(value.clone())), Ok(()));
        assert_eq!(std::sync::Arc::strong_count(&value), 2);
        assert_eq!(cell.take(|taken| Ok(std::sync::Arc::strong_count(&taken))), Ok(2));
        assert_eq!(std::sync::Arc::strong_count(&value), 1);
        assert_eq!(cell.put(|| Ok(value.clone())), Ok(()));
        drop(cell);
        assert_eq!(std::sync::Arc::strong_count(&value), 1);
    }
}

#[cfg(loom)]
#[allow(unsafe_code)]
mod interleaved {
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicBool;
    use loom::thread;

    /// Two halves: a reader could see one of them only.
    type Value = [u32; 2];
    const A: Value = [0xa, 0xa];
    const B: Value = [0xb, 0xb];

    fn put(cell: &ClaimCell<Value>, value: Value) -> bool {
        cell.put(|| Ok(value)).is_ok()
    }

    fn take(cell: &ClaimCell<Value>) -> Option<Value> {
        cell.take(Ok).ok()
    }

    /// A value has one owner: if two threads take, one of them gets all of it.
    #[test]
    fn one_of_two_takes() {
        loom::model(|| {
            let cell = Arc::new(ClaimCell::new());
            assert!(put(&cell, A));
            let other = {
                let cell = cell.clone();
                thread::spawn(move || take(&cell))
            };
            let mut got = [take(&cell), other.join().unwrap()];
            got.sort();
            assert_eq!(got, [None, Some(A)]);
            assert_eq!(take(&cell), None);
        });
    }

    /// If two threads put, one of them succeeds. Nothing is lost, and nothing is mixed.
    #[test]
    fn one_of_two_puts() {
        loom::model(|| {
            let cell = Arc::new(ClaimCell::new());
            let other = {
                let cell = cell.clone();
                thread::spawn(move || put(&cell, B))
            };
            let first = put(&cell, A);
            let second = other.join().unwrap();
            assert_ne!(first, second);
            assert_eq!(take(&cell), Some(if first { A } else { B }));
        });
    }

    /// One thread takes and puts something else, while another takes: each value comes out once.
    #[test]
    fn each_comes_out_once() {
        loom::model(|| {
            let cell = Arc::new(ClaimCell::new());
            assert!(put(&cell, A));
            let other = {
                let cell = cell.clone();
                thread::spawn(move || {
                    let got = take(&cell);
                    (got, put(&cell, B))
                })
            };
            let mine = take(&cell);
            let (theirs, put) = other.join().unwrap();
            let left = take(&cell);
            let mut out: Vec<_> = [mine, theirs, left].into_iter().flatten().collect();
            out.sort();
            assert_eq!(out, if put { vec![A, B] } else { vec![A] });
        });
    }

    /// The thread that makes a value and the one that ends one never run at once. Each sees all that the
    /// other has done before.
    #[test]
    fn a_claim_excludes_others_until_it_ends() {
        loom::model(|| {
            let cell = Arc::new(ClaimCell::new());
            let inside = Arc::new((AtomicBool::new(false), loom::cell::UnsafeCell::new(0)));
            let alone = |(busy, done): &(AtomicBool, loom::cell::UnsafeCell<u32>)| {
                assert!(!busy.swap(true, Ordering::Relaxed));
                // SAFETY: the owner of the claimed cell is alone here; loom reports it otherwise.
                done.with_mut(|done| unsafe { *done += 1 });
                busy.store(false, Ordering::Relaxed);
            };
            assert!(put(&cell, A));
            let other = {
                let (cell, inside) = (cell.clone(), inside.clone());
                thread::spawn(move || cell.take(|_| Ok(alone(&inside))).is_ok())
            };
            let made = cell.put(|| {
                alone(&inside);
                Ok(B)
            });
            assert!(other.join().unwrap(), "there was a value, and nobody else takes");
            // SAFETY: the other thread has ended.
            let done = inside.1.with(|done| unsafe { *done });
            assert_eq!(done, 1 + u32::from(made.is_ok()));
            assert_eq!(take(&cell), made.ok().map(|()| B));
        });
    }

    /// A thread that sees the value sees all of it, while others try to put theirs.
    #[test]
    fn what_is_filled_once_is_seen_whole() {
        loom::model(|| {
            let cell = Arc::new(OnceCell::new());
            let other = {
                let cell = cell.clone();
                thread::spawn(move || cell.put(|| Ok(B)).is_ok())
            };
            let first = cell.get().copied();
            let mine = cell.put(|| Ok(A)).is_ok();
            let second = cell.get().copied();
            let theirs = other.join().unwrap();
            assert_ne!(mine, theirs);
            let last = Some(if mine { A } else { B });
            assert!(first.is_none() || first == last);
            assert!(second == last || !mine && second.is_none());
            assert_eq!(cell.get().copied(), last);
        });
    }
}
