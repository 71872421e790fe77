package bench

import (
	"bufio"
	"bytes"
	"syscall"
	"testing"
	"time"

	"github.com/sparemx/sparemx/logparse"
)

// used is the CPU time that f takes in this process.
func used(f func()) time.Duration {
	var before, after syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	f()
	syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	return time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
}

// parse reads and counts a million lines, by turns with the naive scan.
func parse(b *testing.B, t *table) {
	data := copies(realLines(b), 1_000_000, 0)
	now := time.Now()
	var rate, times, allocs []float64
	for range 9 {
		var p logparse.Parser
		var ev logparse.Event
		var kinds, statuses [256]uint64
		ours := used(func() {
			s := bufio.NewScanner(bytes.NewReader(data))
			for s.Scan() {
				p.Parse(s.Bytes(), now, &ev)
				kinds[ev.Kind]++
				if ev.Kind == logparse.Delivery {
					statuses[ev.Status]++
				}
			}
		})
		rate = append(rate, 1_000_000/ours.Seconds())
		times = append(times, ours.Seconds()/naive(data).Seconds())
		line := data[:bytes.IndexByte(data, '\n')]
		allocs = append(allocs, testing.AllocsPerRun(1000, func() { p.Parse(line, now, &ev) }))
	}
	t.least("parse", "lines parsed and counted a second of CPU time", "", 2_000_000, rate...)
	t.most("parse", "CPU to that of a naive scan", "x", 10, times...)
	t.most("parse", "allocations a line", "", 0, allocs...)
}
