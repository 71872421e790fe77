package alert

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/sparemx/sparemx/internal/durable"
)

const (
	outboxName = "outbox.json"
	maxFile    = 16 << 20
	patience   = time.Second // that Notify and a channel wait for the disk
	retrySave  = 10 * time.Second
)

// outbox is the book on disk: one file, written whole. Without a directory, or with one that takes no file, the book lives in memory alone.
type outbox struct {
	path  string
	soon  chan struct{} // something changed
	now   chan struct{} // and must be on disk at once
	write sync.Mutex    // one write at a time

	mu      sync.Mutex
	gen     uint64        // of the book
	saved   uint64        // newest on disk
	done    chan struct{} // closed and replaced after each write
	trouble string        // why it is not on disk
	lost    string        // what could not be read at the start; for Status
}

// saved is the file. Schema 1.
type savedBook struct {
	Schema    int         `json:"schema"`
	Muted     time.Time   `json:"muted,omitzero"`
	Incidents []*incident `json:"incidents"`
	Ended     []ended     `json:"ended,omitempty"`
}

// open reads what is in dir. What cannot be read is put aside as outbox.json.bad, so that the next start does not meet it again.
func (o *outbox) open(dir string, now time.Time) book {
	o.soon, o.now, o.done = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{})
	if dir == "" {
		return book{}
	}
	o.path = filepath.Join(dir, outboxName)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		o.trouble = storageTrouble(err)
		return book{}
	}
	if left, err := filepath.Glob(filepath.Join(dir, "."+outboxName+".tmp-*")); err == nil {
		for _, f := range left { // of a crash in the middle of a write
			os.Remove(f)
		}
	}
	info, err := os.Stat(o.path)
	if errors.Is(err, os.ErrNotExist) {
		return book{}
	}
	var data []byte
	if err == nil && info.Size() > maxFile {
		err = fmt.Errorf("%d bytes", info.Size())
	}
	if err == nil {
		data, err = os.ReadFile(o.path)
	}
	if err == nil {
		var b book
		if b, err = decodeBook(data, now); err == nil {
			return b
		}
	}
	o.lost = Clean(fmt.Sprintf("%s could not be read and is put aside as %s.bad: %v", o.path, outboxName, err), 300)
	if err := os.Rename(o.path, o.path+".bad"); err != nil {
		o.trouble = storageTrouble(err)
	}
	return book{}
}

func storageTrouble(err error) string {
	return Clean(fmt.Sprintf("alerts are kept in memory alone and would not survive a restart: %v", err), 300)
}

// decodeBook reads the file. Whatever the file holds, the book it returns is inside its bounds.
func decodeBook(data []byte, now time.Time) (book, error) {
	var s savedBook
	if err := json.Unmarshal(data, &s); err != nil {
		return book{}, err
	}
	if s.Schema != 1 {
		return book{}, fmt.Errorf("schema %d is not known, only 1", s.Schema)
	}
	b := book{muted: s.Muted}
	for _, i := range s.Incidents {
		if i == nil || i.ID == "" || len(i.ID) > 64 || i.ID != Clean(i.ID, 64) {
			continue
		}
		i.First, i.Last = bound(i.First, now), bound(i.Last, now)
		i.Key = i.First.Key
		if i.Progress != nil {
			p := bound(*i.Progress, now)
			i.Progress = &p
		}
		i.Worst, i.Flaps, i.Turn = min(i.Worst, Critical), min(max(i.Flaps, 0), 1000), max(i.Turn, 1)
		// A time that lies ahead was written before the clock jumped back; waiting for it could take for ever.
		clamp(now, &i.Resolved, &i.Changed)
		known := Channels()
		for name, t := range i.Told {
			if t == nil || !slices.Contains(known, name) || len(t.Ref) > 4096 {
				delete(i.Told, name)
				continue
			}
			t.Sent = max(t.Sent, 0)
			clamp(now, &t.At, &t.Shown, &t.Refreshed)
		}
		b.incidents = append(b.incidents, i)
	}
	for _, e := range s.Ended {
		e.Key = Clean(e.Key, 300)
		b.ended = append(b.ended, e)
	}
	if n := len(b.ended) - maxEnded; n > 0 {
		b.ended = b.ended[n:]
	}
	b.fit(nil, func(*incident) {})
	return b, nil
}

func clamp(now time.Time, times ...*time.Time) {
	for _, t := range times {
		if t.After(now) {
			*t = now
		}
	}
}

// save writes the book as it is now.
func (a *Alerts) save() {
	o := &a.outbox
	if o.path == "" {
		return
	}
	o.write.Lock()
	defer o.write.Unlock()
	a.mu.Lock()
	gen := o.generation()
	data, err := json.Marshal(savedBook{1, a.book.muted, a.book.incidents, a.book.ended})
	a.mu.Unlock()
	if err == nil {
		err = os.MkdirAll(filepath.Dir(o.path), 0o700) // it may have been removed under us
	}
	if err == nil {
		err = durable.WriteFile(o.path, data, 0o600)
	}
	before, after := o.settle(gen, err)
	if before != after && a.Log != nil {
		if after != "" {
			a.Log.Error("alert outbox", "err", after)
		} else {
			a.Log.Info("alert outbox is on disk again")
		}
	}
}

func (o *outbox) generation() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.gen
}

// settle enters what came of a write and wakes who waits for it.
func (o *outbox) settle(gen uint64, err error) (before, after string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	before = o.trouble
	o.trouble = ""
	if err != nil {
		o.trouble = storageTrouble(err)
	} else {
		o.saved = max(o.saved, gen)
	}
	close(o.done)
	o.done = make(chan struct{})
	return before, o.trouble
}

// touch marks a change and returns its number.
func (o *outbox) touch(urgent bool) uint64 {
	o.mu.Lock()
	o.gen++
	gen := o.gen
	o.mu.Unlock()
	ring := o.soon
	if urgent {
		ring = o.now
	}
	select {
	case ring <- struct{}{}:
	default:
	}
	return gen
}

// wait returns when the change with that number is on disk, when the disk does not take it, or when patience is over. Who waited in vain
// once is not kept waiting again until a write has ended.
func (o *outbox) wait(ctx context.Context, gen uint64) {
	if o.path == "" {
		return
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		o.mu.Lock()
		if o.saved >= gen || o.trouble != "" {
			o.mu.Unlock()
			return
		}
		done := o.done
		o.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
			return
		case <-timer.C:
			o.mu.Lock()
			if o.saved < gen && o.trouble == "" {
				o.trouble = storageTrouble(fmt.Errorf("writing %s takes longer than %s", o.path, patience))
			}
			o.mu.Unlock()
			return
		}
	}
}

// run writes changes: urgent ones at once, others within a second, and tries again while the disk takes nothing.
func (o *outbox) run(ctx context.Context, save func()) {
	for {
		o.mu.Lock()
		failing := o.trouble != "" && o.path != ""
		o.mu.Unlock()
		var again <-chan time.Time
		var timer *time.Timer
		if failing {
			timer = time.NewTimer(retrySave)
			again = timer.C
		}
		select {
		case <-ctx.Done():
			save()
			return
		case <-o.now:
		case <-again:
		case <-o.soon:
			gather := time.NewTimer(time.Second)
			select {
			case <-ctx.Done():
			case <-o.now:
			case <-gather.C:
			}
			gather.Stop()
		}
		if timer != nil {
			timer.Stop()
		}
		save()
	}
}
