package queue

import (
	"hash/maphash"
	"strings"
	"time"
)

// itemKey is what a push and an outcome have in common. Queue IDs recur, but not among messages held at the same time.
type itemKey struct{ instance, id string }

// item is a message the drain knows of: in hand, or pushed and not answered.
type item struct {
	key     itemKey
	arrived time.Time
	place   Place
	domain  string
	own     int // recipients in our domains

	out    bool
	gone   bool // ended while still in hand; skipped when its turn comes
	ticket Ticket
	pushed time.Time
	looked time.Time // when the queue was last searched for it
	place2 Place     // where that search found it; PlaceUnknown: nowhere

	// of the attempt under way
	heard     map[uint64]struct{}
	answered  bool // the window has been told
	trouble   bool
	suspended bool
	own450    bool // refused for a reason of its own

	delivered, bounced, expired int // recipients
	strikes                     int // attempts in a row that met trouble of the primary
	takenAt                     int // drainState.taken at the first of these
	repushed                    int // pushes without any outcome
}

func (it *item) before(other *item) bool {
	if !it.arrived.Equal(other.arrived) {
		return it.arrived.Before(other.arrived)
	}
	return it.key.id < other.key.id
}

// aside is a message refused for a reason of its own.
type aside struct {
	again time.Time
	tries int
}

// blame counts refusals of one recipient address between which others were taken.
type blame struct {
	strikes int
	taken   int
}

// listing is what one walk found besides the messages to push.
type listing struct {
	left, hold int
	causes     map[string]map[string]int
}

const (
	drainStuck    = 10 * time.Minute
	drainPatience = time.Minute
	maxAside      = 100_000
	maxBlame      = 10_000
	bounceStreak  = 10 // bounces in a row after which the primary is taken to be misconfigured rather than the mail bad
	rateSpan      = 30 // seconds
)

// drainState is what a Drain knows. All of it is pure bookkeeping under the Drain's lock: time is an argument, nothing waits.
type drainState struct {
	own      map[string]bool
	stuck    time.Duration
	patience time.Duration
	pace     Pace
	window   Window
	seed     maphash.Seed

	hand  []*item // not tried yet, oldest first
	later []*item // met trouble; after hand
	alone []*item // met trouble twice; after all, and with nothing else under way
	known map[itemKey]*item
	out   map[itemKey]*item
	solo  *item
	aside map[itemKey]aside
	blame map[uint64]blame

	notBefore time.Time
	taken     int  // deliveries
	streak    int  // bounces in a row
	settled   bool // something was settled since the last listing
	listedAny bool
	listing   map[itemKey]bool // aside entries met in the walk under way
	moved     time.Time
	finals    int
	listFrom  int     // finals when the walk under way began: what ends during it may have been shown by it
	lastKey   itemKey // of the last delivery of a message that is not known
	rate      [rateSpan]struct {
		second int64
		n      int
	}
	p Progress
}

func (s *drainState) init(c DrainConfig, domains []string) {
	s.own = make(map[string]bool, len(domains))
	for _, d := range domains {
		s.own[strings.ToLower(d)] = true
	}
	s.stuck, s.patience, s.pace = c.Stuck, c.Patience, c.Pace
	if s.stuck <= 0 {
		s.stuck = drainStuck
	}
	if s.patience <= 0 {
		s.patience = drainPatience
	}
	s.window.Max = c.Window
	s.seed = maphash.MakeSeed()
	s.known, s.out = map[itemKey]*item{}, map[itemKey]*item{}
	s.aside, s.blame = map[itemKey]aside{}, map[uint64]blame{}
}

// next takes the message to push now and counts it as under way; nil when it is not time for one.
func (s *drainState) next(now time.Time) *item {
	if now.Before(s.notBefore) || s.solo != nil || s.window.Room(now, len(s.out)) <= 0 {
		return nil
	}
	it := pop(&s.hand)
	if it == nil {
		it = pop(&s.later)
	}
	if it == nil && len(s.out) == 0 {
		it = pop(&s.alone)
		s.solo = it
	}
	if it == nil {
		return nil
	}
	it.out, it.pushed, it.looked, it.place2 = true, now, now, PlaceUnknown
	it.heard, it.answered, it.trouble, it.suspended, it.own450 = nil, false, false, false, false
	it.ticket = s.window.Begin(now)
	s.out[it.key] = it
	s.p.Pushed++
	s.p.Peak = max(s.p.Peak, len(s.out))
	return it
}

func pop(list *[]*item) *item {
	for len(*list) > 0 {
		it := (*list)[0]
		(*list)[0] = nil
		*list = (*list)[1:]
		if !it.gone {
			return it
		}
	}
	return nil
}

// unpush takes back a push that the holder did not accept.
func (s *drainState) unpush(it *item) {
	if !it.out {
		return // its outcome came all the same
	}
	s.p.Pushed--
	s.settle(it)
	s.later = append(s.later, it)
}

// settle ends an attempt: the message is no longer under way.
func (s *drainState) settle(it *item) {
	it.out = false
	delete(s.out, it.key)
	if s.solo == it {
		s.solo = nil
	}
	s.settled = true
}

// forget drops a message that is no longer to be pushed by us in this listing.
func (s *drainState) forget(it *item) {
	it.gone = true
	delete(s.known, it.key)
}

// observe takes one outcome and reports whether Run has to look.
func (s *drainState) observe(now time.Time, o Outcome) bool {
	if s.p.Began.IsZero() || o.Recipient != "" && !s.own[o.Domain] {
		return false
	}
	it := s.known[itemKey{o.Instance, o.ID}]
	if it == nil && o.Recipient == "" {
		return false // a whole message, not known: it may be anybody's
	}
	switch o.Result {
	case Delivered:
		s.taken++
		s.streak = 0
		s.moved = now
		if s.p.First.IsZero() {
			s.p.First = now
		}
		s.count(now)
		delete(s.blame, s.hash(o.Recipient))
	case Bounced, Expired:
		s.moved = now
		if o.Result == Bounced {
			s.streak++
		}
	case DeferredResult:
		s.p.Deferred++
	default:
		return false
	}
	if it == nil {
		if key := (itemKey{o.Instance, o.ID}); o.Result == Delivered && key != s.lastKey {
			s.lastKey = key
			s.final(&s.p.Delivered)
			delete(s.aside, key)
		}
		return false
	}
	s.attempt(now, it, o)
	if o.Recipient != "" {
		if it.heard == nil {
			it.heard = make(map[uint64]struct{}, 1)
		}
		it.heard[s.hash(o.Recipient)] = struct{}{}
	}
	if len(it.heard) >= it.own || o.Recipient == "" {
		s.conclude(now, it)
	}
	return true
}

func (s *drainState) hash(recipient string) uint64 {
	return maphash.String(s.seed, strings.ToLower(recipient))
}

// attempt takes what one outcome says of the attempt under way, and tells the window once an attempt.
func (s *drainState) attempt(now time.Time, it *item, o Outcome) {
	outstanding := len(s.out)
	tell := it.out && !it.answered
	switch o.Result {
	case Delivered:
		it.delivered++
		if tell {
			it.answered = true
			s.window.Taken(now, it.ticket, outstanding, o.Stages[2]+o.Stages[3])
		}
	case Bounced, Expired:
		if o.Result == Bounced {
			it.bounced++
		} else {
			it.expired++
		}
		if tell {
			it.answered = true
			// A primary that refuses everything for good has come back wrong; each message pushed then is lost. Slowly!
			if s.streak >= bounceStreak {
				s.window.Refused(now, it.ticket, outstanding)
			} else {
				s.window.Taken(now, it.ticket, outstanding, 0)
			}
		}
	case DeferredResult:
		switch {
		case o.Cause == CauseSuspended: // the queue's state, not the primary's answer
			it.suspended = true
			if it.out {
				s.notBefore = now.Add(windowPause)
			}
		case !o.Cause.OfPrimary() || s.blamed(it, o):
			it.own450 = true
		default:
			it.trouble = true
			if tell {
				it.answered = true
				s.p.Refused++
				s.window.Refused(now, it.ticket, outstanding)
			}
		}
	}
}

// blamed tells whether a refusal for now is the recipient's or the message's own fault: the same one is refused again and again
// while others are taken in between.
func (s *drainState) blamed(it *item, o Outcome) bool {
	if _, before := s.aside[it.key]; before {
		return true // it was set aside, and is tried again now and then
	}
	if s.solo == it && it.strikes >= 2 && s.taken > it.takenAt {
		return true
	}
	if o.Cause != CauseTempfail {
		return false
	}
	h := s.hash(o.Recipient)
	b, ok := s.blame[h]
	if b.strikes >= 3 {
		return true
	}
	if !ok && len(s.blame) >= maxBlame {
		return false
	}
	if !ok || s.taken > b.taken {
		b.strikes++
		b.taken = s.taken
		s.blame[h] = b
	}
	return b.strikes >= 3
}

// conclude ends an attempt of which every recipient was heard, or a message that has left.
func (s *drainState) conclude(now time.Time, it *item) {
	wasOut := it.out
	s.settle(it)
	switch {
	case it.trouble && wasOut:
		if it.strikes == 0 {
			it.takenAt = s.taken
		}
		it.strikes++
		it.repushed = 0
		if it.strikes >= 2 {
			s.alone = append(s.alone, it)
		} else {
			s.later = append(s.later, it)
		}
	case it.own450:
		s.setAside(now, it)
	case it.suspended && wasOut:
		s.later = append(s.later, it)
	case it.trouble || it.suspended: // tried by the holder itself while in our hand: its turn still comes
		it.heard, it.trouble, it.suspended = nil, false, false
	default:
		s.finish(it)
	}
}

func (s *drainState) setAside(now time.Time, it *item) {
	s.forget(it)
	if len(s.aside) >= maxAside {
		return
	}
	a := s.aside[it.key]
	a.again = now.Add([...]time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour}[min(a.tries, 3)])
	a.tries++
	s.aside[it.key] = a
}

// finish counts a message that is held no longer.
func (s *drainState) finish(it *item) {
	s.forget(it)
	delete(s.aside, it.key)
	switch {
	case it.expired > 0:
		s.final(&s.p.Expired)
	case it.bounced > 0:
		s.final(&s.p.Bounced)
	case it.delivered > 0:
		s.final(&s.p.Delivered)
	default:
		s.final(nil)
	}
}

func (s *drainState) final(n *int) {
	if n != nil {
		*n++
	}
	s.finals++
	s.p.Left = max(0, s.p.Left-1)
}

// end takes that a message has left the queue.
func (s *drainState) end(now time.Time, e End) bool {
	it := s.known[itemKey{e.Instance, e.ID}]
	if it == nil {
		return false
	}
	if it.out {
		s.settle(it)
	}
	if e.Kind == Requeued { // still held, under another queue ID: the next listing finds it
		s.forget(it)
		delete(s.aside, it.key)
		return true
	}
	s.moved = now
	s.finish(it)
	return true
}

func (s *drainState) wantsList(now, listAt time.Time) bool {
	if !s.listedAny {
		return true
	}
	if s.pace != PaceWindow {
		return !now.Before(listAt)
	}
	for _, it := range s.out {
		if now.Sub(it.looked) >= s.patience {
			return true
		}
	}
	if live(s.hand) || live(s.later) || live(s.alone) {
		return false
	}
	return len(s.out) == 0 && s.settled || !now.Before(listAt)
}

func live(list []*item) bool {
	for _, it := range list {
		if !it.gone {
			return true
		}
	}
	return false
}

func (s *drainState) beginList(time.Time) {
	s.settled, s.listFrom = false, s.finals
	s.listing = map[itemKey]bool{}
}

// listed is told each message of ours that a walk shows, and reports whether it may be taken in hand.
func (s *drainState) listed(now time.Time, it *item) bool {
	if known := s.known[it.key]; known != nil {
		known.place2 = it.place
		return false
	}
	if a, ok := s.aside[it.key]; ok {
		s.listing[it.key] = true
		if now.Before(a.again) {
			return false
		}
	}
	if s.pace != PaceWindow {
		return false
	}
	// Mail passes through incoming in a moment; what stays there was left by a queue manager that was restarted, and waits for the next scan
	// of the queue. "postqueue -i" moves it.
	return it.place == Deferred || it.place == Incoming && now.Sub(it.arrived) > passing
}

const passing = 3 * time.Second

func (s *drainState) endList(now time.Time, found []*item, l listing) {
	first := !s.listedAny
	s.listedAny = true
	for key := range s.aside {
		if !s.listing[key] {
			delete(s.aside, key) // gone
		}
	}
	for _, it := range found {
		if s.known[it.key] == nil {
			s.known[it.key] = it
			s.hand = append(s.hand, it)
		}
	}
	s.p.Left, s.p.Hold, s.p.Causes = l.left, l.hold, l.causes
	s.p.Total = max(s.p.Total, s.listFrom+l.left)
	if first {
		s.moved = now
	}
	for _, it := range s.out {
		if now.Sub(it.looked) < s.patience {
			it.place2 = PlaceUnknown
			continue
		}
		s.look(now, it)
	}
	s.listing = nil
}

// look decides what to do about a message that was pushed long ago, of which nothing was heard, and which the walk has searched for.
func (s *drainState) look(now time.Time, it *item) {
	place := it.place2
	it.looked, it.place2 = now, PlaceUnknown
	switch place {
	case Active, Incoming: // the primary takes its time
		if !it.answered {
			it.answered = true
			s.window.Refused(now, it.ticket, len(s.out))
		}
	case Deferred:
		s.settle(it)
		it.repushed++
		if it.repushed >= 3 {
			s.setAside(now, it)
		} else {
			s.later = append(s.later, it)
		}
	case Hold:
		s.settle(it)
		s.forget(it)
	default: // gone, and its outcome was missed
		s.settle(it)
		s.forget(it)
		s.finals++
	}
}

// finished tells, after a listing, whether nothing is left to be done.
func (s *drainState) finished(now time.Time) bool {
	if len(s.out) > 0 || live(s.hand) || live(s.later) || live(s.alone) {
		return false
	}
	return s.p.Left <= s.p.Hold || now.Sub(s.moved) >= s.stuck
}

// again returns the next moment at which something could be done without an outcome; zero when there is none.
func (s *drainState) again(now time.Time) time.Time {
	next := s.window.Again(now)
	if next.IsZero() && now.Before(s.notBefore) {
		next = s.notBefore
	}
	for _, it := range s.out {
		if at := it.looked.Add(s.patience); next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next
}

func (s *drainState) count(now time.Time) {
	b := &s.rate[now.Unix()%rateSpan]
	if b.second != now.Unix() {
		b.second, b.n = now.Unix(), 0
	}
	b.n++
}

func (s *drainState) progress(now time.Time) Progress {
	p := s.p
	p.Outstanding, p.Aside = len(s.out), len(s.aside)
	p.Window, p.Ceiling, p.Moved = s.window.Size(), s.window.Ceiling(), s.moved
	n := 0
	for _, b := range s.rate {
		if age := now.Unix() - b.second; age >= 0 && age < rateSpan {
			n += b.n
		}
	}
	if span := min(now.Sub(p.Began).Seconds(), rateSpan); !p.First.IsZero() && span > 0 {
		p.Rate = float64(n) / max(span, 1)
	}
	if p.Rate > 0 {
		p.ETA = time.Duration(float64(max(0, p.Left-p.Hold-p.Aside)) / p.Rate * float64(time.Second)).Round(time.Second)
	}
	switch {
	case p.Began.IsZero():
		p.State = DrainIdle
	case p.State == DrainDone || p.State == DrainStopped || !s.listedAny:
	case p.Left > p.Hold && now.Sub(s.moved) >= s.stuck:
		p.State = DrainStalled
	case len(s.out) == 0 && (now.Before(s.notBefore) || !s.window.Again(now).IsZero() || !live(s.hand)):
		p.State = DrainWaiting
	case s.window.Phase() == Probing:
		p.State = DrainProbing
	default:
		p.State = DrainRunning
	}
	return p
}
