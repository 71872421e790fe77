package queue

import "time"

// Phase is what a [Window] is doing.
type Phase uint8

const (
	Probing Phase = iota // one at a time, to find out whether the primary takes mail
	Running              // the primary takes mail; the window grows
)

func (p Phase) String() string { return [...]string{"probing", "running"}[min(p, Running)] }

// Ticket is what [Window.Begin] hands out for one delivery and what tells its answer from that of an earlier episode.
type Ticket uint32

// Window says how many deliveries to one primary may be under way. It is a pure value: time is an argument, nothing waits,
// nothing is shared. The zero Window is ready, with at most 20 under way.
//
// It begins with one. Each delivery that is taken opens it by one, to the ceiling. Trouble - a refusal for now, a connection
// lost or refused, replies that grow slow - closes it to one and makes it wait 3 s, more than the 2 s for which Postfix
// keeps a connection (postconf(5), smtp_connection_cache_time_limit); when that one fails too, the wait doubles, up to a minute.
// Trouble while running also lowers the ceiling to three quarters of what was under way; each quiet minute raises it by one.
// Trouble while probing does not: a primary that takes nothing says nothing about how much it can take.
type Window struct {
	Max int // most under way; 20 if 0

	phase   Phase
	size    float64
	ceil    float64
	pause   time.Duration
	hold    time.Time // nothing is begun before
	episode Ticket
	quiet   time.Time // when the ceiling last changed, or trouble was last seen
	base    float64   // the reply time of an unhurried primary, seconds; 0 until known
	slow    int       // replies in a row that were much slower
	started bool
}

const (
	windowPause    = 3 * time.Second
	windowMaxPause = time.Minute
	windowQuiet    = time.Minute
	windowSlow     = 3 // replies in a row that make trouble
)

func (w *Window) start(now time.Time) {
	if w.Max <= 0 {
		w.Max = 20
	}
	if !w.started {
		w.started, w.size, w.ceil, w.pause, w.quiet = true, 1, float64(w.Max), windowPause, now
	}
	if now.Before(w.quiet) { // the clock was set back: what was measured by it is void
		w.quiet = now
		w.hold = minTime(w.hold, now.Add(windowMaxPause))
	}
	for w.ceil < float64(w.Max) && now.Sub(w.quiet) >= windowQuiet {
		w.ceil = min(w.ceil+1, float64(w.Max))
		w.quiet = w.quiet.Add(windowQuiet)
	}
}

// Room returns how many deliveries may be begun at now when outstanding are under way.
func (w *Window) Room(now time.Time, outstanding int) int {
	w.start(now)
	if now.Before(w.hold) {
		return 0
	}
	return max(0, w.Size()-outstanding)
}

// Begin counts a delivery as begun and returns the ticket to answer with.
func (w *Window) Begin(now time.Time) Ticket {
	w.start(now)
	return w.episode
}

// Taken tells that the delivery of ticket t was taken, after the primary needed reply for it (connection and transmission; 0: not known).
func (w *Window) Taken(now time.Time, t Ticket, outstanding int, reply time.Duration) {
	w.start(now)
	if t != w.episode {
		return
	}
	if w.tooSlow(reply) && w.phase == Running {
		w.trouble(now, outstanding)
		return
	}
	if w.phase == Probing {
		w.phase, w.pause, w.size = Running, windowPause, min(2, w.ceil)
		return
	}
	w.size = min(w.size+1, w.ceil)
}

// Refused tells that the delivery of ticket t met trouble that says something of the primary. outstanding are those under way
// when it did, itself included. Only the first trouble of an episode counts: the others under way were begun before it was known.
func (w *Window) Refused(now time.Time, t Ticket, outstanding int) {
	w.start(now)
	if t == w.episode {
		w.trouble(now, outstanding)
	}
}

func (w *Window) trouble(now time.Time, outstanding int) {
	if w.phase == Running {
		w.ceil = max(1, 0.75*min(w.size, float64(outstanding)))
		w.hold = now.Add(windowPause)
	} else {
		w.pause = min(2*w.pause, windowMaxPause)
		w.hold = now.Add(w.pause)
	}
	w.phase, w.size, w.quiet, w.slow = Probing, 1, now, 0
	w.episode++
}

// tooSlow learns from a reply time and reports whether the last few were far above what this primary needs when it is not hurried.
func (w *Window) tooSlow(reply time.Duration) bool {
	if reply <= 0 {
		return false
	}
	s := reply.Seconds()
	switch {
	case w.base == 0 || s < w.base:
		w.base, w.slow = s, 0
		return false
	case s > 4*w.base && s > w.base+1:
		w.slow++
	default:
		w.slow = 0
	}
	w.base += (s - w.base) / 64 // a primary may become slower for good
	return w.slow >= windowSlow
}

// Again returns when Room may be more than 0 without an answer having come: the end of the wait. Zero when it does not wait.
func (w *Window) Again(now time.Time) time.Time {
	if now.Before(w.hold) {
		return w.hold
	}
	return time.Time{}
}

// Size returns how many may be under way: 1 while probing.
func (w *Window) Size() int { return max(1, int(w.size)) }

// Ceiling returns how far the window may open now.
func (w *Window) Ceiling() int {
	if !w.started {
		return max(w.Max, 1)
	}
	return max(1, int(w.ceil))
}

// Phase returns what the window is doing.
func (w *Window) Phase() Phase { return w.phase }

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
