package alert

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"time"
)

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

type webhook struct {
	config WebhookConfig
	client *http.Client
}

func (*webhook) name() string      { return "webhook" }
func (w *webhook) filter() *Filter { return &w.config.Filter }
func (*webhook) traits() traits    { return traits{} }

func (w *webhook) send(ctx context.Context, m message) (receipt, error) {
	fail := func(key string, err error) (receipt, error) {
		return receipt{}, &trouble{what: Clean("alert.webhook."+key+": "+err.Error(), 300)}
	}
	var red redactor
	target := w.config.URL
	if w.config.URLFile != "" {
		var err error
		if target, err = readSecret(w.config.URLFile); err != nil {
			return fail("url_file", err)
		}
		if err := checkURL(target, false); err != nil {
			return fail("url_file", err)
		}
	}
	red.hideURL(target)
	body, err := json.Marshal(payload(m))
	if err != nil {
		return receipt{}, &trouble{what: Clean(err.Error(), 300), refused: true}
	}
	header := http.Header{}
	for name, value := range w.config.Headers {
		header.Set(name, value)
		red.hide(value)
	}
	header.Set("Content-Type", "application/json")
	header.Set("Idempotency-Key", m.id)
	if w.config.TokenFile != "" {
		token, err := readSecret(w.config.TokenFile)
		if err != nil {
			return fail("token_file", err)
		}
		if err := checkURL(target, true); err != nil {
			return fail("token_file", err)
		}
		red.hide(token)
		header.Set("Authorization", "Bearer "+token)
	}
	if w.config.SecretFile != "" {
		secret, err := readSecret(w.config.SecretFile)
		if err != nil {
			return fail("secret_file", err)
		}
		red.hide(secret)
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write(body)
		header.Set(SignatureHeader, "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	detail, err := ask(ctx, w.client, http.MethodPost, target, header, body, &red)
	return receipt{detail: detail}, err
}

func payload(m message) Payload {
	p := Payload{
		Schema: 1, ID: m.id, Incident: m.incident, Key: m.notice.Key, Event: m.event, Kind: m.notice.Kind, Severity: m.worst,
		Title: m.notice.Title, Text: m.notice.Text, Facts: m.notice.Facts, Labels: m.notice.Labels,
		Host: m.host, Opened: m.first.At.UTC(), At: m.notice.At.UTC(), Sent: m.now.UTC(),
	}
	if m.resolved {
		p.Resolved = m.notice.At.UTC()
	}
	return p
}
