package outage

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/sparemx/sparemx/queue"
)

func TestRequeue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "20260301T120000Z.journal")
	at := t0.Add(time.Minute)
	deferred := func(id string, arrived time.Time) queue.Outcome {
		return queue.Outcome{At: arrived, Instance: "postfix", ID: id, Arrived: arrived, Recipient: "u@example.org", Domain: "example.org", Result: queue.DeferredResult, Cause: queue.CauseRefused}
	}
	requeued := func(at time.Time, old, id string) queue.End {
		return queue.End{At: at, Instance: "postfix", ID: old, Kind: queue.Requeued, NewID: id}
	}
	shown := func(id string, arrived time.Time) queue.Message {
		return queue.Message{Instance: "postfix", ID: id, Arrived: arrived, Place: queue.Deferred, Recipients: []queue.Recipient{{Address: "u@example.org"}}}
	}
	r := newRecord(testMeta(), 0, path)
	want := func(what string, accepted, held int) {
		t.Helper()
		if r.acc.accepted() != accepted || r.acc.held() != held || r.report(Timers{}).Counts.Accepted != accepted {
			t.Fatalf("%s: %d accepted, %d held; want %d, %d", what, r.acc.accepted(), r.acc.held(), accepted, held)
		}
	}
	r.outcome(deferred("A", at), nil)
	r.end(requeued(at.Add(time.Minute), "A", "B"), nil)
	want("requeued", 1, 1)
	r.end(requeued(at.Add(time.Minute), "A", "B"), nil)
	r.outcome(deferred("A", at), nil)
	want("told again", 1, 1)
	r.end(requeued(at.Add(2*time.Minute), "B", "A"), nil) // the ID it had first comes back: the same message still
	want("back under its first ID", 1, 1)
	r.end(requeued(at.Add(3*time.Minute), "B", ""), nil)
	r.end(requeued(at.Add(3*time.Minute), "X", "Y"), nil)
	want("nothing new", 1, 1)

	// A walk that is ahead of the log, then one that is behind it; the file written anew and read again between.
	r.outcome(deferred("C", at), nil)
	r.beginWalk(at.Add(4 * time.Minute))
	r.visit(shown("D", at), nil)
	want("seen under both", 3, 3)
	r.end(requeued(at.Add(4*time.Minute), "C", "D"), nil)
	want("known to be one", 2, 2)
	for _, anew := range []bool{false, true} {
		if anew {
			r.j.broken = errGrown
		}
		if err := r.sync(); err != nil {
			t.Fatal(err)
		}
		if err := r.j.close(false); err != nil {
			t.Fatal(err)
		}
		var err error
		if r, err = openRecord(path, 0); err != nil {
			t.Fatal(err)
		}
		r.beginWalk(at.Add(5 * time.Minute))
		r.visit(shown("C", at), nil)
		r.visit(shown("A", at), nil)
		r.visit(shown("B", at), nil)
		want("read again", 2, 2)
	}

	// Long after, the ID C is used for another message; that one is requeued too.
	later := at.Add(3 * time.Hour)
	o := deferred("C", later)
	r.outcome(o, nil)
	want("the ID recurs", 3, 3)
	r.end(requeued(at.Add(4*time.Minute), "C", "D"), nil)
	want("a line of the first one, told again", 3, 3)
	r.end(requeued(later.Add(time.Minute), "C", "E"), nil)
	o.ID, o.Result, o.At = "E", queue.Delivered, later.Add(time.Hour)
	r.outcome(o, nil)
	want("the second one delivered", 3, 2)
	o = deferred("D", at)
	o.Result, o.At = queue.Bounced, later
	r.outcome(o, nil)
	want("the first one bounced", 3, 1)
	if r.acc.rcpts != [numFates]int{Delivered: 1, Held: 1, Bounced: 1} {
		t.Fatal(r.acc.rcpts)
	}

	full := newRecord(testMeta(), 1, "")
	full.outcome(deferred("A", at), nil)
	full.end(requeued(at, "A", "B"), nil)
	if full.acc.accepted() != 1 || full.Overflow != 1 {
		t.Fatalf("a full account: %d accepted, %d not followed", full.acc.accepted(), full.Overflow)
	}
}

// A journal of an outage that lasts for weeks does not grow for ever.
func TestJournalIsWrittenAnew(t *testing.T) {
	r := newRecord(testMeta(), 0, filepath.Join(t.TempDir(), "20260301T120000Z.journal"))
	most := int64(0)
	for i := range 6 * journalGrown / 1000 {
		r.Reason = string(make([]byte, 170)) // 6 bytes each in JSON
		r.reject(t0.Add(time.Minute), uint64(i))
		r.dirty = true
		if i%100 == 99 {
			if err := r.sync(); err != nil {
				t.Fatal(err)
			}
			most = max(most, r.j.size)
		}
		r.j.json('s', r.meta)
	}
	if most > journalGrown+1<<20 || r.j.size > most {
		t.Fatalf("%d bytes", most)
	}
	refused := r.Refused
	if err := r.sync(); err != nil {
		t.Fatal(err)
	}
	if again, err := openRecord(r.j.path, 0); err != nil || again.Refused != refused || again.ID != r.ID {
		t.Fatalf("%+v, %v", again, err)
	}
}
