package test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"net/http"

	"github.com/sparemx/sparemx/test/rig"
)

// A real Prometheus scrapes the agent through an outage; what it stored agrees with postqueue and with what was sent.
func TestPrometheusSeesWhatPostqueueSays(t *testing.T) {
	t.Parallel()
	rig.Need(t, "prometheus", "promtool")
	primary := rig.StoppedSink(t, rig.Behaviour{})
	backup := rig.Backup(t, rig.Conf{}, map[string]string{"example.org": primary.Addr, "example.net": primary.Addr})
	agent := rig.StartAgent(t, rig.AgentConf{YAML: beside(backup) + quick})
	prom := rig.StartPrometheus(t, time.Second, []string{agent.Addr})
	prom.WaitFor(30*time.Second, `up{job="sparemx"}`, rig.Is(1))
	prom.WaitFor(30*time.Second, `sparemx_primary_state{state="down"}`, rig.Is(1))

	var truth rig.Truth
	backup.Inject(rig.Load{N: 60, To: "user%d@example.org", Size: 3000}, &truth)
	backup.Inject(rig.Load{N: 40, To: "user%d@example.net"}, &truth)
	backup.WaitHeld(20*time.Second, 100)
	held := backup.List()
	bytes, oldest := map[string]float64{}, time.Now().Unix()
	messages := map[string]float64{}
	for _, h := range held {
		_, domain, _ := strings.Cut(h.Recipients[0].Address, "@")
		messages[domain]++
		bytes[domain] += float64(h.Size)
		oldest = min(oldest, h.Arrived)
	}
	backup.Postsuper("-h", held[0].ID)
	prom.WaitFor(30*time.Second, `sparemx_queue_held_messages`, rig.Is(100))
	prom.WaitFor(30*time.Second, `sum(sparemx_queue_messages{place="hold"})`, rig.Is(1))
	for domain := range messages {
		prom.WaitFor(30*time.Second, fmt.Sprintf(`sum(sparemx_queue_messages{domain=%q})`, domain), rig.Is(messages[domain]))
		prom.WaitFor(30*time.Second, fmt.Sprintf(`sum(sparemx_queue_bytes{domain=%q})`, domain), rig.Is(bytes[domain]))
	}
	prom.WaitFor(10*time.Second, fmt.Sprintf(`abs(max(timestamp(sparemx_queue_oldest_message_age_seconds) - sparemx_queue_oldest_message_age_seconds) - %d)`, oldest),
		func(v float64) bool { return v < 4 })
	backup.Postsuper("-H", held[0].ID)

	primary.Up()
	prom.WaitFor(60*time.Second, `sum(sparemx_outage_messages_total{fate="delivered"})`, rig.Is(100))
	prom.WaitFor(30*time.Second, `sum(sparemx_outage_messages_total{fate!="delivered"})`, rig.Is(0))
	prom.WaitFor(30*time.Second, `sparemx_queue_held_messages`, rig.Is(0))
	prom.WaitFor(30*time.Second, `sum(sparemx_deliveries_total{result="delivered"})`, rig.Is(100))
	prom.WaitFor(30*time.Second, `sparemx_arrivals_total`, rig.Is(100))
	// The families of other exporters, for the dashboards that people have: a histogram and counters of the same mail.
	prom.WaitFor(30*time.Second, `sum(postfix_smtp_messages_processed_total{status="sent"})`, rig.Is(100))
	if d := truth.Diff(primary.Arrived()); !d.Same() {
		t.Error("at the primary:", d)
	}

	resp, err := http.Get("http://" + agent.Addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lint := exec.Command("promtool", "check", "metrics")
	lint.Stdin = resp.Body
	if out, err := lint.CombinedOutput(); err != nil {
		for line := range strings.Lines(string(out)) {
			if !strings.HasPrefix(line, "postfix_") { // their names are given
				t.Errorf("promtool: %s", line)
			}
		}
	}
}
