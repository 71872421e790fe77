package logparse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// ReaderSource reads lines from a reader until its end: a pipe, standard input, an old log. Make it with [NewReader].
type ReaderSource struct {
	name string
	r    io.Reader
	mu   sync.Mutex
	off  int64
	st   SourceStats
}

// NewReader makes a source called name that reads r to its end. It cannot resume: its Position only tells how many bytes were
// handed on.
func NewReader(name string, r io.Reader, o Options) *ReaderSource {
	return &ReaderSource{name: name, r: r, st: SourceStats{LagBytes: -1}}
}

// Name is the name given to NewReader.
func (s *ReaderSource) Name() string { return s.name }

// Run hands on each line, the last one also without a newline, and returns nil at the end of the input or of ctx. A read that waits for
// input when ctx ends goes on waiting in its goroutine until there is some, or the process ends; what it gets is dropped.
func (s *ReaderSource) Run(ctx context.Context, line func([]byte)) error {
	err := readLines(ctx, s.r, MaxLine, func(b []byte, n int64, cut int64) {
		if b != nil {
			line(b)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.off += n
		s.st.Bytes += uint64(n)
		s.st.SkippedBytes += uint64(cut)
		s.st.Readable = ReadableYes
		if b == nil {
			return
		}
		s.st.Lines++
		s.st.LastLine = time.Now()
		if len(b) == MaxLine && cut == 0 && n == MaxLine {
			s.st.LongLines++
		}
	})
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		err = fmt.Errorf("reading %s: %w", s.name, err)
		s.mu.Lock()
		s.st.Readable, s.st.LastError = ReadableNo, err.Error()
		s.mu.Unlock()
	}
	return err
}

// Position tells how many bytes were handed on, as Offset.
func (s *ReaderSource) Position() Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Position{FilePosition: FilePosition{Offset: s.off}}
}

// Stats tells how the source fares.
func (s *ReaderSource) Stats() SourceStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.st
}

// readLines calls took for each line of r, in this goroutine, with the bytes of input it used up. Of a line longer than most bytes the first
// most come as a line; what follows to the newline comes in pieces with a nil line, counted in cut.
func readLines(ctx context.Context, r io.Reader, most int, took func(line []byte, n, cut int64)) error {
	type chunk struct {
		b   []byte
		err error
	}
	full, free := make(chan chunk), make(chan []byte, 2)
	free <- make([]byte, readBytes)
	free <- make([]byte, readBytes)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // the read cannot be interrupted, so it has a goroutine of its own
		for {
			b := <-free
			n, err := r.Read(b[:cap(b)])
			select {
			case full <- chunk{b[:n], err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	var half []byte // the start of a line whose end was not read yet, at most `most` bytes
	cut := false
	for {
		var c chunk
		select {
		case c = <-full:
		case <-ctx.Done():
			return ctx.Err()
		}
		b := c.b
		for len(b) > 0 {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			i := bytes.IndexByte(b, '\n')
			switch {
			case cut && i < 0:
				took(nil, int64(len(b)), int64(len(b)))
				b = nil
			case cut:
				took(nil, int64(i)+1, int64(i))
				b, cut = b[i+1:], false
			case i >= 0 && len(half)+i <= most && len(half) == 0:
				took(b[:i:i], int64(i)+1, 0)
				b = b[i+1:]
			case i >= 0 && len(half)+i <= most:
				half = append(half, b[:i]...)
				took(half, int64(len(half))+1, 0)
				b, half = b[i+1:], half[:0]
			case i < 0 && len(half)+len(b) <= most:
				half = append(half, b...)
				b = nil
			default:
				k := most - len(half)
				half = append(half, b[:k]...)
				took(half, int64(len(half)), 0)
				b, half, cut = b[k:], half[:0], true
			}
		}
		if c.err != nil {
			if len(half) > 0 {
				took(half, int64(len(half)), 0)
			}
			if errors.Is(c.err, io.EOF) {
				return nil
			}
			return c.err
		}
		free <- c.b[:0]
	}
}
