package bench

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/sparemx/sparemx/test/rig"
)

// recovery times from the port being open to the first message taken.
func recovery(b *testing.B, t *table) {
	runs := setting("SPAREMX_BENCH_RUNS", 11)
	type rival struct {
		what, conf string
		target     float64
		all        []float64
	}
	rivals := []*rival{
		{what: "default settings", target: 3},
		{what: "probe: { down: 1s }", conf: "probe: { down: 1s }\n", target: 2},
	}
	done := make(chan struct{})
	for _, r := range rivals { // at the same time: they wait nearly always
		go func() {
			defer func() { done <- struct{}{} }()
			primary := rig.StartSink(b, rig.Behaviour{})
			backup := rig.Backup(b, rig.Conf{}, map[string]string{"example.org": primary.Addr})
			a := rig.StartAgent(b, rig.AgentConf{YAML: beside(backup, r.conf)})
			state := func(s string) {
				a.WaitMetric(time.Minute, rig.Is(1), "sparemx_primary_state", "state", s)
			}
			state("up")
			for range runs {
				primary.Down()
				backup.Inject(rig.Load{N: 3, To: "user%d@example.org"}, &rig.Truth{})
				state("down")
				backup.WaitHeld(time.Minute, 3)
				<-time.After(rand.N(4 * time.Second)) // any phase of the probes
				primary.Reset()
				start := time.Now()
				primary.Up()
				rig.Eventually(b, time.Minute, "the first message", func() bool { return primary.Counts().Taken > 0 })
				taken, _ := primary.Times()
				r.all = append(r.all, taken[0].Sub(start).Seconds())
				backup.WaitEmpty(time.Minute)
				state("up")
			}
		}()
	}
	for range rivals {
		<-done
	}
	for _, r := range rivals {
		if len(r.all) == runs {
			t.most("recovery", "port open to first message taken, "+r.what, "s", r.target, r.all...)
		}
	}
}
