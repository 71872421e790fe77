package logparse

import (
	"time"

	"github.com/sparemx/sparemx/queue"
)

// Kind is what a log line says. The zero Kind is a line that is not of Postfix.
type Kind uint8

const (
	Foreign        Kind = iota // not a line of Postfix
	Unparsed                   // a line of Postfix whose shape is not known
	Ignored                    // a line of Postfix that is known and tells us nothing
	Delivery                   // QID: to=<>, relay=, delay=, delays=, dsn=, status= (reply); any delivery agent
	QueueActive                // qmgr QID: from=<>, size=, nrcpt= (queue active)
	Removed                    // qmgr QID: removed
	ExpiredLine                // qmgr QID: from=<>, status=expired, returned to sender; also force-expired
	Canceled                   // QID: canceled (3.10)
	DeletedLine                // postsuper QID: removed
	HeldLine                   // postsuper QID: placed on hold; cleanup HOLD action
	ReleasedLine               // postsuper QID: released from hold
	Requeued                   // postsuper QID: requeued (the message gets a new ID)
	BounceNotice               // bounce QID: sender non-delivery notification: QID2; also postmaster notifications
	DelayNotice                // bounce QID: sender delay notification: QID2
	SuccessNotice              // bounce QID: sender delivery status notification: QID2
	MessageID                  // cleanup QID: message-id=<>
	Client                     // smtpd QID: client=; starts a message
	Pickup                     // pickup QID: uid= from=<>; starts a message
	Connect                    // smtpd connect from
	Disconnect                 // smtpd disconnect from, with command counters
	Reject                     // smtpd, cleanup, postscreen: reject:
	MilterReject               // milter-reject:
	Warn                       // smtpd "warn:" and "reject_warning:", "hold:", "discard:", "redirect:", "filter:" access actions
	LostConnection             // smtpd lost connection after STAGE from
	TimeoutLine                // smtpd timeout after STAGE from
	Pipelining                 // improper command pipelining after
	TooMany                    // smtpd too many errors after
	TLS                        // Anonymous/Trusted/... TLS connection established from/to
	SASLFailure                // warning: ...: SASL X authentication failed
	NoPTR                      // warning: hostname X does not resolve to address Y
	ConnectFailed              // smtp connect to H[IP]:P: reason
	Screen                     // postscreen CONNECT, DISCONNECT, PASS, PREGREET, DNSBL, HANGUP, ... ; Verb tells which
	Warning                    // warning: anything else
	Error                      // error:
	Fatal                      // fatal:
	Panic                      // panic:
	numKinds
)

// Status is the "status=" of a delivery line.
type Status uint8

const (
	StatusNone Status = iota
	Sent
	Deferred
	Bounced
	Deliverable   // of an address verification probe
	Undeliverable // of an address verification probe; also undeliverable-but-not-cached
	StatusExpired // a message given up on
	StatusOther   // a word that is not known
	numStatuses
)

// Event is what one line says. Byte slices alias the line given to Parse and are good only until the line's buffer is used
// again. Which fields are set depends on the Kind; all others are zero.
type Event struct {
	Kind     Kind
	Time     time.Time
	Host     []byte
	Instance []byte // "postfix", "postfix-mx2", "postfix-out": the tag up to its first slash
	Service  []byte // the last path element of the tag: "smtpd", "qmgr"
	Path     []byte // the tag after the instance: "smtp", "relay/smtp", "submission/smtpd"
	PID      int
	Message  []byte // the text after "service[pid]: "
	QueueID  []byte // also of reject lines inside a transaction; nil for NOQUEUE

	From      []byte // without <>
	To        []byte
	OrigTo    []byte
	RelayHost []byte // "none", "local", a host
	RelayIP   []byte
	RelayPort int
	ConnUse   int
	Delay     time.Duration
	Delays    [4]time.Duration
	HasFrom   bool // from=<> was there, also when empty
	DSN       queue.Code
	Status    Status
	Reply     []byte // text of the outermost trailing (...) of a delivery line; text of a reject
	Size      int64
	NRcpt     int

	ClientName []byte // "unknown" when it has none
	ClientIP   []byte // without IPv6: prefix
	ClientPort int
	Code       int    // SMTP reply code of a reject line
	Stage      []byte // of a reject, lost connection or timeout: CONNECT, EHLO, MAIL, RCPT, DATA ...
	Verb       []byte // of a Screen line: CONNECT, PASS NEW, PREGREET ...
	Proto      []byte
	Helo       []byte
	SASLMethod []byte
	NewID      []byte // of a notice: the queue ID of the notice; of Requeued: the new queue ID
	OrigID     []byte // of Pickup: the ID before "postsuper -r"; of Client: the ID at the client (XFORWARD)
	MsgID      []byte
	TLSProto   []byte
	TLSCipher  []byte
	TLSTrust   []byte // Anonymous, Untrusted, Trusted, Verified
	TLSBits    [2]int // secret bits, algorithm bits
	TLSClient  bool   // we were the client: "established to"
	Rank       int    // of a Screen DNSBL line
	Repeat     int    // how many lines this one stands for ("message repeated N times: [ ... ]"); 0: itself alone
}
