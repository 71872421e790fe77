package queue

import (
	"context"
	"time"
)

// Look walks a queue once, now, and returns what it found: a [Scanner]'s view for those who look a single time. known and classify are as in
// Scanner; visit is told each message once, nil: nobody.
func Look(ctx context.Context, q Queue, known func(domain string) bool, classify func(reason string) Cause, visit func(Message)) (*Snapshot, error) {
	start := time.Now()
	v := newSurvey(start, known, classify, 0)
	for m, err := range q.Messages(ctx) {
		if err != nil {
			return nil, err
		}
		if v.add(m) && visit != nil {
			visit(m)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err // what a Queue listed until it was told to stop is not the whole queue
	}
	v.snap.Took = max(0, time.Since(start))
	return v.snap, nil
}
