package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/alecthomas/kingpin/v2"

	"github.com/sparemx/sparemx/outage"
)

func (c *cli) addOutages(app *kingpin.Application) {
	cmd := app.Command("outages", "What happened: each outage with the account of its messages, the newest first.")
	asJSON := cmd.Flag("json", "Print one JSON object an outage, a line each.").Bool()
	id := cmd.Arg("id", "Only this one, whole.").String()
	cmd.Action(func(*kingpin.ParseContext) error {
		cfg, err := c.load()
		if err != nil {
			return err
		}
		// The open ones are known to the running agent alone; the closed ones are in the state directory.
		var reports []*outage.Report
		err = c.ask(context.Background(), http.MethodGet, "/v1/outages", nil, &reports)
		var none *noAgent
		if errors.As(err, &none) {
			store := outage.Store{Dir: cfg.StatePath("outages")}
			reports, err = store.List()
		}
		if err != nil && len(reports) == 0 {
			return err
		}
		shown := 0
		for _, r := range reports {
			if *id != "" && r.ID != *id {
				continue
			}
			shown++
			if *asJSON {
				if err := json.NewEncoder(c.out).Encode(r); err != nil {
					return err
				}
				continue
			}
			if *id != "" {
				fmt.Fprint(c.out, r.Text())
				continue
			}
			fmt.Fprintf(c.out, "%s  %s\n", r.ID, r.Title())
		}
		switch {
		case *id != "" && shown == 0:
			return fmt.Errorf("there is no outage %q: `sparemx outages` lists them", oneLine(*id))
		case shown == 0 && !*asJSON:
			fmt.Fprintf(c.out, "no outage is on record in %s\n", cfg.StatePath("outages"))
		}
		return err
	})
}
