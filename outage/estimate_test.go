package outage

import (
	"testing"
	"time"
)

func TestEstimateByHand(t *testing.T) {
	exact := Timers{MinBackoff: 300 * time.Second, MaxBackoff: 4000 * time.Second, RunDelay: time.Second}
	for name, c := range map[string]struct {
		timers      Timers
		arrived     []uint32 // seconds after the beginning
		lasted      int
		first, last time.Duration
	}{
		// tried at 0, 300, 600, and at age 600 after 600 more: 1200
		"one at the beginning": {exact, []uint32{0}, 1000, 200 * time.Second, 200 * time.Second},
		// the second: 100, 400, 700, 1300
		"two": {exact, []uint32{100, 0}, 1000, 200 * time.Second, 300 * time.Second},
		// 0, 300, 600, 1200, 2400, 4800, and no more than 4000 later: 8800
		"the longest wait": {exact, []uint32{0}, 7200, 1600 * time.Second, 1600 * time.Second},
		// Scans at 0, 60, 120, 180, 240 and each 300 s from there: 0 300 600 1200; 0 360 960 2160; 0 420 1020; 0 480 1080; 0 540 1140.
		// After 1000: 200, 1160, 20, 80, 140; the mean is 320.
		"at the scans": {Timers{}, []uint32{0}, 1000, 320 * time.Second, 320 * time.Second},
		// it came after the recovery
		"after the recovery": {exact, []uint32{1010}, 1000, 10 * time.Second, 10 * time.Second},
	} {
		base := unix32(t0)
		for i := range c.arrived {
			c.arrived[i] += base
		}
		e := c.timers.estimate(c.arrived, t0, t0.Add(time.Duration(c.lasted)*time.Second))
		if e == nil || e.First != c.first || e.Last != c.last {
			t.Errorf("%s: %+v, want %v and %v", name, e, c.first, c.last)
		}
	}
	if e := exact.estimate(nil, t0, t0.Add(time.Hour)); e != nil {
		t.Errorf("nothing held: %+v", e)
	}
}

// What Postfix was measured to do on its own timers: after 10 minutes the first at 5.9 and the last at 11 minutes; after two hours the first at
// 0.1 to 5.5 and the last at 66 to 71. The estimate must not make Postfix worse than it is.
func TestEstimateAgainstMeasured(t *testing.T) {
	for _, c := range []struct{ lasted, first, least, most float64 }{{10, 5.9, 5, 11}, {120, 5.5, 64, 71}} {
		end := t0.Add(time.Duration(c.lasted * float64(time.Minute)))
		var arrived []uint32
		for at := t0; at.Before(end); at = at.Add(7 * time.Second) {
			arrived = append(arrived, unix32(at))
		}
		e := Timers{}.estimate(arrived, t0, end)
		if e.First.Minutes() > c.first || e.Last.Minutes() < c.least || e.Last.Minutes() > c.most {
			t.Errorf("after %v min: first %v, last %v", c.lasted, e.First, e.Last)
		}
		t.Logf("after %v min: first %v, last %v", c.lasted, e.First, e.Last)
	}
}
