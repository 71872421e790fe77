package probes

import (
	"context"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// Who takes up an open outage after a restart has to know the states before the first probe.
func TestStatesAreThereBeforeRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "primaries.json")
	synctest.Test(t, func(t *testing.T) {
		bad := ProberFunc(func(context.Context, Primary) Result { return Result{At: time.Now(), Verdict: Bad} })
		watch := func() *Watcher {
			w := &Watcher{Prober: bad, StateFile: file}
			w.SetPrimaries([]Primary{{Name: "mx1"}})
			return w
		}
		ctx, cancel := context.WithCancel(t.Context())
		w, done := watch(), make(chan error)
		go func() { done <- w.Run(ctx) }()
		time.Sleep(time.Minute) // virtual
		cancel()
		<-done

		again := watch()
		again.Restore()
		if s := again.Snapshot()[0]; s.State != Down || s.Since.IsZero() {
			t.Errorf("before Run: %v since %v, want down", s.State, s.Since)
		}
	})
}
