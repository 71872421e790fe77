package probes

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// world is a Prober in which each primary is up or down as told, and what was seen of the watcher. Times are since its begin.
type world struct {
	mu      sync.Mutex
	begin   time.Time
	verdict map[string]Verdict
	takes   map[string]time.Duration // of a probe that is not Good: until it fails
	asked   map[string][]time.Duration
	moves   map[string][]Transition
	blind   []BlindStatus
	running map[string]int
	overlap bool
	most    int
}

func newWorld(names ...string) (*world, *Watcher) {
	x := &world{begin: time.Now(), verdict: map[string]Verdict{}, takes: map[string]time.Duration{}, asked: map[string][]time.Duration{},
		moves: map[string][]Transition{}, running: map[string]int{}}
	w := &Watcher{Prober: x}
	var ps []Primary
	for _, n := range names {
		x.verdict[n] = Good
		ps = append(ps, Primary{Name: n})
	}
	w.SetPrimaries(ps)
	w.OnTransition = func(p string, t Transition) { x.mu.Lock(); x.moves[p] = append(x.moves[p], t); x.mu.Unlock() }
	w.OnBlind = func(b BlindStatus) { x.mu.Lock(); x.blind = append(x.blind, b); x.mu.Unlock() }
	return x, w
}

func (x *world) Probe(ctx context.Context, p Primary) Result {
	x.mu.Lock()
	x.asked[p.Name] = append(x.asked[p.Name], time.Since(x.begin))
	x.running[p.Name]++
	x.overlap = x.overlap || x.running[p.Name] > 1
	total := 0
	for _, n := range x.running {
		total += n
	}
	x.most = max(x.most, total)
	v, d := x.verdict[p.Name], 10*time.Millisecond
	if v != Good {
		d = max(d, x.takes[p.Name])
	}
	x.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.running[p.Name]--
	return Result{At: time.Now(), Verdict: v, Reason: "as told"}
}

func (x *world) set(name string, v Verdict) { x.mu.Lock(); x.verdict[name] = v; x.mu.Unlock() }

func (x *world) count(name string) int { x.mu.Lock(); defer x.mu.Unlock(); return len(x.asked[name]) }

// first returns when the first transition to s of a primary was, and its Since, both since begin; -1 if there was none.
func (x *world) first(name string, s State) (at, since time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, t := range x.moves[name] {
		if t.To == s {
			return t.At.Sub(x.begin), t.Since.Sub(x.begin)
		}
	}
	return -1, -1
}

// watch runs f beside the watcher in virtual time.
func watch(t *testing.T, w *Watcher, f func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	synctest.Wait()
	f()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// The promise of the design: an outage known in about 6 s with a nudge, and Recovering at the first probe after the return, within the
// pace of Down.
func TestDetection(t *testing.T) {
	for _, c := range []struct {
		name           string
		config         Config
		nudge          bool
		fails          time.Duration // after which a probe fails
		down           time.Duration // known at the latest, after the failure
		outage         time.Duration
		recovering, up time.Duration // at the latest, after the return
	}{
		{"refused, nudged", Config{}, true, 0, 6 * time.Second, time.Minute, 2100 * time.Millisecond, 3200 * time.Millisecond},
		{"refused, no log", Config{}, false, 0, 38 * time.Second, time.Minute, 2100 * time.Millisecond, 3200 * time.Millisecond},
		{"connect times out, nudged", Config{}, true, 5 * time.Second, 17 * time.Second, time.Minute, 5600 * time.Millisecond, 7 * time.Second},
		{"hangs to the deadline, nudged", Config{}, true, 15 * time.Second, 47 * time.Second, time.Minute, 15500 * time.Millisecond, 17 * time.Second},
		{"down for an hour", Config{}, true, 0, 6 * time.Second, time.Hour, 5100 * time.Millisecond, 6200 * time.Millisecond},
		{"down: 1s", Config{Down: time.Second}, true, 0, 6 * time.Second, time.Minute, 1100 * time.Millisecond, 2200 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x, w := newWorld("p")
				w.Config = c.config
				x.takes["p"] = c.fails
				watch(t, w, func() {
					time.Sleep(3*time.Minute + 7*time.Second) // virtual
					failed := time.Since(x.begin)
					x.set("p", Bad)
					if c.nudge {
						w.Nudge("p", Bad)
					}
					time.Sleep(c.outage + 333*time.Millisecond) // so that the return does not fall on the instant of a probe
					at, since := x.first("p", Down)
					if at < 0 || at-failed > c.down {
						t.Errorf("known after %v, want within %v", at-failed, c.down)
					}
					if since < failed || since >= at {
						t.Errorf("failed at %v, known at %v, said to have begun at %v", failed, at, since)
					}
					back := time.Since(x.begin)
					x.set("p", Good)
					time.Sleep(time.Minute)
					rec, _ := x.first("p", Recovering)
					x.mu.Lock()
					var probe time.Duration
					for _, a := range x.asked["p"] {
						if a > back {
							probe = a
							break
						}
					}
					up := x.moves["p"][len(x.moves["p"])-1]
					x.mu.Unlock()
					if rec-back > c.recovering || rec-probe > 20*time.Millisecond {
						t.Errorf("recovering %v after the return, %v after the first probe; want within %v, at once", rec-back, rec-probe, c.recovering)
					}
					if up.To != Up || up.At.Sub(x.begin)-back > c.up {
						t.Errorf("last transition %v, %v after the return; want Up within %v", up.To, up.At.Sub(x.begin)-back, c.up)
					}
					t.Logf("known after %v; first good probe %v after the return, Up after %v", at-failed, rec-back, up.At.Sub(x.begin)-back)
				})
				if x.overlap {
					t.Error("two probes of one primary at a time")
				}
			})
		})
	}
}

func TestPaceWhileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, w := newWorld("p")
		watch(t, w, func() { time.Sleep(time.Hour) })
		if n := x.count("p"); n < 110 || n > 132 {
			t.Errorf("%d probes in an hour, want about 120", n)
		}
		varied := false
		for i, a := range x.asked["p"][1:] {
			gap := a - x.asked["p"][i]
			if gap < 27*time.Second || gap > 33*time.Second {
				t.Errorf("gap of %v", gap)
			}
			varied = varied || gap != 30*time.Second
		}
		if !varied {
			t.Error("no jitter")
		}
	})
}

func TestNudgeFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, w := newWorld("p")
		watch(t, w, func() {
			time.Sleep(time.Minute)
			before := x.count("p")
			for range 6000 {
				w.Nudge("p", Bad)
				time.Sleep(10 * time.Millisecond)
			}
			if n := x.count("p") - before; n < 10 || n > 61 {
				t.Errorf("%d probes in a minute of nudges, want at most one a second", n)
			}
			before = x.count("p")
			for range 2000 {
				w.Nudge("p", Good) // as expected: no reason to ask
				w.Nudge("p", CantTell)
				w.Nudge("nobody", Bad)
				time.Sleep(time.Millisecond)
			}
			if n := x.count("p") - before; n > 2 {
				t.Errorf("%d probes in 2 s for nudges that agree", n)
			}
		})
		if at, _ := x.first("p", Down); at >= 0 {
			t.Error("nudges alone changed the state")
		}
	})
}

func TestNudgeTiming(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, w := newWorld("p")
		watch(t, w, func() {
			time.Sleep(100 * time.Millisecond)
			w.Nudge("p", Bad) // too soon after the first probe: it waits for its second
			time.Sleep(899 * time.Millisecond)
			if n := x.count("p"); n != 1 {
				t.Errorf("%d probes within a second", n)
			}
			time.Sleep(2 * time.Millisecond)
			if n := x.count("p"); n != 2 {
				t.Errorf("%d probes after a second, want 2", n)
			}
		})
	})
	synctest.Test(t, func(t *testing.T) {
		x, w := newWorld("p")
		watch(t, w, func() {
			time.Sleep(5 * time.Second)
			go w.ProbeNow(t.Context(), "p")
			synctest.Wait()
			w.Nudge("p", Bad) // the probe under way may be past the step that now fails
			time.Sleep(2 * time.Second)
			if n := x.count("p"); n != 3 {
				t.Errorf("%d probes, want one more for the nudge", n)
			}
		})
	})
}

func TestSlowPrimaryDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, w := newWorld("slow1", "slow2", "fast")
		w.Concurrent = 3
		x.set("slow1", Bad)
		x.set("slow2", Bad)
		x.takes["slow1"], x.takes["slow2"] = 15*time.Second, 15*time.Second
		watch(t, w, func() { time.Sleep(5 * time.Minute) })
		for i, a := range x.asked["fast"][1:] {
			if gap := a - x.asked["fast"][i]; gap > 33*time.Second {
				t.Errorf("gap of %v", gap)
			}
		}
	})
	synctest.Test(t, func(t *testing.T) {
		x, w := newWorld("a", "b", "c", "d", "e")
		w.Concurrent = 2
		watch(t, w, func() { time.Sleep(time.Minute) })
		if x.most != 2 {
			t.Errorf("%d probes at a time, want 2", x.most)
		}
	})
}

func TestProbeNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, w := newWorld("p")
		if _, err := w.ProbeNow(t.Context(), "p"); !errors.Is(err, ErrNotRunning) {
			t.Errorf("before Run: %v", err)
		}
		watch(t, w, func() {
			time.Sleep(time.Minute)
			before := x.count("p")
			asked := time.Now()
			r, err := w.ProbeNow(t.Context(), "p")
			if err != nil || r.Verdict != Good || time.Since(asked) > time.Second || x.count("p") != before+1 {
				t.Errorf("%v, %v after %v", r, err, time.Since(asked))
			}
			if _, err := w.ProbeNow(t.Context(), "q"); !errors.Is(err, ErrUnknownPrimary) {
				t.Errorf("unknown: %v", err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			if _, err := w.ProbeNow(ctx, "p"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("impatient: %v", err)
			}
			// One asked for while a probe is under way is another probe.
			x.set("p", Bad)
			x.takes["p"] = 10 * time.Second
			go w.ProbeNow(t.Context(), "p")
			synctest.Wait()
			x.set("p", Good)
			if r, err := w.ProbeNow(t.Context(), "p"); err != nil || r.Verdict != Good {
				t.Errorf("while probing: %v, %v", r.Verdict, err)
			}
			// A primary taken away answers its waiters.
			x.set("p", Bad)
			time.AfterFunc(time.Second, func() { w.SetPrimaries(nil) })
			if _, err := w.ProbeNow(t.Context(), "p"); !errors.Is(err, ErrNotRunning) {
				t.Errorf("taken away: %v", err)
			}
		})
	})
}

func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, w := newWorld("stays", "goes")
		x.set("stays", Bad)
		watch(t, w, func() {
			time.Sleep(time.Minute)
			x.set("comes", Good)
			w.SetPrimaries([]Primary{{Name: "comes"}, {Name: "stays", Domains: []string{"example.org"}}})
			gone := x.count("goes")
			time.Sleep(5 * time.Minute)
			s := w.Snapshot()
			if len(s) != 2 || s[0].Primary.Name != "comes" || s[0].State != Up || s[1].State != Down || len(s[1].Primary.Domains) != 1 {
				t.Errorf("got %+v", s)
			}
			if n := len(x.moves["stays"]); n != 1 {
				t.Errorf("%d transitions of the one that stays, want 1", n)
			}
			if x.count("goes") != gone {
				t.Error("still probes the one that went")
			}
		})
	})
}

func TestBlind(t *testing.T) {
	unreachable := func(context.Context, string) error { return errors.New("no answer") }
	synctest.Test(t, func(t *testing.T) {
		x, w := newWorld("p", "q")
		control := errors.New("no answer")
		w.Controls = []string{"control.example.net:25"}
		w.Reach = func(context.Context, string) error { x.mu.Lock(); defer x.mu.Unlock(); return control }
		watch(t, w, func() {
			time.Sleep(time.Minute)
			x.set("p", Bad)
			x.set("q", Bad)
			time.Sleep(time.Hour)
			if b := w.Blind(); b.Sight != Blind || b.Reason == "" {
				t.Errorf("got %+v, want blind", b)
			}
			if at, _ := x.first("p", Down); at >= 0 {
				t.Error("an outage declared while blind")
			}
			// Sight comes back, and the primary is down indeed: it counts anew.
			x.mu.Lock()
			control = nil
			x.mu.Unlock()
			sighted := time.Since(x.begin)
			x.set("q", Good)
			time.Sleep(time.Minute)
			at, since := x.first("p", Down)
			if since < sighted || at < 0 {
				t.Errorf("down at %v since %v, sight came back at %v", at, since, sighted)
			}
			if at, _ := x.first("q", Down); at >= 0 {
				t.Error("q was never seen down")
			}
			if len(x.blind) != 2 || x.blind[0].Sight != Blind || x.blind[1].Sight != Sighted {
				t.Errorf("hook heard %+v", x.blind)
			}
		})
	})
	t.Run("one primary fails, the controls too, the other primary is good", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			x, w := newWorld("p", "q")
			w.Controls, w.Reach = []string{"c:25"}, unreachable
			watch(t, w, func() {
				time.Sleep(time.Minute)
				x.set("p", Bad)
				time.Sleep(time.Minute)
				if at, _ := x.first("p", Down); at < 0 || w.Blind().Sight == Blind {
					t.Errorf("down at %v, %+v", at, w.Blind())
				}
			})
		})
	})
	t.Run("all primaries fail, the control answers", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			x, w := newWorld("p", "q")
			w.Controls, w.Reach = []string{"c:25"}, func(context.Context, string) error { return nil }
			watch(t, w, func() {
				time.Sleep(time.Minute)
				x.set("p", Bad)
				x.set("q", Bad)
				time.Sleep(time.Minute)
				if at, _ := x.first("p", Down); at < 0 || len(x.blind) > 0 {
					t.Errorf("down at %v, %+v", at, x.blind)
				}
			})
		})
	})
	t.Run("what was seen before does not add up with what is seen after", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			x, w := newWorld("p")
			watch(t, w, func() {
				time.Sleep(time.Minute)
				x.set("p", Bad)
				w.Nudge("p", Bad)
				time.Sleep(3 * time.Second) // two Bad
				x.set("p", CantTell)
				time.Sleep(time.Hour)
				if w.Blind().Sight != Blind {
					t.Fatalf("%+v", w.Blind())
				}
				sighted := time.Since(x.begin)
				x.set("p", Bad)
				time.Sleep(time.Minute)
				if at, since := x.first("p", Down); at < 0 || since < sighted {
					t.Errorf("down at %v since %v; sight came back at %v", at, since, sighted)
				}
			})
		})
	})
	t.Run("no probe can be made", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			x, w := newWorld("p", "q")
			watch(t, w, func() {
				time.Sleep(time.Minute)
				x.set("p", CantTell)
				time.Sleep(time.Minute)
				if len(x.blind) > 0 {
					t.Error("blind while one primary is good")
				}
				x.set("q", CantTell)
				time.Sleep(time.Minute)
				if w.Blind().Sight != Blind || len(x.moves["p"]) != 1 {
					t.Errorf("%+v, %v", w.Blind(), x.moves["p"])
				}
				x.set("q", Good)
				time.Sleep(time.Minute)
				if w.Blind().Sight != Sighted {
					t.Errorf("%+v", w.Blind())
				}
			})
		})
	})
}

func TestStateSurvivesRestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "probes.json")
	synctest.Test(t, func(t *testing.T) {
		x, w := newWorld("p", "q")
		w.StateFile = file
		x.set("p", Bad)
		watch(t, w, func() { time.Sleep(time.Minute) })
		before := w.Snapshot()[0]
		if before.State != Down {
			t.Fatalf("got %v", before.State)
		}
		for _, c := range []struct {
			later time.Duration
			stale bool
		}{{time.Minute, false}, {7 * time.Hour, true}} {
			time.Sleep(c.later)
			x, w = newWorld("p", "q")
			w.StateFile = file
			x.set("p", CantTell)
			watch(t, w, func() {
				s := w.Snapshot()[0]
				if s.State != Down || !s.Since.Equal(before.Since) || s.Stale != c.stale || len(s.Transitions) != 1 || len(s.History) == 0 || len(x.moves["p"]) != 0 {
					t.Errorf("after %v: %+v", c.later, s)
				}
				x.set("p", Bad)
				time.Sleep(time.Minute)
				if s := w.Snapshot()[0]; s.Stale || s.State != Down || !s.Since.Equal(before.Since) {
					t.Errorf("confirmed: %+v", s)
				}
			})
		}
	})
	for _, content := range []string{"", "{", `{"schema":9}`, `{"schema":1,"primaries":{"p":{"machine":{"state":77}}}}`, `{"schema":1,"primaries":{"p":{"machine":{"state":-1}}}}`} {
		synctest.Test(t, func(t *testing.T) {
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, w := newWorld("p")
			w.StateFile = file
			watch(t, w, func() {
				time.Sleep(time.Second)
				if s := w.Snapshot()[0]; s.State != Up || s.Stale {
					t.Errorf("with %q: %+v", content, s)
				}
			})
			if b, _ := os.ReadFile(file); !strings.Contains(string(b), `"state":1`) {
				t.Errorf("not written anew: %s", b)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		_, w := newWorld("p")
		w.StateFile = filepath.Join(file, "not", "there")
		watch(t, w, func() {
			time.Sleep(2 * time.Minute)
			if w.StateErr() == nil || w.Snapshot()[0].State != Up {
				t.Errorf("%v, %v", w.StateErr(), w.Snapshot()[0].State)
			}
		})
	})
}

func TestHistoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, w := newWorld("p")
		watch(t, w, func() {
			for range 500 {
				x.set("p", Bad)
				time.Sleep(2 * time.Minute)
				x.set("p", Good)
				time.Sleep(2 * time.Minute)
			}
			s := w.Snapshot()[0]
			if len(s.History) > 289 || len(s.History) < 280 || len(s.Transitions) > 256 {
				t.Errorf("%d buckets, %d transitions", len(s.History), len(s.Transitions))
			}
			if b := s.History[10]; b.Verdicts[Bad] == 0 || b.Verdicts[Good] == 0 || b.Worst != Down {
				t.Errorf("bucket %+v", b)
			}
		})
	})
}
