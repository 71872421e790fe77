package alert

import "time"

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
