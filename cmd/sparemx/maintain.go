package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/model"
)

func (c *cli) addMaintain(app *kingpin.Application) {
	cmd := app.Command("maintain", "Planned work: for so long the account is kept, but people are not called.")
	length := cmd.Arg("length", "How long, like 30m or 2h; 0 ends it.").Required().String()
	cmd.Action(func(*kingpin.ParseContext) error {
		d, err := model.ParseDuration(*length)
		if err != nil || time.Duration(d) > 30*24*time.Hour {
			return fmt.Errorf("%q is not a length up to 30d: write it like 30m, 2h, or 0 to end it", *length)
		}
		var until time.Time
		if err := c.ask(context.Background(), http.MethodPost, "/v1/maintain", url.Values{"for": {time.Duration(d).String()}}, &until); err != nil {
			return err
		}
		if d == 0 {
			fmt.Fprintln(c.out, "maintenance is over: people are told again, also of what began meanwhile and is not over")
		} else {
			fmt.Fprintf(c.out, "nobody is called until %s; the account of every message is kept\n", until.Local().Format("2006-01-02 15:04:05 MST"))
		}
		return nil
	})
}

func (c *cli) addReload(app *kingpin.Application) {
	app.Command("reload", "Have the running agent read its configuration again; it keeps the old one if the new one is wrong.").Action(func(*kingpin.ParseContext) error {
		if err := c.ask(context.Background(), http.MethodPost, "/v1/reload", nil, nil); err != nil {
			return err
		}
		fmt.Fprintln(c.out, "reloaded")
		return nil
	})
}
