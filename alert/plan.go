package alert

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// The events of an incident that a channel is told.
const (
	opened   = "opened"
	raised   = "raised" // more severe than what was told
	more     = "more"   // of an event: there is more of it
	reminder = "reminder"
	resolved = "resolved"
	reopened = "reopened"
	update   = "update"  // only for channels that can change a message
	refresh  = "refresh" // only for channels that forget
	test     = "test"
)

// traits is what a channel can do.
type traits struct {
	updates bool          // can change a message it sent
	refresh time.Duration // forgets what is not said again so often; 0: does not
}

// step is what a channel is to be told next about one incident.
type step struct {
	event string
	at    time.Time
	drop  Result // instead of telling it
}

const updateEvery = 5 * time.Second // Slack allows about one call a second (tier 3 and chat.postMessage)

// wants tells whether a channel's filter lets the incident through.
func (f *Filter) wants(i *incident) bool {
	kind := i.First.Kind
	if kind == Recovered { // a report that stands alone belongs to an outage that was critical
		return len(f.Kinds) == 0 || slices.Contains(f.Kinds, PrimaryDown) || slices.Contains(f.Kinds, Recovered)
	}
	return i.Worst >= f.Severity && (len(f.Kinds) == 0 || slices.Contains(f.Kinds, kind))
}

// plan says what a channel has to be told next about an incident; a step without event and drop is none.
func (b *book) plan(i *incident, name string, f *Filter, tr traits, repeat time.Duration, now time.Time) step {
	if !f.wants(i) {
		return step{}
	}
	var t told
	if p := i.Told[name]; p != nil {
		t = *p
	}
	var s step
	consider := func(event string, at time.Time) {
		if s.event == "" || at.Before(s.at) {
			s = step{event: event, at: at}
		}
	}
	calls := func(event string, at time.Time) { // what calls people waits for the end of maintenance
		if at.Before(b.muted) {
			at = b.muted
		}
		consider(event, at)
	}
	stale := !i.Last.Expires.IsZero() && !now.Before(i.Last.Expires)

	if !i.open() {
		due := i.Resolved.Add(i.settle())
		report := i.Last.Kind == Recovered
		switch {
		case t.State == "resolved" && (t.Turn == i.Turn || !report):
			return step{}
		case tr.refresh > 0 && t.State != "open":
			return step{} // nothing to take back there
		case stale, t.State == "" && t.Passed > 0 && !report:
			return step{drop: Expired, at: now}
		}
		consider(resolved, due)
		if tr.refresh > 0 && t.State == "open" {
			consider(refresh, t.Refreshed.Add(tr.refresh))
		}
		return s
	}

	event := i.First.Kind.event()
	switch t.State {
	case "":
		switch {
		case stale && t.Passed < i.Turn:
			return step{drop: Expired, at: now}
		case !stale:
			calls(opened, now)
		}
	case "resolved":
		switch {
		case stale && t.Passed < i.Turn:
			return step{drop: Expired, at: now}
		case !stale:
			calls(reopened, now)
		}
	default:
		switch {
		case i.Worst > t.Severity:
			calls(raised, now)
		case event && t.Turn < i.Turn && !stale:
			calls(more, t.At.Add(gather))
		}
		if tr.updates && t.Version < i.Version {
			consider(update, t.Shown.Add(updateEvery))
		}
		if tr.refresh > 0 && !event {
			consider(refresh, t.Refreshed.Add(tr.refresh))
		}
		if tr.refresh == 0 && !event && i.Worst == Critical && repeat > 0 {
			calls(reminder, t.At.Add(repeat))
		}
	}
	return s
}

// message is what a channel is given to send.
type message struct {
	id       string // the same when it is sent again
	incident string
	event    string
	notice   Notice // what to show
	first    Notice // what opened the incident
	worst    Severity
	resolved bool
	began    bool     // the channel gets the first message of the incident, and nothing before can have got lost
	told     Severity // what the channel was told before
	ref      string
	host     string
	plain    bool // it was refused before: send it as simply as can be
	now      time.Time

	turn, version uint64
}

func (i *incident) message(name, host string, s step, full bool, now time.Time) message {
	t := i.told(name)
	n := i.Last
	if s.event == update && i.Progress != nil && now.Before(i.Progress.Expires) {
		n = *i.Progress
	}
	m := message{
		id: fmt.Sprintf("%s-%d-%d", i.ID, i.Turn, t.Sent+1), incident: i.ID, event: s.event,
		notice: present(n, full), first: present(i.First, full), worst: i.Worst, resolved: s.event == resolved,
		began: i.Turn == 1 && t.Sent == 0, told: t.Severity, ref: t.Ref, host: host, plain: t.Refusals > 0, now: now,
		turn: i.Turn, version: i.Version,
	}
	if s.event == reminder {
		m.notice.Title = Clean("Still open: "+m.notice.Title, 200)
	}
	return m
}

// record notes that a channel has got a message.
func (t *told) record(m message, ref string, now time.Time) {
	t.Ref, t.Refusals, t.next = ref, 0, time.Time{}
	switch m.event {
	case refresh:
		t.Refreshed = now
		return
	case update:
		t.Version, t.Shown = m.version, now
		return
	}
	t.pass(m)
	t.Sent++
	t.At, t.Shown, t.Refreshed = now, now, now
}

// pass notes that nothing more is to be said about a message, sent or not.
func (t *told) pass(m message) {
	t.Turn, t.Version, t.Severity, t.At, t.Refusals, t.next = m.turn, m.version, m.worst, m.now, 0, time.Time{}
	t.State = "open"
	if m.resolved {
		t.State = "resolved"
	}
}

// present makes a notice ready to be shown: addresses are short unless full.
func present(n Notice, full bool) Notice {
	n.Facts, n.Labels = slices.Clone(n.Facts), maps.Clone(n.Labels)
	if full {
		return n
	}
	n.Title, n.Text, n.Key = shorten(n.Title), shorten(n.Text), shorten(n.Key)
	for i := range n.Facts {
		n.Facts[i].Name, n.Facts[i].Value = shorten(n.Facts[i].Name), shorten(n.Facts[i].Value)
	}
	for k, v := range n.Labels {
		n.Labels[k] = shorten(v)
	}
	return n
}
