package outage

import (
	"context"
	"os"
	"time"

	"github.com/sparemx/sparemx/probes"
	"github.com/sparemx/sparemx/queue"
)

func setAside(path string) error { return os.Rename(path, path+".bad") }

// tick brings each open outage on: starts its drain, tells of its progress, closes it.
func (w *Watch) tick(ctx context.Context, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeReports()
	for _, r := range w.open {
		if ctx.Err() != nil {
			return
		}
		if r.State == probes.Down {
			continue
		}
		if _, ok := w.byName[r.Primary]; !ok { // no longer configured: nobody will tell of it
			w.close(r, now)
			continue
		}
		if w.wantsDrain(r, now) {
			w.startDrain(ctx, r)
		}
		w.tellProgress(r, now)
		if r.State == probes.Up && w.over(r, now) {
			w.close(r, now)
		}
	}
}

func (w *Watch) wantsDrain(r *record, now time.Time) bool {
	if w.Drain == nil || r.drain != nil {
		return false
	}
	return r.drainDone.IsZero() || r.acc.held() > r.onHold && now.Sub(r.drainDone) >= drainAgain
}

// startDrain makes a drain known to the reader of the log first and runs it then.
func (w *Watch) startDrain(ctx context.Context, r *record) {
	d := w.Drain(w.byName[r.Primary])
	if d == nil {
		r.drainDone = time.Now()
		return
	}
	ctx, stop := context.WithCancel(ctx)
	if d.Config.Pace != queue.PaceWindow { // it only watches: as patient as we are
		d.Config.Stuck = max(d.Config.Stuck, w.stuckAfter())
	}
	r.drain, r.stop = d, stop
	before := r.Drain
	w.running.Go(func() {
		defer stop()
		p, err := d.Run(ctx)
		w.mu.Lock()
		defer w.mu.Unlock()
		if r.drain == d {
			r.drain, r.stop = nil, nil
		}
		r.Drain = add(before, p)
		r.dirty = true
		how := "done"
		if err != nil {
			how = "stopped"
		} else {
			r.drainDone = time.Now()
		}
		w.totals.Flushes[how]++
		w.kick()
	})
}

// add sums the drains of one outage.
func add(a, b queue.Progress) queue.Progress {
	if a.Began.IsZero() {
		return b
	}
	if b.Pushed == 0 && b.Delivered == 0 { // one that found nothing to do says nothing new
		a.Left, a.Hold, a.Aside, a.Causes = b.Left, b.Hold, b.Aside, b.Causes
		a.State = b.State
		return a
	}
	b.Began = a.Began
	b.Total = max(a.Total, b.Total)
	b.Peak = max(a.Peak, b.Peak)
	b.Pushed += a.Pushed
	b.Delivered += a.Delivered
	b.Deferred += a.Deferred
	b.Refused += a.Refused
	b.Bounced += a.Bounced
	b.Expired += a.Expired
	if !a.First.IsZero() {
		b.First = a.First
	}
	return b
}

// stuckAfter is how long nothing has to move until it is taken to be stuck. Mail that is left to the holder's own timers is tried again
// after maximal_backoff_time, at the next scan, which comes each queue_run_delay; a minute is for the attempt.
func (w *Watch) stuckAfter() time.Duration {
	after := w.Stuck
	if after <= 0 {
		after = 10 * time.Minute
	}
	if w.Pace != queue.PaceWindow || w.Drain == nil {
		t := w.Timers.orDefault()
		after = max(after, t.MaxBackoff+t.RunDelay+time.Minute)
	}
	return after
}

// still tells for how long nothing has moved since the recovery.
func (r *record) still(now time.Time) time.Duration {
	last := r.to()
	for _, t := range []time.Time{r.Moved, r.Up} {
		if t.After(last) {
			last = t
		}
	}
	return now.Sub(last)
}

// over tells whether the mail held at the recovery is gone or has stopped moving.
func (w *Watch) over(r *record, now time.Time) bool {
	if r.walked.Before(r.Up) && r.still(now) < w.stuckAfter() {
		return false // the queue has not been looked at since
	}
	waiting := r.acc.held() - r.onHold
	if waiting <= 0 {
		// A message that no walk shows any more, and no line of the log told of: the log may lag a little.
		return r.acc.missing() == 0 || r.still(now) > 30*time.Second && now.Sub(r.Up) > time.Minute
	}
	if r.still(now) < w.stuckAfter() {
		return false
	}
	if !r.Stuck {
		r.Stuck = true
		r.dirty = true
		w.stuck[r.Primary] = true
		w.notify(stuckNotice(r, w.Timers, now))
	}
	return r.drain == nil && (w.Drain == nil || !r.drainDone.IsZero())
}

func (w *Watch) tellProgress(r *record, now time.Time) {
	if now.Sub(r.told) < progressEvery && !now.Before(r.told) {
		return
	}
	if r.told.IsZero() { // the recovery itself is news enough for half a minute
		r.told = now
		return
	}
	r.told = now
	if r.State == probes.Up && !r.Back && now.Sub(r.Up) >= backAfter {
		r.Back, r.dirty = true, true
		w.notify(backNotice(r, w.Timers, now))
	}
	if !r.Back { // else there is no open incident any more that could be brought up to date
		w.notify(progressNotice(r, w.Timers, now))
	}
	if r.Stuck && r.still(now) < progressEvery {
		r.Stuck = false
		r.dirty = true
		delete(w.stuck, r.Primary)
		w.notify(unstuckNotice(r.Primary, now))
	}
}

// close ends an outage: its report is written, its journal removed, people are told.
func (w *Watch) close(r *record, now time.Time) {
	w.stopDrain(r)
	r.timed = timed{} // the last word is exact
	rep := r.report(w.Timers)
	rep.Closed, rep.State = now, "closed"
	if rep.To.IsZero() {
		rep.To, rep.Duration = now, max(0, now.Sub(rep.From))
	}
	delete(w.open, r.Primary)
	w.ended[r.Primary] = now
	for f, n := range r.acc.messages {
		if Fate(f) != fateNone {
			w.totals.Messages[Fate(f)] += n
		}
	}
	if w.stuck[r.Primary] && rep.StillHeld == 0 {
		delete(w.stuck, r.Primary)
		w.notify(unstuckNotice(r.Primary, now))
	}
	w.notify(recoveredNotice(rep))
	if rep.Counts.Lost() > 0 {
		w.notify(lossNotice(rep))
	}
	if w.Closed != nil {
		w.Closed(rep)
	}
	w.closed = append(w.closed, rep)
	if r.j.f != nil {
		_ = r.j.close(false) // it was synced before; the report takes its place, and until that is written it stays
	}
	w.writeReports()
}

// writeReports writes the reports that wait, and only then removes their journals.
func (w *Watch) writeReports() {
	for len(w.closed) > 0 {
		rep := w.closed[0]
		if err := w.Store.save(rep); err != nil {
			if w.status.ReportErr == "" && w.Logger != nil {
				w.Logger.Error("the report of an outage cannot be written; it is tried again", "outage", rep.ID, "err", err)
			}
			w.status.ReportErr = err.Error()
			if len(w.closed) > keepReports {
				w.closed = w.closed[1:]
			}
			return
		}
		w.status.ReportErr = ""
		j := journal{path: journalPath(w.Store.Dir, rep.ID)}
		if err := j.close(true); err != nil && w.Logger != nil {
			w.Logger.Warn("the journal of an outage that is over cannot be removed", "outage", rep.ID, "err", err)
		}
		w.closed = w.closed[1:]
	}
}

func labels(primary string) map[string]string { return map[string]string{"primary": primary} }
