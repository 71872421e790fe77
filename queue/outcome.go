package queue

import (
	"strings"
	"time"
)

// Result is what one delivery attempt did for one recipient.
type Result uint8

const (
	ResultUnknown  Result = iota
	Delivered             // "status=sent"; RFC 5321 2yz
	DeferredResult        // "status=deferred"; tried or put off, to be tried again
	Bounced               // a final refusal
	Expired               // given up on by age; or by the operator with "postsuper -f", "-e"
	numResults
)

var resultNames = [numResults]string{"unknown", "delivered", "deferred", "bounced", "expired"}

func (r Result) String() string {
	if r < numResults {
		return resultNames[r]
	}
	return resultNames[ResultUnknown]
}

// Results are all results an attempt can have, for metrics that start at 0.
func Results() []Result { return []Result{Delivered, DeferredResult, Bounced, Expired} }

// Code is an enhanced mail system status code (RFC 3463): class.subject.detail. The zero Code is "none seen".
type Code struct {
	Class           uint8 // 2, 4 or 5
	Subject, Detail uint16
}

// Outcome is what one attempt did for one recipient; from the log or from the relay.
type Outcome struct {
	At        time.Time
	Instance  string
	ID        string
	Arrived   time.Time // when the message entered the queue, as far as seen; At minus Age otherwise
	Service   string    // who tried: "smtp", "relay/smtp", "lmtp", "error" ...
	Sender    string    // as far as seen; empty also for the null sender
	Recipient string
	Domain    string // of the recipient, lower case
	NextHop   string // host:port or host of the one asked; "" when nobody was ("relay=none")
	Result    Result
	Code      Code
	Cause     Cause
	Reply     string // the reason in words; text from strangers
	Age       time.Duration
	// Stages is where the age was spent: before the queue manager, in the queue manager, connection set-up,
	// transmission (Postfix's "delays=a/b/c/d").
	Stages [4]time.Duration
	First  bool // the first attempt seen for this recipient of this message
}

// Arrival is a message that entered the queue.
type Arrival struct {
	At         time.Time
	Instance   string
	ID         string
	Sender     string
	Client     string // name[address] of the client, "" when local
	Size       int64
	Recipients int // how many
}

// EndKind is how a message left the queue.
type EndKind uint8

const (
	EndUnknown EndKind = iota
	Done               // each recipient had a final outcome
	Deleted            // by the operator
	Requeued           // by the operator ("postsuper -r"): the same message goes on under End.NewID
)

// End is a message that left the queue.
type End struct {
	At       time.Time
	Instance string
	ID       string
	Arrived  time.Time // zero when its arrival was not seen
	Kind     EndKind
	NewID    string // of Requeued, as far as known
}

// AddressDomain returns the domain of an address in lower case, without a final dot; "" when there is none.
func AddressDomain(address string) string {
	i := strings.LastIndexByte(address, '@')
	if i < 0 {
		return ""
	}
	return strings.ToLower(strings.TrimSuffix(address[i+1:], "."))
}
