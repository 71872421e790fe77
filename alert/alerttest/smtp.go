package alerttest

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Mail is one message that the smarthost took.
type Mail struct {
	From string
	To   []string
	Data string // with CRLF line ends, dots unstuffed
	TLS  bool
	Auth string // "user:password" of AUTH PLAIN, "" if none
}

// SMTP is a smarthost.
type SMTP struct {
	Addr string // host:port
	CA   string // PEM file with the certificate it shows

	// Reply, set before the first connection, may answer a command instead of the good answer: "" leaves it. verb is in upper case; the
	// command "." is the end of the content. "hang" answers nothing.
	Reply func(verb, line string) string

	config   *tls.Config
	implicit bool
	listener net.Listener
	wg       sync.WaitGroup

	mu      sync.Mutex
	mails   []Mail
	conns   []net.Conn
	changed chan struct{}
}

// NewSMTP starts a smarthost that offers STARTTLS and AUTH PLAIN; implicit makes it speak TLS from the first byte.
func NewSMTP(tb testing.TB, implicit bool) *SMTP {
	tb.Helper()
	s := &SMTP{implicit: implicit, changed: make(chan struct{})}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "smarthost.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	s.CA = filepath.Join(tb.TempDir(), "ca.pem")
	if err := os.WriteFile(s.CA, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		tb.Fatal(err)
	}
	s.config = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		tb.Fatal(err)
	}
	s.Addr = s.listener.Addr().String()
	s.wg.Go(s.accept)
	tb.Cleanup(func() {
		s.listener.Close()
		s.mu.Lock()
		for _, c := range s.conns {
			c.Close()
		}
		s.mu.Unlock()
		s.wg.Wait()
	})
	return s
}

// Mails returns what was taken.
func (s *SMTP) Mails() []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mails)
}

// Wait returns the mails once there are at least n, or fails the test.
func (s *SMTP) Wait(tb testing.TB, n int) []Mail {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 20*time.Second)
	defer cancel()
	for {
		s.mu.Lock()
		got, changed := slices.Clone(s.mails), s.changed
		s.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-changed:
		case <-ctx.Done():
			tb.Fatalf("%d mails came, not %d", len(got), n)
		}
	}
}

func (s *SMTP) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns = append(s.conns, c)
		s.mu.Unlock()
		s.wg.Go(func() {
			defer c.Close()
			s.serve(c)
		})
	}
}

func (s *SMTP) serve(c net.Conn) {
	secure := false
	if s.implicit {
		c, secure = tls.Server(c, s.config), true
	}
	r := bufio.NewReader(c)
	say := func(text string) { fmt.Fprintf(c, "%s\r\n", text) }
	var m Mail
	auth := ""
	say("220 smarthost.test ESMTP")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, rest, _ := strings.Cut(line, " ")
		verb = strings.ToUpper(verb)
		if s.Reply != nil {
			if answer := s.Reply(verb, line); answer == "hang" {
				continue
			} else if answer != "" {
				say(answer)
				continue
			}
		}
		switch verb {
		case "EHLO":
			if secure {
				say("250-smarthost.test\r\n250-AUTH PLAIN\r\n250 8BITMIME")
			} else {
				say("250-smarthost.test\r\n250-STARTTLS\r\n250-AUTH PLAIN\r\n250 8BITMIME")
			}
		case "STARTTLS":
			say("220 go ahead")
			t := tls.Server(c, s.config)
			if t.Handshake() != nil {
				return
			}
			c, secure, r = t, true, bufio.NewReader(t)
		case "AUTH":
			_, response, _ := strings.Cut(rest, " ")
			plain, _ := base64.StdEncoding.DecodeString(response)
			auth = strings.ReplaceAll(strings.TrimPrefix(string(plain), "\x00"), "\x00", ":")
			say("235 2.7.0 ok")
		case "MAIL":
			m = Mail{From: inBrackets(rest), TLS: secure, Auth: auth}
			say("250 2.1.0 ok")
		case "RCPT":
			m.To = append(m.To, inBrackets(rest))
			say("250 2.1.5 ok")
		case "DATA":
			say("354 go ahead")
			var data strings.Builder
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				data.WriteString(strings.TrimPrefix(line, "."))
			}
			if s.Reply != nil {
				if answer := s.Reply(".", "."); answer != "" {
					say(answer)
					continue
				}
			}
			m.Data = data.String()
			s.mu.Lock()
			s.mails = append(s.mails, m)
			close(s.changed)
			s.changed = make(chan struct{})
			s.mu.Unlock()
			say("250 2.0.0 queued as 4TESTQUEUE")
		case "QUIT":
			say("221 2.0.0 bye")
			return
		case "RSET", "NOOP":
			say("250 2.0.0 ok")
		default:
			say("502 5.5.2 what?")
		}
	}
}

func inBrackets(s string) string {
	_, s, _ = strings.Cut(s, "<")
	s, _, _ = strings.Cut(s, ">")
	return s
}
