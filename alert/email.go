package alert

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wneessen/go-mail"
)

// email sends over a smarthost, one transaction a recipient: one who is refused does not keep the others from hearing of it.
type email struct{ config EmailConfig }

func (*email) name() string      { return "email" }
func (e *email) filter() *Filter { return &e.config.Filter }
func (*email) traits() traits    { return traits{} }

func (e *email) send(ctx context.Context, m message) (receipt, error) {
	var red redactor
	fail := func(key string, err error) (receipt, error) {
		return receipt{ref: m.ref}, &trouble{what: Clean("alert.email."+key+": "+red.text(err.Error()), 300)}
	}
	host, portText, err := net.SplitHostPort(e.config.Smarthost)
	if err != nil {
		return fail("smarthost", err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return fail("smarthost", err)
	}
	roots := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if e.config.CA != "" {
		pem, err := os.ReadFile(e.config.CA)
		if err != nil {
			return fail("ca", err)
		}
		roots.RootCAs = x509.NewCertPool()
		if !roots.RootCAs.AppendCertsFromPEM(pem) {
			return fail("ca", fmt.Errorf("%s holds no certificate: write PEM", e.config.CA))
		}
	}
	// The library leaves the connection open when a greeting or a login fails; so the connection is ours, and ends with this function and with ctx.
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		conns = append(conns, c)
		if e.config.TLS != "tls" {
			return c, nil
		}
		t := tls.Client(c, roots)
		return t, t.HandshakeContext(ctx)
	}
	options := []mail.Option{mail.WithPort(port), mail.WithTimeout(sendTimeout), mail.WithTLSConfig(roots), mail.WithDialContextFunc(dial)}
	switch e.config.TLS {
	case "none":
		options = append(options, mail.WithTLSPolicy(mail.NoTLS))
	case "tls":
		options = append(options, mail.WithSSL())
	default:
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	if m.host != "" {
		options = append(options, mail.WithHELO(m.host))
	}
	if e.config.User != "" {
		password, err := readSecret(e.config.PasswordFile)
		if err != nil {
			return fail("password_file", err)
		}
		red.hide(password, "\x00"+e.config.User+"\x00"+password)
		// PLAIN and LOGIN are refused by the library itself where the connection is not encrypted.
		options = append(options, mail.WithOpportunisticSMTPAuth(mail.SMTPAuthSCRAMSHA256, mail.SMTPAuthSCRAMSHA1, mail.SMTPAuthPlain, mail.SMTPAuthLogin),
			mail.WithUsername(e.config.User), mail.WithPassword(password))
	}
	client, err := mail.NewClient(host, options...)
	if err != nil {
		return fail("smarthost", err)
	}
	trouble := func(err error, refused bool) *trouble {
		return &trouble{what: Clean(red.text(e.config.Smarthost)+": "+red.error(err), 300), refused: refused}
	}

	done := emailRef(m.ref, m.id) // who has this very message already
	var todo []string
	for _, to := range e.config.To {
		addr, err := address(to)
		if err != nil {
			return fail("to", err)
		}
		if !slices.Contains(done, addr) {
			todo = append(todo, addr)
		}
	}
	stop := context.AfterFunc(ctx, func() {
		for _, c := range conns {
			c.SetDeadline(time.Unix(1, 0))
		}
	})
	conn, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		stop()
		return receipt{ref: m.ref}, trouble(err, false)
	}
	defer stop()
	var failed []error
	temporary := false
	detail := ""
	for _, to := range todo {
		msg, err := e.compose(m, to)
		if err != nil {
			stop()
			return receipt{ref: m.ref}, trouble(err, true)
		}
		if err := client.SendWithSMTPClient(conn, msg); err != nil {
			var se *mail.SendError
			if errors.As(err, &se) {
				temporary = temporary || se.IsTemp() || se.ErrorCode()/100 != 5
			} else {
				temporary = true
			}
			if msg.IsDelivered() { // only the RSET after it went wrong
				done = append(done, to)
				detail = red.text(msg.ServerResponse())
				continue
			}
			failed = append(failed, err)
			continue
		}
		done = append(done, to)
		detail = red.text(msg.ServerResponse())
	}
	client.CloseWithSMTPClient(conn) // QUIT; what was taken is taken
	ref := m.id + " " + strings.Join(done, " ")
	switch {
	case len(failed) == 0:
		return receipt{ref: ref, detail: detail}, nil
	case !temporary && len(done) > 0: // somebody was told, and the others will not be by trying again
		return receipt{ref: ref, detail: detail, warning: trouble(errors.Join(failed...), false).what}, nil
	default:
		return receipt{ref: ref}, trouble(errors.Join(failed...), !temporary)
	}
}

// emailRef returns who has the message with that id, as the receipt of an attempt before has it.
func emailRef(ref, id string) []string {
	f := strings.Fields(ref)
	if len(f) == 0 || f[0] != id {
		return nil
	}
	return f[1:]
}

// compose makes the mail. All headers are ours or cleaned of line ends; the library encodes them (RFC 2047).
func (e *email) compose(m message, to string) (*mail.Msg, error) {
	from, err := netmail.ParseAddress(e.config.From)
	if err != nil {
		return nil, fmt.Errorf("alert.email.from: %w", err)
	}
	msg := mail.NewMsg(mail.WithNoDefaultUserAgent())
	if from.Name == "" {
		from.Name = "sparemx"
		if m.host != "" {
			from.Name += " on " + m.host
		}
	}
	if err := msg.FromFormat(from.Name, from.Address); err != nil {
		return nil, err
	}
	if err := msg.EnvelopeFrom(from.Address); err != nil {
		return nil, err
	}
	if err := msg.To(to); err != nil {
		return nil, err
	}
	domain := from.Address[strings.LastIndexByte(from.Address, '@')+1:]
	root := m.incident + "@" + domain
	id := m.id + "@" + domain
	if m.began {
		id = root
	} else {
		// All of one incident hang below its first message (RFC 5322 section 3.6.4).
		msg.SetGenHeader(mail.HeaderReferences, "<"+root+">")
		msg.SetGenHeader(mail.HeaderInReplyTo, "<"+root+">")
	}
	msg.SetMessageIDWithValue(id)
	msg.SetDateWithValue(m.now)
	msg.Subject(Clean("["+stateWord(m)+"] "+m.notice.Title, 250))
	msg.SetGenHeader("Auto-Submitted", "auto-generated")      // RFC 3834 section 5
	msg.SetGenHeader(mail.HeaderXAutoResponseSuppress, "All") // the same for Exchange
	msg.SetGenHeader("X-Sparemx-Incident", m.incident)
	if m.worst == Critical && !m.resolved {
		msg.SetImportance(mail.ImportanceHigh)
	}
	msg.SetBodyString(mail.TypeTextPlain, mailText(m))
	msg.AddAlternativeString(mail.TypeTextHTML, mailHTML(m))
	return msg, nil
}
