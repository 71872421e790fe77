// Package status says where things stand: as one sentence, as JSON, on one screen of a terminal and on a page.
//
// [Build] makes a [Status] from what the other packages know, purely; the JSON, [Render] and the page show the same Status. What is
// not known is said to be not known, never to be fine. Text from strangers (replies of servers, addresses) is escaped in Build, and
// again where a Status that came from elsewhere is printed.
package status

import (
	"fmt"
	"time"

	"github.com/sparemx/sparemx/alert"
	"github.com/sparemx/sparemx/logparse"
	"github.com/sparemx/sparemx/outage"
	"github.com/sparemx/sparemx/probes"
	"github.com/sparemx/sparemx/queue"
)

// Schema is the version of the JSON. Fields are added without a new one, never changed.
const Schema = 1

// Level is how bad it is; the numbers are the exit codes of `sparemx status` and of Nagios plugins.
type Level uint8

const (
	OK Level = iota
	Warning
	Critical
	Unknown
)

func (l Level) String() string {
	return [...]string{"OK", "WARNING", "CRITICAL", "UNKNOWN"}[min(l, Unknown)]
}

// ExitCode is what a command that shows it exits with.
func (l Level) ExitCode() int { return int(min(l, Unknown)) }

// MarshalText writes the level's name.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads the level's name; one that is not known is Unknown.
func (l *Level) UnmarshalText(b []byte) error {
	*l = Unknown
	for i := OK; i < Unknown; i++ {
		if i.String() == string(b) {
			*l = i
		}
	}
	return nil
}

// rank orders levels: Critical is worse than Unknown, which is worse than Warning.
func (l Level) rank() int { return [...]int{0, 1, 3, 2}[min(l, Unknown)] }

func worse(a, b Level) Level {
	if b.rank() > a.rank() {
		return b
	}
	return a
}

// Status is where things stand. Times are RFC 3339, durations seconds.
type Status struct {
	Schema      int       `json:"schema"`
	At          time.Time `json:"at"`
	Level       Level     `json:"level"`
	Verdict     string    `json:"verdict"`  // one sentence
	Troubles    []string  `json:"troubles"` // what else is not as it should be, the worst first
	Host        string    `json:"host"`
	Version     string    `json:"version"`
	Mode        string    `json:"mode"`
	Started     time.Time `json:"started"`
	Uptime      float64   `json:"uptime_seconds"`
	Blind       *Blind    `json:"blind,omitempty"` // absent when we can see
	Maintenance time.Time `json:"maintenance_until,omitzero"`
	Primaries   []Primary `json:"primaries"` // the worst first
	Held        *Held     `json:"held"`      // null: not known
	HeldWhy     string    `json:"held_unknown_because,omitempty"`
	Lifetime    float64   `json:"lifetime_seconds"` // how long mail is kept; 0: not known
	Drains      []Drain   `json:"drains"`
	Outages     []Outage  `json:"outages"` // the open ones
	LastOutage  *Outage   `json:"last_outage,omitempty"`
	Logs        []Log     `json:"logs"`
	Alerts      *Alerts   `json:"alerts,omitempty"`
	Findings    []Finding `json:"findings"` // of the audit
}

// Blind tells that we cannot see anything, and why.
type Blind struct {
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"`
}

// Primary is one primary.
type Primary struct {
	Name     string    `json:"name"`
	Domains  []string  `json:"domains"`
	State    string    `json:"state"` // unknown, up, down, recovering
	Since    time.Time `json:"since,omitzero"`
	Stale    bool      `json:"stale,omitempty"`
	LastGood time.Time `json:"last_good,omitzero"`
	Next     time.Time `json:"next_probe,omitzero"`
	Probe    *Probe    `json:"last_probe,omitempty"`
	Day      []Slot    `json:"last_24h"` // 48 of half an hour, oldest first
}

// Probe is the last probe of a primary.
type Probe struct {
	At          time.Time `json:"at"`
	Verdict     string    `json:"verdict"`
	Stage       string    `json:"stage"`
	Code        int       `json:"code,omitempty"`
	Reason      string    `json:"reason,omitempty"`
	Note        string    `json:"note,omitempty"`
	Hop         string    `json:"next_hop"`
	Address     string    `json:"address,omitempty"`
	Took        float64   `json:"took_seconds"`
	Steps       []Step    `json:"steps"`
	TLS         string    `json:"tls,omitempty"`
	Certificate time.Time `json:"certificate_not_after,omitzero"`
}

// Step is the time one step of a probe took.
type Step struct {
	Stage string  `json:"stage"`
	Took  float64 `json:"took_seconds"`
}

// Slot is the worst state in half an hour; "" where nothing is known.
type Slot struct {
	From  time.Time `json:"from"`
	Worst string    `json:"worst"`
}

// Held is what is held.
type Held struct {
	At        time.Time      `json:"at"` // of the scan
	Messages  int            `json:"messages"`
	Bytes     int64          `json:"bytes"`
	OldestAt  time.Time      `json:"oldest_arrived,omitzero"`
	OldestAge float64        `json:"oldest_age_seconds"`
	ExpiresIn *float64       `json:"oldest_expires_in_seconds,omitempty"` // absent when nothing is held or the lifetime is not known
	Columns   []string       `json:"age_columns"`                         // upper bounds of the ages in Domains
	Domains   []Domain       `json:"domains"`                             // most messages first
	Causes    []Cause        `json:"causes"`                              // most messages first
	Places    map[string]int `json:"places"`
}

// Domain is what is held for one recipient domain.
type Domain struct {
	Name      string  `json:"name"`
	Messages  int     `json:"messages"`
	Bytes     int64   `json:"bytes"`
	OldestAge float64 `json:"oldest_age_seconds"`
	Ages      []int   `json:"ages"` // messages by Held.Columns
}

// Cause is why mail is held.
type Cause struct {
	Cause    string `json:"cause"`
	Messages int    `json:"messages"`
}

// Drain is mail on its way to a primary that is back.
type Drain struct {
	Primary string  `json:"primary"`
	State   string  `json:"state"`
	Total   int     `json:"total"`
	Left    int     `json:"left"`
	Rate    float64 `json:"messages_per_second"`
	ETA     float64 `json:"eta_seconds"` // 0: not known
	Window  int     `json:"window"`
	Err     string  `json:"error,omitempty"`
}

// Outage is one outage and its account.
type Outage struct {
	ID       string        `json:"id"`
	Primary  string        `json:"primary"`
	State    string        `json:"state"`
	From     time.Time     `json:"from"`
	To       time.Time     `json:"to,omitzero"`
	Closed   time.Time     `json:"closed,omitzero"`
	Duration float64       `json:"duration_seconds"`
	Title    string        `json:"title"`
	Reason   string        `json:"reason,omitempty"`
	Messages outage.Counts `json:"messages"`
}

// Log is one source of log lines.
type Log struct {
	Name     string    `json:"name"`
	Readable string    `json:"readable"` // unknown, yes, no
	Stalled  bool      `json:"stalled"`
	LastLine time.Time `json:"last_line,omitzero"`
	Lines    uint64    `json:"lines"`
	Lag      int64     `json:"lag_bytes"` // -1: cannot tell
	Lost     uint64    `json:"lost_bytes"`
	Err      string    `json:"error,omitempty"`
}

// Alerts is whom people were told by, and what is open.
type Alerts struct {
	Open     []Incident `json:"open"`
	Channels []Channel  `json:"channels"`
	Storage  string     `json:"storage,omitempty"` // why the outbox is not on disk
}

// Incident is one open incident.
type Incident struct {
	Kind     string    `json:"kind"`
	Severity string    `json:"severity"`
	Title    string    `json:"title"`
	Opened   time.Time `json:"opened"`
	Waiting  []string  `json:"waiting,omitempty"` // channels not told yet
}

// Channel is one way to tell people.
type Channel struct {
	Name     string    `json:"name"`
	Sent     uint64    `json:"sent"`
	Failures uint64    `json:"failures"`
	Queued   int       `json:"queued"`
	LastSent time.Time `json:"last_sent,omitzero"`
	Err      string    `json:"error,omitempty"`
}

// Finding is one finding of the audit.
type Finding struct {
	ID    string `json:"id"`
	Level Level  `json:"level"`
	Text  string `json:"text"`
	Fix   string `json:"fix,omitempty"` // what to type
}

// Inputs are what a Status is made from. A nil or zero one is not known.
type Inputs struct {
	Now       time.Time
	Host      string
	Version   string
	Mode      string
	Started   time.Time
	Primaries []probes.PrimaryStatus
	Blind     probes.BlindStatus
	Queue     *queue.Snapshot // nil: no scan has succeeded yet
	Scan      queue.ScanStatus
	Lifetime  time.Duration
	Open      []*outage.Report // open outages
	Last      *outage.Report   // the last one that ended
	Logs      []LogInput
	Alerts    *alert.Status
	Findings  []Finding
	Troubles  []string // of the agent itself: what it cannot keep on disk
}

// LogInput is one source of log lines.
type LogInput struct {
	Name    string
	Stats   logparse.SourceStats
	Stalled bool // silent although it should not be
}

// Ago writes a duration for people, in at most two units: "4 s", "17 min", "20 d 23 h".
func Ago(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 24*time.Hour:
		if m := int(d.Minutes()) % 60; m > 0 {
			return fmt.Sprintf("%d h %d min", int(d.Hours()), m)
		}
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	days, hours := int(d.Hours())/24, int(d.Hours())%24
	if hours == 0 {
		return fmt.Sprintf("%d d", days)
	}
	return fmt.Sprintf("%d d %d h", days, hours)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
