// SPDX-License-Identifier: GPL-2.0-only

//! Threads, channels, panics, children. The output is always the same.
use std::collections::HashMap;
use std::process::Command;
use std::sync::{mpsc, Arc, Mutex};
use std::thread;

fn deep(n: u64) -> u64 {
    let page = [n as u8; 512];
    if n == 0 { 0 } else { deep(n - 1) + u64::from(std::hint::black_box(page)[7]) }
}

fn main() {
    std::panic::set_hook(Box::new(|_| ()));
    let shared = Arc::new(Mutex::new(HashMap::new()));
    let threads: Vec<_> = (0..16u64)
        .map(|n| {
            let shared = shared.clone();
            thread::spawn(move || {
                for i in 0..5000 {
                    *shared.lock().unwrap().entry(i % 101).or_insert(0u64) += i * n;
                }
                deep(1000)
            })
        })
        .collect();
    let deep: u64 = threads.into_iter().map(|one| one.join().unwrap()).sum();
    let mut sums: Vec<_> = shared.lock().unwrap().iter().map(|(k, v)| k * v).collect();
    sums.sort_unstable();
    println!("map {} deep {deep}", sums.iter().fold(0u64, |a, b| a.wrapping_mul(31).wrapping_add(*b)));

    let (send, receive) = mpsc::sync_channel(1);
    for n in 0..8u64 {
        let send = send.clone();
        thread::spawn(move || (0..2000).for_each(|i| send.send(i * n).unwrap()));
    }
    drop(send);
    println!("channel {}", receive.iter().sum::<u64>());

    let panics = (0..2000).filter(|n| thread::spawn({ let n = *n; move || assert!(n % 2 == 0) }).join().is_err()).count();
    println!("panics {panics}");

    let status = Command::new("sh").args(["-c", "kill -KILL $$"]).status().unwrap();
    println!("child {status}");
    let mut big = vec![0u8; 64 << 20];
    big.iter_mut().step_by(4096).enumerate().for_each(|(n, b)| *b = n as u8);
    println!("memory {}", big.iter().map(|b| u64::from(*b)).sum::<u64>());
}
