package main

import (
	"context"
	"fmt"
	"time"

	"github.com/alecthomas/kingpin/v2"
)

func (c *cli) addConfig(app *kingpin.Application) {
	cmd := app.Command("config", "Print or check the configuration.")
	cmd.Command("print", "Print the whole configuration as it takes effect, each value with where it comes from.").Action(func(*kingpin.ParseContext) error {
		cfg, err := c.load()
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, notes, err := detect(ctx, cfg)
		if err != nil {
			notes = append(notes, err.Error())
		}
		text, err := cfg.Print()
		if err != nil {
			return err
		}
		for _, n := range notes {
			fmt.Fprintf(c.out, "# %s\n", oneLine(n))
		}
		_, err = c.out.Write(text)
		return err
	})
	cmd.Command("check", "Check the configuration and what it needs on this host; exit 1 if the agent would not start.").Action(func(*kingpin.ParseContext) error {
		cfg, err := c.load()
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, notes, err := detect(ctx, cfg)
		if err != nil {
			return err
		}
		for _, n := range notes {
			fmt.Fprintf(c.out, "note: %s\n", oneLine(n))
		}
		for _, p := range cfg.Primaries() {
			fmt.Fprintf(c.out, "primary %s: %d domain(s)\n", p.Name, len(p.Domains))
		}
		fmt.Fprintln(c.out, "OK")
		return nil
	})
}
