// Package smtptest holds scripted peers for tests: an SMTP server that misbehaves as told, and a DNS server that answers as told.
//
// Both listen on loopback only, record what they saw, and can be stopped and started again on the same port. They are for tests: nothing
// here is robust against a stranger.
package smtptest

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Stage is a point of the conversation at which a Script can do something.
type Stage string

const (
	Greeting Stage = "greeting"
	EHLO     Stage = "EHLO"
	StartTLS Stage = "STARTTLS"
	Mail     Stage = "MAIL"
	Rcpt     Stage = "RCPT"
	Data     Stage = "DATA" // the command
	Body     Stage = "body" // after the content
	Rset     Stage = "RSET"
	Quit     Stage = "QUIT"
)

// Script is how the server behaves. The zero Script takes everything.
type Script struct {
	Name       string                  // in greeting and EHLO; "": mx.test
	Extensions []string                // offered beside STARTTLS; nil: PIPELINING, 8BITMIME, ENHANCEDSTATUSCODES
	TLS        *tls.Config             // offers STARTTLS
	NoEHLO     bool                    // answers EHLO with 502, HELO with 250
	Replies    map[Stage]string        // instead of the usual reply, without the final CRLF; a 4xx or 5xx is a refusal
	Rcpt       func(to string) string  // reply to one recipient; "": the usual
	Delay      map[Stage]time.Duration // before the reply
	Hang       Stage                   // never replies at this stage, keeps the connection
	Drop       Stage                   // closes instead of replying; at Body: has taken the content and dies
	Drip       time.Duration           // between the octets of each reply
	MaxConns   int                     // 421 above so many at a time; 0: no limit
	DeferFirst int                     // 450 to the first so many RCPT commands
	DeferFor   time.Duration           // 450 to RCPT for so long after the start
}

// Message is one the server said 250 to, or died over.
type Message struct {
	From string
	To   []string
	Body string // as sent, dots unstuffed
	Conn int    // number of the connection, from 1
}

// Server is a scripted SMTP server.
type Server struct {
	Addr netip.AddrPort // set by Start and kept

	mu       sync.Mutex
	script   Script
	listener net.Listener
	conns    map[net.Conn]bool
	began    time.Time
	total    int
	peak     int
	rcpts    int
	commands []string
	messages []Message
	changed  chan struct{}
	wg       sync.WaitGroup
}

// Run starts a server on 127.0.0.1 and stops it when the test ends.
func Run(tb testing.TB, script Script) *Server { return RunOn(tb, script, "127.0.0.1:0") }

// RunOn is Run on a given address.
func RunOn(tb testing.TB, script Script, address string) *Server {
	tb.Helper()
	s := &Server{script: script, Addr: netip.MustParseAddrPort(address)}
	if err := s.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Stop)
	return s
}

// Start listens on Addr; after a Stop on the same port as before.
func (s *Server) Start() error {
	l, err := net.Listen("tcp", s.Addr.String())
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Addr = l.Addr().(*net.TCPAddr).AddrPort()
	s.listener, s.began, s.conns = l, time.Now(), make(map[net.Conn]bool)
	s.wg.Go(func() { s.accept(l) })
	return nil
}

// Stop closes the port and every connection, and waits for them.
func (s *Server) Stop() {
	s.mu.Lock()
	if s.listener != nil {
		s.listener.Close()
		s.listener = nil
	}
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// Set changes the script for what comes next.
func (s *Server) Set(script Script) { s.mu.Lock(); s.script = script; s.mu.Unlock() }

// Connections is how many there were.
func (s *Server) Connections() int { s.mu.Lock(); defer s.mu.Unlock(); return s.total }

// Peak is the most at a time.
func (s *Server) Peak() int { s.mu.Lock(); defer s.mu.Unlock(); return s.peak }

// Commands are the lines received, in order, of all connections.
func (s *Server) Commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.commands)
}

// Messages are those taken.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// Changed returns a channel that is closed when the next command, connection or message has been recorded.
func (s *Server) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

// record runs f under the lock and tells who waits.
func (s *Server) record(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

func (s *Server) now() Script { s.mu.Lock(); defer s.mu.Unlock(); return s.script }

func (s *Server) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		n, live := 0, 0
		s.record(func() {
			s.total++
			n = s.total
			s.conns[c] = true
			live = len(s.conns)
			s.peak = max(s.peak, live)
			if s.listener != l {
				c.Close()
			}
		})
		s.wg.Go(func() {
			t := &talk{s: s, raw: c, conn: c, r: bufio.NewReader(c), n: n}
			t.run(live)
			t.conn.Close()
			s.record(func() { delete(s.conns, c) })
		})
	}
}

// talk is one conversation.
type talk struct {
	s         *Server
	raw, conn net.Conn
	r         *bufio.Reader
	n         int
	m         Message
	inMail    bool
}

var errEnd = errors.New("end of the conversation")

// say replies at a stage as the script has it; reply is the usual one.
func (t *talk) say(at Stage, reply string) (refused bool, err error) {
	sc := t.s.now()
	if d := sc.Delay[at]; d > 0 {
		time.Sleep(d)
	}
	switch at {
	case "":
	case sc.Drop:
		return true, errEnd
	case sc.Hang:
		io.Copy(io.Discard, t.r)
		return true, errEnd
	}
	if r, ok := sc.Replies[at]; ok {
		reply = r
	}
	b := []byte(reply + "\r\n")
	if sc.Drip == 0 {
		_, err = t.conn.Write(b)
	}
	for i := 0; sc.Drip > 0 && i < len(b) && err == nil; i++ {
		time.Sleep(sc.Drip)
		_, err = t.conn.Write(b[i : i+1])
	}
	return reply != "" && (reply[0] == '4' || reply[0] == '5'), err
}

func (t *talk) run(live int) {
	sc := t.s.now()
	name := sc.Name
	if name == "" {
		name = "mx.test"
	}
	if sc.MaxConns > 0 && live > sc.MaxConns {
		t.say("", "421 4.7.0 "+name+" too many connections")
		return
	}
	if refused, err := t.say(Greeting, "220 "+name+" ESMTP"); err != nil || refused {
		return
	}
	for {
		line, err := t.r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		t.s.record(func() { t.s.commands = append(t.s.commands, line) })
		if t.command(line, name) != nil {
			return
		}
	}
}

func (t *talk) command(line, name string) (err error) {
	sc := t.s.now()
	verb, rest, _ := strings.Cut(line, " ")
	switch strings.ToUpper(verb) {
	case "EHLO":
		if sc.NoEHLO {
			_, err = t.say("", "502 5.5.1 not implemented")
			return err
		}
		ext := sc.Extensions
		if ext == nil {
			ext = []string{"PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES"}
		}
		if sc.TLS != nil && t.conn == t.raw {
			ext = append(slices.Clone(ext), "STARTTLS")
		}
		lines := append([]string{name}, ext...)
		for i := range lines {
			sep := "-"
			if i == len(lines)-1 {
				sep = " "
			}
			lines[i] = "250" + sep + lines[i]
		}
		_, err = t.say(EHLO, strings.Join(lines, "\r\n"))
	case "HELO":
		_, err = t.say(EHLO, "250 "+name)
	case "STARTTLS":
		refused := false
		if refused, err = t.say(StartTLS, "220 2.0.0 go ahead"); err == nil && !refused && sc.TLS != nil {
			tc := tls.Server(t.conn, sc.TLS)
			if err = tc.Handshake(); err == nil {
				t.conn, t.r = tc, bufio.NewReader(tc)
			}
		}
	case "MAIL":
		refused := false
		refused, err = t.say(Mail, "250 2.1.0 ok")
		t.inMail = !refused
		t.m = Message{From: path(rest), Conn: t.n}
	case "RCPT":
		err = t.rcpt(sc, path(rest))
	case "DATA":
		if len(t.m.To) == 0 {
			_, err = t.say("", "554 5.5.1 no valid recipients")
			return err
		}
		refused := false
		if refused, err = t.say(Data, "354 go ahead"); err == nil && !refused {
			err = t.body()
		}
	case "BDAT":
		err = t.bdat(rest)
	case "XFORWARD":
		_, err = t.say("", "250 2.0.0 ok")
	case "XCLIENT":
		_, err = t.say("", "220 "+name+" ESMTP")
	case "RSET":
		t.m, t.inMail = Message{}, false
		_, err = t.say(Rset, "250 2.0.0 ok")
	case "QUIT":
		if _, err = t.say(Quit, "221 2.0.0 bye"); err == nil {
			err = errEnd
		}
	default:
		_, err = t.say("", "500 5.5.2 unknown command")
	}
	return err
}

func (t *talk) rcpt(sc Script, to string) error {
	reply := "250 2.1.5 ok"
	t.s.record(func() {
		t.s.rcpts++
		if t.s.rcpts <= sc.DeferFirst || time.Since(t.s.began) < sc.DeferFor {
			reply = "450 4.2.0 try again later"
		}
	})
	if sc.Rcpt != nil {
		if r := sc.Rcpt(to); r != "" {
			reply = r
		}
	}
	if !t.inMail {
		reply = "503 5.5.1 MAIL first"
	}
	refused, err := t.say(Rcpt, reply)
	if !refused {
		t.m.To = append(t.m.To, to)
	}
	return err
}

func (t *talk) body() error {
	var b strings.Builder
	for {
		line, err := t.r.ReadString('\n')
		if err != nil {
			return err
		}
		if line == ".\r\n" {
			t.m.Body = b.String()
			return t.taken()
		}
		b.WriteString(strings.TrimPrefix(line, "."))
	}
}

func (t *talk) bdat(rest string) error {
	size, last, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(size)
	if err != nil || n < 0 || n > 1<<26 {
		_, err = t.say("", "501 5.5.4 bad size")
		return err
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(t.r, b); err != nil {
		return err
	}
	if len(t.m.To) == 0 {
		_, err = t.say("", "503 5.5.1 no valid recipients")
		return err
	}
	t.m.Body += string(b)
	if !strings.EqualFold(last, "LAST") {
		_, err = t.say("", "250 2.0.0 more")
		return err
	}
	return t.taken()
}

func (t *talk) taken() error {
	m := t.m
	t.m, t.inMail = Message{}, false
	if r := t.s.now().Replies[Body]; r == "" || r[0] == '2' {
		t.s.record(func() { t.s.messages = append(t.s.messages, m) })
	}
	_, err := t.say(Body, fmt.Sprintf("250 2.0.0 taken as %d", t.n))
	return err
}

// path returns what is between < and the > that ends it.
func path(s string) string {
	_, s, _ = strings.Cut(s, "<")
	if i := strings.LastIndexByte(s, '>'); i >= 0 {
		s = s[:i]
	}
	return s
}
