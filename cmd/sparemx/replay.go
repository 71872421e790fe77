package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/sparemx/sparemx/logparse"
)

func (c *cli) addReplay(app *kingpin.Application) {
	cmd := app.Command("replay", "Read old mail logs (also .gz, - for standard input): a summary, or one JSON object a line.")
	files := cmd.Arg("file", "Logs, oldest first.").Required().Strings()
	asJSON := cmd.Flag("json", "Print the summary as one JSON object.").Bool()
	events := cmd.Flag("events", "Print one JSON object for each Postfix line instead.").Bool()
	instances := cmd.Flag("instance", "A syslog name besides those that begin with postfix; can be repeated.").PlaceHolder("NAME").Strings()
	cmd.Action(func(*kingpin.ParseContext) error {
		out := bufio.NewWriterSize(c.out, 64<<10)
		opts := logparse.ReplayOptions{Instances: *instances}
		var werr error
		if *events {
			var buf []byte
			opts.OnEvent = func(ev *logparse.Event) {
				buf = append(logparse.AppendEventJSON(buf[:0], ev), '\n')
				if _, err := out.Write(buf); err != nil && werr == nil {
					werr = err
				}
			}
		}
		replay := logparse.NewReplay(opts)
		for _, name := range *files {
			if err := c.replayFile(replay, name); err != nil {
				return errors.Join(err, out.Flush())
			}
		}
		switch {
		case *events:
		case *asJSON:
			if err := json.NewEncoder(out).Encode(replay.Summary()); err != nil {
				return err
			}
		default:
			printSummary(out, replay.Summary())
		}
		return errors.Join(werr, out.Flush())
	})
}

func (c *cli) replayFile(replay *logparse.Replay, name string) error {
	if name == "-" || name == "" { // kingpin hands on a lone "-" as an empty argument
		return replay.ReadFile("-", time.Now(), c.in)
	}
	f, err := os.Open(name)
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("%s cannot be read: run this as root, or as a member of the file's group (usermod -aG adm %s)", name, os.Getenv("USER"))
		}
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return replay.ReadFile(name, info.ModTime(), f)
}

func printSummary(w io.Writer, s logparse.Summary) {
	if s.First == nil {
		fmt.Fprintf(w, "%d lines, none of Postfix\n", s.Lines)
		return
	}
	fmt.Fprintf(w, "%s to %s\n", *s.First, *s.Last)
	fmt.Fprintf(w, "%d lines: %d of Postfix (%d not understood), %d of others\n\n", s.Lines, s.PostfixLines, s.Unparsed, s.ForeignLines)
	fmt.Fprintf(w, "%8d connections\n%8d refused at the door\n%8d messages\n\n", s.Connections, s.Rejects, s.Messages)
	tw := tabwriter.NewWriter(w, 8, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name string, t logparse.Tally) {
		fmt.Fprintf(tw, "%d\t%d\t%d\t%d\t\t%s\n", t.Sent, t.Deferred, t.Bounced, t.Expired, oneLine(name))
	}
	fmt.Fprintln(tw, "sent\tdeferred\tbounced\texpired\t\t")
	row("all", s.Deliveries)
	for _, name := range slices.Sorted(maps.Keys(s.ByService)) {
		row(name, *s.ByService[name])
	}
	for _, name := range byDeferred(s.Domains) {
		row(name, *s.Domains[name])
	}
	tw.Flush()
	if len(s.Deferrals) == 0 {
		return
	}
	fmt.Fprintln(w, "\ndeferred because of")
	for _, name := range slices.SortedFunc(maps.Keys(s.Deferrals), func(a, b string) int {
		return cmp.Or(cmp.Compare(s.Deferrals[b], s.Deferrals[a]), cmp.Compare(a, b))
	}) {
		fmt.Fprintf(w, "%8d %s\n", s.Deferrals[name], name)
	}
}

// byDeferred names the domains with most deferrals first, at most 20.
func byDeferred(domains map[string]*logparse.Tally) []string {
	names := slices.SortedFunc(maps.Keys(domains), func(a, b string) int {
		return cmp.Or(cmp.Compare(domains[b].Deferred, domains[a].Deferred), cmp.Compare(domains[b].Sent, domains[a].Sent), cmp.Compare(a, b))
	})
	return names[:min(len(names), 20)]
}
