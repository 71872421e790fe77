package probes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Prober makes one probe. It returns when ctx ends at the latest. [Ladder] is the real one.
type Prober interface {
	Probe(ctx context.Context, p Primary) Result
}

// ProberFunc is a Prober that is a function.
type ProberFunc func(ctx context.Context, p Primary) Result

// Probe calls f.
func (f ProberFunc) Probe(ctx context.Context, p Primary) Result { return f(ctx, p) }

// Config is the pace. A zero field has its default.
type Config struct {
	Every   time.Duration // between probes while Up, with a jitter of a tenth either way; 30s
	Retry   time.Duration // after one Bad while Up or Unknown, and after a CantTell; 2s
	Down    time.Duration // while Down, for ten minutes, then 5s (or Down if that is longer); 2s
	Fall    int           // Bad in a row that make Down; 3
	Rise    int           // Good in a row that make Up after Down; 2
	Timeout time.Duration // of one probe, all addresses together; 15s
}

// Errors of ProbeNow.
var (
	ErrNotRunning     = errors.New("the watcher is not running")
	ErrUnknownPrimary = errors.New("no such primary")
)

// Watcher probes many primaries, each at its own adaptive pace. Fields are set before Run.
type Watcher struct {
	Config Config
	Prober Prober
	Log    *slog.Logger
	// Controls are host:port that are expected to be reachable when our network works. They tell a primary's failure from ours.
	Controls []string
	// StateFile keeps states and since-times over a restart; "": they are not kept.
	StateFile string
	// StaleAfter: a state older than this is kept but marked Stale until the first verdict. 0: 6h.
	StaleAfter time.Duration
	// Concurrent is the most probes under way at a time. 0: 64.
	Concurrent int

	OnResult     func(primary string, r Result)     // after each probe, in order per primary; nil: nobody
	OnTransition func(primary string, t Transition) // after the OnResult of the result that made it; nil: nobody
	OnBlind      func(b BlindStatus)                // when blindness begins and when it ends; nil: nobody

	// Reach tries a control target; nil: a TCP connection. It is a seam for tests.
	Reach func(ctx context.Context, target string) error

	mu       sync.Mutex
	order    []string
	watched  map[string]*watched
	loading  sync.Once
	kept     map[string]kept // from the state file, for a primary not seen since the start
	run      *run            // nil when not running
	blind    BlindStatus
	dirty    bool
	stateErr error

	blindMu   sync.Mutex // keeps the calls of OnBlind in order
	controlMu sync.Mutex // one round of controls at a time
	control   controlRound
}

// run is one call of Run.
type run struct {
	ctx   context.Context
	wg    sync.WaitGroup
	slots chan struct{}
	save  chan struct{}
}

// watched is one primary. All but the channels is guarded by Watcher.mu.
type watched struct {
	primary     Primary
	machine     Machine
	stale       bool
	last        Result
	lastGood    time.Time
	trouble     time.Time // end of the first probe that was not Good since the last that was; zero if it was
	cant        int       // CantTell in a row
	started     time.Time // of the probe under way or the last one
	next        time.Time
	probing     bool
	nudged      bool // the next or present probe is due to a nudge
	again       bool // a nudge came while probing
	quiet       bool // the last probe was nudged for nothing
	verdicts    [3]uint64
	transitions []Transition
	history     []Bucket
	waiters     []chan Result

	wake  chan struct{} // next was brought forward
	stop  context.CancelFunc
	ended <-chan struct{} // closed when the loop is told to end
}

// Sight says whether we can see.
type Sight uint8

const (
	Sighted Sight = iota
	Blind
)

func (s Sight) String() string { return [...]string{"sighted", "blind"}[min(s, Blind)] }

// BlindStatus is whether we can see anything at all. While Blind no Bad verdict counts.
type BlindStatus struct {
	Sight  Sight
	Since  time.Time
	Reason string // one line for people; "" when Sighted
}

// PrimaryStatus is what is known of one primary.
type PrimaryStatus struct {
	Primary     Primary
	State       State
	Since       time.Time // of State; zero while Unknown and never probed
	Stale       bool      // State was restored from an old file and not confirmed since
	Last        Result    // of the last probe; zero if none
	LastGood    time.Time // zero if none
	Next        time.Time // when the next probe is due
	Verdicts    [3]uint64 // number of probes by Verdict since the process started
	Transitions []Transition
	History     []Bucket // last 24 h, oldest first; a bucket without probes is left out
}

// Bucket is what the probes of five minutes found.
type Bucket struct {
	From     time.Time
	Verdicts [3]uint32 // by Verdict
	Worst    State     // the worst state in it: Down, Recovering, Unknown, Up
}

// SetPrimaries says whom to watch. It may be called before Run and, for a reload, during it. A primary whose name stays keeps its state;
// of two with the same name the first is taken.
func (w *Watcher) SetPrimaries(ps []Primary) {
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.watched
	w.watched, w.order = make(map[string]*watched, len(ps)), nil
	for _, p := range ps {
		if w.watched[p.Name] != nil {
			continue
		}
		s := old[p.Name]
		if s == nil {
			s = &watched{wake: make(chan struct{}, 1)}
			s.machine.Fall, s.machine.Rise = w.Config.Fall, w.Config.Rise
			w.takeKept(s, p.Name)
			if w.run != nil {
				w.start(s)
			}
		}
		s.primary = p
		w.watched[p.Name] = s
		w.order = append(w.order, p.Name)
	}
	for name, s := range old {
		if w.watched[name] == nil && s.stop != nil {
			s.stop()
		}
	}
	w.dirty = true
}

// Restore takes up the states of the StateFile, so that Snapshot shows them before Run. Run does it where nobody has.
func (w *Watcher) Restore() {
	w.loading.Do(w.load)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range w.order {
		w.takeKept(w.watched[name], name)
	}
}

// Run watches until ctx ends, then ends the probes under way, keeps the state and returns nil.
func (w *Watcher) Run(ctx context.Context) error {
	w.Restore()
	r := &run{ctx: ctx, slots: make(chan struct{}, positive(w.Concurrent, 64)), save: make(chan struct{}, 1)}
	w.mu.Lock()
	if w.run != nil {
		w.mu.Unlock()
		return errors.New("the watcher is running already")
	}
	w.run = r
	for _, name := range w.order {
		w.start(w.watched[name])
	}
	w.mu.Unlock()
	w.keep(ctx, r.save)
	w.mu.Lock()
	w.run = nil // from here on SetPrimaries starts nothing more
	w.mu.Unlock()
	r.wg.Wait()
	w.saveState()
	return nil
}

// start begins the loop of one primary; w.mu is held.
func (w *Watcher) start(s *watched) {
	r := w.run
	ctx, stop := context.WithCancel(r.ctx)
	s.stop, s.ended, s.next = stop, ctx.Done(), time.Now()
	r.wg.Go(func() {
		defer stop()
		w.loop(ctx, r, s)
	})
}

// loop probes one primary until ctx ends. Being the only one to do so it never has two probes of it under way.
func (w *Watcher) loop(ctx context.Context, r *run, s *watched) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		w.mu.Lock()
		wait := time.Until(s.next)
		w.mu.Unlock()
		if wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-s.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		select {
		case r.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		w.mu.Lock()
		p, waiters := s.primary, s.waiters
		s.waiters, s.probing, s.again, s.started = nil, true, false, time.Now()
		w.mu.Unlock()
		pctx, cancel := context.WithTimeout(ctx, durationOr(w.Config.Timeout, 15*time.Second))
		result := w.Prober.Probe(pctx, p)
		cancel()
		<-r.slots
		if ctx.Err() != nil {
			return
		}
		w.settle(ctx, s, result)
		for _, c := range waiters {
			c <- result // of capacity one
		}
	}
}

// settle counts a result, steps the machine, sets the time of the next probe and tells the hooks.
func (w *Watcher) settle(ctx context.Context, s *watched, r Result) {
	r.Verdict = min(r.Verdict, Bad)
	w.mu.Lock()
	name := s.primary.Name
	s.last = r
	s.verdicts[r.Verdict]++
	if r.Verdict == CantTell {
		s.cant++
	} else {
		s.cant = 0
	}
	if r.Verdict == Good {
		s.lastGood, s.trouble = r.At, time.Time{}
	} else if s.trouble.IsZero() {
		s.trouble = r.At
	}
	w.mu.Unlock()

	counted := r
	if !w.sees(ctx, s, r) {
		counted.Verdict = CantTell
	}

	w.mu.Lock()
	t, moved := s.machine.Step(r.At, counted)
	if counted.Verdict != CantTell {
		s.stale = false
	}
	s.quiet = s.nudged && r.Verdict == Good
	s.probing, s.nudged = false, false
	state, since := s.machine.State()
	s.record(r, state)
	if moved {
		s.transitions = append(s.transitions, t)
		s.transitions = s.transitions[max(0, len(s.transitions)-maxTransitions):]
	}
	s.next = w.due(s, state, since)
	if s.again {
		w.hasten(s)
	}
	if len(s.waiters) > 0 {
		s.next = time.Now()
	}
	w.dirty = true
	run := w.run
	w.mu.Unlock()

	if moved && run != nil {
		select {
		case run.save <- struct{}{}:
		default:
		}
	}
	if w.OnResult != nil {
		w.OnResult(name, r)
	}
	if moved {
		w.log().Info("primary changed state", "primary", name, "from", t.From, "to", t.To, "since", t.Since, "reason", r.Reason)
		if w.OnTransition != nil {
			w.OnTransition(name, t)
		}
	}
}

// Paces that are not configured.
const (
	recovering = time.Second      // while Recovering
	slowAfter  = 10 * time.Minute // of Down or of finding nothing out
	slow       = 5 * time.Second  // then
	nudgeGap   = time.Second      // least time between the starts of probes that nudges ask for
)

// due is when the next probe starts. A pace is counted from the start of the last probe, so that a primary that lets each one time out is
// asked no less often, with a tenth of it left in between at the least.
func (w *Watcher) due(s *watched, state State, since time.Time) time.Time {
	now := time.Now()
	retry, down := durationOr(w.Config.Retry, 2*time.Second), durationOr(w.Config.Down, 2*time.Second)
	gap := durationOr(w.Config.Every, 30*time.Second)
	switch {
	case state == Down:
		if gap = down; now.Sub(since) > slowAfter {
			gap = max(down, slow)
		}
	case state == Recovering:
		gap = min(recovering, down)
	case s.last.Verdict != Good:
		if gap = retry; now.Sub(s.trouble) > slowAfter {
			gap = max(retry, slow)
		}
	default:
		gap += time.Duration((rand.Float64() - 0.5) / 5 * float64(gap)) // a tenth either way
	}
	at := s.started.Add(gap)
	if least := now.Add(gap / 10); at.Before(least) {
		return least
	}
	return at
}

// Nudge tells that somebody else has seen a delivery to the primary succeed (Good) or fail (Bad). It brings the next probe forward when v
// contradicts the state; it never changes a state. It returns at once and may be called as often as there are log lines: probes start a
// second apart at the least, and Retry apart while nudges turn out to be for nothing.
func (w *Watcher) Nudge(primary string, v Verdict) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.watched[primary]
	if s == nil || v == CantTell || w.run == nil {
		return
	}
	if state, _ := s.machine.State(); state == Up && v == Good || state == Down && v == Bad {
		return
	}
	if s.probing { // it may have passed the step that now fails
		s.again = true
		return
	}
	w.hasten(s)
}

// hasten brings the next probe forward as far as the least gap allows; w.mu is held.
func (w *Watcher) hasten(s *watched) {
	gap := nudgeGap
	if s.quiet {
		gap = max(gap, durationOr(w.Config.Retry, 2*time.Second))
	}
	if at := s.started.Add(gap); at.Before(s.next) {
		s.next, s.nudged = at, true
		s.rouse()
	}
}

func (s *watched) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// ProbeNow has the primary probed at once, after the probe under way if there is one, and returns what it found. The result counts like any
// other. Several callers share one probe.
func (w *Watcher) ProbeNow(ctx context.Context, primary string) (Result, error) {
	w.mu.Lock()
	s := w.watched[primary]
	if s == nil || w.run == nil {
		w.mu.Unlock()
		if s == nil {
			return Result{}, fmt.Errorf("%w: %q", ErrUnknownPrimary, primary)
		}
		return Result{}, ErrNotRunning
	}
	answer := make(chan Result, 1)
	s.waiters = append(s.waiters, answer)
	if !s.probing {
		s.next = time.Now()
		s.rouse()
	}
	w.mu.Unlock()
	select {
	case res := <-answer:
		return res, nil
	case <-s.ended:
		return Result{}, ErrNotRunning
	case <-ctx.Done():
		w.mu.Lock()
		s.waiters = slices.DeleteFunc(s.waiters, func(c chan Result) bool { return c == answer })
		w.mu.Unlock()
		return Result{}, ctx.Err()
	}
}

// Snapshot returns what is known of each primary, in the order of SetPrimaries.
func (w *Watcher) Snapshot() []PrimaryStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]PrimaryStatus, 0, len(w.order))
	for _, name := range w.order {
		s := w.watched[name]
		state, since := s.machine.State()
		out = append(out, PrimaryStatus{
			Primary: s.primary, State: state, Since: since, Stale: s.stale, Last: s.last, LastGood: s.lastGood, Next: s.next,
			Verdicts: s.verdicts, Transitions: slices.Clone(s.transitions), History: slices.Clone(s.history),
		})
	}
	return out
}

func (w *Watcher) log() *slog.Logger {
	if w.Log != nil {
		return w.Log
	}
	return slog.New(slog.DiscardHandler)
}
