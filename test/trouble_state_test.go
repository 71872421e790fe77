package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sparemx/sparemx/alert/alerttest"
	"github.com/sparemx/sparemx/test/rig"
)

// onTmpfs gives an agent a small file system of its own for its state. It ends with the agent.
var onTmpfs = `
	for arg; do
		case $arg in --state=*) dir=${arg#--state=}; mkdir -p "$dir"; mount -t tmpfs -o size=512k,mode=755 none "$dir";; esac
	done
	exec "$@"`

// inside is the path of a file as the agent sees it.
func inside(a *rig.Agent, path string) string { return fmt.Sprintf("/proc/%d/root%s", a.PID(), path) }

// The disk under the state directory fills up in the middle of an outage. The agent goes on, says so in a metric, its log and status, and
// keeps the account in memory; when there is room again everything is kept, so that going on from it loses nothing and counts nothing twice.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	rig.Need(t, "postfix", "unshare")
	primary := rig.StartSink(t, rig.Behaviour{})
	backup := rig.Backup(t, rig.Conf{}, map[string]string{"example.org": primary.Addr})
	hook := alerttest.NewWebhook(t)
	agent := rig.StartAgent(t, rig.AgentConf{YAML: beside(backup) + quick + "alert: { webhook: { url: \"" + hook.URL + "\" } }\n", Under: inNamespace(onTmpfs)})
	waitState(t, agent, 15*time.Second, "up")
	agent.WaitMetric(5*time.Second, rig.Is(0), "sparemx_state_write_failures_total")
	var truth rig.Truth
	free := full(t, inside(agent, agent.State))
	agent.WaitMetric(15*time.Second, func(n float64) bool { return n >= 2 }, "sparemx_state_write_failures_total")
	says(t, agent, "no space left on device")
	told(t, agent, "the state directory cannot be written", "df -h")

	// All of an outage on a full disk.
	primary.Down()
	waitState(t, agent, 15*time.Second, "down")
	hook.Wait(t, 1)
	backup.Inject(rig.Load{N: 60, To: "user%d@example.org"}, &truth)
	backup.WaitHeld(20*time.Second, 60)
	agent.WaitMetric(10*time.Second, rig.Is(60), "sparemx_queue_held_messages")
	rig.Eventually(t, 10*time.Second, "the account to have all", func() bool {
		r := reports(t, agent)
		return len(r) == 1 && r[0].Accepted == 60 && r[0].StillHeld == 60
	})
	if lines := strings.Count(logged(t, agent), "the state directory cannot be written"); lines != 1 {
		t.Errorf("said %d times in the log, want once", lines)
	}

	free()
	rig.Eventually(t, 15*time.Second, "the disk to be written again", func() bool {
		return strings.Contains(logged(t, agent), "the state directory can be written again")
	})
	failures, _ := agent.Metrics().Sum("sparemx_state_write_failures_total")
	rig.Eventually(t, 10*time.Second, "the trouble to be gone from status", func() bool {
		out, _, _ := agent.Run("status", "--json")
		return !strings.Contains(out, "cannot be written") && !strings.Contains(out, "memory alone")
	})
	// A reload begins again from what is on the disk.
	if _, code, stderr := agent.Run("reload"); code != 0 {
		t.Fatalf("sparemx reload: exit %d, %s", code, stderr)
	}
	waitState(t, agent, 15*time.Second, "down")
	backup.Inject(rig.Load{N: 20, To: "user%d@example.org"}, &truth)
	backup.WaitHeld(20*time.Second, 80)
	primary.Up()
	r := closedReport(t, agent, 60*time.Second)
	if got, want := r.account(), (account{Accepted: 80, Delivered: 80}); got != want {
		t.Errorf("account: got %+v, want %+v", got, want)
	}
	if d := truth.Diff(primary.Arrived()); !d.Same() {
		t.Error("at the primary:", d)
	}
	sent := 0
	for _, line := range backup.Lines() {
		sent += strings.Count(line, "status=sent")
	}
	agent.WaitMetric(10*time.Second, rig.Is(float64(sent)), "sparemx_deliveries_total", "result", "delivered")
	if now, _ := agent.Metrics().Sum("sparemx_state_write_failures_total"); now != failures {
		t.Errorf("writes still fail: %v, then %v", failures, now)
	}
	rig.Eventually(t, 20*time.Second, "the end to be told", func() bool { return howOften(events(t, hook)["recovered"], "resolved") == 1 })
	if got := events(t, hook)["primary_down"]; howOften(got, "opened") != 1 {
		t.Errorf("people were told %v", got)
	}
}

// The state directory is removed under a running agent in the middle of an outage: it is made again with all that is in memory, so that a
// kill right after it loses nothing.
func TestStateDirectoryRemoved(t *testing.T) {
	t.Parallel()
	primary := rig.StoppedSink(t, rig.Behaviour{})
	backup := rig.Backup(t, rig.Conf{}, map[string]string{"example.org": primary.Addr})
	agent := rig.StartAgent(t, rig.AgentConf{YAML: beside(backup) + quick})
	waitState(t, agent, 15*time.Second, "down")
	var truth, more rig.Truth
	backup.Inject(rig.Load{N: 30, To: "user%d@example.org"}, &truth)
	backup.WaitHeld(20*time.Second, 30)
	backup.Postsuper("-d", truth.Sent()[0].QueueID) // known from the log alone: the queue does not have it
	rig.Eventually(t, 15*time.Second, "the account to know", func() bool {
		r := reports(t, agent)
		return len(r) == 1 && r[0].account() == account{Accepted: 30, Deleted: 1, StillHeld: 29}
	})
	if err := os.RemoveAll(agent.State); err != nil {
		t.Fatal(err)
	}
	rig.Eventually(t, 30*time.Second, "the account and the positions to be on disk again", func() bool {
		journals, _ := filepath.Glob(filepath.Join(agent.State, "outages", "*.journal"))
		_, err := os.Stat(filepath.Join(agent.State, "positions.json"))
		return len(journals) == 1 && err == nil
	})
	agent.Kill9()
	agent.Start()
	backup.Inject(rig.Load{N: 5, To: "more%d@example.org"}, &more)
	backup.WaitHeld(20*time.Second, 34)
	primary.Up()
	r := closedReport(t, agent, 60*time.Second)
	if got, want := r.account(), (account{Accepted: 35, Delivered: 34, Deleted: 1}); got != want || r.Interrupted != 1 {
		t.Errorf("account: got %+v, want %+v; interrupted %d times", got, want, r.Interrupted)
	}
}

// asked are the reports as the agent gives them to "sparemx outages", without the cost of a process.
func asked(t *testing.T, a *rig.Agent) (all []report) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", a.Control)
	}}}
	resp, err := client.Get("http://agent/v1/outages")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&all); err != nil {
		t.Fatal(err)
	}
	return all
}

// Each file of the state, damaged in each way, while an outage is open: the agent starts, says which file it is, and the account is whole
// but for what only that file held.
func TestDamagedState(t *testing.T) {
	t.Parallel()
	primary := rig.StoppedSink(t, rig.Behaviour{})
	backup := rig.Backup(t, rig.Conf{}, map[string]string{"example.org": primary.Addr})
	hook := alerttest.NewWebhook(t)
	agent := rig.StartAgent(t, rig.AgentConf{YAML: beside(backup) + quick + "alert: { webhook: { url: \"" + hook.URL + "\" } }\n"})
	waitState(t, agent, 15*time.Second, "down")
	var truth rig.Truth
	const n = 25
	backup.Inject(rig.Load{N: n, To: "user%d@example.org"}, &truth)
	backup.WaitHeld(20*time.Second, n)
	hook.Wait(t, 1)
	whole := func() bool {
		r := asked(t, agent)
		return len(r) == 1 && r[0].State == "down" && r[0].account() == account{Accepted: n, StillHeld: n}
	}
	rig.Eventually(t, 15*time.Second, "the account to have all", whole)
	journal := reports(t, agent)[0].ID + ".journal"
	agent.Stop()
	good := filepath.Join(rig.Dir(t), "good")
	copyDir := func(from, to string) {
		t.Helper()
		if out, err := exec.Command("sh", "-ec", `rm -rf "$2"; cp -a "$1" "$2"`, "sh", from, to).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	copyDir(agent.State, good)

	damages := []struct {
		name  string
		sure  bool // every format notices it
		wreck func([]byte) []byte
	}{
		{"flipped bytes", false, func(b []byte) []byte {
			for i := 3; i < len(b); i += 1 + len(b)/7 {
				b[i] ^= 0x80
			}
			return b
		}},
		{"truncated", true, func(b []byte) []byte { return b[:len(b)/2] }},
		{"empty", true, func(b []byte) []byte { return nil }},
		{"garbage", true, func(b []byte) []byte { return bytes.Repeat([]byte{0, 0xff, '{', '\n', 0x80}, 2000) }},
	}
	for _, name := range []string{"primaries.json", "positions.json", "tracker.bin", "outages/" + journal, "alerts/outbox.json"} {
		for _, d := range damages {
			what := name + ", " + d.name
			copyDir(good, agent.State)
			path := filepath.Join(agent.State, name)
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, d.wreck(data), 0o600); err != nil {
				t.Fatal(err)
			}
			before := len(logged(t, agent))
			agent.Start()
			waitState(t, agent, 15*time.Second, "down")
			rig.Eventually(t, 10*time.Second, "an outage with all that is held, after "+what, func() bool {
				if !strings.HasPrefix(name, "outages/") {
					return whole()
				}
				// What the journal alone knew is found again in the queue: each message is held, and accounted for once.
				r := asked(t, agent)
				return len(r) == 1 && r[0].StillHeld == n && r[0].Accepted == n
			})
			if d.sure && !strings.Contains(logged(t, agent)[before:], path) {
				if out, _, _ := agent.Run("status", "--json"); !strings.Contains(out, path) {
					t.Errorf("%s: %s is not named in the log or status", what, path)
				}
			}
			agent.Kill9()
		}
	}
	if t.Failed() {
		return
	}
	// And from the good state it goes on to the end.
	copyDir(good, agent.State)
	agent.Start()
	primary.Up()
	r := closedReport(t, agent, 60*time.Second)
	if got, want := r.account(), (account{Accepted: n, Delivered: n}); got != want {
		t.Errorf("account: got %+v, want %+v", got, want)
	}
}

// full fills a file system to its last byte and returns how to free it.
func full(t *testing.T, dir string) (free func()) {
	t.Helper()
	name := filepath.Join(dir, "filler")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 4096); len(block) > 0; {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}
