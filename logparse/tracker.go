package logparse

import (
	"time"

	"github.com/sparemx/sparemx/queue"
)

// Tracker joins the lines of one message, by instance and queue ID, into an arrival, outcomes and an end. It belongs to one
// goroutine. Set the hooks before the first Track; a nil hook is not called.
//
// Short queue IDs recur. A new message begins where a line of beginning (client=, uid=, message-id=) comes after what is known of the ID,
// where the queue manager names another size, and where a delivery's own delay says that the message is clearly younger. A message is
// remembered for a while after its end, so that lines read twice do not make it arrive and end twice.
//
// Memory is bounded by Max, MaxRecipients and MaxAge; what had to be forgotten is counted.
type Tracker struct {
	OnArrival func(queue.Arrival)
	OnOutcome func(queue.Outcome)
	OnEnd     func(queue.End)
	// OnRequeue tells that a message that was in the queue goes on under another ID ("postsuper -r"). There is no second arrival.
	OnRequeue func(at time.Time, instance, oldID, newID string)

	Max           int           // messages tracked at a time; 0: 200,000. The one not heard of for longest goes first
	MaxAge        time.Duration // a message not heard of for so long is forgotten; 0: 30 days
	MaxRecipients int           // remembered of one message; 0: 1,000. Those beyond have outcomes, but never First

	book  map[trackKey]*tracked
	live  ring // by last line
	ended ring
	stats TrackerStats
	names interned
	rcpts int
}

// TrackerStats is what a tracker holds and did.
type TrackerStats struct {
	Tracked    int    // messages known now and not ended, also those begun that are not in the queue yet
	Ended      int    // remembered for a while after their end
	Recipients int    // remembered
	Arrivals   uint64 // reported
	Ends       uint64 // reported
	Evicted    uint64 // forgotten for want of room
	Aged       uint64 // forgotten by age
	Superseded uint64 // the ID came again before the end was seen
}

const (
	defaultMax           = 200_000
	defaultMaxAge        = 30 * day
	defaultMaxRecipients = 1000
	maxAddress           = 512 // longer ones are not remembered (RFC 5321 section 4.5.3.1: 64 + 1 + 255)
	maxReply             = 2048
	endedFor             = time.Hour // a message is remembered after its end
	endedShare           = 8         // at most this part of Max
	recipientsPerMax     = 4         // recipients over all messages, times Max
)

type trackKey struct{ instance, id string }

// tracked is one message. Times are Unix nanoseconds: 8 bytes where a time.Time has 24.
type tracked struct {
	key        trackKey
	began      int64 // its first line under this ID
	arrived    int64 // in the queue; of a message put back by postsuper -r the first arrival
	last       int64 // last line
	size       int64
	client     string // until the arrival is reported
	recipients []recipient
	prev, next *tracked
	flags      trackFlags
}

type trackFlags uint8

const (
	flagActive    trackFlags = 1 << iota // was in the queue: the arrival is reported, or its line was not seen
	flagSeen                             // the beginning was seen, so arrived is sure
	flagRequeued                         // has taken on another ID's past
	flagExpired                          // the expiry is reported
	flagEnded                            // gone; remembered for lines read twice
	flagArrivedIn                        // an arrival was reported
)

type recipient struct {
	address string
	state   queue.Result
}

// Stats tells what the tracker holds.
func (t *Tracker) Stats() TrackerStats {
	s := t.stats
	s.Tracked, s.Ended, s.Recipients = t.live.n, t.ended.n, t.rcpts
	return s
}

// Track takes one event. It keeps nothing of ev's slices.
func (t *Tracker) Track(ev *Event) {
	if len(ev.QueueID) == 0 || len(ev.QueueID) > 64 || ev.Time.IsZero() {
		return
	}
	switch ev.Kind {
	case Client, Pickup, MessageID, QueueActive, Delivery, Removed, ExpiredLine, DeletedLine, Requeued, HeldLine, ReleasedLine,
		BounceNotice, DelayNotice, Canceled:
	default:
		return
	}
	if t.book == nil {
		t.book = make(map[trackKey]*tracked)
	}
	now := ev.Time.UnixNano()
	m := t.find(ev)
	switch ev.Kind {
	case Client, MessageID:
		t.begin(ev, m, now)
	case Pickup:
		t.pickup(ev, m, now)
	case QueueActive:
		t.active(ev, m, now)
	case Delivery:
		t.outcome(ev, m, now)
	case Removed:
		t.end(ev, m, now, queue.Done)
	case DeletedLine:
		t.end(ev, m, now, queue.Deleted)
	case ExpiredLine:
		t.expire(ev, m, now)
	case Requeued:
		if m != nil && m.flags&flagEnded == 0 {
			t.touch(m, now)
		}
	case Canceled:
		if m != nil && m.flags&(flagEnded|flagActive) == 0 {
			t.forget(m)
		}
	default:
		if m != nil && m.flags&flagEnded == 0 {
			t.touch(m, now)
		}
	}
	t.sweep(now)
}

func (t *Tracker) find(ev *Event) *tracked {
	// The conversions inside a map index do not allocate.
	return t.book[trackKey{t.names.of(ev.Instance), string(ev.QueueID)}]
}

// begin takes a line that only the beginning of a message has.
func (t *Tracker) begin(ev *Event, m *tracked, now int64) {
	switch {
	case m == nil:
		m = t.add(ev, now)
	case m.flags&(flagActive|flagEnded) == 0 && ev.Kind == MessageID: // belongs to the Client line before it
		t.touch(m, now)
		return
	case now <= m.began, ev.Kind == MessageID && now <= m.last: // read before
		return
	default: // the ID is used again
		t.supersede(m)
		m = t.add(ev, now)
	}
	m.flags |= flagSeen
	if ev.Kind == Client {
		m.client = clientText(ev)
	}
}

func (t *Tracker) supersede(m *tracked) {
	if m.flags&flagEnded == 0 && m.flags&flagActive != 0 {
		t.stats.Superseded++
	}
	t.forget(m)
}

// pickup takes "uid=": a local message, or one put back by postsuper -r, which keeps its past.
func (t *Tracker) pickup(ev *Event, m *tracked, now int64) {
	t.begin(ev, m, now)
	if len(ev.OrigID) == 0 {
		return
	}
	m = t.find(ev)
	old := t.book[trackKey{m.key.instance, string(ev.OrigID)}]
	if old == nil || old == m || old.flags&flagEnded != 0 || m.flags&(flagActive|flagEnded) != 0 {
		return
	}
	m.arrived, m.size = old.arrived, 0
	m.flags |= flagRequeued | old.flags&(flagActive|flagArrivedIn|flagSeen)
	m.recipients, old.recipients = old.recipients, nil
	if m.client == "" {
		m.client = old.client
	}
	wasQueued := old.flags&flagActive != 0
	t.retire(old, now)
	if t.OnRequeue != nil && wasQueued { // else the arrival is still to come, under the new ID
		t.OnRequeue(ev.Time, m.key.instance, old.key.id, m.key.id)
	}
}

func (t *Tracker) active(ev *Event, m *tracked, now int64) {
	if m != nil && m.flags&flagEnded != 0 {
		if now <= m.last {
			return // read before
		}
		t.forget(m)
		m = nil
	}
	if m != nil && m.flags&flagActive != 0 && m.size != 0 && m.size != ev.Size && now > m.last {
		t.supersede(m)
		m = nil
	}
	if m == nil {
		m = t.add(ev, now)
	}
	t.touch(m, now)
	if m.flags&flagActive != 0 {
		if m.size == 0 {
			m.size = ev.Size
		}
		return
	}
	m.flags |= flagActive | flagArrivedIn
	m.size = ev.Size
	client := m.client
	m.client = ""
	t.stats.Arrivals++
	if t.OnArrival != nil {
		t.OnArrival(queue.Arrival{
			At: time.Unix(0, m.arrived).In(ev.Time.Location()), Instance: m.key.instance, ID: m.key.id, Sender: string(ev.From),
			Client: client, Size: ev.Size, Recipients: ev.NRcpt,
		})
	}
}

// outcome takes a delivery line.
func (t *Tracker) outcome(ev *Event, m *tracked, now int64) {
	result := resultOf(ev.Status)
	if result == queue.ResultUnknown {
		if m != nil && m.flags&flagEnded == 0 {
			t.touch(m, now)
		}
		return
	}
	implied := now - int64(ev.Delay)
	m = t.agree(ev, m, now, implied)
	arrived := implied
	first := false
	var id, to string // those that are kept in any case, so that an outcome need not hold texts of its own
	if m != nil {
		id = m.key.id
		arrived = m.arrived
		if m.flags&flagEnded == 0 { // else the line was read before, or came late
			to, first = t.recipient(m, ev.To, result)
			t.touch(m, now)
		}
	}
	if t.OnOutcome == nil {
		return
	}
	if id == "" {
		id = string(ev.QueueID)
	}
	if to == "" {
		to = string(ev.To)
	}
	reply := ev.Reply[:min(len(ev.Reply), maxReply)]
	t.OnOutcome(queue.Outcome{
		At: ev.Time, Instance: t.names.of(ev.Instance), ID: id, Arrived: time.Unix(0, arrived).In(ev.Time.Location()),
		Service: t.names.of(ev.Path), Recipient: to, Domain: t.names.domain(ev.To), NextHop: t.names.nextHop(ev),
		Result: result, Code: ev.DSN, Cause: CauseOf(ev), Reply: string(reply), Age: ev.Delay, Stages: ev.Delays, First: first,
	})
}

// agree returns the message the delivery line belongs to, nil when it is of an older one than that known under the ID.
// Postfix rounds delays to two digits below 100 seconds (format_tv.c), the log's stamps may be of whole seconds.
func (t *Tracker) agree(ev *Event, m *tracked, now, implied int64) *tracked {
	slack := int64(5*time.Second) + int64(ev.Delay)/16
	if m != nil && m.flags&flagRequeued == 0 {
		switch {
		case implied > m.arrived+slack && implied > m.began+slack && (m.flags&flagEnded == 0 || now > m.last):
			t.supersede(m)
			m = nil
		case now < m.began-int64(time.Second) && m.flags&flagSeen != 0:
			return nil // a line from before the ID was used again
		case implied < m.arrived && m.flags&flagSeen == 0:
			m.arrived = implied
		}
		// Of a local message the delay also counts what it lay in maildrop, so it may be older than its first line.
	}
	if m == nil {
		m = t.add(ev, now)
		m.began, m.arrived = min(now, implied), implied
		m.flags |= flagActive
	}
	return m
}

func resultOf(s Status) queue.Result {
	switch s {
	case Sent:
		return queue.Delivered
	case Deferred:
		return queue.DeferredResult
	case Bounced:
		return queue.Bounced
	case StatusExpired:
		return queue.Expired
	}
	return queue.ResultUnknown
}

// recipient notes a recipient's state. It returns the address as it is kept, "" if it is not, and whether it is seen for the first time.
func (t *Tracker) recipient(m *tracked, address []byte, state queue.Result) (kept string, first bool) {
	for i := range m.recipients {
		if r := &m.recipients[i]; r.address == string(address) {
			r.state = state
			return r.address, false
		}
	}
	if len(m.recipients) >= or(t.MaxRecipients, defaultMaxRecipients) || len(address) > maxAddress {
		return "", false
	}
	kept = string(address)
	m.recipients = append(m.recipients, recipient{kept, state})
	t.rcpts++
	return kept, true
}

// expire takes qmgr's "status=expired": each recipient that was put off last time is given up on.
func (t *Tracker) expire(ev *Event, m *tracked, now int64) {
	if m != nil && (m.flags&flagEnded != 0 || m.flags&flagExpired != 0) {
		return
	}
	o := queue.Outcome{
		At: ev.Time, Instance: t.names.of(ev.Instance), ID: string(ev.QueueID), Service: t.names.of(ev.Path), Result: queue.Expired,
		Cause: queue.CauseExpired, Reply: "message expired",
	}
	if m == nil {
		m = t.add(ev, now)
		m.flags |= flagActive
	} else {
		o.Arrived = time.Unix(0, m.arrived).In(ev.Time.Location())
		o.Age = max(ev.Time.Sub(o.Arrived), 0)
	}
	m.flags |= flagExpired
	t.touch(m, now)
	found := false
	for i := range m.recipients {
		r := &m.recipients[i]
		if r.state != queue.DeferredResult {
			continue
		}
		r.state, found = queue.Expired, true
		o.Recipient, o.Domain = r.address, queue.AddressDomain(r.address)
		if t.OnOutcome != nil {
			t.OnOutcome(o)
		}
	}
	if !found && t.OnOutcome != nil {
		t.OnOutcome(o)
	}
}

func (t *Tracker) end(ev *Event, m *tracked, now int64, kind queue.EndKind) {
	if m != nil && m.flags&flagEnded != 0 {
		if now <= m.last+int64(2*time.Second) {
			return // read before
		}
		t.forget(m) // an unknown one with the same ID
		m = nil
	}
	end := queue.End{At: ev.Time, Kind: kind}
	if m == nil {
		m = t.add(ev, now)
	} else if m.flags&(flagActive|flagSeen) != 0 {
		end.Arrived = time.Unix(0, m.arrived).In(ev.Time.Location())
	}
	end.Instance, end.ID = m.key.instance, m.key.id
	t.retire(m, now)
	t.stats.Ends++
	if t.OnEnd != nil {
		t.OnEnd(end)
	}
}

// add makes room and a message under the event's ID.
func (t *Tracker) add(ev *Event, now int64) *tracked {
	for limit := or(t.Max, defaultMax); t.live.n >= limit || t.rcpts >= limit*recipientsPerMax && t.live.n > 0; {
		t.forget(t.live.oldest())
		t.stats.Evicted++
	}
	m := &tracked{key: trackKey{t.names.of(ev.Instance), string(ev.QueueID)}, began: now, arrived: now, last: now}
	t.book[m.key] = m
	t.live.push(m)
	return m
}

func (t *Tracker) touch(m *tracked, now int64) {
	if now > m.last {
		m.last = now
	}
	t.live.remove(m)
	t.live.push(m)
}

// retire keeps only what tells a line read twice.
func (t *Tracker) retire(m *tracked, now int64) {
	t.live.remove(m)
	t.rcpts -= len(m.recipients)
	m.recipients, m.client = nil, ""
	m.flags |= flagEnded
	m.last = max(m.last, now)
	t.ended.push(m)
	for t.ended.n > max(1, or(t.Max, defaultMax)/endedShare) {
		t.forget(t.ended.oldest())
	}
}

func (t *Tracker) forget(m *tracked) {
	if m.flags&flagEnded != 0 {
		t.ended.remove(m)
	} else {
		t.live.remove(m)
	}
	t.rcpts -= len(m.recipients)
	delete(t.book, m.key)
}

// sweep forgets by age, a few at a time: one line with a wild stamp cannot empty the book.
func (t *Tracker) sweep(now int64) {
	age := t.MaxAge
	if age <= 0 {
		age = defaultMaxAge
	}
	if m := t.live.oldest(); m != nil && now-m.last > int64(age) {
		t.forget(m)
		t.stats.Aged++
	}
	for range 2 {
		if m := t.ended.oldest(); m != nil && now-m.last > int64(endedFor) {
			t.forget(m)
		}
	}
}

func or(v, def int) int {
	if v > 0 {
		return v
	}
	return def
}

func clientText(ev *Event) string {
	if len(ev.ClientIP) == 0 {
		return string(ev.ClientName)
	}
	return string(ev.ClientName) + "[" + string(ev.ClientIP) + "]"
}

// ring is a list of messages, the one not heard of for longest first.
type ring struct {
	first, last *tracked
	n           int
}

func (r *ring) oldest() *tracked { return r.first }

func (r *ring) push(m *tracked) {
	m.prev, m.next = r.last, nil
	if r.last != nil {
		r.last.next = m
	} else {
		r.first = m
	}
	r.last = m
	r.n++
}

func (r *ring) remove(m *tracked) {
	if m.prev != nil {
		m.prev.next = m.next
	} else {
		r.first = m.next
	}
	if m.next != nil {
		m.next.prev = m.prev
	} else {
		r.last = m.prev
	}
	m.prev, m.next = nil, nil
	r.n--
}
