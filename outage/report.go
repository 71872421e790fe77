package outage

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/sparemx/sparemx/alert"
	"github.com/sparemx/sparemx/queue"
)

// Schema is the version of the Report's JSON.
const Schema = 1

const (
	maxLost    = 100
	maxFlaps   = 1000
	maxReason  = 200
	maxAddress = 320 // RFC 5321 sections 4.5.3.1.1 and .2: 64 + 1 + 255
)

// Lost is one recipient whose mail did not arrive.
type Lost struct {
	ID        string    `json:"id"`
	Sender    string    `json:"sender"`    // shortened as the agent is set to
	Recipient string    `json:"recipient"` // likewise
	Reason    string    `json:"reason"`    // text from strangers, cleaned and cut
	Fate      string    `json:"fate"`
	At        time.Time `json:"at"`
}

// Delay is how long delivered mail took from its arrival here, by recipient, to 0.05 %.
type Delay struct {
	P50 time.Duration `json:"p50_ns"`
	P95 time.Duration `json:"p95_ns"`
	Max time.Duration `json:"max_ns"`
}

// Estimate is when mail would have been delivered without a drain, after the recovery.
type Estimate struct {
	First time.Duration `json:"first_ns"`
	Last  time.Duration `json:"last_ns"`
}

// Counts is a number by fate. The sum of all but Accepted is Accepted.
type Counts struct {
	Accepted    int `json:"accepted"`
	Delivered   int `json:"delivered"`
	Bounced     int `json:"bounced"`
	Expired     int `json:"expired"`
	Deleted     int `json:"deleted"`
	StillHeld   int `json:"still_held"`
	Unaccounted int `json:"unaccounted"` // gone, and nothing said where; while the outage is open: not seen lately
}

// Lost returns how many were bounced, expired or deleted.
func (c Counts) Lost() int { return c.Bounced + c.Expired + c.Deleted }

func counts(n [numFates]int) Counts {
	c := Counts{Delivered: n[Delivered], Bounced: n[Bounced], Expired: n[Expired], Deleted: n[Deleted], StillHeld: n[Held], Unaccounted: n[Unaccounted]}
	c.Accepted = c.Delivered + c.Lost() + c.StillHeld + c.Unaccounted
	return c
}

// Report is the account of one outage. Its JSON is stable: fields are added, never changed. Messages are counted at the top level; a message
// with several recipients has the worst of their fates.
type Report struct {
	Schema        int            `json:"schema"`
	ID            string         `json:"id"`
	Primary       string         `json:"primary"`
	Domains       []string       `json:"domains"`
	From          time.Time      `json:"from"`
	To            time.Time      `json:"to,omitzero"`     // the recovery; zero while the primary is down
	Closed        time.Time      `json:"closed,omitzero"` // zero while mail of it may still move
	Duration      time.Duration  `json:"duration_ns"`
	DetectedAfter time.Duration  `json:"detected_after_ns"`
	Reason        string         `json:"reason,omitempty"` // what the probe met; text from strangers, cleaned
	Counts                       // messages
	Recipients    Counts         `json:"recipients"`
	Refused       int            `json:"refused"` // recipients that the backup refused meanwhile
	Overflow      int            `json:"overflow,omitempty"`
	LostCount     int            `json:"lost_count"` // recipients; Lost names the first 100
	Lost          []Lost         `json:"lost"`
	HeldBy        map[string]int `json:"held_by,omitempty"` // recipients still held, by cause
	Delay         Delay          `json:"delay"`
	FirstDelivery time.Duration  `json:"first_delivery_after_recovery_ns"` // 0: none
	TimeToEmpty   time.Duration  `json:"time_to_empty_ns"`                 // from the recovery to the last that moved
	OnTimers      *Estimate      `json:"on_postfix_timers,omitempty"`      // an estimate; absent when nothing was held at the recovery
	Drain         queue.Progress `json:"drain"`
	Flaps         int            `json:"flaps"`       // times the primary failed again before the outage was over
	Interrupted   int            `json:"interrupted"` // restarts of the agent meanwhile
	Maintenance   bool           `json:"maintenance,omitempty"`
	State         string         `json:"state"` // down, recovering, draining, closed
}

// ParseReport reads a report. One of a newer schema is an error.
func ParseReport(data []byte) (*Report, error) {
	r := &Report{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("not a report of an outage: %w", err)
	}
	if r.Schema != Schema {
		return nil, fmt.Errorf("a report of schema %d; this sparemx reads schema %d", r.Schema, Schema)
	}
	return r, nil
}

// Title says in one line what happened. It is safe to print on a terminal.
func (r *Report) Title() string {
	name := alert.Clean(r.Primary, maxAddress)
	switch {
	case r.To.IsZero():
		return fmt.Sprintf("%s is down since %s", name, r.From.UTC().Format("15:04:05"))
	case r.Closed.IsZero():
		return fmt.Sprintf("%s is back after %s; %s of %s delivered", name, short(r.Duration), thousands(r.Delivered), plural(r.Accepted, "message"))
	case r.Counts.Lost() > 0:
		return fmt.Sprintf("%s is back after %s; %s of %s lost", name, short(r.Duration), thousands(r.Counts.Lost()), plural(r.Accepted, "message"))
	case r.StillHeld > 0:
		return fmt.Sprintf("%s is back after %s; %s of %s still held", name, short(r.Duration), thousands(r.StillHeld), plural(r.Accepted, "message"))
	case r.Accepted == 0:
		return fmt.Sprintf("%s is back after %s; no mail was held", name, short(r.Duration))
	case r.Unaccounted > 0:
		return fmt.Sprintf("%s is back after %s; %s of %s unaccounted for", name, short(r.Duration), thousands(r.Unaccounted), plural(r.Accepted, "message"))
	}
	return fmt.Sprintf("%s is back after %s; %s held, all delivered", name, short(r.Duration), plural(r.Accepted, "message"))
}

// Facts are the report as a table.
func (r *Report) Facts() []alert.Fact {
	var f []alert.Fact
	add := func(name, format string, args ...any) {
		f = append(f, alert.Fact{Name: name, Value: fmt.Sprintf(format, args...)})
	}
	add("From", "%s", r.From.UTC().Format(time.RFC3339))
	if !r.To.IsZero() {
		add("To", "%s", r.To.UTC().Format(time.RFC3339))
		add("Lasted", "%s", short(r.Duration))
	}
	add("Known after", "%s", short(r.DetectedAfter))
	add("Accepted", "%s", thousands(r.Accepted))
	add("Delivered", "%s", thousands(r.Delivered))
	for _, x := range []struct {
		name string
		n    int
	}{{"Bounced", r.Bounced}, {"Expired", r.Expired}, {"Deleted", r.Deleted}, {"Still held", r.StillHeld}, {"Unaccounted", r.Unaccounted},
		{"Refused here", r.Refused}, {"Not followed (too many)", r.Overflow}, {"Failed again", r.Flaps}, {"Agent restarted", r.Interrupted}} {
		if x.n > 0 {
			add(x.name, "%s", thousands(x.n))
		}
	}
	if r.Delivered > 0 {
		add("Delay", "median %s, 95 %% %s, most %s", short(r.Delay.P50), short(r.Delay.P95), short(r.Delay.Max))
	}
	if r.FirstDelivery > 0 {
		add("First delivery", "%s after the recovery", short(r.FirstDelivery))
	}
	if r.TimeToEmpty > 0 {
		add("Last one", "%s after the recovery", short(r.TimeToEmpty))
	}
	if e := r.OnTimers; e != nil {
		add("On the queue's own timers", "first about %s, last about %s (estimate)", short(e.First), short(e.Last))
	}
	if d := r.Drain; d.Pushed > 0 {
		add("Drain", "at most %d under way, %s refused by the primary", d.Peak, thousands(d.Refused))
	}
	return f
}

// Text is the report for people, without colour, safe to print on a terminal.
func (r *Report) Text() string {
	var b strings.Builder
	fmt.Fprintln(&b, r.Title())
	for _, f := range r.Facts() {
		fmt.Fprintf(&b, "  %-26s %s\n", f.Name, alert.Clean(f.Value, 500))
	}
	b.WriteString(r.details(maxLost))
	return b.String()
}

// details lists what is still held, by cause, and the lost, most of them.
func (r *Report) details(most int) string {
	var b strings.Builder
	causes := make([]string, 0, len(r.HeldBy))
	for c := range r.HeldBy {
		causes = append(causes, c)
	}
	slices.SortFunc(causes, func(x, y string) int {
		if r.HeldBy[x] != r.HeldBy[y] {
			return r.HeldBy[y] - r.HeldBy[x]
		}
		return strings.Compare(x, y)
	})
	for _, c := range causes {
		fmt.Fprintf(&b, "  held: %s, %s\n", plural(r.HeldBy[c], "recipient"), alert.Clean(c, 40))
	}
	for i, l := range r.Lost {
		if i == most {
			break
		}
		fmt.Fprintf(&b, "  %s %s from=<%s> to=<%s>: %s\n", alert.Clean(l.Fate, 20), alert.Clean(l.ID, 40), alert.Clean(l.Sender, maxAddress), alert.Clean(l.Recipient, maxAddress), alert.Clean(l.Reason, maxReason))
	}
	if more := r.LostCount - min(len(r.Lost), most); more > 0 {
		fmt.Fprintf(&b, "  and %s more lost\n", thousands(more))
	}
	return b.String()
}

// short writes a length of time as people say it: "6s", "4m10s", "2h5m", "3d4h".
func short(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return thousands(n) + " " + what + "s"
}

func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Timers are those of the holder of the mail, for the estimate of what would have been without a drain.
type Timers struct {
	MinBackoff, MaxBackoff, RunDelay time.Duration // minimal_backoff_time 300 s, maximal_backoff_time 4000 s, queue_run_delay 300 s if 0
}

// orDefault is t with Postfix's defaults where it says nothing.
func (t Timers) orDefault() Timers {
	or := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	or(&t.MinBackoff, 300*time.Second)
	or(&t.MaxBackoff, 4000*time.Second)
	or(&t.RunDelay, 300*time.Second)
	return t
}

// estimate tells when messages that arrived at arrived would have been tried after the recovery: a message deferred at age a is tried again after
// clamp(a, MinBackoff, MaxBackoff), at the next scan of the deferred queue (qmgr(8); qmgr_active.c, qmgr_active_defer). When the scans come is
// not known: it is the mean over some moments. It leaves out for how long qmgr holds a destination for dead, so it is rather too
// short than too long.
func (t Timers) estimate(arrived []uint32, from, to time.Time) *Estimate {
	if len(arrived) == 0 {
		return nil
	}
	t = t.orDefault()
	seconds := func(d time.Duration) int64 { return max(1, int64(d/time.Second)) }
	least, most, run := seconds(t.MinBackoff), seconds(t.MaxBackoff), seconds(t.RunDelay)
	start, end := from.Unix(), to.Unix()
	apart := max(10, (end-start)/4096) // messages nearer to one another than this are as one
	arrived = slices.Clone(arrived)
	slices.Sort(arrived)
	const phases = 5
	var first, last int64
	for p := range int64(phases) {
		scan := start + p*run/phases
		soonest, latest, before := int64(math.MaxInt64), int64(0), int64(-1)
		for _, a := range arrived {
			if int64(a)/apart == before {
				continue
			}
			before = int64(a) / apart
			at := int64(a)
			for i := 0; at < end && i < 100_000; i++ {
				at += min(max(at-int64(a), least), most)
				if off := ((at-scan)%run + run) % run; off > 0 {
					at += run - off
				}
			}
			soonest, latest = min(soonest, at-end), max(latest, at-end)
		}
		first += max(0, soonest)
		last += latest
	}
	return &Estimate{First: time.Duration(first) * time.Second / phases, Last: time.Duration(last) * time.Second / phases}
}
