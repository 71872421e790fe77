package logparse

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// mix is a million lines of the real logs, one after another, as in the order of a busy host.
func mix(tb testing.TB) []byte {
	tb.Helper()
	var logs []byte
	for _, name := range []string{"01-shortids-outage-recovery.log", "02-longids-tls-syslogname-recovery-by-retry.log", "05-postscreen.log"} {
		b, err := os.ReadFile(filepath.Join("testdata", "logs", name))
		if err != nil {
			tb.Fatal(err)
		}
		logs = append(logs, b...)
	}
	n := 1_000_000 / bytes.Count(logs, []byte("\n"))
	return bytes.Repeat(logs, n)
}

var benchNow = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// tally of a line as an exporter keeps it: arrays, no text.
type counters struct {
	kinds  [numKinds]uint64
	status [16][numStatuses]uint64
	delay  time.Duration
}

func (c *counters) count(ev *Event) {
	c.kinds[ev.Kind]++
	if ev.Kind == Delivery {
		s := 0
		switch string(ev.Service) {
		case "smtp":
			s = 1
		case "error":
			s = 2
		case "retry":
			s = 3
		case "lmtp":
			s = 4
		case "local":
			s = 5
		case "virtual":
			s = 6
		case "pipe":
			s = 7
		}
		c.status[s][ev.Status]++
		c.delay += ev.Delays[2]
	}
}

// eachOf calls f with each line of data, without the line end.
func eachOf(data []byte, f func([]byte)) {
	for len(data) > 0 {
		i := bytes.IndexByte(data, '\n')
		if i < 0 {
			i = len(data) - 1
		}
		f(data[:i])
		data = data[i+1:]
	}
}

func BenchmarkParse(b *testing.B) {
	data := mix(b)
	benchLines(b, data, func() {
		var p Parser
		var ev Event
		eachOf(data, func(line []byte) { p.Parse(line, benchNow, &ev) })
	})
}

// BenchmarkParseAndCount is what an exporter does with a log.
func BenchmarkParseAndCount(b *testing.B) {
	data := mix(b)
	benchLines(b, data, func() { parseAndCount(data) })
}

// BenchmarkNaive is the least that a program can do: scan the lines and count those with a status.
func BenchmarkNaive(b *testing.B) {
	data := mix(b)
	benchLines(b, data, func() { naive(data) })
}

// BenchmarkParseToNaive does both by turns and reports how many times the time of the naive scan parsing and counting takes: both
// suffer alike from whatever else the machine does.
func BenchmarkParseToNaive(b *testing.B) {
	data := mix(b)
	var ours, theirs time.Duration
	for b.Loop() {
		t0 := time.Now()
		naive(data)
		t1 := time.Now()
		parseAndCount(data)
		ours, theirs = ours+time.Since(t1), theirs+t1.Sub(t0)
	}
	b.ReportMetric(float64(ours)/float64(theirs), "times-naive")
}

func BenchmarkTrack(b *testing.B) {
	data := mix(b)
	benchLines(b, data, func() {
		var p Parser
		var ev Event
		var t Tracker
		eachOf(data, func(line []byte) {
			p.Parse(line, benchNow, &ev)
			t.Track(&ev)
		})
	})
}

func benchLines(b *testing.B, data []byte, f func()) {
	lines := bytes.Count(data, []byte("\n"))
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		f()
	}
	b.ReportMetric(float64(lines)*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
}

func parseAndCount(data []byte) *counters {
	s := bufio.NewScanner(bytes.NewReader(data))
	var p Parser
	var ev Event
	c := &counters{}
	for s.Scan() {
		p.Parse(s.Bytes(), benchNow, &ev)
		c.count(&ev)
	}
	return c
}

func naive(data []byte) (n int) {
	s := bufio.NewScanner(bytes.NewReader(data))
	status := []byte("status=")
	for s.Scan() {
		if bytes.Contains(s.Bytes(), status) {
			n++
		}
	}
	return n
}

// BenchmarkTrackerMemory holds 100,000 messages of one recipient that was put off, and reports what each takes.
func BenchmarkTrackerMemory(b *testing.B) {
	const held = 100_000
	ev := Event{Instance: []byte("postfix"), Path: []byte("smtp"), Status: Deferred, ClientName: []byte("c.example.org"), ClientIP: []byte("192.0.2.7")}
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		t := &Tracker{}
		for i := range held {
			ev.Time = benchNow.Add(time.Duration(i) * time.Millisecond)
			ev.QueueID, ev.To = fmt.Appendf(nil, "4jWbLw5mF5z7%05d", i), fmt.Appendf(nil, "recipient%05d@example.org", i)
			for _, kind := range []Kind{Client, QueueActive, Delivery} {
				ev.Kind = kind
				t.Track(&ev)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		var state bytes.Buffer
		if err := t.Save(&state); err != nil || t.Stats().Tracked != held {
			b.Fatal(err, t.Stats())
		}
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/held, "B/message")
		b.ReportMetric(float64(state.Len())/held, "savedB/message")
	}
}

func BenchmarkReplay(b *testing.B) {
	data := mix(b)
	benchLines(b, data, func() {
		r := NewReplay(ReplayOptions{Location: time.UTC})
		if err := r.ReadFile("log", benchNow, bytes.NewReader(data)); err != nil {
			b.Fatal(err)
		}
	})
}
