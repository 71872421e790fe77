package rig

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

func itoa(n int) string { return strconv.Itoa(n) }

// Load is mail to send.
type Load struct {
	N     int    // how many messages, one recipient each
	To    string // "user@example.org"; with "%d" in it each message gets another recipient
	From  string // default "sender@example.net"; "<>" is the null sender
	Size  int    // octets of body, default 200
	Conns int    // connections at a time, default 4
}

// Inject sends load to the SMTP server at addr and tells truth what was answered 250. The first message that is
// refused ends it with an error. Postfix 3.7 here takes about 1,000 messages a second this way.
func Inject(addr string, load Load, truth *Truth) error {
	if load.From == "" {
		load.From = "sender@example.net"
	}
	if load.Size == 0 {
		load.Size = 200
	}
	if load.Conns == 0 {
		load.Conns = 4
	}
	run := fmt.Sprintf("%x", rand.Uint64())
	var wg sync.WaitGroup
	errs := make([]error, load.Conns)
	for c := range load.Conns {
		wg.Go(func() { errs[c] = injectSome(addr, load, truth, run, c) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// injectSome sends each Conns-th message, from the one numbered first on.
func injectSome(addr string, load Load, truth *Truth, run string, first int) error {
	if first >= load.N {
		return nil
	}
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * time.Minute))
	c := &client{conn: conn, r: bufio.NewReader(conn)}
	if _, err := c.expect(220); err != nil {
		return err
	}
	if _, err := c.say(250, "EHLO client.test"); err != nil {
		return err
	}
	body := bytes.Repeat([]byte("All work and no play makes a dull test of the post.\r\n"), load.Size/53+1)[:load.Size]
	from := strings.Trim(load.From, "<>")
	for i := first; i < load.N; i += load.Conns {
		to := load.To
		if strings.Contains(to, "%d") {
			to = fmt.Sprintf(to, i)
		}
		msgid := fmt.Sprintf("<%s.%d@rig.test>", run, i)
		if _, err := fmt.Fprintf(conn, "MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nDATA\r\n", from, to); err != nil {
			return err
		}
		var refused error
		for _, want := range []int{250, 250, 354} {
			if _, err := c.expect(want); err != nil && refused == nil {
				refused = err
			}
		}
		if refused != nil {
			return refused
		}
		if _, err := fmt.Fprintf(conn, "From: <%s>\r\nTo: <%s>\r\nSubject: message %d\r\nMessage-ID: %s\r\nDate: %s\r\n\r\n%s\r\n.\r\n",
			from, to, i, msgid, time.Now().Format(time.RFC1123Z), body); err != nil {
			return err
		}
		text, err := c.expect(250)
		if err != nil {
			return err
		}
		_, qid, _ := strings.Cut(text, "queued as ")
		truth.add(Sent{MessageID: msgid, QueueID: strings.TrimSpace(qid), To: to, At: time.Now()})
	}
	_, err = c.say(221, "QUIT")
	return err
}

// client is the little of SMTP that sending takes.
type client struct {
	conn net.Conn
	r    *bufio.Reader
}

func (c *client) say(want int, line string) (string, error) {
	if _, err := fmt.Fprintf(c.conn, "%s\r\n", line); err != nil {
		return "", err
	}
	return c.expect(want)
}

// expect reads one reply and returns its last line.
func (c *client) expect(want int) (string, error) {
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return "", err
		}
		line = strings.TrimRight(line, "\r\n")
		if len(line) > 3 && line[3] == '-' {
			continue
		}
		if !strings.HasPrefix(line, itoa(want)) {
			return line, fmt.Errorf("expected %d, got %q", want, line)
		}
		return line, nil
	}
}

// Inject sends load to it, and fails the test if something was not taken.
func (p *Postfix) Inject(load Load, truth *Truth) {
	p.t.Helper()
	if err := Inject(p.Addr, load, truth); err != nil {
		p.t.Fatalf("inject into %s: %v", p.Name, err)
	}
}
