package queuetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/sparemx/sparemx/queue"
)

// Conformance runs what every queue.Queue has to pass. open returns an empty queue and a function that puts mail into it, in whatever place,
// and returns it as the queue is to show it (the ID and the arrival time are the holder's).
func Conformance(t *testing.T, open func(t *testing.T) (q queue.Queue, seed func(t *testing.T, sender string, recipients ...string) queue.Message)) {
	t.Run("an empty queue lists nothing", func(t *testing.T) {
		q, _ := open(t)
		if got := list(t, q); len(got) != 0 {
			t.Fatalf("listed %v", got)
		}
	})
	t.Run("each message is listed as it was put in", func(t *testing.T) {
		q, seed := open(t)
		want := map[queue.Key]queue.Message{}
		for i := range 20 {
			to := []string{fmt.Sprintf("u%d@example.org", i)}
			if i%3 == 0 {
				to = append(to, "second@example.net")
			}
			sender := "s@example.net"
			if i%5 == 0 {
				sender = ""
			}
			m := seed(t, sender, to...)
			want[m.Key()] = m
		}
		if len(want) != 20 {
			t.Fatalf("20 messages have %d keys", len(want))
		}
		got := list(t, q)
		if len(got) != len(want) {
			t.Fatalf("%d listed, %d held", len(got), len(want))
		}
		for k, w := range want {
			g, ok := got[k]
			if !ok {
				t.Fatalf("%+v is not listed", k)
			}
			if g.Sender != w.Sender || g.Size <= 0 || g.Place == queue.PlaceUnknown || len(g.Recipients) != len(w.Recipients) {
				t.Fatalf("listed %+v, want %+v", g, w)
			}
			to := map[string]bool{}
			for _, r := range g.Recipients {
				to[r.Address] = true
			}
			for _, r := range w.Recipients {
				if !to[r.Address] {
					t.Fatalf("%s lacks recipient %s", g.ID, r.Address)
				}
			}
			if age := time.Since(g.Arrived); age < -2*time.Second || age > 24*365*time.Hour {
				t.Fatalf("arrived %v", g.Arrived)
			}
		}
	})
	t.Run("a walk can be left early, and made again", func(t *testing.T) {
		q, seed := open(t)
		for range 5 {
			seed(t, "s@example.net", "u@example.org")
		}
		for _, err := range q.Messages(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		if got := list(t, q); len(got) != 5 {
			t.Fatalf("%d of 5 listed", len(got))
		}
	})
	t.Run("an ended context ends the walk with an error", func(t *testing.T) {
		q, seed := open(t)
		seed(t, "s@example.net", "u@example.org")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var last error
		for _, last = range q.Messages(ctx) {
		}
		if last == nil {
			t.Fatal("no error")
		}
	})
	t.Run("flushing nothing, or what is not there, is no error", func(t *testing.T) {
		q, _ := open(t)
		for _, sel := range []queue.Selection{{}, {IDs: []string{"3E70EF8139"}}} {
			if err := q.Flush(t.Context(), sel); err != nil {
				t.Fatalf("%+v: %v", sel, err)
			}
		}
	})
	t.Run("flushing does not lose what is held", func(t *testing.T) {
		q, seed := open(t)
		m := seed(t, "s@example.net", "u@example.org")
		if err := q.Flush(t.Context(), queue.Selection{Instance: m.Instance, IDs: []string{m.ID}}); err != nil {
			t.Fatal(err)
		}
		if got := list(t, q); len(got) != 1 {
			t.Fatalf("%d listed", len(got))
		}
	})
}

func list(t *testing.T, q queue.Queue) map[queue.Key]queue.Message {
	t.Helper()
	got := map[queue.Key]queue.Message{}
	for m, err := range q.Messages(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got[m.Key()] = m
	}
	return got
}
