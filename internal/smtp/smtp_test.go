package smtp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/sparemx/sparemx/internal/smtp"
	"github.com/sparemx/sparemx/internal/smtptest"
)

func open(t *testing.T, s *smtptest.Server, d smtp.Dialer) *smtp.Conn {
	t.Helper()
	c, err := d.Dial(t.Context(), s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := c.Greeting(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.EHLO(t.Context(), "backup.example.net"); err != nil {
		t.Fatal(err)
	}
	return c
}

func to(addresses ...string) smtp.Envelope {
	env := smtp.Envelope{From: "ann@example.net"}
	for _, a := range addresses {
		env.Recipients = append(env.Recipients, smtp.Recipient{Address: a})
	}
	return env
}

var offers = map[string][]string{"plain": {"8BITMIME"}, "pipelining": {"PIPELINING"}, "both": {"PIPELINING", "CHUNKING"}, "chunking": {"CHUNKING"}}

func TestSend(t *testing.T) {
	const text = "Subject: x\r\n\r\n.\r\n..two\r\nlast\r\n"
	var many []string
	for i := range 173 {
		many = append(many, fmt.Sprintf("u%d@example.org", i))
	}
	for name, ext := range offers {
		t.Run(name, func(t *testing.T) {
			s := smtptest.Run(t, smtptest.Script{Extensions: ext, Rcpt: func(to string) string {
				if strings.HasPrefix(to, "bad") {
					return "550 5.1.1 no"
				}
				return ""
			}})
			c := open(t, s, smtp.Dialer{})
			for _, rcpts := range [][]string{{"a@example.org"}, {"bad@example.org", "b@example.org"}, many} {
				r, err := c.Send(t.Context(), to(rcpts...), strings.NewReader(text), int64(len(text)))
				if err != nil || r.Body.Code != 250 {
					t.Fatalf("%d recipients: %+v, %v", len(rcpts), r, err)
				}
				for i, rr := range r.Rcpt {
					if want := !strings.HasPrefix(rcpts[i], "bad"); rr.Positive() != want {
						t.Errorf("%s: %v", rcpts[i], rr)
					}
				}
			}
			r, err := c.Send(t.Context(), to("bad1@example.org", "bad2@example.org"), strings.NewReader(text), int64(len(text)))
			var e *smtp.Error
			if !errors.As(err, &e) || e.Kind != smtp.Refused || e.Step != smtp.StepRCPT || r.Rcpt[1].Enhanced != "5.1.1" {
				t.Errorf("all refused: %v", err)
			}
			if err := c.RSET(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Send(t.Context(), to("z@example.org"), strings.NewReader(text), -1); err != nil { // DATA
				t.Fatal(err)
			}
			if err := c.QUIT(t.Context()); err != nil {
				t.Fatal(err)
			}
			ms := s.Messages()
			if len(ms) != 4 || s.Connections() != 1 || len(ms[1].To) != 1 || len(ms[2].To) != len(many) {
				t.Fatalf("%d messages in %d connections", len(ms), s.Connections())
			}
			for _, m := range ms {
				if m.Body != text || m.From != "ann@example.net" {
					t.Errorf("got %q from %s", m.Body, m.From)
				}
			}
		})
	}
}

// The step and kind of each failure, in each way of sending.
func TestSendDefiniteFailures(t *testing.T) {
	for name, ext := range offers {
		for _, c := range []struct {
			script smtptest.Script
			step   smtp.Step
			kind   smtp.Kind
		}{
			{smtptest.Script{Replies: map[smtptest.Stage]string{smtptest.Mail: "452 4.3.1 full"}}, smtp.StepMAIL, smtp.Refused},
			{smtptest.Script{Replies: map[smtptest.Stage]string{smtptest.Body: "451 4.3.0 no"}}, smtp.StepBody, smtp.Refused},
			{smtptest.Script{Drop: smtptest.Body}, smtp.StepBody, smtp.Lost},
			{smtptest.Script{Drop: smtptest.Rcpt}, smtp.StepRCPT, smtp.Lost},
			{smtptest.Script{Hang: smtptest.Body}, smtp.StepBody, smtp.TimedOut},
		} {
			t.Run(fmt.Sprint(name, "/", c.step, "/", c.kind), func(t *testing.T) {
				t.Parallel()
				c.script.Extensions = ext
				s := smtptest.Run(t, c.script)
				conn := open(t, s, smtp.Dialer{Timeouts: smtp.Timeouts{Body: 100 * time.Millisecond}})
				_, err := conn.Send(t.Context(), to("a@example.org"), strings.NewReader("x\r\n"), 3)
				var e *smtp.Error
				if !errors.As(err, &e) || e.Step != c.step || e.Kind != c.kind {
					t.Errorf("got %#v", err)
				}
			})
		}
	}
}

// Half a message is never taken: when it cannot be read to its end the connection breaks before the end is said.
func TestHalfAMessageIsNotSent(t *testing.T) {
	for name, ext := range offers {
		for what, body := range map[string]io.Reader{
			"error": io.MultiReader(strings.NewReader("half\r\n"), iotest.ErrReader(errors.New("disk"))),
			"short": strings.NewReader("half\r\n"),
		} {
			s := smtptest.Run(t, smtptest.Script{Extensions: ext})
			if what == "short" && !slices.Contains(ext, "CHUNKING") {
				continue // DATA needs no size
			}
			c := open(t, s, smtp.Dialer{})
			_, err := c.Send(t.Context(), to("a@example.org"), body, 1000)
			var e *smtp.Error
			if !errors.As(err, &e) || e.Kind != smtp.Local || e.Step != smtp.StepBody {
				t.Errorf("%s, %s: %v", name, what, err)
			}
			if err := c.RSET(t.Context()); err == nil {
				t.Errorf("%s, %s: the connection lives on", name, what)
			}
			s.Stop()
			if m := s.Messages(); len(m) != 0 {
				t.Errorf("%s, %s: taken: %+v", name, what, m)
			}
		}
	}
}

func TestDataMendsBareLineEnds(t *testing.T) {
	s := smtptest.Run(t, smtptest.Script{})
	c := open(t, s, smtp.Dialer{})
	if _, err := c.Send(t.Context(), to("a@example.org"), iotest.OneByteReader(strings.NewReader("a\n.\nb\r.\r\r\n.\r\nMAIL FROM:<>\r")), -1); err != nil {
		t.Fatal(err)
	}
	if got, want := s.Messages()[0].Body, "a\r\n.\r\nb . \r\n.\r\nMAIL FROM:<> \r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestForward(t *testing.T) {
	s := smtptest.Run(t, smtptest.Script{})
	c := open(t, s, smtp.Dialer{})
	if err := c.XFORWARD(t.Context(), smtp.Attr{Name: "NAME", Value: "a b\r\nQUIT"}, smtp.Attr{Name: "ADDR", Value: "192.0.2.1"}); err != nil {
		t.Fatal(err)
	}
	if err := c.XCLIENT(t.Context(), smtp.Attr{Name: "HELO", Value: strings.Repeat("h", 250)}, smtp.Attr{Name: "NAME", Value: strings.Repeat("n", 250)}); err != nil {
		t.Fatal(err)
	}
	got := s.Commands()[1:]
	if len(got) != 3 || got[0] != "XFORWARD NAME=a+20b+0D+0AQUIT ADDR=192.0.2.1" || len(got[1]) > 510 || len(got[2]) > 510 {
		t.Errorf("got %q", got)
	}
}

func TestNoInjection(t *testing.T) {
	s := smtptest.Run(t, smtptest.Script{})
	c := open(t, s, smtp.Dialer{})
	before := len(s.Commands())
	isArgument := func(err error) {
		t.Helper()
		var e *smtp.Error
		if !errors.As(err, &e) || e.Kind != smtp.Argument {
			t.Errorf("got %v", err)
		}
	}
	for _, a := range []string{"a@b\r\nRSET", "a@b\nRSET", "a\x00@b", "a@b> NOTIFY=NEVER", "a b@c", `"x> NOTIFY=NEVER"@d\`, `"open@d`, `a"b"@c`, `"a"b@c`, "a@b\x7f", "\xff@b", strings.Repeat("a", 2000)} {
		_, err := c.Mail(t.Context(), a)
		isArgument(err)
		_, err = c.Rcpt(t.Context(), a)
		isArgument(err)
		_, err = c.Send(t.Context(), to("ok@example.org", a), strings.NewReader(""), 0)
		isArgument(err)
	}
	for _, p := range []string{"", "SIZE=1 X", "SIZE=1\r\nRSET", "=1", "SIZE=", "A=B=C", "-A", "A B"} {
		_, err := c.Mail(t.Context(), "a@b", p)
		isArgument(err)
	}
	_, err := c.Rcpt(t.Context(), "")
	isArgument(err)
	for _, h := range []string{"", "a b", "a\r\nQUIT", "ü"} {
		_, err := c.EHLO(t.Context(), h)
		isArgument(err)
	}
	if n := len(s.Commands()); n != before {
		t.Errorf("sent %q", s.Commands()[before:])
	}
	if _, err := c.Mail(t.Context(), `"x> NOTIFY=NEVER \" y"@example.org`, "SIZE=10", "BODY=8BITMIME"); err != nil {
		t.Errorf("a quoted local part: %v", err)
	}
}

func TestCanceled(t *testing.T) {
	s := smtptest.Run(t, smtptest.Script{Hang: smtptest.Mail})
	c := open(t, s, smtp.Dialer{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for len(s.Commands()) < 2 {
			<-s.Changed()
		}
		cancel()
	}()
	_, err := c.Mail(ctx, "")
	var e *smtp.Error
	if !errors.As(err, &e) || e.Kind != smtp.Canceled || e.Step != smtp.StepMAIL {
		t.Errorf("got %v", err)
	}
}

func TestExtensions(t *testing.T) {
	s := smtptest.Run(t, smtptest.Script{Extensions: []string{"size 1000", "AUTH=LOGIN", "XCLIENT NAME ADDR"}})
	c := open(t, s, smtp.Dialer{})
	if p, ok := c.Extension("xclient"); !ok || p != "NAME ADDR" || c.SizeLimit() != 1000 {
		t.Errorf("XCLIENT %q %v, SIZE %d", p, ok, c.SizeLimit())
	}
	if p, ok := c.Extension("AUTH"); !ok || p != "LOGIN" {
		t.Errorf("AUTH %q %v", p, ok)
	}
	if _, ok := c.Extension("PIPELINING"); ok {
		t.Error("not offered")
	}
}
