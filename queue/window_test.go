package queue

import (
	"testing"
	"time"
)

// Each line is one step: after d seconds something happens, and then the window is so wide, its ceiling so high, and so many more may begin.
func TestWindow(t *testing.T) {
	const (
		taken = iota
		refused
		stale // refused, of an episode before
		slow  // taken, after 10 s
		pass
	)
	type step struct {
		d           float64
		what        int
		outstanding int // when it happens, itself included
		size, ceil  int
		room        int // with nothing outstanding
	}
	for name, steps := range map[string][]step{
		"opens by one for each that is taken":         {{0, pass, 0, 1, 20, 1}, {1, taken, 1, 2, 20, 2}, {1, taken, 2, 3, 20, 3}, {0, taken, 3, 4, 20, 4}},
		"trouble while running closes it for 3 s":     {{0, taken, 1, 2, 20, 2}, {0, taken, 2, 3, 20, 3}, {0, taken, 3, 4, 20, 4}, {0, refused, 4, 1, 3, 0}, {2.9, pass, 0, 1, 3, 0}, {0.1, pass, 0, 1, 3, 1}},
		"the ceiling falls by what was under way":     {{0, taken, 1, 2, 20, 2}, {0, taken, 1, 3, 20, 3}, {0, taken, 1, 4, 20, 4}, {0, refused, 2, 1, 1, 0}},
		"trouble while probing leaves the ceiling":    {{0, refused, 1, 1, 20, 0}, {5.9, pass, 0, 1, 20, 0}, {0.1, refused, 1, 1, 20, 0}, {11.9, pass, 0, 1, 20, 0}, {0.1, pass, 0, 1, 20, 1}},
		"the wait ends at a minute":                   {{0, refused, 1, 1, 20, 0}, {6, refused, 1, 1, 20, 0}, {12, refused, 1, 1, 20, 0}, {24, refused, 1, 1, 20, 0}, {48, refused, 1, 1, 20, 0}, {59.9, pass, 0, 1, 20, 0}, {0.1, pass, 0, 1, 20, 1}},
		"only the first trouble of an episode counts": {{0, taken, 1, 2, 20, 2}, {0, taken, 2, 3, 20, 3}, {0, taken, 3, 4, 20, 4}, {0, refused, 4, 1, 3, 0}, {1, stale, 3, 1, 3, 0}, {1.9, stale, 2, 1, 3, 0}, {0.1, pass, 0, 1, 3, 1}},
		"the ceiling rises by one a quiet minute":     {{0, taken, 1, 2, 20, 2}, {0, taken, 2, 3, 20, 3}, {0, taken, 3, 4, 20, 4}, {0, refused, 4, 1, 3, 0}, {59.9, pass, 0, 1, 3, 1}, {0.1, pass, 0, 1, 4, 1}, {60, pass, 0, 1, 5, 1}, {6000, pass, 0, 1, 20, 1}},
		"three slow replies in a row are trouble":     {{0, taken, 1, 2, 20, 2}, {0, taken, 2, 3, 20, 3}, {0, slow, 3, 4, 20, 4}, {0, slow, 4, 5, 20, 5}, {0, slow, 4, 1, 3, 0}},
		"a slow reply between others is not":          {{0, taken, 1, 2, 20, 2}, {0, slow, 3, 3, 20, 3}, {0, slow, 4, 4, 20, 4}, {0, taken, 4, 5, 20, 5}, {0, slow, 4, 6, 20, 6}},
		"a clock set back does not hold it for long":  {{0, taken, 1, 2, 20, 2}, {0, refused, 2, 1, 1, 0}, {-7200, pass, 0, 1, 1, 0}, {60, pass, 0, 1, 2, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			var w Window
			now := time.Unix(1_800_000_000, 0)
			for i, s := range steps {
				now = now.Add(time.Duration(s.d * float64(time.Second)))
				ticket := w.Begin(now)
				switch s.what {
				case taken:
					w.Taken(now, ticket, s.outstanding, 5*time.Millisecond)
				case slow:
					w.Taken(now, ticket, s.outstanding, 10*time.Second)
				case refused:
					w.Refused(now, ticket, s.outstanding)
				case stale:
					w.Refused(now, ticket-1, s.outstanding)
				}
				if room := w.Room(now, 0); w.Size() != s.size || w.Ceiling() != s.ceil || room != s.room {
					t.Fatalf("step %d: size %d ceiling %d room %d, want %d %d %d", i, w.Size(), w.Ceiling(), room, s.size, s.ceil, s.room)
				}
			}
		})
	}
}
