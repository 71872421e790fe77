package probes

import "time"

// Machine turns verdicts into a state, purely: no clock, no I/O. The zero Machine is Unknown with the default Fall and Rise.
//
//	Unknown    -Good->            Up
//	Unknown    -Bad, Fall times-> Down        (an agent that starts in mid-outage must say so; until then Unknown accepts mail)
//	Up         -Bad, Fall times-> Down        (one Good in between starts the count anew)
//	Down       -Good->            Recovering
//	Recovering -Good, Rise times in all-> Up  (the Good that ended Down is the first; a Rise of 1 needs a second one too, since
//	                                           each Step makes one transition)
//	Recovering -Bad->             Down
//
// CantTell moves nothing and does not interrupt a count. Flapping lengthens Rise: each Down entered within flapMemory of the last one
// asks for one Good more, to maxRise; the memory fades by one per flapMemory.
//
// Times are taken as given: when the clock jumps back, what began "later" is said to have begun now, so Since is never after At.
type Machine struct {
	Fall int // Bad in a row that make Down; 0: 3
	Rise int // Good in a row that make Up; 0: 2

	s MachineState
}

const (
	defaultFall = 3
	defaultRise = 2
	maxRise     = 10
	flapMemory  = 10 * time.Minute
)

// MachineState is all that a Machine remembers, to be kept over a restart. The zero MachineState is that of a new Machine.
type MachineState struct {
	State    State     `json:"state"`
	Since    time.Time `json:"since,omitzero"`     // of State
	Bad      int       `json:"bad,omitempty"`      // Bad in a row, while Unknown or Up
	FirstBad time.Time `json:"first_bad,omitzero"` // the first of them
	Good     int       `json:"good,omitempty"`     // Good in a row, while Recovering
	Flaps    int       `json:"flaps,omitempty"`    // times Down lately, fading
	LastDown time.Time `json:"last_down,omitzero"` // when Down was last entered
}

// Step takes one result, found at at, and returns the transition it made. Without a transition it returns false.
func (m *Machine) Step(at time.Time, r Result) (Transition, bool) {
	s := &m.s
	s.Since = earlier(s.Since, at)
	switch r.Verdict {
	case Good:
		s.Bad, s.FirstBad = 0, time.Time{}
		switch s.State {
		case Unknown:
			return m.move(Up, at, at, r)
		case Down:
			s.Good = 1
			return m.move(Recovering, at, at, r)
		case Recovering:
			if s.Good++; s.Good >= m.Need() {
				return m.move(Up, at, s.Since, r)
			}
		}
	case Bad:
		switch s.State {
		case Unknown, Up:
			if s.Bad == 0 {
				s.FirstBad = at
			}
			s.FirstBad = earlier(s.FirstBad, at)
			if s.Bad++; s.Bad >= positive(m.Fall, defaultFall) {
				return m.move(Down, at, s.FirstBad, r)
			}
		case Recovering:
			return m.move(Down, at, at, r)
		}
	}
	return Transition{}, false
}

// Need is the number of Good in a row that Recovering asks for now, Rise to the bound of 10 (or Rise if that is more).
func (m *Machine) Need() int {
	rise := positive(m.Rise, defaultRise)
	return max(rise, min(rise+max(m.s.Flaps-1, 0), maxRise))
}

// State returns the state and its beginning.
func (m *Machine) State() (State, time.Time) { return m.s.State, m.s.Since }

// Doubt tells whether a count towards Down is under way.
func (m *Machine) Doubt() bool { return m.s.Bad > 0 }

// Forget drops the count towards Down: what was seen before we went blind and what is seen after do not add up.
func (m *Machine) Forget() { m.s.Bad, m.s.FirstBad = 0, time.Time{} }

// Snapshot returns what to keep.
func (m *Machine) Snapshot() MachineState { return m.s }

// Restore puts back what Snapshot returned. Fields that cannot be are taken for zero; Fall and Rise may have changed since.
func (m *Machine) Restore(s MachineState) {
	if s.State > Recovering {
		s = MachineState{}
	}
	s.Bad, s.Good, s.Flaps = max(s.Bad, 0), max(s.Good, 0), min(max(s.Flaps, 0), maxRise)
	m.s = s
}

func (m *Machine) move(to State, at, since time.Time, r Result) (Transition, bool) {
	s := &m.s
	t := Transition{At: at, Since: since, From: s.State, To: to, Result: r}
	s.State, s.Since = to, since
	s.Bad, s.FirstBad = 0, time.Time{}
	if to != Recovering {
		s.Good = 0
	}
	if to == Down {
		if gone := at.Sub(s.LastDown); s.LastDown.IsZero() {
			s.Flaps = 0
		} else if gone > 0 {
			s.Flaps = max(0, s.Flaps-int(min(gone/flapMemory, maxRise)))
		}
		s.Flaps, s.LastDown = min(s.Flaps+1, maxRise), at
	}
	return t, true
}

// earlier returns t, but at when t is later than at (the clock jumped back).
func earlier(t, at time.Time) time.Time {
	if t.After(at) {
		return at
	}
	return t
}

func positive(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}
