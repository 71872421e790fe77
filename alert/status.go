package alert

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Status is where things stand, for the page and the JSON. It holds no secret.
type Status struct {
	Incidents   []IncidentStatus  `json:"incidents"` // open ones and those not told to the end yet, the newest first
	Channels    []ChannelStatus   `json:"channels"`
	Maintenance time.Time         `json:"maintenance,omitzero"` // people are not called before
	Storage     string            `json:"storage,omitempty"`    // why the outbox is only in memory; "" when it is on disk
	Dropped     map[Result]uint64 `json:"dropped,omitempty"`    // news that nobody was told, by reason, since the start
	Heartbeat   *HeartbeatStatus  `json:"heartbeat,omitempty"`
}

// IncidentStatus is one incident.
type IncidentStatus struct {
	Key      string    `json:"key"`
	Kind     Kind      `json:"kind"` // what opened it
	Severity Severity  `json:"severity"`
	Title    string    `json:"title"`
	Opened   time.Time `json:"opened"`
	Resolved time.Time `json:"resolved,omitzero"`
	Waiting  []string  `json:"waiting,omitempty"` // channels that have not been told the present state
}

// ChannelStatus is one channel.
type ChannelStatus struct {
	Name      string          `json:"name"`
	Queued    int             `json:"queued"` // incidents it still has to be told something about now
	Sent      map[Kind]uint64 `json:"sent"`   // since the start
	Failures  uint64          `json:"failures"`
	LastSent  time.Time       `json:"last_sent,omitzero"`
	LastTry   time.Time       `json:"last_try,omitzero"`
	LastError string          `json:"last_error,omitempty"` // of the last attempt; "" if it worked
	NextTry   time.Time       `json:"next_try,omitzero"`    // while it fails
}

// HeartbeatStatus is the dead man's switch.
type HeartbeatStatus struct {
	LastSent  time.Time `json:"last_sent,omitzero"`
	LastError string    `json:"last_error,omitempty"`
	Held      bool      `json:"held"` // not sent, because the agent is not well
}

// TestResult is what happened when one channel was tried.
type TestResult struct {
	Channel string        `json:"channel"`
	OK      bool          `json:"ok"`
	Took    time.Duration `json:"took"`            // nanoseconds
	Detail  string        `json:"detail"`          // what the receiver answered: "200 OK", "250 2.0.0 Ok: queued as ..."
	Error   string        `json:"error,omitempty"` // redacted
}

// Status tells where things stand.
func (a *Alerts) Status() Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	full := a.config.Addresses == "full"
	s := Status{Incidents: []IncidentStatus{}, Channels: []ChannelStatus{}, Dropped: maps.Clone(a.dropped), Storage: a.outbox.status()}
	if now.Before(a.book.muted) {
		s.Maintenance = a.book.muted
	}
	queued := map[string]int{}
	for _, i := range slices.Backward(a.book.incidents) {
		waiting := a.waiting(i, now)
		for _, name := range waiting {
			queued[name]++
		}
		if len(waiting) == 0 && (!i.open() || i.First.Kind.event()) {
			continue
		}
		n := present(i.Last, full)
		s.Incidents = append(s.Incidents, IncidentStatus{
			Key: n.Key, Kind: i.First.Kind, Severity: i.Worst, Title: n.Title, Opened: i.First.At, Resolved: i.Resolved, Waiting: waiting,
		})
	}
	for _, l := range a.channels {
		c := ChannelStatus{
			Name: l.name(), Queued: queued[l.name()], Sent: maps.Clone(l.sent), Failures: l.failures,
			LastSent: l.lastSent, LastTry: l.lastTry, LastError: l.lastError,
		}
		if now.Before(l.next) {
			c.NextTry = l.next
		}
		s.Channels = append(s.Channels, c)
	}
	if a.beat != nil {
		h := a.beat.status()
		s.Heartbeat = &h
	}
	return s
}

func (o *outbox) status() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return cmp.Or(o.trouble, o.lost)
}
