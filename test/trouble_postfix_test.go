package test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sparemx/sparemx/alert/alerttest"
	"github.com/sparemx/sparemx/test/rig"
)

// promptly is how long a scrape may take while Postfix hangs: much less than any deadline of ours, on a busy machine.
const promptly = time.Second

// scrapeTook tells how long one scrape takes.
func scrapeTook(t *testing.T, a *rig.Agent) time.Duration {
	t.Helper()
	start := time.Now()
	resp, err := http.Get("http://" + a.Addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return time.Since(start)
}

// Postfix is stopped in the middle of an outage and started again: the scans fail and say what to type, then work; nothing is lost in the
// account.
func TestPostfixStoppedAndStartedAgain(t *testing.T) {
	t.Parallel()
	primary := rig.StoppedSink(t, rig.Behaviour{})
	backup := rig.Backup(t, rig.Conf{}, map[string]string{"example.org": primary.Addr})
	// For root postqueue reads the queue by itself when Postfix is stopped; for others showq has to.
	backup.WaitLog(10*time.Second, "daemon started")
	if err := os.Chmod(backup.Log, 0o644); err != nil {
		t.Fatal(err)
	}
	agent := strangersAgent(t, rig.AgentConf{YAML: beside(backup) + quick, Under: as(t, "postdrop")})
	waitState(t, agent, 15*time.Second, "down")
	var truth rig.Truth
	backup.Inject(rig.Load{N: 40, To: "user%d@example.org"}, &truth)
	backup.WaitHeld(20*time.Second, 40)
	agent.WaitMetric(10*time.Second, rig.Is(40), "sparemx_queue_held_messages")

	backup.Stop()
	agent.WaitMetric(10*time.Second, rig.Is(0), "sparemx_queue_scan_success")
	told(t, agent, "mail system is down", "postfix -c "+backup.Config+" start")
	if d := scrapeTook(t, agent); d > promptly {
		t.Errorf("a scrape took %v", d)
	}
	if r := reports(t, agent); len(r) != 1 || r[0].StillHeld != 40 || r[0].Unaccounted != 0 {
		t.Errorf("the account while Postfix is stopped: %+v", r)
	}
	backup.Start()
	agent.WaitMetric(10*time.Second, rig.Is(1), "sparemx_queue_scan_success")
	backup.Inject(rig.Load{N: 10, To: "user%d@example.org"}, &truth)
	backup.WaitHeld(20*time.Second, 50)
	primary.Up()
	r := closedReport(t, agent, 60*time.Second)
	if got, want := r.account(), (account{Accepted: 50, Delivered: 50}); got != want {
		t.Errorf("account: got %+v, want %+v", got, want)
	}
	if d := truth.Diff(primary.Arrived()); !d.Same() {
		t.Error("at the primary:", d)
	}
}

// Every process of Postfix is frozen in the middle of an outage: postqueue hangs. The scrape does not, the trouble is shown and said, and
// after the thaw all goes on.
func TestPostqueueHangs(t *testing.T) {
	t.Parallel()
	primary := rig.StoppedSink(t, rig.Behaviour{})
	backup := rig.Backup(t, rig.Conf{}, map[string]string{"example.org": primary.Addr})
	agent := rig.StartAgent(t, rig.AgentConf{YAML: beside(backup) + strings.Replace(quick, "queue: { every: 1s }", "queue: { every: 1s, timeout: 1s }", 1)})
	waitState(t, agent, 15*time.Second, "down")
	var truth rig.Truth
	backup.Inject(rig.Load{N: 30, To: "user%d@example.org"}, &truth)
	backup.WaitHeld(20*time.Second, 30)
	agent.WaitMetric(10*time.Second, rig.Is(30), "sparemx_queue_held_messages")

	backup.Freeze()
	agent.WaitMetric(15*time.Second, rig.Is(1), "sparemx_queue_scan_trouble", "trouble", "hanging")
	m := agent.Metrics()
	if ok, _ := m.Sum("sparemx_queue_scan_success"); ok != 0 {
		t.Error("a scan that hangs is a success")
	}
	if held, _ := m.Sum("sparemx_queue_held_messages"); held != 30 {
		t.Errorf("the last that was seen is not shown: %v held", held)
	}
	var slowest time.Duration
	for range 20 { // over at least one scan that hangs
		slowest = max(slowest, scrapeTook(t, agent))
	}
	if slowest > promptly {
		t.Errorf("a scrape took %v while postqueue hangs", slowest)
	}
	told(t, agent, "postqueue -j has not finished within 1s")
	// The primary returns while Postfix stands still: it is seen, and the drain waits for its Postfix.
	primary.Up()
	agent.WaitMetric(10*time.Second, rig.Is(0), "sparemx_primary_state", "state", "down")
	if all := reports(t, agent); len(all) != 1 || all[0].State == "closed" || all[0].StillHeld != 30 {
		t.Errorf("the outage while Postfix stands still: %+v", all)
	}

	backup.Thaw()
	agent.WaitMetric(20*time.Second, rig.Is(0), "sparemx_queue_scan_trouble", "trouble", "hanging")
	r := closedReport(t, agent, 60*time.Second)
	if got, want := r.account(), (account{Accepted: 30, Delivered: 30}); got != want {
		t.Errorf("account: got %+v, want %+v", got, want)
	}
	if d := truth.Diff(primary.Arrived()); !d.Same() {
		t.Error("at the primary:", d)
	}
}

// A resolver that answers nothing: no verdict, no outage, and after a while one alert about ourselves. When it answers again, all is well.
func TestDNSDead(t *testing.T) {
	t.Parallel()
	rig.Need(t, "postfix", "unshare")
	primary := rig.StartSink(t, rig.Behaviour{})
	host, port, _ := strings.Cut(primary.Addr, ":")
	backup := rig.Backup(t, rig.Conf{}, map[string]string{"example.org": primary.Addr})
	// Nobody reads what is sent to this address, and nobody says so.
	var silent net.PacketConn
	var server string
	rig.Eventually(t, 5*time.Second, "a free port 53 on the loopback", func() (ok bool) {
		var err error
		server = fmt.Sprintf("127.%d.%d.1", 1+rand.IntN(250), rand.IntN(250))
		silent, err = net.ListenPacket("udp", server+":53")
		return err == nil
	})
	defer silent.Close()
	resolv := file(t, "resolv.conf", "nameserver "+server+"\noptions timeout:1 attempts:1\n")
	hosts := file(t, "hosts", "127.0.0.1 localhost\n")
	hook := alerttest.NewWebhook(t)
	agent := rig.StartAgent(t, rig.AgentConf{
		YAML:  beside(backup) + quick + fmt.Sprintf("domains: { example.org: { primary: \"mx1.example.org:%s\" } }\nalert: { webhook: { url: \"%s\" } }\n", port, hook.URL),
		Under: inNamespace(`mount --bind "$1" /etc/resolv.conf; mount --bind "$2" /etc/hosts; shift 2; exec "$@"`, resolv, hosts),
	})
	agent.WaitMetric(30*time.Second, rig.Is(1), "sparemx_blind")
	agent.WaitMetric(5*time.Second, rig.Is(1), "sparemx_primary_state", "state", "unknown")
	m := agent.Metrics()
	if bad, _ := m.Sum("sparemx_primary_probes_total", "verdict", "bad"); bad != 0 {
		t.Errorf("%v probes said bad", bad)
	}
	if n, _ := m.Sum("sparemx_outages_total"); n != 0 || len(reports(t, agent)) != 0 {
		t.Errorf("an outage was declared: %v, %+v", n, reports(t, agent))
	}
	told(t, agent, "blind", "mx1.example.org")
	hook.Wait(t, 1)
	if got := events(t, hook); len(got) != 1 || howOften(got["blind"], "opened") != 1 {
		t.Errorf("people were told %v", got)
	}
	if out, code, _ := agent.Run("status"); code != 3 {
		t.Errorf("status of a blind agent: exit %d\n%s", code, out)
	}

	if err := os.WriteFile(hosts, []byte(host+" mx1.example.org\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	waitState(t, agent, 20*time.Second, "up")
	agent.WaitMetric(5*time.Second, rig.Is(0), "sparemx_blind")
	rig.Eventually(t, 20*time.Second, "the end to be told", func() bool { return howOften(events(t, hook)["blind"], "resolved") == 1 })
}
