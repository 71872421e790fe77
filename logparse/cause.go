package logparse

import (
	"bytes"

	"github.com/sparemx/sparemx/queue"
)

// CauseOf puts a line's failure into our bounded classes, from who logged it, its enhanced code and its text. The text is a
// stranger's, so it only ever chooses among the classes. CauseNone for what was delivered or is no failure.
func CauseOf(ev *Event) queue.Cause {
	switch ev.Kind {
	case ExpiredLine:
		return queue.CauseExpired
	case ConnectFailed:
		return connectCause(ev.Reply)
	case Reject, MilterReject:
		return replyCause(ev.Reply, ev.Code, ev.DSN, true)
	case Delivery:
	default:
		return queue.CauseNone
	}
	switch ev.Status {
	case Sent, Deliverable:
		return queue.CauseNone
	case StatusExpired:
		return queue.CauseExpired
	}
	text := ev.Reply
	// qmgr_error.c, defer_append.c: what stands behind it is why the destination was first found dead, also when that was an hour ago.
	if hasPrefix(text, "delivery temporarily suspended") {
		return queue.CauseSuspended
	}
	switch string(ev.Service) {
	case "smtp", "lmtp":
		return smtpCause(text, ev.DSN)
	case "error", "retry", "qmgr", "oqmgr", "nqmgr": // also verbatim what smtp said, or what the operator wrote into transport_maps
		return smtpCause(text, ev.DSN)
	}
	if ev.DSN.Class == 4 && ev.DSN.Subject == 3 && ev.DSN.Detail != 4 || hasFold(text, "temporary failure. command output") && ev.DSN.Subject == 3 {
		return queue.CauseLocal
	}
	return replyCause(text, 0, ev.DSN, false)
}

// smtpCause reads the texts of Postfix src/smtp/smtp_connect.c, smtp_addr.c, smtp_trouble.c, smtp_tls_*.c.
func smtpCause(text []byte, dsn queue.Code) queue.Cause {
	switch {
	case hasPrefix(text, "connect to "):
		return connectCause(text)
	case hasPrefix(text, "host "):
		if i := bytes.Index(text, []byte(" said: ")); i > 0 {
			return serverCause(text[i+len(" said: "):], dsn)
		}
		if i := bytes.Index(text, []byte(" refused to talk to me: ")); i > 0 {
			return serverCause(text[i+len(" refused to talk to me: "):], dsn)
		}
	case hasPrefix(text, "lost connection with "), hasPrefix(text, "conversation with "):
		return queue.CauseLost
	case hasPrefix(text, "Host or domain name not found"), hasPrefix(text, "Host not found"), hasPrefix(text, "unable to look up host"),
		hasPrefix(text, "Domain not found"), hasPrefix(text, "Name service error"), hasPrefix(text, "Malformed DNS server reply"),
		hasPrefix(text, "no MX host for "), hasPrefix(text, "Domain ") && dsn == (queue.Code{Class: 5, Subject: 1, Detail: 10}),
		bytes.Contains(text, []byte("does not accept mail (nullMX)")):
		return queue.CauseDNS
	case hasPrefix(text, "mail for ") && bytes.Contains(text, []byte(" loops back to myself")):
		return queue.CauseLoop
	case hasPrefix(text, "TLS "), hasPrefix(text, "Cannot start TLS"), hasPrefix(text, "Server certificate"), hasPrefix(text, "server certificate"),
		hasPrefix(text, "non DNSSEC"), hasPrefix(text, "no TLSA records"), hasPrefix(text, "TLSA"), hasPrefix(text, "REQUIRETLS"):
		return queue.CauseTLS
	case hasPrefix(text, "mail transport unavailable"), hasPrefix(text, "unknown mail transport error"):
		return queue.CauseLocal
	}
	if dsn.Subject == 7 && (dsn.Detail == 4 || dsn.Detail == 5 || dsn.Detail == 10 || dsn.Detail == 11) {
		return queue.CauseTLS
	}
	if dsn.Class == 4 && dsn.Subject == 3 { // ours: "mail system configuration error", "unable to find primary relay", queue file trouble
		return queue.CauseLocal
	}
	return replyCause(text, 0, dsn, false)
}

// connectCause reads a line's or a reply's last words: strerror(3) of connect(2).
func connectCause(text []byte) queue.Cause {
	switch {
	case bytes.HasSuffix(text, []byte("Connection refused")):
		return queue.CauseRefused
	case bytes.HasSuffix(text, []byte("timed out")):
		return queue.CauseTimeout
	case bytes.HasSuffix(text, []byte("No route to host")), bytes.HasSuffix(text, []byte(" is unreachable")), bytes.HasSuffix(text, []byte(" is down")):
		return queue.CauseUnreachable
	case bytes.HasSuffix(text, []byte("Connection reset by peer")), bytes.HasSuffix(text, []byte("Broken pipe")):
		return queue.CauseLost
	case bytes.HasSuffix(text, []byte("No such file or directory")), bytes.HasSuffix(text, []byte("Permission denied")),
		bytes.HasSuffix(text, []byte("Cannot assign requested address")):
		return queue.CauseLocal
	}
	return queue.CauseOther
}

// serverCause reads what an SMTP server said: "450 4.1.1 text (in reply to RCPT TO command)".
func serverCause(text []byte, dsn queue.Code) queue.Cause {
	code := 0
	if len(text) > 3 && (text[3] == ' ' || text[3] == '-') {
		code = number(text[:3])
	}
	return replyCause(text, code, dsn, true)
}

func replyCause(text []byte, code int, dsn queue.Code, server bool) queue.Cause {
	subject, detail := dsn.Subject, dsn.Detail
	switch {
	case hasFold(text, "greylist"), hasFold(text, "graylist"), hasFold(text, "grey-list"), hasFold(text, "grey list"):
		return queue.CauseGreylisted
	case hasFold(text, "unverified address"), hasFold(text, "address verification in progress"):
		return queue.CauseUnverified
	case hasFold(text, "rate limit"), hasFold(text, "ratelimit"), hasFold(text, "connection limit"), hasFold(text, "rate exceeded"),
		// smtpd(8), smtpd_client_message_rate_limit and smtpd_client_recipient_rate_limit: "450 4.7.1 Error: too much mail from ..."
		hasFold(text, "too much mail"), hasFold(text, "too many recipients from"), hasFold(text, "slow down"),
		hasFold(text, "too many messages"), hasFold(text, "limit exceeded") && code/100 != 5, hasFold(text, "concurrency limit"):
		return queue.CauseRate
	case code == 421, hasFold(text, "too many connections"), hasFold(text, "service not available"), hasFold(text, "service unavailable; try"),
		dsn.Class == 4 && subject == 3 && detail == 2 && server:
		return queue.CauseUnavailable
	case subject == 1 && (detail == 1 || detail == 6 || detail == 2 && dsn.Class == 5 && server), hasFold(text, "user unknown"), hasFold(text, "unknown user"),
		hasFold(text, "no such user"), hasFold(text, "user does not exist"):
		return queue.CauseUnknownUser
	case subject == 2 && detail == 2, hasFold(text, "mailbox full"), hasFold(text, "mailbox is full"), hasFold(text, "over quota"), hasFold(text, "quota exceeded"):
		return queue.CauseMailboxFull
	case subject == 3 && detail == 4, code == 552 && subject != 7, hasFold(text, "message size exceeds"), hasFold(text, "message file too big"):
		return queue.CauseSize
	case code == 452 && !(subject == 3 && detail == 1) && subject != 5: // 452 4.3.1 is the whole server's disk, 452 4.5.3 too many recipients
		return queue.CauseMailboxFull
	case subject == 4 && detail == 6, hasFold(text, "loops back to myself"), hasFold(text, "too many hops"), hasFold(text, "mail forwarding loop"):
		return queue.CauseLoop
	case hasFold(text, "starttls command first"), hasFold(text, "encryption required"):
		return queue.CauseTLS
	case subject == 7, hasFold(text, "blocked using"), hasFold(text, "blacklist"), hasFold(text, "blocklist"):
		return queue.CausePolicy
	case !server && subject == 3:
		return queue.CauseLocal
	}
	if code == 0 {
		code = 100 * int(dsn.Class)
	}
	switch code / 100 {
	case 4:
		return queue.CauseTempfail
	case 5:
		return queue.CausePermfail
	}
	return queue.CauseOther
}

// hasFold tells whether text holds words, which are in lower case, in any case of ASCII.
func hasFold(text []byte, words string) bool {
	first := words[0]
	for i := 0; i+len(words) <= len(text); i++ {
		if text[i]|0x20 != first {
			continue
		}
		j := 1
		for j < len(words) {
			c := text[i+j]
			if c-'A' <= 25 {
				c |= 0x20
			}
			if c != words[j] {
				break
			}
			j++
		}
		if j == len(words) {
			return true
		}
	}
	return false
}
