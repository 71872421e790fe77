package alert

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"
)

// heartbeat asks a URL for as long as the agent is well. It says nothing when the agent is not: that is the signal.
type heartbeat struct {
	config HeartbeatConfig
	client *http.Client

	mu    sync.Mutex
	state HeartbeatStatus
}

func (h *heartbeat) status() HeartbeatStatus {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state
}

func (h *heartbeat) run(ctx context.Context, a *Alerts) {
	tick := time.NewTicker(h.config.every())
	defer tick.Stop()
	for {
		well := a.Well != nil && a.Well()
		var err error
		if well {
			err = h.beat(ctx, a.host)
		}
		if ctx.Err() != nil {
			return
		}
		h.mu.Lock()
		before := h.state
		h.state.Held = !well
		if well {
			h.state.LastError = ""
			if err != nil {
				h.state.LastError = err.Error()
			} else {
				h.state.LastSent = time.Now()
			}
		}
		after := h.state
		h.mu.Unlock()
		if a.Log != nil && (before.LastError != after.LastError || before.Held != after.Held) {
			a.Log.Warn("heartbeat", "held", after.Held, "err", after.LastError)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// beat sends one. A POST carries {"schema":1,"host":"...","at":"..."}.
func (h *heartbeat) beat(ctx context.Context, host string) error {
	target := h.config.URL
	var red redactor
	if h.config.URLFile != "" {
		var err error
		if target, err = readSecret(h.config.URLFile); err != nil {
			return &trouble{what: Clean(err.Error(), 300)}
		}
		if err := checkURL(target, false); err != nil {
			return errors.New("alert.heartbeat.url_file: " + err.Error())
		}
	}
	red.hideURL(target)
	method, body, header := http.MethodGet, []byte(nil), http.Header{}
	if h.config.Method == http.MethodPost {
		method = http.MethodPost
		header.Set("Content-Type", "application/json")
		body, _ = json.Marshal(struct {
			Schema int       `json:"schema"`
			Host   string    `json:"host"`
			At     time.Time `json:"at"`
		}{1, host, time.Now().UTC()})
	}
	_, err := ask(ctx, h.client, method, target, header, body, &red)
	return err
}
