package probes

import (
	"context"
	"errors"
	"log/slog"
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

// SetPrimaries says whom to watch. It may be called before Run and, for a reload, during it. A primary whose name stays keeps its state.
func (w *Watcher) SetPrimaries(ps []Primary) {}

// Run watches until ctx ends.
func (w *Watcher) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Nudge tells that somebody else has seen a delivery to the primary succeed (Good) or fail (Bad). It brings the next probe forward
// when v contradicts the state; it never changes a state. It returns at once and may be called as often as there are log lines.
func (w *Watcher) Nudge(primary string, v Verdict) {}

// ProbeNow has the primary probed at once, after the probe under way if there is one, and returns what it found. The result counts
// like any other.
func (w *Watcher) ProbeNow(ctx context.Context, primary string) (Result, error) {
	return Result{}, ErrNotRunning
}

// Snapshot returns what is known of each primary, in the order of SetPrimaries.
func (w *Watcher) Snapshot() []PrimaryStatus { return nil }

// Blind tells whether we can see.
func (w *Watcher) Blind() BlindStatus { return BlindStatus{} }
