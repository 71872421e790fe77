package outage

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sparemx/sparemx/probes"
	"github.com/sparemx/sparemx/queue"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func testMeta() meta {
	return meta{ID: "20260301T120000Z", Primary: "mx1", Domains: []string{"example.org", "example.net"}, Spans: []span{{From: t0}}, Detected: t0.Add(6 * time.Second), State: probes.Down}
}

// TestAccountAgainstOracle feeds random histories of messages, with the agent killed at random moments: its journal cut at any byte after
// what was synced, and the log told again from the position saved after the last sync. The account has to be what a plain map of
// (message, recipient) to fate says, each time.
func TestAccountAgainstOracle(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 7))
		dir := t.TempDir()
		path := filepath.Join(dir, "20260301T120000Z.journal")
		r := newRecord(testMeta(), 0, path)
		if err := r.sync(); err != nil {
			t.Fatal(err)
		}

		type event struct {
			o   *queue.Outcome
			end *queue.End
			rej *Reject
			see *queue.Message // a walk shows it
		}
		type who struct {
			id, to  string
			arrived int64
		}
		var log []event
		truth := map[who]Fate{}
		rejects := 0
		at := t0.Add(time.Minute)
		for i := range 60 {
			arrived := at
			id := fmt.Sprintf("Q%d", i%40) // queue IDs recur, long after the message before has left
			var to []string
			for k := range 1 + rng.IntN(3) {
				to = append(to, fmt.Sprintf("u%d@%s", k, []string{"example.org", "example.net", "elsewhere.test"}[rng.IntN(3)]))
			}
			end := queue.End{Instance: "postfix", ID: id, Arrived: arrived, Kind: queue.Done}
			var evs []event
			allDone := true
			outcome := func(a string) queue.Outcome {
				return queue.Outcome{Instance: "postfix", ID: end.ID, Arrived: arrived, Recipient: a, Domain: queue.AddressDomain(a), Result: queue.DeferredResult, Cause: queue.CauseRefused}
			}
			for _, a := range to {
				evs = append(evs, event{o: clonep(outcome(a), at)})
			}
			shown := queue.Message{Instance: "postfix", Arrived: arrived, Place: queue.Deferred}
			for _, a := range to {
				shown.Recipients = append(shown.Recipients, queue.Recipient{Address: a})
			}
			see := func() {
				m := shown
				m.ID = end.ID
				evs = append(evs, event{see: &m})
			}
			for n := range []int{0, 0, 1, 2}[rng.IntN(4)] { // postsuper -r
				old := end.ID
				end.ID = fmt.Sprintf("R%d-%d", i%40, n)
				if rng.IntN(2) == 0 {
					see() // a walk may be ahead of the log
				}
				evs = append(evs, event{end: &queue.End{At: at, Instance: "postfix", ID: old, Kind: queue.Requeued, NewID: end.ID}})
				if rng.IntN(2) == 0 {
					see()
				}
			}
			for _, a := range to {
				o, fate := outcome(a), Held
				switch rng.IntN(5) {
				case 0:
					o.Result, fate = queue.Bounced, Bounced
				case 1, 2:
					o.Result, fate = queue.Delivered, Delivered
				}
				if i < 20 && fate == Held { // the first ones have to leave: their ID comes again
					o.Result, fate = queue.Delivered, Delivered
				}
				if fate != Held {
					evs = append(evs, event{o: clonep(o, at.Add(time.Minute))})
				} else {
					allDone = false
				}
				if o.Domain != "elsewhere.test" {
					truth[who{id, a, arrived.Unix()}] = fate
				}
			}
			if !allDone && rng.IntN(4) == 0 {
				end.Kind, allDone = queue.Deleted, true
				for w, f := range truth {
					if w.id == id && w.arrived == arrived.Unix() && f == Held {
						truth[w] = Deleted
					}
				}
			}
			if allDone {
				end.At = at.Add(time.Minute)
				evs = append(evs, event{end: &end})
			}
			if rng.IntN(3) == 0 {
				rejects++
				evs = append(evs, event{rej: &Reject{At: at, Domain: "example.org", Key: uint64(1000 + i)}})
			}
			log = append(log, evs...)
			at = at.Add(time.Duration(1+rng.IntN(90)) * time.Second)
		}

		tell := func(e event) {
			switch {
			case e.o != nil && r.own[e.o.Domain]:
				r.outcome(*e.o, nil)
			case e.end != nil:
				r.end(*e.end, nil)
			case e.rej != nil:
				r.reject(e.rej.At, e.rej.Key)
			case e.see != nil:
				r.beginWalk(t0)
				r.visit(*e.see, nil)
				r.endWalk(false)
			}
		}
		saved := 0
		var synced int64
		for i := 0; i < len(log); i++ {
			tell(log[i])
			switch rng.IntN(20) {
			case 3: // the file is written anew
				if rng.IntN(3) == 0 {
					r.j.broken = errGrown
				}
			case 0, 1: // sync; then the position is saved, or the agent dies in between
				if err := r.sync(); err != nil {
					t.Fatal(err)
				}
				info, _ := os.Stat(path)
				synced = info.Size()
				if rng.IntN(4) > 0 {
					saved = i + 1
				}
			case 2: // kill -9: whatever was written after the last sync may be there, in part
				if synced == 0 {
					continue
				}
				r.j.write()
				data, err := os.ReadFile(path)
				if err != nil || r.j.broken != nil { // an agent that could not write; another case
					continue
				}
				cut := synced + rng.Int64N(int64(len(data))-synced+1)
				if err := os.WriteFile(path, data[:cut], 0o600); err != nil {
					t.Fatal(err)
				}
				r.j.f.Close()
				if r, err = openRecord(path, 0); err != nil {
					t.Fatal(err)
				}
				i = saved - 1
			}
		}

		var want [numFates]int
		for _, f := range truth {
			want[f]++
		}
		if r.acc.rcpts != want {
			t.Fatalf("seed %d: recipients %v, truth %v", seed, r.acc.rcpts, want)
		}
		worst := map[string]Fate{}
		for w, f := range truth {
			k := fmt.Sprint(w.id, w.arrived)
			worst[k] = max(worst[k], f)
		}
		want = [numFates]int{}
		for _, f := range worst {
			want[f]++
		}
		if r.acc.messages != want || r.acc.accepted() != len(worst) {
			t.Fatalf("seed %d: %d messages %v, truth %d %v", seed, r.acc.accepted(), r.acc.messages, len(worst), want)
		}
		var causes [256]int
		delivered := 0
		r.acc.all(func(m *msg) bool {
			r.acc.each(m, func(x *rcpt) bool {
				if x.fate == Held {
					causes[x.cause]++
				} else if x.fate == Delivered {
					delivered++
				}
				return true
			})
			return true
		})
		counted := 0
		for _, page := range r.acc.delays {
			if page != nil {
				for _, n := range page {
					counted += int(n)
				}
			}
		}
		if causes != r.acc.causes || counted != delivered {
			t.Fatalf("seed %d: the sums kept are not those of a walk: %v, %v; %d, %d", seed, r.acc.causes[:25], causes[:25], counted, delivered)
		}
		c := r.report(Timers{}).Counts
		if c.Accepted != c.Delivered+c.Bounced+c.Expired+c.Deleted+c.StillHeld+c.Unaccounted || c.Accepted != len(worst) {
			t.Fatalf("seed %d: %+v", seed, c)
		}
		if r.Refused != rejects {
			t.Fatalf("seed %d: %d refused, truth %d", seed, r.Refused, rejects)
		}
		if lost := r.acc.rcpts[Bounced] + r.acc.rcpts[Deleted]; r.lostCount() != lost || len(r.lost) > lost || lost > 0 && len(r.lost) == 0 {
			t.Fatalf("seed %d: lost count %d, %d are", seed, r.lostCount(), lost)
		}
	}
}

func clonep(o queue.Outcome, at time.Time) *queue.Outcome { o.At = at; return &o }

func FuzzJournal(f *testing.F) {
	r := newRecord(testMeta(), 0, filepath.Join(f.TempDir(), "20260301T120000Z.journal"))
	r.outcome(queue.Outcome{At: t0.Add(time.Minute), Instance: "postfix", ID: "Q1", Arrived: t0.Add(time.Minute), Recipient: "u@example.org", Domain: "example.org", Result: queue.Bounced}, nil)
	r.reject(t0.Add(time.Minute), 5)
	if err := r.sync(); err != nil {
		f.Fatal(err)
	}
	data, _ := os.ReadFile(r.j.path)
	f.Add(data)
	f.Add(appendLine(nil, []byte("r 1 2 3 4 5 6 7")))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := newRecord(meta{}, 1000, "")
		good, err := r.load(bytes.NewReader(data))
		if err != nil || good < 0 || good > int64(len(data)) {
			t.Fatalf("%d of %d good, %v", good, len(data), err)
		}
		again := newRecord(meta{}, 1000, "")
		if g, _ := again.load(bytes.NewReader(data[:good])); g != good || again.acc.messages != r.acc.messages {
			t.Fatal("what is good is not good alone")
		}
		if c := counts(r.acc.messages); c.Accepted != r.acc.accepted() {
			t.Fatalf("%+v, %d accepted", c, r.acc.accepted())
		}
	})
}

func FuzzReport(f *testing.F) {
	f.Add([]byte(`{"schema":1,"id":"20260301T120000Z","lost":[{"reason":"\u001b[2J"}],"held_by":{"x\u001b":2}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseReport(data)
		if err != nil {
			return
		}
		for _, c := range []byte(r.Text()) {
			if c == 0x1b || c < ' ' && c != '\n' {
				t.Fatalf("byte %#x for the terminal", c)
			}
		}
	})
}
