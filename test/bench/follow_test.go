package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sparemx/sparemx/test/rig"
)

// realLines are the lines of the real logs, from the end of the time stamp on, with where a queue ID ends, 0 for none.
type realLine struct {
	text string
	id   int
	at   time.Duration // since the first line
}

func realLines(b *testing.B) []realLine {
	var lines []realLine
	var gone time.Duration
	for _, name := range []string{"01-shortids-outage-recovery.log", "02-longids-tls-syslogname-recovery-by-retry.log", "05-postscreen.log"} {
		text, err := os.ReadFile(filepath.Join("../../logparse/testdata/logs", name))
		if err != nil {
			b.Fatal(err)
		}
		var first, last time.Time
		for line := range strings.Lines(strings.ReplaceAll(string(text), " postfix-mx2/", " postfix/")) {
			line = strings.TrimSuffix(line, "\n")
			at, err := time.Parse(time.Stamp, line[:15])
			if err != nil {
				b.Fatal(err)
			}
			if first.IsZero() {
				first = at
			}
			last = at
			r := realLine{text: line[15:], at: gone + at.Sub(first)}
			if i := strings.Index(r.text, "]: "); i > 0 {
				if n := strings.IndexByte(r.text[i+3:], ':'); n >= 8 && n <= 20 && strings.ContainsAny(r.text[i+3:i+3+n], "0123456789") && !strings.ContainsAny(r.text[i+3:i+3+n], " -") {
					r.id = i + 3 + n
				}
			}
			lines = append(lines, r)
		}
		gone += last.Sub(first)
	}
	// Those that were still held when the logs were cut leave the queue too: else a queue grows that no working host has.
	left := map[string]bool{}
	for _, l := range lines {
		if l.id > 0 {
			left[l.text[strings.Index(l.text, "]: ")+3:l.id]] = !strings.HasSuffix(l.text, ": removed")
		}
	}
	for id, held := range left {
		if held {
			text := " mx2 postfix/qmgr[7]: " + id
			lines = append(lines, realLine{text: text + ": removed", id: len(text), at: gone})
		}
	}
	return lines
}

// copies makes at least want lines: the real ones again and again, each time with other queue IDs and later stamps, until now.
func copies(lines []realLine, want, firstCopy int) []byte {
	rounds := (want + len(lines) - 1) / len(lines)
	span := lines[len(lines)-1].at + time.Second
	begin := time.Now().Add(-time.Duration(rounds) * span)
	var out bytes.Buffer
	for r := range rounds {
		for _, l := range lines {
			out.Write(begin.Add(time.Duration(r)*span+l.at).AppendFormat(out.AvailableBuffer(), time.Stamp))
			out.WriteString(l.text[:l.id])
			if l.id > 0 {
				fmt.Fprintf(&out, "%04d", firstCopy+r)
			}
			out.WriteString(l.text[l.id:])
			out.WriteByte('\n')
			if want--; want == 0 {
				return out.Bytes()
			}
		}
	}
	return out.Bytes()
}

// mailLog is a log that an agent follows.
type mailLog struct {
	file  *os.File
	lines float64 // in it
}

// besideLog starts an agent that follows a file of ours, with a primary that is up.
func besideLog(b *testing.B) (*rig.Agent, *mailLog) {
	primary := rig.StartSink(b, rig.Behaviour{})
	backup := rig.Backup(b, rig.Conf{}, map[string]string{"example.com": primary.Addr, "example.org": primary.Addr})
	f, err := os.Create(filepath.Join(rig.Dir(b), "mail.log"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	a := rig.StartAgent(b, rig.AgentConf{YAML: beside(backup, "log: { source: ["+f.Name()+"] }\n")})
	a.WaitMetric(20*time.Second, rig.Is(1), "sparemx_primary_state", "state", "up")
	return a, &mailLog{file: f}
}

// feed appends data and waits until the agent has counted it. It returns how long that took, and the agent's CPU time.
func (l *mailLog) feed(b *testing.B, a *rig.Agent, data []byte) (took, used time.Duration) {
	own, _ := cpu(a.PID())
	l.lines += float64(bytes.Count(data, []byte("\n")))
	start := time.Now()
	if _, err := l.file.Write(data); err != nil {
		b.Fatal(err)
	}
	for limit := start.Add(5 * time.Minute); lineCount(b, a) < l.lines; {
		if time.Now().After(limit) {
			b.Fatal("the agent does not count all lines")
		}
		<-time.After(100 * time.Millisecond) // each question costs the agent a scrape, which is in its figures
	}
	took = time.Since(start)
	after, _ := cpu(a.PID())
	return took, after - own
}

// lineCount is sparemx_log_lines_total.
func lineCount(b *testing.B, a *rig.Agent) float64 {
	resp, err := http.Get("http://" + a.Addr + "/metrics")
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := bytes.Cut(text, []byte("\nsparemx_log_lines_total "))
	value, _, _ := bytes.Cut(rest, []byte("\n"))
	n, err := strconv.ParseFloat(string(value), 64)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

func follow(b *testing.B, t *table) {
	lines := realLines(b)
	a, log := besideLog(b)
	var rate, perCPU, times []float64
	const million = 1_000_000
	rounds := 5
	for r := range rounds {
		data := copies(lines, million, 1000*r)
		took, used := log.feed(b, a, data)
		rate = append(rate, million/took.Seconds())
		perCPU = append(perCPU, million/used.Seconds())
		least := naive(data)
		times = append(times, used.Seconds()/least.Seconds())
		if r == 0 || r == rounds-1 {
			rss, most := memory(a.PID())
			if r == 0 {
				t.most("follow", "RSS after a million lines", "MB", 30, rss)
			} else {
				t.note("follow", fmt.Sprintf("RSS after %d million lines", r+1), "MB", rss)
			}
			t.note("follow", fmt.Sprintf("RSS, the most in %d million lines", r+1), "MB", most)
		}
	}
	t.least("follow", "lines a second from the file to the counters", "", 500_000, rate...)
	t.note("follow", "lines a second of the agent's CPU time", "", perCPU...)
	t.note("follow", "the agent's CPU to that of a naive scan", "x", times...)
	m := a.Metrics()
	unparsed, _ := m.Sum("sparemx_log_unparsed_lines_total")
	foreign, _ := m.Sum("sparemx_log_foreign_lines_total")
	arrivals, _ := m.Sum("sparemx_arrivals_total")
	if unparsed+foreign > 0 || arrivals < 100_000 {
		b.Errorf("%v lines not understood, %v foreign, %v messages arrived: this is no realistic log", unparsed, foreign, arrivals)
	}
}

// naive is the CPU time of scanning and counting, the best of three.
func naive(data []byte) time.Duration {
	best := time.Hour
	for range 3 {
		var before, after syscall.Rusage
		syscall.Getrusage(syscall.RUSAGE_SELF, &before)
		s := bufio.NewScanner(bytes.NewReader(data))
		status, n := []byte("status="), 0
		for s.Scan() {
			if bytes.Contains(s.Bytes(), status) {
				n++
			}
		}
		syscall.Getrusage(syscall.RUSAGE_SELF, &after)
		best = min(best, time.Duration(after.Utime.Nano()+after.Stime.Nano()-before.Utime.Nano()-before.Stime.Nano()))
	}
	return best
}

// bound feeds messages that never end.
func bound(b *testing.B, t *table) {
	a, log := besideLog(b)
	const million = 1_000_000
	id := 0
	var rate []float64
	for range 5 {
		var data bytes.Buffer
		for n := 0; n < million; n += 4 {
			stamp := time.Now().Format(time.Stamp)
			fmt.Fprintf(&data, "%s mx2 postfix/smtpd[7]: %010X: client=mail.example.net[192.0.2.7]\n", stamp, 0xF000000000+id)
			fmt.Fprintf(&data, "%s mx2 postfix/cleanup[8]: %010X: message-id=<%d@mail.example.net>\n", stamp, 0xF000000000+id, id)
			fmt.Fprintf(&data, "%s mx2 postfix/qmgr[9]: %010X: from=<s@mail.example.net>, size=2226, nrcpt=1 (queue active)\n", stamp, 0xF000000000+id)
			fmt.Fprintf(&data, "%s mx2 postfix/smtp[10]: %010X: to=<user%d@example.com>, relay=none, delay=0.1, delays=0.1/0/0/0, dsn=4.4.1, status=deferred (connect to mx1.example.com[192.0.2.9]:25: Connection refused)\n",
				stamp, 0xF000000000+id, id)
			id++
		}
		took, _ := log.feed(b, a, data.Bytes())
		rate = append(rate, million/took.Seconds())
	}
	rss, most := memory(a.PID())
	tracked, _ := a.Metrics().Sum("sparemx_tracker_messages")
	t.note("bound", fmt.Sprintf("RSS after 5 million lines, %s messages tracked", number(tracked)), "MB", rss)
	t.note("bound", "RSS, the most", "MB", most)
	t.note("bound", "lines a second", "", rate...)
}

// idle is what the agent costs when nothing happens.
func idle(b *testing.B, t *table) {
	a, _ := besideLog(b)
	wait := func(d time.Duration) { <-time.After(d) }
	wait(3 * time.Second)
	own, children := cpu(a.PID())
	start := time.Now()
	wait(20 * time.Second)
	own2, children2 := cpu(a.PID())
	share := func(d time.Duration) float64 { return 100 * d.Seconds() / time.Since(start).Seconds() }
	t.most("idle", "CPU of the agent, of one core", "%", 0.5, share(own2-own))
	t.note("idle", "CPU of its children (postqueue), of one core", "%", share(children2-children))
	rss, _ := memory(a.PID())
	t.note("idle", "RSS", "MB", rss)
}
