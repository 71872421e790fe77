package alert

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

const (
	firstBackoff = time.Second
	maxBackoff   = 5 * time.Minute
	maxRefusals  = 5
	stopGrace    = 3 * time.Second
	forever      = 24 * time.Hour // a bound for timers; at its end one looks again
)

// backoff is how long to wait after the nth failure in a row, with jitter: 1 s doubling to 5 min.
func backoff(n int) time.Duration {
	d := maxBackoff
	if n < 10 {
		d = min(firstBackoff<<max(n-1, 0), maxBackoff)
	}
	d = time.Duration(float64(d) * (0.75 + rand.Float64()/2))
	return min(max(d, firstBackoff), maxBackoff)
}

// deliver tells one channel what it has to be told, one message after the other.
func (a *Alerts) deliver(ctx context.Context, l *line) {
	for ctx.Err() == nil {
		a.mu.Lock()
		now := time.Now()
		changed := a.changed
		i, s := a.next(l, now)
		switch {
		case i != nil && s.drop != "":
			t := i.told(l.name())
			if i.open() {
				t.Passed = i.Turn
			} else {
				t.State, t.Turn, t.Version = "resolved", i.Turn, i.Version
			}
			a.touch(nil, false)
			given := a.giveUp(l.name(), i.Last.Kind, s.drop)
			a.mu.Unlock()
			a.report([]gift{given})

		case i != nil && !s.at.After(now):
			m := i.message(l.name(), a.host, s, a.config.Addresses == "full", now)
			gen := i.gen
			a.mu.Unlock()
			a.outbox.wait(ctx, gen) // what is new is on disk before the world hears of it
			r, err := a.tell(ctx, l, m)
			a.record(ctx, l, i, m, r, err)

		default:
			wait := forever
			if i != nil {
				wait = min(s.at.Sub(now), forever)
			}
			a.mu.Unlock()
			timer := time.NewTimer(wait)
			select {
			case <-ctx.Done():
			case <-changed:
			case <-timer.C:
			}
			timer.Stop()
		}
	}
}

// tell sends one message. When we are stopped, what is under way may end first: a message that went out and was not recorded would be sent twice.
func (a *Alerts) tell(ctx context.Context, l *line, m message) (receipt, error) {
	sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*sendTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		grace := time.NewTimer(stopGrace)
		defer grace.Stop()
		select {
		case <-grace.C:
			cancel()
		case <-sctx.Done():
		}
	})()
	return l.send(sctx, m)
}

// next returns the incident whose step is due first. Called with a.mu held.
func (a *Alerts) next(l *line, now time.Time) (*incident, step) {
	var best *incident
	var first step
	for _, i := range a.book.incidents {
		s := a.plan(l, i, now)
		if s.drop != "" {
			return i, s
		}
		if s.event == "" {
			continue
		}
		if l.next.After(s.at) {
			s.at = l.next
		}
		if t := i.Told[l.name()]; t != nil && t.next.After(s.at) {
			s.at = t.next
		}
		if s.at.Before(now) {
			s.at = now // all that is due is equal; the oldest incident comes first
		}
		if best == nil || s.at.Before(first.at) {
			best, first = i, s
		}
	}
	return best, first
}

// record enters what came of a message.
func (a *Alerts) record(ctx context.Context, l *line, i *incident, m message, r receipt, err error) {
	if err != nil && ctx.Err() != nil {
		return // we were stopped, which tells nothing of the channel
	}
	var tr *trouble
	if err != nil && !errors.As(err, &tr) {
		tr = &trouble{what: Clean(err.Error(), 300)} // only our own texts come here; channels give troubles
	}
	kind := m.notice.Kind
	quiet := m.event == refresh || m.event == update
	var given []gift
	a.mu.Lock()
	now := time.Now()
	l.lastTry = now
	t := i.told(l.name())
	switch {
	case tr == nil:
		l.fails, l.next, l.lastError, l.lastSent = 0, time.Time{}, r.warning, now
		t.record(m, r.ref, now)
		if !quiet {
			l.sent[kind]++
			given = append(given, gift{l.name(), kind, Sent})
		}
	default:
		l.failures++
		l.lastError = tr.what
		given = append(given, gift{l.name(), kind, Failed})
		if r.ref != "" {
			t.Ref = r.ref
		}
		if !tr.refused {
			l.fails++
			l.next = now.Add(max(backoff(l.fails), tr.after))
			break
		}
		t.Refusals++
		t.next = now.Add(backoff(t.Refusals))
		if t.Refusals < maxRefusals {
			break
		}
		if quiet {
			t.record(m, t.Ref, now) // not worth more attempts; the next change is tried again
			break
		}
		t.pass(m)
		given = append(given, a.giveUp(l.name(), kind, Refused))
	}
	a.touch(nil, !quiet)
	next := l.next
	a.mu.Unlock()
	if a.Log != nil {
		switch {
		case tr != nil:
			a.Log.Warn("alert not sent", "channel", l.name(), "kind", kind, "key", m.notice.Key, "err", tr.what, "next", next)
		case !quiet:
			a.Log.Info("alert sent", "channel", l.name(), "kind", kind, "event", m.event, "key", m.notice.Key)
		}
	}
	a.report(given)
}
