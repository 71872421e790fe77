package logparse

import (
	"bytes"
	"io"
	"runtime"
	"strings"
	"testing"
)

// endless is a stream of n bytes x.
type endless struct {
	n int64
	x []byte
}

func newEndless(n int64) *endless { return &endless{n, bytes.Repeat([]byte("x"), 256<<10)} }

func (e *endless) Read(p []byte) (int, error) {
	if e.n <= 0 {
		return 0, io.EOF
	}
	n := copy(p, e.x[:min(int64(len(e.x)), e.n)])
	e.n -= int64(n)
	return n, nil
}

// TestReplayOfALineWithoutEnd: 200 MB without a newline, seen or not, take a few MiB in all.
func TestReplayOfALineWithoutEnd(t *testing.T) {
	const long, most = 200 << 20, 8 << 20
	r := NewReplay(ReplayOptions{})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := r.ReadFile("stream", stampTime, io.MultiReader(newEndless(long), strings.NewReader("\nNov 21 02:16:06 mx2 postfix/qmgr[1]: AAAAAA1: removed\n"))); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > most {
		t.Errorf("%d bytes were allocated", took)
	}
	if s := r.Summary(); s.Lines != 2 || s.ForeignLines != 1 || s.PostfixLines != 1 {
		t.Fatalf("%+v", s)
	}
	// The same through a source: of a pipe, and of a file.
	n := 0
	runtime.ReadMemStats(&before)
	src := NewReader("stdin", newEndless(long), Options{})
	if err := src.Run(t.Context(), func(b []byte) { n += len(b) }); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > most || n != MaxLine || src.Stats().SkippedBytes != long-MaxLine {
		t.Errorf("%d bytes were allocated, %d handed on, %+v", took, n, src.Stats())
	}
}

// TestReplaySeesTheEndOfALongLine: reading goes on after it in the right place whatever its length is.
func TestReplaySeesTheEndOfALongLine(t *testing.T) {
	for _, n := range []int{255 << 10, 256<<10 - 1, 256 << 10, 256<<10 + 1, maxReplayLine - 1, maxReplayLine, maxReplayLine + 1, maxReplayLine + 2, 2*maxReplayLine + 3} {
		r := NewReplay(ReplayOptions{})
		in := append(bytes.Repeat([]byte("y"), n), "\nNov 21 02:16:06 mx2 postfix/qmgr[1]: AAAAAA1: removed\n"...)
		if err := r.ReadFile("log", stampTime, bytes.NewReader(in)); err != nil {
			t.Fatal(err)
		}
		if s := r.Summary(); s.Lines != 2 || s.PostfixLines != 1 {
			t.Errorf("%d: %+v", n, s)
		}
	}
}
