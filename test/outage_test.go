package test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sparemx/sparemx/alert/alerttest"
	"github.com/sparemx/sparemx/test/rig"
)

// The whole of it: a primary goes, mail is held, some of it is lost by a final refusal and by the operator's hand, the
// primary returns, the queue is drained, each channel hears of it once and of its end once, and the report is the truth.
func TestAnOutageFromTheFirstFailedProbeToTheReport(t *testing.T) {
	t.Parallel()
	primary := rig.Primary(t, rig.Conf{
		SMTPD: []string{"smtpd_recipient_restrictions=check_recipient_access,inline:{gone@example.org=REJECT},permit_mynetworks,reject"},
	}, "example.org")
	backup := rig.Backup(t, rig.Conf{LongIDs: true, SyslogName: "postfix-mx2"}, map[string]string{"example.org": primary.Addr})
	slack, webhook, smarthost := alerttest.NewSlack(t), alerttest.NewWebhook(t), alerttest.NewSMTP(t, false)
	manager := rig.StartAlertmanager(t)
	secret := filepath.Join(rig.Dir(t), "slack")
	if err := os.WriteFile(secret, []byte(slack.Webhook+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	agent := rig.StartAgent(t, rig.AgentConf{YAML: beside(backup) + quick + fmt.Sprintf(`
alert:
  slack: { webhook_file: %s }
  webhook: { url: "%s" }
  email: { smarthost: "%s", from: sparemx@example.net, to: [ops@example.net], ca: %s }
  alertmanager: { urls: ["%s"] }
`, secret, webhook.URL, smarthost.Addr, smarthost.CA, manager.URL)})
	waitState(t, agent, 10*time.Second, "up")

	var before, truth rig.Truth
	backup.Inject(rig.Load{N: 20, To: "user%d@example.org"}, &before)
	backup.WaitEmpty(20 * time.Second)
	// Time stamps of the log are cut to the second: mail of the last second before an outage counts to it.
	rig.Eventually(t, 5*time.Second, "mail of before to be older than the outage", func() bool { return time.Since(before.Sent()[19].At) > 2*time.Second })

	stopped := time.Now()
	primary.Stop()
	backup.Inject(rig.Load{N: 150, To: "user%d@example.org"}, &truth)
	waitState(t, agent, 10*time.Second, "down")
	down := time.Now()
	backup.Inject(rig.Load{N: 50, To: "user%d@example.org"}, &truth)
	// Mail that will be refused for good, with the null sender: nobody is to be told, so it leaves no second message.
	var refused rig.Truth
	backup.Inject(rig.Load{N: 2, To: "gone@example.org", From: "<>"}, &refused)
	backup.WaitHeld(20*time.Second, 202)
	var deleted rig.Truth
	backup.Inject(rig.Load{N: 1, To: "deleted@example.org"}, &deleted)
	backup.WaitHeld(20*time.Second, 203)
	agent.WaitMetric(10*time.Second, rig.Is(203), "sparemx_queue_held_messages")
	backup.Postsuper("-d", deleted.Sent()[0].QueueID)

	webhook.Wait(t, 1)
	if r := reports(t, agent); len(r) != 1 || r[0].State != "down" || r[0].From.Before(stopped.Add(-2*time.Second)) || r[0].From.After(down) {
		t.Errorf("during the outage (stopped %v, known %v): %+v", stopped, down, r)
	}
	if out, code, _ := agent.Run("status", "--json"); code != 2 || !json.Valid([]byte(out)) {
		t.Errorf("sparemx status --json during the outage: exit %d\n%s", code, out)
	}

	primary.Start()
	back := time.Now()
	r := closedReport(t, agent, 60*time.Second)

	if d := truth.Diff(subtract(primary.Arrived(), &before)); !d.Same() {
		t.Error("at the primary:", d)
	}
	if got, want := r.account(), (account{Accepted: 203, Delivered: 200, Bounced: 2, Deleted: 1}); got != want {
		t.Errorf("account: got %+v, want %+v", got, want)
	}
	lost := map[string]string{}
	for _, l := range r.Lost {
		lost[l.ID] = l.Fate
	}
	for _, s := range refused.Sent() {
		if lost[s.QueueID] != "bounced" {
			t.Errorf("%s was refused for good; the report says %q", s.QueueID, lost[s.QueueID])
		}
	}
	if id := deleted.Sent()[0].QueueID; lost[id] != "deleted" || len(lost) != 3 || r.LostCount != 3 {
		t.Errorf("%s was deleted; the report says %q, lost %d: %v", id, lost[id], r.LostCount, lost)
	}
	if r.From.Before(stopped.Add(-time.Second)) || r.From.After(down) || r.To.Before(back.Add(-time.Second)) || r.To.After(time.Now()) {
		t.Errorf("stopped %v, down %v, back %v; the report: from %v to %v", stopped, down, back, r.From, r.To)
	}
	if max := time.Since(truth.Sent()[0].At) + time.Second; r.Delay.Max <= 0 || r.Delay.Max > max || r.Delay.P50 > r.Delay.Max {
		t.Errorf("delay %+v, the oldest mail was accepted %v ago", r.Delay, max)
	}
	if len(r.Domains) != 1 || r.Domains[0] != "example.org" || r.Interrupted != 0 {
		t.Errorf("report: %+v", r)
	}

	// Each channel is told once that it began, once that it is over, and once that mail was lost.
	want := map[string][]string{"primary_down": {"opened"}, "recovered": {"resolved"}, "loss": {"opened"}}
	rig.Eventually(t, 20*time.Second, "each channel to have been told three times", func() bool {
		return len(webhook.Requests()) >= 3 && len(slack.Calls()) >= 3 && len(smarthost.Mails()) >= 3
	})
	if told := events(t, webhook); !maps.EqualFunc(told, want, slices.Equal[[]string]) {
		t.Errorf("the webhook was told %v, want %v", told, want)
	}
	calls, mails := slack.Calls(), smarthost.Mails()
	if len(calls) != 3 || len(mails) != 3 {
		t.Errorf("%d messages at Slack, %d mails; want 3 of each", len(calls), len(mails))
	}
	if !strings.Contains(fmt.Sprint(calls[0].Text, calls[0].Blocks), "does not take mail") {
		t.Errorf("Slack was told first: %+v", calls[0])
	}
	text := ""
	for _, m := range mails {
		text += m.Data
	}
	if !strings.Contains(text, "203") || strings.Contains(text, "gone@example.org") {
		t.Errorf("the mails do not tell of 203 messages, or tell whole addresses:\n%s", text)
	}
	rig.Eventually(t, 20*time.Second, "Alertmanager to have no alert of a primary", func() bool {
		for _, a := range manager.Alerts() {
			if a.Labels["kind"] == "primary_down" && a.EndsAt.After(time.Now()) {
				return false
			}
		}
		return true
	})
	waitState(t, agent, 5*time.Second, "up")
	if out, code, _ := agent.Run("status"); code > 1 {
		t.Errorf("sparemx status after the outage: exit %d\n%s", code, out)
	}
}

// subtract takes what was sent before away from what arrived.
func subtract(arrived map[string]int, before *rig.Truth) map[string]int {
	for _, s := range before.Sent() {
		delete(arrived, s.MessageID)
	}
	return arrived
}

// events are the events that a webhook was told, by kind of incident, in order.
func events(t *testing.T, h *alerttest.HTTP) map[string][]string {
	t.Helper()
	by := map[string][]string{}
	for _, req := range h.Requests() {
		var p struct {
			Schema      int
			Kind, Event string
		}
		if err := json.Unmarshal(req.Body, &p); err != nil || p.Schema != 1 {
			t.Fatalf("%v: %s", err, req.Body)
		}
		by[p.Kind] = append(by[p.Kind], p.Event)
	}
	return by
}

func count(all []string, one string) (n int) {
	for _, s := range all {
		if s == one {
			n++
		}
	}
	return n
}

// An agent killed in the middle of an outage, once while the mail is held and once while it is being drained, accounts
// for the same messages as one that lived on.
func TestKillingTheAgentChangesNothingInTheAccount(t *testing.T) {
	t.Parallel()
	primary := rig.StoppedSink(t, rig.Behaviour{Think: 50 * time.Millisecond})
	backup := rig.Backup(t, rig.Conf{}, map[string]string{"example.org": primary.Addr})
	agent := rig.StartAgent(t, rig.AgentConf{YAML: beside(backup) + quick})
	waitState(t, agent, 15*time.Second, "down")

	var truth rig.Truth
	backup.Inject(rig.Load{N: 100, To: "user%d@example.org"}, &truth)
	backup.WaitHeld(20*time.Second, 100)
	agent.Kill9()
	backup.Inject(rig.Load{N: 100, To: "user%d@example.org"}, &truth) // nobody looks
	agent.Start()
	backup.Inject(rig.Load{N: 100, To: "user%d@example.org"}, &truth)
	waitState(t, agent, 15*time.Second, "down")
	backup.WaitHeld(20*time.Second, 300)

	primary.Up()
	rig.Eventually(t, 30*time.Second, "a third to be drained", func() bool { return primary.Counts().Taken > 100 })
	agent.Kill9()
	left := backup.Count()
	agent.Start()
	r := closedReport(t, agent, 90*time.Second)
	if left == 0 {
		t.Error("all was drained before the agent was killed: the test has shown nothing")
	}
	if got, want := r.account(), (account{Accepted: 300, Delivered: 300}); got != want {
		t.Errorf("account: got %+v, want %+v", got, want)
	}
	if all := reports(t, agent); len(all) != 1 || r.Interrupted != 2 {
		t.Errorf("%d outages on record, interrupted %d times: %+v", len(all), r.Interrupted, all)
	}
	if d := truth.Diff(primary.Arrived()); !d.Same() {
		t.Error("at the primary:", d)
	}
}
