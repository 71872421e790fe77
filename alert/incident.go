package alert

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"slices"
	"time"
)

// incident is what all notices with one Key tell together, from opening to end. Channels are not told notices but the incident's present state.
type incident struct {
	ID       string           `json:"id"`
	Key      string           `json:"key"`
	First    Notice           `json:"first"` // opened it; its kind and labels name it at Alertmanager
	Last     Notice           `json:"last"`  // what is so now
	Progress *Notice          `json:"progress,omitempty"`
	Worst    Severity         `json:"worst"`
	Resolved time.Time        `json:"resolved,omitzero"` // by our clock; zero: open
	Changed  time.Time        `json:"changed"`           // by our clock
	Flaps    int              `json:"flaps,omitempty"`   // times it came back right after its end
	Turn     uint64           `json:"turn"`              // counts changes that people are told of
	Version  uint64           `json:"version"`           // counts changes of what is shown
	Told     map[string]*told `json:"told,omitempty"`    // by channel

	gen uint64 // the write that makes it durable
}

// told is what one channel knows of one incident.
type told struct {
	State     string    `json:"state,omitempty"` // "", "open", "resolved"
	Turn      uint64    `json:"turn,omitempty"`
	Version   uint64    `json:"version,omitempty"`
	Passed    uint64    `json:"passed,omitempty"` // the turn that expired untold
	Severity  Severity  `json:"severity,omitempty"`
	Sent      int       `json:"sent,omitempty"`
	At        time.Time `json:"at,omitzero"`        // last message
	Shown     time.Time `json:"shown,omitzero"`     // last update of a message
	Refreshed time.Time `json:"refreshed,omitzero"` // last time a receiver that forgets was reminded
	Ref       string    `json:"ref,omitempty"`      // the channel's own: which message to update, who has it already
	Refusals  int       `json:"refusals,omitempty"`

	next time.Time // not before; forgotten in a restart on purpose
}

// ended is an incident that is over and told: it keeps a notice that comes twice from opening it again.
type ended struct {
	Key    string    `json:"key"`
	Opened time.Time `json:"opened"` // At of the notices
	Closed time.Time `json:"closed"`
}

const (
	flapWindow = time.Minute      // who comes back so soon after the end is the same incident
	maxSettle  = 10 * time.Minute // most that the end of a flapping incident is held back
	gather     = 10 * time.Minute // more news of an event is told at most so often
)

// settle is how long the end of an incident must last before people are told: not at all, unless it came back before.
func (i *incident) settle() time.Duration {
	return min(time.Duration(i.Flaps)*flapWindow, maxSettle)
}

func (i *incident) open() bool { return i.Resolved.IsZero() }

// over holds when the incident is past and no notice can come back to it any more.
func (i *incident) over(now time.Time) bool {
	switch {
	case i.open():
		return i.First.Kind.event() && now.Sub(i.Changed) > gather
	default:
		return now.Sub(i.Resolved) > i.settle()+flapWindow
	}
}

func (i *incident) told(channel string) *told {
	t := i.Told[channel]
	if t == nil {
		t = &told{}
		if i.Told == nil {
			i.Told = map[string]*told{}
		}
		i.Told[channel] = t
	}
	return t
}

func newIncident(n Notice, now time.Time) *incident {
	id := make([]byte, 8)
	rand.Read(id) // never fails (crypto/rand)
	return &incident{ID: hex.EncodeToString(id), Key: n.Key, First: n, Last: n, Worst: n.Severity, Changed: now, Turn: 1, Version: 1}
}

// book holds all incidents and knows what a notice does to them. It is pure but for the ID of a new incident.
type book struct {
	incidents []*incident // the oldest first; with one Key, only the last may be open
	ended     []ended     // the oldest first
	muted     time.Time   // maintenance until
}

func (b *book) find(key string) *incident {
	for _, i := range slices.Backward(b.incidents) {
		if i.Key == key {
			return i
		}
	}
	return nil
}

// past tells whether a notice was seen with an incident that is over. Equality only: a clock that jumped back must not hide what is new.
func (b *book) past(key string, at func(ended) time.Time, t time.Time) bool {
	return slices.ContainsFunc(b.ended, func(e ended) bool { return e.Key == key && at(e).Equal(t) })
}

// apply enters a notice and returns the incident it changed, nil if none. suppressed is called for each of channels that will never hear of the
// incident because all of it fell into maintenance.
func (b *book) apply(n Notice, now time.Time, channels []string, suppressed func(channel string)) *incident {
	i := b.find(n.Key)
	if i != nil && !i.open() && !n.Resolved && i.over(now) || i != nil && n.Kind.event() && i.over(now) {
		i = nil // long past, only waiting for a channel that is in trouble
	}
	switch {
	case n.Progress:
		if i == nil || !i.open() {
			return nil
		}
		i.Progress = &n
		i.Version++

	case n.Resolved:
		switch {
		case i == nil:
			if n.Kind != Recovered || b.past(n.Key, func(e ended) time.Time { return e.Closed }, n.At) {
				return nil
			}
			i = newIncident(n, now)
			b.incidents = append(b.incidents, i)
		case i.open():
			i.Turn++
		default: // a second end: only a new report is news
			if n.Kind != Recovered || i.Last.At.Equal(n.At) {
				return nil
			}
			i.Turn++
		}
		i.Last, i.Progress, i.Resolved = n, nil, now
		i.Version++
		if now.Before(b.muted) {
			for _, c := range channels {
				if t := i.told(c); t.State == "" {
					t.State, t.Turn, t.Version = "resolved", i.Turn, i.Version
					suppressed(c)
				}
			}
		}

	case i == nil:
		if b.past(n.Key, func(e ended) time.Time { return e.Opened }, n.At) {
			return nil
		}
		i = newIncident(n, now)
		b.incidents = append(b.incidents, i)

	case !i.open():
		if i.First.At.Equal(n.At) {
			return nil
		}
		i.Resolved, i.Last, i.Progress = time.Time{}, n, nil
		i.Flaps++
		i.Turn++
		i.Version++
		i.Worst = max(i.Worst, n.Severity)

	default:
		same := sameNews(i.Last, n)
		if same && i.Last.Expires.Equal(n.Expires) {
			return nil
		}
		if n.Severity > i.Worst || !same && i.First.Kind.event() {
			i.Turn++
		}
		i.Worst = max(i.Worst, n.Severity)
		if !same {
			i.Version++
			i.Progress = nil
		}
		i.Last = n
	}
	i.Changed = now
	return i
}

func sameNews(a, b Notice) bool {
	return a.Title == b.Title && a.Text == b.Text && a.Severity == b.Severity && a.Kind == b.Kind && slices.Equal(a.Facts, b.Facts)
}

const (
	maxNotices   = 256
	maxBytes     = 1 << 20
	maxEnded     = 256
	noticeWeight = 400 // bytes that an incident takes beside its texts
)

func (n *Notice) size() int {
	s := len(n.Key) + len(n.Title) + len(n.Text) + 200
	for _, f := range n.Facts {
		s += len(f.Name) + len(f.Value) + 24
	}
	for k, v := range n.Labels {
		s += len(k) + len(v) + 8
	}
	return s
}

func (i *incident) size() int {
	s := noticeWeight + i.First.size() + i.Last.size() + 200*len(i.Told)
	if i.Progress != nil {
		s += i.Progress.size()
	}
	return s
}

// fit makes room until the book is inside its bounds: first the oldest progress goes, then the oldest incident that is resolved, the oldest event, the
// oldest of the least severe. keep is not given up. dropped is called before an incident goes.
func (b *book) fit(keep *incident, dropped func(*incident)) {
	for {
		count, bytes := len(b.incidents), 0
		for _, i := range b.incidents {
			bytes += i.size()
			if i.Progress != nil {
				count++
			}
		}
		if count <= maxNotices && bytes <= maxBytes {
			return
		}
		if p := slices.IndexFunc(b.incidents, func(i *incident) bool { return i != keep && i.Progress != nil }); p >= 0 {
			b.incidents[p].Progress = nil
			continue
		}
		rank := func(i *incident) int {
			switch {
			case !i.open():
				return 0
			case i.First.Kind.event():
				return 1
			default:
				return 2 + int(i.Worst)
			}
		}
		victim := -1
		for p, i := range b.incidents {
			if i != keep && (victim < 0 || rank(i) < rank(b.incidents[victim])) {
				victim = p
			}
		}
		if victim < 0 {
			return // one notice alone is bounded on entry
		}
		dropped(b.incidents[victim])
		b.incidents = slices.Delete(b.incidents, victim, victim+1)
	}
}

// sweep forgets incidents that are over and told. waiting says whether a channel still has to be told something.
func (b *book) sweep(now time.Time, waiting func(*incident) bool) (changed bool) {
	b.incidents = slices.DeleteFunc(b.incidents, func(i *incident) bool {
		if !i.over(now) || waiting(i) {
			return false
		}
		changed = true
		b.ended = append(b.ended, ended{i.Key, i.First.At, i.Last.At})
		return true
	})
	if n := len(b.ended) - maxEnded; n > 0 {
		b.ended = slices.Delete(b.ended, 0, n)
	}
	return changed
}

// bound cleans and cuts a notice, and fills in what was left out.
func bound(n Notice, now time.Time) Notice {
	n.Kind = Kind(Clean(string(n.Kind), 40))
	if !slices.Contains(Kinds(), n.Kind) {
		n.Kind = Blind // a kind is a metric label; one that is not known is a fault of ours and must still be told
	}
	n.Key = cmp.Or(Clean(n.Key, 300), string(n.Kind))
	n.Severity = min(n.Severity, Critical)
	n.Title = cmp.Or(Clean(n.Title, 200), string(n.Kind))
	n.Text = CleanText(n.Text, 4000)
	facts := make([]Fact, 0, min(len(n.Facts), 30))
	for _, f := range n.Facts[:min(len(n.Facts), 30)] {
		facts = append(facts, Fact{Clean(f.Name, 60), Clean(f.Value, 500)})
	}
	n.Facts = facts
	labels := make(map[string]string, min(len(n.Labels), 10))
	for _, k := range sortedKeys(n.Labels) {
		if len(labels) < 10 && validLabel(k) {
			labels[k] = Clean(n.Labels[k], 200)
		}
	}
	n.Labels = labels
	if n.At.IsZero() {
		n.At = now
	}
	if n.Expires.IsZero() {
		switch {
		case n.Progress:
			n.Expires = now.Add(10 * time.Minute)
		case n.Resolved || n.Kind.event():
			n.Expires = now.Add(24 * time.Hour)
		}
	}
	n.At, n.Expires = n.At.Round(0), n.Expires.Round(0) // without the monotonic clock, as after a restart
	return n
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// validLabel holds for the label names of Prometheus, short ones.
func validLabel(s string) bool {
	for i, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || i > 0 && c >= '0' && c <= '9') {
			return false
		}
	}
	return s != "" && len(s) <= 60
}
