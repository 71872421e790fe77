package test

import (
	"testing"
	"time"

	"github.com/sparemx/sparemx/test/rig"
)

// With no configuration at all, the agent finds out from Postfix what it backs up, where the primary is and where the log is.
func TestWithoutAConfigurationPostfixIsAsked(t *testing.T) {
	t.Parallel()
	primary := rig.StoppedSink(t, rig.Behaviour{})
	backup := rig.Backup(t, rig.Conf{LongIDs: true, SyslogName: "postfix-mx2"}, map[string]string{"example.org": primary.Addr})
	agent := rig.StartAgent(t, rig.AgentConf{Env: []string{"MAIL_CONFIG=" + backup.Config}})
	var truth rig.Truth
	backup.Inject(rig.Load{N: 25, To: "user%d@example.org"}, &truth)
	waitState(t, agent, 30*time.Second, "down")
	backup.WaitHeld(20*time.Second, 25)
	agent.WaitMetric(20*time.Second, rig.Is(25), "sparemx_queue_messages", "domain", "example.org", "place", "deferred")
	primary.Up()
	r := closedReport(t, agent, 60*time.Second)
	if a := r.account(); a != (account{Accepted: 25, Delivered: 25}) {
		t.Errorf("account: %+v", a)
	}
	if d := truth.Diff(primary.Arrived()); !d.Same() {
		t.Error("at the primary:", d)
	}
}

// Two instances of Postfix on one host, each with its own log name and queue, for two domains with a primary each. The
// outage of one does not touch the other.
func TestTwoInstances(t *testing.T) {
	t.Parallel()
	one, two := rig.StoppedSink(t, rig.Behaviour{}), rig.StartSink(t, rig.Behaviour{})
	first := rig.Backup(t, rig.Conf{Name: "mx2", SyslogName: "postfix-one"}, map[string]string{"example.org": one.Addr})
	second := rig.Backup(t, rig.Conf{Name: "mx3", SyslogName: "postfix-two", LongIDs: true}, map[string]string{"example.net": two.Addr})
	agent := rig.StartAgent(t, rig.AgentConf{YAML: beside(first, second) + quick})
	agent.WaitMetric(15*time.Second, rig.Is(1), "sparemx_primary_state", "state", "down")
	agent.WaitMetric(15*time.Second, rig.Is(1), "sparemx_primary_state", "state", "up")

	var held, passed rig.Truth
	first.Inject(rig.Load{N: 40, To: "user%d@example.org"}, &held)
	second.Inject(rig.Load{N: 40, To: "user%d@example.net"}, &passed)
	second.WaitEmpty(20 * time.Second)
	first.WaitHeld(20*time.Second, 40)
	agent.WaitMetric(20*time.Second, rig.Is(40), "sparemx_queue_messages", "domain", "example.org")
	agent.WaitMetric(20*time.Second, rig.Is(0), "sparemx_queue_messages", "domain", "example.net")
	one.Up()
	r := closedReport(t, agent, 60*time.Second)
	if a := r.account(); a != (account{Accepted: 40, Delivered: 40}) || len(r.Domains) != 1 || r.Domains[0] != "example.org" {
		t.Errorf("account: %+v of %v", a, r.Domains)
	}
	if d := held.Diff(one.Arrived()); !d.Same() {
		t.Error("at the first primary:", d)
	}
	if d := passed.Diff(two.Arrived()); !d.Same() {
		t.Error("at the second primary:", d)
	}
	agent.WaitMetric(20*time.Second, rig.Is(40), "sparemx_domain_deliveries_total", "domain", "example.net", "result", "delivered")
}
