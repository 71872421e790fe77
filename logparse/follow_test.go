package logparse

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// running starts a follower for real, with events and its own goroutine, and gives its lines.
func running(t testing.TB, src Source) (lines chan string, stop func()) {
	lines = make(chan string, 1<<16)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- src.Run(ctx, func(b []byte) { lines <- string(b) }) }()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v", err)
		}
	}
	return lines, stop
}

func next(t testing.TB, lines chan string) string {
	t.Helper()
	select {
	case l := <-lines:
		return l
	case <-time.After(10 * time.Second):
		t.Fatal("no line came in 10 s")
		return ""
	}
}

func appendTo(t testing.TB, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

// TestLinesComePromptly has a poll of an hour: only events can bring a line in time.
func TestLinesComePromptly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mail.log")
	appendTo(t, path, "old\n")
	src := NewFile(path, Position{}, FileOptions{Options: Options{FromStart: true}, Poll: time.Hour})
	lines, stop := running(t, src)
	defer stop()
	if l := next(t, lines); l != "old" {
		t.Fatalf("got %q", l)
	}
	for i := range 50 {
		appendTo(t, path, fmt.Sprintf("line %d\n", i))
		if l := next(t, lines); l != fmt.Sprintf("line %d", i) {
			t.Fatalf("got %q", l)
		}
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	appendTo(t, path, "new\n")
	if l := next(t, lines); l != "new" {
		t.Fatalf("got %q", l)
	}
}

func stepped(t *testing.T, path string, p Position, o FileOptions) (*FileSource, *[]string) {
	src := NewFile(path, p, o)
	var got []string
	src.line = func(b []byte) { got = append(got, string(b)) }
	t.Cleanup(src.finish)
	return src, &got
}

func TestStartsAtTheEndButNotInsideALine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mail.log")
	appendTo(t, path, "before\nhalf of")
	src, got := stepped(t, path, Position{}, FileOptions{})
	src.look(time.Now())
	appendTo(t, path, " a line\nafter\n")
	src.look(time.Now())
	if want := "half of a line|after"; strings.Join(*got, "|") != want {
		t.Fatalf("got %q", *got)
	}
}

func TestTruncationBeforeReadingIsCounted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mail.log")
	appendTo(t, path, "first\n")
	src, got := stepped(t, path, Position{}, FileOptions{Options: Options{FromStart: true}})
	src.look(time.Now())
	saved := src.Position()
	saved.Size += 1000 // seen, not read
	src.finish()
	if err := os.WriteFile(path, []byte("another file, longer than the first\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	src, got = stepped(t, path, saved, FileOptions{})
	src.look(time.Now())
	if st := src.Stats(); len(*got) != 1 || st.LostBytes != 1000 || st.Truncations != 1 {
		t.Fatalf("got %q, %+v", *got, st)
	}
}

func TestLongLinesAreCutAndCounted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mail.log")
	src, got := stepped(t, path, Position{}, FileOptions{Options: Options{FromStart: true}})
	exact, long := strings.Repeat("a", MaxLine), strings.Repeat("b", 10*MaxLine)
	appendTo(t, path, exact+"\n"+long)
	src.look(time.Now())
	p := src.Position()
	if !p.Cut || len(*got) != 2 {
		t.Fatalf("%d lines, %+v", len(*got), p)
	}
	src.finish()
	src, rest := stepped(t, path, p, FileOptions{}) // resumed inside the long line
	appendTo(t, path, "bbb\nend\n")
	src.look(time.Now())
	if (*got)[0] != exact || (*got)[1] != long[:MaxLine] || len(*rest) != 1 || (*rest)[0] != "end" {
		t.Fatalf("lengths %d %d, then %q", len((*got)[0]), len((*got)[1]), *rest)
	}
}

func TestUnreadableSaysWhatToType(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "mail.log")
	src, _ := stepped(t, path, Position{}, FileOptions{})
	src.look(time.Now())
	if st := src.Stats(); st.Readable != ReadableNo || !strings.Contains(st.LastError, "postconf maillog_file") || !src.Position().Absent {
		t.Fatalf("%+v", st)
	}
	src.cannotOpen(&os.PathError{Op: "open", Path: path, Err: os.ErrPermission})
	if st := src.Stats(); !strings.Contains(st.LastError, "usermod -aG") {
		t.Fatalf("%+v", st)
	}
	appendTo(t, path, "x\n")
	src.look(time.Now())
	if st := src.Stats(); st.Lines != 1 || st.Readable != ReadableYes || st.LastError != "" {
		t.Fatalf("%+v", st)
	}
}

func TestSymlinkReplaced(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "mail.log")
	appendTo(t, filepath.Join(dir, "a"), "a1\n")
	appendTo(t, filepath.Join(dir, "b"), "b1\n")
	if err := os.Symlink("a", path); err != nil {
		t.Fatal(err)
	}
	src, got := stepped(t, path, Position{}, FileOptions{Options: Options{FromStart: true}})
	src.look(time.Now())
	os.Remove(path)
	if err := os.Symlink("b", path); err != nil {
		t.Fatal(err)
	}
	appendTo(t, filepath.Join(dir, "a"), "a2\n")
	src.look(time.Now())
	if strings.Join(*got, " ") != "a1 a2 b1" {
		t.Fatalf("got %q", *got)
	}
}

func TestPositionCoversWhatWasHandedOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mail.log")
	appendTo(t, path, strings.Repeat("12345678\n", 1000))
	src := NewFile(path, Position{}, FileOptions{Options: Options{FromStart: true}})
	n := int64(0)
	src.line = func([]byte) {
		if off := src.Position().Offset; off != n*9 {
			t.Fatalf("line %d: position %d", n, off)
		}
		n++
	}
	src.look(time.Now())
	src.finish()
	if n != 1000 || src.Position().Offset != 9000 {
		t.Fatalf("%d lines, %+v", n, src.Position())
	}
}

func TestDescriptorsAreGivenBack(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "mail.log")
	open := func() int {
		e, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(e)
	}
	now := time.Now()
	src, got := stepped(t, path, Position{}, FileOptions{Options: Options{FromStart: true}})
	before := open()
	for i := range 100 {
		appendTo(t, path, fmt.Sprintf("line %d\n", i))
		src.look(now)
		os.Rename(path, path+".1")
		now = now.Add(time.Minute)
	}
	appendTo(t, path, "last\n")
	for range 3 {
		src.look(now)
		now = now.Add(time.Minute)
	}
	if after := open(); after != before+1 || len(*got) != 101 {
		t.Fatalf("%d descriptors, then %d; %d lines", before, after, len(*got))
	}
}

func TestPositionsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "positions.json")
	if m, err := LoadPositions(path); err != nil || len(m) != 0 {
		t.Fatal(m, err)
	}
	want := Position{FilePosition: FilePosition{Inode: 5, Offset: 3, Head: fingerprint([]byte("abc")), Tail: fingerprint([]byte("abc"))}}
	if err := SavePositions(path, map[string]Position{"file:/x": want}); err != nil {
		t.Fatal(err)
	}
	m, err := LoadPositions(path)
	if err != nil || m["file:/x"].FilePosition != want.FilePosition {
		t.Fatal(m, err)
	}
	for _, bad := range []string{"", "{", `{"schema":2}`, `{"schema":1,"positions":{"x":{"offset":-1}}}`, `{"schema":1,"positions":{"x":{"offset":9,"head":{"len":99999,"sum":"x"}}}}`} {
		os.WriteFile(path, []byte(bad), 0o600)
		if m, err := LoadPositions(path); err == nil || m == nil || len(m) != 0 {
			t.Errorf("%q: %v, %v", bad, m, err)
		}
	}
}

// BenchmarkFollow reads a million lines of 147 bytes from a file to a handler that counts.
func BenchmarkFollow(b *testing.B) {
	const lines = 1_000_000
	path := filepath.Join(b.TempDir(), "mail.log")
	line := "Nov 21 04:00:00 mx2 postfix/smtp[1234]: " + strings.Repeat("x", 106) + "\n"
	if err := os.WriteFile(path, []byte(strings.Repeat(line, lines)), 0o600); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(lines * len(line)))
	b.ReportAllocs()
	for b.Loop() {
		ctx, cancel := context.WithCancel(context.Background())
		var n atomic.Int64
		NewFile(path, Position{}, FileOptions{Options: Options{FromStart: true}}).Run(ctx, func([]byte) {
			if n.Add(1) == lines {
				cancel()
			}
		})
		if n.Load() != lines {
			b.Fatalf("%d lines", n.Load())
		}
	}
	b.ReportMetric(float64(lines)*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
}
