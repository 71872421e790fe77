package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/sparemx/sparemx/queue"
)

func (c *cli) addDrain(app *kingpin.Application) {
	cmd := app.Command("drain", "Have the running agent hand on what is held now, gently, and watch. Exit 0 when nothing is left.")
	domain := cmd.Arg("domain", "Only the primary of this domain (or this primary); each one if left out.").String()
	asJSON := cmd.Flag("json", "Print the progress as JSON lines.").Bool()
	cmd.Action(func(*kingpin.ParseContext) error {
		cfg, err := c.load()
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		var names []string
		if err := c.ask(ctx, http.MethodPost, "/v1/drain", url.Values{"of": {*domain}}, &names); err != nil {
			return err
		}
		return c.watchDrains(ctx, cfg.Control, names, *asJSON)
	})
}

// drainView is the progress of the last drain of one primary, as the agent tells it.
type drainView struct {
	Schema  int    `json:"schema"`
	Primary string `json:"primary"`
	queue.Progress
}

// watchDrains shows the drains of the primaries named until each has ended. Interrupting it leaves the drain to go on.
func (c *cli) watchDrains(ctx context.Context, socket string, names []string, asJSON bool) error {
	query := url.Values{"of": names}
	last := ""
	for {
		body, err := askSocket(ctx, socket, http.MethodGet, "/v1/drain", query)
		if ctx.Err() != nil {
			fmt.Fprintln(c.err, "sparemx: the drain goes on without being watched")
			return nil
		}
		if err != nil {
			return err
		}
		var views []drainView
		if err := json.Unmarshal(body, &views); err != nil {
			return fmt.Errorf("the agent's answer cannot be read (is it another version?): %w", err)
		}
		running, left := 0, 0
		var lines []string
		for _, v := range views {
			if v.Ended.IsZero() {
				running++
			}
			left += v.Left
			if asJSON {
				if err := json.NewEncoder(c.out).Encode(v); err != nil {
					return err
				}
				continue
			}
			lines = append(lines, drainLine(v))
		}
		if text := strings.Join(lines, "\n"); !asJSON && text != last {
			if c.terminal() && last != "" {
				fmt.Fprintf(c.out, "\x1b[%dA\x1b[J", strings.Count(last, "\n")+1)
			}
			fmt.Fprintln(c.out, text)
			last = text
		}
		if running == 0 {
			if left > 0 {
				return exit(exitWarning)
			}
			return nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func drainLine(v drainView) string {
	const cells = 24
	p := v.Progress
	full := cells
	if p.Total > 0 {
		full = cells * p.Done() / p.Total
	}
	line := fmt.Sprintf("%s [%s%s] %d of %d", oneLine(v.Primary), strings.Repeat("#", full), strings.Repeat(".", cells-full), p.Done(), p.Total)
	if p.Ended.IsZero() {
		line += fmt.Sprintf("  %s, %.1f/s", p.State, p.Rate)
		if p.ETA > 0 {
			line += ", " + ageText(p.ETA) + " to go"
		}
		line += fmt.Sprintf(", %d under way", p.Outstanding)
	} else {
		line += fmt.Sprintf("  %s after %s: %d delivered, %d bounced, %d left", p.State, ageText(p.Ended.Sub(p.Began)), p.Delivered, p.Bounced, p.Left)
	}
	if p.Refused > 0 {
		line += fmt.Sprintf(", %d refused for now", p.Refused)
	}
	if p.Err != "" {
		line += " (" + oneLine(p.Err) + ")"
	}
	return line
}
