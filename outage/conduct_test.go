package outage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sparemx/sparemx/alert"
	"github.com/sparemx/sparemx/probes"
	"github.com/sparemx/sparemx/queue"
	"github.com/sparemx/sparemx/queue/queuetest"
)

// bench is a Watch beside a modelled holder, in virtual time.
type bench struct {
	*Watch
	h       *queuetest.Holder
	sc      *queue.Scanner
	news    sync.Mutex // of notices
	notices []alert.Notice
	stop    func()
	t       *testing.T
}

// setUp makes and runs one; change may set fields before.
func setUp(t *testing.T, h *queuetest.Holder, dir string, states map[string]probes.State, change func(*Watch)) *bench {
	b := &bench{h: h, t: t}
	b.Watch = &Watch{
		Primaries: []probes.Primary{{Name: "mx1", Domains: []string{queuetest.Domain}}}, Store: &Store{Dir: dir},
		Drain: func(p probes.Primary) *queue.Drain { return &queue.Drain{Queue: h, Domains: p.Domains} },
		Notify: func(n alert.Notice) {
			b.news.Lock()
			defer b.news.Unlock()
			b.notices = append(b.notices, n)
		},
		Classify: func(string) queue.Cause { return queue.CauseRefused },
	}
	if change != nil {
		change(b.Watch)
	}
	if err := b.Restore(states); err != nil {
		t.Fatal(err)
	}
	h.Told, h.Left = b.OnOutcome, b.OnEnd
	b.sc = &queue.Scanner{Queue: h, Walk: b.Walk, Known: func(string) bool { return true }}
	b.Kick = b.sc.Kick
	ctx, stop := context.WithCancel(t.Context())
	go b.sc.Run(ctx)
	go b.Run(ctx)
	b.stop = func() { stop(); synctest.Wait() }
	return b
}

func (b *bench) turn(name string, from, to probes.State) {
	b.OnTransition(name, probes.Transition{At: time.Now(), Since: time.Now(), From: from, To: to})
}

func (b *bench) back(name string) {
	b.turn(name, probes.Down, probes.Recovering)
	time.Sleep(2 * time.Second)
	b.turn(name, probes.Recovering, probes.Up)
}

// lastNotice returns the last notice of any kind.
func (b *bench) lastNotice() alert.Notice {
	b.news.Lock()
	defer b.news.Unlock()
	return b.notices[len(b.notices)-1]
}

// told lists the notices of one kind but those of progress: + when it opens, - when it ends.
func (b *bench) told(kind alert.Kind) (list string) {
	b.news.Lock()
	defer b.news.Unlock()
	for _, n := range b.notices {
		if n.Kind == kind && !n.Progress {
			list += map[bool]string{false: "+", true: "-"}[n.Resolved]
		}
	}
	return list
}

func put(h *queuetest.Holder, id, to string, place queue.Place, arrived time.Time) {
	h.Put(queue.Message{Instance: "postfix", ID: id, Place: place, Arrived: arrived, Size: 1000, Sender: "s@example.net",
		Recipients: slices.Collect(func(yield func(queue.Recipient) bool) {
			for a := range strings.SplitSeq(to, " ") {
				yield(queue.Recipient{Address: a, Reason: "connect to mx: Connection refused"})
			}
		})})
}

func takes(d time.Duration) queuetest.Primary {
	return func(time.Time, int, queue.Message) (queue.Result, queue.Cause, time.Duration) {
		return queue.Delivered, queue.CauseNone, d
	}
}

func refuses(time.Time, int, queue.Message) (queue.Result, queue.Cause, time.Duration) {
	return queue.DeferredResult, queue.CauseRefused, time.Millisecond
}

// Two primaries at once, and mail that is held for both: each has its own account, and the message counts in each.
func TestTwoPrimariesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &queuetest.Holder{Primary: takes(50 * time.Millisecond)}
		b := setUp(t, h, t.TempDir(), nil, func(w *Watch) {
			w.Primaries = []probes.Primary{{Name: "mx1", Domains: []string{"one.test"}}, {Name: "mx2", Domains: []string{"two.test"}}}
		})
		b.turn("mx1", probes.Up, probes.Down)
		time.Sleep(time.Second)
		b.turn("mx2", probes.Up, probes.Down)
		time.Sleep(time.Minute)
		for i := range 10 {
			put(h, fmt.Sprint("A", i), "u@one.test", queue.Deferred, time.Now())
			put(h, fmt.Sprint("B", i), "u@two.test", queue.Deferred, time.Now())
		}
		put(h, "BOTH", "u@one.test u@two.test", queue.Deferred, time.Now())
		time.Sleep(time.Minute)
		b.back("mx1") // the model delivers a message whole, so that BOTH goes with the first
		time.Sleep(2 * time.Minute)
		open := b.Open()
		if len(open) != 1 || open[0].Primary != "mx2" || open[0].Accepted != 11 || open[0].Delivered != 1 || open[0].StillHeld != 10 {
			t.Fatalf("of mx2: %+v", open)
		}
		b.back("mx2")
		time.Sleep(2 * time.Minute)
		b.stop()
		reports, err := b.Store.List()
		if err != nil || len(reports) != 2 || h.Held() != 0 {
			t.Fatalf("%v, %v", reports, err)
		}
		for _, r := range reports {
			if r.Accepted != 11 || r.Delivered != 11 || r.Recipients.Delivered != 11 || r.Drain.Delivered < 10 {
				t.Errorf("%s: %+v", r.Primary, r.Counts)
			}
		}
		if b.told(alert.PrimaryDown) != "++" || b.told(alert.Recovered) != "--" {
			t.Errorf("told %s %s", b.told(alert.PrimaryDown), b.told(alert.Recovered))
		}
	})
}

// Mail that does not move: people are told once, once when it moves, and what was lost is told at the end.
func TestStuckAndLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mended atomic.Bool
		h := &queuetest.Holder{Primary: func(at time.Time, n int, m queue.Message) (queue.Result, queue.Cause, time.Duration) {
			switch {
			case !mended.Load():
				return refuses(at, n, m)
			case m.ID == "Q3":
				return queue.Bounced, queue.CauseUnknownUser, time.Millisecond
			}
			return queue.Delivered, queue.CauseNone, 50 * time.Millisecond
		}}
		b := setUp(t, h, t.TempDir(), nil, nil)
		b.turn("mx1", probes.Up, probes.Down)
		h.Fill(time.Now().Add(time.Hour+time.Minute), 20)
		time.Sleep(time.Hour)
		b.back("mx1") // it answers probes and takes no mail
		time.Sleep(9 * time.Minute)
		if b.told(alert.Stuck) != "" {
			t.Fatal("stuck too soon")
		}
		time.Sleep(2 * time.Minute)
		if b.told(alert.Stuck) != "+" {
			t.Fatalf("stuck told %q", b.told(alert.Stuck))
		}
		mended.Store(true)
		time.Sleep(5 * time.Minute)
		b.stop()
		reports, _ := b.Store.List()
		if len(reports) != 1 || reports[0].Delivered != 19 || reports[0].Bounced != 1 || len(reports[0].Lost) != 1 || reports[0].Lost[0].ID != "Q3" {
			t.Fatalf("%d held; %+v; %+v", h.Held(), reports, b.Open())
		}
		if b.told(alert.Stuck) != "+-" || b.told(alert.Loss) != "+" || b.told(alert.PrimaryDown) != "+" {
			t.Errorf("stuck %q, loss %q, down %q", b.told(alert.Stuck), b.told(alert.Loss), b.told(alert.PrimaryDown))
		}
	})
}

// With the holder's own timers the outage stays open until they have had their turn.
func TestOnTheHoldersOwnTimers(t *testing.T) {
	for _, pace := range []queue.Pace{queue.PaceNone, queue.PaceHolder} {
		synctest.Test(t, func(t *testing.T) {
			h := &queuetest.Holder{Primary: refuses}
			b := setUp(t, h, t.TempDir(), nil, func(w *Watch) {
				w.Pace = pace
				w.Drain = func(p probes.Primary) *queue.Drain {
					return &queue.Drain{Queue: h, Domains: p.Domains, Config: queue.DrainConfig{Pace: pace}}
				}
			})
			b.turn("mx1", probes.Up, probes.Down)
			h.Fill(time.Now().Add(time.Hour+time.Minute), 5)
			time.Sleep(time.Hour)
			b.back("mx1")
			_, _, asked := h.Counts()
			time.Sleep(4000 * time.Second)
			if len(b.Open()) != 1 || b.told(alert.Stuck) != "" {
				t.Fatalf("%v: stuck %q, %d open before the last timer", pace, b.told(alert.Stuck), len(b.Open()))
			}
			if _, _, now := h.Counts(); pace == queue.PaceNone && now != 0 || pace == queue.PaceHolder && (now != 5 || asked != 5) {
				t.Fatalf("%v: asked %d times, %d after the recovery", pace, now, asked)
			}
			h.Primary = takes(time.Millisecond)
			if err := h.Flush(t.Context(), queue.Selection{All: true}); err != nil { // qmgr's turn
				t.Fatal(err)
			}
			time.Sleep(2 * time.Minute)
			b.stop()
			if reports, _ := b.Store.List(); len(reports) != 1 || reports[0].Delivered != 5 || b.told(alert.Recovered) == "" {
				t.Fatalf("%v: %+v", pace, reports)
			}
		})
	}
}

// A long drain: people hear that the primary is back after five minutes, and get the report at the end; when it fails again in between they
// hear that too. A restart does not tell it again.
func TestALongDrainIsToldOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		h := &queuetest.Holder{Primary: takes(10 * time.Second)}
		b := setUp(t, h, dir, nil, nil)
		b.turn("mx1", probes.Up, probes.Down)
		h.Fill(time.Now().Add(2*time.Hour), 2400) // 20 at a time: 20 minutes
		time.Sleep(time.Hour)
		b.back("mx1")
		time.Sleep(4 * time.Minute)
		if b.told(alert.Recovered) != "" {
			t.Fatal("told too soon")
		}
		time.Sleep(90 * time.Second)
		if n := b.lastNotice(); b.told(alert.Recovered) != "-" || n.Severity != alert.Info || n.Key != "primary_down/mx1" || !strings.Contains(n.Title, "of 2,400 messages delivered") {
			t.Fatalf("%+v", n)
		}
		b.turn("mx1", probes.Up, probes.Down)
		if b.told(alert.PrimaryDown) != "++" {
			t.Fatalf("down again: %q", b.told(alert.PrimaryDown))
		}
		time.Sleep(time.Minute)
		b.back("mx1")
		time.Sleep(6 * time.Minute)
		if b.told(alert.Recovered) != "--" {
			t.Fatalf("back again: %q", b.told(alert.Recovered))
		}
		b.stop()
		b = setUp(t, h, dir, map[string]probes.State{"mx1": probes.Up}, nil)
		time.Sleep(20 * time.Minute)
		b.stop()
		reports, _ := b.Store.List()
		if b.told(alert.Recovered) != "-" || len(reports) != 1 || reports[0].Delivered != 2400 || reports[0].Flaps != 1 {
			t.Fatalf("%q %+v", b.told(alert.Recovered), reports)
		}
	})
}

// Mail that a half-dead primary took before the outage was known belongs to it, also when the agent was ended in between; so does an outage
// that its watcher knew of and whose journal was never written.
func TestRestartInTheSecondsBeforeItIsKnown(t *testing.T) {
	for _, known := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			h := &queuetest.Holder{Primary: refuses}
			b := setUp(t, h, dir, nil, nil)
			from := time.Now().Truncate(time.Second).Add(time.Second)
			tell := func(id string, arrived time.Time, r queue.Result) {
				b.OnOutcome(queue.Outcome{At: time.Now(), Instance: "postfix", ID: id, Arrived: arrived, Recipient: "u@" + queuetest.Domain, Domain: queuetest.Domain, Result: r, Cause: queue.CauseTimeout, Reply: "x"})
			}
			tell("BEFORE", from.Add(-time.Minute), queue.Delivered)
			time.Sleep(3 * time.Second)
			tell("TAKEN", from, queue.Delivered)
			tell("HELD", from.Add(-time.Hour), queue.DeferredResult)
			if err := b.Sync(); err != nil {
				t.Fatal(err)
			}
			tell("HELD2", from.Add(time.Second), queue.DeferredResult) // after the position saved: it is told again
			b.stop()
			states := map[string]probes.State{"mx1": probes.Up}
			if known {
				states["mx1"] = probes.Down
			}
			b = setUp(t, h, dir, states, nil)
			tell("HELD2", from.Add(time.Second), queue.DeferredResult)
			want := Counts{Accepted: 3, Delivered: 1, StillHeld: 2}
			if !known {
				b.OnTransition("mx1", probes.Transition{At: time.Now(), Since: from, From: probes.Up, To: probes.Down})
			} else { // it began when is not known: what was delivered is not taken to belong to it
				want = Counts{Accepted: 2, StillHeld: 2}
			}
			open := b.Open()
			if len(open) != 1 || open[0].Counts != want || b.told(alert.PrimaryDown) != "+" {
				t.Fatalf("known %v: %d open, %+v, told %q", known, len(open), open[0].Counts, b.told(alert.PrimaryDown))
			}
			b.stop()
		})
	}
}

func TestRecentIsBounded(t *testing.T) {
	dir := t.TempDir()
	var c recent
	c.j.path = filepath.Join(dir, recentName)
	at := t0
	for range 40 {
		for i := range 1000 {
			at = at.Add(20 * time.Millisecond)
			c.add(queue.Outcome{At: at, Instance: "postfix", ID: fmt.Sprint("Q", i), Domain: "example.org", Recipient: "u@example.org", Reply: strings.Repeat("x", 5000)})
		}
		if err := c.sync(); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(c.j.path)
	if err != nil || info.Size() > 16<<20 || len(c.ring) != maxRecent {
		t.Fatalf("%d bytes, %v; %d", info.Size(), err, len(c.ring))
	}
	var again recent
	again.j.path = c.j.path
	if err := again.load(); err != nil || len(again.ring) != maxRecent {
		t.Fatalf("%d, %v", len(again.ring), err)
	}
	var last queue.Outcome
	again.each(func(o queue.Outcome) {
		if o.At.Before(last.At) {
			t.Fatal("out of order")
		}
		last = o
	})
	if !last.At.Equal(at) || last.ID != "Q999" {
		t.Fatalf("the last is %+v", last)
	}
}

// Mail near the end of its lifetime: told once while it is so, resolved once; an earlier agent's notice is resolved too.
func TestAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &queuetest.Holder{}
		b := setUp(t, h, t.TempDir(), nil, func(w *Watch) { w.Lifetime = 24 * time.Hour })
		look := func() {
			t.Helper()
			s, err := queue.Look(t.Context(), h, func(string) bool { return true }, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			b.OnSnapshot(s)
		}
		put(h, "Q1", "u@"+queuetest.Domain, queue.Deferred, time.Now().Add(-17*time.Hour))
		look()
		if b.told(alert.Age) != "-" { // what an earlier agent may have left open; alert drops it when nothing is
			t.Fatalf("young: %q", b.told(alert.Age))
		}
		time.Sleep(90 * time.Minute)
		look()
		look()
		if b.told(alert.Age) != "-+" {
			t.Fatalf("old: %q", b.told(alert.Age))
		}
		h.Primary = takes(time.Second)
		if err := h.Flush(t.Context(), queue.Selection{All: true}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		look()
		look()
		if b.told(alert.Age) != "-+-" {
			t.Fatalf("gone: %q", b.told(alert.Age))
		}
		b.stop()
	})
}

// The disk does not take the account: it is told, the account goes on in memory, and is whole on the disk when the disk is well again.
func TestDiskTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		place := filepath.Join(dir, "outages")
		if err := os.WriteFile(place, nil, 0o600); err != nil { // a file where the directory should be: also for root
			t.Fatal(err)
		}
		h := &queuetest.Holder{Primary: refuses}
		b := setUp(t, h, dir, nil, nil)
		b.Store.Dir = place
		b.recent.j.path = filepath.Join(place, recentName)
		b.turn("mx1", probes.Up, probes.Down)
		h.Fill(time.Now().Add(time.Hour+time.Minute), 10)
		time.Sleep(time.Minute)
		if err := b.Sync(); err == nil || b.Status().JournalErr == "" || b.Open()[0].StillHeld != 10 {
			t.Fatalf("%v, %+v", err, b.Status())
		}
		// Well for a moment, then the file that is open fails as well.
		if err := os.Remove(place); err != nil {
			t.Fatal(err)
		}
		if err := b.Sync(); err != nil || b.Status().JournalErr != "" || b.Status().Synced.IsZero() {
			t.Fatalf("%v, %+v", err, b.Status())
		}
		b.mu.Lock()
		b.open["mx1"].j.f.Close() // as a disk that answers EIO
		b.mu.Unlock()
		if err := os.Rename(place, place+".away"); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(place, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		b.OnReject(Reject{At: time.Now(), Domain: queuetest.Domain, Key: 1})
		if err := b.Sync(); err == nil {
			t.Fatal("no error from a file that is closed")
		}
		h.Primary = takes(time.Millisecond)
		b.back("mx1")
		time.Sleep(2 * time.Minute)
		if st := b.Status(); st.Open != 0 || st.ReportErr == "" || b.told(alert.Recovered) != "-" {
			t.Fatalf("%+v", st)
		}
		if err := errors.Join(os.Remove(place), os.Rename(place+".away", place)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		b.stop()
		reports, err := b.Store.List()
		if err != nil || len(reports) != 1 || reports[0].Delivered != 10 || reports[0].Refused != 1 || b.Status().ReportErr != "" {
			t.Fatalf("%v %v %+v", reports, err, b.Status())
		}
		if left, _ := b.Store.names(journalSuffix); len(left) != 0 {
			t.Fatalf("left %v", left)
		}
	})
}

func TestStoreKeeps(t *testing.T) {
	s := &Store{Dir: t.TempDir(), Keep: 3}
	for i := range 6 {
		at := t0.Add(time.Duration(i) * time.Hour)
		if err := s.save(&Report{Schema: Schema, ID: at.UTC().Format("20060102T150405Z"), From: at}); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"20260301T110000Z.journal": "x", "notes.json": "{}", "20260301T170001Z.json": "{"} {
		if err := os.WriteFile(filepath.Join(s.Dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list, err := s.List()
	if err == nil || len(list) != 3 || list[0].ID != "20260301T170000Z" || list[2].ID != "20260301T150000Z" {
		t.Fatalf("%v, %v", list, err)
	}
	if r, err := s.Load("20260301T160000Z"); err != nil || !r.From.Equal(t0.Add(4*time.Hour)) {
		t.Fatalf("%v, %v", r, err)
	}
	for _, id := range []string{"20260301T140000Z", "../../etc/passwd", "", "20260301T110000Z"} {
		if _, err := s.Load(id); err == nil {
			t.Errorf("%q loaded", id)
		}
	}
	if _, err := os.Stat(filepath.Join(s.Dir, "notes.json")); err != nil {
		t.Error("a file that is not ours was removed")
	}
}
