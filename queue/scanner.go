package queue

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// ScanTrouble is our bounded class of why a walk of the queue failed.
type ScanTrouble uint8

const (
	ScanFine    ScanTrouble = iota
	ScanHanging             // it did not end in time
	ScanDenied              // no right to look
	ScanFailed              // anything else

)

func (t ScanTrouble) String() string {
	return [...]string{"none", "hanging", "denied", "failed"}[min(t, ScanFailed)]
}

// ScanTroubles are all troubles a scan can have, for metrics that start at 0.
func ScanTroubles() []ScanTrouble { return []ScanTrouble{ScanHanging, ScanDenied, ScanFailed} }

// ScanStatus is how the scans go.
type ScanStatus struct {
	Scans    uint64        // walks begun
	Failures int           // failed in a row; 0 after one that succeeded
	Success  bool          // the last walk succeeded; false before the first ended
	Trouble  ScanTrouble   // of the last walk
	Err      string        // of the last walk, "" when it succeeded
	Last     time.Time     // when the last successful walk began
	Took     time.Duration // how long the last walk lasted, whatever came of it
	Every    time.Duration // until the next one
}

// Scanner walks a queue on its own clock and publishes what it found. Who only looks never waits for the holder of the mail: a scan
// that hangs is given up at its deadline, is told in Status, and leaves the Snapshot before it in place, whose At tells its age.
//
// Set the fields, then call Run once. Everything else may be called at any time, from any goroutine.
type Scanner struct {
	Queue    Queue
	Every    time.Duration             // from one scan to the next; 15 s if 0; longer, at least ten times what a scan takes, for a huge queue
	Timeout  time.Duration             // of one scan; 60 s if 0
	Known    func(domain string) bool  // whether a domain is configured; the others count as OtherDomain
	Classify func(reason string) Cause // what a delay reason says; CauseOther for all if nil
	Logger   *slog.Logger

	// Walk, if set, is told each walk: one walk feeds everybody who has to see each message. See Walk for the order of calls.
	Walk func(at time.Time) Walk

	once   sync.Once
	kick   chan struct{}
	latest atomic.Pointer[Snapshot]
	mu     sync.Mutex
	status ScanStatus
	stuck  chan struct{} // of a walk that was given up and has not returned; closed when it does
}

// Walk is told one walk of the queue: Visit for each message, once, then End. Nothing is called after End, and nothing at the
// same time. Either may be nil. The message, its slices included, is good only during the call.
type Walk struct {
	Visit func(Message)
	End   func(complete bool) // complete: the walk reached the end of the queue
}

// Latest returns the snapshot of the last walk that succeeded, nil before the first. It never waits.
func (s *Scanner) Latest() *Snapshot { return s.latest.Load() }

// Status returns how the scans go. It never waits.
func (s *Scanner) Status() ScanStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Kick asks for a scan soon: now, or as soon as the one under way has ended.
func (s *Scanner) Kick() {
	s.once.Do(s.init)
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

func (s *Scanner) init() { s.kick = make(chan struct{}, 1) }

// Run scans until ctx ends, and returns its error.
func (s *Scanner) Run(ctx context.Context) error {
	s.once.Do(s.init)
	for {
		wait := s.scan(ctx)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-s.kick:
			timer.Stop()
			// Kicks may come with each transition and command; a huge queue is still not walked without pause.
			if err := pause(ctx, min(wait, s.Status().Took)); err != nil {
				return err
			}
		case <-timer.C:
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

var errHanging = errors.New("listing the queue did not end in time")

// scan makes one walk and returns how long to wait for the next.
func (s *Scanner) scan(ctx context.Context) time.Duration {
	every, timeout := s.Every, s.Timeout
	if every <= 0 {
		every = 15 * time.Second
	}
	if timeout <= 0 {
		timeout = time.Minute
	}
	start := time.Now()
	err := s.walk(ctx, start, timeout)
	if ctx.Err() != nil {
		return 0
	}
	took := max(0, time.Since(start)) // monotonic: a clock set back does not show here
	wait := max(every-took, 9*took)
	if troubleOf(err) == ScanHanging {
		wait = every
	}

	s.mu.Lock()
	st := &s.status
	st.Scans++
	st.Took, st.Every = took, wait
	st.Success, st.Trouble, st.Err = err == nil, troubleOf(err), ""
	if err == nil {
		st.Failures, st.Last = 0, start
	} else {
		st.Failures++
		st.Err = err.Error()
	}
	failures := st.Failures
	s.mu.Unlock()
	if err != nil && failures == 1 && s.Logger != nil {
		s.Logger.Warn("cannot list the queue", "err", err)
	}
	return wait
}

func troubleOf(err error) ScanTrouble {
	switch {
	case err == nil:
		return ScanFine
	case errors.Is(err, errHanging), errors.Is(err, context.DeadlineExceeded):
		return ScanHanging
	case errors.Is(err, fs.ErrPermission):
		return ScanDenied
	}
	return ScanFailed
}

// walk lists the queue in a goroutine of its own, so that a Queue that does not heed its context cannot hold us. There is never more
// than one such goroutine: while one that was given up is still there, no new walk is begun.
func (s *Scanner) walk(ctx context.Context, start time.Time, timeout time.Duration) error {
	if s.stuck != nil {
		select {
		case <-s.stuck:
			s.stuck = nil
		default:
			return fmt.Errorf("%w: an earlier listing still hangs", errHanging)
		}
	}
	expect := 0
	if last := s.latest.Load(); last != nil {
		expect = last.Total.Messages
	}
	var w Walk
	if s.Walk != nil {
		w = s.Walk(start)
	}
	wctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	// turn is held by whoever may call w; the one who gives up a walk takes it for good.
	var turn sync.Mutex
	abandoned := false
	done := make(chan struct{})
	v := newSurvey(start, s.Known, s.Classify, expect)
	var err error
	go func() {
		defer close(done)
		for m, e := range s.Queue.Messages(wctx) {
			turn.Lock()
			if abandoned {
				turn.Unlock()
				return
			}
			if e != nil {
				err = e
			} else if v.add(m) && w.Visit != nil {
				w.Visit(m)
			}
			turn.Unlock()
			if e != nil {
				return
			}
		}
	}()

	select {
	case <-done:
	case <-wctx.Done():
		// One that heeds its context ends by itself now; give it a moment.
		timer := time.NewTimer(time.Second)
		defer timer.Stop()
		select {
		case <-done:
			if err == nil {
				err = errHanging
			}
		case <-timer.C:
			turn.Lock()
			abandoned = true
			err = errHanging
			turn.Unlock()
			s.stuck = done
		}
	}
	if err == nil && wctx.Err() != nil {
		err = wctx.Err() // what a Queue listed until it was told to stop is not the whole queue
	}
	if err == context.DeadlineExceeded { // a Queue that says more is left to say it
		err = fmt.Errorf("%w (%v)", errHanging, timeout)
	}
	if w.End != nil {
		w.End(err == nil)
	}
	if err != nil {
		return err
	}
	v.snap.Took = max(0, time.Since(start))
	s.latest.Store(v.snap)
	return nil
}
