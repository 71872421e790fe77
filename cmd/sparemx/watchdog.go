package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sparemx/sparemx/alert"
	"github.com/sparemx/sparemx/logparse"
	"github.com/sparemx/sparemx/probes"
	"github.com/sparemx/sparemx/queue"
)

// watchSelf looks each second at what can go wrong with the agent itself: a log that is no longer read, a clock that jumps.
func (a *agent) watchSelf(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var (
		last    *queue.Snapshot
		before  = time.Now()
		began   = before
		settled = before
		rest    leftovers
	)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := time.Now()
		// Round strips the monotonic reading, so that the two differences can be compared.
		if jump := now.Round(0).Sub(before.Round(0)) - now.Sub(before); jump > 2*time.Second || jump < -2*time.Second {
			a.metrics.ObserveClockJump(jump)
			a.log.Warn("the clock was set", "by", jump.Round(time.Second))
		}
		before = now
		if snap := a.scanner.Latest(); snap != nil && snap != last {
			last = snap
			a.outages.OnSnapshot(snap)
			rest.push(a, snap, now)
		}
		if now.Sub(began) > time.Minute { // give it time to look at everything once
			a.judgeLog(now)
			if now.Sub(settled) > time.Minute {
				settled = now
				a.settle(now)
			}
		}
	}
}

// judgeLog tells people when the log has stalled. A quiet log is no evidence: it takes a source that cannot be read, or mail in the queue
// that came well after the last line.
func (a *agent) judgeLog(now time.Time) {
	why := a.logErr
	lastLine := time.Time{}
	for _, src := range a.sources {
		s := src.Stats()
		if s.Readable == logparse.ReadableNo && why == "" {
			why = fmt.Sprintf("%s: %s", src.Name(), s.LastError)
		}
		if s.LastLine.After(lastLine) {
			lastLine = s.LastLine
		}
	}
	newest := time.Unix(a.newest.Load(), 0)
	stall := time.Duration(a.cfg.Log.Stall)
	if why == "" && !lastLine.IsZero() && newest.Sub(lastLine) > time.Minute && now.Sub(lastLine) > stall {
		why = fmt.Sprintf("mail came at %s, but the last line of the log was read at %s", newest.Local().Format("15:04:05"), lastLine.Local().Format("15:04:05"))
	}
	stalled := why != ""
	if a.stalled.Swap(stalled) == stalled {
		return
	}
	n := alert.Notice{Kind: alert.LogStalled, Key: "log_stalled", Severity: alert.Warning, At: now, Resolved: !stalled,
		Title: "The mail log of " + hostname(a.cfg) + " is not being read", Text: "Until it is, deliveries are not counted and a drain cannot see what becomes of mail.\n" + why}
	if !stalled {
		n.Title, n.Text = "The mail log of "+hostname(a.cfg)+" is read again", ""
	}
	a.log.Warn(n.Title, "why", oneLine(why))
	a.notify(n)
}

// settle ends incidents that nobody will end: what an agent before us told people of, and what is no longer so, or of a primary that is no
// longer configured.
func (a *agent) settle(now time.Time) {
	for _, i := range a.alerts.Status().Incidents {
		if !i.Resolved.IsZero() {
			continue
		}
		if why := a.moot(i); why != "" {
			a.log.Info("an incident is over", "incident", i.Key, "why", why)
			a.notify(alert.Notice{Kind: i.Kind, Key: i.Key, Resolved: true, At: now, Title: "Over: " + i.Title, Text: why})
		}
	}
}

// moot tells why an open incident is over; "" when it is not, or when that cannot be told.
func (a *agent) moot(i alert.IncidentStatus) string {
	_, name, _ := strings.Cut(i.Key, "/")
	switch i.Kind {
	case alert.Blind:
		if a.watcher.Blind().Sight == probes.Sighted {
			return "The primaries can be probed."
		}
		return ""
	case alert.LogStalled:
		if !a.stalled.Load() {
			return "The log is read."
		}
		return ""
	case alert.PrimaryDown, alert.Stuck, alert.Age:
	default:
		return ""
	}
	if !slices.ContainsFunc(a.primaries, func(p probes.Primary) bool { return p.Name == name }) {
		return name + " is no longer configured."
	}
	if i.Kind != alert.PrimaryDown || a.outageOpen(name) {
		return "" // the outages end what is stuck and what is old, at the first snapshot
	}
	for _, st := range a.watcher.Snapshot() {
		if st.Primary.Name == name && st.State == probes.Up {
			return name + " takes mail."
		}
	}
	return ""
}
