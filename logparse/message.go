package logparse

import "bytes"

// read says what ev.Message means. The header is done.
func (ev *Event) read() Kind {
	ev.Kind = ev.message()
	return ev.Kind
}

func (ev *Event) message() Kind {
	msg := ev.Message
	if len(msg) == 0 {
		return Unparsed
	}
	switch msg[0] {
	case 'w', 'e', 'f', 'p':
		if kind := severity(msg); kind != Foreign {
			if kind == Warning {
				return ev.warning(msg[len("warning: "):])
			}
			return kind
		}
	case '[': // Solaris: "[ID 197553 mail.info] message"
		if i := bytes.Index(msg, []byte("] ")); i > 0 && hasPrefix(msg, "[ID ") {
			ev.Message = msg[i+2:]
			return ev.message()
		}
	case 'm':
		if ev.Repeat == 0 && hasPrefix(msg, "message repeated ") {
			return ev.repeated(msg)
		}
	}
	id, rest := splitID(msg)
	if rest == nil {
		rest = msg
	}
	ev.QueueID = id
	if id != nil {
		if kind := severity(rest); kind > Warning { // "QID: error: ..."; cleanup's "QID: warning: header" is an access action
			return kind
		}
		if string(rest) == "canceled" {
			return Canceled
		}
	}
	kind := Unparsed
	switch string(ev.Service) {
	case "smtp", "lmtp":
		kind = ev.smtp(rest)
	case "local", "virtual", "pipe", "error", "retry", "discard":
		kind = ev.agent(rest)
	case "qmgr", "oqmgr", "nqmgr":
		kind = ev.qmgr(rest)
	case "smtpd":
		kind = ev.smtpd(rest)
	case "cleanup":
		kind = ev.cleanup(rest)
	case "pickup":
		kind = ev.pickup(rest)
	case "qmqpd":
		kind = ev.qmqpd(rest)
	case "bounce":
		kind = ev.bounce(rest)
	case "postscreen":
		kind = ev.postscreen(rest)
	case "postsuper":
		kind = ev.postsuper(rest)
	case "tlsproxy":
		kind = ev.tlsproxy(rest)
	case "anvil", "scache", "dnsblog", "verify", "trivial-rewrite", "proxymap", "proxywrite", "flush", "showq", "postlogd", "tlsmgr",
		"master", "postfix-script", "spawn":
		kind = ev.quiet(rest)
	}
	if kind == Unparsed && wellKnown(rest) {
		return Ignored
	}
	return kind
}

// severity reads what msg_vprintf.c and msg_output.c of Postfix put before a message; Foreign when there is none.
func severity(msg []byte) Kind {
	switch {
	case hasPrefix(msg, "warning: "):
		return Warning
	case hasPrefix(msg, "error: "):
		return Error
	case hasPrefix(msg, "fatal: "):
		return Fatal
	case hasPrefix(msg, "panic: "):
		return Panic
	}
	return Foreign
}

// repeated reads rsyslog's and syslogd's "message repeated N times: [ text]".
func (ev *Event) repeated(msg []byte) Kind {
	rest := msg[len("message repeated "):]
	i := bytes.Index(rest, []byte(" times: ["))
	if i < 0 || i > 9 || rest[len(rest)-1] != ']' {
		return Unparsed
	}
	n := number(rest[:i])
	text := rest[i+len(" times: [") : len(rest)-1]
	for len(text) > 0 && text[0] == ' ' {
		text = text[1:]
	}
	if n < 1 || len(text) == 0 {
		return Unparsed
	}
	ev.Repeat, ev.Message = n, text
	return ev.message()
}

// splitID takes a queue ID and ": " off. Short ones are hexadecimal in capitals; long ones letters without vowels, digits and a "z"
// (Postfix src/global/mail_queue.h). What looks like neither a word nor a number alone is taken, to be on the safe side.
// "NOQUEUE" is taken off and no ID. rest is nil when there was neither.
func splitID(msg []byte) (id, rest []byte) {
	digit, lower := false, false
	for i, c := range msg {
		switch {
		case c-'0' <= 9:
			digit = true
		case c-'A' < 26:
		case c-'a' < 26:
			lower = true
		case c == ':':
			if i < 5 || i > 64 || i+1 >= len(msg) || msg[i+1] != ' ' {
				return nil, nil
			}
			if string(msg[:i]) == "NOQUEUE" {
				return nil, msg[i+2:]
			}
			if !digit && (lower || !hexOnly(msg[:i])) {
				return nil, nil
			}
			return msg[:i], msg[i+2:]
		default:
			return nil, nil
		}
	}
	return nil, nil
}

func hexOnly(s []byte) bool {
	for _, c := range s {
		if c-'0' > 9 && c-'A' > 5 {
			return false
		}
	}
	return true
}

// queueID tells whether s is one as a whole.
func queueID(s []byte) bool {
	if len(s) < 5 || len(s) > 64 {
		return false
	}
	for _, c := range s {
		if c-'0' > 9 && c-'A' > 25 && c-'a' > 25 {
			return false
		}
	}
	return true
}

// hasPrefix is bytes.HasPrefix for a constant, which the compiler turns into a comparison of words.
func hasPrefix(b []byte, prefix string) bool {
	return len(b) >= len(prefix) && string(b[:len(prefix)]) == prefix
}

// inAngles reads an address up to its ">" from s, which begins after the "<", and returns what follows the ">". The local part may be
// quoted (RFC 5321 section 4.1.2; Postfix >= 3.5 logs addresses in that form) and then hold anything; unquoted (older), the first ">"
// that is followed by the end, a space, a comma, a colon or a semicolon ends it.
func inAngles(s []byte) (address, rest []byte, ok bool) {
	if len(s) > 0 && s[0] == '"' {
		for i := 1; i < len(s); i++ {
			if s[i] == '\\' {
				i++
			} else if s[i] == '"' {
				if j := bytes.IndexByte(s[i:], '>'); j >= 0 && bytes.IndexByte(s[i:i+j], ' ') < 0 {
					return s[:i+j], s[i+j+1:], true
				}
				break
			}
		}
	}
	for from := 0; ; {
		i := bytes.IndexByte(s[from:], '>')
		if i < 0 {
			return nil, nil, false
		}
		i += from
		if i+1 == len(s) {
			return s[:i], s[i+1:], true
		}
		switch s[i+1] {
		case ' ', ',', ':', ';':
			return s[:i], s[i+1:], true
		}
		from = i + 1
	}
}

// peer reads "name[address]" or "name[address]:port" or "[address]:port" and returns what follows.
func peer(s []byte) (name, ip []byte, port int, rest []byte, ok bool) {
	open := bytes.IndexByte(s, '[')
	if open < 0 {
		return nil, nil, 0, nil, false
	}
	end := bytes.IndexByte(s[open:], ']')
	if end < 0 {
		return nil, nil, 0, nil, false
	}
	end += open
	name, ip, rest = s[:open], s[open+1:end], s[end+1:]
	if len(ip) > 5 && (string(ip[:5]) == "IPv6:" || string(ip[:5]) == "ipv6:") {
		ip = ip[5:]
	}
	if len(rest) > 1 && rest[0] == ':' && rest[1]-'0' <= 9 {
		i := 1
		for ; i < len(rest) && i < 7 && rest[i]-'0' <= 9; i++ {
			port = port*10 + int(rest[i]-'0')
		}
		rest = rest[i:]
	}
	return name, ip, port, rest, true
}

// client reads a peer into the client's fields.
func (ev *Event) client(s []byte) (rest []byte, ok bool) {
	name, ip, port, rest, ok := peer(s)
	if ok {
		ev.ClientName, ev.ClientIP, ev.ClientPort = name, ip, port
		if len(name) == 0 {
			ev.ClientName = nil
		}
	}
	return rest, ok
}
