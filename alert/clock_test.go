package alert

import (
	"encoding/json"
	"testing"
	"time"
)

// Times of the book that lie ahead, since the clock was set back, are taken for now: nothing waits for them.
func TestAClockSetBackHoldsNothingUp(t *testing.T) {
	now := time.Now().Round(0)
	ahead := now.Add(24 * time.Hour)
	data, err := json.Marshal(savedBook{Schema: 1, Incidents: []*incident{{
		ID: "1", First: down("down"), Last: down("down"), Changed: ahead, Resolved: ahead,
		Told: map[string]*told{Channels()[0]: {At: ahead, Shown: ahead, Refreshed: ahead}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := decodeBook(data, now)
	if err != nil || len(b.incidents) != 1 {
		t.Fatal(b, err)
	}
	i := b.incidents[0]
	told := i.Told[Channels()[0]]
	for what, at := range map[string]time.Time{"changed": i.Changed, "resolved": i.Resolved, "told": told.At, "shown": told.Shown, "refreshed": told.Refreshed} {
		if at.After(now) {
			t.Errorf("%s at %v, %v ahead", what, at, at.Sub(now))
		}
	}
}
