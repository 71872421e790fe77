package rig

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Truth knows what was sent, by Message-ID. The zero Truth is ready; several goroutines may use it.
type Truth struct {
	mu   sync.Mutex
	sent map[string]Sent
}

// Sent is one message that a backup answered 250 for.
type Sent struct {
	MessageID string    // with its angle brackets
	QueueID   string    // as the backup named it in its reply
	To        string    // the recipient
	At        time.Time // when the 250 was read
}

func (tr *Truth) add(s Sent) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.sent == nil {
		tr.sent = map[string]Sent{}
	}
	tr.sent[s.MessageID] = s
}

// Sent returns what was sent, in the order of the replies.
func (tr *Truth) Sent() []Sent {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	all := make([]Sent, 0, len(tr.sent))
	for _, s := range tr.sent {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b Sent) int { return a.At.Compare(b.At) })
	return all
}

// Len is how many were sent.
func (tr *Truth) Len() int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return len(tr.sent)
}

// QueueIDs are the queue IDs of what was sent, sorted.
func (tr *Truth) QueueIDs() []string {
	var ids []string
	for _, s := range tr.Sent() {
		ids = append(ids, s.QueueID)
	}
	slices.Sort(ids)
	return ids
}

// Diff is how what arrived differs from what was sent. The zero Diff is no difference.
type Diff struct {
	Missing []string // sent, and did not arrive
	Twice   []string // arrived more than once
	Strange []string // arrived, and was not sent by this test
}

// Diff compares with what arrived, by Message-ID ([PrimaryPostfix.Arrived], [Sink.Arrived]).
func (tr *Truth) Diff(arrived map[string]int) Diff {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	var d Diff
	for id := range tr.sent {
		if arrived[id] == 0 {
			d.Missing = append(d.Missing, id)
		}
	}
	for id, n := range arrived {
		if _, ok := tr.sent[id]; !ok {
			d.Strange = append(d.Strange, id)
		}
		if n > 1 {
			d.Twice = append(d.Twice, id)
		}
	}
	slices.Sort(d.Missing)
	slices.Sort(d.Twice)
	slices.Sort(d.Strange)
	return d
}

// Same tells whether all that was sent arrived, once each, and nothing else.
func (d Diff) Same() bool { return len(d.Missing)+len(d.Twice)+len(d.Strange) == 0 }

func (d Diff) String() string {
	var b strings.Builder
	for _, part := range []struct {
		what string
		ids  []string
	}{{"missing", d.Missing}, {"twice", d.Twice}, {"strange", d.Strange}} {
		if n := len(part.ids); n > 0 {
			fmt.Fprintf(&b, "%d %s: %s; ", n, part.what, strings.Join(part.ids[:min(n, 5)], " "))
		}
	}
	if b.Len() == 0 {
		return "same"
	}
	return strings.TrimSuffix(b.String(), "; ")
}
