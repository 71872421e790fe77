// Package test runs sparemx beside real parts: Postfix as backup and as primary, Prometheus, Alertmanager, logrotate,
// rsyslogd. What is expected is compared with what went over the wire and with what the parts themselves say.
//
// A test is skipped where a part it needs is missing; with SPAREMX_REQUIRE=1 it fails. test/install.sh installs the parts.
package test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sparemx/sparemx/test/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

// quick are probes that tell a test soon what a real agent may take some seconds for.
const quick = "probe: { every: 500ms, retry: 200ms, down: 300ms, fall: 2, rise: 2, timeout: 3s }\nqueue: { every: 1s }\n"

// beside is the configuration of an agent that stands beside the given instances.
func beside(instances ...*rig.Postfix) string {
	var dirs []string
	for _, p := range instances {
		dirs = append(dirs, p.Config)
	}
	return fmt.Sprintf("mode: postfix\npostfix: { config: [%s] }\n", strings.Join(dirs, ", "))
}

// report is what these tests read of a line of "sparemx outages --json". The names are the published ones: the type of
// the package is not used, so that a renamed field is found.
type report struct {
	Schema        int           `json:"schema"`
	ID            string        `json:"id"`
	Primary       string        `json:"primary"`
	Domains       []string      `json:"domains"`
	From          time.Time     `json:"from"`
	To            time.Time     `json:"to"`
	Closed        time.Time     `json:"closed"`
	Duration      time.Duration `json:"duration_ns"`
	DetectedAfter time.Duration `json:"detected_after_ns"`
	Accepted      int           `json:"accepted"`
	Delivered     int           `json:"delivered"`
	Bounced       int           `json:"bounced"`
	Expired       int           `json:"expired"`
	Deleted       int           `json:"deleted"`
	StillHeld     int           `json:"still_held"`
	Unaccounted   int           `json:"unaccounted"`
	Refused       int           `json:"refused"`
	LostCount     int           `json:"lost_count"`
	Lost          []struct {
		ID     string `json:"id"`
		Fate   string `json:"fate"`
		Reason string `json:"reason"`
	} `json:"lost"`
	Delay struct {
		P50 time.Duration `json:"p50_ns"`
		Max time.Duration `json:"max_ns"`
	} `json:"delay"`
	FirstDelivery time.Duration `json:"first_delivery_after_recovery_ns"`
	TimeToEmpty   time.Duration `json:"time_to_empty_ns"`
	Drain         struct {
		Pushed    int `json:"pushed"`
		Peak      int `json:"peak"`
		Refused   int `json:"refused"`
		Delivered int `json:"delivered"`
		Left      int `json:"left"`
	} `json:"drain"`
	Interrupted int    `json:"interrupted"`
	State       string `json:"state"`
}

// account is the part of a report that has to be equal to the truth, to the message.
type account struct{ Accepted, Delivered, Bounced, Expired, Deleted, StillHeld, Unaccounted int }

func (r report) account() account {
	return account{r.Accepted, r.Delivered, r.Bounced, r.Expired, r.Deleted, r.StillHeld, r.Unaccounted}
}

func reports(t *testing.T, a *rig.Agent) []report {
	t.Helper()
	out, code, stderr := a.Run("outages", "--json")
	if code != 0 {
		t.Fatalf("sparemx outages: exit %d: %s", code, stderr)
	}
	var all []report
	lines := bufio.NewScanner(strings.NewReader(out))
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var r report
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatalf("%v: %s", err, lines.Text())
		}
		all = append(all, r)
	}
	return all
}

// closedReport waits until the newest outage is closed, and returns its report.
func closedReport(t *testing.T, a *rig.Agent, limit time.Duration) report {
	t.Helper()
	var r report
	rig.Eventually(t, limit, "the outage to be closed", func() bool {
		all := reports(t, a)
		if len(all) > 0 {
			r = all[0]
		}
		return len(all) > 0 && r.State == "closed"
	})
	return r
}

// waitState waits until the only primary of the agent is in state.
func waitState(t *testing.T, a *rig.Agent, limit time.Duration, state string) {
	t.Helper()
	a.WaitMetric(limit, rig.Is(1), "sparemx_primary_state", "state", state)
}
