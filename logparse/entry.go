package logparse

import (
	"encoding/json"
	"time"
)

// journal reads one object of "journalctl -o json" (systemd.journal-fields(7), JOURNAL_EXPORT_FORMATS). Here things are allocated.
func (p *Parser) journal(line []byte, ev *Event) bool {
	var entry struct {
		Message    journalField `json:"MESSAGE"`
		Identifier journalField `json:"SYSLOG_IDENTIFIER"`
		Host       journalField `json:"_HOSTNAME"`
		SyslogPID  journalField `json:"SYSLOG_PID"`
		PID        journalField `json:"_PID"`
		Source     journalField `json:"_SOURCE_REALTIME_TIMESTAMP"`
		Received   journalField `json:"__REALTIME_TIMESTAMP"`
	}
	if json.Unmarshal(line, &entry) != nil {
		return false
	}
	if us := number(entry.Source); us > 0 {
		ev.Time = time.UnixMicro(int64(us))
	} else if us := number(entry.Received); us > 0 {
		ev.Time = time.UnixMicro(int64(us))
	}
	ev.Host, ev.Message = entry.Host, entry.Message
	if ev.PID = number(entry.SyslogPID); ev.PID == 0 {
		ev.PID = number(entry.PID)
	}
	return p.name(entry.Identifier, ev)
}

// journalField is a text, an array of bytes (text that is not UTF-8 or has control characters), null (too long for -o json without
// --all), or an array of those when the field was there more than once: then the first.
type journalField []byte

func (f *journalField) UnmarshalJSON(b []byte) error {
	switch {
	case len(b) == 0 || b[0] == 'n':
	case b[0] == '"':
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		*f = []byte(s)
	case b[0] == '[':
		var list []json.RawMessage
		if err := json.Unmarshal(b, &list); err != nil {
			return err
		}
		if len(list) > 0 && list[0][0] == '"' {
			return f.UnmarshalJSON(list[0])
		}
		if len(list) > 0 && list[0][0] == '[' { // arrays of bytes; anything deeper is nothing of the journal's
			if err := json.Unmarshal(list[0], &list); err != nil {
				return err
			}
		}
		text := make([]byte, 0, len(list))
		for _, n := range list {
			c := number(n)
			if c > 255 {
				return nil
			}
			text = append(text, byte(c))
		}
		*f = text
	default: // a number
		*f = append([]byte(nil), b...)
	}
	return nil
}
