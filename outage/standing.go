package outage

import (
	"slices"
	"time"

	"github.com/sparemx/sparemx/probes"
	"github.com/sparemx/sparemx/queue"
)

// report builds the account as it stands.
func (r *record) report(timers Timers) *Report {
	rep := &Report{
		Schema: Schema, ID: r.ID, Primary: r.Primary, Domains: r.Domains, From: r.from(), To: r.to(),
		DetectedAfter: max(0, r.Detected.Sub(r.from())), Reason: r.Reason, Counts: counts(r.acc.messages), Recipients: counts(r.acc.rcpts),
		Refused: r.Refused, Overflow: r.Overflow, LostCount: r.lostCount(), Lost: slices.Clone(r.lost), Drain: r.Drain, Flaps: r.Flaps,
		Interrupted: r.Interrupted, Maintenance: r.Maintenance, State: "down",
	}
	if rep.Lost == nil {
		rep.Lost = []Lost{}
	}
	if !rep.To.IsZero() {
		rep.Duration = max(0, rep.To.Sub(rep.From))
		rep.State = "recovering"
		if r.State == probes.Up {
			rep.State = "draining"
		}
	}
	if r.drain != nil {
		rep.Drain = r.drain.Progress()
	}
	for c, n := range r.acc.causes {
		if n > 0 {
			if rep.HeldBy == nil {
				rep.HeldBy = map[string]int{}
			}
			rep.HeldBy[queue.Cause(c).String()] += n
		}
	}
	rep.Delay = r.acc.delay()
	if !rep.To.IsZero() {
		if !r.First.IsZero() {
			rep.FirstDelivery = max(0, r.First.Sub(rep.To))
		}
		if !r.Moved.IsZero() {
			rep.TimeToEmpty = max(0, r.Moved.Sub(rep.To))
		}
		rep.OnTimers = r.onTimers(timers)
	}
	return rep
}

// onTimers estimates what the holder's own timers would have done. Which messages were held at the recovery changes little after it, and
// finding them means walking the account: it is done anew only when the recovery is another, or messages were added, and then
// seldom.
func (r *record) onTimers(timers Timers) *Estimate {
	to, now := r.to(), time.Now()
	c := &r.timed
	if c.to.Equal(to) && (c.n == r.acc.n || now.Sub(c.at) < estimateEvery && !now.Before(c.at)) {
		return c.estimate
	}
	back := unix32(to)
	tens := map[uint32]struct{}{}
	var arrived []uint32
	r.acc.all(func(m *msg) bool {
		if !m.moved && (m.touched >= back || !r.acc.settledAll(m)) { // held at the recovery
			if _, known := tens[m.arrived/10]; !known { // to 10 s
				tens[m.arrived/10] = struct{}{}
				arrived = append(arrived, m.arrived)
			}
		}
		return true
	})
	*c = timed{to: to, at: now, n: r.acc.n, estimate: timers.estimate(arrived, r.from(), to)}
	return c.estimate
}

// timed is an estimate and what it was made of.
type timed struct {
	to, at   time.Time
	n        uint32
	estimate *Estimate
}

const estimateEvery = 10 * time.Second

// delay finds the percentiles (nearest rank) of what was delivered.
func (a *account) delay() (d Delay) {
	total := a.rcpts[Delivered]
	if total == 0 {
		return d
	}
	seen := 0
	for hi, page := range a.delays {
		if page == nil {
			continue
		}
		for lo, n := range page {
			if n == 0 {
				continue
			}
			before := seen
			seen += int(n)
			for _, p := range []struct {
				rank int
				to   *time.Duration
			}{{(total + 1) / 2, &d.P50}, {(total*95 + 99) / 100, &d.P95}, {total, &d.Max}} {
				if before < p.rank && p.rank <= seen {
					*p.to = delayOf(uint16(hi<<8 | lo))
				}
			}
		}
	}
	return d
}
