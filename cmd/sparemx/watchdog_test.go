package main

import (
	"log/slog"
	"testing"
	"time"

	"github.com/sparemx/sparemx/alert"
	"github.com/sparemx/sparemx/outage"
	"github.com/sparemx/sparemx/probes"
	"github.com/sparemx/sparemx/queue"
)

// An incident that an earlier agent told people of has to end, also when what would have ended it was never seen by this one.
func TestIncidentsOfAnEarlierAgentEnd(t *testing.T) {
	alerts, err := alert.New(alert.Config{}, "", "mx2.example.net")
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{
		log: slog.New(slog.DiscardHandler), alerts: alerts, watcher: &probes.Watcher{}, scanner: &queue.Scanner{},
		outages:   &outage.Watch{Store: &outage.Store{Dir: t.TempDir()}},
		primaries: []probes.Primary{{Name: "mx1.example.org", Domains: []string{"example.org"}}},
	}
	a.watcher.SetPrimaries(a.primaries)
	for kind, key := range map[alert.Kind]string{
		alert.Blind: "blind", alert.LogStalled: "log_stalled", alert.PrimaryDown: "primary_down/gone.example.org", alert.Stuck: "stuck/mx1.example.org",
	} {
		alerts.Notify(alert.Notice{Kind: kind, Key: key, Severity: alert.Critical, Title: key, At: time.Now()})
	}
	a.settle(time.Now())
	open := map[string]bool{}
	for _, i := range alerts.Status().Incidents {
		if i.Resolved.IsZero() {
			open[i.Key] = true
		}
	}
	// Nothing has been scanned, so whether mail is stuck cannot be told.
	if len(open) != 1 || !open["stuck/mx1.example.org"] {
		t.Errorf("still open: %v", open)
	}
	a.stalled.Store(true)
	alerts.Notify(alert.Notice{Kind: alert.LogStalled, Key: "log_stalled", Severity: alert.Warning, Title: "again", At: time.Now().Add(time.Hour)})
	a.settle(time.Now())
	for _, i := range alerts.Status().Incidents {
		if i.Key == "log_stalled" && !i.Resolved.IsZero() {
			t.Error("ended while the log is still stalled")
		}
	}
}
