package alert

import (
	"context"
	"sync"
	"time"
)

// Test sends a message on each channel now, past the outbox and any filter, and tells what happened. Run need not be running.
func (a *Alerts) Test(ctx context.Context) []TestResult {
	a.mu.Lock()
	lines := a.channels
	now := time.Now()
	a.mu.Unlock()
	n := bound(Notice{
		Kind: Trial, Key: "test", Severity: Info, At: now,
		Title: "Test of sparemx on " + a.host,
		Text:  "If you can read this, you would be told when a primary goes down. Nothing is wrong.",
	}, now)
	i := newIncident(n, now)
	results := make([]TestResult, len(lines))
	var all sync.WaitGroup
	for p, l := range lines {
		all.Go(func() {
			m := message{
				id: i.ID + "-1-1", incident: i.ID, event: test, notice: n, first: n, began: true, host: a.host, now: now, turn: 1, version: 1,
			}
			tctx, cancel := context.WithTimeout(ctx, 2*sendTimeout)
			defer cancel()
			began := time.Now()
			r, err := l.send(tctx, m)
			results[p] = TestResult{Channel: l.name(), OK: err == nil, Took: time.Since(began), Detail: r.detail}
			result := Sent
			if err != nil {
				results[p].Error = err.Error()
				result = Failed
			} else if r.warning != "" {
				results[p].Error = r.warning
			}
			a.report([]gift{{l.name(), Trial, result}})
		})
	}
	all.Wait()
	return results
}
