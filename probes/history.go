package probes

import "time"

const (
	bucketLength   = 5 * time.Minute
	historyLength  = 24 * time.Hour
	maxBuckets     = int(historyLength / bucketLength)
	maxTransitions = 256
)

// record counts a result in its bucket. A clock that jumps back goes on in the last bucket.
func (s *watched) record(r Result, state State) {
	from := r.At.Truncate(bucketLength)
	n := len(s.history)
	if n == 0 || s.history[n-1].From.Before(from) {
		s.history = append(s.history, Bucket{From: from, Worst: state})
		n++
	}
	b := &s.history[n-1]
	b.Verdicts[r.Verdict]++
	if badness[state] > badness[b.Worst] {
		b.Worst = state
	}
	cut := 0
	for cut < n-1 && r.At.Sub(s.history[cut].From) > historyLength {
		cut++
	}
	s.history = s.history[max(cut, n-maxBuckets):]
	cut = 0
	for cut < len(s.transitions) && r.At.Sub(s.transitions[cut].At) > historyLength {
		cut++
	}
	s.transitions = s.transitions[cut:]
}

// badness orders states for Bucket.Worst.
var badness = [...]int{Up: 0, Unknown: 1, Recovering: 2, Down: 3}
