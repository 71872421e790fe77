// Package outage follows one outage of a primary from the first failed probe to the fate of the last message that was held for it.
//
// [Watch] is the conductor: it is told transitions, what the log says, and each walk of the queue; it opens an outage, keeps its account,
// has the queue drained when the primary is back, closes the outage and writes its [Report]. The account holds, at any moment, for
// messages as for recipients:
//
//	accepted = delivered + bounced + expired + deleted + still held + unaccounted
//
// Hazards. Lines of the log may be told twice after a restart (all since the last position saved): telling them again changes nothing,
// because what is kept is the state of each recipient of each message. [Watch.Sync] has to be called BEFORE a position is saved, and the position
// not saved when it fails; then a crash at any moment loses nothing. Queue IDs recur; the arrival time tells them apart. A walk of
// the queue may miss a message that moves, and the log may lag behind it: a message that neither shows is "missing" until the outage closes,
// when it becomes "unaccounted", and never before.
package outage

import (
	"hash/fnv"
	"math"
	"strings"
	"time"

	"github.com/sparemx/sparemx/queue"
)

// Fate is what has become of a message or of one recipient of it.
type Fate uint8

const (
	fateNone    Fate = iota
	Delivered        // taken by the primary
	Held             // still in the queue
	Unaccounted      // no longer in the queue, and nothing said where it went; "missing" while the outage is open
	Deleted          // by the operator
	Bounced          // refused for good
	Expired          // given up on by age
	numFates
)

var fateNames = [numFates]string{"none", "delivered", "held", "unaccounted", "deleted", "bounced", "expired"}

func (f Fate) String() string { return fateNames[min(f, Expired)] }

// Fates are all fates, for metrics that start at 0.
func Fates() []Fate { return []Fate{Delivered, Held, Unaccounted, Deleted, Bounced, Expired} }

// final tells whether nothing can follow any more. Deleted is not: a message under way when it was deleted may still be delivered.
func (f Fate) final() bool { return f == Delivered || f == Bounced || f == Expired }

const (
	maxMessages  = 2_000_000
	arrivalSlack = 5 * time.Second // the log's time stamps and the queue's arrival times differ by their rounding
	chunkSize    = 4096
)

// rcpt is one recipient of one message: 8 bytes.
type rcpt struct {
	hash  uint32
	delay uint16 // delayCode, of a delivered one
	fate  Fate
	cause queue.Cause
}

// msg is one message: 36 bytes, and about as many again in the index.
type msg struct {
	key     uint64
	arrived uint32 // Unix seconds
	touched uint32 // Unix seconds: when its fate last changed
	first   rcpt
	more    uint32 // 1 + index in account.extra of the next recipient; 0: none
	prev    uint32 // 1 + index of an earlier message that had the same queue ID; 0: none
	walk    uint16 // number of the last walk that showed it
	missed  uint8  // complete walks in a row that did not show it
	ended   bool   // the log said that it left the queue
	moved   bool   // it goes on under another queue ID: more is 1 + index of that message, and it has no recipients of its own
}

type extra struct {
	rcpt
	next uint32
}

// op is a change of the account, as the journal keeps it.
type op struct {
	key     uint64
	arrived uint32
	touched uint32
	rcpt    rcpt
}

// account is the fate of each message of one outage. It is not safe for concurrent use.
type account struct {
	limit    int
	index    map[uint64]uint32 // key -> 1 + index of the latest message with that queue ID
	chunks   [][]msg
	n        uint32
	extra    []extra
	messages [numFates]int
	rcpts    [numFates]int
	causes   [256]int         // recipients that are held, by queue.Cause
	delays   [256]*[256]int32 // recipients that were delivered, by the delayCode's two bytes
	stubs    int              // messages that moved
	changed  func(op)         // told each change that has to survive
}

// move says that the message with one queue ID goes on under another, as the journal keeps it.
type move struct {
	key, to            uint64
	arrived, toArrived uint32
}

func newAccount(limit int, changed func(op)) *account {
	if limit <= 0 {
		limit = maxMessages
	}
	return &account{limit: limit, index: map[uint64]uint32{}, changed: changed}
}

func (a *account) at(i uint32) *msg { return &a.chunks[(i-1)/chunkSize][(i-1)%chunkSize] }

// accepted returns the number of messages in the account.
func (a *account) accepted() int { return int(a.n) - a.stubs }

func (a *account) held() int    { return a.messages[Held] }
func (a *account) missing() int { return a.messages[Unaccounted] }

// keyOf names a message by instance and queue ID. The IDs are made by the holder of the mail, not by strangers.
func keyOf(instance, id string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(instance))
	h.Write([]byte{0})
	h.Write([]byte(id))
	return h.Sum64()
}

func rcptHash(address string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(strings.ToLower(address)))
	return h.Sum32()
}

// find returns the message that had this queue ID when it arrived at arrived (Unix seconds; 0: the latest), 0 if there is none. One that
// was requeued is found by each ID it had.
func (a *account) find(key uint64, arrived uint32) uint32 {
	latest := a.index[key]
	if latest == 0 || arrived == 0 {
		return a.follow(latest)
	}
	for i := latest; i != 0; i = a.at(i).prev {
		if apart(a.at(i).arrived, arrived) <= arrivalSlack {
			return a.follow(i)
		}
	}
	// The same ID with another arrival is another message only when the one before is gone. Local time stamps jump by an hour twice a year.
	if m := a.at(latest); !m.moved && !m.ended && !a.settledAll(m) && apart(m.arrived, arrived) <= 2*time.Hour {
		return latest
	}
	return 0
}

// follow returns the message under the queue ID it has now. What was moved points to what is there already, so there is no circle.
func (a *account) follow(i uint32) uint32 {
	for i != 0 && a.at(i).moved {
		i = a.at(i).more
	}
	return i
}

// exact returns the message that was added as key and arrived, whether it moved or not; 0 if there is none.
func (a *account) exact(key uint64, arrived uint32) uint32 {
	i := a.index[key]
	for i != 0 && a.at(i).arrived != arrived {
		i = a.at(i).prev
	}
	return i
}

func apart(x, y uint32) time.Duration {
	return time.Duration(max(x, y)-min(x, y)) * time.Second
}

// add makes a message; 0 when the account is full. Those with one queue ID are kept in the order of their arrival, whatever the order in
// which they are told.
func (a *account) add(key uint64, arrived uint32) uint32 {
	if int(a.n) >= a.limit {
		return 0
	}
	if int(a.n) == len(a.chunks)*chunkSize {
		a.chunks = append(a.chunks, make([]msg, chunkSize))
	}
	a.n++
	m := a.at(a.n)
	m.key, m.arrived = key, arrived
	head := a.index[key]
	if head == 0 || a.at(head).arrived <= arrived {
		m.prev = head
		a.index[key] = a.n
		return a.n
	}
	for a.at(head).prev != 0 && a.at(a.at(head).prev).arrived > arrived {
		head = a.at(head).prev
	}
	m.prev, a.at(head).prev = a.at(head).prev, a.n
	return a.n
}

// requeue has message i go on as key, arrived there at arrived. It reports whether that was news. A message already known by that name
// (a walk, or a line of the log that came before) is the same one, and takes over what is known of the other.
func (a *account) requeue(i uint32, key uint64, arrived uint32) bool {
	from := a.at(i)
	if from.moved {
		return false
	}
	j := a.follow(a.exact(key, arrived))
	if j == 0 {
		for j = a.index[key]; j != 0 && apart(a.at(j).arrived, arrived) > arrivalSlack; j = a.at(j).prev {
		}
		j = a.follow(j)
	}
	if j == i {
		return false
	}
	if j == 0 {
		if j = a.add(key, arrived); j == 0 {
			return false
		}
	}
	to := a.at(j)
	was := a.fate(from)
	var rcpts []rcpt
	a.each(from, func(r *rcpt) bool { rcpts = append(rcpts, *r); a.tally(*r, -1); return true })
	if was != fateNone {
		a.messages[was]--
	}
	touched := from.touched
	from.moved, from.ended, from.first, from.more = true, true, rcpt{}, j
	a.stubs++
	for _, r := range rcpts {
		if r.fate == Unaccounted {
			r.fate = Held // it was missed because it has another name
		}
		if x := a.recipient(to, r.hash); x == nil || !x.fate.final() && (r.fate.final() || r.fate == Deleted) {
			a.set(to, r, touched, false)
		}
	}
	return true
}

// applyMove takes a move from the journal.
func (a *account) applyMove(v move) {
	i := a.exact(v.key, v.arrived)
	if i == 0 {
		if i = a.add(v.key, v.arrived); i == 0 {
			return
		}
	}
	a.requeue(i, v.to, v.toArrived)
}

// all calls f for each message until it returns false.
func (a *account) all(f func(*msg) bool) {
	for i := uint32(1); i <= a.n; i++ {
		if !f(a.at(i)) {
			return
		}
	}
}

// each calls f for each recipient of m until it returns false.
func (a *account) each(m *msg, f func(*rcpt) bool) {
	if m.moved {
		return
	}
	if m.first.fate != fateNone && !f(&m.first) {
		return
	}
	for i := m.more; i != 0; i = a.extra[i-1].next {
		if !f(&a.extra[i-1].rcpt) {
			return
		}
	}
}

func (a *account) recipient(m *msg, hash uint32) (r *rcpt) {
	a.each(m, func(x *rcpt) bool {
		if x.hash == hash {
			r = x
		}
		return r == nil
	})
	return r
}

// fate is that of a message: the worst of its recipients'.
func (a *account) fate(m *msg) (f Fate) {
	a.each(m, func(r *rcpt) bool { f = max(f, r.fate); return true })
	return f
}

func (a *account) settledAll(m *msg) bool {
	all := true
	a.each(m, func(r *rcpt) bool { all = r.fate != Held && r.fate != Unaccounted; return all })
	return all
}

// tally counts a recipient in, or out.
func (a *account) tally(r rcpt, n int) {
	a.rcpts[r.fate] += n
	switch r.fate {
	case Held:
		a.causes[r.cause] += n
	case Delivered:
		page := &a.delays[r.delay>>8]
		if *page == nil {
			*page = new([256]int32)
		}
		(*page)[r.delay&0xff] += int32(n)
	}
}

// set changes one recipient of a message, new or known, and keeps the sums. The cause of one that stays held is not worth keeping over a
// restart; the next walk tells it again.
func (a *account) set(m *msg, to rcpt, touched uint32, keep bool) {
	before := a.fate(m)
	r := a.recipient(m, to.hash)
	if r == nil {
		if m.first.fate == fateNone {
			m.first = to
		} else {
			a.extra = append(a.extra, extra{to, m.more})
			m.more = uint32(len(a.extra))
		}
	} else {
		a.tally(*r, -1)
		*r = to
	}
	a.tally(to, 1)
	m.touched = max(m.touched, touched)
	if after := a.fate(m); after != before {
		if before != fateNone {
			a.messages[before]--
		}
		a.messages[after]++
	}
	if keep && a.changed != nil {
		a.changed(op{m.key, m.arrived, m.touched, to})
	}
}

// put brings recipient r of m to fate to if that may follow what is known, and reports whether it changed.
func (a *account) put(m *msg, hash uint32, to Fate, cause queue.Cause, delay time.Duration, at time.Time) bool {
	now := unix32(at)
	r := a.recipient(m, hash)
	if r == nil {
		a.set(m, rcpt{hash, delayCode(delay), to, cause}, now, true)
		return true
	}
	switch {
	case r.fate.final(), r.fate == Deleted && !to.final():
		return false
	case r.fate == to: // held as before, for another cause perhaps
		a.tally(*r, -1)
		r.cause = cause
		a.tally(*r, 1)
		return false
	case r.fate == Unaccounted && to == Held && m.ended:
		return false
	}
	keep := to != Held || r.fate != Unaccounted
	a.set(m, rcpt{hash, delayCode(delay), to, cause}, now, keep)
	return true
}

// apply takes a change from the journal.
func (a *account) apply(o op) {
	i := a.exact(o.key, o.arrived)
	if i == 0 {
		if i = a.add(o.key, o.arrived); i == 0 {
			return
		}
	}
	i = a.follow(i)
	m := a.at(i)
	a.set(m, o.rcpt, o.touched, false)
	if o.rcpt.fate == Unaccounted {
		m.ended = true // only what the log said is kept
	}
}

// ops calls f for each recipient, and g for each message that moved, as the journal would keep it.
func (a *account) ops(f func(op), g func(move)) {
	a.all(func(m *msg) bool {
		if m.moved {
			to := a.at(m.more)
			g(move{m.key, to.key, m.arrived, to.arrived})
		}
		a.each(m, func(r *rcpt) bool {
			o := op{m.key, m.arrived, m.touched, *r}
			if o.rcpt.fate == Unaccounted && !m.ended {
				o.rcpt.fate = Held
			}
			f(o)
			return true
		})
		return true
	})
}

func unix32(t time.Time) uint32 { return uint32(max(0, min(t.Unix(), math.MaxUint32))) }

// delayCode keeps a delay of up to 70 years in 16 bits, to 0.04 %.
func delayCode(d time.Duration) uint16 {
	return uint16(math.Round(math.Log1p(max(0, float64(d)/float64(time.Millisecond))) * delayScale))
}

func delayOf(code uint16) time.Duration {
	return time.Duration(math.Round(math.Expm1(float64(code)/delayScale))) * time.Millisecond
}

const delayScale = 65535 / 28.5
