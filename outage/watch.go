package outage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sparemx/sparemx/alert"
	"github.com/sparemx/sparemx/probes"
	"github.com/sparemx/sparemx/queue"
)

// Reject is a recipient that this backup refused at the door.
type Reject struct {
	At     time.Time
	Domain string // of the recipient; "" when the line names none
	Key    uint64 // tells this line of the log from all others (a hash of the line and its position), so that it counts once
}

// Totals are what has been counted since the agent started.
type Totals struct {
	Outages  map[string]int    // by primary; those opened
	Messages map[Fate]int      // of outages that closed
	Diverted map[string]uint64 // by domain: recipients whose mail came here while the primary was Up
	Flushes  map[string]int    // drains by how they ended: done, stopped
}

// Status is how the watch itself fares.
type Status struct {
	Open       int
	JournalErr string    // the account cannot be made durable; it goes on in memory. "" when it can
	ReportErr  string    // a report could not be written; it is tried again
	Synced     time.Time // last time that all was durable
}

// Watch conducts the outages of all primaries. Set the fields, call Restore once, then Run once; the On... methods may be called from
// any goroutine from Restore on, and never wait for anything but a short lock and, on a transition, the disk.
type Watch struct {
	Primaries []probes.Primary
	Store     *Store
	Drain     func(p probes.Primary) *queue.Drain // makes the drain of a primary that is back; nil: none
	Notify    func(alert.Notice)                  // tells people; must not call the Watch
	Closed    func(*Report)                       // an outage is over; nil: nobody
	Kick      func()                              // asks for a walk of the queue soon
	Classify  func(reason string) queue.Cause     // what a delay reason says
	Shorten   func(address string) string         // how addresses are shown; alert.ShortAddress if nil
	Planned   func() bool                         // planned work: the account is kept, and marked
	Timers    Timers
	Lifetime  time.Duration // how long the holder keeps mail (maximal_queue_lifetime); 5 d if 0
	Stuck     time.Duration // nothing moves for so long: people are told, what cannot be pushed is no longer waited for; 10 min if 0
	Pace      queue.Pace    // of the drains; unless it is PaceWindow, the holder's own timers have to have had their turn before mail is stuck
	Limit     int           // most messages in one account; 2,000,000 if 0
	Logger    *slog.Logger

	mu      sync.Mutex
	once    sync.Once
	wake    chan struct{}
	open    map[string]*record // by primary
	byName  map[string]probes.Primary
	byDom   map[string]string // domain -> primary
	state   map[string]probes.State
	since   map[string]time.Time
	ended   map[string]time.Time // by primary: when its last outage closed
	recent  recent               // outcomes of the last minutes, for an outage that began before it was known
	closed  []*Report            // whose report could not be written yet
	old     map[string]time.Time // keys of age notices that are open
	stuck   map[string]bool      // primaries of which a stuck notice is open, or may be
	looked  map[string]bool      // primaries of which a snapshot was seen: an earlier agent may have left age notices open
	totals  Totals
	status  Status
	running sync.WaitGroup
}

const (
	maxOpen       = 1000
	backAfter     = 5 * time.Minute // a drain that takes longer is no reason not to tell that the primary is back
	progressEvery = 30 * time.Second
	drainAgain    = time.Minute
)

func (w *Watch) init() {
	w.once.Do(func() {
		w.wake = make(chan struct{}, 1)
		w.open, w.state, w.since, w.ended = map[string]*record{}, map[string]probes.State{}, map[string]time.Time{}, map[string]time.Time{}
		w.old, w.stuck, w.looked = map[string]time.Time{}, map[string]bool{}, map[string]bool{}
		w.totals = Totals{Outages: map[string]int{}, Messages: map[Fate]int{}, Diverted: map[string]uint64{}, Flushes: map[string]int{}}
		w.adopt(w.Primaries)
	})
}

func (w *Watch) adopt(ps []probes.Primary) {
	w.byName, w.byDom = map[string]probes.Primary{}, map[string]string{}
	for _, p := range ps {
		w.byName[p.Name] = p
		for _, d := range p.Domains {
			w.byDom[strings.ToLower(d)] = p.Name
		}
	}
}

// SetPrimaries replaces the primaries, on a reload. An open outage keeps the domains it opened with.
func (w *Watch) SetPrimaries(ps []probes.Primary) {
	w.init()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Primaries = ps
	w.adopt(ps)
}

// Restore opens the journals of the outages that were open when the agent last ran, and tells states: of each primary as its watcher
// remembers it. A journal that cannot be read is set aside as ID.journal.bad and told in the error; the others are used.
func (w *Watch) Restore(states map[string]probes.State) error {
	w.init()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.recent.j.path = filepath.Join(w.Store.Dir, recentName)
	err := w.recent.load()
	reports, e := w.Store.List()
	err = errors.Join(err, e)
	for _, rep := range reports {
		if rep.Closed.After(w.ended[rep.Primary]) {
			w.ended[rep.Primary] = rep.Closed
		}
	}
	names, e := w.Store.names(journalSuffix)
	err = errors.Join(err, e)
	for _, name := range names {
		path := filepath.Join(w.Store.Dir, name)
		r, e := openRecord(path, w.Limit)
		if e != nil {
			err = errors.Join(err, e, setAside(path))
			continue
		}
		if r.torn > 0 && w.Logger != nil {
			w.Logger.Warn("the end of the account of an outage is not whole and is left out; what is still held is counted again from the queue", "file", path, "bytes", r.torn)
		}
		if done, e := w.Store.load(r.ID + reportSuffix); e == nil && !done.Closed.IsZero() {
			err = errors.Join(err, r.j.close(true)) // it was closed; only the removal was cut short
			continue
		}
		if w.open[r.Primary] != nil {
			err = errors.Join(err, fmt.Errorf("%s: a second open outage of %s", path, r.Primary), r.j.close(false), setAside(path))
			continue
		}
		w.open[r.Primary] = r
		if r.Stuck {
			w.stuck[r.Primary] = true
		}
	}
	for name, st := range states {
		w.state[name] = st
		r := w.open[name]
		if now := time.Now(); r == nil && (st == probes.Down || st == probes.Recovering) { // its journal was not written in time, or is lost
			if r = w.begin(name, probes.Transition{At: now, Since: now, To: probes.Down}); r == nil {
				continue
			}
		}
		if r == nil || st == probes.Unknown || st == r.State {
			continue
		}
		// The watcher knew more than the journal: a transition that was cut short.
		w.turn(r, probes.Transition{At: time.Now(), Since: time.Now(), From: r.State, To: st})
	}
	return err
}

// OnTransition takes a change of a primary's state.
func (w *Watch) OnTransition(primary string, t probes.Transition) {
	w.init()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state[primary], w.since[primary] = t.To, t.At
	r := w.open[primary]
	if r == nil {
		if t.To != probes.Down {
			return
		}
		if r = w.begin(primary, t); r == nil {
			return
		}
	} else {
		w.turn(r, t)
	}
	if err := r.sync(); err != nil {
		w.journalErr(err)
	}
	w.kick()
}

// begin opens an outage, with what the log said in the minutes before.
func (w *Watch) begin(primary string, t probes.Transition) *record {
	p, ok := w.byName[primary]
	if !ok || len(w.open) >= maxOpen {
		return nil
	}
	from := t.Since
	if from.IsZero() || from.After(t.At) {
		from = t.At
	}
	var domains []string
	for _, d := range p.Domains {
		domains = append(domains, strings.ToLower(d))
	}
	m := meta{
		ID: w.newID(from), Primary: primary, Domains: domains, Spans: []span{{From: from}}, Detected: t.At, State: probes.Down,
		Reason: alert.Clean(t.Result.Reason, maxReason), Maintenance: w.Planned != nil && w.Planned(),
	}
	r := newRecord(m, w.Limit, journalPath(w.Store.Dir, m.ID))
	w.open[primary] = r
	w.totals.Outages[primary]++
	// What the outage before this one has accounted for is not told a second time.
	since := from.Add(-lookback)
	if last := w.ended[primary]; last.After(since) {
		since = last
	}
	w.recent.each(func(o queue.Outcome) {
		if o.At.After(since) && w.concerns(r, o) {
			r.outcome(o, w.Shorten)
		}
	})
	w.notify(downNotice(r, t))
	if w.Kick != nil {
		w.Kick() // what was held before
	}
	return r
}

func (w *Watch) newID(from time.Time) string {
	base := from.UTC().Format("20060102T150405Z")
	id := base
	for n := 2; n < 1000 && w.taken(id); n++ {
		id = fmt.Sprintf("%s-%d", base, n)
	}
	return id
}

func (w *Watch) taken(id string) bool {
	for _, r := range w.open {
		if r.ID == id {
			return true
		}
	}
	_, err := w.Store.load(id + reportSuffix)
	return err == nil
}

// turn brings an open outage to the state its primary is in now.
func (w *Watch) turn(r *record, t probes.Transition) {
	last := &r.Spans[len(r.Spans)-1]
	switch t.To {
	case probes.Down:
		if !last.To.IsZero() { // it failed again before its mail was gone
			r.Flaps++
			if len(r.Spans) < maxFlaps {
				from := t.Since
				if from.Before(last.To) {
					from = last.To
				}
				r.Spans = append(r.Spans, span{From: from})
			} else {
				last.To = time.Time{}
			}
			r.First = time.Time{}
			if r.Back { // people were told that it is over
				r.Back = false
				w.notify(downNotice(r, t))
			}
		}
		r.Up = time.Time{}
		w.stopDrain(r)
	case probes.Recovering, probes.Up:
		if last.To.IsZero() {
			last.To = t.At
		}
		if t.To == probes.Up && r.Up.IsZero() {
			r.Up = t.At
		}
		if w.Kick != nil {
			w.Kick()
		}
	default:
		return
	}
	r.State = t.To
	r.dirty = true
}

func (w *Watch) stopDrain(r *record) {
	if r.stop != nil {
		r.stop()
	}
	r.drainDone = time.Time{}
}

func (w *Watch) concerns(r *record, o queue.Outcome) bool {
	return o.Recipient == "" || r.own[o.Domain]
}

// OnArrival takes a message that entered the queue. Which outage it belongs to is known only when its recipients are.
func (w *Watch) OnArrival(queue.Arrival) {}

// OnOutcome takes what one attempt did.
func (w *Watch) OnOutcome(o queue.Outcome) {
	w.init()
	w.mu.Lock()
	defer w.mu.Unlock()
	primary := w.byDom[o.Domain]
	if o.First && primary != "" && w.state[primary] == probes.Up && !o.Arrived.Before(w.since[primary]) {
		w.totals.Diverted[o.Domain]++
	}
	if primary != "" && w.open[primary] == nil || o.Recipient == "" {
		w.recent.add(o)
	}
	for _, r := range w.open {
		if !w.concerns(r, o) {
			continue
		}
		if r.drain != nil {
			r.drain.Observe(o)
		}
		r.outcome(o, w.Shorten)
	}
}

// OnEnd takes a message that left the queue. One that was requeued goes on under another queue ID, which has to be told before outcomes under it are.
func (w *Watch) OnEnd(e queue.End) {
	w.init()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.open {
		if r.drain != nil {
			r.drain.ObserveEnd(e)
		}
		r.end(e, w.Shorten)
	}
}

// OnReject takes a refusal of ours. One that names no recipient counts for each open outage.
func (w *Watch) OnReject(j Reject) {
	w.init()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.open {
		if j.Domain == "" || r.own[j.Domain] {
			r.reject(j.At, j.Key)
		}
	}
}

// Walk follows one walk of the queue; it fits queue.Scanner.
func (w *Watch) Walk(at time.Time) queue.Walk {
	w.init()
	w.mu.Lock()
	walked := make([]*record, 0, len(w.open))
	for _, r := range w.open {
		r.beginWalk(at)
		walked = append(walked, r)
	}
	w.mu.Unlock()
	return queue.Walk{
		Visit: func(m queue.Message) {
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, r := range walked {
				r.visit(m, w.Classify)
			}
		},
		End: func(complete bool) {
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, r := range walked {
				r.endWalk(complete)
			}
			w.kick()
		},
	}
}

// OnSnapshot looks for mail that is about to expire, and for the end of what was stuck.
func (w *Watch) OnSnapshot(s *queue.Snapshot) {
	w.init()
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	life := w.Lifetime
	if life <= 0 {
		life = 5 * 24 * time.Hour
	}
	for _, p := range w.Primaries {
		var oldest time.Time
		for _, d := range p.Domains {
			if v := s.Domains[strings.ToLower(d)]; v != nil && (oldest.IsZero() || v.Oldest.Before(oldest)) {
				oldest = v.Oldest
			}
		}
		key := "age/" + p.Name
		switch old := !oldest.IsZero() && now.Sub(oldest) > life*3/4; {
		case old && !w.old[key].Equal(oldest):
			w.old[key] = oldest
			w.notify(ageNotice(p.Name, oldest, life, now, s.Held(p.Domains...)))
		case !old && (!w.old[key].IsZero() || !w.looked[p.Name]): // alert drops the end of what was not open
			delete(w.old, key)
			w.notify(alert.Notice{Kind: alert.Age, Key: key, Resolved: true, Title: "The oldest mail held for " + p.Name + " is young again", At: now, Labels: labels(p.Name)})
		}
		if (w.stuck[p.Name] || !w.looked[p.Name]) && w.open[p.Name] == nil && s.Held(p.Domains...).Messages == 0 {
			delete(w.stuck, p.Name)
			w.notify(unstuckNotice(p.Name, now))
		}
		if w.open[p.Name] == nil && s.Held(p.Domains...).Messages > 0 && !w.looked[p.Name] {
			w.stuck[p.Name] = true
		}
		w.looked[p.Name] = true
	}
}

// Sync makes durable all that was told. Call it before a position in the log is saved, and do not save the position when it fails.
func (w *Watch) Sync() error {
	w.init()
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.recent.sync()
	for _, r := range w.open {
		err = errors.Join(err, r.sync())
	}
	w.journalErr(err)
	return err
}

func (w *Watch) journalErr(err error) {
	was := w.status.JournalErr
	w.status.JournalErr = ""
	if err == nil {
		w.status.Synced = time.Now()
		return
	}
	w.status.JournalErr = err.Error()
	if was == "" && w.Logger != nil {
		w.Logger.Error("the account of an outage cannot be made durable; it goes on in memory", "err", err)
	}
}

// Open returns the reports of the outages that are open, as they stand.
func (w *Watch) Open() []*Report {
	w.init()
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []*Report
	for _, r := range w.open {
		rep := r.report(w.Timers)
		if rep.To.IsZero() {
			rep.Duration = max(0, time.Since(rep.From))
		}
		all = append(all, rep)
	}
	slices.SortFunc(all, func(a, b *Report) int { return a.From.Compare(b.From) })
	return all
}

// Progress returns how the drain towards a primary goes; the error says that there is none.
func (w *Watch) Progress(primary string) (queue.Progress, error) {
	w.init()
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.open[primary]
	if r == nil || r.drain == nil {
		return queue.Progress{}, fmt.Errorf("no drain towards %s is under way", primary)
	}
	return r.drain.Progress(), nil
}

// Totals returns what has been counted since the agent started.
func (w *Watch) Totals() Totals {
	w.init()
	w.mu.Lock()
	defer w.mu.Unlock()
	return Totals{Outages: clone(w.totals.Outages), Messages: clone(w.totals.Messages), Diverted: clone(w.totals.Diverted), Flushes: clone(w.totals.Flushes)}
}

func clone[K comparable, V any](m map[K]V) map[K]V {
	c := make(map[K]V, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}

// Status returns how the watch itself fares.
func (w *Watch) Status() Status {
	w.init()
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.status
	s.Open = len(w.open)
	return s
}

func (w *Watch) notify(n alert.Notice) {
	if w.Notify != nil {
		w.Notify(n)
	}
}

func (w *Watch) kick() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Run starts and follows drains and closes outages until ctx ends. Then it stops the drains, makes the accounts durable, and returns
// the error of ctx.
func (w *Watch) Run(ctx context.Context) error {
	w.init()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		w.tick(ctx, time.Now())
		select {
		case <-ctx.Done():
			w.running.Wait()
			w.mu.Lock()
			err := w.recent.sync()
			for _, r := range w.open {
				r.dirty = true
				err = errors.Join(err, r.sync())
			}
			w.journalErr(err)
			w.mu.Unlock()
			return ctx.Err()
		case <-tick.C:
		case <-w.wake:
		}
	}
}
