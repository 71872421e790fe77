package logparse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Journal says which entries of the journal to read. The zero Journal is all of syslog facility mail, which is what Postfix logs to
// (postconf(5), syslog_facility).
type Journal struct {
	Units       []string // systemd units (journalctl --unit); instead of the facility
	Identifiers []string // syslog identifiers, exactly (journalctl --identifier); instead of the facility
	Directory   string   // journal files from this directory, not the system's
	Command     []string // journalctl and leading arguments; nil: journalctl from PATH
	Env         []string // added to our environment for the child, as "NAME=value"
}

// maxEntry is the longest journal entry taken, in bytes of JSON: a message of MaxLine, escaped, and its fields.
const maxEntry = 4 * MaxLine

// JournalSource reads the journal through a child, journalctl, and hands on its JSON objects, one a line. Make it with [NewJournal].
//
// Each start is two children, one after the other: the first reads what is there and ends, the second follows. One would not do: since
// systemd 251 "journalctl --follow" shows the current boot only, so that after a reboot the last lines of the boot before it would be missing.
//
// A child that dies is started again from the last entry handed on, at once and then less and less often. Where the journal does not have that entry any
// more (it was removed), journalctl goes on with the one that follows it in time. Should it refuse the cursor, reading goes on from the time of the last entry.
type JournalSource struct {
	j   Journal
	opt Options

	mu     sync.Mutex
	pos    Position
	st     SourceStats
	noSeek bool // the cursor was refused: go by time
	stderr boundedText
	grace  time.Duration // how long a child may take to end
}

// NewJournal makes a source that reads j from the position resume. Nothing is started before Run.
func NewJournal(j Journal, resume Position, o Options) *JournalSource {
	s := &JournalSource{j: j, opt: o, pos: Position{Cursor: resume.Cursor, Time: resume.Time}, grace: 2 * time.Second}
	s.st.LagBytes = -1
	return s
}

// Name is "journal".
func (s *JournalSource) Name() string { return "journal" }

// Position is the cursor and the time of the last entry whose handler has returned.
func (s *JournalSource) Position() Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pos
}

// Stats tells how the source fares.
func (s *JournalSource) Stats() SourceStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.st
}

const (
	journalBackoffMin = 100 * time.Millisecond
	journalBackoffMax = 30 * time.Second
)

// Run reads the journal until ctx ends. When it returns, no child is left.
func (s *JournalSource) Run(ctx context.Context, line func([]byte)) error {
	s.mu.Lock()
	if s.pos.Cursor == "" && s.pos.Time.IsZero() && !s.opt.FromStart {
		// From now on; should the child die before the first entry, nothing is missing.
		s.pos.Time = time.Now()
	}
	s.mu.Unlock()
	backoff := journalBackoffMin
	for {
		before := s.Stats().Lines
		err := s.child(ctx, line, false)
		if err == nil && ctx.Err() == nil {
			s.mu.Lock()
			s.st.Readable, s.st.LastError = ReadableYes, ""
			s.mu.Unlock()
			err = s.child(ctx, line, true)
		}
		if ctx.Err() != nil {
			return nil
		}
		s.died(err)
		if s.Stats().Lines > before {
			backoff = journalBackoffMin
		}
		t := time.NewTimer(backoff)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
		backoff = min(2*backoff, journalBackoffMax)
		s.mu.Lock()
		s.st.Restarts++
		s.mu.Unlock()
	}
}

// args are the arguments of journalctl, from where we are.
func (s *JournalSource) args(follow bool) []string {
	// --all: else fields over 4096 bytes come as null.
	a := []string{"--output=json", "--all", "--quiet", "--no-pager",
		"--output-fields=MESSAGE,SYSLOG_IDENTIFIER,SYSLOG_PID,_PID,_HOSTNAME,PRIORITY,SYSLOG_FACILITY,_SOURCE_REALTIME_TIMESTAMP"}
	if follow {
		a = append(a, "--follow", "--no-tail") // --follow alone would show ten lines
	}
	switch {
	case s.pos.Cursor != "" && !s.noSeek:
		// Not --after-cursor: it skips one entry, also where that is not the one the cursor names (it was removed, or is of another boot).
		a = append(a, "--cursor="+s.pos.Cursor)
	case !s.pos.Time.IsZero():
		after := s.pos.Time.UnixMicro() + 1
		a = append(a, fmt.Sprintf("--since=@%d.%06d", after/1e6, after%1e6)) // where to start; what comes later is shown though its clock be behind
	}
	if s.j.Directory != "" {
		a = append(a, "--directory="+s.j.Directory)
	}
	for _, u := range s.j.Units {
		a = append(a, "--unit="+u)
	}
	for _, i := range s.j.Identifiers {
		a = append(a, "--identifier="+i)
	}
	if len(s.j.Units)+len(s.j.Identifiers) == 0 {
		a = append(a, "SYSLOG_FACILITY=2")
	}
	return a
}

// child runs one journalctl to its end.
func (s *JournalSource) child(ctx context.Context, line func([]byte), follow bool) error {
	command := s.j.Command
	if len(command) == 0 {
		command = []string{"journalctl"}
	}
	s.mu.Lock()
	argv := slices.Concat(command[1:], s.args(follow))
	known, byCursor := s.pos.Cursor, s.pos.Cursor != "" && !s.noSeek
	s.mu.Unlock()
	found, shown := false, false
	s.stderr = boundedText{}
	cmd := exec.CommandContext(ctx, command[0], argv...)
	cmd.Env = append(os.Environ(), s.j.Env...)
	cmd.Stderr = &s.stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = s.grace // then it is killed
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	readErr := readLines(ctx, out, maxEntry, func(b []byte, n, cut int64) {
		var cursor string
		var at int64
		if b != nil {
			cursor, at = entryKey(b)
			if shown = true; cursor != "" && cursor == known {
				found = true
				b = nil // handed on before
			} else {
				line(b)
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.st.Bytes += uint64(n)
		s.st.SkippedBytes += uint64(cut)
		s.st.Readable, s.st.LastError = ReadableYes, ""
		if b == nil {
			return
		}
		s.st.Lines++
		s.st.LastLine = time.Now()
		if int64(len(b)) == n {
			s.st.LongLines++
		}
		if cursor != "" {
			s.pos.Cursor, s.noSeek = cursor, false
		}
		if at != 0 {
			s.pos.Time = time.UnixMicro(at)
		}
	})
	// The reader ends with the output; should it have ended otherwise, the child must go too.
	if readErr != nil {
		cmd.Cancel()
	}
	err = errors.Join(cmd.Wait(), readErr)
	if err == nil && !follow && byCursor && !found {
		s.cursorGone(shown)
	}
	return err
}

// cursorGone: the journal has no entry of our cursor. Where all it has is older than that, following from there would show nothing, also of what is written
// with a clock that was set back.
func (s *JournalSource) cursorGone(shown bool) {
	s.opt.log().Warn("the journal does not hold the last entry that was read any more; what was removed before it was read cannot be counted", "cursor", s.pos.Cursor)
	if shown {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noSeek = true
	if now := time.Now(); s.pos.Time.After(now) {
		s.pos.Time = now
	}
}

// died takes note of why a child ended.
func (s *JournalSource) died(err error) {
	said := strings.TrimSpace(s.stderr.String())
	s.mu.Lock()
	defer s.mu.Unlock()
	var text string
	switch {
	case s.pos.Cursor != "" && !s.noSeek && strings.Contains(said, "cursor"): // "Failed to seek to cursor: Invalid argument"
		s.noSeek = true
		text = fmt.Sprintf("the journal does not know our last position any more: reading goes on from %s; journalctl says: %s", s.pos.Time.UTC().Format(time.RFC3339), said)
	case errors.Is(err, exec.ErrNotFound):
		text = "journalctl is not installed: apt-get install systemd, or tell sparemx the log file"
	case strings.Contains(said, "insufficient permissions") || strings.Contains(said, "ermission denied"):
		text = fmt.Sprintf("journalctl: %s: usermod -aG systemd-journal sparemx, then restart sparemx", said)
	case err != nil:
		text = fmt.Sprintf("journalctl ended (%v) and is started again: %s", err, said)
	default:
		text = "journalctl ended and is started again: " + said
	}
	text = strings.Join(strings.Fields(text), " ")
	if text != s.st.LastError {
		s.opt.log().Warn(text)
	}
	s.st.Readable, s.st.LastError = ReadableNo, text
}

// entryKey finds the cursor and the time (microseconds) of a journal entry in JSON; "" and 0 if they are not there.
// Inside a JSON string every quote has a backslash before it, so `"__CURSOR"` followed by a colon can only be the name of a field.
func entryKey(b []byte) (cursor string, micros int64) {
	c := jsonField(b, `"__CURSOR"`)
	if bytes.IndexByte(c, '\\') < 0 {
		cursor = string(c)
	}
	micros, _ = strconv.ParseInt(string(jsonField(b, `"__REALTIME_TIMESTAMP"`)), 10, 64)
	return cursor, max(0, micros)
}

func jsonField(b []byte, quoted string) []byte {
	for {
		i := bytes.Index(b, []byte(quoted))
		if i < 0 {
			return nil
		}
		b = b[i+len(quoted):]
		v := bytes.TrimLeft(b, " \t")
		if len(v) == 0 || v[0] != ':' {
			continue
		}
		v = bytes.TrimLeft(v[1:], " \t")
		if len(v) == 0 || v[0] != '"' {
			continue
		}
		if end := bytes.IndexByte(v[1:], '"'); end >= 0 {
			return v[1 : 1+end]
		}
		return nil
	}
}

// boundedText keeps the first bytes of what is written to it.
type boundedText struct {
	mu sync.Mutex
	b  []byte
}

const maxStderr = 2 << 10

func (t *boundedText) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p[:min(len(p), maxStderr-len(t.b))]...)
	return len(p), nil
}

func (t *boundedText) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
