package queue

// Cause is our bounded class of why a recipient was not delivered to. It is safe as a metric label; the reply text is not.
type Cause uint8

const (
	CauseNone        Cause = iota // delivered
	CauseOther                    // none of the below
	CauseRefused                  // connection refused
	CauseTimeout                  // connection timed out
	CauseUnreachable              // no route to host, network is unreachable
	CauseSuspended                // "delivery temporarily suspended": Postfix did not ask, the destination is known to be dead
	CauseDNS                      // host or MX not found, name server trouble
	CauseTLS                      // TLS required and not had, certificate not trusted
	CauseLost                     // lost connection or timeout in the conversation
	CauseUnavailable              // 421, service not available, too many connections
	CauseGreylisted               // greylisting
	CauseRate                     // rate or connection limit named in the reply
	CauseMailboxFull              // 4.2.2, 5.2.2, 452
	CauseUnknownUser              // 5.1.1, 5.1.6, 550 user unknown
	CauseUnverified               // 450 4.1.1 unverified address
	CausePolicy                   // x.7.x: blocked, SPF, DNSBL, spam
	CauseSize                     // x.3.4, 552 message too large
	CauseLoop                     // 5.4.6, mail loops back to myself
	CauseLocal                    // trouble here: mail system configuration, disk, queue file
	CauseTempfail                 // any other 4xx
	CausePermfail                 // any other 5xx
	CauseExpired                  // message too old
	numCauses
)

var causeNames = [numCauses]string{
	"none", "other", "refused", "timeout", "unreachable", "suspended", "dns", "tls", "lost", "unavailable", "greylisted",
	"rate", "mailbox_full", "unknown_user", "unverified", "policy", "size", "loop", "local", "tempfail", "permfail", "expired",
}

func (c Cause) String() string {
	if c < numCauses {
		return causeNames[c]
	}
	return causeNames[CauseOther]
}

// Causes are all causes a failure can have, for metrics that start at 0.
func Causes() []Cause {
	all := make([]Cause, 0, numCauses-1)
	for c := CauseOther; c < numCauses; c++ {
		all = append(all, c)
	}
	return all
}

// OfPrimary tells whether the cause says that the primary as a whole does not take mail now, as opposed to something
// about one message, one recipient or this host. It is the passive evidence that brings a probe forward.
func (c Cause) OfPrimary() bool {
	switch c {
	case CauseRefused, CauseTimeout, CauseUnreachable, CauseSuspended, CauseLost, CauseUnavailable, CauseTLS, CauseDNS, CauseRate, CauseTempfail:
		return true
	}
	return false
}
