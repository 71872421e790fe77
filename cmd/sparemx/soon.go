package main

import (
	"sync"
	"time"
)

// soonEnough is how long a scrape waits for a lock that somebody may hold while he waits for the disk.
const soonEnough = 5 * time.Millisecond

// soon answers a scrape at once: with what is so now, or, where that cannot be had soon enough, with what was so at the last time. The
// zero value is ready; at most one question is under way.
type soon[T any] struct {
	mu    sync.Mutex
	asked chan struct{} // closed when the question under way is answered; nil: none is
	last  T
	known bool
}

func (s *soon[T]) get(now func() T) T {
	s.mu.Lock()
	if s.asked == nil {
		answered := make(chan struct{})
		s.asked = answered
		go func() {
			v := now()
			s.mu.Lock()
			s.last, s.known, s.asked = v, true, nil
			s.mu.Unlock()
			close(answered)
		}()
	}
	asked, known := s.asked, s.known
	s.mu.Unlock()
	if known {
		limit := time.NewTimer(soonEnough)
		defer limit.Stop()
		select {
		case <-asked:
		case <-limit.C:
		}
	} else {
		<-asked // nothing to fall back on yet
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}
