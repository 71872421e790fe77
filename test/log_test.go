package test

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sparemx/sparemx/test/rig"
)

// The log is rotated in the middle of an outage, in each way that is met with; mail goes on before, meanwhile and after.
// No line is lost and none is read twice: the agent's count is the number of lines in the files, and so is the account.
func TestRotatingTheLogDuringAnOutageLosesNoLine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		syslog bool
		iso    bool
		rotate func(t *testing.T, p *rig.Postfix, s *rig.Rsyslog)
	}{
		{"rsyslog and logrotate create", true, false, func(t *testing.T, p *rig.Postfix, s *rig.Rsyslog) {
			rig.Rotate(t, p.Log, fmt.Sprintf("kill -HUP %d", s.PID()), "rotate 9", "create 0644 root root", "delaycompress", "compress")
		}},
		{"rsyslog with ISO time stamps", true, true, func(t *testing.T, p *rig.Postfix, s *rig.Rsyslog) {
			rig.Rotate(t, p.Log, fmt.Sprintf("kill -HUP %d", s.PID()), "rotate 9", "create 0644 root root", "compress")
		}},
		{"postfix logrotate", false, false, func(t *testing.T, p *rig.Postfix, s *rig.Rsyslog) { p.LogRotate() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			conf := rig.Conf{}
			if c.syslog {
				conf.Syslog = rig.StartRsyslog(t, c.iso)
			}
			primary := rig.StoppedSink(t, rig.Behaviour{})
			backup := rig.Backup(t, conf, map[string]string{"example.org": primary.Addr})
			agent := rig.StartAgent(t, rig.AgentConf{YAML: beside(backup) + quick + "log: { source: [" + backup.Log + "] }\n"})
			waitState(t, agent, 15*time.Second, "down")
			var truth rig.Truth
			for range 3 {
				done := make(chan error, 1)
				go func() { done <- rig.Inject(backup.Addr, rig.Load{N: 100, To: "user%d@example.org"}, &truth) }()
				rig.Eventually(t, 20*time.Second, "mail to come in", func() bool { return backup.Count() > 0 })
				c.rotate(t, backup, conf.Syslog)
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				// A reload may leave a message in incoming, where it waits for the next queue run.
				rig.Eventually(t, 30*time.Second, "all to be held", func() bool {
					return backup.Count("deferred", "incoming") == truth.Len() && backup.Count("active") == 0
				})
				// The name of a rotated file of Postfix has whole seconds.
				start := time.Now()
				rig.Eventually(t, 5*time.Second, "the next second", func() bool { return time.Since(start) > 1100*time.Millisecond })
			}
			primary.Up()
			r := closedReport(t, agent, 60*time.Second)
			if a := r.account(); a != (account{Accepted: 300, Delivered: 300}) {
				t.Errorf("account: %+v", a)
			}
			if d := truth.Diff(primary.Arrived()); !d.Same() {
				t.Error("at the primary:", d)
			}
			backup.Stop()
			sent, deferred := 0, 0
			for _, line := range allLines(t, backup.Log) {
				sent += strings.Count(line, "status=sent")
				deferred += strings.Count(line, "status=deferred")
			}
			if sent != 300 {
				t.Errorf("%d lines with status=sent in the files: the rotation itself lost some", sent)
			}
			agent.WaitMetric(10*time.Second, rig.Is(float64(sent)), "sparemx_deliveries_total", "result", "delivered")
			agent.WaitMetric(10*time.Second, rig.Is(float64(deferred)), "sparemx_deliveries_total", "result", "deferred")
			m := agent.Metrics()
			if lost, _ := m.Sum("sparemx_log_lost_bytes_total"); lost != 0 {
				t.Errorf("lost %v bytes", lost)
			}
			if rotations, _ := m.Sum("sparemx_log_rotations_total"); rotations != 3 {
				t.Errorf("%v rotations, want 3", rotations)
			}
		})
	}
}

// allLines are the lines of a log and of all that was rotated away from it.
func allLines(t *testing.T, log string) (lines []string) {
	t.Helper()
	files, err := filepath.Glob(log + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		var r io.Reader = f
		if strings.HasSuffix(name, ".gz") {
			if r, err = gzip.NewReader(f); err != nil {
				t.Fatal(err)
			}
		}
		text, err := io.ReadAll(r)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")...)
	}
	return lines
}
