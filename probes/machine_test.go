package probes

import (
	"strings"
	"testing"
	"time"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func verdicts(s string) []Verdict {
	var vs []Verdict
	for _, c := range s {
		vs = append(vs, map[rune]Verdict{'g': Good, 'b': Bad, '?': CantTell}[c])
	}
	return vs
}

// Each letter is a result a second after the last: g Good, b Bad, ? CantTell. want is the state after each: U Unknown, u Up, d Down, r
// Recovering.
func TestMachineTable(t *testing.T) {
	for _, c := range []struct {
		name, in, want string
		fall, rise     int
	}{
		{"first good", "g", "u", 0, 0},
		{"start in mid-outage", "bbb", "UUd", 0, 0},
		{"start with doubt", "bbg", "UUu", 0, 0},
		{"cannot tell at start", "?????", "UUUUU", 0, 0},
		{"two bad are not down", "gbbgbbg", "uuuuuuu", 0, 0},
		{"three bad are", "gbbb", "uuud", 0, 0},
		{"cannot tell neither counts nor interrupts", "gb?b??b", "uuuuuud", 0, 0},
		{"recovery", "bbbggg", "UUdruu", 0, 0},
		{"recovery fails", "bbbgbbg", "UUdrddr", 0, 0},
		{"cannot tell while recovering", "bbbg??g", "UUdrrru", 0, 0},
		{"down stays down", "bbbb?b", "UUdddd", 0, 0},
		{"fall 1", "gb", "ud", 1, 0},
		{"rise 1 is as 2", "bbbgg", "UUdru", 0, 1},
		{"rise 4", "bbbgggg", "UUdrrru", 0, 4},
		{"flapping asks for more", "bbbgg" + "bbbggg" + "bbbgggg", "UUdru" + "uudrru" + "uudrrru", 0, 0},
		{"flapping in recovery asks for more", "bbbgb" + "gggg", "UUdrd" + "rruu", 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := Machine{Fall: c.fall, Rise: c.rise}
			var got strings.Builder
			for i, v := range verdicts(c.in) {
				before, _ := m.State()
				tr, moved := m.Step(epoch.Add(time.Duration(i)*time.Second), Result{Verdict: v})
				after, _ := m.State()
				if moved != (before != after) || (moved && (tr.From != before || tr.To != after)) {
					t.Errorf("step %d: %v -> %v but transition %v %+v", i, before, after, moved, tr)
				}
				got.WriteByte("Uudr"[after])
			}
			if got.String() != c.want {
				t.Errorf("%s\n got %s\nwant %s", c.in, got.String(), c.want)
			}
		})
	}
}

func TestSinceIsTheFirstBad(t *testing.T) {
	var m Machine
	at := epoch
	step := func(v Verdict) (Transition, bool) {
		at = at.Add(time.Second)
		return m.Step(at, Result{Verdict: v, At: at})
	}
	step(Good)
	step(Bad)
	step(Good)
	first := at.Add(time.Second)
	step(Bad)
	step(CantTell)
	step(Bad)
	tr, ok := step(Bad)
	if !ok || tr.To != Down || !tr.Since.Equal(first) || !tr.At.Equal(at) {
		t.Fatalf("got %+v, want Down since %v", tr, first)
	}
	began := at.Add(time.Second)
	step(Good)
	if tr, ok = step(Good); !ok || tr.To != Up || !tr.Since.Equal(began) {
		t.Fatalf("got %+v, want Up since the first good, %v", tr, began)
	}
}

func TestFlappingFades(t *testing.T) {
	var m Machine
	at := epoch
	outage := func() (goods int) {
		for range 3 {
			m.Step(at, Result{Verdict: Bad})
		}
		for s := Down; s != Up; s, _ = m.State() {
			m.Step(at, Result{Verdict: Good})
			goods++
		}
		return goods
	}
	for i, want := range []int{2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10} {
		at = at.Add(time.Minute)
		if got := outage(); got != want {
			t.Errorf("outage %d: %d good needed, want %d", i, got, want)
		}
	}
	at = at.Add(5 * flapMemory)
	if got := outage(); got != 7 {
		t.Errorf("after fading by five: %d good needed, want 7", got)
	}
	at = at.Add(24 * time.Hour)
	if got := outage(); got != 2 {
		t.Errorf("after a quiet day: %d good needed, want 2", got)
	}
}

func TestClockJumpsBack(t *testing.T) {
	var m Machine
	m.Step(epoch, Result{Verdict: Good})
	m.Step(epoch.Add(time.Second), Result{Verdict: Bad})
	back := epoch.Add(-time.Hour)
	m.Step(back, Result{Verdict: Bad})
	tr, ok := m.Step(back.Add(time.Second), Result{Verdict: Bad})
	if !ok || tr.Since.After(tr.At) || !tr.Since.Equal(back) {
		t.Errorf("got %+v, %v; want Down since %v", tr, ok, back)
	}
}

func TestForget(t *testing.T) {
	var m Machine
	m.Step(epoch, Result{Verdict: Bad})
	m.Step(epoch, Result{Verdict: Bad})
	m.Forget()
	if m.Doubt() {
		t.Error("still in doubt")
	}
	if tr, ok := m.Step(epoch, Result{Verdict: Bad}); ok {
		t.Errorf("counted what was forgotten: %+v", tr)
	}
}

// FuzzMachine checks a Machine, restored from its own snapshot now and then, against what the design says, told a second time from the
// whole history.
func FuzzMachine(f *testing.F) {
	f.Add([]byte("gbbbggbbbg?gb"), 3, 2)
	f.Add([]byte("bbbgbgbgbgbgggggggggggg"), 3, 2)
	f.Add([]byte("b<b<bg>g"), 1, 1)
	f.Fuzz(func(t *testing.T, in []byte, fall, rise int) {
		m := Machine{Fall: fall, Rise: rise}
		at := epoch
		bads, goods := 0, 0 // in a row, without CantTell
		for _, c := range in {
			v := CantTell
			switch c {
			case 'g':
				v = Good
			case 'b':
				v = Bad
			case '<':
				at = at.Add(-time.Hour)
				continue
			case '>':
				at = at.Add(time.Hour)
				continue
			case 's':
				s := m.Snapshot()
				m = Machine{Fall: fall, Rise: rise}
				m.Restore(s)
				continue
			}
			at = at.Add(time.Second)
			from, _ := m.State()
			need := m.Need()
			tr, moved := m.Step(at, Result{Verdict: v})
			to, since := m.State()
			switch v {
			case Good:
				bads, goods = 0, goods+1
			case Bad:
				bads, goods = bads+1, 0
			}
			if moved != (from != to) {
				t.Fatalf("%v -> %v, transition %v", from, to, moved)
			}
			if since.After(at) || (moved && (tr.Since.After(tr.At) || !tr.Since.Equal(since) || tr.From != from || tr.To != to)) {
				t.Fatalf("since %v at %v: %+v", since, at, tr)
			}
			effective := fall
			if fall <= 0 {
				effective = 3
			}
			legal := false
			switch {
			case from == to:
				legal = true
				if (from == Up || from == Unknown) && v == Bad && bads >= effective || from == Unknown && v == Good ||
					from == Down && v == Good || from == Recovering && v == Bad {
					t.Fatalf("%v ignored %v after %d bad", from, v, bads)
				}
			case from == Unknown && to == Up:
				legal = v == Good
			case (from == Unknown || from == Up) && to == Down:
				legal = v == Bad && bads >= effective
			case from == Down && to == Recovering:
				legal = v == Good
			case from == Recovering && to == Up:
				legal = v == Good && goods >= need && goods >= 2
			case from == Recovering && to == Down:
				legal = v == Bad
			}
			if !legal {
				t.Fatalf("%v -%v-> %v after %d bad, %d good in a row", from, v, to, bads, goods)
			}
		}
	})
}
