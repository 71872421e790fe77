package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/sparemx/sparemx/config"
	"github.com/sparemx/sparemx/probes"
)

func (c *cli) addProbe(app *kingpin.Application) {
	cmd := app.Command("probe", "One SMTP conversation with each primary, with timings; it stops before DATA. Exit 0 good, 2 bad, 3 cannot tell.")
	name := cmd.Arg("primary", "A primary, a backed-up domain, or any host[:port]; all primaries if left out.").String()
	asJSON := cmd.Flag("json", "Print one JSON object a primary.").Bool()
	cmd.Action(func(*kingpin.ParseContext) error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		cfg, err := c.load()
		if err != nil {
			return err
		}
		host, notes, derr := detect(ctx, cfg)
		list, err := choosePrimaries(cfg, *name)
		if err != nil {
			for _, n := range notes {
				fmt.Fprintf(c.err, "sparemx: %s\n", oneLine(n))
			}
			if *name == "" && derr != nil {
				return derr
			}
			return err
		}
		worst := exitOK
		ladder := newLadder(cfg, host)
		for _, p := range list {
			pctx, done := context.WithTimeout(ctx, time.Duration(cfg.Probe.Timeout))
			r := ladder.Probe(pctx, p)
			done()
			if *asJSON {
				if err := json.NewEncoder(c.out).Encode(probeView(p, r)); err != nil {
					return err
				}
			} else {
				c.printProbe(p, r)
			}
			switch r.Verdict {
			case probes.Bad:
				worst = exitCritical
			case probes.CantTell:
				if worst != exitCritical {
					worst = exitUnknown
				}
			}
		}
		if worst != exitOK {
			return exit(worst)
		}
		return nil
	})
}

// choosePrimaries finds the primaries that name means: one of ours, the one of a domain, or any host.
func choosePrimaries(cfg *config.Config, name string) ([]probes.Primary, error) {
	all := cfg.Primaries()
	if name == "" {
		if len(all) == 0 {
			return nil, fmt.Errorf("no primary is known: name one, `sparemx probe mx1.example.org`, or write domains: in a configuration file")
		}
		return all, nil
	}
	for _, p := range all {
		if p.Name == name {
			return []probes.Primary{p}, nil
		}
		for _, d := range p.Domains {
			if strings.EqualFold(d, name) {
				return []probes.Primary{p}, nil
			}
		}
	}
	hop, err := config.ParseHop(name)
	if err != nil {
		return nil, err
	}
	return []probes.Primary{{Name: name, NextHops: []probes.NextHop{hop}}}, nil
}

type probeJSON struct {
	Schema  int                `json:"schema"`
	Primary string             `json:"primary"`
	At      time.Time          `json:"at"`
	Verdict string             `json:"verdict"`
	Stage   string             `json:"stage"`
	Address string             `json:"address,omitempty"`
	Code    int                `json:"code,omitempty"`
	Reason  string             `json:"reason,omitempty"`
	TLS     string             `json:"tls,omitempty"`
	Expires *time.Time         `json:"certificate_not_after,omitempty"`
	Seconds map[string]float64 `json:"seconds"`
	Total   float64            `json:"total_seconds"`
}

func probeView(p probes.Primary, r probes.Result) probeJSON {
	v := probeJSON{Schema: 1, Primary: p.Name, At: r.At, Verdict: r.Verdict.String(), Stage: r.Stage.String(), Code: r.Code, Reason: r.Reason,
		TLS: r.TLS, Seconds: map[string]float64{}, Total: r.Total.Seconds()}
	if r.Addr.IsValid() {
		v.Address = r.Addr.String()
	}
	if !r.NotAfter.IsZero() {
		v.Expires = &r.NotAfter
	}
	for s := range probes.NumStages {
		if r.Timings[s] > 0 {
			v.Seconds[s.String()] = r.Timings[s].Seconds()
		}
	}
	return v
}

func (c *cli) printProbe(p probes.Primary, r probes.Result) {
	word := map[probes.Verdict]string{probes.Good: "takes mail", probes.Bad: "does not take mail", probes.CantTell: "cannot tell"}[r.Verdict]
	fmt.Fprintf(c.out, "%s: %s", oneLine(p.Name), word)
	if r.Addr.IsValid() {
		fmt.Fprintf(c.out, " (%s)", net.JoinHostPort(r.Addr.Addr().Unmap().String(), fmt.Sprint(r.Addr.Port())))
	}
	fmt.Fprintln(c.out)
	w := tabwriter.NewWriter(c.out, 2, 0, 2, ' ', 0)
	for s := range probes.NumStages {
		if r.Timings[s] > 0 {
			fmt.Fprintf(w, "  %s\t%7.1f ms\n", s, float64(r.Timings[s])/float64(time.Millisecond))
		}
	}
	w.Flush()
	if r.Reason != "" {
		at := ""
		if r.Verdict != probes.Good {
			at = "at " + r.Stage.String() + ": "
		}
		fmt.Fprintf(c.out, "  %s%s\n", at, oneLine(r.Reason))
	}
	if !r.NotAfter.IsZero() {
		fmt.Fprintf(c.out, "  %s, certificate good until %s\n", r.TLS, r.NotAfter.UTC().Format(time.DateOnly))
	}
}
