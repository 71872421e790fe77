package queue

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Pace is how held mail is handed to a primary that is back.
type Pace uint8

const (
	PaceWindow Pace = iota // one, then as many more as are taken
	PaceHolder             // ask the holder to deliver all ("postqueue -s"), then only watch
	PaceNone               // ask nothing: the holder's own timers
)

// ParsePace reads "window", "postfix" or "none".
func ParsePace(s string) (Pace, error) {
	switch s {
	case "window", "":
		return PaceWindow, nil
	case "postfix":
		return PaceHolder, nil
	case "none":
		return PaceNone, nil
	}
	return PaceWindow, fmt.Errorf("pace %q is not known: write window, postfix or none", s)
}

func (p Pace) String() string { return [...]string{"window", "postfix", "none"}[min(p, PaceNone)] }

// DrainState is what a drain is doing.
type DrainState uint8

const (
	DrainIdle    DrainState = iota // not begun
	DrainListing                   // looking at what is held
	DrainProbing                   // one message at a time
	DrainRunning                   // the window is open
	DrainWaiting                   // holding back after trouble, or for mail that is not ours to push
	DrainStalled                   // nothing has moved for DrainConfig.Stuck
	DrainDone                      // ended: nothing is left that could be pushed
	DrainStopped                   // ended from outside
	numDrainStates
)

func (s DrainState) String() string {
	return [...]string{"idle", "listing", "probing", "running", "waiting", "stalled", "done", "stopped"}[min(s, DrainStopped)]
}

// MarshalText writes the state's name.
func (s DrainState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the state's name; a name that is not known is DrainIdle.
func (s *DrainState) UnmarshalText(b []byte) error {
	*s = DrainIdle
	for i := range numDrainStates {
		if i.String() == string(b) {
			*s = i
		}
	}
	return nil
}

// DrainConfig is how a drain goes about it. The zero value is the default.
type DrainConfig struct {
	Pace     Pace
	Window   int           // most messages under way; 20 if 0
	Stuck    time.Duration // nothing moved for so long: stalled; 10 min if 0
	Patience time.Duration // no outcome for so long: look where the message is; 60 s if 0
	Hand     int           // most messages known at a time; 10,000 if 0
}

// Progress is how far a drain has come. Counts are messages. It is also what a drain leaves behind.
type Progress struct {
	State       DrainState                `json:"state"`
	Began       time.Time                 `json:"began"`
	Ended       time.Time                 `json:"ended,omitzero"`
	Total       int                       `json:"total"`       // held when it began, and what joined since
	Left        int                       `json:"left"`        // still held, those on hold and set aside included
	Hold        int                       `json:"hold"`        // on hold: never pushed
	Aside       int                       `json:"aside"`       // refused for reasons of their own while others are taken
	Outstanding int                       `json:"outstanding"` // pushed and not answered
	Peak        int                       `json:"peak"`        // most that were outstanding
	Window      int                       `json:"window"`
	Ceiling     int                       `json:"ceiling"`
	Pushed      int                       `json:"pushed"`
	Delivered   int                       `json:"delivered"`
	Deferred    int                       `json:"deferred"` // attempts that were put off, for whatever reason
	Refused     int                       `json:"refused"`  // of these, trouble of the primary as a whole; attempts
	Bounced     int                       `json:"bounced"`
	Expired     int                       `json:"expired"`
	Rate        float64                   `json:"rate"`             // messages a second, over the last half minute
	ETA         time.Duration             `json:"eta_ns"`           // until nothing is left at this rate; 0 when unknown
	First       time.Time                 `json:"first,omitzero"`   // first delivery
	Moved       time.Time                 `json:"moved,omitzero"`   // last delivery or other end
	Causes      map[string]map[string]int `json:"causes,omitempty"` // of what is left: by domain, then cause
	Err         string                    `json:"err,omitempty"`    // the last request to the holder that failed
}

// Done returns how many of Total are no longer held.
func (p Progress) Done() int { return max(0, p.Total-p.Left) }

// Drain empties a queue towards one primary, gently: it begins with the oldest message, alone, and keeps as many under way as its
// [Window] allows. It learns what became of each from Observe, which the reader of the log calls and which never waits.
//
// Set the fields and have Observe fed BEFORE Run is called: an outcome that comes between a push and the first Observe would be
// missed, and found only after DrainConfig.Patience.
//
// The bound holds for what the drain pushes. The holder's own timers go on beside it. Mail on hold is never pushed. A message for
// several domains is followed for those of Domains only.
type Drain struct {
	Queue      Queue
	Domains    []string           // recipient domains of the primary, lower case
	Match      func(Message) bool // narrows what is drained; nil: all with a recipient in Domains
	Config     DrainConfig
	Classify   func(string) Cause // what a delay reason says
	OnProgress func(Progress)     // called by Run, about each second, and at the end
	Logger     *slog.Logger

	once sync.Once
	mu   sync.Mutex
	wake chan struct{}
	s    drainState
}

func (d *Drain) init() {
	d.once.Do(func() { d.wake = make(chan struct{}, 1); d.s.init(d.Config, d.Domains) })
}

// Observe tells the drain an outcome from the log. It never waits on anything but a short lock; outcomes that are of no concern are
// ignored.
func (d *Drain) Observe(o Outcome) {
	d.init()
	d.mu.Lock()
	changed := d.s.observe(time.Now(), o)
	d.mu.Unlock()
	if changed {
		d.signal()
	}
}

// ObserveEnd tells the drain that a message left the queue.
func (d *Drain) ObserveEnd(e End) {
	d.init()
	d.mu.Lock()
	changed := d.s.end(time.Now(), e)
	d.mu.Unlock()
	if changed {
		d.signal()
	}
}

func (d *Drain) signal() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// Progress returns how far the drain has come. It may be called at any time, also before and after Run.
func (d *Drain) Progress() Progress {
	d.init()
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.s.progress(time.Now())
}

// Run drains until nothing is left that could be pushed, or ctx ends, whose error it then returns. When what is left is on hold or set
// aside, Run still waits for DrainConfig.Stuck in case it moves, trying again now and then what it set aside. Call it once.
func (d *Drain) Run(ctx context.Context) (Progress, error) {
	d.init()
	now := time.Now()
	d.mu.Lock()
	d.s.p.Began, d.s.moved = now, now
	d.mu.Unlock()
	err := d.run(ctx)
	d.mu.Lock()
	d.s.p.Ended = time.Now()
	d.s.p.State = DrainDone
	if err != nil {
		d.s.p.State = DrainStopped
	}
	p := d.s.progress(d.s.p.Ended)
	d.mu.Unlock()
	if d.OnProgress != nil {
		d.OnProgress(p)
	}
	return p, err
}

const (
	relistAfter  = 5 * time.Second // when there is nothing to push but mail is left
	flushTimeout = 30 * time.Second
	listTimeout  = 5 * time.Minute
	retryMost    = time.Minute
)

func (d *Drain) run(ctx context.Context) error {
	var (
		listAt, reportAt time.Time
		failures         int
		retryAt          time.Time
		flushed          bool
	)
	fail := func(now time.Time, what string, err error) {
		failures++
		retryAt = now.Add(min(time.Second<<min(failures, 6), retryMost))
		d.mu.Lock()
		d.s.p.Err = fmt.Sprintf("%s: %v", what, err)
		d.mu.Unlock()
		if failures == 1 && d.Logger != nil {
			d.Logger.Warn("drain: the holder of the mail does not do what it is asked", "what", what, "err", err)
		}
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		now := time.Now()
		retryAt = minTime(retryAt, now.Add(retryMost)) // the clock may have been set back
		listAt = minTime(listAt, now.Add(retryMost))
		d.mu.Lock()
		needList := d.s.wantsList(now, listAt)
		d.mu.Unlock()

		if needList && !now.Before(retryAt) {
			if err := d.list(ctx); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				fail(now, "listing the queue", err)
			} else {
				failures = 0
				listAt = time.Now().Add(relistAfter)
				d.mu.Lock()
				d.s.p.Err = ""
				finished := d.s.finished(time.Now())
				d.mu.Unlock()
				if finished {
					return nil
				}
			}
			continue
		}

		if d.Config.Pace == PaceHolder && !flushed && !now.Before(retryAt) {
			flushed = true
			for _, domain := range d.Domains {
				if err := d.flush(ctx, Selection{Domain: domain}); err != nil {
					flushed = false
					fail(now, "asking for the delivery of "+domain, err)
				}
			}
		}
		if d.Config.Pace == PaceWindow && !now.Before(retryAt) {
			d.mu.Lock()
			it := d.s.next(now)
			d.mu.Unlock()
			if it != nil {
				if err := d.flush(ctx, Selection{Instance: it.key.instance, IDs: []string{it.key.id}}); err != nil {
					d.mu.Lock()
					d.s.unpush(it)
					d.mu.Unlock()
					fail(now, "asking for the delivery of "+it.key.id, err)
				} else if failures > 0 {
					failures = 0
				}
				continue
			}
		}

		if d.OnProgress != nil && !now.Before(reportAt) {
			reportAt = now.Add(time.Second)
			d.OnProgress(d.Progress())
		}
		if err := d.wait(ctx, now, listAt, retryAt); err != nil {
			return err
		}
	}
}

func (d *Drain) flush(ctx context.Context, sel Selection) error {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	return d.Queue.Flush(ctx, sel)
}

// wait waits for an outcome, or for the next moment at which something could be done; at most a second, so that progress is told.
func (d *Drain) wait(ctx context.Context, now time.Time, times ...time.Time) error {
	d.mu.Lock()
	times = append(times, d.s.again(now))
	d.mu.Unlock()
	until := now.Add(time.Second)
	for _, t := range times {
		if t.After(now) {
			until = minTime(until, t)
		}
	}
	timer := time.NewTimer(until.Sub(now))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-d.wake:
	case <-timer.C:
	}
	return nil
}

// list walks the queue, keeps the oldest messages that can be pushed, and finds out what became of those that were not heard of.
func (d *Drain) list(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	hand := d.Config.Hand
	if hand <= 0 {
		hand = 10_000
	}
	d.mu.Lock()
	if d.s.p.Total == 0 {
		d.s.p.State = DrainListing
	}
	d.s.beginList(time.Now())
	d.mu.Unlock()
	var (
		oldest youngestFirst
		l      = listing{causes: map[string]map[string]int{}}
		seen   = map[itemKey]struct{}{} // of those kept only: bounded by hand
	)
	for m, err := range d.Queue.Messages(ctx) {
		if err != nil {
			return err
		}
		own, reason := d.own(m)
		if own == 0 || m.Place == Maildrop || d.Match != nil && !d.Match(m) {
			continue
		}
		it := &item{key: itemKey{m.Instance, m.ID}, arrived: m.Arrived, place: m.Place, own: own, domain: ownDomain(d, m)}
		l.left++
		if m.Place == Hold {
			l.hold++
		}
		cause := CauseNone
		if reason != "" {
			cause = CauseOther
			if d.Classify != nil {
				cause = d.Classify(reason)
			}
		}
		byCause := l.causes[it.domain]
		if byCause == nil {
			byCause = map[string]int{}
			l.causes[it.domain] = byCause
		}
		name := cause.String()
		if m.Place == Hold {
			name = Hold.String()
		}
		byCause[name]++

		d.mu.Lock()
		pushable := d.s.listed(time.Now(), it)
		d.mu.Unlock()
		if !pushable {
			continue
		}
		if _, twice := seen[it.key]; twice {
			continue
		}
		if len(oldest) == hand {
			if !it.before(oldest[0]) {
				continue
			}
			delete(seen, oldest[0].key)
			heap.Pop(&oldest)
		}
		seen[it.key] = struct{}{}
		heap.Push(&oldest, it)
	}
	slices.SortFunc(oldest, func(a, b *item) int {
		return cmp.Or(a.arrived.Compare(b.arrived), cmp.Compare(a.key.id, b.key.id))
	})
	d.mu.Lock()
	d.s.endList(time.Now(), oldest, l)
	d.mu.Unlock()
	return nil
}

// own counts the recipients of m in our domains, and returns why the first that was tried was not delivered to.
func (d *Drain) own(m Message) (n int, reason string) {
	for _, r := range m.Recipients {
		if d.s.own[r.Domain()] {
			n++
			if reason == "" {
				reason = r.Reason
			}
		}
	}
	return n, reason
}

func ownDomain(d *Drain, m Message) string {
	for _, r := range m.Recipients {
		if dom := r.Domain(); d.s.own[dom] {
			return dom
		}
	}
	return OtherDomain
}

// youngestFirst is a heap whose first element is the youngest, so that the oldest N can be kept.
type youngestFirst []*item

func (h youngestFirst) Len() int           { return len(h) }
func (h youngestFirst) Less(i, j int) bool { return h[j].before(h[i]) }
func (h youngestFirst) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *youngestFirst) Push(x any)        { *h = append(*h, x.(*item)) }
func (h *youngestFirst) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
