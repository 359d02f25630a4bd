// SPDX-License-Identifier: GPL-2.0-only

// Goroutines that allocate, compute without a call, fault, and talk to each other. The output is always the same.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"
)

type tree struct{ left, right *tree }

func grow(depth int) *tree {
	if depth == 0 {
		return &tree{}
	}
	return &tree{grow(depth - 1), grow(depth - 1)}
}

func (t *tree) count() int {
	if t.left == nil {
		return 1
	}
	return 1 + t.left.count() + t.right.count()
}

// A nil pointer's fault becomes a panic.
func fault(p *[64]int, n int) (failed bool) {
	defer func() { failed = recover() != nil }()
	return p[n&63] != 0
}

func main() {
	var group sync.WaitGroup
	results := make(chan int)
	for i := 0; i < 16; i++ {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			sum := 0
			for n := 0; n < 4; n++ {
				sum += grow(10 + i%3).count()
			}
			for n := 0; n < 200; n++ {
				if fault(nil, n) {
					sum++
				}
			}
			results <- sum
		}(i)
	}
	// A loop without a call can only be preempted by a signal.
	stop := false
	go func() {
		x := uint32(1)
		for !stop {
			x = x*1664525 + 1013904223
		}
		runtime.KeepAlive(x)
	}()
	go func() { group.Wait(); close(results) }()
	total := 0
	for r := range results {
		total += r
	}
	for i := 0; i < 3; i++ {
		runtime.GC()
	}
	stop = true
	fmt.Println("trees", total)

	got := make(chan os.Signal, 1000)
	signal.Notify(got, syscall.SIGUSR1)
	for i := 0; i < 200; i++ {
		syscall.Kill(os.Getpid(), syscall.SIGUSR1)
		<-got
	}
	fmt.Println("signals 200")

	a, b := make(chan int), make(chan int)
	go func() {
		for v := range a {
			b <- v + 1
		}
		close(b)
	}()
	v := 0
	for i := 0; i < 20000; i++ {
		a <- v
		v = <-b
	}
	close(a)
	fmt.Println("channel", v)
	timer := time.NewTicker(5 * time.Millisecond)
	for i := 0; i < 20; i++ {
		<-timer.C
	}
	fmt.Println("ticks 20")
}
