package queue

import (
	"cmp"
	"hash/maphash"
	"slices"
	"time"
)

// OtherDomain stands for each domain that is not configured, so that a stranger cannot choose how many there are.
const OtherDomain = "other"

// maxOldest bounds the messages a Snapshot names.
const maxOldest = 20

// Count is a number of messages and their bytes.
type Count struct {
	Messages int   `json:"messages"`
	Bytes    int64 `json:"bytes"`
}

func (c *Count) add(bytes int64) { c.Messages++; c.Bytes += bytes }

// Cell is where held mail is counted.
type Cell struct {
	Instance string
	Domain   string // a configured one, or OtherDomain
	Place    Place
}

// PlaceView is what lies in one place, over all instances.
type PlaceView struct {
	Count
	Sizes Histogram // bytes; over CompatSizeBounds
	Ages  Histogram // seconds at Snapshot.At; over CompatAgeBounds
}

// DomainView is what is held for one recipient domain.
type DomainView struct {
	Count
	Oldest time.Time // arrival of the oldest; zero when nothing is held
	Ages   []int     // messages by age at Snapshot.At, over AgeBounds; one more for those beyond
	Causes map[Cause]int
	Places map[Place]int
}

// Snapshot is what one walk of the queue found. It never changes after it was published.
//
// A message with recipients in several domains counts in each of them, and once in everything that is not by domain.
type Snapshot struct {
	At             time.Time     // when the walk began; the ages are as of then
	Took           time.Duration // how long it lasted
	Total          Count
	Cells          map[Cell]Count         // absent: 0
	Places         map[Place]*PlaceView   // each of Places(), also when empty
	Domains        map[string]*DomainView // those with mail
	Instances      map[string]Count
	Oldest         time.Time     // arrival of the oldest message; zero when nothing is held
	Ages           Histogram     // seconds; over AgeBounds
	Causes         map[Cause]int // messages by the cause of their first recipient that was tried; CauseNone: not tried yet
	OldestMessages []Message     // the oldest held, oldest first, at most 20
	Twice          int           // entries dropped because the walk showed a message a second time
}

// OldestAge returns the age of the oldest message at now, 0 when nothing is held or the clock stands before its arrival.
func (s *Snapshot) OldestAge(now time.Time) time.Duration { return ageAt(s.Oldest, now) }

// OldestAge returns the age of the domain's oldest message at now, 0 when nothing is held.
func (d *DomainView) OldestAge(now time.Time) time.Duration { return ageAt(d.Oldest, now) }

// Held returns what is held for any of domains. A message for two of them counts twice.
func (s *Snapshot) Held(domains ...string) (c Count) {
	for _, d := range domains {
		if v := s.Domains[d]; v != nil {
			c.Messages += v.Messages
			c.Bytes += v.Bytes
		}
	}
	return c
}

func ageAt(arrived, now time.Time) time.Duration {
	if arrived.IsZero() {
		return 0
	}
	return max(0, now.Sub(arrived))
}

// survey builds a Snapshot from the messages of one walk.
type survey struct {
	snap     *Snapshot
	known    func(domain string) bool
	classify func(reason string) Cause
	ages     []float64
	seed     maphash.Seed
	seen     map[uint64]struct{} // 8 bytes for each message of this walk; gone with it
	domains  []domainCause       // of the message in hand
}

type domainCause struct {
	domain string
	cause  Cause
}

func newSurvey(at time.Time, known func(string) bool, classify func(string) Cause, expect int) *survey {
	s := &Snapshot{
		At: at, Cells: map[Cell]Count{}, Places: map[Place]*PlaceView{}, Domains: map[string]*DomainView{},
		Instances: map[string]Count{}, Ages: NewHistogram(AgeBounds()), Causes: map[Cause]int{},
	}
	sizes, ages := CompatSizeBounds(), CompatAgeBounds()
	for _, p := range Places() {
		s.Places[p] = &PlaceView{Sizes: NewHistogram(sizes), Ages: NewHistogram(ages)}
	}
	if known == nil {
		known = func(string) bool { return false }
	}
	if classify == nil {
		classify = func(string) Cause { return CauseOther }
	}
	return &survey{snap: s, known: known, classify: classify, ages: s.Ages.Bounds, seed: maphash.MakeSeed(), seen: make(map[uint64]struct{}, expect)}
}

// add counts m, unless the walk has shown it before. It reports whether it was new.
func (v *survey) add(m Message) bool {
	key := maphash.Comparable(v.seed, m.Key())
	if _, twice := v.seen[key]; twice {
		v.snap.Twice++
		return false
	}
	v.seen[key] = struct{}{}
	s := v.snap
	age := ageAt(m.Arrived, s.At).Seconds()
	s.Total.add(m.Size)
	s.Ages.Add(age)
	inst := s.Instances[m.Instance]
	inst.add(m.Size)
	s.Instances[m.Instance] = inst
	place := s.Places[m.Place]
	if place == nil {
		place = &PlaceView{Sizes: NewHistogram(CompatSizeBounds()), Ages: NewHistogram(CompatAgeBounds())}
		s.Places[m.Place] = place
	}
	place.add(m.Size)
	place.Sizes.Add(float64(m.Size))
	place.Ages.Add(age)
	if s.Oldest.IsZero() || m.Arrived.Before(s.Oldest) {
		s.Oldest = m.Arrived
	}
	v.keepOldest(m)

	cause := v.split(m)
	s.Causes[cause]++
	bucket, _ := slices.BinarySearch(v.ages, age)
	for _, dc := range v.domains {
		cell := Cell{m.Instance, dc.domain, m.Place}
		c := s.Cells[cell]
		c.add(m.Size)
		s.Cells[cell] = c
		d := s.Domains[dc.domain]
		if d == nil {
			d = &DomainView{Ages: make([]int, len(v.ages)+1), Causes: map[Cause]int{}, Places: map[Place]int{}}
			s.Domains[dc.domain] = d
		}
		d.add(m.Size)
		d.Ages[bucket]++
		d.Causes[dc.cause]++
		d.Places[m.Place]++
		if d.Oldest.IsZero() || m.Arrived.Before(d.Oldest) {
			d.Oldest = m.Arrived
		}
	}
	return true
}

// split fills v.domains with each domain of m once, with the cause of its first recipient that was tried, and returns the
// cause of the message's first recipient that was tried.
func (v *survey) split(m Message) (first Cause) {
	v.domains = v.domains[:0]
	lastReason, lastCause := "", CauseNone
	for _, r := range m.Recipients {
		domain := r.Domain()
		if !v.known(domain) {
			domain = OtherDomain
		}
		cause := CauseNone
		if r.Reason != "" {
			if r.Reason != lastReason {
				lastReason, lastCause = r.Reason, v.classify(r.Reason)
			}
			cause = lastCause
		}
		if first == CauseNone {
			first = cause
		}
		i := slices.IndexFunc(v.domains, func(d domainCause) bool { return d.domain == domain })
		if i < 0 {
			v.domains = append(v.domains, domainCause{domain, cause})
		} else if v.domains[i].cause == CauseNone {
			v.domains[i].cause = cause
		}
	}
	if len(v.domains) == 0 { // the recipients are not told (a message still being received)
		v.domains = append(v.domains, domainCause{OtherDomain, CauseNone})
	}
	return first
}

func (v *survey) keepOldest(m Message) {
	list := v.snap.OldestMessages
	if len(list) == maxOldest && !m.Arrived.Before(list[maxOldest-1].Arrived) {
		return
	}
	i, _ := slices.BinarySearchFunc(list, m, func(a, b Message) int {
		return cmp.Or(a.Arrived.Compare(b.Arrived), cmp.Compare(a.ID, b.ID))
	})
	if len(m.Recipients) > maxOldest { // what a page shows; the rest would only take memory
		m.Recipients = m.Recipients[:maxOldest]
	}
	m.Recipients = slices.Clone(m.Recipients)
	list = slices.Insert(list, i, m)
	v.snap.OldestMessages = list[:min(len(list), maxOldest)]
}
