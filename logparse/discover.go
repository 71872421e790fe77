package logparse

import (
	"context"
	"io/fs"
	"time"
)

// SpecKind is the kind of a source. The zero kind is a file.
type SpecKind uint8

const (
	FromFile SpecKind = iota
	FromJournal
	FromStdin
)

func (k SpecKind) String() string { return [...]string{"file", "journal", "stdin"}[min(k, FromStdin)] }

// Spec says which source to read, and why.
type Spec struct {
	Kind    SpecKind
	Path    string  // of a file
	Journal Journal // of the journal: what to read of it
	Why     string  // one line for people: "maillog_file in main.cf", "written 3 s ago, holds lines of Postfix"
}

// Probe is how [Discover] looks at the system. The zero Probe looks at the real one.
type Probe struct {
	Root       fs.FS // the root directory; nil: "/"
	Now        func() time.Time
	User       string                          // who we are, for the hints; "": asked of the system
	Journalctl func(ctx context.Context) error // does journalctl show us anything? nil: run it
}

// Name is the name of the source that Open makes.
func (s Spec) Name() string { return "" }

// Open makes the source, to be read from resume on.
func (s Spec) Open(resume Position, o Options) Source { return nil }

// Discover finds where Postfix logs to when nothing is configured. mailLogFile is the value of maillog_file, "" if it is not set.
func Discover(ctx context.Context, mailLogFile string, p Probe) ([]Spec, error) { return nil, nil }
