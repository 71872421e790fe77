package logparse

import "bytes"

// postscreen reads the lines of postscreen(8) (Postfix src/postscreen; POSTSCREEN_README).
func (ev *Event) postscreen(msg []byte) Kind {
	switch {
	case hasPrefix(msg, "reject: "):
		return ev.access(msg[len("reject: "):], Reject)
	case hasPrefix(msg, "CONNECT from "):
		return ev.screen(msg, "CONNECT", len("CONNECT from "))
	case hasPrefix(msg, "DISCONNECT "):
		return ev.screen(msg, "DISCONNECT", len("DISCONNECT "))
	case hasPrefix(msg, "PASS NEW "), hasPrefix(msg, "PASS OLD "):
		return ev.screen(msg, "PASS NEW", len("PASS NEW "))
	case hasPrefix(msg, "ALLOWLIST VETO "):
		return ev.screen(msg, "ALLOWLIST VETO", len("ALLOWLIST VETO "))
	case hasPrefix(msg, "WHITELIST VETO "):
		return ev.screen(msg, "WHITELIST VETO", len("WHITELIST VETO "))
	case hasPrefix(msg, "ALLOWLISTED "), hasPrefix(msg, "WHITELISTED "), hasPrefix(msg, "BLACKLISTED "):
		return ev.screen(msg, "ALLOWLISTED", len("ALLOWLISTED "))
	case hasPrefix(msg, "DENYLISTED "):
		return ev.screen(msg, "DENYLISTED", len("DENYLISTED "))
	case hasPrefix(msg, "PREGREET "):
		return ev.screenFrom(msg, "PREGREET")
	case hasPrefix(msg, "HANGUP after "):
		return ev.screenFrom(msg, "HANGUP")
	case hasPrefix(msg, "BARE NEWLINE from "):
		return ev.screenFrom(msg, "BARE NEWLINE")
	case hasPrefix(msg, "COMMAND PIPELINING from "):
		return ev.screenFrom(msg, "COMMAND PIPELINING")
	case hasPrefix(msg, "NON-SMTP COMMAND from "):
		return ev.screenFrom(msg, "NON-SMTP COMMAND")
	case hasPrefix(msg, "COMMAND TIME LIMIT from "):
		return ev.screenFrom(msg, "COMMAND TIME LIMIT")
	case hasPrefix(msg, "COMMAND COUNT LIMIT from "):
		return ev.screenFrom(msg, "COMMAND COUNT LIMIT")
	case hasPrefix(msg, "COMMAND LENGTH LIMIT from "):
		return ev.screenFrom(msg, "COMMAND LENGTH LIMIT")
	case hasPrefix(msg, "DNSBL rank "):
		rest := msg[len("DNSBL rank "):]
		i := bytes.Index(rest, []byte(" for "))
		if i <= 0 {
			return Unparsed
		}
		ev.Rank = number(rest[:i])
		return ev.screen(msg, "DNSBL", len(msg)-len(rest)+i+len(" for "))
	case hasPrefix(msg, "entering STRESS mode"), hasPrefix(msg, "leaving STRESS mode"):
		return Ignored
	}
	return Unparsed
}

// screen reads the client that stands at place at; the verb is the line's own text of verb's length.
func (ev *Event) screen(msg []byte, verb string, at int) Kind {
	if _, ok := ev.client(msg[at:]); !ok {
		return Unparsed
	}
	ev.Verb = msg[:len(verb)]
	return Screen
}

// screenFrom reads "VERB [n] [after t] from client [in tests ...] [after STAGE][: text]".
func (ev *Event) screenFrom(msg []byte, verb string) Kind {
	i := bytes.Index(msg, []byte(" from "))
	if i < 0 {
		return Unparsed
	}
	rest, ok := ev.client(msg[i+len(" from "):])
	if !ok {
		return Unparsed
	}
	ev.Verb = msg[:len(verb)]
	if hasPrefix(rest, " after ") {
		stage := rest[len(" after "):]
		end := 0
		for end < len(stage) && stage[end] != ':' && stage[end] != ' ' {
			end++
		}
		ev.Stage, rest = stage[:end], stage[end:]
	}
	if hasPrefix(rest, ": ") {
		ev.Reply = rest[2:]
	}
	return Screen
}

// tlsproxy reads the lines of tlsproxy(8), which does the TLS of postscreen.
func (ev *Event) tlsproxy(msg []byte) Kind {
	if ev.tls(msg) {
		return TLS
	}
	if hasPrefix(msg, "CONNECT ") || hasPrefix(msg, "DISCONNECT ") || bytes.Contains(msg, []byte("TLS")) || hasPrefix(msg, "SSL_") ||
		bytes.Contains(msg, []byte("subject_CN=")) {
		return Ignored
	}
	return Unparsed
}
