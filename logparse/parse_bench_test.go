package logparse

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/sparemx/sparemx/queue"
	"golang.org/x/sys/unix"
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

// BenchmarkParseToNaive does both by turns, each on one thread, and reports how many times the CPU of the naive scan parsing and counting takes.
// CPU, not time: other work on the machine does not count.
func BenchmarkParseToNaive(b *testing.B) {
	data := mix(b)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var ours, theirs time.Duration
	for b.Loop() {
		t0 := threadCPU(b)
		naive(data)
		t1 := threadCPU(b)
		parseAndCount(data)
		ours, theirs = ours+threadCPU(b)-t1, theirs+t1-t0
	}
	lines := float64(bytes.Count(data, []byte("\n"))) * float64(b.N)
	b.ReportMetric(float64(ours)/float64(theirs), "times-naive")
	b.ReportMetric(lines/ours.Seconds(), "lines/cpu-s")
	b.ReportMetric(lines/theirs.Seconds(), "naive-lines/cpu-s")
}

// threadCPU is the CPU, user and system, that this thread has taken.
func threadCPU(tb testing.TB) time.Duration {
	tb.Helper()
	return rusage(tb, unix.RUSAGE_THREAD)
}

func rusage(tb testing.TB, who int) time.Duration {
	tb.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(who, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkTrackFresh gives the tracker messages that it has never seen, each with its whole life: a connection, six lines of the queue, a deferral and a
// delivery. [BenchmarkTrack] repeats the same few.
func BenchmarkTrackFresh(b *testing.B) {
	const messages = 100_000
	var log bytes.Buffer
	at := benchNow
	for i := range messages {
		at = at.Add(10 * time.Millisecond)
		stamp := at.Format("Jan _2 15:04:05")
		id := fmt.Sprintf("4jWbLw%07dz%d", i, i%10)
		for _, l := range [...]string{
			"smtpd[11]: connect from c.example.org[192.0.2.7]",
			"smtpd[11]: " + id + ": client=c.example.org[192.0.2.7]",
			"cleanup[12]: " + id + ": message-id=<" + id + "@example.org>",
			"qmgr[13]: " + id + fmt.Sprintf(": from=<s%d@example.net>, size=4321, nrcpt=1 (queue active)", i%1000),
			"smtp[14]: " + id + fmt.Sprintf(": to=<r%d@example.org>, relay=none, delay=30, delays=0.1/0.01/30/0, dsn=4.4.1, status=deferred (connect to mx1.example.org[192.0.2.1]:25: Connection timed out)", i%500),
			"qmgr[13]: " + id + fmt.Sprintf(": from=<s%d@example.net>, size=4321, nrcpt=1 (queue active)", i%1000),
			"smtp[14]: " + id + fmt.Sprintf(": to=<r%d@example.org>, relay=mx1.example.org[192.0.2.1]:25, delay=300, delays=299/0.01/0.3/0.1, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as %d)", i%500, i),
			"qmgr[13]: " + id + ": removed",
		} {
			fmt.Fprintf(&log, "%s mx2 postfix/%s\n", stamp, l)
		}
	}
	data := log.Bytes()
	arrived, outcomes := 0, 0
	benchLines(b, data, func() {
		var p Parser
		var ev Event
		t := Tracker{OnArrival: func(queue.Arrival) { arrived++ }, OnOutcome: func(queue.Outcome) { outcomes++ }}
		eachOf(data, func(line []byte) {
			p.Parse(line, benchNow, &ev)
			t.Track(&ev)
		})
	})
	if arrived != messages*b.N || outcomes != 2*messages*b.N {
		b.Fatalf("%d arrivals, %d outcomes of %d messages, %d times", arrived, outcomes, messages, b.N)
	}
}

// BenchmarkFollowIdle follows a file that nobody writes to for a second an iteration and reports the share of a core that it takes.
// Run it with -benchtime 10x.
func BenchmarkFollowIdle(b *testing.B) {
	path := filepath.Join(b.TempDir(), "mail.log")
	if err := os.WriteFile(path, []byte("one line\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	begun, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- NewFile(path, Position{}, FileOptions{Options: Options{FromStart: true}}).Run(ctx, func([]byte) { close(begun) })
	}()
	<-begun
	before := rusage(b, unix.RUSAGE_SELF)
	for b.Loop() {
		<-time.After(time.Second)
	}
	b.ReportMetric(100*float64(rusage(b, unix.RUSAGE_SELF)-before)/float64(b.Elapsed()), "%-of-a-core")
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
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
