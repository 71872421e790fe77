package logparse

import (
	"context"
	"io"
)

// ReaderSource reads lines from a reader until its end: a pipe, standard input, an old log.
type ReaderSource struct{}

// NewReader makes a source called name that reads r to its end. It cannot resume: its Position only tells how many bytes were handed on.
func NewReader(name string, r io.Reader, o Options) *ReaderSource { return &ReaderSource{} }

func (s *ReaderSource) Name() string                                          { return "" }
func (s *ReaderSource) Run(ctx context.Context, line func(line []byte)) error { return nil }
func (s *ReaderSource) Position() Position                                    { return Position{} }
func (s *ReaderSource) Stats() SourceStats                                    { return SourceStats{} }
