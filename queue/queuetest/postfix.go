// Package queuetest has what tests of held mail share: a suite that every queue.Queue passes, and a model of Postfix's queue manager
// that runs in virtual time.
package queuetest

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/sparemx/sparemx/queue"
)

// Primary is what a modelled primary answers. It is called for each delivery with the number of deliveries that are under way, itself included,
// and returns what comes of it and how long it takes.
type Primary func(at time.Time, underway int, m queue.Message) (queue.Result, queue.Cause, time.Duration)

// Holder is a model of a Postfix that holds mail for one domain: Flush by ID makes a delivery at once; what is deferred stays until it is
// asked for again. Delivery by its own timers is not modelled. It is a queue.Queue.
type Holder struct {
	Primary Primary
	Told    func(queue.Outcome) // the log
	Left    func(queue.End)

	mu       sync.Mutex
	held     map[string]*queue.Message
	underway int
	Peak     int // most deliveries at one time
	Refused  int // answers that were deferrals
	Attempts int
	Failing  error // of Messages and Flush
}

// Domain is the recipient domain of the mail that Fill makes.
const Domain = "example.org"

// Fill puts n messages into the deferred queue, the oldest first, a second apart, the youngest an hour old.
func (h *Holder) Fill(now time.Time, n int) {
	for i := range n {
		h.Put(queue.Message{
			Instance: "postfix", ID: "Q" + strconv.Itoa(i), Place: queue.Deferred, Arrived: now.Add(-time.Hour - time.Duration(n-i)*time.Second).Truncate(time.Second),
			Size: 4096, Sender: "s@example.net", Recipients: []queue.Recipient{{Address: "u" + strconv.Itoa(i) + "@" + Domain, Reason: "connect to mx: Connection refused"}},
		})
	}
}

// Put adds a message.
func (h *Holder) Put(m queue.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held == nil {
		h.held = map[string]*queue.Message{}
	}
	h.held[m.ID] = &m
}

// Held returns how many messages are held.
func (h *Holder) Held() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.held)
}

// Counts returns the most deliveries at one time, the deferrals, and the attempts.
func (h *Holder) Counts() (peak, refused, attempts int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.Peak, h.Refused, h.Attempts
}

// Messages lists what is held.
func (h *Holder) Messages(ctx context.Context) iter.Seq2[queue.Message, error] {
	return func(yield func(queue.Message, error) bool) {
		h.mu.Lock()
		all := make([]queue.Message, 0, len(h.held))
		for _, m := range h.held {
			all = append(all, *m)
		}
		failing := h.Failing
		h.mu.Unlock()
		slices.SortFunc(all, func(a, b queue.Message) int { return cmp.Compare(a.ID, b.ID) })
		for _, m := range all {
			if err := ctx.Err(); err != nil {
				yield(queue.Message{}, err)
				return
			}
			if !yield(m, nil) {
				return
			}
		}
		if failing != nil {
			yield(queue.Message{}, failing)
		}
	}
}

// Flush begins the deliveries that are asked for. An ID costs 1.4 ms, as "postqueue -i" does.
func (h *Holder) Flush(ctx context.Context, sel queue.Selection) error {
	if len(sel.IDs) > 0 {
		time.Sleep(1400 * time.Microsecond) // of the model; virtual in a synctest bubble
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.Failing != nil {
		return h.Failing
	}
	for _, id := range sel.IDs {
		h.begin(id)
	}
	if sel.Domain != "" || sel.All {
		for id, m := range h.held {
			for _, r := range m.Recipients {
				if sel.All || r.Domain() == sel.Domain {
					h.begin(id)
					break
				}
			}
		}
	}
	return nil
}

func (h *Holder) begin(id string) {
	m := h.held[id]
	if m == nil || m.Place == queue.Active || m.Place == queue.Hold {
		return // postqueue(1): silent, and nothing happens
	}
	m.Place = queue.Active
	h.underway++
	h.Attempts++
	h.Peak = max(h.Peak, h.underway)
	result, cause, takes := h.Primary(time.Now(), h.underway, *m)
	time.AfterFunc(takes, func() { h.finish(id, result, cause, takes) })
}

func (h *Holder) finish(id string, result queue.Result, cause queue.Cause, takes time.Duration) {
	h.mu.Lock()
	h.underway--
	m := h.held[id]
	if m == nil {
		h.mu.Unlock()
		return
	}
	if result == queue.DeferredResult {
		h.Refused++
		m.Place = queue.Deferred
	} else {
		delete(h.held, id)
	}
	now := time.Now()
	out := make([]queue.Outcome, len(m.Recipients))
	for i, r := range m.Recipients {
		out[i] = queue.Outcome{
			At: now, Instance: m.Instance, ID: id, Arrived: m.Arrived, Service: "smtp", Sender: m.Sender, Recipient: r.Address, Domain: r.Domain(),
			Result: result, Cause: cause, Age: now.Sub(m.Arrived), Stages: [4]time.Duration{3: takes},
		}
	}
	end := queue.End{At: now, Instance: m.Instance, ID: id, Arrived: m.Arrived, Kind: queue.Done}
	h.mu.Unlock()
	for _, o := range out {
		if h.Told != nil {
			h.Told(o)
		}
	}
	if result != queue.DeferredResult && h.Left != nil {
		h.Left(end)
	}
}
