package status

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sparemx/sparemx/alert"
	"github.com/sparemx/sparemx/logparse"
	"github.com/sparemx/sparemx/outage"
	"github.com/sparemx/sparemx/probes"
	"github.com/sparemx/sparemx/queue"
)

var noon = time.Date(2026, 11, 21, 12, 21, 0, 0, time.UTC)

func mx1(state probes.State, since time.Duration) probes.PrimaryStatus {
	return probes.PrimaryStatus{
		Primary: probes.Primary{Name: "mx1.example.org", Domains: []string{"example.org"}}, State: state, Since: noon.Add(-since),
		Last: probes.Result{
			At: noon.Add(-2 * time.Second), Verdict: probes.Bad, Stage: probes.StageConnect, Reason: "connection refused",
			Hop: probes.NextHop{Host: "mx1.example.org"}, Addr: netip.MustParseAddrPort("192.0.2.1:25"),
		},
		History: []probes.Bucket{{From: noon.Add(-2 * time.Hour), Worst: probes.Up}, {From: noon.Add(-15 * time.Minute), Worst: probes.Down}},
	}
}

// snapshot holds n messages for example.org, the oldest of the given age.
func snapshot(n int, age time.Duration) *queue.Snapshot {
	s := &queue.Snapshot{At: noon, Total: queue.Count{Messages: n, Bytes: int64(n) * 1000}, Causes: map[queue.Cause]int{queue.CauseRefused: n}}
	if n > 0 {
		s.Oldest = noon.Add(-age)
		ages := make([]int, len(queue.AgeBounds())+1)
		ages[2] = n - 1 // up to 15 minutes
		ages[9] = 1     // up to 5 days
		s.Domains = map[string]*queue.DomainView{"example.org": {Count: s.Total, Oldest: s.Oldest, Ages: ages}}
	}
	return s
}

func inputs(p probes.PrimaryStatus, q *queue.Snapshot) Inputs {
	return Inputs{
		Now: noon, Host: "mx2.example.net", Version: "1.0", Mode: "postfix", Started: noon.Add(-time.Hour), Lifetime: 21 * 24 * time.Hour,
		Primaries: []probes.PrimaryStatus{p}, Queue: q, Scan: queue.ScanStatus{Success: q != nil},
	}
}

func TestVerdict(t *testing.T) {
	open := &outage.Report{Primary: "mx1.example.org", From: noon.Add(-17 * time.Minute), State: "down"}
	lost := &outage.Report{Primary: "mx1.example.org", From: noon.Add(-17 * time.Minute), State: "down", Counts: outage.Counts{Accepted: 3, Bounced: 2, Expired: 1}}
	draining := &outage.Report{Primary: "mx1.example.org", From: noon.Add(-time.Hour), To: noon, State: "draining",
		Drain: queue.Progress{State: queue.DrainRunning, Total: 1312, Left: 112, ETA: 3 * time.Minute}}
	unknown := mx1(probes.Unknown, 0)
	for name, tc := range map[string]struct {
		in      Inputs
		change  func(*Inputs)
		level   Level
		verdict string
	}{
		"fine": {in: inputs(mx1(probes.Up, time.Hour), snapshot(0, 0)), level: OK, verdict: "mx1.example.org takes mail; nothing is held."},
		"down": {in: inputs(mx1(probes.Down, 17*time.Minute), snapshot(312, time.Hour)), change: func(in *Inputs) { in.Open = []*outage.Report{open} }, level: Critical,
			verdict: "mx1.example.org is down since 12:04 (17 min); 312 messages held, the oldest bounces in 20 d 23 h; nothing lost."},
		"lost": {in: inputs(mx1(probes.Down, 17*time.Minute), snapshot(0, 0)), change: func(in *Inputs) { in.Open = []*outage.Report{lost} }, level: Critical,
			verdict: "mx1.example.org is down since 12:04 (17 min); nothing is held; 3 messages lost."},
		"draining": {in: inputs(mx1(probes.Up, time.Minute), snapshot(112, 50*time.Minute)), change: func(in *Inputs) { in.Open = []*outage.Report{draining} }, level: OK,
			verdict: "mx1.example.org takes mail; 1,200 of 1,312 messages handed over, 112 left, about 3 min to go; nothing lost."},
		"unknown":      {in: inputs(unknown, snapshot(0, 0)), level: Unknown, verdict: "Whether mx1.example.org takes mail is not known; nothing is held."},
		"recovering":   {in: inputs(mx1(probes.Recovering, 2*time.Minute), snapshot(1, time.Minute)), level: Warning, verdict: "mx1.example.org is coming back since 12:19; 1 message held, the oldest bounces in 20 d 23 h."},
		"no scan yet":  {in: inputs(mx1(probes.Up, time.Hour), nil), level: Unknown, verdict: "mx1.example.org takes mail; what is held is not known (the queue has not been looked at yet)."},
		"scan hanging": {in: inputs(mx1(probes.Up, time.Hour), nil), change: func(in *Inputs) { in.Scan.Err = "postqueue did not answer" }, level: Unknown, verdict: "mx1.example.org takes mail; what is held is not known (postqueue did not answer)."},
		"an old scan is not fine": {in: inputs(mx1(probes.Up, time.Hour), snapshot(0, 0)), change: func(in *Inputs) { in.Scan = queue.ScanStatus{Err: "hangs"} }, level: Unknown,
			verdict: "mx1.example.org takes mail; nothing is held."},
		"stuck":    {in: inputs(mx1(probes.Up, 48*time.Hour), snapshot(2, 3*time.Hour)), level: Warning, verdict: "mx1.example.org takes mail; 2 messages held, the oldest bounces in 20 d 21 h, though it could go."},
		"no hosts": {in: Inputs{Now: noon, Queue: snapshot(0, 0), Scan: queue.ScanStatus{Success: true}}, level: Unknown, verdict: "No primary is known, so nothing is watched; nothing is held."},
		"nothing":  {in: Inputs{Now: noon}, level: Unknown, verdict: "No primary is known, so nothing is watched; what is held is not known (the queue has not been looked at yet)."},
		"blind": {in: inputs(mx1(probes.Up, time.Hour), snapshot(0, 0)), change: func(in *Inputs) {
			in.Blind = probes.BlindStatus{Sight: probes.Blind, Since: noon.Add(-5 * time.Minute)}
		}, level: Unknown, verdict: "Nothing can be seen from here since 12:16 (5 min): whether the primary takes mail is not known; nothing is held."},
		"log": {in: inputs(mx1(probes.Up, time.Hour), snapshot(0, 0)), change: func(in *Inputs) {
			in.Logs = []LogInput{{Name: "journal", Stalled: true}}
		}, level: Warning, verdict: "mx1.example.org takes mail; nothing is held."},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.change != nil {
				tc.change(&tc.in)
			}
			s := Build(tc.in)
			if s.Level != tc.level || s.Verdict != tc.verdict {
				t.Errorf("%v %q\nwant %v %q", s.Level, s.Verdict, tc.level, tc.verdict)
			}
		})
	}
}

func TestExitCodesAreThoseOfPlugins(t *testing.T) {
	for l, want := range map[Level]int{OK: 0, Warning: 1, Critical: 2, Unknown: 3, 9: 3} {
		if l.ExitCode() != want {
			t.Errorf("%v exits with %d, want %d", l, l.ExitCode(), want)
		}
	}
}

func TestHeldByAgeAddsUp(t *testing.T) {
	s := Build(inputs(mx1(probes.Down, time.Hour), snapshot(312, 4*24*time.Hour)))
	d := s.Held.Domains[0]
	if got, want := d.Ages, []int{0, 311, 0, 0, 0, 1}; !equal(got, want) {
		t.Errorf("by age %v, want %v (%v)", got, want, s.Held.Columns)
	}
}

func equal(a, b []int) bool {
	for i := range a {
		if len(a) != len(b) || a[i] != b[i] {
			return false
		}
	}
	return true
}

// hostile is what a server could answer: markup, a cursor movement, a title change, a right-to-left override, a line break, no UTF-8.
const hostile = "<script>alert(1)</script>\x1b[2J\x1b]0;owned\x07\u202egnp.exe\r\nsecond line\xff\u200b\u009b31m"

func hostileInputs() Inputs {
	p := mx1(probes.Down, time.Hour)
	p.Primary.Name, p.Primary.Domains = hostile, []string{hostile}
	p.Last.Reason, p.Last.Note, p.Last.Hop.Host, p.Last.TLS = hostile, hostile, hostile, hostile
	in := inputs(p, snapshot(3, time.Hour))
	in.Host, in.Version, in.Mode = hostile, hostile, "postfix"
	in.Queue.Domains[hostile] = &queue.DomainView{Count: queue.Count{Messages: 2}, Ages: make([]int, 13)}
	in.Logs = []LogInput{{Name: hostile, Stats: logparse.SourceStats{Readable: logparse.ReadableNo, LastError: hostile}}}
	in.Alerts = &alert.Status{
		Incidents: []alert.IncidentStatus{{Kind: alert.PrimaryDown, Title: hostile, Opened: noon, Waiting: []string{hostile}}},
		Channels:  []alert.ChannelStatus{{Name: hostile, LastError: hostile}}, Storage: hostile,
	}
	r := &outage.Report{ID: hostile, Primary: hostile, Reason: hostile, From: noon, Drain: queue.Progress{State: queue.DrainRunning, Err: hostile}}
	in.Open, in.Last = []*outage.Report{r}, r
	in.Findings = []Finding{{ID: hostile, Level: Critical, Text: hostile, Fix: hostile}}
	in.Blind = probes.BlindStatus{Sight: probes.Blind, Since: noon, Reason: hostile}
	in.Scan.Success, in.Scan.Err = false, hostile
	return in
}

func TestStrangersDoNotReachTheTerminal(t *testing.T) {
	built := Build(hostileInputs())
	raw := built // as if it came over a socket from someone who does not clean
	raw.Verdict, raw.Host, raw.Troubles = hostile, hostile, []string{hostile}
	raw.Primaries[0].Name, raw.Primaries[0].State = hostile, hostile
	raw.Held.Domains[0].Name = hostile
	for _, s := range []Status{built, raw} {
		for _, width := range []int{0, 40, 80, 132} {
			var b bytes.Buffer
			if err := Render(&b, s, width, Plain); err != nil {
				t.Fatal(err)
			}
			for _, bad := range []string{"\x1b", "\x07", "\u202e", "\r", "\xff", "\u200b", "\u009b"} {
				if strings.Contains(b.String(), bad) {
					t.Fatalf("width %d: %q reached the terminal:\n%q", width, bad, b.String())
				}
			}
			for _, line := range strings.Split(b.String(), "\n") {
				if n := cells(line); n > max(width, minWidth) {
					t.Errorf("width %d: a line of %d columns: %q", width, n, line)
				}
			}
		}
	}
}

func TestOneScreen(t *testing.T) {
	in := inputs(mx1(probes.Down, 17*time.Minute), snapshot(312, time.Hour))
	for i := range 30 {
		p := mx1(probes.State(i%4), time.Hour)
		p.Primary.Name = strings.Repeat("x", i) + ".example.net"
		in.Primaries = append(in.Primaries, p)
		in.Queue.Domains[p.Primary.Name] = &queue.DomainView{Count: queue.Count{Messages: i}, Ages: make([]int, 13)}
		in.Logs = append(in.Logs, LogInput{Name: p.Primary.Name, Stalled: true})
		in.Findings = append(in.Findings, Finding{Level: Warning, Text: "a finding"})
	}
	in.Alerts = &alert.Status{Channels: []alert.ChannelStatus{{Name: "slack"}}}
	for _, colour := range []Colour{Plain, ANSI} {
		var b bytes.Buffer
		if err := Render(&b, Build(in), 80, colour); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(b.String(), "\n"); n > 23 {
			t.Errorf("%d lines:\n%s", n, b.String())
		}
		if (colour == Plain) == strings.Contains(b.String(), "\x1b[") {
			t.Errorf("colour %v: %q", colour, b.String())
		}
		if first := strings.Split(b.String(), "\n")[0]; !strings.Contains(first, "CRITICAL") {
			t.Errorf("the level is not in the first line: %q", first)
		}
	}
}

func TestTheScreen(t *testing.T) {
	var b bytes.Buffer
	in := inputs(mx1(probes.Down, 17*time.Minute), snapshot(312, time.Hour))
	in.Open = []*outage.Report{{Primary: "mx1.example.org", From: noon.Add(-17 * time.Minute), State: "down", Counts: outage.Counts{Accepted: 312, StillHeld: 312}}}
	in.Logs = []LogInput{{Name: "journal", Stats: logparse.SourceStats{Readable: logparse.ReadableYes, LastLine: noon.Add(-3 * time.Second)}}}
	in.Alerts = &alert.Status{Channels: []alert.ChannelStatus{{Name: "slack"}}}
	if err := Render(&b, Build(in), 80, Plain); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + b.String())
	for _, want := range []string{
		"mx1.example.org is down since 12:04 (17 min); 312 messages held,", "connect: connection refused", "312 messages accepted = 312 held",
		"journal  read, last line 3 s ago", "refused 312", "slack",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not on the screen", want)
		}
	}
}

func TestJSONRoundTrip(t *testing.T) {
	s := Build(hostileInputs())
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var back Status
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if back.Schema != 1 || back.Level != Critical && back.Level != Unknown || back.Verdict != s.Verdict || len(back.Primaries) != 1 {
		t.Errorf("came back as %+v", back)
	}
	empty, _ := json.Marshal(Build(Inputs{Now: noon}))
	for _, want := range []string{`"primaries":[]`, `"held":null`, `"level":"UNKNOWN"`, `"troubles":[]`, `"logs":[]`, `"findings":[]`} {
		if !strings.Contains(string(empty), want) {
			t.Errorf("%s is not in %s", want, empty)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add(hostile)
	f.Add(strings.Repeat("é", 500))
	f.Add("e\u0301\u0301\u0301")
	f.Fuzz(func(t *testing.T, s string) {
		c := clean(s)
		if clean(c) != c {
			t.Errorf("not the same the second time: %q, %q", c, clean(c))
		}
		for _, r := range c {
			if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
				t.Errorf("%U is left in %q", r, c)
			}
		}
		for _, w := range []int{1, 7, 80} {
			if cells(fit(c, w)) != w {
				t.Errorf("fitted to %d, %q has %d", w, fit(c, w), cells(fit(c, w)))
			}
		}
	})
}
