package outage

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sparemx/sparemx/alert"
	"github.com/sparemx/sparemx/probes"
	"github.com/sparemx/sparemx/queue"
	"github.com/sparemx/sparemx/queue/queuetest"
)

// A whole outage in virtual time: 300 held, the agent ended and started again in the middle of it, the primary back and failing once more
// during the drain, and the account equal to the truth at the end.
func TestWatchWholeOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		h := &queuetest.Holder{}
		down := true
		h.Primary = func(time.Time, int, queue.Message) (queue.Result, queue.Cause, time.Duration) {
			if down {
				return queue.DeferredResult, queue.CauseRefused, time.Millisecond
			}
			return queue.Delivered, queue.CauseNone, 100 * time.Millisecond
		}
		var notices []alert.Notice
		start := func() (*Watch, func()) {
			w := &Watch{
				Primaries: []probes.Primary{{Name: "mx1", Domains: []string{queuetest.Domain}}}, Store: &Store{Dir: dir},
				Drain:    func(p probes.Primary) *queue.Drain { return &queue.Drain{Queue: h, Domains: p.Domains} },
				Notify:   func(n alert.Notice) { notices = append(notices, n) },
				Classify: func(string) queue.Cause { return queue.CauseRefused },
			}
			if err := w.Restore(nil); err != nil {
				t.Fatal(err)
			}
			h.Told, h.Left = w.OnOutcome, w.OnEnd
			sc := &queue.Scanner{Queue: h, Walk: w.Walk, Known: func(d string) bool { return d == queuetest.Domain }}
			w.Kick = sc.Kick
			ctx, stop := context.WithCancel(t.Context())
			go sc.Run(ctx)
			go w.Run(ctx)
			return w, func() { stop(); synctest.Wait() }
		}
		h.Fill(time.Now().Add(2*time.Hour), 300) // they arrive in the outage
		w, stop := start()
		began := time.Now()
		w.OnTransition("mx1", probes.Transition{At: began.Add(6 * time.Second), Since: began, From: probes.Up, To: probes.Down})
		time.Sleep(time.Minute)
		stop()
		w, stop = start()
		time.Sleep(time.Hour + time.Minute)
		if open := w.Open(); len(open) != 1 || open[0].Accepted != 300 || open[0].StillHeld != 300 {
			t.Fatalf("while down: %+v", open)
		}
		turn := func(from, to probes.State) {
			w.OnTransition("mx1", probes.Transition{At: time.Now(), Since: time.Now(), From: from, To: to})
		}
		down = false
		turn(probes.Down, probes.Recovering)
		time.Sleep(time.Second)
		if p, err := w.Progress("mx1"); err != nil || p.Delivered == 0 {
			t.Fatalf("a second after: %+v, %v", p, err)
		}
		down = true
		turn(probes.Recovering, probes.Down)
		time.Sleep(10 * time.Minute)
		_, _, attempts := h.Counts()
		time.Sleep(10 * time.Minute)
		if _, _, now := h.Counts(); now != attempts || h.Held() == 0 {
			t.Fatalf("%d pushes while down; %d held", now-attempts, h.Held())
		}
		down = false
		turn(probes.Down, probes.Recovering)
		time.Sleep(2 * time.Second)
		turn(probes.Recovering, probes.Up)
		time.Sleep(2 * time.Minute)
		stop()
		reports, err := w.Store.List()
		if err != nil || len(reports) != 1 || h.Held() != 0 {
			t.Fatalf("%d reports, %v; %d held", len(reports), err, h.Held())
		}
		r := reports[0]
		if r.Accepted != 300 || r.Delivered != 300 || r.Unaccounted != 0 || r.Flaps != 1 || r.Interrupted != 1 || r.DetectedAfter != 6*time.Second || r.Drain.Peak > 20 ||
			r.FirstDelivery <= 0 || r.FirstDelivery > time.Second || r.TimeToEmpty > 5*time.Second || r.OnTimers == nil || r.OnTimers.Last < r.TimeToEmpty {
			t.Errorf("%s\n%+v", r.Text(), r)
		}
		if first, last := notices[0], notices[len(notices)-1]; first.Kind != alert.PrimaryDown || last.Kind != alert.Recovered || !last.Resolved || last.Key != first.Key {
			t.Errorf("notices %+v", notices)
		}
	})
}
