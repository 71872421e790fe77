package alert

import "time"

// SignatureHeader carries "sha256=" and the hex HMAC-SHA256 of the body under the secret of secret_file.
const SignatureHeader = "Sparemx-Signature"

// Payload is the JSON that a webhook gets. Schema 1: fields may be added, none changes its meaning.
type Payload struct {
	Schema   int               `json:"schema"`   // 1
	ID       string            `json:"id"`       // of this message; the same if it is sent again; also in the header Idempotency-Key
	Incident string            `json:"incident"` // the same for all messages of one incident
	Key      string            `json:"key"`      // what the incident is about: "primary_down/mx1.example.org"
	Event    string            `json:"event"`    // opened, raised, more, reminder, resolved, reopened, test
	Kind     Kind              `json:"kind"`
	Severity Severity          `json:"severity"` // info, warning, critical
	Title    string            `json:"title"`
	Text     string            `json:"text,omitempty"`
	Facts    []Fact            `json:"facts,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	Host     string            `json:"host"`   // who tells
	Opened   time.Time         `json:"opened"` // when the incident began
	Resolved time.Time         `json:"resolved,omitzero"`
	At       time.Time         `json:"at"`   // when what it tells became so
	Sent     time.Time         `json:"sent"` // when this message was made; a receiver may refuse old ones
}
