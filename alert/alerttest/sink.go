// Package alerttest has receivers for alerts, for tests: shaped like Slack, like a webhook, like Alertmanager, and an SMTP smarthost. Each
// listens on loopback, records what comes, and can be told to answer badly.
package alerttest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"
)

// Request is one HTTP request that came.
type Request struct {
	At     time.Time
	Method string
	Path   string
	Header http.Header
	Body   []byte
}

// Reply is an answer that a test wants given instead of the good one.
type Reply struct {
	Status int // 0: 200
	Header http.Header
	Body   string
	Echo   bool // put all that came, headers too, into the body
	Hang   bool // answer nothing until the client gives up
}

// HTTP receives any request, records it, and answers 200 "ok".
type HTTP struct {
	URL string

	server *httptest.Server
	good   func(Request) Reply
	quit   chan struct{}

	mu       sync.Mutex
	requests []Request
	replies  []Reply
	changed  chan struct{}
}

// NewWebhook starts a receiver that lives as long as the test.
func NewWebhook(tb testing.TB) *HTTP {
	return newHTTP(tb, func(Request) Reply { return Reply{Body: "ok"} })
}

// NewAlertmanager starts a receiver that answers as Alertmanager's POST /api/v2/alerts does; any other path is 404.
func NewAlertmanager(tb testing.TB) *HTTP {
	return newHTTP(tb, func(r Request) Reply {
		if r.Method != http.MethodPost || r.Path != "/api/v2/alerts" {
			return Reply{Status: http.StatusNotFound}
		}
		return Reply{}
	})
}

func newHTTP(tb testing.TB, good func(Request) Reply) *HTTP {
	h := &HTTP{good: good, quit: make(chan struct{}), changed: make(chan struct{})}
	h.server = httptest.NewServer(h)
	h.URL = h.server.URL
	tb.Cleanup(func() {
		close(h.quit)
		h.server.CloseClientConnections()
		h.server.Close()
	})
	return h
}

// Answer queues replies: each is given once, in order, before the good answers begin again.
func (h *HTTP) Answer(replies ...Reply) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.replies = append(h.replies, replies...)
}

// Requests returns what came, the bad answered among it.
func (h *HTTP) Requests() []Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.requests)
}

// Wait returns the requests once there are at least n, or fails the test.
func (h *HTTP) Wait(tb testing.TB, n int) []Request {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 20*time.Second)
	defer cancel()
	for {
		h.mu.Lock()
		got, changed := slices.Clone(h.requests), h.changed
		h.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-changed:
		case <-ctx.Done():
			tb.Fatalf("%d requests came, not %d", len(got), n)
		}
	}
}

func (h *HTTP) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(req.Body, 1<<20))
	r := Request{At: time.Now(), Method: req.Method, Path: req.URL.Path, Header: req.Header.Clone(), Body: body}
	h.mu.Lock()
	h.requests = append(h.requests, r)
	var reply Reply
	scripted := len(h.replies) > 0
	if scripted {
		reply, h.replies = h.replies[0], h.replies[1:]
	}
	close(h.changed)
	h.changed = make(chan struct{})
	h.mu.Unlock()
	if !scripted {
		reply = h.good(r)
	}
	if reply.Hang {
		select {
		case <-req.Context().Done():
		case <-h.quit:
		}
		return
	}
	for name, values := range reply.Header {
		w.Header()[name] = values
	}
	if reply.Status != 0 {
		w.WriteHeader(reply.Status)
	}
	io.WriteString(w, reply.Body)
	if reply.Echo {
		fmt.Fprintf(w, "%s %s %v %s", req.Method, req.RequestURI, req.Header, body)
	}
}
