package collector

import (
	"bytes"
	"time"

	"github.com/sparemx/sparemx/logparse"
	"github.com/sparemx/sparemx/queue"
)

// tally is all that is counted from lines and outcomes: arrays indexed by small enums under one lock, which is taken once a line.
type tally struct {
	lines      uint64 // also those of others
	foreign    uint64
	unparsed   [numServices]uint64
	levels     [numServices][len(levelNames)]uint64 // [0] is not used here: see unparsed
	connects   [numServices]uint64
	disconnect uint64
	rejects    [numServices][3]uint64 // 4xx, 5xx, no code
	lastLine   time.Time

	deliveries [numServices][4]uint64 // by queue.Results
	deferrals  []uint64               // by queue.Cause
	bounces    [len(subjects)]uint64
	delay      [4]*histogram
	total      *histogram
	domains    []domainCount // configured ones, then the others

	arrivals uint64
	arrived  int64 // bytes

	compat compatTally
}

// domainCount is what is counted for one domain.
type domainCount struct {
	results  [4]uint64
	diverted uint64
}

// subjects are the subjects of enhanced status codes (RFC 3463 section 3).
var subjects = [...]string{"5.0", "5.1", "5.2", "5.3", "5.4", "5.5", "5.6", "5.7", "other"}

// ObserveEvent counts what one log line says: once for each line, whatever its Kind. It keeps nothing of ev, allocates
// nothing but for a TLS cipher seen first, and may be called from several goroutines.
func (c *Collector) ObserveEvent(ev *logparse.Event) {
	n := uint64(1)
	if ev.Repeat > 1 {
		n = uint64(min(ev.Repeat, 1_000_000))
	}
	c.mu.Lock()
	t := &c.tally
	t.lines++
	switch ev.Kind {
	case logparse.Foreign:
		t.foreign++
		c.mu.Unlock()
		return
	case logparse.Ignored:
		t.seen(ev)
		c.mu.Unlock()
		return
	}
	t.seen(ev)
	svc := serviceOf(ev.Service)
	switch ev.Kind {
	case logparse.Unparsed:
		t.unparsed[svc]++
	case logparse.Connect:
		t.connects[svc] += n
	case logparse.Screen:
		if string(ev.Verb) == "CONNECT" {
			t.connects[svc] += n
		}
	case logparse.Disconnect:
		t.disconnect += n
	case logparse.Reject, logparse.MilterReject:
		t.rejects[svc][codeClass(ev.Code)] += n
	case logparse.Warning, logparse.SASLFailure, logparse.NoPTR:
		t.levels[svc][1] += n
	case logparse.Error:
		t.levels[svc][2] += n
	case logparse.Fatal:
		t.levels[svc][3] += n
	case logparse.Panic:
		t.levels[svc][4] += n
	}
	t.compat.add(ev, svc, n)
	c.mu.Unlock()
}

func (t *tally) seen(ev *logparse.Event) {
	if ev.Time.After(t.lastLine) {
		t.lastLine = ev.Time
	}
}

// codeClass is the place in tally.rejects for a reply code.
func codeClass(code int) int {
	switch code / 100 {
	case 4:
		return 0
	case 5:
		return 1
	}
	return 2
}

// resultIndex is the place of r in queue.Results(), -1 for none.
func resultIndex(r queue.Result) int {
	switch r {
	case queue.Delivered:
		return 0
	case queue.DeferredResult:
		return 1
	case queue.Bounced:
		return 2
	case queue.Expired:
		return 3
	}
	return -1
}

// ObserveOutcome counts what one attempt did for one recipient. Feed it every outcome of the log's tracker, or of the relay.
func (c *Collector) ObserveOutcome(o queue.Outcome) {
	r := resultIndex(o.Result)
	if r < 0 {
		return
	}
	name := o.Service
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '/' {
			name = name[i+1:]
			break
		}
	}
	svc := serviceOf(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &c.tally
	t.deliveries[svc][r]++
	d := c.domainIndex(o.Domain)
	t.domains[d].results[r]++
	switch o.Result {
	case queue.DeferredResult:
		if int(o.Cause) < len(t.deferrals) {
			t.deferrals[o.Cause]++
		} else {
			t.deferrals[queue.CauseOther]++
		}
	case queue.Bounced, queue.Expired:
		if s := int(o.Code.Subject); o.Code.Class == 5 && s < len(subjects)-1 {
			t.bounces[s]++
		} else {
			t.bounces[len(subjects)-1]++
		}
	case queue.Delivered:
		for i, h := range t.delay {
			h.observe(o.Stages[i].Seconds())
		}
		t.total.observe(o.Age.Seconds())
	}
	if o.First && d < len(c.primaryOf) {
		if s := c.per[c.primaryOf[d]]; s.up && !o.Arrived.IsZero() && !o.Arrived.Before(s.since) {
			t.domains[d].diverted++
		}
	}
}

// ObserveArrival counts a message that entered the queue.
func (c *Collector) ObserveArrival(a queue.Arrival) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tally.arrivals++
	c.tally.arrived += max(0, a.Size)
}

// compatTally is what the compatibility families need besides.
type compatTally struct {
	unsupported [numServices][len(levelNames)]uint64

	cleanupProcessed, cleanupRejected, cleanupNotAccepted uint64

	qmgrSize, qmgrRcpts         *histogram
	qmgrRemoved, qmgrExpired    uint64
	smtpStatus                  [len(statusNames)]uint64
	smtpDelay, lmtpDelay        [4]*histogram
	pipeDelay                   map[string]*[4]*histogram
	smtpDeferred, smtpBounced   dsns
	smtpTimedOut                uint64
	smtpTLS, smtpdTLS           tlsTable
	smtpdConnects, smtpdDisconn uint64
	smtpdSASL                   [len(saslMethods)]uint64
	smtpdLost                   [len(lostStages)]uint64
	smtpdRejects, screenRejects codes
	smtpdSASLFail, smtpdFCrDNS  uint64
	bounceNotices, virtualSent  uint64

	screenConnects, screenHangups uint64
	screenPasses                  [2]uint64
	screenRank                    *histogram
	screenTest                    [len(screenTests)]uint64
	screenList                    [len(screenAccess)]uint64
	screenBusy                    [len(screenBusy)]uint64
}

func (t *compatTally) add(ev *logparse.Event, svc service, n uint64) {
	if t.qmgrSize == nil {
		return // the compatibility families are off
	}
	switch ev.Kind {
	case logparse.Unparsed:
		t.unsupported[svc][0]++
	case logparse.Warning:
		t.unsupported[svc][1] += n
	case logparse.Error:
		t.unsupported[svc][2] += n
	case logparse.Fatal:
		t.unsupported[svc][3] += n
	case logparse.Panic:
		t.unsupported[svc][4] += n
	case logparse.Delivery:
		t.delivery(ev, svc, n)
	case logparse.QueueActive:
		t.qmgrSize.observe(float64(ev.Size))
		t.qmgrRcpts.observe(float64(ev.NRcpt))
	case logparse.Removed:
		t.qmgrRemoved += n
	case logparse.ExpiredLine:
		t.qmgrExpired += n
	case logparse.MessageID:
		t.cleanupProcessed += n
	case logparse.BounceNotice:
		if bytes.Contains(ev.Message, []byte("sender non-delivery")) {
			t.bounceNotices += n
		}
	case logparse.Connect:
		if svc == svcSMTPD {
			t.smtpdConnects += n
		}
	case logparse.Disconnect:
		if svc == svcSMTPD {
			t.smtpdDisconn += n
		}
	case logparse.Client:
		if len(ev.SASLMethod) == 0 {
			t.smtpdSASL[0] += n
		} else {
			t.smtpdSASL[index(saslMethods[:], ev.SASLMethod)] += n
		}
	case logparse.LostConnection, logparse.TimeoutLine:
		if svc == svcSMTPD && ev.Kind == logparse.LostConnection {
			t.smtpdLost[lostStageOf(ev.Stage)] += n
		}
	case logparse.Reject, logparse.MilterReject:
		t.reject(ev, svc)
	case logparse.SASLFailure:
		t.smtpdSASLFail += n
	case logparse.NoPTR:
		t.smtpdFCrDNS += n
	case logparse.ConnectFailed:
		if svc == svcSMTP && bytes.HasSuffix(ev.Message, []byte("Connection timed out")) {
			t.smtpTimedOut += n
		}
	case logparse.TLS:
		switch {
		case svc == svcSMTP && ev.TLSClient:
			t.smtpTLS.add(ev.TLSTrust, ev.TLSProto, ev.TLSCipher, ev.TLSBits)
		case svc == svcSMTPD && !ev.TLSClient:
			t.smtpdTLS.add(ev.TLSTrust, ev.TLSProto, ev.TLSCipher, ev.TLSBits)
		}
	case logparse.Screen:
		t.screen(ev, n)
	}
}

func (t *compatTally) delivery(ev *logparse.Event, svc service, n uint64) {
	var delays *[4]*histogram
	switch svc {
	case svcSMTP:
		delays = &t.smtpDelay
		switch ev.Status {
		case logparse.Sent:
			t.smtpStatus[0] += n
		case logparse.Deferred:
			t.smtpStatus[1] += n
			t.smtpDeferred.add(ev.DSN, 4)
		case logparse.Bounced:
			t.smtpStatus[2] += n
			t.smtpBounced.add(ev.DSN, 5)
		case logparse.Deliverable:
			t.smtpStatus[3] += n
		case logparse.Undeliverable:
			t.smtpStatus[4] += n
		case logparse.StatusExpired:
			t.smtpStatus[5] += n
		}
	case svcLMTP:
		delays = &t.lmtpDelay
	case svcPipe:
		delays = t.pipe(ev.RelayHost)
	case svcVirtual:
		if ev.Status == logparse.Sent {
			t.virtualSent += n
		}
		return
	default:
		return
	}
	for i, h := range delays {
		h.observe(ev.Delays[i].Seconds())
	}
}

// maxPipes bounds the names of pipe transports; they are this host's own, but a line can be forged.
const maxPipes = 16

func (t *compatTally) pipe(relay []byte) *[4]*histogram {
	if d := t.pipeDelay[string(relay)]; d != nil {
		return d
	}
	name := string(relay)
	if len(name) > 40 || !plain(relay) || len(t.pipeDelay) >= maxPipes {
		if name = "other"; t.pipeDelay[name] != nil {
			return t.pipeDelay[name]
		}
	}
	d := newDelays(compatDelayBounds)
	t.pipeDelay[name] = &d
	return &d
}

func (t *compatTally) reject(ev *logparse.Event, svc service) {
	switch svc {
	case svcSMTPD:
		if ev.Kind == logparse.Reject {
			t.smtpdRejects.add(ev.Code)
		}
	case svcCleanup:
		if ev.Kind == logparse.Reject {
			t.cleanupRejected++
		} else {
			t.cleanupNotAccepted++
		}
	case svcPostscreen:
		if ev.Code == 0 || string(ev.Stage) == "CONNECT" { // "reject: CONNECT from [h]:p: all server ports busy"
			t.screenBusy[busyOf(ev.Message)]++
			return
		}
		t.screenRejects.add(ev.Code)
	}
}

func busyOf(msg []byte) int {
	for i, s := range screenBusy[:len(screenBusy)-1] {
		if bytes.HasSuffix(msg, []byte(s)) {
			return i
		}
	}
	return len(screenBusy) - 1
}

func (t *compatTally) screen(ev *logparse.Event, n uint64) {
	switch string(ev.Verb) {
	case "CONNECT":
		t.screenConnects += n
	case "DISCONNECT", "ALLOWLIST VETO", "WHITELIST VETO":
	case "PASS NEW":
		t.screenPasses[0] += n
	case "PASS OLD":
		t.screenPasses[1] += n
	case "HANGUP":
		t.screenHangups += n
	case "DNSBL":
		t.screenRank.observe(float64(ev.Rank))
	case "ALLOWLISTED", "WHITELISTED", "DENYLISTED", "BLACKLISTED":
		t.screenList[index(screenAccess[:], ev.Verb)] += n
	default:
		t.screenTest[index(screenTests[:], ev.Verb)] += n
	}
}
