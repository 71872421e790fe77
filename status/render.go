package status

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Colour says whether Render may colour.
type Colour uint8

const (
	Plain Colour = iota
	ANSI         // SGR sequences (ECMA-48 section 8.3.117)
)

const (
	screenLines = 24 // of what Render writes, at most; one line is left for the prompt
	minWidth    = 40
	red         = "31;1"
	yellow      = "33;1"
	green       = "32"
	dim         = "2"
	bold        = "1"
)

// screen collects lines. Each part of a line is cleaned, so that nobody but Render itself sends sequences to the terminal.
type screen struct {
	width  int
	colour Colour
	lines  []string
}

type part struct{ style, text string }

func (s *screen) line(parts ...part) {
	var b strings.Builder
	left := s.width
	for _, p := range parts {
		text := cut(clean(p.text), left)
		left -= cells(text)
		if s.colour == ANSI && p.style != "" && text != "" {
			fmt.Fprintf(&b, "\x1b[%sm%s\x1b[0m", p.style, text)
		} else {
			b.WriteString(text)
		}
	}
	s.lines = append(s.lines, strings.TrimRight(b.String(), " "))
}

func (l Level) style() string { return [...]string{green, yellow, red, yellow}[min(l, Unknown)] }

func stateStyle(state string) string {
	switch state {
	case "up":
		return green
	case "down":
		return red
	}
	return yellow
}

// Render writes s as one screen of a terminal, width columns wide and at most 23 lines high, the worst first. Respecting NO_COLOR is
// for the caller, who chooses colour.
func Render(w io.Writer, st Status, width int, colour Colour) error {
	s := &screen{width: min(max(width, minWidth), 200), colour: colour}
	s.head(st)
	s.primaries(st)
	s.held(st)
	s.rest(st)
	if len(s.lines) > screenLines-1 {
		s.lines = append(s.lines[:screenLines-2], "... the rest: sparemx status --json")
	}
	_, err := io.WriteString(w, strings.Join(s.lines, "\n")+"\n")
	return err
}

func (s *screen) head(st Status) {
	at := st.At.Format("15:04:05 MST")
	left := fmt.Sprintf("sparemx on %s ", cmp.Or(st.Host, "this host"))
	level := st.Level.String()
	gap := max(1, s.width-cells(left)-len(level)-len(at))
	s.line(part{dim, left}, part{st.Level.style(), level}, part{"", strings.Repeat(" ", gap)}, part{dim, at})
	for _, l := range wrap(st.Verdict, s.width, 5) {
		s.line(part{bold, l})
	}
	for i, t := range st.Troubles {
		if i == 2 && len(st.Troubles) > 3 {
			s.line(part{yellow, fmt.Sprintf("! and %d more", len(st.Troubles)-2)})
			break
		}
		mark := part{yellow, "! "}
		for _, l := range wrap(t, s.width-2, 5) {
			s.line(mark, part{"", l})
			mark.text = "  "
		}
	}
	if !st.Maintenance.IsZero() {
		s.line(part{yellow, "maintenance until " + clock(st.Maintenance, st.At)}, part{"", ": people are not called"})
	}
}

func (s *screen) primaries(st Status) {
	if len(st.Primaries) == 0 {
		return
	}
	name := 8
	for _, p := range st.Primaries {
		name = max(name, cells(p.Name))
	}
	name = min(name, s.width*2/5)
	s.line()
	s.line(part{dim, fit("PRIMARY", name) + "  " + fit("STATE", 10) + "  " + fit("FOR", 11) + "  LAST PROBE"})
	const most = 4
	for i, p := range st.Primaries {
		if i == most && len(st.Primaries) > most+1 {
			s.line(part{dim, fmt.Sprintf("and %d more", len(st.Primaries)-most)})
			break
		}
		since := "-"
		if !p.Since.IsZero() {
			since = Ago(st.At.Sub(p.Since))
		}
		s.line(part{"", fit(clean(p.Name), name) + "  "}, part{stateStyle(p.State), fit(p.State, 10)}, part{"", "  " + fit(since, 11) + "  " + probeWords(p, st.At)})
	}
	if len(st.Primaries) == 1 {
		s.line(part{dim, fit("last 24 h", name) + "  "}, part{"", dayLine(st.Primaries[0].Day)})
	}
}

func probeWords(p Primary, now time.Time) string {
	if p.Probe == nil {
		return "none yet"
	}
	words := Ago(now.Sub(p.Probe.At)) + " ago, "
	if p.Probe.Verdict == "good" {
		return words + fmt.Sprintf("good in %s", took(p.Probe.Took)) + after(", ", p.Probe.Note)
	}
	return words + p.Probe.Stage + ": " + cmp.Or(p.Probe.Reason, strings.ReplaceAll(p.Probe.Verdict, "_", " "))
}

func after(sep, s string) string {
	if s == "" {
		return ""
	}
	return sep + s
}

func took(s float64) string {
	if s < 1 {
		return fmt.Sprintf("%d ms", int(s*1000+0.5))
	}
	return fmt.Sprintf("%.1f s", s)
}

// dayLine draws the last 24 hours: low is up, high is down, a space is not known.
func dayLine(day []Slot) string {
	var b strings.Builder
	for _, d := range day {
		switch d.Worst {
		case "up":
			b.WriteRune('▁')
		case "recovering":
			b.WriteRune('▄')
		case "down":
			b.WriteRune('█')
		case "unknown":
			b.WriteRune('?')
		default:
			b.WriteRune(' ')
		}
	}
	return b.String()
}

func (s *screen) held(st Status) {
	h := st.Held
	if h == nil || h.Messages == 0 {
		return
	}
	s.line()
	name := min(max(20, s.width-8*len(h.Columns)-14), 40)
	if s.width < 76 {
		name = s.width - 20
	}
	head := fit("HELD FOR", name)
	if s.width >= 76 {
		for _, c := range h.Columns {
			head += fmt.Sprintf("%7s", c)
		}
	}
	s.line(part{dim, head + fmt.Sprintf("%8s  OLDEST", "ALL")})
	const most = 4
	for i, d := range h.Domains {
		if i == most && len(h.Domains) > most+1 {
			s.line(part{dim, fmt.Sprintf("and %d more domains", len(h.Domains)-most)})
			break
		}
		row := fit(clean(d.Name), name)
		if s.width >= 76 {
			for _, n := range d.Ages {
				cell := "."
				if n > 0 {
					cell = fmt.Sprint(n)
				}
				row += fmt.Sprintf("%7s", cell)
			}
		}
		s.line(part{"", row + fmt.Sprintf("%8d  %s", d.Messages, Ago(seconds(d.OldestAge)))})
	}
	var causes []string
	for _, c := range h.Causes[:min(len(h.Causes), 4)] {
		causes = append(causes, fmt.Sprintf("%s %d", c.Cause, c.Messages))
	}
	if len(causes) > 0 {
		s.line(part{dim, "because  "}, part{"", strings.Join(causes, ", ")})
	}
}

func (s *screen) rest(st Status) {
	s.line()
	row := func(name, style, text string) { s.line(part{dim, fit(name, 9)}, part{style, text}) }
	for _, d := range st.Drains[:min(len(st.Drains), 2)] {
		text := fmt.Sprintf("%s %s, %d of %d handed over, %.1f/s", d.Primary, d.State, max(0, d.Total-d.Left), d.Total, d.Rate)
		if d.ETA > 0 {
			text += ", done in " + Ago(seconds(d.ETA))
		}
		row("drain", "", text+after(", ", d.Err))
	}
	if o := st.LastOutage; o != nil && len(st.Outages) == 0 {
		row("outage", "", clock(o.From, st.At)+"  "+o.Title)
	}
	for _, o := range st.Outages[:min(len(st.Outages), 2)] {
		row("account", "", account(o))
	}
	for _, l := range st.Logs[:min(len(st.Logs), 3)] {
		text, style := l.Name, ""
		switch {
		case l.Readable == "no":
			text, style = text+"  cannot be read", red
		case l.Stalled:
			text, style = text+"  silent", yellow
		case l.Readable == "unknown":
			text += "  not read yet"
		default:
			text += "  read"
		}
		if !l.LastLine.IsZero() {
			text += ", last line " + Ago(st.At.Sub(l.LastLine)) + " ago"
		}
		if l.Lag > 0 {
			text += fmt.Sprintf(", %d bytes behind", l.Lag)
		}
		row("log", style, text)
	}
	if a := st.Alerts; a != nil {
		var names []string
		for _, c := range a.Channels {
			n := c.Name
			if c.Err != "" {
				n += " (failing)"
			}
			names = append(names, n)
		}
		row("alerts", "", fmt.Sprintf("%d open; %s", len(a.Open), cmp.Or(strings.Join(names, ", "), "no channel is set up")))
	}
	bad := slices.DeleteFunc(slices.Clone(st.Findings), func(f Finding) bool { return f.Level == OK })
	for _, f := range bad[:min(len(bad), 3)] {
		label := "finding"
		for _, l := range wrap(f.Text, s.width-10, 3) {
			row(label, f.Level.style(), l)
			label = ""
		}
	}
	row("agent", dim, strings.TrimSpace(fmt.Sprintf("%s %s", st.Version, st.Mode))+", up "+Ago(seconds(st.Uptime)))
}

// account writes the sum of an outage, leaving out what is 0.
func account(o Outage) string {
	m := o.Messages
	var sum []string
	for _, p := range []struct {
		n    int
		what string
	}{{m.Delivered, "delivered"}, {m.Bounced, "bounced"}, {m.Expired, "expired"}, {m.Deleted, "deleted"}, {m.Unaccounted, "unaccounted for"}, {m.StillHeld, "held"}} {
		if p.n > 0 {
			sum = append(sum, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	return fmt.Sprintf("%s accepted = %s", plural(m.Accepted, "message"), cmp.Or(strings.Join(sum, " + "), "0"))
}
