// Package queue is the one view of held mail, whoever holds it: Postfix or the built-in relay.
//
// A [Queue] lists and flushes. A [Scanner] walks it on its own clock and publishes a [Snapshot], so that nobody who
// only looks (a scrape, a page) ever waits for the holder. A [Drain] empties it towards one primary, gently.
//
// queue imports nothing of this project; everything else may import it.
package queue

import (
	"context"
	"iter"
	"time"
)

// Queue is held mail. postfix.Queue and relay.Spool implement it.
type Queue interface {
	// Messages lists what is held, in no particular order. A message may appear twice and one that moves between
	// places during the walk may be missed (postqueue(1), "-j"). The walk ends at the first error, which is yielded
	// with a zero Message.
	Messages(ctx context.Context) iter.Seq2[Message, error]
	// Flush asks for delivery of what sel selects. It returns when asked, not when delivered. Selecting a message that
	// is no longer there is not an error.
	Flush(ctx context.Context, sel Selection) error
}

// Selection says which held messages to flush. The zero Selection selects nothing.
// When several fields are set, each is asked for.
type Selection struct {
	Instance string   // the Postfix instance's name; empty: each instance
	IDs      []string // queue IDs
	Domain   string   // recipient domain
	All      bool     // all that is held
}

// Place is where in the holder a message lies.
type Place uint8

const (
	PlaceUnknown Place = iota
	Incoming
	Active
	Deferred
	Hold
	Maildrop
	numPlaces
)

// Places are all places a message can lie in, for metrics that start at 0.
func Places() []Place { return []Place{Incoming, Active, Deferred, Hold, Maildrop} }

var placeNames = [numPlaces]string{"unknown", "incoming", "active", "deferred", "hold", "maildrop"}

func (p Place) String() string {
	if p < numPlaces {
		return placeNames[p]
	}
	return placeNames[PlaceUnknown]
}

// ParsePlace returns the place called name ("active", "deferred", ...), PlaceUnknown for any other name.
func ParsePlace(name string) Place {
	for p, n := range placeNames {
		if n == name {
			return Place(p)
		}
	}
	return PlaceUnknown
}

// Key names one message for good. Queue IDs alone recur on a Postfix without enable_long_queue_ids.
type Key struct {
	Instance string
	ID       string
	Arrived  int64 // Unix seconds
}

// Message is one held message.
type Message struct {
	Instance   string // the Postfix instance's name as in its syslog tag ("postfix", "postfix-out"); relay: "sparemx"
	ID         string // queue ID
	Place      Place
	Arrived    time.Time
	Size       int64  // bytes
	Sender     string // empty for the null sender
	Recipients []Recipient
	Forced     bool // forced to expire by the operator (Postfix 3.5)
}

// Recipient is one recipient still to be delivered to.
type Recipient struct {
	Address string
	Reason  string // why the last attempt did not deliver; text from strangers; empty when not tried
}

// Key returns what names the message for good.
func (m Message) Key() Key { return Key{m.Instance, m.ID, m.Arrived.Unix()} }

// Domain returns the recipient domain in lower case, "" if the address has none.
func (r Recipient) Domain() string { return AddressDomain(r.Address) }
