// Package alert tells people once, and again when it is over: by Slack, email, webhook and Alertmanager.
//
// Callers say what is so with a [Notice]; notices with one Key are one incident. [Alerts] decides what each channel still has to be
// told, and tells it: at once, again after Repeat while a critical incident is open, and once when it is over. What is not told yet
// waits in an outbox that is bounded and survives a restart.
//
// Contract: [Alerts.Notify] never fails its caller, and waits at most a second for the disk. Each channel is told at least once; the
// message that was under way in a crash is sent again under the same id, so that a receiver can drop it. A channel is never told "open" after
// "resolved" of the same incident: what waits is the incident's present state, so two pieces of news that both wait become one.
//
// Hazards: titles, texts and facts hold words of strangers (addresses, SMTP replies). They are cleaned on entry ([Clean]) and escaped
// by each channel for its own syntax. Secrets are read from files each time they are used, and cut out of every error.
//
// alert imports nothing of this project but internal/durable.
package alert

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kind is what a notice is about: one of [Kinds], so it can be a metric label.
type Kind string

const (
	PrimaryDown Kind = "primary_down"
	Recovered   Kind = "recovered" // ends a primary_down incident and carries the report
	Stuck       Kind = "stuck"     // the primary is up and held mail does not move
	Loss        Kind = "loss"      // mail bounced, expired or was deleted; an event: nothing ends it
	Age         Kind = "age"       // held mail comes near the end of its lifetime
	Blind       Kind = "blind"     // we cannot tell
	LogStalled  Kind = "log_stalled"
	Trial       Kind = "test" // sent by Test; an event
)

// Kinds are all kinds, for metrics that start at 0.
func Kinds() []Kind {
	return []Kind{PrimaryDown, Recovered, Stuck, Loss, Age, Blind, LogStalled, Trial}
}

// event tells whether the kind is over as soon as it was told: nobody will resolve it.
func (k Kind) event() bool { return k == Loss || k == Trial }

// Severity is how much it matters. The zero Severity is Info.
type Severity uint8

const (
	Info Severity = iota
	Warning
	Critical
)

func (s Severity) String() string {
	return [...]string{"info", "warning", "critical"}[min(s, Critical)]
}

// MarshalText writes the word.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads "info", "warning" or "critical".
func (s *Severity) UnmarshalText(text []byte) error {
	i := slices.Index([]string{"info", "warning", "critical"}, strings.ToLower(string(text)))
	if i < 0 {
		return fmt.Errorf("%q is not a severity: write info, warning or critical", Clean(string(text), 40))
	}
	*s = Severity(i)
	return nil
}

// Fact is one line of the table in a message.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Notice is one piece of news.
//
// A Resolved notice ends the incident its Key names. If no such incident is open it is dropped, unless it stands alone: one of kind
// Recovered carries a report, which is news by itself. A notice for an open incident that is neither Resolved nor Progress refreshes
// what is known; people are told again only if it is more severe than before, or if it is of an event (kind Loss) and says something else.
type Notice struct {
	Kind     Kind     `json:"kind"`
	Key      string   `json:"key"` // names the incident: "primary_down/mx1.example.org"; the Kind if empty
	Severity Severity `json:"severity"`
	Resolved bool     `json:"resolved,omitempty"` // ends the incident
	Progress bool     `json:"progress,omitempty"` // updates the message where a channel can; is not sent elsewhere
	Title    string   `json:"title"`              // one line; may hold text from strangers; cut at 200 characters
	Text     string   `json:"text,omitempty"`     // plain text, some lines; may hold text from strangers; cut at 4,000 characters
	Facts    []Fact   `json:"facts,omitempty"`    // shown as a table; the first 30

	At time.Time `json:"at"` // when it became so; now if zero
	// Expires is when it is not worth sending any more. Zero: never for an incident that is still open, ten minutes after
	// Notify for Progress, a day after it for everything else.
	Expires time.Time `json:"expires,omitzero"`
	// Labels go to Alertmanager and the webhook: primary, domain; bounded, never an address or a reply. At most 10.
	Labels map[string]string `json:"labels,omitempty"`
}

// Result is what became of one attempt to tell one channel.
type Result string

const (
	Sent       Result = "sent"
	Failed     Result = "failed"     // will be tried again
	Refused    Result = "refused"    // the receiver did not take this message, several times; given up
	Expired    Result = "expired"    // not worth sending any more
	Dropped    Result = "dropped"    // the outbox was full
	Suppressed Result = "suppressed" // began and ended while maintenance was on
)

// Results are all results, for metrics that start at 0.
func Results() []Result { return []Result{Sent, Failed, Refused, Expired, Dropped, Suppressed} }

// Channels are the names of all channels there can be, for metrics that start at 0.
func Channels() []string { return []string{"slack", "email", "webhook", "alertmanager"} }
