package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/sparemx/sparemx/alert"
	"github.com/sparemx/sparemx/config"
	"github.com/sparemx/sparemx/logparse"
	"github.com/sparemx/sparemx/postfix"
	"github.com/sparemx/sparemx/queue"
)

func (c *cli) addQueue(app *kingpin.Application) {
	cmd := app.Command("queue", "What is held, asked of Postfix now: by domain, cause or age, or each message.")
	by := cmd.Flag("by", "domain, cause, age (as qshape), or message.").Default("domain").Enum("domain", "cause", "age", "message")
	asJSON := cmd.Flag("json", "Print JSON: the view asked for; with --by message one object a line.").Bool()
	cmd.Action(func(*kingpin.ParseContext) error {
		cfg, err := c.load()
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
		defer cancel()
		host, _, err := detect(ctx, cfg)
		if err != nil {
			return err
		}
		q := newQueue(cfg, host)
		out := bufio.NewWriterSize(c.out, 64<<10)
		var visit func(queue.Message)
		var werr error
		if *by == "message" {
			visit = func(m queue.Message) { werr = errors.Join(werr, printMessage(out, m, *asJSON)) }
		}
		known := func(string) bool { return true } // a person looks: no domain is folded into "other"
		snap, err := queue.Look(ctx, q, known, classify, visit)
		if err := errors.Join(err, werr); err != nil {
			return errors.Join(err, out.Flush())
		}
		switch {
		case *by == "message":
			if !*asJSON {
				fmt.Fprintf(out, "%s\n", total(snap))
			}
		case *asJSON:
			if err := json.NewEncoder(out).Encode(queueView(snap)); err != nil {
				return err
			}
		default:
			printQueue(out, snap, *by)
		}
		return out.Flush()
	})
}

func newQueue(cfg *config.Config, host config.Host) *postfix.Queue {
	return &postfix.Queue{Instances: host.Instances, Timeout: time.Duration(cfg.Queue.Timeout)}
}

// classify tells the cause that a delay reason of the queue says.
func classify(reason string) queue.Cause {
	return logparse.CauseOf(&logparse.Event{Kind: logparse.Delivery, Status: logparse.Deferred, Service: []byte("smtp"), Reply: []byte(reason)})
}

func total(s *queue.Snapshot) string {
	if s.Total.Messages == 0 {
		return "nothing is held"
	}
	return fmt.Sprintf("%d held, %s, the oldest %s old", s.Total.Messages, bytesText(s.Total.Bytes), ageText(s.OldestAge(time.Now())))
}

func printMessage(w io.Writer, m queue.Message, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(map[string]any{
			"schema": 1, "instance": m.Instance, "queue_id": m.ID, "place": m.Place.String(), "arrived": m.Arrived, "size": m.Size,
			"sender": m.Sender, "recipients": m.Recipients,
		})
	}
	_, err := fmt.Fprintf(w, "%s %s %s %s from=<%s>\n", oneLine(m.ID), m.Place, m.Arrived.Local().Format("2006-01-02 15:04:05"), bytesText(m.Size), oneLine(m.Sender))
	for _, r := range m.Recipients {
		_, rerr := fmt.Fprintf(w, "    to=<%s>  %s\n", oneLine(r.Address), alert.Clean(r.Reason, 200))
		err = errors.Join(err, rerr)
	}
	return err
}

type queueJSON struct {
	Schema  int                        `json:"schema"`
	At      time.Time                  `json:"at"`
	Total   queue.Count                `json:"total"`
	Oldest  *time.Time                 `json:"oldest,omitempty"`
	Domains map[string]queueDomainJSON `json:"domains"`
	Causes  map[string]int             `json:"causes"`
	Places  map[string]queue.Count     `json:"places"`
}

type queueDomainJSON struct {
	queue.Count
	Oldest time.Time      `json:"oldest"`
	Causes map[string]int `json:"causes"`
	Ages   map[string]int `json:"ages"` // up to so many seconds; "+Inf": older
}

func queueView(s *queue.Snapshot) queueJSON {
	v := queueJSON{Schema: 1, At: s.At, Total: s.Total, Domains: map[string]queueDomainJSON{}, Causes: names(s.Causes), Places: map[string]queue.Count{}}
	if !s.Oldest.IsZero() {
		v.Oldest = &s.Oldest
	}
	for _, p := range queue.Places() {
		v.Places[p.String()] = s.Places[p].Count
	}
	for name, d := range s.Domains {
		ages := map[string]int{}
		for i, n := range d.Ages {
			label := "+Inf"
			if i < len(s.Ages.Bounds) {
				label = fmt.Sprint(s.Ages.Bounds[i])
			}
			ages[label] = n
		}
		v.Domains[name] = queueDomainJSON{Count: d.Count, Oldest: d.Oldest, Causes: names(d.Causes), Ages: ages}
	}
	return v
}

func names(causes map[queue.Cause]int) map[string]int {
	out := map[string]int{}
	for c, n := range causes {
		out[causeName(c)] += n
	}
	return out
}

func causeName(c queue.Cause) string {
	if c == queue.CauseNone {
		return "not_tried"
	}
	return c.String()
}

func printQueue(w io.Writer, s *queue.Snapshot, by string) {
	fmt.Fprintln(w, total(s))
	if s.Total.Messages == 0 {
		return
	}
	tw := tabwriter.NewWriter(w, 2, 0, 2, ' ', tabwriter.AlignRight)
	defer tw.Flush()
	domains := slices.SortedFunc(maps.Keys(s.Domains), func(a, b string) int {
		return cmp.Or(s.Domains[b].Messages-s.Domains[a].Messages, cmp.Compare(a, b))
	})
	switch by {
	case "cause":
		fmt.Fprintln(tw, "messages\tcause\t")
		for _, c := range slices.SortedFunc(maps.Keys(s.Causes), func(a, b queue.Cause) int { return cmp.Or(s.Causes[b]-s.Causes[a], cmp.Compare(a, b)) }) {
			fmt.Fprintf(tw, "%d\t%s\t\n", s.Causes[c], causeName(c))
		}
	case "age":
		fmt.Fprint(tw, "domain\ttotal\t")
		for _, b := range s.Ages.Bounds {
			fmt.Fprintf(tw, "%s\t", ageText(time.Duration(b)*time.Second))
		}
		fmt.Fprintln(tw, "older\t")
		for _, name := range domains {
			d := s.Domains[name]
			fmt.Fprintf(tw, "%s\t%d\t", oneLine(name), d.Messages)
			for _, n := range d.Ages {
				fmt.Fprintf(tw, "%d\t", n)
			}
			fmt.Fprintln(tw)
		}
	default:
		fmt.Fprintln(tw, "messages\tsize\toldest\tdomain\tmost frequent cause\t")
		for _, name := range domains {
			d := s.Domains[name]
			fmt.Fprintf(tw, "%d\t%s\t%s\t%s\t%s\t\n", d.Messages, bytesText(d.Bytes), ageText(d.OldestAge(time.Now())), oneLine(name), causeName(most(d.Causes)))
		}
	}
}

func most(causes map[queue.Cause]int) (best queue.Cause) {
	n := 0
	for c, m := range causes {
		if m > n || m == n && c < best {
			best, n = c, m
		}
	}
	return best
}
