package logparse

import (
	"bytes"

	"github.com/sparemx/sparemx/queue"
)

// smtpd reads the SMTP server's lines (Postfix src/smtpd).
func (ev *Event) smtpd(msg []byte) Kind {
	switch {
	case hasPrefix(msg, "connect from "):
		return ev.whole(msg[len("connect from "):], Connect)
	case hasPrefix(msg, "disconnect from "):
		return ev.begins(msg[len("disconnect from "):], Disconnect)
	case hasPrefix(msg, "client="):
		return ev.started(msg[len("client="):])
	case hasPrefix(msg, "lost connection after "):
		return ev.after(msg[len("lost connection after "):], LostConnection)
	case hasPrefix(msg, "timeout after "):
		return ev.after(msg[len("timeout after "):], TimeoutLine)
	case hasPrefix(msg, "improper command pipelining after "):
		return ev.after(msg[len("improper command pipelining after "):], Pipelining)
	case hasPrefix(msg, "too many errors after "):
		return ev.after(msg[len("too many errors after "):], TooMany)
	case ev.tls(msg):
		return TLS
	case hasPrefix(msg, "setting up TLS connection from "), hasPrefix(msg, "SSL_accept error from "),
		hasPrefix(msg, "initializing the server-side TLS engine"), hasPrefix(msg, "proxy-accept: "), hasPrefix(msg, "bare "),
		bytes.Contains(msg, []byte(": subject_CN=")), bytes.Contains(msg, []byte("certificate verification failed")),
		bytes.Contains(msg, []byte("TLS connection")):
		return Ignored
	}
	if kind, rest := action(msg); kind != Unparsed {
		return ev.access(rest, kind)
	}
	return Unparsed
}

// qmqpd reads the QMQP server's lines.
func (ev *Event) qmqpd(msg []byte) Kind {
	switch {
	case hasPrefix(msg, "client="):
		return ev.started(msg[len("client="):])
	case hasPrefix(msg, "connect from "), hasPrefix(msg, "disconnect from "), hasPrefix(msg, "lost connection"), hasPrefix(msg, "timeout"):
		return Ignored
	}
	return Unparsed
}

func (ev *Event) whole(s []byte, kind Kind) Kind {
	if rest, ok := ev.client(s); !ok || len(rest) != 0 {
		return Unparsed
	}
	return kind
}

func (ev *Event) begins(s []byte, kind Kind) Kind {
	if _, ok := ev.client(s); !ok {
		return Unparsed
	}
	return kind
}

// started reads `name[ip], sasl_method=, sasl_username=, orig_queue_id=, orig_client=` (smtpd.c, mail_open_stream()).
func (ev *Event) started(s []byte) Kind {
	rest, ok := ev.client(s)
	if !ok {
		return Unparsed
	}
	for hasPrefix(rest, ", ") {
		rest = rest[2:]
		eq := bytes.IndexByte(rest, '=')
		if eq < 0 {
			break
		}
		key, value := rest[:eq], rest[eq+1:]
		end := bytes.Index(value, []byte(", "))
		if end < 0 {
			end = len(value)
		}
		switch string(key) {
		case "sasl_method":
			ev.SASLMethod = value[:end]
		case "orig_queue_id":
			ev.OrigID = value[:end]
		}
		rest = value[end:]
	}
	return Client
}

// after reads "STAGE from client", "STAGE (16 bytes) from client", each maybe followed by ": text".
func (ev *Event) after(s []byte, kind Kind) Kind {
	i := bytes.Index(s, []byte(" from "))
	if i <= 0 {
		return Unparsed
	}
	stage := s[:i]
	if j := bytes.IndexByte(stage, ' '); j > 0 {
		stage = stage[:j]
	}
	ev.Stage = stage
	rest, ok := ev.client(s[i+len(" from "):])
	if !ok {
		return Unparsed
	}
	if hasPrefix(rest, ": ") {
		ev.Reply = rest[2:]
	}
	return kind
}

// action reads the word before an access decision (smtpd_check.c, log_whatsup(); cleanup_message.c, cleanup_act()).
func action(msg []byte) (Kind, []byte) {
	i := bytes.IndexByte(msg, ':')
	if i < 0 || i+1 >= len(msg) || msg[i+1] != ' ' {
		return Unparsed, nil
	}
	rest := msg[i+2:]
	switch string(msg[:i]) {
	case "reject":
		return Reject, rest
	case "milter-reject":
		return MilterReject, rest
	case "proxy-reject":
		return Reject, rest
	case "warn", "warning", "reject_warning", "hold", "discard", "redirect", "filter", "prepend", "replace", "bcc", "info", "permit",
		"delay", "strip", "pass", "ignore", "milter-hold", "milter-discard", "milter-quarantine", "milter-header-add",
		"milter-header-insert", "milter-header-replace", "milter-accept":
		return Warn, rest
	}
	return Unparsed, nil
}

// access reads "STAGE from client: 554 5.7.1 text; from=<> to=<> proto=ESMTP helo=<>"; postscreen puts commas between the last ones.
// Without a client: a proxy's "END-OF-MESSAGE: 550 ...".
func (ev *Event) access(s []byte, kind Kind) Kind {
	i := bytes.Index(s, []byte(" from "))
	if colon := bytes.Index(s, []byte(": ")); colon > 0 && (i < 0 || colon < i) {
		ev.Stage, s = s[:colon], s[colon+2:]
	} else if i > 0 {
		ev.Stage = s[:i]
		rest, ok := ev.client(s[i+len(" from "):])
		if !ok {
			return Unparsed
		}
		if hasPrefix(rest, ": ") {
			s = rest[2:]
		} else if s = bytes.TrimPrefix(rest, []byte(";")); len(s) != len(rest) {
			s = rest
		}
	} else {
		return Unparsed
	}
	text, _ := ev.envelope(s)
	ev.reply(text)
	return kind
}

// reply reads "554 5.7.1 text", "5.7.1 text" or only text.
func (ev *Event) reply(s []byte) {
	ev.Reply = s
	if len(s) > 3 && s[3] == ' ' && s[0] >= '2' && s[0] <= '5' && s[1]-'0' <= 9 && s[2]-'0' <= 9 {
		ev.Code = number(s[:3])
		s = s[4:]
	}
	if i := bytes.IndexByte(s, ' '); i >= 5 && i < 12 {
		ev.DSN = queue.ParseCode(s[:i])
	} else if i < 0 && len(s) < 12 {
		ev.DSN = queue.ParseCode(s)
	}
}

// envelope finds "; from=<> to=<> proto= helo=<>" and returns what precedes it and what follows (": text" of cleanup's header checks).
// Text and addresses come from strangers and may hold the same words, so the last place is taken from which all can be read to the end of
// the line or to ": ", not looking inside what was read.
func (ev *Event) envelope(s []byte) (text, rest []byte) {
	const most = 16 // tries; more is somebody playing
	text = s
	at := 0
	for range most {
		i := bytes.Index(s[at:], []byte("; "))
		if i < 0 {
			break
		}
		i += at
		at = i + 2
		f, rem, ok := envelopeFields(s[at:])
		if !ok {
			continue
		}
		text, rest = s[:i], rem
		ev.From, ev.HasFrom, ev.To, ev.Proto, ev.Helo = f.from, f.hasFrom, f.to, f.proto, f.helo
		if len(f.sasl) > 0 {
			ev.SASLMethod = f.sasl
		}
		at = len(s) - len(rem)
	}
	return text, rest
}

type envelopeParts struct {
	from, to, proto, helo, sasl []byte
	hasFrom                     bool
}

// envelopeFields reads key=value and key=<value> separated by " " or ", " up to the end or ": ".
func envelopeFields(s []byte) (f envelopeParts, rest []byte, ok bool) {
	for {
		eq := bytes.IndexByte(s, '=')
		if eq <= 0 || eq > 20 || !fieldAt(s) {
			return f, nil, false
		}
		key, value := s[:eq], s[eq+1:]
		var v []byte
		if len(value) > 0 && value[0] == '<' {
			if v, s, ok = inAngles(value[1:]); !ok {
				return f, nil, false
			}
		} else {
			end := 0
			for end < len(value) && value[end] != ' ' && value[end] != ',' && value[end] != ':' {
				end++
			}
			v, s = value[:end], value[end:]
		}
		switch string(key) {
		case "from":
			f.from, f.hasFrom = v, true
		case "to":
			f.to = v
		case "proto":
			f.proto = v
		case "helo":
			f.helo = v
		case "sasl_method":
			f.sasl = v
		}
		if len(s) == 0 || hasPrefix(s, ": ") {
			return f, s, true
		}
		if s[0] == ',' {
			s = s[1:]
		}
		if len(s) == 0 || s[0] != ' ' {
			return f, nil, false
		}
		s = s[1:]
	}
}

// tls reads "Anonymous TLS connection established from name[ip]: TLSv1.3 with cipher X (256/256 bits) ..." (Postfix
// src/tls/tls_misc.c, tls_log_summary()), also "reused to", and with a peer's name and a colon before it.
func (ev *Event) tls(msg []byte) bool {
	i := bytes.Index(msg[:min(len(msg), 80)], []byte(" TLS connection "))
	if i < 0 {
		return false
	}
	trust, rest := msg[:i], msg[i+len(" TLS connection "):]
	if j := bytes.LastIndexByte(trust, ' '); j >= 0 {
		trust = trust[j+1:]
	}
	switch string(trust) {
	case "Anonymous", "Untrusted", "Trusted", "Verified":
	default:
		return false
	}
	switch {
	case hasPrefix(rest, "established from "), hasPrefix(rest, "established to "), hasPrefix(rest, "reused from "), hasPrefix(rest, "reused to "):
	default:
		return false
	}
	j := bytes.IndexByte(rest, ' ')
	rest = rest[j+1:]
	toServer := rest[0] == 't'
	rest = rest[bytes.IndexByte(rest, ' ')+1:]
	name, ip, port, rest, ok := peer(rest)
	if !ok {
		return false
	}
	if hasPrefix(rest, " to ") { // the name the client asked for (SNI)
		if j = bytes.Index(rest, []byte(": ")); j < 0 {
			return false
		}
		rest = rest[j:]
	}
	if !hasPrefix(rest, ": ") {
		return false
	}
	rest = rest[2:]
	j = bytes.Index(rest, []byte(" with cipher "))
	if j < 0 {
		return false
	}
	proto, rest := rest[:j], rest[j+len(" with cipher "):]
	j = bytes.IndexByte(rest, ' ')
	if j < 0 {
		return false
	}
	ev.TLSTrust, ev.TLSProto, ev.TLSCipher, ev.TLSClient = trust, proto, rest[:j], toServer
	if rest = rest[j+1:]; hasPrefix(rest, "(") {
		if slash, end := bytes.IndexByte(rest, '/'), bytes.IndexByte(rest, ' '); slash > 0 && end > slash {
			ev.TLSBits = [2]int{number(rest[1:slash]), number(rest[slash+1 : end])}
		}
	}
	if toServer {
		ev.RelayHost, ev.RelayIP, ev.RelayPort = name, ip, port
	} else {
		ev.ClientName, ev.ClientIP, ev.ClientPort = name, ip, port
	}
	return true
}

// warning reads the warnings that are kinds of their own; s begins after "warning: ".
func (ev *Event) warning(s []byte) Kind {
	if string(ev.Service) != "smtpd" {
		if id, rest := splitID(s); rest != nil {
			ev.QueueID = id
		}
		return Warning
	}
	if i := bytes.Index(s, []byte("]: SASL ")); i > 0 {
		return ev.saslFailure(s)
	}
	// smtpd_peer.c; "Y: hostname X verification failed" before 2.8.
	if hasPrefix(s, "hostname ") {
		s = s[len("hostname "):]
		const middle = " does not resolve to address "
		if i := bytes.Index(s, []byte(middle)); i > 0 {
			address := s[i+len(middle):]
			if j := bytes.Index(address, []byte(": ")); j > 0 {
				address, ev.Reply = address[:j], address[j+2:]
			}
			ev.ClientName, ev.ClientIP = s[:i], address
			return NoPTR
		}
	} else if i := bytes.Index(s, []byte(": hostname ")); i > 0 && i < 50 {
		name := s[i+len(": hostname "):]
		if j := bytes.Index(name, []byte(" verification failed")); j > 0 {
			ev.ClientName, ev.ClientIP = name[:j], s[:i]
			return NoPTR
		}
	}
	if id, rest := splitID(s); rest != nil {
		ev.QueueID = id
	}
	return Warning
}

// saslFailure reads "name[ip]: SASL LOGIN authentication failed: reason, sasl_username=..." (smtpd_sasl_glue.c).
func (ev *Event) saslFailure(s []byte) Kind {
	name, ip, port, rest, ok := peer(s)
	if !ok || !hasPrefix(rest, ": SASL ") {
		return Warning
	}
	rest = rest[len(": SASL "):]
	i := bytes.Index(rest, []byte(" authentication "))
	if i <= 0 {
		return Warning
	}
	method, rest := rest[:i], rest[i+len(" authentication "):]
	if !hasPrefix(rest, "failed") && !hasPrefix(rest, "failure") && !hasPrefix(rest, "aborted") {
		return Warning
	}
	if j := bytes.Index(rest, []byte(": ")); j > 0 {
		ev.Reply = rest[j+2:]
	}
	ev.ClientName, ev.ClientIP, ev.ClientPort, ev.SASLMethod = name, ip, port, method
	return SASLFailure
}
