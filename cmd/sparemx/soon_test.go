package main

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestAScrapeDoesNotWaitForWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s soon[int]
		if got := s.get(func() int { time.Sleep(time.Second); return 1 }); got != 1 {
			t.Errorf("the first answer is %d", got)
		}
		if got := s.get(func() int { return 2 }); got != 2 {
			t.Errorf("an answer at once is %d", got)
		}
		var asked atomic.Int32
		slow := func() int { asked.Add(1); time.Sleep(time.Minute); return 3 }
		start := time.Now()
		for range 3 {
			if got := s.get(slow); got != 2 {
				t.Errorf("while the answer is awaited: %d", got)
			}
		}
		if took := time.Since(start); took > 3*soonEnough || asked.Load() != 1 {
			t.Errorf("three scrapes took %v and asked %d times", took, asked.Load())
		}
		time.Sleep(time.Minute)
		if got := s.get(slow); got != 3 {
			t.Errorf("after the slow answer: %d", got)
		}
		time.Sleep(time.Hour)
	})
}
