package rig

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"
)

// Inbox is the far end of a channel of alerts: it keeps what was posted to it over HTTP. It listens until the test ends.
type Inbox struct {
	URL string

	mu     sync.Mutex
	posts  []Post
	refuse int // how many more to refuse
	status int
}

// Post is one request that was answered with success.
type Post struct {
	At     time.Time
	Header http.Header
	Body   []byte
}

// JSON decodes the body.
func (p Post) JSON(t testing.TB) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(p.Body, &v); err != nil {
		t.Fatalf("%v: %s", err, p.Body)
	}
	return v
}

// SlackInbox answers as an incoming webhook of Slack does: "ok", and 400 "invalid_payload" to what is no JSON object or
// has neither text nor blocks.
func SlackInbox(t testing.TB) *Inbox {
	return startInbox(t, func(body []byte) (int, string) {
		var v map[string]any
		if json.Unmarshal(body, &v) != nil {
			return http.StatusBadRequest, "invalid_payload"
		}
		if v["text"] == nil && v["blocks"] == nil && v["attachments"] == nil {
			return http.StatusBadRequest, "no_text"
		}
		return http.StatusOK, "ok"
	})
}

// WebhookInbox takes any JSON.
func WebhookInbox(t testing.TB) *Inbox {
	return startInbox(t, func(body []byte) (int, string) {
		if !json.Valid(body) {
			return http.StatusBadRequest, "not JSON"
		}
		return http.StatusOK, ""
	})
}

func startInbox(t testing.TB, answer func([]byte) (int, string)) *Inbox {
	t.Helper()
	in := &Inbox{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			return
		}
		status, text := answer(body)
		in.mu.Lock()
		if in.refuse > 0 {
			in.refuse--
			status, text = in.status, "refused by the test"
		} else if status == http.StatusOK {
			in.posts = append(in.posts, Post{time.Now(), r.Header, body})
		}
		in.mu.Unlock()
		w.WriteHeader(status)
		io.WriteString(w, text)
	}))
	t.Cleanup(server.Close)
	in.URL = server.URL + "/services/T000/B000/secret"
	return in
}

// Refuse makes it answer the next n requests with status.
func (in *Inbox) Refuse(n, status int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.refuse, in.status = n, status
}

// Posts are what has come so far.
func (in *Inbox) Posts() []Post {
	in.mu.Lock()
	defer in.mu.Unlock()
	return append([]Post(nil), in.posts...)
}

// MailInbox is a smarthost that keeps the messages it is given. It offers neither STARTTLS nor AUTH.
type MailInbox struct {
	Addr string

	mu    sync.Mutex
	mails []Mail
}

// Mail is one message with its envelope.
type Mail struct {
	At   time.Time
	From string
	To   []string
	Text string
}

// StartMailInbox starts one; it listens until the test ends.
func StartMailInbox(t testing.TB) *MailInbox {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	in := &MailInbox{Addr: l.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go in.serve(conn)
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return in
}

func (in *MailInbox) serve(conn net.Conn) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	c := textproto.NewConn(conn)
	say := func(line string) { fmt.Fprintf(conn, "%s\r\n", line) }
	say("220 smarthost.test ESMTP")
	var m Mail
	for {
		line, err := c.ReadLine()
		if err != nil {
			return
		}
		upper := strings.ToUpper(line)
		switch {
		case strings.HasPrefix(upper, "MAIL"):
			m = Mail{From: line}
		case strings.HasPrefix(upper, "RCPT"):
			m.To = append(m.To, line)
		case strings.HasPrefix(upper, "DATA"):
			say("354 go on")
			text, err := io.ReadAll(bufio.NewReader(c.DotReader()))
			if err != nil {
				return
			}
			m.Text, m.At = string(text), time.Now()
			in.mu.Lock()
			in.mails = append(in.mails, m)
			in.mu.Unlock()
		case strings.HasPrefix(upper, "QUIT"):
			say("221 2.0.0 Bye")
			return
		}
		say("250 2.0.0 Ok")
	}
}

// Mails are what has come so far.
func (in *MailInbox) Mails() []Mail {
	in.mu.Lock()
	defer in.mu.Unlock()
	return append([]Mail(nil), in.mails...)
}
