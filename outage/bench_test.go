package outage

import (
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/sparemx/sparemx/probes"
	"github.com/sparemx/sparemx/queue"
)

// held fills a record with n messages held since before the recovery, half of them delivered after it.
func held(n int, path string) *record {
	r := newRecord(testMeta(), 0, path)
	fill(r, n)
	return r
}

func fill(r *record, n int) {
	o := queue.Outcome{Instance: "postfix", Domain: "example.org", Result: queue.DeferredResult, Cause: queue.CauseRefused}
	for i := range n {
		o.At = t0.Add(time.Duration(i%86400) * time.Second)
		o.ID, o.Arrived, o.Recipient = "4fLong"+strconv.Itoa(i), o.At, "u"+strconv.Itoa(i)+"@example.org"
		r.outcome(o, nil)
	}
	back := t0.Add(24 * time.Hour)
	r.Spans[0].To, r.State = back, probes.Up
	o.Result = queue.Delivered
	for i := range n / 2 {
		o.At = back.Add(time.Duration(i/400) * time.Second)
		o.ID, o.Arrived, o.Recipient = "4fLong"+strconv.Itoa(i), t0.Add(time.Duration(i%86400)*time.Second), "u"+strconv.Itoa(i)+"@example.org"
		o.Age = o.At.Sub(o.Arrived)
		r.outcome(o, nil)
	}
}

// BenchmarkOpenReport is what a scrape and a look at the page cost while a million messages are in the account.
func BenchmarkOpenReport(b *testing.B) {
	r := held(1_000_000, "")
	r.j.pending = nil
	w := &Watch{Store: &Store{Dir: b.TempDir()}}
	w.init()
	w.open["mx1"] = r
	w.Open()
	b.ReportAllocs()
	for b.Loop() {
		if rep := w.Open(); rep[0].Accepted != 1_000_000 || rep[0].Delivered != 500_000 || rep[0].OnTimers == nil || rep[0].Delay.P95 == 0 {
			b.Fatal(rep[0])
		}
	}
}

// BenchmarkOpenReportFirst is the one report of all that walks the account: the first after the recovery.
func BenchmarkOpenReportFirst(b *testing.B) {
	r := held(1_000_000, "")
	for b.Loop() {
		r.timed = timed{}
		r.report(Timers{})
	}
}

func BenchmarkAccountMemory(b *testing.B) {
	const n = 1_000_000
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		a := newAccount(0, nil)
		for i := range n {
			at := t0.Add(time.Duration(i) * time.Second / 20)
			m := a.add(keyOf("postfix", "4fLong"+strconv.Itoa(i)), unix32(at))
			a.put(a.at(m), uint32(i), Held, queue.CauseRefused, 0, at)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "bytes/msg")
		if a.held() != n {
			b.Fatal(a.held())
		}
	}
}

// BenchmarkSync is what 100,000 changes cost that are told and made durable, and what it costs to write a journal of as many anew.
func BenchmarkSync(b *testing.B) {
	const n = 100_000 * 2 / 3 // a change for each, and one more for half of them
	b.Run("append", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			r := newRecord(testMeta(), 0, filepath.Join(b.TempDir(), "20260301T120000Z.journal"))
			if err := r.sync(); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			fill(r, n)
			if err := r.sync(); err != nil {
				b.Fatal(err)
			}
			if r.j.size < 50*100_000 {
				b.Fatal(r.j.size)
			}
		}
	})
	b.Run("anew", func(b *testing.B) {
		r := held(n, filepath.Join(b.TempDir(), "20260301T120000Z.journal"))
		for b.Loop() {
			r.j.broken = errGrown
			if err := r.sync(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
