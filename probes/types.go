// Package probes answers one question about a primary: would it take a real message from us now?
//
// A [Prober] walks one SMTP conversation up to RCPT and never sends DATA. A [Machine] turns verdicts into a state, purely.
// A [Watcher] runs both at an adaptive pace. A verdict has three values on purpose: no evidence is not evidence of failure.
//
// probes imports nothing of this project but internal/smtp and internal/durable.
package probes

import (
	"net/netip"
	"time"
)

// Verdict is what one probe found. The zero Verdict is CantTell and moves nothing.
type Verdict uint8

const (
	CantTell Verdict = iota // the probe could not be made: resolver trouble, a fault of this host's network
	Good                    // a real message from us would be taken now
	Bad                     // it would not
)

func (v Verdict) String() string { return [...]string{"cant_tell", "good", "bad"}[min(v, Bad)] }

// State is the state of a primary. The zero State is Unknown; who does not know accepts mail.
type State uint8

const (
	Unknown State = iota
	Up
	Down
	Recovering // one Good after Down; not yet `rise` of them
)

func (s State) String() string {
	return [...]string{"unknown", "up", "down", "recovering"}[min(s, Recovering)]
}

// States are all states, for metrics that start at 0.
func States() []State { return []State{Unknown, Up, Down, Recovering} }

// NextHop is one place to deliver to.
type NextHop struct {
	Host string // name or address, without brackets
	Port uint16 // 0: 25
	MX   bool   // look up the MX of Host (Postfix's unbracketed form); else its addresses alone
}

// Primary is the ordered set of next hops that mail for some domains goes to.
type Primary struct {
	Name     string // how people call it: the configured name, else the first next hop's host[:port]
	Domains  []string
	NextHops []NextHop
	// Recipient of the probe; "": postmaster@ the first domain, "<postmaster>" when there is none (RFC 5321 section 4.5.1).
	Recipient string
	// Sender of the probe; "": the null sender <>, which every server must take (RFC 5321 section 4.5.5).
	Sender string
	TLS    TLS
}

// TLS is what a real delivery to the primary would ask of TLS, so that the probe asks the same. The zero TLS is opportunistic.
type TLS struct {
	Level        TLSLevel
	Name         string   // TLSVerify: the name the certificate must carry; "": the next hop's host
	Fingerprints []string // TLSVerify: SHA-256 of the certificate or its public key, hex, colons allowed; any of them is enough, and no CA is asked
}

// TLSLevel says how much TLS is wanted.
type TLSLevel uint8

const (
	TLSMay     TLSLevel = iota // when offered; not verified, and in clear when it fails (RFC 7435)
	TLSNone                    // never
	TLSEncrypt                 // required; not verified
	TLSVerify                  // required; certificate verified by name or pinned
)

// Stage is a step of the ladder.
type Stage uint8

const (
	StageResolve Stage = iota
	StageConnect
	StageGreeting
	StageEHLO
	StageSTARTTLS
	StageMAIL
	StageRCPT
	StageQUIT
	NumStages
)

var stageNames = [NumStages]string{"resolve", "connect", "greeting", "ehlo", "starttls", "mail", "rcpt", "quit"}

func (s Stage) String() string { return stageNames[min(s, NumStages-1)] }

// Result is what one probe of a primary found.
type Result struct {
	At       time.Time // when the probe ended
	Verdict  Verdict
	Stage    Stage                    // the last step reached; where it failed unless Good
	Code     int                      // SMTP reply code at that step, 0 if none
	Reason   string                   // one line for people; may hold text from strangers; "" when Good
	Hop      NextHop                  // the next hop that was Good, else the last one tried
	Addr     netip.AddrPort           // the address that answered, else the last one tried
	Timings  [NumStages]time.Duration // 0: not reached
	Total    time.Duration
	NotAfter time.Time // expiry of the certificate shown, zero if none
	TLS      string    // "TLSv1.3", "" if none
	Note     string    // what a Good probe saw that people should know ("user unknown", "TLS failed, went on in clear"); may hold text from strangers

	noRoute bool // CantTell because this host has no route for the address
}

// Transition is a change of state.
type Transition struct {
	At       time.Time
	Since    time.Time // when what it tells began: for Down, the first Bad of those that led here
	From, To State
	Result   Result // the probe that made it
}
