package probes

import (
	"context"
	"net"
	"time"
)

// Blind tells whether we can see.
//
// We are blind when no primary is Good and one of these holds:
//   - each primary's last probe could not be made for want of a route;
//   - each primary's last three probes could not be made;
//   - every primary is Bad or CantTell since the trouble began, and no control target can be reached.
//
// Without Controls the third is not known: primaries that all fail at once are then taken to have failed, since a false alarm costs less
// than silence. With Controls, a Bad counts only once a control has answered or another primary was found Good since.
func (w *Watcher) Blind() BlindStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.blind
}

const (
	controlTimeout = 3 * time.Second
	blindAfter     = 3 // CantTell in a row of each primary
)

// controlRound is the last time the controls were tried.
type controlRound struct {
	at      time.Time
	reached bool
}

// sees tells whether a result of s counts, and sets whether we are blind.
func (w *Watcher) sees(ctx context.Context, s *watched, r Result) bool {
	switch r.Verdict {
	case Good:
		w.setBlind(Sighted, "")
		return true
	case CantTell:
		if why := w.allCantTell(); why != "" {
			w.setBlind(Blind, why)
		}
		return true // it moves nothing anyway
	}
	if len(w.Controls) == 0 || w.anyControl(ctx) {
		w.setBlind(Sighted, "")
		return true
	}
	// No control answers. Have the others been asked since the trouble began?
	w.mu.Lock()
	sighted, open := false, false
	for _, o := range w.watched {
		switch {
		case o == s:
		case o.last.At.Before(s.trouble): // its word is older than the trouble
			open = true
			if !o.probing {
				w.hasten(o)
			}
		case o.last.Verdict == Good:
			sighted = true
		}
	}
	w.mu.Unlock()
	switch {
	case sighted:
		w.setBlind(Sighted, "")
		return true
	case !open:
		w.setBlind(Blind, "no primary and no control target can be reached")
	}
	return false
}

func (w *Watcher) allCantTell() (why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	routes, long := false, len(w.watched) > 0
	for _, o := range w.watched {
		if o.last.Verdict != CantTell || o.cant == 0 {
			return ""
		}
		routes = routes || !o.last.noRoute
		long = long && o.cant >= blindAfter
	}
	switch {
	case !routes:
		return "this host has no route to any primary"
	case long:
		return "no probe can be made: " + w.watched[w.order[0]].last.Reason
	}
	return ""
}

func (w *Watcher) setBlind(sight Sight, why string) {
	w.blindMu.Lock()
	defer w.blindMu.Unlock()
	w.mu.Lock()
	if w.blind.Sight == sight {
		w.mu.Unlock()
		return
	}
	w.blind = BlindStatus{Sight: sight, Since: time.Now(), Reason: why}
	if sight == Blind {
		for _, s := range w.watched {
			s.machine.Forget()
		}
	}
	now := w.blind
	w.mu.Unlock()
	w.log().Warn("sight changed", "sight", sight, "reason", why)
	if w.OnBlind != nil {
		w.OnBlind(now)
	}
}

// anyControl tells whether a control can be reached; an answer is good for half of Retry.
func (w *Watcher) anyControl(ctx context.Context) bool {
	w.controlMu.Lock()
	defer w.controlMu.Unlock()
	if c := w.control; !c.at.IsZero() && time.Since(c.at) < durationOr(w.Config.Retry, 2*time.Second)/2 {
		return c.reached
	}
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	answers := make(chan error, len(w.Controls))
	for _, target := range w.Controls {
		go func() { answers <- w.reach(ctx, target) }()
	}
	reached := false
	for range w.Controls {
		if <-answers == nil {
			reached = true
			cancel() // the others end soon; their answers fit the channel
			break
		}
	}
	w.control = controlRound{time.Now(), reached}
	return reached
}

func (w *Watcher) reach(ctx context.Context, target string) error {
	if w.Reach != nil {
		return w.Reach(ctx, target)
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", target)
	if err != nil {
		return err
	}
	return c.Close()
}
