package probes

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sparemx/sparemx/internal/smtptest"
)

func at(s *smtptest.Server) NextHop {
	return NextHop{Host: s.Addr.Addr().String(), Port: s.Addr.Port()}
}

func primary(hops ...NextHop) Primary {
	return Primary{Name: "p", Domains: []string{"example.org"}, NextHops: hops}
}

func TestLadderRungs(t *testing.T) {
	cert := smtptest.TLS(t, "mx.test", time.Now().Add(40*24*time.Hour).Truncate(time.Second))
	sum := sha256.Sum256(cert.Certificates[0].Certificate[0])
	pin := strings.ToUpper(hex.EncodeToString(sum[:]))
	reply := func(at smtptest.Stage, text string) smtptest.Script {
		return smtptest.Script{Replies: map[smtptest.Stage]string{at: text}}
	}
	rcpt := func(text string) smtptest.Script { return reply(smtptest.Rcpt, text) }
	withTLS := func(s smtptest.Script) smtptest.Script { s.TLS = cert; return s }
	for _, c := range []struct {
		name   string
		script smtptest.Script
		tls    TLS
		want   Verdict
		stage  Stage
		code   int
		text   string // in Reason, or in Note when Good
	}{
		{"takes all", smtptest.Script{}, TLS{}, Good, StageQUIT, 250, ""},
		{"HELO only", smtptest.Script{NoEHLO: true}, TLS{}, Good, StageQUIT, 250, ""},
		{"421 greeting", reply(smtptest.Greeting, "421 4.3.2 too busy"), TLS{}, Bad, StageGreeting, 421, "too busy"},
		{"554 greeting", reply(smtptest.Greeting, "554 no service"), TLS{}, Bad, StageGreeting, 554, "no service"},
		{"not SMTP", reply(smtptest.Greeting, "SSH-2.0-OpenSSH_9.2"), TLS{}, Bad, StageGreeting, 0, "not an SMTP reply"},
		{"drops at connect", smtptest.Script{Drop: smtptest.Greeting}, TLS{}, Bad, StageGreeting, 0, "closed"},
		{"4xx EHLO", reply(smtptest.EHLO, "450 4.3.2 later"), TLS{}, Bad, StageEHLO, 450, "later"},
		{"5xx EHLO and HELO", reply(smtptest.EHLO, "550 5.7.1 no"), TLS{}, Bad, StageEHLO, 550, "no"},
		{"drops at EHLO", smtptest.Script{Drop: smtptest.EHLO}, TLS{}, Bad, StageEHLO, 0, "closed"},
		{"drops at MAIL", smtptest.Script{Drop: smtptest.Mail}, TLS{}, Bad, StageMAIL, 0, "closed"},
		{"drops at RCPT", smtptest.Script{Drop: smtptest.Rcpt}, TLS{}, Bad, StageRCPT, 0, "closed"},
		{"drops at RSET", smtptest.Script{Drop: smtptest.Rset}, TLS{}, Good, StageQUIT, 250, ""},
		{"drops at QUIT", smtptest.Script{Drop: smtptest.Quit}, TLS{}, Good, StageQUIT, 250, ""},
		{"refuses <>", reply(smtptest.Mail, "550 5.1.8 no null sender"), TLS{}, Bad, StageMAIL, 550, "sender other than <>"},
		{"full disk", reply(smtptest.Mail, "452 4.3.1 insufficient system storage"), TLS{}, Bad, StageMAIL, 452, "storage"},
		{"user unknown", rcpt("550 5.1.1 no such user"), TLS{}, Good, StageQUIT, 550, "judges recipients"},
		{"user unknown, no code", rcpt("550 User unknown in virtual mailbox table"), TLS{}, Good, StageQUIT, 550, "judges recipients"},
		{"mailbox full for good", rcpt("552 5.2.2 mailbox full"), TLS{}, Good, StageQUIT, 552, "judges recipients"},
		{"relay denied", rcpt("554 5.7.1 Relay access denied"), TLS{}, Bad, StageRCPT, 554, "denied"},
		{"policy that says user unknown", rcpt("550 5.7.1 user unknown to our whitelist"), TLS{}, Bad, StageRCPT, 550, "whitelist"},
		{"blocked, no code", rcpt("550 blocked using dnsbl.example.net"), TLS{}, Bad, StageRCPT, 550, "blocked"},
		{"greylisted", rcpt("450 4.7.1 Greylisted, come back in 300 s"), TLS{}, Bad, StageRCPT, 450, "greylists us"},
		{"unverified", rcpt("450 4.1.1 user unknown yet: unverified address"), TLS{}, Bad, StageRCPT, 450, "unverified"},
		{"mailbox full for now", rcpt("452 4.2.2 mailbox full"), TLS{}, Bad, StageRCPT, 452, "full"},
		{"our own name", smtptest.Script{Name: "BACKUP.example.net."}, TLS{}, Bad, StageGreeting, 0, "would loop"},
		{"giant reply", reply(smtptest.EHLO, strings.Repeat("250-X\r\n", 100000)+"250 end"), TLS{}, Bad, StageEHLO, 0, "not an SMTP reply"},
		{"giant line", reply(smtptest.EHLO, "250 "+strings.Repeat("x", 1<<20)), TLS{}, Bad, StageEHLO, 0, "not an SMTP reply"},
		{"long line", rcpt("250 " + strings.Repeat("x", 10000)), TLS{}, Good, StageQUIT, 250, ""},

		{"TLS, any certificate", withTLS(smtptest.Script{}), TLS{}, Good, StageQUIT, 250, ""},
		{"TLS, not wanted", withTLS(smtptest.Script{}), TLS{Level: TLSNone}, Good, StageQUIT, 250, ""},
		{"TLS refused", withTLS(reply(smtptest.StartTLS, "454 4.7.0 not now")), TLS{}, Good, StageQUIT, 250, "went on in clear"},
		{"TLS refused but required", withTLS(reply(smtptest.StartTLS, "454 4.7.0 not now")), TLS{Level: TLSEncrypt}, Bad, StageSTARTTLS, 454, "not now"},
		{"TLS not offered but required", smtptest.Script{}, TLS{Level: TLSEncrypt}, Bad, StageSTARTTLS, 0, "not offered"},
		{"handshake fails", smtptest.Script{Extensions: []string{"STARTTLS"}}, TLS{}, Good, StageQUIT, 250, "went on in clear"},
		{"handshake fails but required", smtptest.Script{Extensions: []string{"STARTTLS"}}, TLS{Level: TLSEncrypt}, Bad, StageSTARTTLS, 0, "TLS"},
		{"not trusted", withTLS(smtptest.Script{}), TLS{Level: TLSVerify, Name: "mx.test"}, Bad, StageSTARTTLS, 0, "certificate"},
		{"pinned", withTLS(smtptest.Script{}), TLS{Level: TLSVerify, Fingerprints: []string{pin}}, Good, StageQUIT, 250, ""},
		{"pinned to another", withTLS(smtptest.Script{}), TLS{Level: TLSVerify, Fingerprints: []string{strings.Repeat("00", 32)}}, Bad, StageSTARTTLS, 0, "fingerprint"},
		{"pin is none", withTLS(smtptest.Script{}), TLS{Level: TLSVerify, Fingerprints: []string{"zz"}}, CantTell, StageSTARTTLS, 0, "SHA-256"},
		{"talks on in clear after STARTTLS", withTLS(reply(smtptest.StartTLS, "220 go\r\n250 injected")), TLS{Level: TLSEncrypt}, Bad, StageSTARTTLS, 0, "in clear"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := smtptest.Run(t, c.script)
			p := primary(at(s))
			p.TLS = c.tls
			l := &Ladder{Hostname: "backup.example.net", Timeout: 5 * time.Second}
			r := l.Probe(t.Context(), p)
			if r.Verdict != c.want || r.Stage != c.stage || r.Code != c.code || r.Addr != s.Addr || r.At.IsZero() {
				t.Errorf("got %+v, want %v at %v with %d", r, c.want, c.stage, c.code)
			}
			text := r.Reason
			if c.want == Good {
				if r.Reason != "" {
					t.Errorf("Good with reason %q", r.Reason)
				}
				text = r.Note
			}
			if !strings.Contains(text, c.text) || c.text == "" && text != "" || strings.ContainsAny(text, "\r\n") || len(text) > 700 {
				t.Errorf("said %q, want %q", text, c.text)
			}
			if r.TLS != "" && !r.NotAfter.Equal(mustLeaf(t, cert.Certificates[0].Certificate[0])) {
				t.Errorf("certificate ends %v", r.NotAfter)
			}
			if wantTLS := c.want == Good && c.script.TLS != nil && c.tls.Level != TLSNone && c.text == ""; wantTLS != (r.TLS != "") {
				t.Errorf("TLS %q", r.TLS)
			}
			if cs := s.Commands(); slices.ContainsFunc(cs, func(l string) bool { return strings.HasPrefix(l, "DATA") || strings.HasPrefix(l, "BDAT") }) || len(s.Messages()) > 0 {
				t.Errorf("went as far as %q", cs)
			}
		})
	}
}

func TestLadderSays(t *testing.T) {
	s := smtptest.Run(t, smtptest.Script{})
	l := &Ladder{Hostname: "backup.example.net"}
	r := l.Probe(t.Context(), primary(at(s)))
	want := []string{"EHLO backup.example.net", "MAIL FROM:<>", "RCPT TO:<postmaster@example.org>", "RSET", "QUIT"}
	if got := s.Commands(); !slices.Equal(got, want) || s.Connections() != 1 {
		t.Errorf("got %q in %d connections", got, s.Connections())
	}
	for _, st := range []Stage{StageConnect, StageGreeting, StageEHLO, StageMAIL, StageRCPT, StageQUIT} {
		if r.Timings[st] <= 0 || r.Timings[st] > r.Total {
			t.Errorf("%v took %v of %v", st, r.Timings[st], r.Total)
		}
	}
	s.Set(smtptest.Script{})
	l.Probe(t.Context(), Primary{NextHops: []NextHop{at(s)}, Sender: "probe@example.net", Recipient: "ann@example.org"})
	if got := s.Commands()[5:]; got[1] != "MAIL FROM:<probe@example.net>" || got[2] != "RCPT TO:<ann@example.org>" {
		t.Errorf("got %q", got)
	}
	if r := l.Probe(t.Context(), Primary{NextHops: []NextHop{at(s)}, Recipient: "a@b>\r\nDATA"}); r.Verdict != CantTell {
		t.Errorf("a recipient that breaks out: %+v", r)
	}
}

// Each stage hanging, or dripping an octet at a time, ends at the deadline and not much later.
func TestLadderDeadline(t *testing.T) {
	const limit = 400 * time.Millisecond
	scripts := map[string]smtptest.Script{"drip": {Drip: 30 * time.Millisecond}}
	for _, st := range []smtptest.Stage{smtptest.Greeting, smtptest.EHLO, smtptest.StartTLS, smtptest.Mail, smtptest.Rcpt} {
		scripts["hangs at "+string(st)] = smtptest.Script{Hang: st, Extensions: []string{"STARTTLS"}}
	}
	for name, script := range scripts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if script.Hang == smtptest.Mail || script.Hang == smtptest.Rcpt {
				script.Extensions = nil
			}
			s := smtptest.Run(t, script)
			l := &Ladder{Hostname: "backup.example.net", Timeout: limit}
			start := time.Now()
			r := l.Probe(t.Context(), primary(at(s)))
			if took := time.Since(start); took < limit/2 || took > limit+2*time.Second || r.Verdict != Bad || !strings.Contains(r.Reason, "timed out") {
				t.Errorf("%v after %v: %+v", r.Verdict, took, r)
			}
		})
	}
	t.Run("hangs at QUIT", func(t *testing.T) {
		t.Parallel()
		s := smtptest.Run(t, smtptest.Script{Hang: smtptest.Quit})
		l := &Ladder{Hostname: "backup.example.net", Timeout: limit}
		if r := l.Probe(t.Context(), primary(at(s))); r.Verdict != Good {
			t.Errorf("%+v", r)
		}
	})
	t.Run("called off", func(t *testing.T) {
		t.Parallel()
		s := smtptest.Run(t, smtptest.Script{Hang: smtptest.EHLO})
		l := &Ladder{Hostname: "backup.example.net"}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for len(s.Commands()) == 0 {
				<-s.Changed()
			}
			cancel()
		}()
		if r := l.Probe(ctx, primary(at(s))); r.Verdict != CantTell || r.Total > 5*time.Second {
			t.Errorf("%+v", r)
		}
	})
}

func TestLadderNextHops(t *testing.T) {
	up := smtptest.Run(t, smtptest.Script{})
	busy := smtptest.Run(t, smtptest.Script{Replies: map[smtptest.Stage]string{smtptest.Greeting: "421 busy"}})
	hung := smtptest.Run(t, smtptest.Script{Hang: smtptest.Greeting})
	gone := smtptest.Run(t, smtptest.Script{})
	gone.Stop()
	l := &Ladder{Hostname: "backup.example.net", Timeout: 2 * time.Second}
	if r := l.Probe(t.Context(), primary(at(gone), at(hung), at(busy), at(up))); r.Verdict != Good || r.Addr != up.Addr || r.Hop != at(up) {
		t.Errorf("the last of four is good: %+v", r)
	}
	r := l.Probe(t.Context(), primary(at(gone), at(busy)))
	if r.Verdict != Bad || r.Code != 421 {
		t.Errorf("all bad: %+v", r)
	}
	if r := l.Probe(t.Context(), primary(at(gone))); r.Verdict != Bad || r.Stage != StageConnect || r.Reason != "connect: connection refused" {
		t.Errorf("down: %+v", r)
	}
	if err := gone.Start(); err != nil {
		t.Fatal(err)
	}
	if r := l.Probe(t.Context(), primary(at(gone))); r.Verdict != Good {
		t.Errorf("back on the same port: %+v", r)
	}
	if r := l.Probe(t.Context(), primary()); r.Verdict != CantTell {
		t.Errorf("no next hop: %+v", r)
	}
}

func TestLadderIPv6(t *testing.T) {
	s := smtptest.RunOn(t, smtptest.Script{}, "[::1]:0")
	l := &Ladder{Hostname: "backup.example.net", Bind6: netip.MustParseAddr("::1")}
	if r := l.Probe(t.Context(), primary(at(s))); r.Verdict != Good || !r.Addr.Addr().Is6() {
		t.Errorf("%+v", r)
	}
}

func TestLadderOneConnectionAtATime(t *testing.T) {
	s := smtptest.Run(t, smtptest.Script{Delay: map[smtptest.Stage]time.Duration{smtptest.Mail: 5 * time.Millisecond}})
	l := &Ladder{Hostname: "backup.example.net"}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if r := l.Probe(t.Context(), primary(at(s))); r.Verdict != Good {
				t.Errorf("%+v", r)
			}
		})
	}
	wg.Wait()
	// The server may see the end of one connection after the begin of the next, never more.
	if s.Peak() > 2 || s.Connections() != 8 || len(l.busy) != 0 {
		t.Errorf("peak %d of %d, %d left", s.Peak(), s.Connections(), len(l.busy))
	}
}

// What the system says of an address, and what that tells.
func TestLadderFaults(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	loop := netip.MustParseAddr("127.0.0.1") // has a route
	for _, c := range []struct {
		name   string
		errs   map[netip.Addr]error
		want   Verdict
		reason string
	}{
		{"refused", map[netip.Addr]error{v4: syscall.ECONNREFUSED}, Bad, "refused"},
		{"timeout", map[netip.Addr]error{v4: os.ErrDeadlineExceeded}, Bad, "timed out"},
		{"no such host, with a route", map[netip.Addr]error{loop: syscall.EHOSTUNREACH}, Bad, "no route"},
		{"no network", map[netip.Addr]error{v4: syscall.ENETUNREACH}, CantTell, "fault of this host"},
		{"no address", map[netip.Addr]error{v4: syscall.EADDRNOTAVAIL}, CantTell, "fault of this host"},
		{"no descriptors", map[netip.Addr]error{v4: syscall.EMFILE}, CantTell, "fault of this host"},
		{"no right", map[netip.Addr]error{v4: syscall.EACCES}, CantTell, "fault of this host"},
		{"no IPv6 here, IPv4 refused", map[netip.Addr]error{v6: syscall.ENETUNREACH, v4: syscall.ECONNREFUSED}, Bad, "refused"},
		{"no IPv6 here, no descriptors", map[netip.Addr]error{v6: syscall.ENETUNREACH, v4: syscall.EMFILE}, CantTell, "fault"},
		{"neither family", map[netip.Addr]error{v6: syscall.ENETUNREACH, v4: syscall.ENETUNREACH}, CantTell, "fault"},
		{"one of a family has a route", map[netip.Addr]error{netip.MustParseAddr("192.0.2.2"): syscall.ENETUNREACH, v4: syscall.ECONNREFUSED}, CantTell, "fault"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &Ladder{Hostname: "backup.example.net", DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", c.errs[netip.MustParseAddrPort(address).Addr()])}
			}}
			var hops []NextHop
			for a := range c.errs {
				hops = append(hops, NextHop{Host: a.String()})
			}
			if r := l.Probe(t.Context(), primary(hops...)); r.Verdict != c.want || !strings.Contains(r.Reason, c.reason) {
				t.Errorf("got %v %q, want %v %q", r.Verdict, r.Reason, c.want, c.reason)
			}
		})
	}
}

func TestLadderResolves(t *testing.T) {
	s := smtptest.Run(t, smtptest.Script{})
	d := smtptest.RunDNS(t,
		"example.org. MX 10 mx1.example.org.", "example.org. MX 20 backup.example.net.", "example.org. MX 30 worse.example.org.",
		"mx1.example.org. A 127.0.0.1",
		"natted.test. MX 10 mx1.example.org.", "natted.test. MX 20 other.test.", "other.test. A 192.0.2.7",
		"best.test. MX 10 backup.example.net.", "best.test. MX 20 mx1.example.org.",
		"equal.test. MX 10 mx1.example.org.", "equal.test. MX 10 backup.example.net.",
		"null.test. MX 0 .",
		"implicit.test. A 127.0.0.1",
		"empty.test. TXT \"nothing\"",
		"lame.test. MX 10 nowhere.test.",
		"half.test. MX 10 nowhere.test.", "half.test. MX 15 mx1.example.org.",
		"broken.test. MX 10 servfail.test.", "servfail.test. A 127.0.0.1",
		"worse.example.org. A 192.0.2.9", "backup.example.net. A 192.0.2.7")
	d.Fail("servfail.test.")
	d.Fail("mxfail.test.")
	d.Drop("silent.test.")
	l := &Ladder{Hostname: "backup.example.net", SelfAddrs: []netip.Addr{netip.MustParseAddr("192.0.2.7")}, Resolver: d.Resolver(), Timeout: time.Second}
	for _, c := range []struct {
		host   string
		mx     bool
		want   Verdict
		reason string
	}{
		{"example.org", true, Good, ""},
		{"natted.test", true, Good, ""},
		{"best.test", true, Bad, "would loop"},
		{"equal.test", true, Bad, "would loop"},
		{"null.test", true, Bad, "null"},
		{"implicit.test", true, Good, ""},
		{"empty.test", true, Bad, "no address"},
		{"nxdomain.test", true, Bad, "no address"},
		{"lame.test", true, Bad, "nowhere.test has no address"},
		{"half.test", true, Good, ""},
		{"broken.test", true, CantTell, "servfail.test"},
		{"mxfail.test", true, CantTell, "mxfail.test"},
		{"silent.test", true, CantTell, "silent.test"},
		{"mx1.example.org", false, Good, ""},
		{"nxdomain.test", false, Bad, "no address"},
		{"servfail.test", false, CantTell, "servfail.test"},
		{"silent.test", false, CantTell, "silent.test"},
	} {
		r := l.Probe(t.Context(), primary(NextHop{Host: c.host, Port: s.Addr.Port(), MX: c.mx}))
		if r.Verdict != c.want || !strings.Contains(r.Reason, c.reason) || r.Total > 3*time.Second {
			t.Errorf("%s: got %+v, want %v %q", c.host, r, c.want, c.reason)
		}
		if c.want == Good && r.Addr != s.Addr {
			t.Errorf("%s: asked %v", c.host, r.Addr)
		}
	}
	// A dead resolver does not keep an address from being asked.
	if r := l.Probe(t.Context(), primary(NextHop{Host: "silent.test"}, at(s))); r.Verdict != Good {
		t.Errorf("behind a dead resolver: %+v", r)
	}
}

func mustLeaf(t *testing.T, der []byte) time.Time {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c.NotAfter
}
