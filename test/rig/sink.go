package rig

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Behaviour is how a Sink treats its clients. The zero Behaviour takes everything at once.
type Behaviour struct {
	Greeting string        // in place of the 220: "421 4.3.2 not now" is said and the connection closed
	MaxConns int           // more connections at a time are greeted with 421; 0: no limit
	RCPT     string        // said to each RCPT in place of 250: "450 4.3.2 try again"
	MaxRate  int           // RCPT answered 450 beyond so many in one second; 0: no limit
	Think    time.Duration // before the reply to the end of data
	Drip     time.Duration // before each octet of a reply
	Hang     bool          // accept connections and say nothing
}

// Sink is a primary in Go that does what a Postfix cannot be told to do, and counts. It speaks PIPELINING.
type Sink struct {
	Addr string

	t    testing.TB
	mu   sync.Mutex
	l    net.Listener
	open map[net.Conn]bool
	how  Behaviour
	wg   sync.WaitGroup

	arrived map[string]int
	times   []time.Time // of each message taken
	refused []time.Time // of each refusal that ends an attempt: greeting 421, RCPT 450
	conns   int
	peak    int
	second  int64 // the Unix second that rate counts
	rate    int
}

// SinkCounts is what a Sink has counted since it was made or since Reset.
type SinkCounts struct {
	Connections int // accepted, those that were refused at once too
	Peak        int // most at a time that were not refused
	Taken       int // messages
	Refused     int // 421 greetings and 450 replies
}

// StartSink starts one. It listens until the test ends, but for gaps between Down and Up.
func StartSink(t testing.TB, how Behaviour) *Sink {
	t.Helper()
	s := StoppedSink(t, how)
	s.Up()
	return s
}

// StoppedSink makes one that does not listen yet.
func StoppedSink(t testing.TB, how Behaviour) *Sink {
	t.Helper()
	s := &Sink{Addr: primaryIP + ":" + itoa(Port(t)), t: t, how: how, open: map[net.Conn]bool{}, arrived: map[string]int{}}
	t.Cleanup(s.Down)
	return s
}

// Up opens the port.
func (s *Sink) Up() {
	s.t.Helper()
	l, err := net.Listen("tcp4", s.Addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	s.l = l
	s.mu.Unlock()
	s.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() { s.serve(conn) })
		}
	})
}

// Down closes the port and every connection, and waits until all of them have ended.
func (s *Sink) Down() {
	s.mu.Lock()
	if s.l != nil {
		s.l.Close()
		s.l = nil
	}
	for conn := range s.open {
		conn.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// Set changes how it treats its clients, from their next command on.
func (s *Sink) Set(how Behaviour) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.how = how
}

func (s *Sink) behaviour() Behaviour {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.how
}

// Arrived counts what was taken, by Message-ID.
func (s *Sink) Arrived() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.arrived)
}

// Counts returns what was counted.
func (s *Sink) Counts() SinkCounts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return SinkCounts{Connections: s.conns, Peak: s.peak, Taken: len(s.times), Refused: len(s.refused)}
}

// Times returns when each message was taken, and when each refusal was said.
func (s *Sink) Times() (taken, refused []time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]time.Time(nil), s.times...), append([]time.Time(nil), s.refused...)
}

// Reset forgets the counts, not the Message-IDs.
func (s *Sink) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns, s.peak, s.times, s.refused = 0, len(s.open), nil, nil
}

// enter counts a connection in, and tells whether it is one too many.
func (s *Sink) enter(conn net.Conn) (how Behaviour, full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns++
	if s.l == nil {
		conn.Close()
	}
	if s.how.MaxConns > 0 && len(s.open) >= s.how.MaxConns {
		s.refused = append(s.refused, time.Now())
		return s.how, true
	}
	s.open[conn] = true
	s.peak = max(s.peak, len(s.open))
	return s.how, false
}

func (s *Sink) serve(conn net.Conn) {
	defer conn.Close()
	how, full := s.enter(conn)
	if full {
		fmt.Fprint(conn, "421 4.7.0 mx1.test Error: too many connections\r\n")
		return
	}
	defer func() {
		s.mu.Lock()
		delete(s.open, conn)
		s.mu.Unlock()
	}()
	conn.SetDeadline(time.Now().Add(10 * time.Minute))
	if how.Hang {
		io.Copy(io.Discard, conn)
		return
	}
	r := bufio.NewReader(conn)
	say := func(line string) { s.say(conn, line) }
	if how.Greeting != "" {
		s.refuse()
		say(how.Greeting)
		return
	}
	say("220 mx1.test ESMTP")
	taken := 0 // recipients of this transaction
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		verb, _, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		switch strings.ToUpper(verb) {
		case "EHLO":
			say("250-mx1.test\r\n250-PIPELINING\r\n250-ENHANCEDSTATUSCODES\r\n250 8BITMIME")
		case "MAIL", "RSET":
			taken = 0
			say("250 2.0.0 Ok")
		case "RCPT":
			if reply := s.recipient(); reply != "" {
				s.refuse()
				say(reply)
				continue
			}
			taken++
			say("250 2.1.5 Ok")
		case "DATA":
			if taken == 0 {
				say("554 5.5.1 no valid recipients")
				continue
			}
			say("354 go on")
			id, err := readMessage(r)
			if err != nil {
				return
			}
			if think := s.behaviour().Think; think > 0 {
				time.Sleep(think)
			}
			s.mu.Lock()
			s.arrived[id]++
			s.times = append(s.times, time.Now())
			s.mu.Unlock()
			say("250 2.0.0 Ok: taken")
		case "QUIT":
			say("221 2.0.0 Bye")
			return
		default:
			say("250 2.0.0 Ok")
		}
	}
}

// say writes one reply, octet by octet if told to drip.
func (s *Sink) say(conn net.Conn, line string) {
	drip := s.behaviour().Drip
	line += "\r\n"
	if drip == 0 {
		io.WriteString(conn, line)
		return
	}
	for i := range len(line) {
		time.Sleep(drip)
		if _, err := io.WriteString(conn, line[i:i+1]); err != nil {
			return
		}
	}
}

func (s *Sink) refuse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = append(s.refused, time.Now())
}

// recipient returns the refusal for one RCPT, "" if it is taken.
func (s *Sink) recipient() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.how.RCPT != "" {
		return s.how.RCPT
	}
	if s.how.MaxRate > 0 {
		if now := time.Now().Unix(); now != s.second {
			s.second, s.rate = now, 0
		}
		if s.rate++; s.rate > s.how.MaxRate {
			return "450 4.7.1 Error: too much mail from 127.0.0.1"
		}
	}
	return ""
}

// readMessage reads up to the line with the dot and returns the Message-ID.
func readMessage(r *bufio.Reader) (id string, err error) {
	header := true
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", err
		}
		line = strings.TrimRight(line, "\r\n")
		if line == "." {
			return id, nil
		}
		if line == "" {
			header = false
		}
		if name, value, ok := strings.Cut(line, ":"); header && ok && strings.EqualFold(name, "Message-ID") {
			id = strings.TrimSpace(value)
		}
	}
}
