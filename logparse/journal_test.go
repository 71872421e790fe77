package logparse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"
)

// TestFakeJournalctl is no test but the child that the tests below start: the test binary again. It has nine entries and dies after each three,
// or does what FAKE says.
func TestFakeJournalctl(t *testing.T) {
	fake := os.Getenv("SPAREMX_FAKE_JOURNALCTL")
	if fake == "" {
		return
	}
	entry := func(i int) {
		fmt.Printf(`{"MESSAGE":"entry %d of %d \"__CURSOR\":\"false\"","__CURSOR":"c%d","__REALTIME_TIMESTAMP":"%d"}`+"\n", i, os.Getpid(), i, 1_700_000_000_000_000+i)
	}
	fail := func(text string) {
		fmt.Fprintln(os.Stderr, text)
		os.Exit(1)
	}
	if !slices.Contains(os.Args, "SYSLOG_FACILITY=2") {
		fail("no match given")
	}
	if fake == "noise" {
		fail(strings.Repeat("noise ", 1<<18))
	}
	first := 1
	for _, a := range os.Args {
		if c, ok := strings.CutPrefix(a, "--cursor="); ok {
			if _, err := fmt.Sscanf(c, "c%d", &first); err != nil {
				fail("Failed to seek to cursor: Invalid argument")
			}
		}
		if s, ok := strings.CutPrefix(a, "--since=@170000"); ok {
			fmt.Sscanf(s, "0000.%06d", &first)
		}
	}
	for i := first; i <= first+3 && i <= 9; i++ {
		entry(i)
	}
	if first+3 < 9 {
		os.Exit(1)
	}
	if !slices.Contains(os.Args, "--follow") {
		os.Exit(0)
	}
	if fake == "stubborn" {
		signal.Ignore(syscall.SIGTERM)
		entry(10)
		syscall.Pause()
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	<-ended
	os.Exit(0)
}

func fakeJournal(as string) Journal {
	return Journal{Command: []string{os.Args[0], "-test.run=^TestFakeJournalctl$", "--"}, Env: []string{"SPAREMX_FAKE_JOURNALCTL=" + as}}
}

func TestJournalGoesOnAfterItsChildDied(t *testing.T) {
	src := NewJournal(fakeJournal("dies"), Position{}, Options{FromStart: true})
	lines, stop := running(t, src)
	for i := 1; i <= 9; i++ {
		if l := next(t, lines); !strings.Contains(l, fmt.Sprintf("entry %d ", i)) {
			t.Fatalf("entry %d: got %q", i, l)
		}
	}
	stop()
	if p, st := src.Position(), src.Stats(); p.Cursor != "c9" || p.Time.UnixMicro() != 1_700_000_000_000_009 || st.Restarts != 2 || st.Lines != 9 {
		t.Fatalf("%+v %+v", p, st)
	}
}

func TestJournalThatRefusesTheCursorGoesByTime(t *testing.T) {
	src := NewJournal(fakeJournal("dies"), Position{Cursor: "refused", Time: time.UnixMicro(1_700_000_000_000_002)}, Options{})
	lines, stop := running(t, src)
	if l := next(t, lines); !strings.Contains(l, "entry 3 ") {
		t.Fatalf("got %q", l)
	}
	stop()
}

// TestJournalLeavesNoChild: not even one that does not end when it is told to.
func TestJournalLeavesNoChild(t *testing.T) {
	src := NewJournal(fakeJournal("stubborn"), Position{Cursor: "c8"}, Options{})
	src.grace = 50 * time.Millisecond
	lines, stop := running(t, src)
	var pid int
	for l := ""; !strings.Contains(l, "entry 10 "); {
		l = next(t, lines)
		fmt.Sscanf(l[strings.Index(l, " of "):], " of %d", &pid)
	}
	if err := syscall.Kill(pid, 0); err != nil {
		t.Fatalf("child %d is not there: %v", pid, err)
	}
	stop()
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Fatalf("child %d is left: %v", pid, err)
	}
}

func TestJournalKeepsLittleOfWhatItsChildSays(t *testing.T) {
	src := NewJournal(fakeJournal("noise"), Position{}, Options{})
	if err := src.child(context.Background(), nil, false); err == nil {
		t.Fatal("no error")
	} else {
		src.died(err)
	}
	if st := src.Stats(); !strings.Contains(st.LastError, "noise noise") || len(st.LastError) > maxStderr+100 || st.Readable != ReadableNo {
		t.Fatalf("%d bytes, %+v", len(st.LastError), st)
	}
}

func TestReaderSource(t *testing.T) {
	long := strings.Repeat("z", 3*MaxLine)
	src := NewReader("stdin", strings.NewReader("a\n\n"+long+"\nb\nno newline"), Options{})
	var got []string
	if err := src.Run(context.Background(), func(b []byte) { got = append(got, string(b)) }); err != nil {
		t.Fatal(err)
	}
	if want := []string{"a", "", long[:MaxLine], "b", "no newline"}; !slices.Equal(got, want) {
		t.Fatalf("got %d lines", len(got))
	}
	st := src.Stats()
	if st.Lines != 5 || st.LongLines != 1 || st.SkippedBytes != 2*MaxLine || int64(st.Bytes) != src.Position().Offset || st.Bytes != uint64(3*MaxLine+16) {
		t.Fatalf("%+v", st)
	}
}

func TestReaderStopsWhileItsReadWaits(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	lines, stop := running(t, NewReader("pipe", r, Options{}))
	io.WriteString(w, "x\n")
	next(t, lines)
	stop()
}

func journalctlOf(shows bool) func(context.Context) error {
	if shows {
		return func(context.Context) error { return nil }
	}
	return func(context.Context) error { return errors.New("nothing") }
}

func TestDiscover(t *testing.T) {
	now := time.Now()
	none, some := journalctlOf(false), journalctlOf(true)
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text), ModTime: now} }
	for _, c := range []struct {
		name, maillog string
		fs            fstest.MapFS
		journal       func(context.Context) error
		want, err     string
	}{
		{"maillog_file", "/var/log/postfix.log", fstest.MapFS{}, none, "file:/var/log/postfix.log", ""},
		{"usual", "", fstest.MapFS{"var/log/mail.log": file(""), "var/log/syslog": file("Nov 21 04:00:00 h postfix/smtp[1]: x\n")}, none, "file:/var/log/syslog", ""},
		{"empty mail log", "", fstest.MapFS{"var/log/maillog": file("")}, some, "file:/var/log/maillog", ""},
		{"journal", "", fstest.MapFS{"var/log/syslog": file("cron\n")}, some, "journal", ""},
		{"nothing", "", fstest.MapFS{}, none, "", "usermod -aG systemd-journal me"},
	} {
		specs, err := Discover(context.Background(), c.maillog, Probe{Root: c.fs, User: "me", Journalctl: c.journal})
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: error %v", c.name, err)
			}
		} else if err != nil || len(specs) != 1 || specs[0].Name() != c.want || specs[0].Open(Position{}, Options{}).Name() != c.want {
			t.Errorf("%s: %+v, %v", c.name, specs, err)
		}
	}
}
