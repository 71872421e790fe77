package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sparemx/sparemx/queue"
	"github.com/sparemx/sparemx/queue/queuetest"
)

// asked remembers what a drain asks of the holder.
type asked struct {
	queue.Queue
	mu      sync.Mutex
	ids     []string
	domains []string
	fail    func(queue.Selection) error
}

func (a *asked) Flush(ctx context.Context, sel queue.Selection) error {
	a.mu.Lock()
	a.ids = append(a.ids, sel.IDs...)
	if sel.Domain != "" {
		a.domains = append(a.domains, sel.Domain)
	}
	a.mu.Unlock()
	if a.fail != nil {
		if err := a.fail(sel); err != nil {
			return err
		}
	}
	return a.Queue.Flush(ctx, sel)
}

func (a *asked) times(id string) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, x := range a.ids {
		if x == id {
			n++
		}
	}
	return n
}

func taken(time.Time, int, queue.Message) (queue.Result, queue.Cause, time.Duration) {
	return queue.Delivered, queue.CauseNone, 20 * time.Millisecond
}

func only(id string, cause queue.Cause) queuetest.Primary {
	return func(at time.Time, n int, m queue.Message) (queue.Result, queue.Cause, time.Duration) {
		if m.ID == id {
			return queue.DeferredResult, cause, time.Millisecond
		}
		return taken(at, n, m)
	}
}

// drains runs a drain over a holder in virtual time.
func drains(t *testing.T, n int, primary queuetest.Primary, change func(*queuetest.Holder, *asked, *queue.Drain), then func(t *testing.T, h *queuetest.Holder, a *asked, p queue.Progress, took time.Duration)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &queuetest.Holder{Primary: primary}
		a := &asked{Queue: h}
		d := &queue.Drain{Queue: a, Domains: []string{queuetest.Domain}, Classify: func(string) queue.Cause { return queue.CauseRefused }}
		h.Told, h.Left = d.Observe, d.ObserveEnd
		h.Fill(time.Now(), n)
		if change != nil {
			change(h, a, d)
		}
		start := time.Now()
		p, err := d.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		then(t, h, a, p, time.Since(start))
	})
}

func TestDrainLeavesWhatIsOnHold(t *testing.T) {
	drains(t, 30, taken, func(h *queuetest.Holder, _ *asked, _ *queue.Drain) {
		h.Put(message("HELD", queue.Hold, time.Now().Add(-48*time.Hour), "u@"+queuetest.Domain))
		h.Put(message("NEW", queue.Maildrop, time.Now(), "u@"+queuetest.Domain))
		h.Put(message("OTHER", queue.Deferred, time.Now(), "u@other.test"))
	}, func(t *testing.T, h *queuetest.Holder, a *asked, p queue.Progress, took time.Duration) {
		if h.Held() != 3 || a.times("HELD")+a.times("NEW")+a.times("OTHER") != 0 || p.Hold != 1 || p.Left != 1 || p.Delivered != 30 || p.Total != 31 || took > 5*time.Second {
			t.Errorf("%v: %d held, asked for %v; %+v", took, h.Held(), a.ids, p)
		}
		if p.Causes[queuetest.Domain]["hold"] != 1 {
			t.Errorf("causes %v", p.Causes)
		}
	})
}

// One recipient that is always answered 450, or whose mailbox is full: the others are not held up, and it is no fault of the primary.
func TestDrainSetsAside(t *testing.T) {
	for _, cause := range []queue.Cause{queue.CauseTempfail, queue.CauseMailboxFull, queue.CauseUnavailable} {
		drains(t, 2000, only("Q5", cause), nil, func(t *testing.T, h *queuetest.Holder, a *asked, p queue.Progress, took time.Duration) {
			most := 3 // times that it may have looked like a fault of the primary
			if cause == queue.CauseMailboxFull {
				most = 0
			}
			if h.Held() != 1 || p.Delivered != 1999 || p.Left != 1 || p.Aside != 1 || p.Refused > most || p.Total != 2000 {
				t.Errorf("%v: %d held; %+v", cause, h.Held(), p)
			}
			// The others are done in half a minute; then it is tried again now and then, until nothing has moved for ten minutes.
			if done := p.Moved.Sub(p.Began); done > 40*time.Second || took < 10*time.Minute || took > 12*time.Minute || a.times("Q5") < 3 || a.times("Q5") > 12 {
				t.Errorf("%v: the others took %v, all %v; asked %d times for it", cause, done, took, a.times("Q5"))
			}
		})
	}
}

// Postfix says "delivery temporarily suspended" of its own: the queue's state, not an answer. It must neither count as a refusal nor lower the ceiling.
func TestDrainSuspendedIsNoAnswer(t *testing.T) {
	var until time.Time
	drains(t, 500, func(at time.Time, n int, m queue.Message) (queue.Result, queue.Cause, time.Duration) {
		if until.IsZero() {
			until = at.Add(8 * time.Second)
		}
		if at.Before(until) {
			return queue.DeferredResult, queue.CauseSuspended, time.Millisecond
		}
		return taken(at, n, m)
	}, nil, func(t *testing.T, h *queuetest.Holder, a *asked, p queue.Progress, took time.Duration) {
		if h.Held() != 0 || p.Refused != 0 || p.Ceiling != 20 || p.Deferred == 0 || p.Deferred > 4 || took > 15*time.Second {
			t.Errorf("%v: %+v", took, p)
		}
	})
}

// The log lost a line, the push did nothing, or the primary is just slow: after a minute the drain looks where the message is.
func TestDrainLooksWhenNothingIsHeard(t *testing.T) {
	t.Run("the log lost a line", func(t *testing.T) {
		drains(t, 100, taken, func(h *queuetest.Holder, _ *asked, d *queue.Drain) {
			h.Told = func(o queue.Outcome) {
				if o.ID != "Q50" {
					d.Observe(o)
				}
			}
			h.Left = func(e queue.End) {
				if e.ID != "Q50" {
					d.ObserveEnd(e)
				}
			}
		}, func(t *testing.T, h *queuetest.Holder, a *asked, p queue.Progress, took time.Duration) {
			if h.Held() != 0 || p.Left != 0 || p.Delivered != 99 || p.Total != 100 || a.times("Q50") != 1 || took < time.Minute || took > 70*time.Second {
				t.Errorf("%v: %+v, asked %d times", took, p, a.times("Q50"))
			}
		})
	})
	t.Run("a push that does nothing", func(t *testing.T) {
		drains(t, 100, taken, func(h *queuetest.Holder, a *asked, _ *queue.Drain) {
			a.Queue = &script{list: func(ctx context.Context, yield func(queue.Message, error) bool) {
				for m, err := range h.Messages(ctx) {
					if !yield(m, err) {
						return
					}
				}
			}, flush: func(sel queue.Selection) error {
				if len(sel.IDs) == 1 && sel.IDs[0] == "Q50" && a.times("Q50") < 3 {
					return nil // "postqueue -i" on a message that is active just then
				}
				return h.Flush(context.Background(), sel)
			}}
		}, func(t *testing.T, h *queuetest.Holder, a *asked, p queue.Progress, took time.Duration) {
			if h.Held() != 0 || p.Delivered != 100 || a.times("Q50") != 3 || took > 130*time.Second {
				t.Errorf("%v: %+v, asked %d times", took, p, a.times("Q50"))
			}
		})
	})
	t.Run("a primary that takes minutes", func(t *testing.T) {
		drains(t, 40, func(time.Time, int, queue.Message) (queue.Result, queue.Cause, time.Duration) {
			return queue.Delivered, queue.CauseNone, 3 * time.Minute
		}, nil, func(t *testing.T, h *queuetest.Holder, a *asked, p queue.Progress, took time.Duration) {
			if h.Held() != 0 || p.Delivered != 40 || p.Pushed != 40 || p.Peak > 3 {
				t.Errorf("%v: %+v", took, p)
			}
		})
	})
}

// The holder does not do what it is asked: it is asked again, ever more seldom, and shown; nothing is lost of what was to be pushed.
func TestDrainHolderInTrouble(t *testing.T) {
	t.Run("listing", func(t *testing.T) {
		lists := 0
		drains(t, 50, taken, func(h *queuetest.Holder, a *asked, d *queue.Drain) {
			a.Queue = &script{list: func(ctx context.Context, yield func(queue.Message, error) bool) {
				if lists++; lists <= 3 {
					yield(queue.Message{}, errors.New("Mail system is down"))
					return
				}
				for m, err := range h.Messages(ctx) {
					if !yield(m, err) {
						return
					}
				}
			}, flush: func(sel queue.Selection) error { return h.Flush(context.Background(), sel) }}
			shown := false
			d.OnProgress = func(p queue.Progress) { shown = shown || strings.Contains(p.Err, "Mail system is down") }
			t.Cleanup(func() {
				if !shown {
					t.Error("not shown")
				}
			})
		}, func(t *testing.T, h *queuetest.Holder, a *asked, p queue.Progress, took time.Duration) {
			if h.Held() != 0 || p.Delivered != 50 || p.Err != "" || took < 14*time.Second || took > 20*time.Second {
				t.Errorf("%v, %d lists: %+v", took, lists, p)
			}
		})
	})
	t.Run("flushing", func(t *testing.T) {
		n := 0
		drains(t, 50, taken, func(_ *queuetest.Holder, a *asked, _ *queue.Drain) {
			a.fail = func(queue.Selection) error {
				if n++; n > 5 && n <= 8 {
					return errors.New("postqueue: fatal: Queue report unavailable - mail system is down")
				}
				return nil
			}
		}, func(t *testing.T, h *queuetest.Holder, a *asked, p queue.Progress, took time.Duration) {
			if h.Held() != 0 || p.Delivered != 50 || p.Pushed != 50 || p.Total != 50 || p.Refused != 0 || took < 6*time.Second || took > 20*time.Second {
				t.Errorf("%v: %+v", took, p)
			}
		})
	})
	t.Run("for good, until it is stopped", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			lists := 0
			q := &script{list: func(_ context.Context, yield func(queue.Message, error) bool) {
				lists++
				yield(queue.Message{}, errors.New("no"))
			}}
			d := &queue.Drain{Queue: q, Domains: []string{queuetest.Domain}}
			ctx, stop := context.WithTimeout(t.Context(), time.Hour)
			defer stop()
			if p, err := d.Run(ctx); !errors.Is(err, context.DeadlineExceeded) || p.State != queue.DrainStopped || p.Err == "" || lists < 55 || lists > 70 {
				t.Errorf("%d lists, %v, %+v", lists, err, p)
			}
		})
	})
}

func TestDrainPaces(t *testing.T) {
	drains(t, 300, taken, func(_ *queuetest.Holder, _ *asked, d *queue.Drain) {
		d.Config.Pace = queue.PaceHolder
		d.Domains = []string{queuetest.Domain, "example.net"}
	}, func(t *testing.T, h *queuetest.Holder, a *asked, p queue.Progress, took time.Duration) {
		if peak, _, _ := h.Counts(); h.Held() != 0 || peak != 300 || len(a.ids) != 0 || fmt.Sprint(a.domains) != "[example.org example.net]" || p.Delivered != 300 || p.Pushed != 0 || took > 10*time.Second {
			t.Errorf("postfix: %v, asked for %v %v, peak %d: %+v", took, a.ids, a.domains, peak, p)
		}
	})
	drains(t, 300, taken, func(h *queuetest.Holder, _ *asked, d *queue.Drain) {
		d.Config.Pace = queue.PaceNone
		time.AfterFunc(5*time.Minute, func() { h.Flush(context.Background(), queue.Selection{All: true}) }) // qmgr by itself
	}, func(t *testing.T, h *queuetest.Holder, a *asked, p queue.Progress, took time.Duration) {
		if h.Held() != 0 || len(a.ids)+len(a.domains) != 0 || p.Delivered != 300 || p.First.Sub(p.Began) < 5*time.Minute || took > 5*time.Minute+10*time.Second {
			t.Errorf("none: %v, asked for %v %v: %+v", took, a.ids, a.domains, p)
		}
	})
}

// A message for this primary and another one is followed for its own recipients only; each of them has to be heard.
func TestDrainMixedDomains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &queuetest.Holder{Primary: taken}
		var d *queue.Drain
		a := &asked{}
		var gone atomic.Bool
		a.Queue = &script{list: func(_ context.Context, yield func(queue.Message, error) bool) {
			m := message("MIX", queue.Deferred, time.Now().Add(-time.Hour), "a@example.org x", "b@EXAMPLE.org x", "c@other.test x")
			if gone.Load() {
				m.Recipients = m.Recipients[2:] // still held, for the other one
			}
			yield(m, nil)
		}, flush: func(queue.Selection) error {
			for i, to := range []string{"c@other.test", "a@example.org", "b@example.org"} {
				time.AfterFunc(time.Duration(i+1)*time.Second, func() {
					o := queue.Outcome{At: time.Now(), Instance: "postfix", ID: "MIX", Recipient: to, Domain: queue.AddressDomain(to), Result: queue.Delivered}
					if i == 0 {
						o.Result, o.Cause = queue.DeferredResult, queue.CauseRefused // that primary is down
					}
					gone.Store(i == 2)
					d.Observe(o)
				})
			}
			return nil
		}}
		d = &queue.Drain{Queue: a, Domains: []string{"example.org"}}
		h.Told = d.Observe
		d.Observe(queue.Outcome{At: time.Now(), Instance: "postfix", ID: "MIX", Recipient: "a@example.org", Domain: "example.org", Result: queue.Delivered}) // before Run: of no concern
		if p := d.Progress(); p.State != queue.DrainIdle || p.Delivered != 0 {
			t.Errorf("before: %+v", p)
		}
		start := time.Now()
		p, err := d.Run(t.Context())
		if took := time.Since(start); err != nil || p.Delivered != 1 || p.Refused != 0 || p.Deferred != 0 || p.Left != 0 || p.Total != 1 || len(a.ids) != 1 || took < 3*time.Second || took > 5*time.Second {
			t.Errorf("%v %v: %+v", took, err, p)
		}
	})
}

// What is known at a time is bounded; the rest is found by listing again, the oldest first.
func TestDrainHand(t *testing.T) {
	lists := 0
	drains(t, 100, taken, func(h *queuetest.Holder, a *asked, d *queue.Drain) {
		d.Config.Hand = 10
		a.Queue = &script{list: func(ctx context.Context, yield func(queue.Message, error) bool) {
			lists++
			for m, err := range h.Messages(ctx) {
				if !yield(m, err) || !yield(m, err) { // each twice
					return
				}
			}
		}, flush: func(sel queue.Selection) error { return h.Flush(context.Background(), sel) }}
	}, func(t *testing.T, h *queuetest.Holder, a *asked, p queue.Progress, took time.Duration) {
		if h.Held() != 0 || p.Delivered != 100 || p.Pushed != 100 || lists < 10 || lists > 13 || took > 10*time.Second {
			t.Errorf("%v, %d lists: %+v", took, lists, p)
		}
		for i, id := range a.ids {
			if id != fmt.Sprint("Q", i) {
				t.Fatalf("%d: %s before its time", i, id)
			}
		}
	})
}

// "postsuper -r" during a drain: the message goes on under another ID, and is one message still.
func TestDrainRequeued(t *testing.T) {
	drains(t, 100, taken, func(h *queuetest.Holder, a *asked, d *queue.Drain) {
		a.Queue = &script{list: func(ctx context.Context, yield func(queue.Message, error) bool) {
			for m, err := range h.Messages(ctx) {
				if m.ID == "Q90" && len(a.ids) > 0 {
					m.ID = "R90"
				}
				if !yield(m, err) {
					return
				}
			}
		}, flush: func(sel queue.Selection) error {
			if sel.IDs[0] == "Q20" {
				d.ObserveEnd(queue.End{At: time.Now(), Instance: "postfix", ID: "Q90", Kind: queue.Requeued, NewID: "R90"})
			}
			if sel.IDs[0] == "R90" {
				sel.IDs = []string{"Q90"}
			}
			return h.Flush(context.Background(), sel)
		}}
		told := h.Told
		h.Told = func(o queue.Outcome) {
			if o.ID == "Q90" {
				o.ID = "R90"
			}
			told(o)
		}
	}, func(t *testing.T, h *queuetest.Holder, a *asked, p queue.Progress, took time.Duration) {
		if h.Held() != 0 || a.times("Q90") != 0 || a.times("R90") != 1 || p.Delivered != 100 || p.Total != 100 || p.Left != 0 {
			t.Errorf("%v: asked %d and %d times; %+v", took, a.times("Q90"), a.times("R90"), p)
		}
	})
}

// A primary that refuses everything for good has come back wrong. What is pushed then is lost: slowly, so that a person can stop it.
func TestDrainBouncesSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &queuetest.Holder{Primary: func(time.Time, int, queue.Message) (queue.Result, queue.Cause, time.Duration) {
			return queue.Bounced, queue.CauseUnknownUser, 20 * time.Millisecond
		}}
		d := &queue.Drain{Queue: h, Domains: []string{queuetest.Domain}}
		h.Told, h.Left = d.Observe, d.ObserveEnd
		h.Fill(time.Now(), 5000)
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		p, _ := d.Run(ctx)
		if p.Bounced < 10 || p.Bounced > 60 {
			t.Errorf("%d bounced in a minute", p.Bounced)
		}
		time.Sleep(time.Minute) // what is under way ends
	})
}

// A queue manager that was restarted leaves mail in incoming, where it would wait for the next scan of the queue; what has only just come
// is on its way by itself.
func TestDrainPushesWhatStaysInIncoming(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &queuetest.Holder{Primary: taken}
		a := &asked{Queue: h}
		in := func(id string, age time.Duration) {
			h.Put(queue.Message{Instance: "postfix", ID: id, Place: queue.Incoming, Arrived: time.Now().Add(-age), Size: 1,
				Recipients: []queue.Recipient{{Address: "u@" + queuetest.Domain}}})
		}
		in("STAYS", time.Minute)
		in("COMES", time.Second)
		d := &queue.Drain{Queue: a, Domains: []string{queuetest.Domain}}
		h.Told, h.Left = d.Observe, d.ObserveEnd
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		d.Run(ctx)
		if a.times("STAYS") != 1 || a.times("COMES") != 0 {
			t.Errorf("pushed STAYS %d times, COMES %d times; want 1 and 0", a.times("STAYS"), a.times("COMES"))
		}
	})
}
