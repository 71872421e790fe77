// Package bench measures the whole agent beside real Postfix, against the figures it is meant to reach, and against what it is
// compared with in the same run: both suffer alike from whatever else the machine does. test/bench.sh runs it and writes
// docs/BENCHMARKS.md. There are no tests here: a figure that falls short is shown, not failed.
package bench

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sparemx/sparemx/test/rig"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.bench").Value.String() == "" {
		os.Exit(0) // nothing asked for: the binary need not be built
	}
	os.Setenv("SPAREMX_RACE", "0")
	os.Exit(rig.Main(m))
}

// BenchmarkAgent is all of it, each part once (-benchtime 1x). SPAREMX_BENCH_HELD=n is how many messages the queue of the scan
// holds (20,000), SPAREMX_BENCH_RUNS=n how many recoveries are timed (11), SPAREMX_BENCH_OUT=file where the table goes.
func BenchmarkAgent(b *testing.B) {
	t := &table{}
	b.Run("scrape", func(b *testing.B) { scrape200(b, t) })
	b.Run("parse", func(b *testing.B) { parse(b, t) })
	b.Run("follow", func(b *testing.B) { follow(b, t) })
	b.Run("bound", func(b *testing.B) { bound(b, t) })
	b.Run("idle", func(b *testing.B) { idle(b, t) })
	b.Run("recovery", func(b *testing.B) { recovery(b, t) })
	b.Run("scan", func(b *testing.B) { scan(b, t) })
	text := t.markdown()
	fmt.Print("\n", text)
	if out := os.Getenv("SPAREMX_BENCH_OUT"); out != "" {
		if err := os.WriteFile(out, []byte(text), 0o644); err != nil {
			b.Error(err)
		}
	}
}

// setting is a number from the environment.
func setting(name string, def int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return def
}

// table is what was measured.
type table struct{ rows []row }

type row struct {
	part, what   string
	median       float64
	low, high    float64
	runs         int
	unit, target string
	met          string // yes, no, "" where there is no target
}

// most adds figures of which the median should be at most target; least those of which it should be at least; note those of no target.
func (t *table) most(part, what, unit string, target float64, all ...float64) {
	t.add(row{part: part, what: what, unit: unit, target: "<= " + number(target)}, all, func(m float64) bool { return m <= target })
}

func (t *table) least(part, what, unit string, target float64, all ...float64) {
	t.add(row{part: part, what: what, unit: unit, target: ">= " + number(target)}, all, func(m float64) bool { return m >= target })
}

func (t *table) note(part, what, unit string, all ...float64) {
	t.add(row{part: part, what: what, unit: unit}, all, nil)
}

func (t *table) add(r row, all []float64, met func(float64) bool) {
	r.runs, r.median, r.low, r.high = len(all), quantile(all, 0.5), slices.Min(all), slices.Max(all)
	if met != nil {
		r.met = map[bool]string{true: "yes", false: "**no**"}[met(r.median)]
	}
	t.rows = append(t.rows, r)
	fmt.Printf("# %s: %s: %s %s (%s to %s, %d) %s %s\n", r.part, r.what, number(r.median), r.unit, number(r.low), number(r.high), r.runs, r.target, r.met)
}

// quantile is the smallest value that a share q of all is not above.
func quantile(all []float64, q float64) float64 {
	s := slices.Sorted(slices.Values(all))
	if q == 0.5 && len(s)%2 == 0 {
		return (s[len(s)/2-1] + s[len(s)/2]) / 2
	}
	return s[min(int(q*float64(len(s))), len(s)-1)]
}

func number(v float64) string {
	switch {
	case v >= 10000:
		s := strconv.FormatFloat(v, 'f', 0, 64)
		for i := len(s) - 3; i > 0; i -= 3 {
			s = s[:i] + "," + s[i:]
		}
		return s
	case v >= 100 || v == float64(int(v)):
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

func (t *table) markdown() string {
	var b strings.Builder
	b.WriteString("# Benchmarks\n\nWritten by `make bench` (test/bench.sh); run it where you want to know. Postfix, the agent and the load are on one machine.\n\n")
	fmt.Fprintf(&b, "Machine: %d cores of %s, Linux %s, %s, Postfix %s. Load average at the end of the run: %s.\n\n", runtime.NumCPU(), cpuModel(), output("uname", "-r"), runtime.Version(),
		output("postconf", "-h", "mail_version"), load())
	b.WriteString("The figure is the median, then the lowest and the highest of the runs. CPU is user and system time.\n\n")
	b.WriteString("| part | figure | median | low | high | runs | target | met |\n|---|---|---:|---:|---:|---:|---|---|\n")
	for _, r := range t.rows {
		fmt.Fprintf(&b, "| %s | %s | %s %s | %s | %s | %d | %s | %s |\n", r.part, r.what, number(r.median), r.unit, number(r.low), number(r.high), r.runs, r.target, r.met)
	}
	b.WriteString(notes)
	return b.String()
}

const notes = `
What the parts are:

- **scrape**: an agent with 200 domains on 200 primaries (nobody listens there); /metrics asked for 200 times over the loopback, plain and with gzip.
- **parse**: a million lines of the mix below, parsed and counted in this process, by turns with the naive scan.
- **follow**: a million lines at a time, the mix of the logs in logparse/testdata/logs with queue IDs and time stamps of their own, appended to a
  file as fast as it can be written, until sparemx_log_lines_total has them all. The naive scan counts the lines with "status=" of the same bytes and
  does nothing else. Memory is VmRSS and VmHWM (the most ever) of /proc/PID/status.
- **bound**: five million lines of messages that never leave the queue, each with a queue ID of its own: what the tracker's bound comes to.
- **idle**: default settings, one primary that is up, a log in which nothing is written, 20 s. postqueue is a child process.
- **recovery**: default settings; mail is held, the primary is down; its port is opened at a random moment, and the time is taken until the first message
  is taken there. That the primary itself takes mail is asked of it by nobody else. With Postfix's own timers (minimal_backoff_time 300 s, queue_run_delay 300 s,
  maximal_backoff_time 4000 s) a deferred message waits for its own retry time: minutes, an estimate by those settings, not measured in this run.
- **scan**: held messages in a real queue; one listing by the agent in turn with "postqueue -j" to /dev/null. showq(8) does the work of both and its
  CPU is counted on both sides; the second ratio leaves it out. /metrics is asked for all the time while scans run.
`

func output(name string, args ...string) string {
	out, _ := exec.Command(name, args...).Output()
	return strings.TrimSpace(string(out))
}

func cpuModel() string {
	for line := range strings.Lines(read("/proc/cpuinfo")) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func load() string { return strings.Join(strings.Fields(read("/proc/loadavg"))[:3], " ") }

func read(path string) string {
	text, _ := os.ReadFile(path)
	return string(text)
}

// cpu is the CPU time of a process, and of its children that have ended, to 10 ms (proc_pid_stat(5), fields 14 to 17).
func cpu(pid int) (own, children time.Duration) {
	text := read(fmt.Sprintf("/proc/%d/stat", pid))
	f := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	ticks := func(i int) time.Duration {
		n, _ := strconv.Atoi(f[i])
		return time.Duration(n) * 10 * time.Millisecond
	}
	return ticks(11) + ticks(12), ticks(13) + ticks(14)
}

// memory is VmRSS and VmHWM of a process, in MB.
func memory(pid int) (rss, most float64) {
	for line := range strings.Lines(read(fmt.Sprintf("/proc/%d/status", pid))) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		n, _ := strconv.ParseFloat(f[1], 64)
		switch f[0] {
		case "VmRSS:":
			rss = n / 1000
		case "VmHWM:":
			most = n / 1000
		}
	}
	return rss, most
}

// beside is the configuration of an agent that stands beside a Postfix.
func beside(p *rig.Postfix, more string) string {
	return fmt.Sprintf("mode: postfix\npostfix: { config: [%s] }\n", p.Config) + more
}
