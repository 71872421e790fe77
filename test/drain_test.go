package test

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/sparemx/sparemx/test/rig"
)

// A primary that has just come back and cannot take everything at once is not flooded, and nothing is left behind. With
// SPAREMX_FIGURES=1 each case is also run with "postqueue -s" alone, for comparison, and with 1,000 messages.
func TestADrainDoesNotFloodThePrimary(t *testing.T) {
	t.Parallel()
	n, figures := 300, os.Getenv("SPAREMX_FIGURES") == "1"
	if figures {
		n = 1000
	}
	// While Up as seldom as by default: a probe that finds no connection free counts as a refusal here.
	const patient = "probe: { every: 30s, retry: 200ms, down: 300ms, fall: 2, rise: 2, timeout: 30s }\nqueue: { every: 1s }\n"
	for _, c := range []struct {
		name    string
		how     rig.Behaviour
		then    *rig.Behaviour // after 10 s
		n       int
		refused int           // at most
		peak    int           // connections at most
		limit   time.Duration // until all is delivered
	}{
		{name: "fast", n: 5 * n, refused: 0, peak: 25, limit: 90 * time.Second},
		{name: "answers in 200 ms", how: rig.Behaviour{Think: 200 * time.Millisecond}, n: n, refused: 0, peak: 25, limit: 60 * time.Second},
		{name: "takes 5 connections", how: rig.Behaviour{MaxConns: 5}, n: n, refused: 25, peak: 5, limit: 120 * time.Second},
		{name: "450 to all for 10 s", how: rig.Behaviour{RCPT: "450 4.3.2 not yet"}, then: &rig.Behaviour{}, n: n, refused: 60, peak: 25, limit: 120 * time.Second},
		{name: "421 to all for 10 s", how: rig.Behaviour{Greeting: "421 4.3.2 not yet"}, then: &rig.Behaviour{}, n: n, refused: 60, peak: 25, limit: 120 * time.Second},
		{name: "450 above 50 RCPT/s", how: rig.Behaviour{MaxRate: 50}, n: n, refused: 60, peak: 25, limit: 120 * time.Second},
		{name: "drips 20 ms an octet", how: rig.Behaviour{Drip: 20 * time.Millisecond}, n: 20, refused: 2, peak: 25, limit: 120 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !figures {
				t.Parallel()
			}
			primary := rig.StoppedSink(t, c.how)
			backup := rig.Backup(t, rig.Conf{}, map[string]string{"example.org": primary.Addr})
			agent := rig.StartAgent(t, rig.AgentConf{YAML: beside(backup) + patient})
			waitState(t, agent, 15*time.Second, "down")
			var truth rig.Truth
			backup.Inject(rig.Load{N: c.n, To: "user%d@example.org"}, &truth)
			backup.WaitHeld(60*time.Second, c.n)
			agent.WaitMetric(15*time.Second, rig.Is(float64(c.n)), "sparemx_queue_held_messages")

			primary.Up()
			began := time.Now()
			if c.then != nil {
				later := time.AfterFunc(10*time.Second, func() { primary.Set(*c.then) })
				defer later.Stop()
			}
			waitTaken(t, primary, c.n, c.limit)
			taken, _ := primary.Times()
			backup.WaitEmpty(20 * time.Second)
			r := closedReport(t, agent, 60*time.Second)
			got := primary.Counts()
			t.Logf("FIGURE drain %-22s %5d messages: first after %.1f s, all after %.1f s, %d refused at the primary, peak %d connections, drain: pushed %d, peak %d, refused %d",
				c.name, c.n, taken[0].Sub(began).Seconds(), slices.MaxFunc(taken, time.Time.Compare).Sub(began).Seconds(), got.Refused, got.Peak,
				r.Drain.Pushed, r.Drain.Peak, r.Drain.Refused)
			if got.Refused > c.refused || got.Peak > c.peak {
				t.Errorf("the primary refused %d times (at most %d wanted), peak %d connections (at most %d)", got.Refused, c.refused, got.Peak, c.peak)
			}
			if d := truth.Diff(primary.Arrived()); !d.Same() {
				t.Error("at the primary:", d)
			}
			if a := r.account(); a != (account{Accepted: c.n, Delivered: c.n}) || r.Drain.Peak > 20 {
				t.Errorf("report: %+v, drain %+v", a, r.Drain)
			}
			if figures {
				plainFlush(t, c.name, c.how, c.then, c.n)
			}
		})
	}
}

func waitTaken(t *testing.T, primary *rig.Sink, n int, limit time.Duration) {
	t.Helper()
	defer func() { t.Logf("the primary: %+v", primary.Counts()) }()
	rig.Eventually(t, limit, fmt.Sprintf("%d messages at the primary", n), func() bool { return primary.Counts().Taken >= n })
}

// plainFlush does with "postqueue -s" what the drain was measured with, looks for 40 s, and logs what came of it.
func plainFlush(t *testing.T, name string, how rig.Behaviour, then *rig.Behaviour, n int) {
	primary := rig.StoppedSink(t, how)
	backup := rig.Backup(t, rig.Conf{}, map[string]string{"example.org": primary.Addr})
	var truth rig.Truth
	backup.Inject(rig.Load{N: n, To: "user%d@example.org"}, &truth)
	backup.WaitHeld(60*time.Second, n)
	primary.Up()
	began := time.Now()
	if then != nil {
		later := time.AfterFunc(10*time.Second, func() { primary.Set(*then) })
		defer later.Stop()
	}
	if err := backup.FlushSite("example.org"); err != nil {
		t.Fatal(err)
	}
	rig.Eventually(t, 60*time.Second, "the flush to have done what it does", func() bool {
		return time.Since(began) > time.Second && backup.Count("active", "incoming") == 0 || time.Since(began) > 40*time.Second
	})
	got := primary.Counts()
	t.Logf("FIGURE postqueue -s %-16s %5d messages: after %.1f s %d refused, %d left, peak %d connections, %d connections",
		name, n, time.Since(began).Seconds(), got.Refused, backup.Count(), got.Peak, got.Connections)
}

// A domain that is not in fast_flush_domains cannot be flushed by "postqueue -s"; it is drained all the same.
func TestADomainOutsideFastFlushDomainsIsDrained(t *testing.T) {
	t.Parallel()
	primary := rig.StoppedSink(t, rig.Behaviour{})
	backup := rig.Backup(t, rig.Conf{Main: []string{"fast_flush_domains ="}}, map[string]string{"example.org": primary.Addr})
	agent := rig.StartAgent(t, rig.AgentConf{YAML: beside(backup) + quick})
	waitState(t, agent, 15*time.Second, "down")
	var truth rig.Truth
	backup.Inject(rig.Load{N: 30, To: "user%d@example.org"}, &truth)
	backup.WaitHeld(20*time.Second, 30)
	if backup.FlushSite("example.org") == nil {
		t.Fatal("postqueue -s takes the domain: the test shows nothing")
	}
	primary.Up()
	r := closedReport(t, agent, 60*time.Second)
	if a := r.account(); a != (account{Accepted: 30, Delivered: 30}) {
		t.Errorf("report: %+v", a)
	}
	if d := truth.Diff(primary.Arrived()); !d.Same() {
		t.Error("at the primary:", d)
	}
}

// From the primary's port being open again to the first message delivered. Five times in a usual run, which is enough to
// see a fault; SPAREMX_FIGURES=1 tries twenty times, for the figure.
func TestTheFirstMessageGoesOutSoonAfterThePrimaryIsBack(t *testing.T) {
	tries := 5
	if os.Getenv("SPAREMX_FIGURES") == "1" {
		tries = 20
	}
	for _, c := range []struct {
		name, yaml string
		limit      time.Duration // of the median
	}{
		{"default settings", "", 3 * time.Second},
		{"down 1s", "probe: { down: 1s }\n", 2 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			primary := rig.StartSink(t, rig.Behaviour{})
			backup := rig.Backup(t, rig.Conf{}, map[string]string{"example.org": primary.Addr})
			agent := rig.StartAgent(t, rig.AgentConf{YAML: beside(backup) + c.yaml})
			waitState(t, agent, 15*time.Second, "up")
			var truth rig.Truth
			var took, known []time.Duration
			for range tries {
				primary.Down()
				gone := time.Now()
				backup.Inject(rig.Load{N: 3, To: "user%d@example.org"}, &truth) // its deferral brings the next probe forward
				waitState(t, agent, 30*time.Second, "down")
				known = append(known, time.Since(gone))
				backup.WaitHeld(20*time.Second, 3)
				before := primary.Counts().Taken
				primary.Up()
				back := time.Now()
				waitTaken(t, primary, before+3, 60*time.Second)
				taken, _ := primary.Times()
				took = append(took, taken[before].Sub(back))
				// Mail of an outage that is over is no part of the next one, however soon that comes.
				if a := closedReport(t, agent, 90*time.Second).account(); a != (account{Accepted: 3, Delivered: 3}) {
					t.Errorf("account: %+v, want 3 accepted and delivered", a)
				}
				waitState(t, agent, 20*time.Second, "up")
			}
			slices.Sort(took)
			slices.Sort(known)
			t.Logf("FIGURE recovery, %s, %d tries: first message after %.2f s at the median, %.2f to %.2f; outage known after %.1f s at the median, at most %.1f",
				c.name, tries, took[tries/2].Seconds(), took[0].Seconds(), took[tries-1].Seconds(), known[tries/2].Seconds(), known[tries-1].Seconds())
			if took[tries/2] > c.limit {
				t.Errorf("median %v, want at most %v: %v", took[tries/2], c.limit, took)
			}
		})
	}
}
