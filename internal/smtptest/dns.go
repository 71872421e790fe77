package smtptest

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// DNS is a scripted name server on loopback.
type DNS struct {
	addr string

	mu      sync.Mutex
	records map[string][]dns.RR // by name, lower case with final dot
	rcode   map[string]int
	drop    map[string]bool
	queries int
}

// RunDNS starts a name server with records in zone file form ("example.org. MX 10 mx1.example.org.") and stops it when the test ends. A
// name without records is NXDOMAIN.
func RunDNS(tb testing.TB, records ...string) *DNS {
	tb.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	d := &DNS{addr: pc.LocalAddr().String(), records: map[string][]dns.RR{}, rcode: map[string]int{}, drop: map[string]bool{}}
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil || rr == nil {
			tb.Fatalf("record %q: %v", text, err)
		}
		name := strings.ToLower(rr.Header().Name)
		d.records[name] = append(d.records[name], rr)
	}
	up := make(chan struct{})
	srv := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(d.answer), NotifyStartedFunc: func() { close(up) }}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.ActivateAndServe() }()
	<-up
	tb.Cleanup(func() { _ = srv.Shutdown(); <-done })
	return d
}

// Fail has each question about name answered SERVFAIL.
func (d *DNS) Fail(name string) { d.mu.Lock(); d.rcode[name] = dns.RcodeServerFailure; d.mu.Unlock() }

// Drop has questions about name not answered.
func (d *DNS) Drop(name string) { d.mu.Lock(); d.drop[name] = true; d.mu.Unlock() }

// Queries is how many questions came.
func (d *DNS) Queries() int { d.mu.Lock(); defer d.mu.Unlock(); return d.queries }

// Resolver asks this server alone.
func (d *DNS) Resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var nd net.Dialer
		return nd.DialContext(ctx, "udp", d.addr)
	}}
}

func (d *DNS) answer(w dns.ResponseWriter, q *dns.Msg) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queries++
	name := strings.ToLower(q.Question[0].Name)
	if d.drop[name] {
		return
	}
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	rrs, ok := d.records[name]
	if !ok {
		m.Rcode = dns.RcodeNameError
	}
	if rc, ok := d.rcode[name]; ok {
		m.Rcode = rc
	} else {
		for _, rr := range rrs {
			if rr.Header().Rrtype == q.Question[0].Qtype {
				m.Answer = append(m.Answer, rr)
			}
		}
	}
	_ = w.WriteMsg(m)
}
