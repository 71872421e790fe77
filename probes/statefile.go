package probes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/sparemx/sparemx/internal/durable"
)

// stateFile is the content of Watcher.StateFile.
type stateFile struct {
	Schema    int             `json:"schema"`
	Saved     time.Time       `json:"saved"`
	Primaries map[string]kept `json:"primaries"`
}

// kept is what is kept of a primary.
type kept struct {
	Machine     MachineState `json:"machine"`
	LastGood    time.Time    `json:"last_good,omitzero"`
	Transitions []Transition `json:"transitions,omitempty"`
	History     []Bucket     `json:"history,omitempty"`
	stale       bool
}

const (
	stateSchema  = 1
	maxStateFile = 64 << 20 // what is larger is not ours
	saveEvery    = time.Minute
)

// StateErr is why the state could not be kept the last time; nil when it could, or need not be.
func (w *Watcher) StateErr() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stateErr
}

// load reads the state file. What is missing or not understood is as good as none: states are found anew in seconds.
func (w *Watcher) load() {
	if w.StateFile == "" {
		return
	}
	var f stateFile
	err := func() error {
		info, err := os.Stat(w.StateFile)
		if err != nil {
			return err
		}
		if info.Size() > maxStateFile {
			return fmt.Errorf("larger than %d octets", maxStateFile)
		}
		b, err := os.ReadFile(w.StateFile)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(b, &f); err != nil {
			return err
		}
		if f.Schema != stateSchema {
			return fmt.Errorf("schema %d, want %d", f.Schema, stateSchema)
		}
		return nil
	}()
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		w.log().Warn("the state of the primaries is not read; it begins anew", "file", w.StateFile, "error", err)
		return
	}
	stale := time.Since(f.Saved) > durationOr(w.StaleAfter, 6*time.Hour)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kept = f.Primaries
	for name, k := range w.kept {
		k.stale = stale
		w.kept[name] = k
	}
}

// takeKept gives a primary what was kept of it, once; w.mu is held.
func (w *Watcher) takeKept(s *watched, name string) {
	k, ok := w.kept[name]
	if !ok {
		return
	}
	delete(w.kept, name)
	if s.last.At.IsZero() {
		s.machine.Restore(k.Machine)
		s.lastGood, s.stale = k.LastGood, k.stale
		s.transitions = k.Transitions[max(0, len(k.Transitions)-maxTransitions):]
		s.history = k.History[max(0, len(k.History)-maxBuckets):]
		for i := range s.history {
			s.history[i].Worst = min(s.history[i].Worst, Recovering)
		}
	}
}

// keep saves the state after each transition, and each minute when anything changed, until ctx ends. It is on its own so that a slow disk
// delays no probe.
func (w *Watcher) keep(ctx context.Context, asked <-chan struct{}) {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-asked:
		case <-tick.C:
		}
		w.saveState()
	}
}

func (w *Watcher) saveState() {
	if w.StateFile == "" {
		return
	}
	w.mu.Lock()
	if !w.dirty {
		w.mu.Unlock()
		return
	}
	w.dirty = false
	f := stateFile{Schema: stateSchema, Saved: time.Now(), Primaries: make(map[string]kept, len(w.watched))}
	for name, s := range w.watched {
		f.Primaries[name] = kept{Machine: s.machine.Snapshot(), LastGood: s.lastGood, Transitions: s.transitions, History: s.history}
	}
	b, err := json.Marshal(f)
	w.mu.Unlock()
	if err == nil {
		err = durable.WriteFile(w.StateFile, b, 0o640)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.dirty = true
		if w.stateErr == nil {
			w.log().Error("the state of the primaries cannot be kept over a restart", "file", w.StateFile, "error", err)
		}
	}
	w.stateErr = err
}
