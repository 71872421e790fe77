package outage

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sparemx/sparemx/probes"
	"github.com/sparemx/sparemx/queue"
	"github.com/sparemx/sparemx/queue/queuetest"
)

// The agent starts beside mail that has been held for hours, and the primary is back before the queue was walked once: the mail is
// drained all the same, and is in the account.
func TestMailHeldBeforeTheAgentStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &queuetest.Holder{Primary: takes(50 * time.Millisecond)}
		for i := range 300 {
			put(h, fmt.Sprint("OLD", i), "u@"+queuetest.Domain, queue.Deferred, time.Now().Add(-3*time.Hour))
		}
		put(h, "HELD", "u@"+queuetest.Domain, queue.Hold, time.Now().Add(-3*time.Hour))
		var b *bench
		b = setUp(t, h, t.TempDir(), nil, nil)
		b.turn("mx1", probes.Unknown, probes.Down)
		b.turn("mx1", probes.Down, probes.Recovering)
		time.Sleep(time.Second)
		b.turn("mx1", probes.Recovering, probes.Up)
		time.Sleep(5 * time.Minute)
		b.stop()
		reports, err := b.Store.List()
		if err != nil || len(reports) != 1 {
			t.Fatalf("%d reports, %v; open %+v", len(reports), err, b.Open())
		}
		if r := reports[0]; r.Accepted != 300 || r.Delivered != 300 {
			t.Errorf("accepted %d, delivered %d, want 300 of 300", r.Accepted, r.Delivered)
		}
	})
}

// A second outage soon after the first: what the first has accounted for is not told again.
func TestASecondOutageSoonAfterTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &queuetest.Holder{Primary: takes(50 * time.Millisecond)}
		b := setUp(t, h, t.TempDir(), nil, nil)
		for n := range 3 {
			// Deferred in the seconds before the outage is known, as on a real host.
			for i := range 3 {
				id := fmt.Sprintf("M%d-%d", n, i)
				put(h, id, "u@"+queuetest.Domain, queue.Deferred, time.Now())
				b.OnOutcome(queue.Outcome{At: time.Now(), Instance: "postfix", ID: id, Arrived: time.Now(), Recipient: "u@" + queuetest.Domain,
					Domain: queuetest.Domain, Result: queue.DeferredResult, Cause: queue.CauseRefused, First: true})
			}
			time.Sleep(4 * time.Second)
			b.turn("mx1", probes.Up, probes.Down)
			time.Sleep(10 * time.Second)
			b.back("mx1")
			time.Sleep(40 * time.Second)
		}
		b.stop()
		reports, err := b.Store.List()
		if err != nil || len(reports) != 3 {
			t.Fatalf("%d reports, %v", len(reports), err)
		}
		for _, r := range reports {
			if r.Accepted != 3 || r.Delivered != 3 || r.TimeToEmpty > 10*time.Second {
				t.Errorf("%s: accepted %d, delivered %d, unaccounted %d, empty after %v", r.ID, r.Accepted, r.Delivered, r.Unaccounted, r.TimeToEmpty)
			}
		}
	})
}
