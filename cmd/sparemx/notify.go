package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/sparemx/sparemx/alert"
)

func (c *cli) addNotify(app *kingpin.Application) {
	cmd := app.Command("notify", "Try the ways to tell people.")
	cmd.Command("test", "Really send a message on each channel now, and print what happened.").Action(func(*kingpin.ParseContext) error {
		cfg, err := c.load()
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		// What this host backs up decides which recipients are refused.
		if _, _, err := detect(ctx, cfg); err != nil {
			if cerr := cfg.Check(); cerr != nil {
				return cerr
			}
		}
		if !cfg.Alert.Enabled() {
			return errors.New("nobody would be told anything: write alert: { slack: { webhook_file: FILE } }, or email, webhook or alertmanager, in the configuration file")
		}
		host := cfg.Hostname
		if host == "" {
			host, _ = os.Hostname()
		}
		alerts, err := alert.New(cfg.Alert, "", host)
		if err != nil {
			return err
		}
		failed := false
		w := tabwriter.NewWriter(c.out, 2, 0, 2, ' ', 0)
		for _, r := range alerts.Test(ctx) {
			word, detail := "sent", r.Detail
			if !r.OK {
				word, detail, failed = "FAILED", r.Error, true
			}
			fmt.Fprintf(w, "%s\t%s\t%d ms\t%s\n", r.Channel, word, r.Took.Milliseconds(), oneLine(detail))
		}
		w.Flush()
		if failed {
			return exit(exitFailure)
		}
		return nil
	})
}
