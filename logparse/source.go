package logparse

import (
	"context"
	"log/slog"
	"time"
)

// Source is where log lines come from: a file that is rotated under us ([FileSource]), the journal ([JournalSource]), or a
// pipe ([ReaderSource]).
type Source interface {
	// Name is how people and metrics call the source: "file:/var/log/mail.log", "journal", "stdin". It is the key of its
	// position in the positions file.
	Name() string
	// Run hands each line on exactly once, without its newline, in the goroutine that called Run. The slice is good only
	// until line returns. Run returns nil when ctx ends or the input does; what can mend itself (a file that is missing or
	// not readable, a journalctl that dies) is no reason to return but shows in Stats. Run once per source.
	Run(ctx context.Context, line func([]byte)) error
	// Position covers exactly the lines whose handler has returned. Any goroutine may call it, before, during and after Run.
	Position() Position
	// Stats may be called by any goroutine. Counts are brought up to date at least after each 256 KiB read.
	Stats() SourceStats
}

// Readable says whether a source can be read at this moment. The zero value is "could not tell".
type Readable uint8

const (
	ReadableUnknown Readable = iota // not tried yet
	ReadableYes
	ReadableNo // LastError says why and what to type
)

func (r Readable) String() string { return [...]string{"unknown", "yes", "no"}[min(r, ReadableNo)] }

// SourceStats is how a source fares. Counts only grow and start at 0 with the source.
type SourceStats struct {
	Lines        uint64 // handed on
	Bytes        uint64 // read, newlines and skipped bytes included
	LagBytes     int64  // known to be there and not handed on yet, a half line included; -1: cannot tell (journal, pipe)
	LostBytes    uint64 // known to have been there and gone before we read them; what came and went unseen cannot be counted
	SkippedBytes uint64 // of lines longer than MaxLine: what was over
	LongLines    uint64 // lines cut at MaxLine
	NULBytes     uint64 // NULs before a line, left by copytruncate under a writer that does not append; skipped
	Rotations    uint64 // files begun because the one before was renamed, removed or replaced
	Truncations  uint64 // times the file became shorter or was written anew in place
	Restarts     uint64 // of journalctl, after the first start
	LastLine     time.Time
	LastError    string // one line: what went wrong last and what to type; "" when nothing is wrong now
	Readable     Readable
}

// MaxLine is the longest line handed on, in bytes. Of a longer one the first MaxLine bytes are handed on and the rest is
// skipped and counted. (Postfix itself cuts log messages at 2,000 bytes, src/util/msg_syslog.c and msg_vstream.c; syslog daemons at 8 KiB.)
const MaxLine = 64 << 10

// Options are what all sources share. The zero Options are fine.
type Options struct {
	// FromStart reads from the beginning where there is no position to resume from; the default is to start at the end, with
	// what is written from now on.
	FromStart bool
	// Log gets what an administrator should know: rotation (debug), loss, trouble. Nil: nothing is logged.
	Log *slog.Logger
}

func (o Options) log() *slog.Logger {
	if o.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Log
}
