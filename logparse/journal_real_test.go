package logparse

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// require stops the test when a program is nowhere to be found, and fails it where everything is required.
func require(t testing.TB, paths ...string) string {
	t.Helper()
	for _, p := range paths {
		if found, err := exec.LookPath(p); err == nil {
			return found
		}
	}
	if os.Getenv("SPAREMX_REQUIRE") != "" {
		t.Fatalf("%s is required and not installed", paths[0])
	}
	t.Skipf("REQUIRE: %s is not installed", paths[0])
	return ""
}

// realJournal makes journal files with systemd's own writer.
type realJournal struct {
	t      *testing.T
	writer string
	dir    string
	n      int
	epoch  time.Time
}

type journalEntry struct {
	boot                byte
	message, tag, units string
}

func newRealJournal(t *testing.T) *realJournal {
	require(t, "journalctl")
	writer := require(t, "systemd-journal-remote", "/lib/systemd/systemd-journal-remote", "/usr/lib/systemd/systemd-journal-remote")
	return &realJournal{t: t, writer: writer, dir: t.TempDir(), epoch: journalEpoch}
}

var journalEpoch = time.Date(2026, 11, 21, 4, 0, 0, 0, time.UTC)

// add appends entries, a second apart.
func (j *realJournal) add(entries ...journalEntry) {
	j.t.Helper()
	var b bytes.Buffer
	for _, e := range entries {
		j.n++
		at := j.epoch.Add(time.Duration(j.n) * time.Second).UnixMicro()
		fmt.Fprintf(&b, "__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n_BOOT_ID=%032x\n_MACHINE_ID=%032x\n_HOSTNAME=mx2\n", at, j.n*1_000_000, e.boot, 7)
		facility := 2
		if !strings.HasPrefix(e.tag, "postfix") {
			facility = 3
		}
		fmt.Fprintf(&b, "PRIORITY=6\nSYSLOG_FACILITY=%d\nSYSLOG_IDENTIFIER=%s\nSYSLOG_PID=99\n_SYSTEMD_UNIT=%s\n_SOURCE_REALTIME_TIMESTAMP=%d\nMESSAGE\n", facility, e.tag, e.units, at-100)
		b.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(e.message))))
		b.WriteString(e.message + "\n\n")
	}
	cmd := exec.Command(j.writer, "--output="+filepath.Join(j.dir, "remote.journal"), "-")
	cmd.Stdin = &b
	if out, err := cmd.CombinedOutput(); err != nil {
		j.t.Fatalf("%v: %s", err, out)
	}
}

func mailEntry(boot byte, message string) journalEntry {
	return journalEntry{boot, message, "postfix/smtpd", "postfix.service"}
}

// expect takes the lines of the messages from a source, in this order.
func expect(t *testing.T, lines chan string, messages ...string) {
	t.Helper()
	for _, want := range messages {
		line := next(t, lines)
		var e struct {
			Message json.RawMessage `json:"MESSAGE"`
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%.200q: %v", line, err)
		}
		var got string
		if json.Unmarshal(e.Message, &got) != nil { // binary: an array of numbers
			var numbers []int
			if err := json.Unmarshal(e.Message, &numbers); err != nil {
				t.Fatalf("%.200q: %v", line, err)
			}
			for _, c := range numbers {
				got += string([]byte{byte(c)})
			}
		}
		if got != want {
			t.Fatalf("got %.100q, want %.100q", got, want)
		}
		var p Parser
		var ev Event
		if kind := p.Parse([]byte(line), journalEpoch, &ev); kind == Foreign || string(ev.Service) != "smtpd" || ev.PID != 99 {
			t.Fatalf("%.200q is %v of %q, pid %d", line, kind, ev.Service, ev.PID)
		}
	}
}

func nothingMore(t *testing.T, lines chan string) {
	t.Helper()
	select {
	case l := <-lines:
		t.Fatalf("one too many: %.200q", l)
	default:
	}
}

func (j *realJournal) journal() Journal { return Journal{Directory: j.dir} }

// TestRealJournal follows a journal of systemd over a reboot, with all that a message may hold.
func TestRealJournal(t *testing.T) {
	j := newRealJournal(t)
	long := "connect from " + strings.Repeat("l", 60_000) // over 4096 bytes journalctl says null, without --all
	binary := "bytes \x00\x01\xff\xfe \x80 end"
	j.add(mailEntry(1, "connect from a[192.0.2.1]"), mailEntry(1, "two\nlines"), journalEntry{1, "cron's", "cron", "cron.service"},
		mailEntry(1, binary), mailEntry(1, long), mailEntry(1, `quotes " and "__CURSOR":"false"`), mailEntry(2, "the next boot"))
	src := NewJournal(j.journal(), Position{}, Options{FromStart: true})
	lines, stop := running(t, src)
	expect(t, lines, "connect from a[192.0.2.1]", "two\nlines", binary, long, `quotes " and "__CURSOR":"false"`, "the next boot")
	j.add(mailEntry(2, "appended"))
	expect(t, lines, "appended")
	stop()
	nothingMore(t, lines)
	p := src.Position()
	if st := src.Stats(); p.Cursor == "" || !p.Time.Equal(journalEpoch.Add(8*time.Second)) || st.Lines != 7 || st.Restarts != 0 || st.LongLines != 0 || st.Readable != ReadableYes {
		t.Fatalf("%+v %+v", p, st)
	}

	// The last words before a reboot, and the first after it, while we were not there.
	j.add(mailEntry(2, "last words"), mailEntry(2, "very last words"), mailEntry(3, "first words"), mailEntry(3, "second words"))
	src = NewJournal(j.journal(), p, Options{})
	lines, stop = running(t, src)
	expect(t, lines, "last words", "very last words", "first words", "second words")
	stop()
	nothingMore(t, lines)

	// Nothing new, then something.
	src = NewJournal(j.journal(), src.Position(), Options{})
	lines, stop = running(t, src)
	j.add(mailEntry(3, "after a pause"))
	expect(t, lines, "after a pause")
	stop()
	nothingMore(t, lines)
}

func TestRealJournalFromNowOn(t *testing.T) {
	j := newRealJournal(t)
	j.add(mailEntry(1, "old"), mailEntry(1, "older than we"), mailEntry(1, "new"), mailEntry(1, "newer"))
	// As if we had started after the second, at a microsecond of its own, and died before anything came.
	src := NewJournal(j.journal(), Position{Time: journalEpoch.Add(2 * time.Second)}, Options{})
	lines, stop := running(t, src)
	expect(t, lines, "new", "newer")
	stop()
	nothingMore(t, lines)
}

// TestRealJournalWithoutOurCursor: the journal was removed and made anew; then it is emptied of all that is younger than we are.
func TestRealJournalWithoutOurCursor(t *testing.T) {
	j := newRealJournal(t)
	j.add(mailEntry(1, "one"), mailEntry(1, "two"))
	src := NewJournal(j.journal(), Position{}, Options{FromStart: true})
	lines, stop := running(t, src)
	expect(t, lines, "one", "two")
	stop()
	p := src.Position()
	if err := os.Remove(filepath.Join(j.dir, "remote.journal")); err != nil {
		t.Fatal(err)
	}
	j.add(mailEntry(2, "three"), mailEntry(2, "four"))
	src = NewJournal(j.journal(), p, Options{})
	lines, stop = running(t, src)
	expect(t, lines, "three", "four")
	stop()
	nothingMore(t, lines)

	if err := os.Remove(filepath.Join(j.dir, "remote.journal")); err != nil {
		t.Fatal(err)
	}
	// We are from tomorrow: nothing there is younger than our cursor, and what comes is not either.
	j.epoch = time.Now().Add(-time.Hour)
	j.add(mailEntry(3, "before the clock was set back"))
	tomorrow := time.Now().Add(24 * time.Hour)
	p = Position{Time: tomorrow, Cursor: fmt.Sprintf("s=%032x;i=9;b=%032x;m=9;t=%x;x=9", 9, 9, tomorrow.UnixMicro())}
	src = NewJournal(j.journal(), p, Options{})
	if err := src.child(t.Context(), func(b []byte) { t.Fatalf("got %q", b) }, false); err != nil {
		t.Fatal(err)
	}
	lines, stop = running(t, src)
	j.epoch = time.Now().Add(time.Minute)
	j.add(mailEntry(3, "after it"))
	expect(t, lines, "after it")
	stop()
	nothingMore(t, lines)
}

func TestRealJournalByUnitAndByIdentifier(t *testing.T) {
	j := newRealJournal(t)
	j.add(mailEntry(1, "a"), journalEntry{1, "b", "postfix-mx2/smtpd", "postfix@mx2.service"}, journalEntry{1, "c", "cron", "cron.service"}, mailEntry(1, "d"))
	for _, c := range []struct {
		by   Journal
		want []string
	}{
		{Journal{Units: []string{"postfix@mx2.service"}}, []string{"b"}},
		{Journal{Units: []string{"postfix.service", "postfix@mx2.service"}}, []string{"a", "b", "d"}},
		{Journal{Identifiers: []string{"postfix-mx2/smtpd"}}, []string{"b"}},
		{Journal{Identifiers: []string{"postfix/smtpd"}}, []string{"a", "d"}},
		{Journal{}, []string{"a", "b", "d"}},
	} {
		c.by.Directory = j.dir
		src := NewJournal(c.by, Position{}, Options{FromStart: true})
		lines, stop := running(t, src)
		expect(t, lines, c.want...)
		stop()
		nothingMore(t, lines)
	}
}

// TestRealJournalForbidden reads it as somebody who may not.
func TestRealJournalForbidden(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("REQUIRE: root, to become somebody else")
	}
	setpriv := require(t, "setpriv")
	j := newRealJournal(t)
	j.add(mailEntry(1, "secret"))
	parent := filepath.Dir(j.dir)
	for _, dir := range []string{j.dir, parent} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(j.dir, "remote.journal"), 0o600); err != nil {
		t.Fatal(err)
	}
	by := j.journal()
	by.Command = []string{setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", "journalctl"}
	src := NewJournal(by, Position{}, Options{FromStart: true})
	err := src.child(t.Context(), func(b []byte) { t.Errorf("got %q", b) }, false)
	src.died(err)
	if st := src.Stats(); !slices.Contains(strings.Fields(st.LastError), "systemd-journal") || st.Readable != ReadableNo {
		t.Fatalf("%v, %+v", err, st)
	}
}
