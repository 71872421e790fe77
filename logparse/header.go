package logparse

import (
	"bytes"
	"time"
)

// Parser reads lines. The zero Parser takes the instances whose name is or starts with "postfix"; it is a plain value, and
// remembers the last time stamp, so one Parser belongs to one goroutine.
type Parser struct {
	// Instances are further names to take as Postfix's: the part of the syslog tag before its first slash, for who has set
	// syslog_name to something that does not start with "postfix".
	Instances []string

	clock clock
}

// Parse reads one line with a zero [Parser]. A loop over many lines is faster with a Parser of its own.
func Parse(line []byte, now time.Time, ev *Event) Kind {
	var p Parser
	return p.Parse(line, now, ev)
}

// Parse says what one line means and fills ev, which is reset first. Known forms of a line: RFC 3164 (also what Postfix writes to
// maillog_file), ISO 8601 stamps (rsyslog's and journalctl's), RFC 5424, each with or without <PRI>, and a JSON object of
// "journalctl -o json". now is about when the line was written: stamps without a year take the latest year that is not more than a day
// after it, those without a zone its location. Nothing is allocated and the slices of ev are parts of line, but for journal JSON.
func (p *Parser) Parse(line []byte, now time.Time, ev *Event) Kind {
	*ev = Event{}
	for len(line) > 0 && (line[len(line)-1] == '\n' || line[len(line)-1] == '\r') {
		line = line[:len(line)-1]
	}
	if len(line) > 0 && line[0] == '{' {
		if !p.journal(line, ev) {
			ev.Kind = Foreign
			return Foreign
		}
		return ev.read()
	}
	if !p.header(line, now, ev) {
		ev.Kind = Foreign
		return Foreign
	}
	return ev.read()
}

// header reads what precedes the message and tells whether the line is Postfix's.
func (p *Parser) header(line []byte, now time.Time, ev *Event) bool {
	if len(line) > 2 && line[0] == '<' { // <PRI>, RFC 5424 section 6.2.1
		i := bytes.IndexByte(line[:min(len(line), 6)], '>')
		if i < 2 {
			return false
		}
		line = line[i+1:]
		if len(line) > 2 && line[0] == '1' && line[1] == ' ' {
			return p.header5424(line[2:], now, ev)
		}
	}
	if len(line) < 20 {
		return false
	}
	var ok bool
	if line[0]-'0' <= 9 {
		if line[1] == ' ' && line[0] == '1' { // RFC 5424 without <PRI>
			return p.header5424(line[2:], now, ev)
		}
		n := 0
		ev.Time, n, ok = p.clock.iso(line, now)
		line = line[n:]
	} else {
		ev.Time, ok = p.clock.short(line[:15], now)
		line = line[15:]
	}
	if !ok || len(line) < 2 || line[0] != ' ' {
		return false
	}
	line = line[1:]
	i := bytes.IndexByte(line, ' ')
	if i <= 0 {
		return false
	}
	if line[i-1] != ':' { // else there is no host: this is the tag already
		ev.Host = line[:i]
		line = line[i+1:]
	}
	return p.tag(line, ev)
}

// header5424 reads RFC 5424 section 6 from the time stamp on: TIMESTAMP HOSTNAME APP-NAME PROCID MSGID SD [MSG].
func (p *Parser) header5424(line []byte, now time.Time, ev *Event) bool {
	var field [5][]byte
	for f := range field {
		i := bytes.IndexByte(line, ' ')
		if i <= 0 {
			return false
		}
		field[f], line = line[:i], line[i+1:]
	}
	if at, n, ok := p.clock.iso(field[0], now); ok && n == len(field[0]) {
		ev.Time = at
	} else if string(field[0]) != "-" {
		return false
	}
	if string(field[1]) != "-" {
		ev.Host = field[1]
	}
	ev.PID = number(field[3])
	if len(line) > 0 && line[0] == '[' {
		if line = afterStructuredData(line); line == nil {
			return false
		}
	} else if len(line) > 0 && line[0] == '-' {
		line = line[1:]
	} else {
		return false
	}
	line = bytes.TrimPrefix(line, []byte(" "))
	ev.Message = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf")) // section 6.4: MSG-UTF8 begins with a BOM
	return p.name(field[2], ev)
}

// afterStructuredData skips [id name="value" ...]... (RFC 5424 section 6.3); in a value `"`, `\` and `]` are escaped by `\`.
func afterStructuredData(s []byte) []byte {
	for len(s) > 0 && s[0] == '[' {
		quoted, i := false, 1
		for ; i < len(s); i++ {
			if c := s[i]; c == '\\' && quoted {
				i++
			} else if c == '"' {
				quoted = !quoted
			} else if c == ']' && !quoted {
				break
			}
		}
		if i >= len(s) {
			return nil
		}
		s = s[i+1:]
	}
	return s
}

// tag reads "postfix/smtpd[123]: message".
func (p *Parser) tag(line []byte, ev *Event) bool {
	i := 0
	for i < len(line) && line[i] != '[' && line[i] != ':' && line[i] != ' ' {
		i++
	}
	if i == len(line) || !p.name(line[:i], ev) {
		return false
	}
	if line[i] == '[' {
		start := i + 1
		for i = start; i < len(line) && line[i]-'0' <= 9; i++ {
			ev.PID = ev.PID*10 + int(line[i]-'0')
		}
		if i == start || i-start > 10 || i >= len(line) || line[i] != ']' {
			return false
		}
		i++
	}
	if i >= len(line) || line[i] != ':' {
		return false
	}
	if i++; i < len(line) && line[i] == ' ' {
		i++
	}
	ev.Message = line[i:]
	return true
}

// name takes a tag's name apart and tells whether it is Postfix's.
func (p *Parser) name(tag []byte, ev *Event) bool {
	first := bytes.IndexByte(tag, '/')
	if first < 0 {
		// "postfix: message" is possible (postlog -t postfix); postfix-exporter, postfixadmin and the like are other programs.
		if string(tag) != "postfix" && !p.named(tag) {
			return false
		}
		ev.Instance = tag
		return true
	}
	if !(len(tag) > 7 && string(tag[:7]) == "postfix") && !p.named(tag[:first]) {
		return false
	}
	if first == len(tag)-1 {
		return false
	}
	ev.Instance, ev.Path = tag[:first], tag[first+1:]
	last := first
	for i := len(tag) - 1; i > first; i-- {
		if tag[i] == '/' {
			last = i
			break
		}
	}
	ev.Service = tag[last+1:]
	return true
}

func (p *Parser) named(instance []byte) bool {
	for _, name := range p.Instances {
		if string(instance) == name {
			return true
		}
	}
	return false
}

// number reads digits; 0 for anything else.
func number(s []byte) int {
	n := 0
	for _, c := range s {
		if c-'0' > 9 || n > 1<<58 {
			return 0
		}
		n = n*10 + int(c-'0')
	}
	return n
}
