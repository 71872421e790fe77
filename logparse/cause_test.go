package logparse

import (
	"testing"

	"github.com/sparemx/sparemx/queue"
)

func TestCauseOf(t *testing.T) {
	said := func(s string) string {
		return "host mx.example.org[192.0.2.1] said: " + s + " (in reply to RCPT TO command)"
	}
	for _, c := range []struct {
		service, dsn, text string
		want               queue.Cause
	}{
		{"smtp", "4.4.1", "connect to mx[192.0.2.1]:25: Connection refused", queue.CauseRefused},
		{"smtp", "4.4.1", "connect to mx[192.0.2.1]:25: Connection timed out", queue.CauseTimeout},
		{"smtp", "4.4.1", "connect to mx[192.0.2.1]:25: No route to host", queue.CauseUnreachable},
		{"smtp", "4.4.1", "connect to mx[2001:db8::1]:25: Network is unreachable", queue.CauseUnreachable},
		{"lmtp", "4.4.1", "connect to mx2.example.net[private/dovecot-lmtp]: No such file or directory", queue.CauseLocal},
		{"error", "4.4.1", "delivery temporarily suspended: connect to mx[192.0.2.1]:25: Connection refused", queue.CauseSuspended},
		{"retry", "4.7.5", "delivery temporarily suspended: Server certificate not trusted", queue.CauseSuspended},
		{"error", "4.3.0", "mail transport unavailable", queue.CauseLocal},
		{"error", "5.1.1", "User unknown in relay recipient table", queue.CauseUnknownUser},
		{"smtp", "4.4.3", "Host or domain name not found. Name service error for name=example.org type=MX: Host not found, try again", queue.CauseDNS},
		{"smtp", "5.1.10", "Domain example.org does not accept mail (nullMX)", queue.CauseDNS},
		{"smtp", "4.4.2", "lost connection with mx[192.0.2.1] while receiving the initial server greeting", queue.CauseLost},
		{"smtp", "4.4.2", "conversation with mx[192.0.2.1] timed out while sending MAIL FROM", queue.CauseLost},
		{"smtp", "4.7.4", "TLS is required, but was not offered by host mx[192.0.2.1]", queue.CauseTLS},
		{"smtp", "4.7.5", "Server certificate not verified", queue.CauseTLS},
		{"smtp", "4.7.5", "Cannot start TLS: handshake failure", queue.CauseTLS},
		{"smtp", "5.7.0", said("530 5.7.0 Must issue a STARTTLS command first"), queue.CauseTLS},
		{"smtp", "5.4.6", "mail for example.org loops back to myself", queue.CauseLoop},
		{"smtp", "5.4.0", said("554 5.4.0 Error: too many hops"), queue.CauseLoop},
		{"smtp", "4.3.5", "unable to find primary relay for example.org", queue.CauseLocal},
		{"smtp", "4.3.2", "host mx[192.0.2.1] refused to talk to me: 421 4.3.2 Service not available", queue.CauseUnavailable},
		{"smtp", "4.7.0", "host mx[192.0.2.1] refused to talk to me: 421 4.7.0 mx Error: too many connections from 192.0.2.9", queue.CauseUnavailable},
		{"smtp", "5.7.1", "host mx[192.0.2.1] refused to talk to me: 554 5.7.1 Service unavailable; Client host [192.0.2.9] blocked using bl.example.org", queue.CausePolicy},
		{"smtp", "4.2.0", said("450 4.2.0 <u@example.org>: Recipient address rejected: Greylisted, see http://example.org/"), queue.CauseGreylisted},
		{"smtp", "4.7.1", said("451 4.7.1 Please try again later (Graylisting)"), queue.CauseGreylisted},
		{"smtp", "4.7.28", said("421 4.7.28 Our system has detected an unusual rate limit"), queue.CauseRate},
		{"smtp", "4.2.2", said("452 4.2.2 The email account is over quota"), queue.CauseMailboxFull},
		{"smtp", "5.2.2", said("552 5.2.2 <u@example.org>: quota"), queue.CauseMailboxFull},
		{"smtp", "4.3.1", said("452 4.3.1 Insufficient system storage"), queue.CauseTempfail},
		{"smtp", "4.5.3", said("452 4.5.3 Error: too many recipients"), queue.CauseTempfail},
		{"smtp", "5.1.1", said("550 5.1.1 <u@example.org>: Recipient address rejected: User unknown"), queue.CauseUnknownUser},
		{"smtp", "5.0.0", said("550 No such user here"), queue.CauseUnknownUser},
		{"smtp", "4.1.1", said("450 4.1.1 <u@example.org>: Recipient address rejected: unverified address: timeout"), queue.CauseUnverified},
		{"smtp", "5.7.26", said("550 5.7.26 This mail is unauthenticated"), queue.CausePolicy},
		{"smtp", "5.3.4", said("552 5.3.4 Message size exceeds fixed limit"), queue.CauseSize},
		{"smtp", "4.3.0", said("451 4.3.0 Temporary lookup failure"), queue.CauseTempfail},
		{"smtp", "4.0.0", said("451 oops"), queue.CauseTempfail},
		{"smtp", "5.0.0", said("554 no"), queue.CausePermfail},
		{"pipe", "4.3.0", "temporary failure. Command output: x", queue.CauseLocal},
		{"local", "4.2.2", "cannot update mailbox /var/mail/u for user u. error writing message: Disk quota exceeded", queue.CauseMailboxFull},
		{"local", "5.1.1", `unknown user: "u"`, queue.CauseUnknownUser},
		{"virtual", "4.2.0", "maildir delivery failed: create maildir file: Permission denied", queue.CauseTempfail},
		{"smtp", "", "", queue.CauseOther},
	} {
		ev := Event{Kind: Delivery, Status: Deferred, Service: []byte(c.service), DSN: queue.ParseCode(c.dsn), Reply: []byte(c.text)}
		if got := CauseOf(&ev); got != c.want {
			t.Errorf("%s %s %q: %v, want %v", c.service, c.dsn, c.text, got, c.want)
		}
	}
	for _, ev := range []Event{{}, {Kind: Delivery, Status: Sent, Reply: []byte("250 user unknown")}, {Kind: Removed}} {
		if got := CauseOf(&ev); got != queue.CauseNone {
			t.Errorf("%v: %v", ev.Kind, got)
		}
	}
}
