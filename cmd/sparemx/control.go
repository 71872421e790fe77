package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// The control socket is HTTP over a unix socket. Who may write to the socket may ask; nothing of it is on the scrape port.

// listenControl binds the socket at path. A socket left by an agent that is gone is replaced; one that answers is not.
func listenControl(path string) (net.Listener, error) {
	if len(path) > 107 { // unix(7): sun_path is 108 bytes
		return nil, fmt.Errorf("control: the path %s is longer than 107 bytes, the most a unix socket can have: write control: with a shorter one", path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("control: %w: write control: PATH in a directory that this user can write", err)
	}
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		conn.Close()
		return nil, fmt.Errorf("control: an agent answers at %s: stop it, or write another control: path", path)
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("control: %w", err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// controlError is what the agent answered instead of doing what was asked.
type controlError struct {
	Status int
	Text   string
}

func (e *controlError) Error() string { return e.Text }

// noAgent tells that nobody answers at the socket, and what to type.
type noAgent struct {
	path string
	err  error
}

func (e *noAgent) Error() string {
	switch {
	case errors.Is(e.err, fs.ErrPermission):
		return fmt.Sprintf("no right to speak to the agent at %s: run this as root or as a member of its group (usermod -aG sparemx %s)", e.path, os.Getenv("USER"))
	case errors.Is(e.err, fs.ErrNotExist), errors.Is(e.err, syscall.ECONNREFUSED):
		return fmt.Sprintf("no agent answers at %s: start it with `sparemx run`, or give its socket with --control", e.path)
	}
	return fmt.Sprintf("no answer from the agent at %s: %v", e.path, e.err)
}

func (e *noAgent) Unwrap() error { return e.err }

// ask sends one request to the agent and decodes its JSON answer into out, which may be nil.
func (c *cli) ask(ctx context.Context, method, path string, query url.Values, out any) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	body, err := askSocket(ctx, cfg.Control, method, path, query)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("the agent's answer cannot be read (is it another version?): %w", err)
	}
	return nil
}

func askSocket(ctx context.Context, socket, method, path string, query url.Values) ([]byte, error) {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
			if err != nil {
				err = &noAgent{socket, err}
			}
			return conn, err
		},
	}}
	u := url.URL{Scheme: "http", Host: "agent", Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		var none *noAgent
		if errors.As(err, &none) {
			return nil, none
		}
		return nil, &noAgent{socket, err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return nil, &noAgent{socket, err}
	}
	if resp.StatusCode >= 400 {
		return nil, &controlError{resp.StatusCode, strings.TrimSpace(string(body))}
	}
	return bytes.TrimSpace(body), nil
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.Encode(v) // the client has gone if this fails: nobody is left to tell
}
