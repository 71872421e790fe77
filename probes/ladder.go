package probes

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sparemx/sparemx/internal/smtp"
)

// Ladder is the Prober that holds an SMTP conversation up to RCPT. The zero Ladder works, with the host's name and resolver.
//
// A primary is Good when one of its addresses, tried in order, is. It is Bad when each address is Bad and CantTell otherwise. An address
// family this host has no route for is left out of account when the other family gave an answer: mail could not go that way either.
type Ladder struct {
	Hostname  string        // our own name, said in EHLO; "": os.Hostname
	SelfNames []string      // other names of ours: MX hosts of these names, or at SelfAddrs, are ourselves
	SelfAddrs []netip.Addr  // addresses of ours, those outside a NAT too
	Resolver  Resolver      // nil: net.DefaultResolver
	Bind4     netip.Addr    // local address for IPv4; zero: the system's choice
	Bind6     netip.Addr    // local address for IPv6
	Timeout   time.Duration // of a probe, 0: 15s; ctx may end it sooner
	Connect   time.Duration // of one connection attempt; 0: a third of Timeout

	// DialContext opens connections; nil: the system does. It is a seam for tests.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	mu   sync.Mutex
	busy map[netip.AddrPort]chan struct{} // addresses being talked to; closed when free
}

// maxAddresses is the most addresses one probe tries. Postfix gives up after five (smtp_mx_address_limit).
const maxAddresses = 8

// Probe walks the ladder for each next hop in order until one is Good. It ends within Timeout, each address getting an equal share of what
// is left.
func (l *Ladder) Probe(ctx context.Context, p Primary) Result {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, durationOr(l.Timeout, 15*time.Second))
	defer cancel()
	r := l.probe(ctx, p, start)
	r.At, r.Total = time.Now(), time.Since(start)
	if r.Verdict != Good && errors.Is(ctx.Err(), context.Canceled) {
		r.Verdict, r.Reason = CantTell, "the probe was called off"
	}
	return r
}

func (l *Ladder) probe(ctx context.Context, p Primary, start time.Time) Result {
	if len(p.NextHops) == 0 {
		return Result{Verdict: CantTell, Reason: "no next hop is known for " + p.Name}
	}
	targets, failed := l.resolve(ctx, p.NextHops)
	resolved := time.Since(start)
	results := failed
	for i, t := range targets {
		end, _ := ctx.Deadline()
		actx, cancel := context.WithTimeout(ctx, time.Until(end)/time.Duration(len(targets)-i))
		r := l.address(actx, p, t)
		cancel()
		r.Timings[StageResolve] = resolved
		if r.Verdict == Good {
			return r
		}
		results = append(results, r)
	}
	return conclude(results)
}

// conclude makes one result of those of several addresses, none of them Good.
func conclude(rs []Result) Result {
	var decided [2]bool // by family: 0 IPv4, 1 IPv6
	for _, r := range rs {
		if r.Verdict == Bad && r.Addr.IsValid() {
			decided[family(r.Addr)] = true
		}
	}
	var bad, unsure *Result
	for i := range rs {
		r := &rs[i]
		switch {
		case r.Verdict == Bad:
			if bad == nil || r.Stage >= bad.Stage { // who got furthest has most to tell; of equals the last
				bad = r
			}
		case r.noRoute && !decided[family(r.Addr)] && decided[1-family(r.Addr)]:
		default:
			unsure = r
		}
	}
	if unsure != nil {
		return *unsure
	}
	if bad != nil {
		return *bad
	}
	return Result{Verdict: CantTell, Reason: "nothing to ask"}
}

func family(a netip.AddrPort) int {
	if a.Addr().Unmap().Is4() {
		return 0
	}
	return 1
}

// address probes one address, alone: two primaries that share it do not meet there.
func (l *Ladder) address(ctx context.Context, p Primary, t target) Result {
	free, err := l.take(ctx, t.addr)
	if err != nil {
		return Result{Stage: StageConnect, Hop: t.hop, Addr: t.addr, Reason: "another probe of " + t.addr.String() + " did not end in time"}
	}
	defer free()
	r, insecure := l.climb(ctx, p, t, p.TLS.Level != TLSNone)
	if insecure && p.TLS.Level == TLSMay { // as a delivery would
		note := "TLS failed, went on in clear: " + r.Reason
		if r, _ = l.climb(ctx, p, t, false); r.Verdict == Good {
			r.Note = strings.TrimPrefix(r.Note+"; "+note, "; ")
		}
	}
	return r
}

func (l *Ladder) take(ctx context.Context, a netip.AddrPort) (free func(), err error) {
	for {
		l.mu.Lock()
		held := l.busy[a]
		if held == nil {
			if l.busy == nil {
				l.busy = make(map[netip.AddrPort]chan struct{})
			}
			done := make(chan struct{})
			l.busy[a] = done
			l.mu.Unlock()
			return func() {
				l.mu.Lock()
				delete(l.busy, a)
				l.mu.Unlock()
				close(done)
			}, nil
		}
		l.mu.Unlock()
		select {
		case <-held:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

var stageOf = [smtp.NumSteps]Stage{
	smtp.StepConnect: StageConnect, smtp.StepGreeting: StageGreeting, smtp.StepEHLO: StageEHLO, smtp.StepSTARTTLS: StageSTARTTLS,
	smtp.StepMAIL: StageMAIL, smtp.StepRCPT: StageRCPT, smtp.StepRSET: StageQUIT, smtp.StepQUIT: StageQUIT,
}

// climb holds one conversation. insecure tells that it failed in the TLS handshake.
func (l *Ladder) climb(ctx context.Context, p Primary, t target, useTLS bool) (r Result, insecure bool) {
	r = Result{Stage: StageConnect, Hop: t.hop, Addr: t.addr}
	d := smtp.Dialer{Bind4: l.Bind4, Bind6: l.Bind6, DialContext: l.DialContext}
	d.Timeouts.Connect = durationOr(l.Connect, durationOr(l.Timeout, 15*time.Second)/3)
	d.Timeouts.Quit = 2 * time.Second
	c, err := d.Dial(ctx, t.addr)
	if err != nil {
		l.judge(ctx, &r, err)
		return r, false
	}
	defer c.Close()
	err = l.talk(ctx, c, p, t, useTLS, &r)
	for step, took := range c.Timings() {
		if stage := stageOf[step]; took > 0 && stage != StageResolve {
			r.Timings[stage] += took
		}
	}
	if err != nil {
		l.judge(ctx, &r, err)
		e, ok := errors.AsType[*smtp.Error](err)
		return r, ok && e.Step == smtp.StepSTARTTLS && e.Kind != smtp.Refused && e.Kind != smtp.Argument
	}
	return r, false
}

// errLoop: RFC 5321 section 6.3 leaves loop detection to us; Postfix's smtp_helo() makes the same comparison.
var errLoop = errors.New("greets with our own name: mail would loop")

func (l *Ladder) talk(ctx context.Context, c *smtp.Conn, p Primary, t target, useTLS bool, r *Result) error {
	name := l.hostname()
	r.Stage = StageGreeting
	if _, err := c.Greeting(ctx); err != nil {
		return err
	}
	if sameName(c.Banner(), name) {
		return errLoop
	}
	r.Stage = StageEHLO
	if _, err := c.EHLO(ctx, name); err != nil {
		return err
	}
	if sameName(c.HelloName(), name) {
		return errLoop
	}
	_, offered := c.Extension("STARTTLS")
	switch {
	case useTLS && offered:
		r.Stage = StageSTARTTLS
		err := c.StartTLS(ctx, smtp.TLS{Name: nameOr(p.TLS.Name, t.host), Verify: p.TLS.Level == TLSVerify, Fingerprints: p.TLS.Fingerprints})
		if e, ok := errors.AsType[*smtp.Error](err); ok && e.Kind == smtp.Refused && p.TLS.Level == TLSMay {
			r.Note = "TLS refused, went on in clear: " + e.Reply.String()
			break
		}
		if err != nil {
			return err
		}
		if s := c.TLS(); s != nil {
			r.TLS = tlsName(s.Version)
			if len(s.PeerCertificates) > 0 {
				r.NotAfter = s.PeerCertificates[0].NotAfter
			}
		}
		r.Stage = StageEHLO
		if _, err := c.EHLO(ctx, name); err != nil {
			return err
		}
	case p.TLS.Level >= TLSEncrypt:
		r.Stage = StageSTARTTLS
		return errors.New("TLS is required and not offered")
	}
	r.Stage = StageMAIL
	if _, err := c.Mail(ctx, p.Sender); err != nil {
		return err
	}
	r.Stage = StageRCPT
	reply, err := c.Rcpt(ctx, recipient(p))
	if err != nil {
		e, ok := errors.AsType[*smtp.Error](err)
		if !ok || e.Kind != smtp.Refused || !aboutRecipient(e.Reply) {
			return err
		}
		r.Note = "the recipient of the probe is refused, which shows that the primary judges recipients: " + e.Reply.String()
	}
	r.Verdict, r.Code = Good, reply.Code
	qctx, cancel := context.WithTimeout(ctx, 2*time.Second) // what it says to a farewell changes nothing
	defer cancel()
	if c.RSET(qctx) == nil {
		_ = c.QUIT(qctx)
	}
	r.Stage = StageQUIT
	return nil
}

func recipient(p Primary) string {
	switch {
	case p.Recipient != "":
		return p.Recipient
	case len(p.Domains) > 0:
		return "postmaster@" + p.Domains[0]
	}
	return "postmaster"
}

func (l *Ladder) hostname() string {
	if l.Hostname != "" {
		return l.Hostname
	}
	if name, err := os.Hostname(); err == nil {
		return name
	}
	return "localhost"
}

// routed tells whether this host has any route to a; it sends nothing.
func (l *Ladder) routed(a netip.AddrPort) error {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(a))
	if err != nil {
		return err
	}
	return c.Close()
}

// judge turns an error into a verdict.
func (l *Ladder) judge(ctx context.Context, r *Result, err error) {
	r.Verdict, r.Reason = Bad, err.Error()
	e, ok := errors.AsType[*smtp.Error](err)
	if !ok {
		return
	}
	r.Code = e.Reply.Code
	switch e.Kind {
	case smtp.Local:
		r.Verdict = CantTell
		r.noRoute = errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)
	case smtp.Argument, smtp.Canceled:
		r.Verdict = CantTell
	case smtp.Unreachable: // the router's or the neighbour's answer, unless our own table says so
		if l.routed(r.Addr) != nil {
			r.Verdict, r.noRoute = CantTell, true
		}
	case smtp.Refused:
		if greylisted(e.Reply) {
			r.Reason = "greylists us, so mail would be late: " + r.Reason
		} else if e.Step == smtp.StepMAIL && e.Reply.Code >= 500 {
			r.Reason += " (a probe sender other than <> can be configured)"
		}
	}
}
