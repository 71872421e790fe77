package logparse

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// The follower hands on each line of a log file once, whatever is done to the file:
//
//   - Renamed, and a new one made: the old file is read to its end, then the new one. The old one stays open and is still read, beside
//     the new one, until it has not grown for Quiet and the new one holds something (a logger that was never told to reopen keeps
//     writing to the old one). Lines keep their order within each file.
//   - Several rotations between two looks, or while we were not running: the file we were in is found by inode and fingerprint among the
//     rotated ones (also compressed by gzip or bzip2, also in olddir), its rest is read, then each younger one, then the current one.
//     If it is nowhere, each rotated file modified after it is read, then the current one.
//   - Copied and truncated: a copy that holds what we had not read is found the same way. What was in no copy is counted as LostBytes, as far
//     as we had seen it: the last size seen less what was read. What was written after our last look at the size and before the
//     truncation leaves no trace and cannot be counted.
//   - Truncated and grown beyond where we were: each read compares the bytes before it with those that were read before.
//   - Holes of NULs, left by truncation under a writer that does not append, are skipped before a line and counted.
//   - A line without its newline waits until it is complete. At the end of a file that is done with (rotated and quiet, unpacked to its end,
//     truncated) it is handed on as it is.
//   - Removed, replaced (also a symbolic link), made unreadable and readable again, not there yet: it is read when it can be.
//   - A crash: lines handed on after the last saved Position come again, none is missing.
//
// The file is looked at when the system says that something in its directory changed, and once in Poll besides.

// FileOptions are Options and what only a file has. The zero FileOptions are fine.
type FileOptions struct {
	Options
	OldDirs []string      // directories where rotated files go (logrotate's olddir), absolute or relative to the file's directory; "old", "archive" and the like are looked into in any case
	Poll    time.Duration // how often to look when no event comes; 0: 1 s, 250 ms where the system gives no events
	Quiet   time.Duration // how long a rotated file must be without growth until it is done with; 0: 30 s
}

// maxOlder is how many rotated files are watched for late lines at once; beyond it the quietest is let go.
const maxOlder = 8

// FileSource follows one log file by name. Make it with [NewFile].
type FileSource struct {
	path   string
	resume Position
	opt    FileOptions
	lg     *slog.Logger
	line   func([]byte)
	stop   atomic.Bool

	mu     sync.Mutex // guards the tails against Position and Stats; Run alone changes them, with mu held
	main   *tail      // the file whose lines come now
	next   []*tail    // read after main is at its end, in this order; the last is the current file, as far as could be opened
	older  []*tail    // rotated, read to their end, watched for late lines
	begun  bool       // resume is used up: Position tells of the tails
	absent bool       // the file was not there when we started
	from   *startAt   // the file was there and not readable when we started
	final  *Position  // after Run
	latest int64      // the latest modification seen in files that are let go
	ailing bool       // the last read failed
	stats  SourceStats
}

// startAt is the end of a file that could not be read yet.
type startAt struct {
	dev, ino uint64
	size     int64
}

// NewFile makes a source that follows the file at path from the position resume. Nothing is opened before Run.
func NewFile(path string, resume Position, o FileOptions) *FileSource {
	if o.Quiet <= 0 {
		o.Quiet = 30 * time.Second
	}
	return &FileSource{path: filepath.Clean(path), resume: resume, opt: o, lg: o.log().With("log_file", path)}
}

// Name is "file:" and the path.
func (s *FileSource) Name() string { return "file:" + s.path }

// Run follows the file until ctx ends.
func (s *FileSource) Run(ctx context.Context, line func([]byte)) error {
	stopped := context.AfterFunc(ctx, func() { s.stop.Store(true) })
	defer stopped()
	s.line = line
	defer s.finish()
	w := watchLog(s.path, s.lg)
	defer w.close()
	wait := time.NewTimer(0)
	defer wait.Stop()
	for ctx.Err() == nil {
		w.ensure() // before the look, so that nothing falls between
		now := time.Now()
		s.look(now)
		wait.Reset(s.pause(now, w.works()))
		w.wait(ctx, wait.C)
	}
	return nil
}

// pause is how long to sleep if no event comes.
func (s *FileSource) pause(now time.Time, events bool) time.Duration {
	d := time.Second
	if !events {
		d = 250 * time.Millisecond
	}
	if s.opt.Poll > 0 {
		d = s.opt.Poll
	}
	// A rotated file may lie in a directory that is not watched: look more often while late lines are likely.
	for _, t := range s.older {
		if now.Sub(t.grown) < s.opt.Quiet {
			return min(d, 200*time.Millisecond)
		}
	}
	return d
}

// Position covers exactly the lines whose handler has returned.
func (s *FileSource) Position() Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.positionLocked()
}

func (s *FileSource) positionLocked() Position {
	if s.final != nil {
		return *s.final
	}
	if !s.begun {
		p := s.resume
		p.Absent = p.Absent || s.absent
		return p
	}
	p := Position{FilePosition: s.raise(s.main.position())}
	for _, t := range s.older {
		p.Older = append(p.Older, s.raise(t.position()))
	}
	return p
}

// raise makes ModTime the latest modification seen in any file: a rotated file that got late lines is not younger than main.
func (s *FileSource) raise(p FilePosition) FilePosition {
	p.ModTime = max(p.ModTime, s.latest)
	for _, t := range s.older {
		p.ModTime = max(p.ModTime, t.mtime.Load())
	}
	return p
}

// Stats tells how the follower fares.
func (s *FileSource) Stats() SourceStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	for _, t := range slices.Concat(s.older, s.next) {
		st.LagBytes += t.lag()
	}
	if s.main != nil {
		st.LagBytes += s.main.lag()
	}
	return st
}

func (s *FileSource) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.positionLocked()
	s.final = &p
	for _, t := range append(slices.Concat(s.older, s.next), s.main) {
		if t != nil {
			t.close()
		}
	}
	s.main, s.next, s.older = nil, nil, nil
}

// look hands on all that is there now.
func (s *FileSource) look(now time.Time) {
	for !s.stop.Load() {
		if s.main == nil {
			if !s.begin(now) {
				return
			}
			continue
		}
		s.late(now)
		if s.unseen(now) {
			continue
		}
		if s.pump(s.main, now) == rewritten {
			s.rewritten(now)
			continue
		}
		if !s.stop.Load() && !s.advance(now) {
			break
		}
	}
	s.letGo(now)
}

// pump hands on what t has, until it has no more or turns out to be rewritten.
func (s *FileSource) pump(t *tail, now time.Time) fresh {
	s.count(0, func(c *counts) { t.hand(s.line, &s.stop, c) }) // what was read while we looked for the place to begin
	for !s.stop.Load() {
		from := t.readTo()
		got, err := t.read(&s.mu)
		s.ailing = err != nil
		if err != nil {
			s.trouble(ReadableNo, fmt.Sprintf("reading the log: %v", err))
			return nothingNew
		}
		if t.trouble != nil {
			s.trouble(ReadableYes, fmt.Sprintf("%s is damaged and was read as far as it goes: %v", t.name, t.trouble))
			t.trouble = nil
		}
		if got != grew {
			return got
		}
		t.grown = now
		s.count(t.readTo()-from, func(c *counts) { t.hand(s.line, &s.stop, c) })
	}
	return nothingNew
}

// count runs f and adds what it counted, and the bytes read, to the stats.
func (s *FileSource) count(read int64, f func(*counts)) {
	var c counts
	f(&c)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Bytes += uint64(read)
	s.stats.Lines += c.lines
	s.stats.SkippedBytes += c.skipped
	s.stats.LongLines += c.long
	s.stats.NULBytes += c.nuls
	if c.lines > 0 {
		s.stats.LastLine = time.Now()
	}
}

// late reads what was still written to rotated files.
func (s *FileSource) late(now time.Time) {
	for _, t := range slices.Clone(s.older) {
		if s.pump(t, now) == rewritten {
			s.lose(t.size.Load()-t.readTo(), "a rotated file was truncated before it was read", "file", t.name)
			s.drop(t)
		} else if t.ended {
			s.drop(t)
		}
	}
}

// letGo closes rotated files that have been quiet long enough.
func (s *FileSource) letGo(now time.Time) {
	if s.main == nil || s.main.readTo() == 0 {
		return // nobody writes to the new file yet: the logger may not have reopened
	}
	for _, t := range slices.Clone(s.older) {
		if now.Sub(t.grown) >= s.opt.Quiet {
			s.drop(t)
		}
	}
}

// drop ends with a rotated file: its half line is handed on, and it is closed.
func (s *FileSource) drop(t *tail) {
	s.count(0, func(c *counts) { t.rest(s.line, &s.stop, c) })
	if s.stop.Load() && t.p < t.w && !t.cut {
		return // the half line is not handed on: the position must still tell of it
	}
	s.mu.Lock()
	s.latest = max(s.latest, t.mtime.Load())
	s.older = slices.DeleteFunc(s.older, func(o *tail) bool { return o == t })
	s.mu.Unlock()
	t.close()
}

// begin opens the first file; false: it is not there or not readable yet.
func (s *FileSource) begin(now time.Time) bool {
	if s.resume.FilePosition != (FilePosition{}) {
		return s.again(now)
	}
	t, err := openWhole(s.path, "")
	if err != nil {
		s.cannotOpen(err)
		if errors.Is(err, fs.ErrNotExist) {
			s.mu.Lock()
			s.absent = true
			s.mu.Unlock()
		} else if fi, err := os.Stat(s.path); err == nil && s.from == nil && !s.absent {
			dev, ino := fileID(fi)
			s.from = &startAt{dev, ino, fi.Size()}
		}
		return false
	}
	if !s.opt.FromStart && !s.absent && !s.resume.Absent {
		end := t.size.Load()
		if s.from != nil && s.from.dev == t.dev && s.from.ino == t.ino {
			end = min(end, s.from.size)
		} else if s.from != nil {
			end = 0 // another file than the one that was there: all of it is new
		}
		fi, err := t.f.Stat()
		var at *tail
		if err == nil {
			at, err = newTail(s.path, t.f, fi, lineStart(t.f, end), false)
		}
		if err != nil {
			t.close()
			s.cannotOpen(err)
			return false
		}
		t = at
	}
	t.grown = now
	s.open([]*tail{t}, now)
	return true
}

// lineStart is the start of the line that the byte before end belongs to, if that line has no newline yet: the other half may come.
func lineStart(f *os.File, end int64) int64 {
	b := make([]byte, min(end, MaxLine))
	n, _ := f.ReadAt(b, end-int64(len(b)))
	if n < len(b) {
		return end
	}
	for i := len(b); i > 0; i-- {
		if b[i-1] == '\n' {
			return end - int64(len(b)-i)
		}
	}
	if int64(len(b)) == end {
		return 0
	}
	return end
}

// open makes the first of queue the main file, the others follow.
func (s *FileSource) open(queue []*tail, now time.Time) {
	s.age(queue, now)
	s.mu.Lock()
	s.main, s.next = queue[0], queue[1:]
	s.begun = true
	s.latest = s.resume.ModTime
	s.stats.Readable, s.stats.LastError = ReadableYes, ""
	s.mu.Unlock()
}

// age tells newly opened files when they last grew: one that was last written long ago has been quiet already.
func (s *FileSource) age(tails []*tail, now time.Time) {
	for _, t := range tails {
		t.grown = now
		if now.Sub(time.Unix(0, t.mtime.Load())) > s.opt.Quiet {
			t.grown = now.Add(-s.opt.Quiet)
		}
	}
}

// advance goes to the next file; false: main is the file the name means.
func (s *FileSource) advance(now time.Time) bool {
	if len(s.next) > 0 {
		s.lg.Debug("log rotated", "from", s.main.name, "to", s.next[0].name)
		s.retire()
		return true
	}
	fi, err := os.Stat(s.path)
	if err != nil {
		s.cannotOpen(err)
		return false
	}
	if dev, ino := fileID(fi); dev == s.main.dev && ino == s.main.ino && s.main.stream == nil {
		s.fine()
		return false
	}
	queue := s.younger(s.main)
	if len(queue) == 0 {
		return false
	}
	s.age(queue, now)
	s.mu.Lock()
	s.next = queue
	s.mu.Unlock()
	return true // main is read once more before it is left: it was still written to before the new one was there
}

// retire moves main to the rotated files and the next one to main.
func (s *FileSource) retire() {
	old := s.main
	s.mu.Lock()
	s.older = append(s.older, old)
	s.main, s.next = s.next[0], s.next[1:]
	s.stats.Rotations++
	s.mu.Unlock()
	if old.ended {
		s.drop(old)
	}
	if len(s.older) > maxOlder {
		s.drop(slices.MinFunc(s.older, func(a, b *tail) int { return a.grown.Compare(b.grown) }))
	}
}

func (s *FileSource) lose(n int64, why string, more ...any) {
	if n <= 0 {
		return
	}
	s.mu.Lock()
	s.stats.LostBytes += uint64(n)
	s.mu.Unlock()
	s.lg.Warn(why, append(more, "lost_bytes", n)...)
}

// trouble shows what is wrong, and logs it when it is news.
func (s *FileSource) trouble(r Readable, text string) {
	s.mu.Lock()
	news := s.stats.LastError != text
	s.stats.Readable, s.stats.LastError = r, text
	s.mu.Unlock()
	if news {
		s.lg.Warn(text)
	}
}

func (s *FileSource) fine() {
	if s.ailing {
		return
	}
	s.mu.Lock()
	s.stats.Readable, s.stats.LastError = ReadableYes, ""
	s.mu.Unlock()
}

func (s *FileSource) cannotOpen(err error) {
	switch {
	case errors.Is(err, fs.ErrNotExist) && s.main != nil:
		// Usual for a moment, and for hours where the logger makes the file with its first line.
		s.trouble(ReadableYes, fmt.Sprintf("%s is not there; still reading the file that was", s.path))
	case errors.Is(err, fs.ErrNotExist):
		s.trouble(ReadableNo, fmt.Sprintf("%s is not there: it is read from its start when it appears; is this where Postfix logs to? (postconf maillog_file; or journalctl SYSLOG_FACILITY=2)", s.path))
	case errors.Is(err, fs.ErrPermission):
		s.trouble(ReadableNo, forbiddenHint(s.path, err))
	default:
		s.trouble(ReadableNo, err.Error())
	}
}

func forbiddenHint(path string, err error) string {
	hint := "usermod -aG adm sparemx, then restart sparemx"
	if fi, statErr := os.Stat(path); statErr == nil {
		if group := groupOf(fi); group != "" && fi.Mode().Perm()&0o040 != 0 {
			hint = fmt.Sprintf("usermod -aG %s sparemx, then restart sparemx", group)
		} else if fi.Mode().Perm()&0o040 == 0 {
			hint = fmt.Sprintf("chgrp adm %s && chmod g+r %s && usermod -aG adm sparemx; postfix(1) 3.9 has maillog_file_permissions = 0640", path, path)
		}
	}
	return fmt.Sprintf("%v: give the agent the right to read it: %s", err, hint)
}
