package main

import (
	"time"

	"github.com/sparemx/sparemx/collector"
	"github.com/sparemx/sparemx/probes"
	"github.com/sparemx/sparemx/queue"
)

// leftovers are messages that the primary's failure left deferred although there was no outage to drain them after: one too short to be
// declared, or one that was over before the agent ran. On Postfix's own timers they would wait for up to an hour and more.
type leftovers struct {
	next map[string]time.Time     // by primary: not before
	wait map[string]time.Duration // by primary: what was waited last
}

const (
	leftoversAge   = 20 * time.Second // younger ones may be under way, or the first of an outage
	leftoversFirst = 5 * time.Minute  // until the same is tried again; Postfix's minimal_backoff_time
	leftoversMost  = time.Hour
)

// push drains, gently, what a snapshot shows deferred for primaries that are Up and have no outage open.
func (l *leftovers) push(a *agent, snap *queue.Snapshot, now time.Time) {
	if l.next == nil {
		l.next, l.wait = map[string]time.Time{}, map[string]time.Duration{}
	}
	if pace(a.cfg) == queue.PaceNone {
		return
	}
	for _, st := range a.watcher.Snapshot() {
		p := st.Primary
		if st.State != probes.Up || st.Stale || len(p.Domains) == 0 || !left(snap, p.Domains, now) {
			delete(l.next, p.Name)
			delete(l.wait, p.Name)
			continue
		}
		if now.Before(l.next[p.Name]) || a.outageOpen(p.Name) {
			continue
		}
		l.wait[p.Name] = min(max(leftoversFirst, 2*l.wait[p.Name]), leftoversMost)
		l.next[p.Name] = now.Add(l.wait[p.Name])
		d := a.makeDrain(p, collector.ByDrain)
		d.Match = func(m queue.Message) bool { return leftover(m, p.Domains) }
		if err := a.drains.start(p.Name, d); err == nil {
			a.log.Info("mail is deferred though its primary takes mail: handing it on", "primary", p.Name)
		}
	}
}

func (a *agent) outageOpen(primary string) bool {
	for _, r := range a.outages.Open() {
		if r.Primary == primary {
			return true
		}
	}
	return false
}

// left tells whether a snapshot shows mail that the primary's failure has left.
func left(snap *queue.Snapshot, domains []string, now time.Time) bool {
	for _, name := range domains {
		d := snap.Domains[name]
		if d == nil || d.Places[queue.Deferred] == 0 || d.OldestAge(now) < leftoversAge {
			continue
		}
		for cause, n := range d.Causes {
			if n > 0 && cause.OfPrimary() {
				return true
			}
		}
	}
	return false
}

// leftover tells whether a message was put off for what was wrong with the primary as a whole.
func leftover(m queue.Message, domains []string) bool {
	if m.Place != queue.Deferred {
		return false
	}
	for _, r := range m.Recipients {
		for _, d := range domains {
			if r.Domain() == d && r.Reason != "" && classify(r.Reason).OfPrimary() {
				return true
			}
		}
	}
	return false
}
