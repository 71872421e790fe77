package smtp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Mail begins a transaction. from is without <>, "" for the null sender; params are like "SIZE=1000", "BODY=8BITMIME".
func (c *Conn) Mail(ctx context.Context, from string, params ...string) (Reply, error) {
	line, err := pathCommand(StepMAIL, "MAIL FROM:<", from, params)
	if err != nil {
		return Reply{}, err
	}
	return c.command(ctx, StepMAIL, line)
}

// Rcpt adds a recipient. to is without <>.
func (c *Conn) Rcpt(ctx context.Context, to string, params ...string) (Reply, error) {
	if to == "" {
		return Reply{}, argument(StepRCPT, "an empty recipient")
	}
	line, err := pathCommand(StepRCPT, "RCPT TO:<", to, params)
	if err != nil {
		return Reply{}, err
	}
	return c.command(ctx, StepRCPT, line)
}

func pathCommand(step Step, verb, address string, params []string) (string, error) {
	if err := checkPath(step, address); err != nil {
		return "", err
	}
	for _, p := range params {
		if err := checkParam(step, p); err != nil {
			return "", err
		}
	}
	return strings.Join(append([]string{verb + address + ">"}, params...), " "), nil
}

// Envelope is whom a message is from and for.
type Envelope struct {
	From       string // "" for the null sender
	Params     []string
	Recipients []Recipient
}

// Recipient is one recipient, with its parameters ("NOTIFY=NEVER").
type Recipient struct {
	Address string
	Params  []string
}

// Receipt is what the server said to one message. A zero Reply: it was not asked, or did not answer.
type Receipt struct {
	Mail Reply
	Rcpt []Reply // one for each recipient, in order
	Data Reply   // to DATA; zero with BDAT
	Body Reply   // to the content: it alone tells that the recipients with a positive Rcpt have their message
}

// group is how many commands are written before their replies are read. RFC 2920 section 3.1 has the client mind the send window: this many
// fit any, so that neither side waits for the other with full buffers.
const group = 50

// Send does one transaction. Where PIPELINING is offered, MAIL, RCPT and DATA go in one write and a message costs two round trips; with
// CHUNKING too, and a size that is known (not negative), the content goes along by BDAT and it costs one. body is the message with CRLF line
// ends; DATA mends bare ones (LF to CRLF, CR to a space) and does the dots; BDAT sends exactly size octets as they are.
//
// The error is of the first failure that concerns the whole message; refused recipients are only in the Receipt. A body that cannot be read
// breaks the connection, for half a message must not be taken. After an error other than Refused or Argument the fate of the message is unknown.
func (c *Conn) Send(ctx context.Context, env Envelope, body io.Reader, size int64) (Receipt, error) {
	receipt := Receipt{Rcpt: make([]Reply, len(env.Recipients))}
	if len(env.Recipients) == 0 {
		return receipt, argument(StepRCPT, "no recipients")
	}
	line, err := pathCommand(StepMAIL, "MAIL FROM:<", env.From, env.Params)
	if err != nil {
		return receipt, err
	}
	type ask struct {
		line string
		step Step
		into *Reply
	}
	asks := []ask{{line, StepMAIL, &receipt.Mail}}
	for i, r := range env.Recipients {
		if r.Address == "" {
			return receipt, argument(StepRCPT, "an empty recipient")
		}
		if line, err = pathCommand(StepRCPT, "RCPT TO:<", r.Address, r.Params); err != nil {
			return receipt, err
		}
		asks = append(asks, ask{line, StepRCPT, &receipt.Rcpt[i]})
	}
	_, pipelining := c.Extension("PIPELINING")
	_, chunking := c.Extension("CHUNKING")
	chunking = chunking && size >= 0
	if !chunking {
		asks = append(asks, ask{"DATA", StepDATA, &receipt.Data})
	}
	n := 1
	if pipelining {
		n = group
	}
	sent := false // the content, along with the last group
	for len(asks) > 0 {
		some := asks[:min(n, len(asks))]
		asks = asks[len(some):]
		if some[len(some)-1].step == StepDATA && !pipelining && !anyPositive(receipt.Rcpt) {
			break // nobody to send it to
		}
		var b strings.Builder
		for _, a := range some {
			b.WriteString(a.line + "\r\n")
		}
		done := c.begin(ctx, some[0].step)
		if chunking && pipelining && len(asks) == 0 {
			done()
			done = c.begin(ctx, StepBody)
			err, sent = c.chunk(ctx, b.String(), body, size), true
		} else if _, err = io.WriteString(c.conn, b.String()); err != nil {
			err = fail(ctx, some[0].step, err)
		}
		for i := 0; i < len(some) && err == nil; i++ {
			c.setDeadline(ctx, c.timeouts.of(some[i].step))
			*some[i].into, err = c.reply(ctx, some[i].step)
		}
		done()
		if err != nil {
			return receipt, err
		}
		if !receipt.Mail.Positive() && !pipelining {
			break
		}
	}
	refused := c.refusal(receipt)
	switch {
	case chunking && (sent || refused == nil):
		done := c.begin(ctx, StepBody)
		defer done()
		if !sent {
			if err := c.chunk(ctx, "", body, size); err != nil {
				return receipt, err
			}
		}
	case receipt.Data.Code/100 == 3:
		done := c.begin(ctx, StepBody)
		defer done()
		if refused != nil { // RFC 2920 section 3.1: all recipients refused and DATA taken: a lone dot
			body = strings.NewReader("")
		}
		if err := c.content(ctx, body); err != nil {
			return receipt, err
		}
	default:
		return receipt, refused
	}
	c.setDeadline(ctx, c.timeouts.of(StepBody))
	if receipt.Body, err = c.reply(ctx, StepBody); err != nil {
		return receipt, err
	}
	if refused != nil {
		return receipt, refused
	}
	return receipt, refusal(StepBody, receipt.Body, nil)
}

func anyPositive(rs []Reply) bool { return slices.ContainsFunc(rs, Reply.Positive) }

// refusal is why the message as a whole cannot be sent, nil if it can.
func (c *Conn) refusal(r Receipt) error {
	switch {
	case !r.Mail.Positive():
		return &Error{Step: StepMAIL, Kind: Refused, Reply: r.Mail}
	case !anyPositive(r.Rcpt):
		return &Error{Step: StepRCPT, Kind: Refused, Reply: r.Rcpt[0]}
	case r.Data.Code != 0 && r.Data.Code/100 != 3:
		return &Error{Step: StepDATA, Kind: Refused, Reply: r.Data}
	}
	return nil
}

// chunk writes lead and then the whole content as one last chunk (RFC 3030).
func (c *Conn) chunk(ctx context.Context, lead string, body io.Reader, size int64) error {
	w := bufio.NewWriterSize(&blockWriter{ctx, c}, 32<<10)
	fmt.Fprintf(w, "%sBDAT %d LAST\r\n", lead, size)
	n, err := io.Copy(w, &source{r: io.LimitReader(body, size)})
	if err == nil && n < size {
		err = &sourceError{io.ErrUnexpectedEOF}
	}
	if err == nil {
		err = w.Flush()
	}
	return c.cut(ctx, err)
}

// content writes the content after DATA, dots doubled, and the dot that ends it (RFC 5321 section 4.5.2).
func (c *Conn) content(ctx context.Context, body io.Reader) error {
	w := bufio.NewWriterSize(&blockWriter{ctx, c}, 32<<10)
	d := dotWriter{w: w, start: true}
	_, err := io.Copy(&d, &source{r: body})
	if err == nil {
		if err = d.end(); err == nil {
			err = w.Flush()
		}
	}
	return c.cut(ctx, err)
}

// cut breaks the connection after an error in the content.
func (c *Conn) cut(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	c.Close()
	if e, ok := errors.AsType[*sourceError](err); ok {
		return &Error{Step: StepBody, Kind: Local, Err: fmt.Errorf("reading the message: %w", e.err)}
	}
	return fail(ctx, StepBody, err)
}

// source marks the errors of reading the message, which are ours and not the server's.
type source struct{ r io.Reader }

type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		err = &sourceError{err}
	}
	return n, err
}

// blockWriter gives each write its deadline (RFC 5321 section 4.5.3.2.5).
type blockWriter struct {
	ctx context.Context
	c   *Conn
}

func (b *blockWriter) Write(p []byte) (int, error) {
	d := b.c.timeouts.Block
	if d <= 0 {
		d = 3 * time.Minute
	}
	b.c.setDeadline(b.ctx, d)
	return b.c.conn.Write(p)
}

// dotWriter writes content as DATA wants it. No CR or LF but in CRLF leaves it (RFC 5321 section 2.3.8), so nothing in a message can pass
// for its end.
type dotWriter struct {
	w     *bufio.Writer
	start bool // at the start of a line
	cr    bool // a CR is held back
}

func (d *dotWriter) Write(p []byte) (int, error) {
	for _, b := range p {
		if d.cr && b != '\n' {
			d.w.WriteByte(' ')
			d.start = false
		}
		d.cr = b == '\r'
		switch {
		case b == '\r':
			continue
		case b == '\n':
			d.w.WriteString("\r\n")
			d.start = true
			continue
		case b == '.' && d.start:
			d.w.WriteByte('.')
		}
		d.start = false
		if err := d.w.WriteByte(b); err != nil { // bufio keeps the first error
			return 0, err
		}
	}
	return len(p), nil
}

func (d *dotWriter) end() error {
	if d.cr {
		d.w.WriteByte(' ')
		d.start = false
	}
	if !d.start {
		d.w.WriteString("\r\n")
	}
	_, err := d.w.WriteString(".\r\n")
	return err
}

// Attr is an attribute of XCLIENT or XFORWARD ("ADDR", "192.0.2.1").
type Attr struct{ Name, Value string }

// XCLIENT tells the server who the client was, as Postfix's XCLIENT_README has it; the server greets anew and EHLO is to be said again. Give only
// attributes the server offers.
func (c *Conn) XCLIENT(ctx context.Context, attrs ...Attr) error {
	return c.forward(ctx, StepXCLIENT, attrs)
}

// XFORWARD is XCLIENT for the log alone (XFORWARD_README); no greeting follows.
func (c *Conn) XFORWARD(ctx context.Context, attrs ...Attr) error {
	return c.forward(ctx, StepXFORWARD, attrs)
}

// forward splits what exceeds the 512 octets of a command, which both READMEs allow.
func (c *Conn) forward(ctx context.Context, step Step, attrs []Attr) error {
	line := step.String()
	for i, a := range attrs {
		word := a.Name + "=" + Xtext(a.Value)
		if err := checkParam(step, word); err != nil {
			return err
		}
		line += " " + word
		if i+1 < len(attrs) && len(line)+len(attrs[i+1].Name)+3*len(attrs[i+1].Value) < 500 {
			continue
		}
		if _, err := c.command(ctx, step, line); err != nil {
			return err
		}
		line = step.String()
	}
	return nil
}
