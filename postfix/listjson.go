package postfix

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sparemx/sparemx/queue"
)

// decodeJSON reads "postqueue -j": one object a line (postqueue/showq_json.c, postqueue(1) "JSON OBJECT FORMAT"). Lines of the
// shape that Postfix writes are scanned in place; any other valid JSON goes to encoding/json. Unknown members are skipped.
func decodeJSON(r *bufio.Reader, emit func(*queue.Message) error) error {
	var d decoder
	for {
		line, err := readLine(r, maxLine)
		if len(line) == 0 && err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		whole := line[len(line)-1] == '\n'
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			continue
		}
		m, derr := d.message(line)
		if derr != nil {
			if !whole {
				return fmt.Errorf("postqueue -j: ended within a message: %w", io.ErrUnexpectedEOF)
			}
			return fmt.Errorf("postqueue -j: %w: %.100q", derr, line)
		}
		if err := emit(&m); err != nil {
			return err
		}
	}
}

// readLine returns the next line with its end; it aliases r's buffer when it fits there.
func readLine(r *bufio.Reader, max int) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return line, err
	}
	long := bytes.Clone(line)
	for errors.Is(err, bufio.ErrBufferFull) {
		if len(long) > max {
			return nil, fmt.Errorf("postqueue: a message of more than %d bytes in the listing", max)
		}
		line, err = r.ReadSlice('\n')
		long = append(long, line...)
	}
	return long, err
}

// decoder decodes lines. It remembers the last reason: in an outage all recipients share a few.
type decoder struct {
	reason string
	rcpts  int // recipients of the last message, to size the next slice
}

func (d *decoder) message(line []byte) (queue.Message, error) {
	s := scan{b: line, d: d}
	m, ok := s.message()
	if ok {
		return m, nil
	}
	return slowMessage(line)
}

// slowMessage is encoding/json on the same members.
func slowMessage(line []byte) (queue.Message, error) {
	var o struct {
		Queue      string `json:"queue_name"`
		ID         string `json:"queue_id"`
		Arrival    *int64 `json:"arrival_time"`
		Size       int64  `json:"message_size"`
		Forced     bool   `json:"forced_expire"`
		Forced2    bool   `json:"force_expired"`
		Sender     string `json:"sender"`
		Recipients []struct {
			Address string `json:"address"`
			Reason  string `json:"delay_reason"`
		} `json:"recipients"`
	}
	if err := json.Unmarshal(line, &o); err != nil {
		return queue.Message{}, err
	}
	if o.ID == "" {
		return queue.Message{}, errors.New("an object without a queue_id")
	}
	m := queue.Message{ID: o.ID, Place: queue.ParsePlace(o.Queue), Size: o.Size, Sender: sender(o.Sender), Forced: o.Forced || o.Forced2}
	if o.Arrival != nil {
		m.Arrived = time.Unix(*o.Arrival, 0)
	}
	for _, r := range o.Recipients {
		m.Recipients = append(m.Recipients, queue.Recipient{Address: r.Address, Reason: r.Reason})
	}
	return m, nil
}

// scan is a reader of one line. Every method answers false for anything out of the ordinary, and then encoding/json decides.
type scan struct {
	b []byte
	i int
	d *decoder
}

func (s *scan) message() (queue.Message, bool) {
	var m queue.Message
	if !s.is('{') {
		return m, false
	}
	var seen uint16 // each member once; json.Unmarshal takes the last of several
	for first := true; !s.is('}'); first = false {
		if !first && !s.is(',') {
			return m, false
		}
		name, ok := s.plain()
		if !ok || !s.is(':') {
			return m, false
		}
		bit := uint16(0)
		switch string(name) {
		case "queue_name":
			bit = 1
			var v []byte
			if v, ok = s.plain(); ok {
				m.Place = queue.ParsePlace(string(v))
			}
		case "queue_id":
			bit = 2
			var v []byte
			v, ok = s.plain()
			m.ID = string(v)
		case "arrival_time":
			bit = 4
			var n int64
			n, ok = s.number()
			m.Arrived = time.Unix(n, 0)
		case "message_size":
			bit = 8
			m.Size, ok = s.number()
		case "forced_expire", "force_expired":
			bit = 16
			var v bool
			v, ok = s.truth()
			m.Forced = v
		case "sender":
			bit = 32
			var v string
			v, ok = s.text()
			m.Sender = sender(v)
		case "recipients":
			bit = 64
			m.Recipients, ok = s.recipients()
		default:
			if folds(name) {
				return m, false
			}
			ok = s.skip()
		}
		if !ok || seen&bit != 0 {
			return m, false
		}
		seen |= bit
	}
	s.blank()
	return m, s.i == len(s.b) && m.ID != ""
}

func (s *scan) recipients() ([]queue.Recipient, bool) {
	if !s.is('[') {
		return nil, false
	}
	if s.is(']') {
		return nil, true
	}
	all := make([]queue.Recipient, 0, min(max(1, s.d.rcpts), 64))
	for {
		r, ok := s.recipient()
		if !ok {
			return nil, false
		}
		all = append(all, r)
		if s.is(']') {
			s.d.rcpts = len(all)
			return all, true
		}
		if !s.is(',') {
			return nil, false
		}
	}
}

func (s *scan) recipient() (r queue.Recipient, ok bool) {
	if !s.is('{') {
		return r, false
	}
	seen := 0
	for first := true; !s.is('}'); first = false {
		if !first && !s.is(',') {
			return r, false
		}
		name, ok := s.plain()
		if !ok || !s.is(':') {
			return r, false
		}
		bit := 0
		switch string(name) {
		case "address":
			bit = 1
			r.Address, ok = s.text()
		case "delay_reason":
			bit = 2
			r.Reason, ok = s.reason()
		default:
			if folds(name) {
				return r, false
			}
			ok = s.skip()
		}
		if !ok || seen&bit != 0 {
			return r, false
		}
		seen |= bit
	}
	return r, true
}

// folds tells whether encoding/json could take an unknown name for one of ours, because it compares without case.
func folds(name []byte) bool {
	for _, b := range name {
		if b >= 'A' && b <= 'Z' || b >= 0x80 {
			return true
		}
	}
	return false
}

func (s *scan) blank() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// is takes one character, after blanks.
func (s *scan) is(c byte) bool {
	s.blank()
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

// raw returns what stands between the next two quotes, and whether it is plain: printable ASCII without a backslash.
func (s *scan) raw() (v []byte, plain, ok bool) {
	if !s.is('"') {
		return nil, false, false
	}
	rest := s.b[s.i:]
	n := bytes.IndexByte(rest, '"')
	if n < 0 {
		return nil, false, false
	}
	if bytes.IndexByte(rest[:n], '\\') < 0 {
		v = rest[:n]
		s.i += n + 1
		for _, b := range v {
			if b < ' ' {
				return nil, false, false
			}
		}
		return v, true, utf8.Valid(v)
	}
	for n = 0; n < len(rest); n++ {
		switch b := rest[n]; {
		case b == '"':
			s.i += n + 1
			return rest[:n], false, true
		case b == '\\':
			n++
		case b < ' ':
			return nil, false, false
		}
	}
	return nil, false, false
}

// plain is a string without escapes.
func (s *scan) plain() ([]byte, bool) {
	v, plain, ok := s.raw()
	return v, plain && ok
}

// text is a string; escapes other than the short ones are left to encoding/json.
func (s *scan) text() (string, bool) {
	v, plain, ok := s.raw()
	if plain || !ok {
		return string(v), ok
	}
	return unescape(v)
}

func (s *scan) reason() (string, bool) {
	v, plain, ok := s.raw()
	if !ok {
		return "", false
	}
	if !plain {
		return unescape(v)
	}
	if string(v) != s.d.reason {
		s.d.reason = string(v)
	}
	return s.d.reason, true
}

func unescape(v []byte) (string, bool) {
	if !utf8.Valid(v) {
		return "", false
	}
	var b strings.Builder
	b.Grow(len(v))
	for i := 0; i < len(v); i++ {
		if v[i] != '\\' {
			b.WriteByte(v[i])
			continue
		}
		if i++; i == len(v) {
			return "", false
		}
		switch v[i] {
		case '"', '\\', '/':
			b.WriteByte(v[i])
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case 'r':
			b.WriteByte('\r')
		case 'b':
			b.WriteByte('\b')
		case 'f':
			b.WriteByte('\f')
		default:
			return "", false
		}
	}
	return b.String(), true
}

// number is an integer of at most 18 digits.
func (s *scan) number() (int64, bool) {
	s.blank()
	start := s.i
	var n int64
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		n = n*10 + int64(s.b[s.i]-'0')
		s.i++
	}
	digits := s.i - start
	if digits == 0 || digits > 18 || digits > 1 && s.b[start] == '0' {
		return 0, false
	}
	// A fraction or an exponent is not for us.
	return n, s.i < len(s.b) && strings.IndexByte(", }\t\r\n", s.b[s.i]) >= 0
}

func (s *scan) truth() (bool, bool) {
	s.blank()
	switch rest := s.b[s.i:]; {
	case bytes.HasPrefix(rest, []byte("true")):
		s.i += 4
		return true, true
	case bytes.HasPrefix(rest, []byte("false")):
		s.i += 5
		return false, true
	}
	return false, false
}

// skip passes over the value of an unknown member, if it is simple.
func (s *scan) skip() bool {
	s.blank()
	if s.i == len(s.b) {
		return false
	}
	switch c := s.b[s.i]; {
	case c == '"':
		_, ok := s.text()
		return ok
	case c == 't' || c == 'f':
		_, ok := s.truth()
		return ok
	case c >= '0' && c <= '9':
		_, ok := s.number()
		return ok
	}
	return false
}
