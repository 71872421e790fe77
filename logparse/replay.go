package logparse

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sparemx/sparemx/queue"
)

// ReplayOptions say how a [Replay] reads.
type ReplayOptions struct {
	Instances []string       // as Parser.Instances
	Now       time.Time      // for a file without a modification time (stdin); zero: the present
	Location  *time.Location // of stamps without a zone; nil: local time
	OnEvent   func(*Event)   // each line of Postfix, also unparsed ones; the event is good only during the call
}

// Replay reads old logs and adds up what happened. Files given one after another are one history, so give the oldest first.
type Replay struct {
	opts    ReplayOptions
	parser  Parser
	tracker Tracker
	sum     Summary
	ev      Event
	first   time.Time
	last    time.Time
	expired map[string]bool // domains of the message that is expiring, each counted once
}

// Tally counts delivery lines, one a recipient and attempt, by their status. Expired counts messages.
type Tally struct {
	Sent     uint64 `json:"sent"`
	Deferred uint64 `json:"deferred"`
	Bounced  uint64 `json:"bounced"`
	Expired  uint64 `json:"expired"`
}

// Summary is what "sparemx replay --json" prints.
type Summary struct {
	Schema       int               `json:"schema"` // 1
	Lines        uint64            `json:"lines"`
	PostfixLines uint64            `json:"postfix_lines"`
	ForeignLines uint64            `json:"foreign_lines"` // all that are not Postfix's, empty ones too
	Unparsed     uint64            `json:"unparsed"`      // lines of Postfix not known, and those over 1 MiB
	First        *string           `json:"first"`         // the earliest and latest Postfix line, RFC 3339; null when there is none
	Last         *string           `json:"last"`
	Deliveries   Tally             `json:"deliveries"`
	Deferrals    map[string]uint64 `json:"deferrals"`   // deferred delivery lines by cause
	ByService    map[string]*Tally `json:"by_service"`  // by the tag as logged: "postfix/smtp", "postfix/relay/smtp"; expired stand at qmgr
	Rejects      uint64            `json:"rejects"`     // "reject:" lines of smtpd and postscreen; not reject_warning: or milter-reject:, not cleanup's
	Connections  uint64            `json:"connections"` // "connect from" of smtpd
	Messages     uint64            `json:"messages"`    // queue IDs that entered the queue; one that recurs, or that postsuper -r gave, counts again
	Domains      map[string]*Tally `json:"domains"`     // by recipient domain; expired: messages with a recipient there; "(none)": addresses without one
}

const (
	maxReplayLine     = 1 << 20
	maxReplayDomains  = 100_000 // further ones are "(other)"
	maxReplayServices = 1_000
)

// NewReplay returns an empty replay.
func NewReplay(opts ReplayOptions) *Replay {
	if opts.Location == nil {
		opts.Location = time.Local
	}
	r := &Replay{opts: opts, parser: Parser{Instances: opts.Instances}}
	r.tracker.Max = 2_000_000 // as many messages at a time are told apart exactly
	r.tracker.OnArrival = func(queue.Arrival) { r.sum.Messages++ }
	r.tracker.OnRequeue = func(time.Time, string, string, string) { r.sum.Messages++ } // the same message, under another ID
	r.tracker.OnOutcome = r.outcome
	r.sum.Schema = 1
	r.sum.Deferrals, r.sum.ByService, r.sum.Domains = map[string]uint64{}, map[string]*Tally{}, map[string]*Tally{}
	r.expired = map[string]bool{}
	return r
}

// ReadFile reads one log, also one packed with gzip. Years that its stamps lack are taken from mtime backwards: the last line is at most
// a day younger than mtime, and each step from December back to January is a year. For that a file without years is read twice, so in
// must be an io.Seeker; for a stream that is not, each stamp is of the year before mtime (or now). A line over 1 MiB is cut and counted as
// unparsed. An error in the middle (a damaged archive) keeps what was read before.
func (r *Replay) ReadFile(name string, mtime time.Time, in io.Reader) error {
	if mtime.IsZero() {
		if mtime = r.opts.Now; mtime.IsZero() {
			mtime = time.Now()
		}
	}
	mtime = mtime.In(r.opts.Location)
	r.parser.clock = clock{}
	if seeker, ok := in.(io.Seeker); ok {
		if start, err := seeker.Seek(0, io.SeekCurrent); err == nil {
			walk, err := firstYear(in, mtime)
			if err != nil {
				return fmt.Errorf("reading %s: %w", name, err)
			}
			if _, err := seeker.Seek(start, io.SeekStart); err != nil {
				return fmt.Errorf("reading %s: %w", name, err)
			}
			r.parser.clock.walk = walk
		}
	}
	err := eachLine(in, func(line []byte, cut bool) bool {
		r.line(line, cut, mtime)
		return true
	})
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	return nil
}

// firstYear reads a file for the steps of its years and returns the walk to start with; nil where the stamps have years.
func firstYear(in io.Reader, mtime time.Time) (*yearWalk, error) {
	var walk yearWalk
	var last [15]byte
	var found, years bool
	err := eachLine(in, func(line []byte, _ bool) bool {
		if len(line) > 0 && line[0] == '<' {
			if i := bytes.IndexByte(line[:min(len(line), 6)], '>'); i > 0 {
				line = line[i+1:]
			}
		}
		month, dom, _, _, _, ok := shortFields(line)
		if !ok {
			years = !found && len(line) > 4 && (line[4] == '-' || line[0] == '{')
			return !years
		}
		found = true
		if year := walk.step(month, dom); year == walk.year { // not a late line of the year before
			copy(last[:], line)
		}
		return true
	})
	if years || !found {
		return nil, ignoreDamage(err)
	}
	month, dom, hh, mm, ss, _ := shortFields(last[:])
	return &yearWalk{year: latest(mtime, month, dom, hh, mm, ss).Year() - walk.year}, ignoreDamage(err)
}

// ignoreDamage leaves what is wrong inside an archive to the second reading, which counts what it can get.
func ignoreDamage(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, gzip.ErrChecksum) || errors.Is(err, gzip.ErrHeader) {
		return nil
	}
	return err
}

// eachLine calls f for each line, without its end; the last one may lack it. f returns false to stop.
func eachLine(in io.Reader, f func(line []byte, cut bool) bool) error {
	b := bufio.NewReaderSize(in, 256<<10)
	if head, _ := b.Peek(6); bytes.HasPrefix(head, []byte("\x1f\x8b")) {
		z, err := gzip.NewReader(b)
		if err != nil {
			return err
		}
		b = bufio.NewReaderSize(z, 256<<10)
	} else if tool := packer(head); tool != "" {
		return fmt.Errorf("packed; unpack it first: %s FILE | sparemx replay -", tool)
	}
	var long []byte
	for {
		line, err := b.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) || len(long) > 0 {
			if room := maxReplayLine + 2 - len(long); room > 0 {
				long = append(long, line[:min(len(line), room)]...)
			}
			if errors.Is(err, bufio.ErrBufferFull) {
				continue
			}
			line = long
		}
		if len(line) > 0 {
			end := len(line)
			for end > 0 && (line[end-1] == '\n' || line[end-1] == '\r') {
				end--
			}
			if cut := end > maxReplayLine; !f(line[:min(end, maxReplayLine)], cut) {
				return nil
			}
		}
		long = long[:0]
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// packer names the tool for a file that we cannot unpack, by its first bytes.
func packer(head []byte) string {
	switch {
	case bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")):
		return "xzcat"
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		return "zstdcat"
	case bytes.HasPrefix(head, []byte("BZh")):
		return "bzcat"
	}
	return ""
}

func (r *Replay) line(line []byte, cut bool, now time.Time) {
	r.sum.Lines++
	ev := &r.ev
	kind := r.parser.Parse(line, now, ev)
	if kind == Foreign {
		r.sum.ForeignLines++
		return
	}
	if cut {
		kind, ev.Kind = Unparsed, Unparsed
	}
	r.sum.PostfixLines++
	if !ev.Time.IsZero() {
		if r.first.IsZero() || ev.Time.Before(r.first) {
			r.first = ev.Time
		}
		if ev.Time.After(r.last) {
			r.last = ev.Time
		}
	}
	times := uint64(max(1, ev.Repeat))
	switch kind {
	case Unparsed:
		r.sum.Unparsed++
	case Delivery:
		r.delivery(ev, times)
	case ExpiredLine:
		r.sum.Deliveries.Expired++
		r.service(ev).Expired++
	case Connect:
		r.sum.Connections += times
	case Reject:
		if s := string(ev.Service); s == "smtpd" && !bytes.Contains(ev.Message, []byte("proxy-reject: ")) || s == "postscreen" {
			r.sum.Rejects += times
		}
	}
	r.tracker.Track(ev)
	clear(r.expired)
	if r.opts.OnEvent != nil {
		r.opts.OnEvent(ev)
	}
}

func (r *Replay) delivery(ev *Event, times uint64) {
	switch ev.Status {
	case Sent, Deferred, Bounced:
	default:
		return
	}
	domain := r.tracker.names.domain(ev.To)
	for _, t := range [...]*Tally{&r.sum.Deliveries, r.service(ev), r.domain(domain)} {
		switch ev.Status {
		case Sent:
			t.Sent += times
		case Deferred:
			t.Deferred += times
		case Bounced:
			t.Bounced += times
		}
	}
	if ev.Status == Deferred {
		r.sum.Deferrals[CauseOf(ev).String()] += times
	}
}

// outcome counts what the tracker alone knows: the domains of a message that expired.
func (r *Replay) outcome(o queue.Outcome) {
	if r.ev.Kind == ExpiredLine && o.Recipient != "" && !r.expired[o.Domain] {
		r.expired[o.Domain] = true
		r.domain(o.Domain).Expired++
	}
}

func (r *Replay) service(ev *Event) *Tally {
	r.tracker.names.buf = append(append(append(r.tracker.names.buf[:0], ev.Instance...), '/'), ev.Path...)
	return tally(r.sum.ByService, r.tracker.names.buf, maxReplayServices)
}

func (r *Replay) domain(domain string) *Tally {
	if domain == "" {
		domain = "(none)"
	}
	return tally(r.sum.Domains, domain, maxReplayDomains)
}

func tally[T string | []byte](in map[string]*Tally, key T, most int) *Tally {
	if t := in[string(key)]; t != nil {
		return t
	}
	name := string(key)
	if len(in) >= most {
		if name = "(other)"; in[name] != nil {
			return in[name]
		}
	}
	t := &Tally{}
	in[name] = t
	return t
}

// Summary returns the sums so far.
func (r *Replay) Summary() Summary {
	s := r.sum
	if !r.first.IsZero() {
		first, last := r.first.Format(time.RFC3339), r.last.Format(time.RFC3339)
		s.First, s.Last = &first, &last
	}
	return s
}

// MarshalJSON writes the summary.
func (r *Replay) MarshalJSON() ([]byte, error) { return json.Marshal(r.Summary()) }
