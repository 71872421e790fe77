package queue_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sparemx/sparemx/queue"
)

// script is a queue whose listing is a function.
type script struct {
	list  func(ctx context.Context, yield func(queue.Message, error) bool)
	flush func(queue.Selection) error
}

func (s *script) Messages(ctx context.Context) iter.Seq2[queue.Message, error] {
	return func(yield func(queue.Message, error) bool) { s.list(ctx, yield) }
}

func (s *script) Flush(_ context.Context, sel queue.Selection) error {
	if s.flush == nil {
		return nil
	}
	return s.flush(sel)
}

func message(id string, place queue.Place, arrived time.Time, to ...string) queue.Message {
	m := queue.Message{Instance: "postfix", ID: id, Place: place, Arrived: arrived, Size: 1000, Sender: "s@example.net"}
	for _, a := range to {
		address, reason, _ := strings.Cut(a, " ")
		m.Recipients = append(m.Recipients, queue.Recipient{Address: address, Reason: reason})
	}
	return m
}

// walks is what a Walk was told.
type walks struct {
	began, visits, whole, cut int
	open                      bool
	t                         *testing.T
}

func (w *walks) begin(time.Time) queue.Walk {
	if w.open {
		w.t.Error("two walks at once")
	}
	w.began++
	w.open = true
	return queue.Walk{
		Visit: func(queue.Message) {
			if !w.open {
				w.t.Error("visited after the end")
			}
			w.visits++
		},
		End: func(complete bool) {
			w.open = false
			if complete {
				w.whole++
			} else {
				w.cut++
			}
		},
	}
}

// A queue that hangs, in either way, is given up at the deadline; the snapshot before it stays and shows its age; when the queue is well again,
// so are the scans. A listing that ignores its context is never joined by a second one.
func TestScannerHangs(t *testing.T) {
	for _, heeds := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			var hang atomic.Bool
			var listings atomic.Int64
			q := &script{list: func(ctx context.Context, yield func(queue.Message, error) bool) {
				listings.Add(1)
				if !yield(message("A", queue.Deferred, time.Now()), nil) {
					return
				}
				if !hang.Load() {
					return
				}
				if heeds {
					<-ctx.Done()
					yield(queue.Message{}, ctx.Err())
					return
				}
				<-release
				yield(message("LATE", queue.Deferred, time.Now()), nil) // nobody may be told of it
			}}
			w := &walks{t: t}
			s := &queue.Scanner{Queue: q, Walk: w.begin}
			if s.Latest() != nil || s.Status().Success {
				t.Fatal("a snapshot before the first scan")
			}
			go s.Run(t.Context())
			time.Sleep(time.Minute)
			first := s.Latest()
			if first == nil || first.Total.Messages != 1 || !s.Status().Success {
				t.Fatalf("%+v", s.Status())
			}
			hang.Store(true)
			time.Sleep(5 * time.Minute)
			st := s.Status()
			if st.Success || st.Trouble != queue.ScanHanging || st.Failures == 0 || st.Err == "" || st.Took > 62*time.Second {
				t.Fatalf("heeds %v: %+v", heeds, st)
			}
			if last := s.Latest(); last == nil || last.Total.Messages != 1 || time.Since(last.At) < 4*time.Minute || !st.Last.Equal(last.At) {
				t.Fatalf("the last snapshot is of %v", last.At)
			}
			if !heeds {
				before := listings.Load()
				time.Sleep(5 * time.Minute)
				if now := listings.Load(); now != before {
					t.Fatalf("%d more listings beside the one that hangs", now-before)
				}
			}
			hang.Store(false)
			close(release)
			time.Sleep(2 * time.Minute)
			if st := s.Status(); !st.Success || st.Failures != 0 || st.Err != "" || time.Since(s.Latest().At) > 20*time.Second {
				t.Fatalf("well again: %+v", st)
			}
			synctest.Wait()
			if w.cut == 0 || w.whole == 0 || w.began != w.whole+w.cut || w.open {
				t.Fatalf("walks %+v", w)
			}
		})
	}
}

func TestScannerTroubles(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want queue.ScanTrouble
	}{
		"denied":  {fmt.Errorf("postqueue: %w: join the group postdrop", fs.ErrPermission), queue.ScanDenied},
		"stopped": {errors.New("postqueue: warning: Mail system is down"), queue.ScanFailed},
		"hanging": {context.DeadlineExceeded, queue.ScanHanging},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := &script{list: func(_ context.Context, yield func(queue.Message, error) bool) {
					if yield(message("A", queue.Deferred, time.Now()), nil) {
						yield(queue.Message{}, c.err)
					}
				}}
				w := &walks{t: t}
				s := &queue.Scanner{Queue: q, Walk: w.begin}
				go s.Run(t.Context())
				time.Sleep(40 * time.Second)
				synctest.Wait()
				if st := s.Status(); st.Success || st.Trouble != c.want || st.Scans != 3 || st.Failures != 3 || s.Latest() != nil || w.cut != 3 || w.whole != 0 {
					t.Fatalf("%+v, walks %+v", st, w)
				}
			})
		})
	}
}

// The pace: each 15 s from start to start; a walk that takes long is followed by nine times as long a rest; a kick brings the next one
// forward, yet not so that walks follow one another without pause.
func TestScannerPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var takes atomic.Int64
		takes.Store(int64(2 * time.Millisecond))
		var mu sync.Mutex
		var began []time.Time
		q := &script{list: func(ctx context.Context, yield func(queue.Message, error) bool) {
			mu.Lock()
			began = append(began, time.Now())
			mu.Unlock()
			time.Sleep(time.Duration(takes.Load()))
			if yield(message("A", queue.Deferred, time.Now()), nil) {
				yield(message("A", queue.Active, time.Now()), nil) // it moved during the walk
			}
		}}
		w := &walks{t: t}
		s := &queue.Scanner{Queue: q, Walk: w.begin}
		go s.Run(t.Context())
		time.Sleep(time.Minute - time.Millisecond)
		synctest.Wait()
		mu.Lock()
		if len(began) != 4 || began[3].Sub(began[0]) != 45*time.Second {
			t.Fatalf("began %v", began)
		}
		mu.Unlock()
		if l := s.Latest(); l.Total.Messages != 1 || l.Twice != 1 || w.visits != 4 || l.Took != time.Duration(takes.Load()) {
			t.Fatalf("%+v, %d visits", l, w.visits)
		}
		for range 100 { // kicks come in crowds
			s.Kick()
		}
		synctest.Wait()
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		mu.Lock()
		n := len(began)
		mu.Unlock()
		if n < 5 || n > 6 {
			t.Fatalf("%d walks after a hundred kicks", n-4)
		}
		takes.Store(int64(5 * time.Second))
		time.Sleep(20 * time.Second)
		mu.Lock()
		began = nil
		mu.Unlock()
		time.Sleep(101 * time.Second)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if len(began) != 2 || began[1].Sub(began[0]) != 50*time.Second || s.Status().Every != 45*time.Second {
			t.Fatalf("a walk of 5 s began at %v; next in %v", began, s.Status().Every)
		}
	})
}

// A clock that is set back shows no negative ages.
func TestScannerClockBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &script{list: func(ctx context.Context, yield func(queue.Message, error) bool) {
			yield(message("FUTURE", queue.Deferred, time.Now().Add(3*time.Hour), "u@example.org"), nil)
		}}
		s := &queue.Scanner{Queue: q, Known: func(string) bool { return true }}
		go s.Run(t.Context())
		time.Sleep(time.Second)
		l := s.Latest()
		if l == nil || l.OldestAge(time.Now()) != 0 || l.Ages.Counts[0] != 1 || l.Ages.Sum != 0 || l.Domains["example.org"].OldestAge(time.Now()) != 0 || l.Domains["example.org"].Ages[0] != 1 {
			t.Fatalf("%+v", l)
		}
	})
}

func TestSnapshotCounts(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	classify := func(reason string) queue.Cause {
		return map[string]queue.Cause{"refused": queue.CauseRefused, "full": queue.CauseMailboxFull}[reason]
	}
	list := []queue.Message{
		message("A", queue.Deferred, ago(2*time.Hour), "u@example.org refused", "v@EXAMPLE.ORG full"),
		message("B", queue.Deferred, ago(30*24*time.Hour), "u@example.org", "w@example.net full", "x@stranger1.test", "y@stranger2.test"),
		message("C", queue.Active, ago(30*time.Second), "u@example.net"),
		message("A", queue.Active, ago(2*time.Hour), "u@example.org refused"), // a second time
		message("D", queue.Incoming, ago(time.Second)),                        // still being received
		message("E", queue.Hold, ago(61*time.Second), "u@stranger3.test refused", "no-domain"),
	}
	list = append(list, func() queue.Message { m := list[0]; m.Instance = "postfix-out"; m.Size = 500; return m }()) // the same ID elsewhere
	q := &script{list: func(_ context.Context, yield func(queue.Message, error) bool) {
		for _, m := range list {
			if !yield(m, nil) {
				return
			}
		}
	}}
	visited := 0
	s, err := queue.Look(t.Context(), q, func(d string) bool { return d == "example.org" || d == "example.net" }, classify, func(queue.Message) { visited++ })
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, got, want any) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	check("visited", visited, 6)
	check("twice", s.Twice, 1)
	check("total", s.Total, queue.Count{Messages: 6, Bytes: 5500})
	check("instances", s.Instances, map[string]queue.Count{"postfix": {Messages: 5, Bytes: 5000}, "postfix-out": {Messages: 1, Bytes: 500}})
	for place, want := range map[queue.Place]int{queue.Deferred: 3, queue.Active: 1, queue.Incoming: 1, queue.Hold: 1, queue.Maildrop: 0} {
		check(place.String(), s.Places[place].Messages, want)
		check(place.String()+" by age", s.Places[place].Ages.Count, want)
	}
	check("domains", len(s.Domains), 3)
	org, net, other := s.Domains["example.org"], s.Domains["example.net"], s.Domains[queue.OtherDomain]
	check("org", org.Count, queue.Count{Messages: 3, Bytes: 2500})
	check("org by cause", org.Causes, map[queue.Cause]int{queue.CauseRefused: 2, queue.CauseNone: 1})
	check("org by age", org.Ages, []int{0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1})
	check("org by place", org.Places, map[queue.Place]int{queue.Deferred: 3})
	check("org's oldest", org.Oldest.Equal(ago(30*24*time.Hour)), true)
	check("net", net.Count, queue.Count{Messages: 2, Bytes: 2000})
	check("net by cause", net.Causes, map[queue.Cause]int{queue.CauseMailboxFull: 1, queue.CauseNone: 1})
	check("other", other.Messages, 3) // B once though for two of them, D, E
	check("other by cause", other.Causes, map[queue.Cause]int{queue.CauseNone: 2, queue.CauseRefused: 1})
	check("causes", s.Causes, map[queue.Cause]int{queue.CauseRefused: 3, queue.CauseMailboxFull: 1, queue.CauseNone: 2})
	check("a cell", s.Cells[queue.Cell{Instance: "postfix-out", Domain: "example.org", Place: queue.Deferred}], queue.Count{Messages: 1, Bytes: 500})
	check("held for both", s.Held("example.org", "example.net", "none.test").Messages, 5)
	check("oldest", s.OldestMessages[0].ID+s.OldestMessages[5].ID, "BD")
	check("ages", s.Ages.Counts, []uint64{2, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1})
	check("cumulative", s.Ages.Cumulative()[1814400], 5)
}

// Strangers choose neither how many domains there are nor how much a snapshot keeps.
func TestSnapshotIsBounded(t *testing.T) {
	now := time.Now()
	q := &script{list: func(_ context.Context, yield func(queue.Message, error) bool) {
		for i := range 5000 {
			m := message(fmt.Sprint("Q", i), queue.Deferred, now.Add(-time.Duration(i)*time.Minute))
			for k := range 30 {
				m.Recipients = append(m.Recipients, queue.Recipient{Address: fmt.Sprintf("u@d%d-%d.test", i, k)})
			}
			if !yield(m, nil) {
				return
			}
		}
	}}
	s, err := queue.Look(t.Context(), q, nil, nil, nil)
	if err != nil || len(s.Domains) != 1 || len(s.Cells) != 1 || len(s.OldestMessages) != 20 || s.OldestMessages[0].ID != "Q4999" || len(s.OldestMessages[0].Recipients) != 20 {
		t.Fatalf("%v: %d domains, %d cells, %d oldest", err, len(s.Domains), len(s.Cells), len(s.OldestMessages))
	}
}
