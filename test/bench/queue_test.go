package bench

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sparemx/sparemx/test/rig"
)

// ask fetches /metrics and returns how long the whole answer took, in ms.
func ask(b *testing.B, a *rig.Agent, gzip bool) float64 {
	return fetch(b, "http://"+a.Addr+"/metrics", gzip)
}

func fetch(b *testing.B, url string, gzip bool) float64 {
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Accept-Encoding", map[bool]string{true: "gzip", false: "identity"}[gzip])
	start := time.Now()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err != nil || n < 10 {
		b.Fatal(n, err)
	}
	return float64(time.Since(start).Microseconds()) / 1000
}

// scrape200 is 200 domains on 200 primaries.
func scrape200(b *testing.B, t *table) {
	routes := map[string]string{}
	for i := range 200 {
		routes[fmt.Sprintf("d%d.test", i)] = fmt.Sprintf("127.0.0.2:%d", 10_000+i)
	}
	backup := rig.Backup(b, rig.Conf{}, routes)
	a := rig.StartAgent(b, rig.AgentConf{YAML: beside(backup, "")})
	a.WaitMetric(20*time.Second, func(v float64) bool { return v >= 1 }, "sparemx_queue_scans_total")
	var plain, zipped []float64
	for range 100 {
		plain = append(plain, ask(b, a, false))
		zipped = append(zipped, ask(b, a, true))
	}
	t.most("scrape", "/metrics, 200 domains on 200 primaries", "ms", 20, plain...)
	t.most("scrape", "the same with gzip", "ms", 20, zipped...)
}

// showq is the CPU time of the showq processes of the queue directory dir.
func showq(dir string) (sum time.Duration) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		if !strings.Contains(read(path), "(showq)") {
			continue
		}
		if cwd, err := os.Readlink(filepath.Join(filepath.Dir(path), "cwd")); err != nil || cwd != dir {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		own, _ := cpu(pid)
		sum += own
	}
	return sum
}

// fill puts n messages into a private Postfix that delivers nothing.
func fill(b *testing.B, n int) *rig.Postfix {
	backup := rig.Backup(b, rig.Conf{LongIDs: true, Main: []string{"defer_transports = relay", "default_process_limit = 100"}},
		map[string]string{"example.org": "127.0.0.2:9"})
	start := time.Now()
	for left := n; left > 0; left -= 10_000 { // one connection lasts two minutes at most
		backup.Inject(rig.Load{N: min(left, 10_000), To: "user%d@example.org", Conns: 8}, &rig.Truth{})
	}
	backup.WaitHeld(10*time.Minute, n)
	fmt.Printf("# %d messages held after %v\n", n, time.Since(start).Round(time.Second))
	return backup
}

func scan(b *testing.B, t *table) {
	n := setting("SPAREMX_BENCH_HELD", 20_000)
	backup := fill(b, n)
	// The agent scans when it is told to: by a queue interval far beyond the run, and at each start.
	a := rig.StartAgent(b, rig.AgentConf{YAML: beside(backup, "queue: { every: 1s }\n")})
	a.WaitMetric(time.Minute, rig.Is(float64(n)), "sparemx_queue_held_messages")
	part := fmt.Sprintf("scan, %s held", number(float64(n)))

	var answers, healthy []float64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				answers = append(answers, ask(b, a, false))
				healthy = append(healthy, fetch(b, "http://"+a.Addr+"/-/healthy", false))
			}
		}
	}()
	// A scan is told by its number; it begins some time after the one before has ended, and postqueue alone runs in between.
	scans := func() float64 { v, _ := a.Metrics().Sum("sparemx_queue_scans_total"); return v }
	for done := scans(); scans() < done+3; {
		<-time.After(50 * time.Millisecond)
	}
	close(stop)
	<-stopped
	t.most(part, "/metrics during scans", "ms", 20, answers...)
	t.most(part, "/metrics during scans, 99 of 100", "ms", 20, quantile(answers, 0.99))
	t.most(part, "/metrics during scans, the slowest", "ms", 20, quantile(answers, 1))
	t.note(part, "/-/healthy by turns with it, which does nothing, 99 of 100", "ms", quantile(healthy, 0.99))
	t.note(part, "/-/healthy, the slowest", "ms", quantile(healthy, 1))

	var all, without, ours, children, alone []float64
	for range 3 {
		own, kids := cpu(a.PID())
		lister := showq(backup.Queue)
		before := scans()
		own, kids = cpu(a.PID())
		<-time.After(10 * time.Second) // nobody asks for anything: a question costs the agent CPU too
		own2, kids2 := cpu(a.PID())
		lister2 := showq(backup.Queue)
		many := time.Duration(max(1, int(scans()-before)))
		cmd := exec.Command("postqueue", "-c", backup.Config, "-j")
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
		lister3 := showq(backup.Queue)
		theirs := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		own2, kids2 = own+(own2-own)/many, kids+(kids2-kids)/many
		lister2, lister3 = lister+(lister2-lister)/many, lister3-lister2
		mine := own2 - own + kids2 - kids
		all = append(all, float64(mine+lister2-lister)/float64(theirs+lister3))
		without = append(without, float64(mine)/float64(theirs))
		us := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(n) }
		ours, children, alone = append(ours, us(own2-own)), append(children, us(kids2-kids)), append(alone, us(theirs))
	}
	t.most(part, "CPU of a scan to that of postqueue -j, showq's included", "x", 1.3, all...)
	t.note(part, "the same, showq's left out", "x", without...)
	t.note(part, "the agent's own CPU", "us a message", ours...)
	t.note(part, "CPU of its postqueue", "us a message", children...)
	t.note(part, "CPU of postqueue -j alone", "us a message", alone...)
	rss, most := memory(a.PID())
	t.note(part, "RSS", "MB", rss)
	t.note(part, "RSS, the most", "MB", most)
}
