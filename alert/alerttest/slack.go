package alerttest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"unicode/utf8"
)

// Slack is shaped like Slack: an incoming webhook, and chat.postMessage and chat.update of the Web API. It refuses what Slack refuses: blocks
// outside the documented limits, an update of a message that it does not have.
type Slack struct {
	*HTTP
	Webhook string // URL of the incoming webhook
	API     string // base URL of the Web API

	posted atomic.Int64
}

// SlackCall is one call.
type SlackCall struct {
	Method      string // "webhook", "chat.postMessage", "chat.update"
	Token       string
	Channel     string
	TS          string // message to be updated
	ThreadTS    string
	Broadcast   bool
	Text        string
	Blocks      []SlackBlock
	Attachments []SlackAttachment
}

// SlackBlock is as much of a block as the tests look at.
type SlackBlock struct {
	Type     string       `json:"type"`
	Text     *SlackText   `json:"text"`
	Fields   []*SlackText `json:"fields"`
	Elements []*SlackText `json:"elements"`
}

// SlackText is a text object.
type SlackText struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// SlackAttachment is an attachment made of blocks.
type SlackAttachment struct {
	Color    string       `json:"color"`
	Fallback string       `json:"fallback"`
	Blocks   []SlackBlock `json:"blocks"`
}

// NewSlack starts one that lives as long as the test.
func NewSlack(tb testing.TB) *Slack {
	s := &Slack{}
	s.HTTP = newHTTP(tb, s.answer)
	s.Webhook = s.URL + "/services/T0000SECRET/B0000SECRET/hooksecret0123456789"
	s.API = s.URL + "/api/"
	return s
}

// Calls returns what came, read as Slack reads it.
func (s *Slack) Calls() []SlackCall {
	var calls []SlackCall
	for _, r := range s.Requests() {
		calls = append(calls, ParseSlack(r))
	}
	return calls
}

// ParseSlack reads one request.
func ParseSlack(r Request) SlackCall {
	c := SlackCall{Method: "webhook"}
	if method, ok := strings.CutPrefix(r.Path, "/api/"); ok {
		c.Method = method
		v, _ := url.ParseQuery(string(r.Body))
		c.Token, c.Channel, c.TS, c.ThreadTS, c.Text = v.Get("token"), v.Get("channel"), v.Get("ts"), v.Get("thread_ts"), v.Get("text")
		if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
			c.Token = bearer
		}
		c.Broadcast = v.Get("reply_broadcast") == "true"
		json.Unmarshal([]byte(v.Get("blocks")), &c.Blocks)
		json.Unmarshal([]byte(v.Get("attachments")), &c.Attachments)
		return c
	}
	var body struct {
		Text        string            `json:"text"`
		Blocks      []SlackBlock      `json:"blocks"`
		Attachments []SlackAttachment `json:"attachments"`
	}
	json.Unmarshal(r.Body, &body)
	c.Text, c.Blocks, c.Attachments = body.Text, body.Blocks, body.Attachments
	return c
}

func (s *Slack) answer(r Request) Reply {
	c := ParseSlack(r)
	err := c.check()
	if c.Method == "webhook" {
		if err != nil {
			return Reply{Status: http.StatusBadRequest, Body: "invalid_blocks: " + err.Error()}
		}
		return Reply{Body: "ok"}
	}
	typed := http.Header{"Content-Type": {"application/json"}}
	ts := c.TS
	switch {
	case err != nil:
		return Reply{Header: typed, Body: `{"ok":false,"error":"invalid_blocks"}`}
	case c.Method == "chat.update":
		var n int64
		if fmt.Sscanf(ts, "1700000000.%06d", &n); n == 0 || n > s.posted.Load() {
			return Reply{Header: typed, Body: `{"ok":false,"error":"message_not_found"}`}
		}
	default:
		ts = fmt.Sprintf("1700000000.%06d", s.posted.Add(1))
	}
	return Reply{Header: typed, Body: fmt.Sprintf(`{"ok":true,"channel":"C0123456789","ts":%q}`, ts)}
}

// check holds a message against Slack's documented limits.
func (c SlackCall) check() error {
	if c.Text == "" && len(c.Blocks) == 0 {
		return fmt.Errorf("no text")
	}
	if n := utf8.RuneCountInString(c.Text); n > 4000 {
		return fmt.Errorf("text of %d characters", n)
	}
	all := [][]SlackBlock{c.Blocks}
	for _, a := range c.Attachments {
		all = append(all, a.Blocks)
	}
	for _, blocks := range all {
		if len(blocks) > 50 {
			return fmt.Errorf("%d blocks", len(blocks))
		}
		for _, b := range blocks {
			limit := map[string]int{"header": 150, "section": 3000}[b.Type]
			if b.Type == "header" && (b.Text == nil || b.Text.Type != "plain_text") {
				return fmt.Errorf("header without plain text")
			}
			if b.Type == "section" && b.Text == nil && len(b.Fields) == 0 {
				return fmt.Errorf("empty section")
			}
			if b.Text != nil && !b.Text.fits(limit) || len(b.Fields) > 10 || len(b.Elements) > 10 {
				return fmt.Errorf("block %s out of bounds", b.Type)
			}
			for _, f := range append(b.Fields, b.Elements...) {
				if !f.fits(2000) {
					return fmt.Errorf("field of %s out of bounds", b.Type)
				}
			}
		}
	}
	return nil
}

func (t *SlackText) fits(limit int) bool {
	n := utf8.RuneCountInString(t.Text)
	return n > 0 && n <= limit
}
