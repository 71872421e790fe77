package outage

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sparemx/sparemx/alert"
	"github.com/sparemx/sparemx/probes"
	"github.com/sparemx/sparemx/queue"
)

// span is a time in which the primary was down: from the first Bad probe to the first Good one. A zero To is now.
type span struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to,omitzero"`
}

// meta is what is known of an outage besides its messages; the journal keeps it.
type meta struct {
	ID          string         `json:"id"`
	Primary     string         `json:"primary"`
	Domains     []string       `json:"domains"`
	Spans       []span         `json:"spans"`
	Detected    time.Time      `json:"detected"`
	Reason      string         `json:"reason,omitempty"`
	State       probes.State   `json:"state"`
	Up          time.Time      `json:"up,omitzero"` // when it was Up again
	Flaps       int            `json:"flaps,omitempty"`
	Interrupted int            `json:"interrupted,omitempty"`
	Refused     int            `json:"refused,omitempty"`
	Overflow    int            `json:"overflow,omitempty"`
	First       time.Time      `json:"first,omitzero"` // first delivery after the recovery
	Moved       time.Time      `json:"moved,omitzero"` // last change of a fate
	Drain       queue.Progress `json:"drain"`
	Maintenance bool           `json:"maintenance,omitempty"`
	Stuck       bool           `json:"stuck,omitempty"` // people were told
	Back        bool           `json:"back,omitempty"`  // people were told that the primary is back, before all its mail is gone
	Keys        []uint64       `json:"keys,omitempty"`  // of the refusals counted since the line before; one line, so that they and Refused are torn together
}

// record is one open outage. It is not safe for concurrent use.
type record struct {
	meta
	dirty bool // meta changed since it was last added to the journal
	acc   *account
	lost  []Lost
	own   map[string]bool
	j     journal
	torn  int64 // bytes of its end that were not whole when it was opened

	rejects rejectKeys
	walk    uint16
	walkAt  time.Time // when the walk under way began
	walked  time.Time // when the last complete walk began
	onHold  int       // messages of the account that the last complete walk showed on hold
	holding int       // the same of the walk under way

	drain     *queue.Drain // under way
	drainDone time.Time    // when the last one ended by itself
	stop      func()       // ends it
	told      time.Time    // last progress notice
	timed     timed
}

// lookback is how long before the first Bad probe the primary may have failed without a probe seeing it.
const lookback = 5 * time.Minute

func newRecord(m meta, limit int, path string) *record {
	r := &record{meta: m, dirty: true, own: map[string]bool{}}
	r.j.path = path
	r.acc = newAccount(limit, r.j.op)
	for _, d := range m.Domains {
		r.own[d] = true
	}
	return r
}

// openRecord reads a journal. What follows its first bad line is cut off.
func openRecord(path string, limit int) (*record, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	r := newRecord(meta{}, limit, path)
	good, err := r.load(f)
	if info, e := f.Stat(); e == nil {
		r.torn = info.Size() - good
	}
	if err == nil && r.ID == "" {
		err = errors.New("nothing in it is whole")
	}
	if err == nil {
		err = errors.Join(f.Truncate(good), f.Sync())
	}
	if err == nil {
		_, err = f.Seek(good, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	r.j.f, r.j.size, r.j.whole = f, good, good
	r.Interrupted++
	r.dirty = true
	return r, nil
}

func (r *record) load(from io.Reader) (int64, error) {
	good, err := readJournal(from, func(p []byte) error {
		if len(p) < 2 || p[1] != ' ' {
			return errors.New("no kind")
		}
		switch body := p[2:]; p[0] {
		case 's':
			var m meta
			if err := json.Unmarshal(body, &m); err != nil {
				return err
			}
			if !validID(m.ID) || len(m.Spans) == 0 || m.State > probes.Recovering {
				return errors.New("not an outage")
			}
			for _, k := range m.Keys {
				r.rejects.add(k)
			}
			r.rejects.fresh, m.Keys = nil, nil
			r.meta = m
		case 'r':
			o, err := parseOp(body)
			if err != nil {
				return err
			}
			r.acc.apply(o)
		case 'm':
			v, err := parseMove(body)
			if err != nil {
				return err
			}
			r.acc.applyMove(v)
		case 'l':
			var l Lost
			if err := json.Unmarshal(body, &l); err != nil {
				return err
			}
			if len(r.lost) < maxLost {
				r.lost = append(r.lost, l)
			}
		default:
			return errors.New("not known")
		}
		return nil
	})
	for _, d := range r.Domains {
		r.own[d] = true
	}
	if len(r.Spans) > 0 { // a change that was kept may be later than what was last known as a whole
		r.acc.all(func(m *msg) bool {
			if f := r.acc.fate(m); f != Held && f != Unaccounted && m.touched > unix32(r.Moved) {
				r.moved(f, time.Unix(int64(m.touched), 0).UTC())
			}
			return true
		})
	}
	return good, err
}

// in tells whether t was in a time in which the primary was down, the first of which is taken to begin early before.
func (r *record) in(t time.Time, early time.Duration) bool {
	for _, s := range r.Spans {
		if !t.Before(s.From.Add(-early)) && (s.To.IsZero() || t.Before(s.To)) {
			return true
		}
	}
	return false
}

func (r *record) from() time.Time { return r.Spans[0].From }

// to returns the recovery, zero while the primary is down.
func (r *record) to() time.Time { return r.Spans[len(r.Spans)-1].To }

// outcome takes one outcome. It must be of one of our domains, or of a whole message (no recipient).
func (r *record) outcome(o queue.Outcome, shorten func(string) string) {
	arrived := o.Arrived
	if arrived.IsZero() && o.Age > 0 {
		arrived = o.At.Add(-o.Age)
	}
	var sec uint32
	if !arrived.IsZero() {
		sec = unix32(arrived)
	}
	to := Held
	switch o.Result {
	case queue.Delivered:
		to = Delivered
	case queue.Bounced:
		to = Bounced
	case queue.Expired:
		to = Expired
	case queue.DeferredResult:
	default:
		return
	}
	key := keyOf(o.Instance, o.ID)
	i := r.acc.find(key, sec)
	if i == 0 {
		// Time stamps may be cut to the second: mail of the outage's first second counts.
		entered := !arrived.IsZero() && r.in(arrived, time.Second) ||
			to == Held && o.Cause.OfPrimary() && r.in(o.At, lookback)
		if !entered || o.Recipient == "" || sec == 0 {
			return
		}
		if i = r.acc.add(key, sec); i == 0 {
			r.Overflow++
			r.dirty = true
			return
		}
	}
	m := r.acc.at(i)
	if o.Recipient == "" {
		if to == Held || to == Delivered {
			return
		}
		for _, h := range r.open(m) {
			r.move(m, h, to, o.Cause, o.Age, o.At, Lost{ID: o.ID, Sender: o.Sender, Reason: o.Reply}, shorten)
		}
		return
	}
	r.move(m, rcptHash(o.Recipient), to, o.Cause, o.Age, o.At, Lost{ID: o.ID, Sender: o.Sender, Recipient: o.Recipient, Reason: o.Reply}, shorten)
}

// open returns the recipients of m that are not final.
func (r *record) open(m *msg) (hashes []uint32) {
	r.acc.each(m, func(x *rcpt) bool {
		if x.fate == Held || x.fate == Unaccounted {
			hashes = append(hashes, x.hash)
		}
		return true
	})
	return hashes
}

func (r *record) move(m *msg, hash uint32, to Fate, cause queue.Cause, age time.Duration, at time.Time, l Lost, shorten func(string) string) {
	if x := r.acc.recipient(m, hash); (to == Bounced || to == Expired || to == Deleted) && (x == nil || !x.fate.final() && x.fate != to) {
		r.addLost(l, to, at, shorten) // before the change itself: a journal torn between the two then says too much, and that is noticed
	}
	if !r.acc.put(m, hash, to, cause, age, at) || to == Held || to == Unaccounted {
		return
	}
	r.moved(to, at)
}

func (r *record) moved(to Fate, at time.Time) {
	r.dirty = true
	if at.After(r.Moved) {
		r.Moved = at
	}
	if rec := r.to(); to == Delivered && !rec.IsZero() && !at.Before(rec.Truncate(time.Second)) && (r.First.IsZero() || at.Before(r.First)) {
		r.First = at
	}
}

func (r *record) addLost(l Lost, to Fate, at time.Time, shorten func(string) string) {
	if len(r.lost) >= maxLost {
		return
	}
	if shorten == nil {
		shorten = alert.ShortAddress
	}
	l.Sender, l.Recipient = alert.Clean(shorten(l.Sender), maxAddress), alert.Clean(shorten(l.Recipient), maxAddress)
	l.ID, l.Reason, l.Fate, l.At = alert.Clean(l.ID, 40), alert.Clean(l.Reason, maxReason), to.String(), at
	if slices.ContainsFunc(r.lost, func(x Lost) bool {
		return x.ID == l.ID && x.Recipient == l.Recipient && x.Fate == l.Fate && x.At.Equal(l.At)
	}) {
		return
	}
	r.lost = append(r.lost, l)
	r.j.json('l', l)
}

// lostCount returns how many recipients were bounced, expired or deleted.
func (r *record) lostCount() int {
	return r.acc.rcpts[Bounced] + r.acc.rcpts[Expired] + r.acc.rcpts[Deleted]
}

// end takes that a message left the queue.
func (r *record) end(e queue.End, shorten func(string) string) {
	var sec uint32
	if !e.Arrived.IsZero() {
		sec = unix32(e.Arrived)
	}
	if e.Kind == queue.Requeued {
		r.requeue(e, sec)
		return
	}
	i := r.acc.find(keyOf(e.Instance, e.ID), sec)
	if i == 0 {
		return
	}
	m := r.acc.at(i)
	to := Unaccounted
	if e.Kind == queue.Deleted {
		to = Deleted
	}
	m.ended = true
	for _, h := range r.open(m) {
		r.move(m, h, to, queue.CauseNone, 0, e.At, Lost{ID: e.ID, Reason: "deleted by the operator"}, shorten)
	}
}

// requeue takes that a message goes on under another queue ID (postsuper(1), "-r"). Its arrival stays: pickup copies the record of it. What
// does not say the new ID says nothing: the next walk tells of it.
func (r *record) requeue(e queue.End, arrived uint32) {
	if e.NewID == "" || e.NewID == e.ID {
		return
	}
	key := keyOf(e.Instance, e.ID)
	for i := r.acc.index[key]; i != 0; i = r.acc.at(i).prev {
		m := r.acc.at(i)
		if arrived != 0 && apart(m.arrived, arrived) > arrivalSlack || m.arrived > unix32(e.At.Add(arrivalSlack)) {
			continue // another message that had this ID
		}
		if m.moved {
			return // told before
		}
		switch {
		case r.acc.requeue(i, keyOf(e.Instance, e.NewID), m.arrived):
			to := r.acc.at(m.more)
			r.j.move(move{m.key, to.key, m.arrived, to.arrived})
		case int(r.acc.n) >= r.acc.limit:
			r.Overflow++
			r.dirty = true
		}
		return
	}
}

// reject counts a refusal of ours. key tells it from all others, so that a line told twice counts once.
func (r *record) reject(at time.Time, key uint64) {
	if !r.in(at, 0) {
		return
	}
	if r.rejects.add(key) {
		r.Refused++
		r.dirty = true
	}
}

// visit takes one message that a walk shows.
func (r *record) visit(m queue.Message, classify func(string) queue.Cause) {
	if m.Place == queue.Maildrop {
		return // not yet through cleanup; it will have another queue ID
	}
	arrived := unix32(m.Arrived)
	key := keyOf(m.Instance, m.ID)
	i := r.acc.find(key, arrived)
	var listed []uint32
	reason, last := queue.CauseNone, ""
	for _, x := range m.Recipients {
		if !r.own[x.Domain()] {
			continue
		}
		if x.Reason != "" && x.Reason != last && classify != nil {
			last, reason = x.Reason, classify(x.Reason)
		} else if x.Reason == "" {
			last, reason = "", queue.CauseNone
		}
		hash := rcptHash(x.Address)
		if i == 0 {
			// What was held before the outage is known from the first walk; the primary may be back before that has ended.
			first := r.to().IsZero() || r.walked.IsZero() && m.Arrived.Before(r.to())
			entered := r.in(m.Arrived, time.Second) || first && m.Place != queue.Hold && (x.Reason == "" || reason.OfPrimary())
			if !entered {
				continue
			}
			if i = r.acc.add(key, arrived); i == 0 {
				return // counted when the log tells of it; a walk comes again and again
			}
		}
		entry := r.acc.at(i)
		cause := reason
		if m.Place == queue.Hold {
			cause = queue.CauseLocal
		}
		r.acc.put(entry, hash, Held, cause, 0, r.walkAt)
		listed = append(listed, hash)
	}
	if i == 0 {
		return
	}
	entry := r.acc.at(i)
	entry.walk, entry.missed = r.walk, 0
	if m.Place == queue.Hold {
		r.holding++
	}
	if entry.more != 0 { // some of its recipients may be done with, unseen
		r.acc.each(entry, func(x *rcpt) bool {
			if x.fate == Held && !slices.Contains(listed, x.hash) && entry.touched < unix32(r.walkAt) {
				to := *x
				to.fate = Unaccounted
				r.acc.set(entry, to, 0, false)
			}
			return true
		})
	}
}

func (r *record) beginWalk(at time.Time) {
	r.walk++
	r.walkAt, r.holding = at, 0
}

// endWalk finds, after a complete walk, the messages that it did not show. A walk may miss one that moves; two in a row do not.
func (r *record) endWalk(complete bool) {
	if !complete {
		return
	}
	r.walked, r.onHold = r.walkAt, r.holding
	began := unix32(r.walkAt)
	r.acc.all(func(m *msg) bool {
		if m.walk == r.walk || m.touched+1 >= began || r.acc.fate(m) != Held && r.acc.settledAll(m) {
			return true
		}
		if m.missed++; m.missed < 2 {
			return true
		}
		m.missed = 2
		r.acc.each(m, func(x *rcpt) bool {
			if x.fate == Held {
				to := *x
				to.fate = Unaccounted
				r.acc.set(m, to, 0, false)
			}
			return true
		})
		return true
	})
}

// sync makes durable all that was told.
func (r *record) sync() error {
	if r.dirty {
		m := r.meta
		m.Keys = r.rejects.fresh
		r.j.json('s', m)
	}
	err := r.j.sync(func(add func([]byte)) {
		m := r.meta
		m.Keys = r.rejects.order
		meta, _ := json.Marshal(m)
		add(append([]byte("s "), meta...))
		var b []byte
		r.acc.ops(func(o op) { b = appendOp(b[:0], o); add(b) }, func(v move) { b = appendMove(b[:0], v); add(b) })
		for _, l := range r.lost {
			data, _ := json.Marshal(l)
			add(append([]byte("l "), data...))
		}
	})
	if err != nil {
		return err
	}
	r.rejects.fresh = nil
	r.dirty = false
	return nil
}

func journalPath(dir, id string) string { return filepath.Join(dir, id+journalSuffix) }
