// Package smtp is our outbound SMTP conversation: what a probe, a call-out, a delivery and a rehearsal say to a server.
//
// A [Dialer] opens a [Conn]; its methods are the steps, in the order of RFC 5321 section 3. Each has a deadline of its own and ends with
// the caller's context at the latest, each is timed, and each failure is an [*Error] that tells the step, the kind, and the reply.
//
// Hazards. Text of replies comes from strangers. After an I/O error the Conn is of no more use; after a Refused one it is. What a caller
// gives as an argument can never become a second command or parameter. A Conn is for one goroutine.
package smtp

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Dialer opens connections. The zero Dialer works.
type Dialer struct {
	Bind4, Bind6 netip.Addr // local address by family; zero: the system's choice
	Timeouts     Timeouts
	// DialContext opens the connection; nil: net.Dialer, bound to Bind4 or Bind6.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
}

// Conn is one conversation.
type Conn struct {
	conn     net.Conn
	r        *bufio.Reader
	timeouts Timeouts
	timings  [NumSteps]time.Duration
	ext      map[string]string // from EHLO: keyword in upper case to parameters
	banner   string            // first word of the greeting
	greets   string            // first word of the reply to EHLO
	tls      *tls.ConnectionState
}

// Dial connects to addr. The greeting is not read yet.
func (d *Dialer) Dial(ctx context.Context, addr netip.AddrPort) (*Conn, error) {
	c := &Conn{timeouts: d.Timeouts}
	start := time.Now()
	dial := d.DialContext
	if dial == nil {
		nd := net.Dialer{KeepAlive: -1}
		if bind := d.bind(addr.Addr()); bind.IsValid() {
			nd.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(bind, 0))
		}
		dial = nd.DialContext
	}
	dctx, cancel := context.WithTimeout(ctx, c.timeouts.of(StepConnect))
	defer cancel()
	conn, err := dial(dctx, "tcp", addr.String())
	c.timings[StepConnect] = time.Since(start)
	if err != nil {
		return nil, fail(ctx, StepConnect, err)
	}
	c.attach(conn)
	return c, nil
}

func (d *Dialer) bind(a netip.Addr) netip.Addr {
	if a.Unmap().Is4() {
		return d.Bind4
	}
	return d.Bind6
}

func (c *Conn) attach(conn net.Conn) {
	c.conn = conn
	c.r = bufio.NewReaderSize(conn, 4096)
}

// Timings are the durations of the steps taken; of one taken several times, the last.
func (c *Conn) Timings() [NumSteps]time.Duration { return c.timings }

// Banner is the name the server greets with; raw.
func (c *Conn) Banner() string { return c.banner }

// HelloName is the name the server answers EHLO with; raw.
func (c *Conn) HelloName() string { return c.greets }

// TLS is the state of TLS, nil in clear.
func (c *Conn) TLS() *tls.ConnectionState { return c.tls }

// Extension returns the parameters of an extension offered, by its keyword ("SIZE"). A server asked by HELO offers none.
func (c *Conn) Extension(keyword string) (params string, offered bool) {
	params, offered = c.ext[strings.ToUpper(keyword)]
	return params, offered
}

// LocalAddr and RemoteAddr are the ends of the connection.
func (c *Conn) LocalAddr() net.Addr { return c.conn.LocalAddr() }

// RemoteAddr is the server's end.
func (c *Conn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// Close closes the connection without a word.
func (c *Conn) Close() error { return c.conn.Close() }

// begin sets the deadline of a step and has it cut short when ctx ends. The function returned ends the step.
func (c *Conn) begin(ctx context.Context, step Step) func() {
	start := time.Now()
	c.setDeadline(ctx, c.timeouts.of(step))
	conn := c.conn
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	return func() {
		stop()
		c.timings[step] = time.Since(start)
	}
}

func (c *Conn) setDeadline(ctx context.Context, d time.Duration) {
	deadline := time.Now().Add(d)
	if end, ok := ctx.Deadline(); ok && end.Before(deadline) {
		deadline = end
	}
	c.conn.SetDeadline(deadline)
	if ctx.Err() != nil { // it ended between AfterFunc of an earlier step and now
		c.conn.SetDeadline(time.Unix(1, 0))
	}
}

// reply reads a reply within a step that has begun.
func (c *Conn) reply(ctx context.Context, step Step) (Reply, error) {
	r, err := readReply(c.r)
	if err != nil {
		return Reply{}, fail(ctx, step, err)
	}
	return r, nil
}

// command sends one line and reads the reply. A refusal is an error, with the reply.
func (c *Conn) command(ctx context.Context, step Step, line string) (Reply, error) {
	if strings.ContainsAny(line, "\r\n\x00") {
		return Reply{}, argument(step, "a line break or NUL in a command")
	}
	defer c.begin(ctx, step)()
	if _, err := c.conn.Write([]byte(line + "\r\n")); err != nil {
		return Reply{}, fail(ctx, step, err)
	}
	r, err := c.reply(ctx, step)
	return r, refusal(step, r, err)
}

func refusal(step Step, r Reply, err error) error {
	if err == nil && !r.Positive() {
		return &Error{Step: step, Kind: Refused, Reply: r}
	}
	return err
}

// Greeting reads the greeting.
func (c *Conn) Greeting(ctx context.Context) (Reply, error) {
	defer c.begin(ctx, StepGreeting)()
	r, err := c.reply(ctx, StepGreeting)
	if len(r.Lines) > 0 {
		c.banner = firstWord(r.Lines[0])
	}
	return r, refusal(StepGreeting, r, err)
}

// EHLO says who we are, by HELO when EHLO is refused for good (RFC 5321 section 3.2), and learns the extensions.
func (c *Conn) EHLO(ctx context.Context, name string) (Reply, error) {
	if err := checkWord(StepEHLO, name); err != nil {
		return Reply{}, err
	}
	c.ext = nil
	r, err := c.command(ctx, StepEHLO, "EHLO "+name)
	if err == nil && len(r.Lines) > 1 {
		c.ext = make(map[string]string, len(r.Lines))
		for _, l := range r.Lines[1:] {
			keyword, params, _ := strings.Cut(strings.TrimSpace(l), " ")
			keyword = strings.ToUpper(keyword)
			if rest, ok := strings.CutPrefix(keyword, "AUTH="); ok { // an old form of "AUTH LOGIN"
				keyword, params = "AUTH", rest
			}
			c.ext[keyword] = params
		}
	}
	if err != nil && r.Code >= 500 {
		r, err = c.command(ctx, StepEHLO, "HELO "+name)
	}
	if len(r.Lines) > 0 {
		c.greets = firstWord(r.Lines[0])
	}
	return r, err
}

// SizeLimit is the server's limit in octets (RFC 1870), 0 when it has or tells none.
func (c *Conn) SizeLimit() int64 {
	n, err := strconv.ParseInt(c.ext["SIZE"], 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// RSET aborts the transaction.
func (c *Conn) RSET(ctx context.Context) error {
	_, err := c.command(ctx, StepRSET, "RSET")
	return err
}

// QUIT takes leave and closes, whatever the server says to that.
func (c *Conn) QUIT(ctx context.Context) error {
	defer c.Close()
	_, err := c.command(ctx, StepQUIT, "QUIT")
	return err
}

func firstWord(s string) string {
	word, _, _ := strings.Cut(strings.TrimSpace(s), " ")
	return word
}
