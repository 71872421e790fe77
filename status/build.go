package status

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sparemx/sparemx/outage"
	"github.com/sparemx/sparemx/probes"
	"github.com/sparemx/sparemx/queue"
)

const (
	maxText   = 200       // of a text from strangers, in characters
	maxSaid   = 700       // of a sentence of our own
	stuckFor  = time.Hour // mail older than this while the primary takes mail is worth a look
	warnShare = 0.75      // of the lifetime: mail this old is worth a warning
	staleScan = 5 * time.Minute
	slots     = 48
	slotWidth = 30 * time.Minute
)

// Build makes the Status. It is pure: the same Inputs give the same Status.
func Build(in Inputs) Status {
	s := Status{
		Schema: Schema, At: in.Now, Host: clean(in.Host), Version: clean(in.Version), Mode: in.Mode, Started: in.Started,
		Lifetime: in.Lifetime.Seconds(), Troubles: []string{}, Primaries: []Primary{}, Drains: []Drain{}, Outages: []Outage{}, Logs: []Log{},
		Findings: []Finding{},
	}
	if !in.Started.IsZero() {
		s.Uptime = max(0, in.Now.Sub(in.Started).Seconds())
	}
	if in.Blind.Sight == probes.Blind {
		s.Blind = &Blind{in.Blind.Since, clean(in.Blind.Reason)}
	}
	for _, p := range in.Primaries {
		s.Primaries = append(s.Primaries, primary(p, in.Now))
	}
	slices.SortStableFunc(s.Primaries, func(a, b Primary) int { return cmp.Compare(stateRank(b.State), stateRank(a.State)) })
	s.held(in)
	for _, r := range in.Open {
		s.Outages = append(s.Outages, outageOf(r))
		if d := r.Drain; d.State > queue.DrainIdle && d.State < queue.DrainDone {
			s.Drains = append(s.Drains, Drain{
				clean(r.Primary), d.State.String(), d.Total, d.Left, d.Rate, d.ETA.Seconds(), d.Window, clean(d.Err),
			})
		}
	}
	if in.Last != nil {
		o := outageOf(in.Last)
		s.LastOutage = &o
	}
	s.verdict(in)
	s.logs(in)
	for _, t := range in.Troubles {
		s.trouble(Warning, said(t))
	}
	s.alerts(in)
	for _, f := range in.Findings {
		s.Findings = append(s.Findings, Finding{clean(f.ID), f.Level, said(f.Text), said(f.Fix)})
	}
	slices.SortStableFunc(s.Findings, func(a, b Finding) int { return b.Level.rank() - a.Level.rank() })
	return s
}

func stateRank(state string) int {
	return slices.Index([]string{"up", "recovering", "unknown", "down"}, state)
}

func primary(p probes.PrimaryStatus, now time.Time) Primary {
	out := Primary{
		Name: clean(p.Primary.Name), Domains: []string{}, State: p.State.String(), Since: p.Since, Stale: p.Stale, LastGood: p.LastGood,
		Next: p.Next, Day: day(p.History, now),
	}
	for _, d := range p.Primary.Domains {
		out.Domains = append(out.Domains, clean(d))
	}
	if r := p.Last; !r.At.IsZero() {
		pr := &Probe{
			At: r.At, Verdict: r.Verdict.String(), Stage: r.Stage.String(), Code: r.Code, Reason: clean(r.Reason), Note: clean(r.Note),
			Hop: clean(hop(r.Hop)), Took: r.Total.Seconds(), Steps: []Step{}, TLS: clean(r.TLS), Certificate: r.NotAfter,
		}
		if r.Addr.IsValid() {
			pr.Address = r.Addr.String()
		}
		for st, d := range r.Timings {
			if d > 0 {
				pr.Steps = append(pr.Steps, Step{probes.Stage(st).String(), d.Seconds()})
			}
		}
		out.Probe = pr
	}
	return out
}

func hop(h probes.NextHop) string {
	if h.Port == 0 || h.Port == 25 {
		return h.Host
	}
	return fmt.Sprintf("%s:%d", h.Host, h.Port)
}

// day folds the buckets of the last 24 hours into slots of the worst state in each.
func day(history []probes.Bucket, now time.Time) []Slot {
	first := now.Add(-slots * slotWidth).Truncate(slotWidth).Add(slotWidth)
	out := make([]Slot, slots)
	for i := range out {
		out[i].From = first.Add(time.Duration(i) * slotWidth)
	}
	for _, b := range history {
		if b.From.Before(first) {
			continue
		}
		if i := int(b.From.Sub(first) / slotWidth); i < slots {
			if w := b.Worst.String(); out[i].Worst == "" || stateRank(w) > stateRank(out[i].Worst) {
				out[i].Worst = w
			}
		}
	}
	return out
}

// ageColumns fold the bounds of queue.AgeBounds into what fits on a screen.
var ageColumns = [...]struct {
	name string
	to   float64 // seconds; the last one has no end
}{{"<5m", 300}, {"<1h", 3600}, {"<4h", 14400}, {"<1d", 86400}, {"<3d", 259200}, {"older", 0}}

func (s *Status) held(in Inputs) {
	switch {
	case in.Queue == nil && in.Scan.Err != "":
		s.HeldWhy = said(in.Scan.Err)
		return
	case in.Queue == nil:
		s.HeldWhy = "the queue has not been looked at yet"
		return
	}
	q := in.Queue
	if !in.Scan.Success || in.Now.Sub(q.At) > staleScan+10*in.Scan.Every {
		why := cmp.Or(in.Scan.Err, "no scan since")
		s.HeldWhy = said(fmt.Sprintf("the last look at the queue that succeeded is %s old: %s", Ago(in.Now.Sub(q.At)), why))
	}
	h := &Held{
		At: q.At, Messages: q.Total.Messages, Bytes: q.Total.Bytes, OldestAt: q.Oldest, OldestAge: q.OldestAge(in.Now).Seconds(),
		Domains: []Domain{}, Causes: []Cause{}, Places: map[string]int{},
	}
	for _, c := range ageColumns {
		h.Columns = append(h.Columns, c.name)
	}
	if in.Lifetime > 0 && !q.Oldest.IsZero() {
		left := (in.Lifetime - q.OldestAge(in.Now)).Seconds()
		h.ExpiresIn = &left
	}
	bounds := queue.AgeBounds()
	for name, d := range q.Domains {
		row := Domain{Name: clean(name), Messages: d.Messages, Bytes: d.Bytes, OldestAge: d.OldestAge(in.Now).Seconds(), Ages: make([]int, len(ageColumns))}
		for i, n := range d.Ages {
			col := len(ageColumns) - 1
			if i < len(bounds) {
				for j, c := range ageColumns[:len(ageColumns)-1] {
					if bounds[i] <= c.to {
						col = j
						break
					}
				}
			}
			row.Ages[col] += n
		}
		h.Domains = append(h.Domains, row)
	}
	slices.SortFunc(h.Domains, func(a, b Domain) int { return cmp.Or(b.Messages-a.Messages, strings.Compare(a.Name, b.Name)) })
	for c, n := range q.Causes {
		if c != queue.CauseNone && n > 0 {
			h.Causes = append(h.Causes, Cause{c.String(), n})
		}
	}
	slices.SortFunc(h.Causes, func(a, b Cause) int { return cmp.Or(b.Messages-a.Messages, strings.Compare(a.Cause, b.Cause)) })
	for p, v := range maps.All(q.Places) {
		if v != nil && v.Messages > 0 {
			h.Places[p.String()] = v.Messages
		}
	}
	s.Held = h
}

func outageOf(r *outage.Report) Outage {
	return Outage{
		clean(r.ID), clean(r.Primary), r.State, r.From, r.To, r.Closed, r.Duration.Seconds(), clean(r.Title()), clean(r.Reason), r.Counts,
	}
}

// verdict says in one sentence where things stand, and how bad that is.
func (s *Status) verdict(in Inputs) {
	by := map[string][]Primary{}
	for _, p := range s.Primaries {
		by[p.State] = append(by[p.State], p)
	}
	switch {
	case s.Blind != nil:
		s.Level = Unknown
		s.Verdict = fmt.Sprintf("Nothing can be seen from here since %s (%s): whether the primary takes mail is not known", clock(s.Blind.Since, in.Now), Ago(in.Now.Sub(s.Blind.Since)))
		if s.Blind.Reason != "" {
			s.trouble(Unknown, "blind: "+s.Blind.Reason)
		}
	case len(s.Primaries) == 0:
		s.Level = Unknown
		s.Verdict = "No primary is known, so nothing is watched"
	case len(by["down"]) > 0:
		s.Level = Critical
		p := by["down"][0]
		s.Verdict = fmt.Sprintf("%s is down since %s (%s)", p.Name, clock(p.Since, in.Now), Ago(in.Now.Sub(p.Since)))
		if n := len(by["down"]); n > 1 {
			s.Verdict = fmt.Sprintf("%d of %d primaries are down, %s since %s (%s)", n, len(s.Primaries), p.Name, clock(p.Since, in.Now), Ago(in.Now.Sub(p.Since)))
		}
	case len(by["unknown"]) > 0:
		s.Level = Unknown
		s.Verdict = fmt.Sprintf("Whether %s takes mail is not known", some(by["unknown"]))
	case len(by["recovering"]) > 0:
		s.Level = Warning
		s.Verdict = fmt.Sprintf("%s is coming back since %s", some(by["recovering"]), clock(by["recovering"][0].Since, in.Now))
	case len(s.Primaries) == 1:
		s.Verdict = s.Primaries[0].Name + " takes mail"
	default:
		s.Verdict = fmt.Sprintf("all %d primaries take mail", len(s.Primaries))
	}
	for _, p := range s.Primaries {
		if p.Stale {
			s.trouble(Unknown, fmt.Sprintf("the state of %s is an old one, not confirmed by a probe yet", p.Name))
		}
	}
	s.Verdict += "; " + s.heldSentence(in) + "."
	if lost, known := s.lost(in); known && (lost > 0 || len(in.Open) > 0) {
		words := "; nothing lost."
		if lost > 0 {
			words = fmt.Sprintf("; %s lost.", plural(lost, "message"))
			s.Level = worse(s.Level, Critical)
		}
		s.Verdict = strings.TrimSuffix(s.Verdict, ".") + words
	}
	if s.Held != nil && s.HeldWhy != "" {
		s.trouble(Unknown, s.HeldWhy)
	}
}

func (s *Status) lost(in Inputs) (n int, known bool) {
	for _, r := range in.Open {
		n += r.Counts.Lost()
	}
	return n, len(in.Open) > 0
}

func (s *Status) heldSentence(in Inputs) string {
	if s.Held == nil {
		s.Level = worse(s.Level, Unknown)
		return "what is held is not known (" + s.HeldWhy + ")"
	}
	if s.Held.Messages == 0 {
		return "nothing is held"
	}
	if len(s.Drains) > 0 {
		d := s.Drains[0]
		words := fmt.Sprintf("%s of %s handed over, %s left", thousands(max(0, d.Total-d.Left)), plural(d.Total, "message"), thousands(d.Left))
		if d.ETA > 0 {
			words += ", about " + Ago(seconds(d.ETA)) + " to go"
		}
		if d.State == queue.DrainStalled.String() {
			s.Level = worse(s.Level, Warning)
			words += ", stalled"
		}
		return words
	}
	words := plural(s.Held.Messages, "message") + " held"
	age := seconds(s.Held.OldestAge)
	switch {
	case s.Held.ExpiresIn != nil && *s.Held.ExpiresIn <= 0:
		s.Level = worse(s.Level, Critical)
		words += ", the oldest is past its lifetime"
	case s.Held.ExpiresIn != nil:
		words += ", the oldest bounces in " + Ago(seconds(*s.Held.ExpiresIn))
	default:
		words += ", the oldest for " + Ago(age)
	}
	if s.Lifetime > 0 && s.Held.OldestAge >= warnShare*s.Lifetime {
		s.Level = worse(s.Level, Warning)
	}
	if s.Level == OK && age >= stuckFor {
		s.Level = Warning
		words += ", though it could go"
	}
	return words
}

func (s *Status) trouble(l Level, text string) {
	s.Level = worse(s.Level, l)
	s.Troubles = append(s.Troubles, text)
}

func (s *Status) logs(in Inputs) {
	for _, l := range in.Logs {
		st := l.Stats
		row := Log{clean(l.Name), st.Readable.String(), l.Stalled, st.LastLine, st.Lines, st.LagBytes, st.LostBytes, said(st.LastError)}
		s.Logs = append(s.Logs, row)
		switch {
		case row.Readable == "no":
			s.trouble(Warning, fmt.Sprintf("%s cannot be read: %s", row.Name, cmp.Or(row.Err, "no reason known")))
		case row.Stalled:
			s.trouble(Warning, row.Name+" is silent although it should not be")
		}
		if row.Lost > 0 {
			s.trouble(Warning, fmt.Sprintf("%s of %s were gone before they could be read", plural(int(row.Lost), "byte"), row.Name))
		}
	}
}

func (s *Status) alerts(in Inputs) {
	if in.Alerts == nil {
		return
	}
	a := in.Alerts
	out := &Alerts{Open: []Incident{}, Channels: []Channel{}, Storage: said(a.Storage)}
	if a.Maintenance.After(in.Now) {
		s.Maintenance = a.Maintenance
	}
	for _, i := range a.Incidents {
		if i.Resolved.IsZero() {
			waiting := []string{}
			for _, c := range i.Waiting {
				waiting = append(waiting, clean(c))
			}
			out.Open = append(out.Open, Incident{string(i.Kind), i.Severity.String(), clean(i.Title), i.Opened, waiting})
		}
	}
	for _, c := range a.Channels {
		var sent uint64
		for _, n := range c.Sent {
			sent += n
		}
		out.Channels = append(out.Channels, Channel{clean(c.Name), sent, c.Failures, c.Queued, c.LastSent, clean(c.LastError)})
		if c.LastError != "" {
			s.trouble(Warning, fmt.Sprintf("alerts by %s fail: %s", clean(c.Name), clean(c.LastError)))
		}
	}
	if out.Storage != "" {
		s.trouble(Warning, "alerts are not kept on disk: "+out.Storage)
	}
	s.Alerts = out
}

func some(ps []Primary) string {
	if len(ps) == 1 {
		return ps[0].Name
	}
	return fmt.Sprintf("%s and %d more", ps[0].Name, len(ps)-1)
}

// clock writes a time as people say it: with the day when it is not within the last 20 hours.
func clock(t, now time.Time) string {
	if t.IsZero() {
		return "an unknown time"
	}
	t = t.In(now.Location())
	if now.Sub(t) < 20*time.Hour {
		return t.Format("15:04")
	}
	return t.Format("Jan 2 15:04")
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return thousands(n) + " " + noun + "s"
}

func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
