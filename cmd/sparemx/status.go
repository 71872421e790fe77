package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/sparemx/sparemx/status"
)

func (c *cli) addStatus(app *kingpin.Application) {
	cmd := app.Command("status", "One screen: where things stand. Exit 0 fine, 1 warning, 2 critical, 3 unknown.")
	watch := cmd.Flag("watch", "Show it again every two seconds.").Short('w').Bool()
	asJSON := cmd.Flag("json", "Print the same facts as JSON.").Bool()
	cmd.Action(func(*kingpin.ParseContext) error {
		cfg, err := c.load()
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		for {
			code, err := c.showStatus(ctx, cfg.Control, *asJSON, *watch)
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				fmt.Fprintf(c.err, "sparemx: %v\n", err)
				code = exitUnknown
			}
			if !*watch {
				if code != exitOK {
					return exit(code)
				}
				return nil
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(2 * time.Second):
			}
		}
	})
}

func (c *cli) showStatus(ctx context.Context, socket string, asJSON, again bool) (code int, err error) {
	asking, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	body, err := askSocket(asking, socket, http.MethodGet, "/v1/status", nil)
	if err != nil {
		return exitUnknown, err
	}
	var s status.Status
	if err := json.Unmarshal(body, &s); err != nil {
		return exitUnknown, errors.New("the agent's answer cannot be read: is it another version?")
	}
	var screen bytes.Buffer
	if again && c.terminal() {
		screen.WriteString("\x1b[H\x1b[2J")
	}
	if asJSON {
		screen.Write(append(body, '\n'))
	} else {
		colour := status.Plain
		if c.color() {
			colour = status.ANSI
		}
		if err := status.Render(&screen, s, c.width(), colour); err != nil {
			return exitUnknown, err
		}
	}
	if _, err := c.out.Write(screen.Bytes()); err != nil {
		return exitUnknown, err
	}
	return s.Level.ExitCode(), nil
}
