package logparse

import (
	"bytes"
	"math"
	"time"

	"github.com/sparemx/sparemx/queue"
)

// agent reads the lines of local, virtual, pipe, error, retry and discard.
func (ev *Event) agent(msg []byte) Kind {
	if ev.QueueID != nil && hasPrefix(msg, "to=<") {
		return ev.delivery(msg)
	}
	return Unparsed
}

// smtp reads the lines of smtp and lmtp (Postfix src/smtp).
func (ev *Event) smtp(msg []byte) Kind {
	if ev.QueueID != nil && hasPrefix(msg, "to=<") {
		return ev.delivery(msg)
	}
	switch {
	case hasPrefix(msg, "connect to "):
		return ev.connectFailed(msg[len("connect to "):])
	case ev.tls(msg):
		return TLS
	// What the next hop said before another one was tried (smtp_trouble.c); the delivery line that follows tells the outcome.
	case hasPrefix(msg, "host "), hasPrefix(msg, "lost connection with "), hasPrefix(msg, "conversation with "),
		hasPrefix(msg, "enabling PIX workarounds"), hasPrefix(msg, "disabling PIX workarounds"),
		hasPrefix(msg, "Cannot start TLS"), hasPrefix(msg, "TLS is required"), hasPrefix(msg, "Server certificate"),
		hasPrefix(msg, "server certificate"), hasPrefix(msg, "certificate verification failed for "),
		hasPrefix(msg, "SSL_connect error to "), hasPrefix(msg, "setting up TLS connection to "),
		hasPrefix(msg, "SSL_shutdown"), hasPrefix(msg, "initializing the client-side TLS engine"),
		hasPrefix(msg, "using DANE"), hasPrefix(msg, "host certificate"), hasPrefix(msg, "improper "),
		hasPrefix(msg, "breaking line "), hasPrefix(msg, "offered "), hasPrefix(msg, "received "), hasPrefix(msg, "retrying "),
		bytes.Contains(msg, []byte(": re-using session with ")), bytes.Contains(msg, []byte(": subject_CN=")),
		bytes.Contains(msg, []byte("certificate verification")), bytes.Contains(msg, []byte("TLS")),
		bytes.Contains(msg, []byte(" offered ")):
		return Ignored
	}
	return Unparsed
}

// connectFailed reads "H[IP]:P: reason" (smtp_connect.c).
func (ev *Event) connectFailed(s []byte) Kind {
	name, ip, port, rest, ok := peer(s)
	if !ok || !hasPrefix(rest, ": ") {
		if i := bytes.LastIndex(s, []byte(": ")); i > 0 { // LMTP over a socket file without []
			ev.RelayHost, ev.Reply = s[:i], s[i+2:]
			return ConnectFailed
		}
		return Unparsed
	}
	ev.RelayHost, ev.RelayIP, ev.RelayPort, ev.Reply = name, ip, port, rest[2:]
	return ConnectFailed
}

// delivery reads "to=<>, orig_to=<>, relay=, conn_use=, delay=, delays=, tls=, dsn=, status=word (text)"
// (Postfix src/global/log_adhoc.c). Fields not known are skipped. Without a status it is no delivery.
func (ev *Event) delivery(s []byte) Kind {
	for {
		eq := 0
		for eq < len(s) && s[eq] != '=' {
			if c := s[eq]; c-'a' > 25 && c != '_' && c-'0' > 9 {
				return Unparsed
			}
			eq++
		}
		if eq == 0 || eq == len(s) {
			return Unparsed
		}
		key, value := s[:eq], s[eq+1:]
		if len(value) > 0 && value[0] == '<' {
			address, rest, ok := ev.listed(value[1:])
			if !ok {
				return Unparsed
			}
			switch string(key) {
			case "to":
				ev.To = address
			case "orig_to":
				ev.OrigTo = address
			}
			s = rest
			continue
		}
		if len(key) == 6 && string(key) == "status" {
			return ev.outcome(value)
		}
		end, next := len(value), len(value)
		for from := 0; ; {
			i := bytes.IndexByte(value[from:], ',')
			if i < 0 {
				break
			}
			if i += from; i+1 < len(value) && value[i+1] == ' ' {
				end, next = i, i+2
				break
			} else if key[0] != 'r' || fieldAt(value[i+1:]) { // "relay=H[IP]:25,conn_use=2" is possible
				end, next = i, i+1
				break
			}
			from = i + 1
		}
		v := value[:end]
		switch string(key) {
		case "relay":
			ev.relay(v)
		case "delay":
			ev.Delay, _ = seconds(v)
		case "delays":
			ev.delays(v)
		case "dsn":
			ev.DSN = queue.ParseCode(v)
		case "conn_use":
			ev.ConnUse = number(v)
		}
		s = value[next:]
	}
}

// listed is inAngles for an address that another field follows after ", ".
func (ev *Event) listed(s []byte) (address, rest []byte, ok bool) {
	if len(s) > 0 && s[0] != '"' {
		for from := 0; ; {
			i := bytes.IndexByte(s[from:], '>')
			if i < 0 {
				return nil, nil, false
			}
			if i += from; i+3 < len(s) && s[i+1] == ',' && s[i+2] == ' ' && fieldAt(s[i+3:]) {
				return s[:i], s[i+3:], true
			}
			from = i + 1
		}
	}
	if address, rest, ok = inAngles(s); ok && hasPrefix(rest, ", ") {
		return address, rest[2:], true
	}
	return nil, nil, false
}

// fieldAt tells whether s begins with "key=".
func fieldAt(s []byte) bool {
	for i, c := range s {
		if c == '=' {
			return i > 0
		}
		if c-'a' > 25 && c != '_' || i > 31 {
			return false
		}
	}
	return false
}

// outcome reads "word (text)"; the text is what the outermost parentheses hold. A line that was cut has no closing one.
func (ev *Event) outcome(s []byte) Kind {
	i := bytes.IndexByte(s, ' ')
	if i < 0 {
		i = len(s)
	}
	if i == 0 {
		return Unparsed
	}
	ev.Status = parseStatus(s[:i])
	if text := s[i:]; len(text) > 2 && text[1] == '(' {
		text = text[2:]
		if text[len(text)-1] == ')' {
			text = text[:len(text)-1]
		}
		ev.Reply = text
	}
	return Delivery
}

// relay reads "none", "local", "H[IP]:P", "H[path]".
func (ev *Event) relay(v []byte) {
	if len(v) == 0 || v[len(v)-1]-'0' > 9 && v[len(v)-1] != ']' {
		ev.RelayHost = v
		return
	}
	name, ip, port, _, ok := peer(v)
	if !ok {
		ev.RelayHost = v
		return
	}
	ev.RelayHost, ev.RelayIP, ev.RelayPort = name, ip, port
}

func (ev *Event) delays(v []byte) {
	for i := range ev.Delays {
		end := bytes.IndexByte(v, '/')
		if end < 0 {
			end = len(v)
		}
		ev.Delays[i], _ = seconds(v[:end])
		if end == len(v) {
			return
		}
		v = v[end+1:]
	}
}

// seconds reads "12", "0.34" (Postfix src/util/format_tv.c). Digits below a nanosecond and seconds above 100 years are cut.
func seconds(v []byte) (time.Duration, bool) {
	const most = 100 * 366 * 86400
	var n int64
	i := 0
	for ; i < len(v) && v[i]-'0' <= 9; i++ {
		if n = n*10 + int64(v[i]-'0'); n > most {
			n = most
		}
	}
	if i == 0 {
		return 0, false
	}
	d := n * int64(time.Second)
	if i < len(v) {
		if v[i] != '.' {
			return 0, false
		}
		scale := int64(100 * time.Millisecond)
		for i++; i < len(v); i++ {
			if v[i]-'0' > 9 {
				return 0, false
			}
			d += int64(v[i]-'0') * scale
			scale /= 10
		}
	}
	return time.Duration(min(d, math.MaxInt64)), true
}
