package logparse

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestTruncationUnderTheReader: the file is emptied while its first part is handed on. What was seen of it and not read is known to the byte.
func TestTruncationUnderTheReader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mail.log")
	const lines = 10_000
	line := strings.Repeat("x", 99) + "\n"
	appendTo(t, path, strings.Repeat(line, lines))
	src := NewFile(path, Position{}, FileOptions{Options: Options{FromStart: true}})
	t.Cleanup(src.finish)
	handed, fresh, n := 0, 0, 0
	src.line = func(b []byte) {
		if n++; n == 10 {
			if err := os.Truncate(path, 0); err != nil {
				t.Error(err)
			}
			appendTo(t, path, "fresh\n")
		}
		switch {
		case string(b) == "fresh":
			fresh++
		case len(b) == 99:
			handed += 100
		default: // the half line where reading ended
			handed += len(b)
		}
	}
	src.look(time.Now())
	if st := src.Stats(); fresh != 1 || st.Truncations != 1 || st.LostBytes == 0 || handed+int(st.LostBytes) != lines*100 {
		t.Fatalf("handed on %d bytes, fresh line %d times, %+v", handed, fresh, st)
	}
}

// TestRotationByDate: logrotate's dateext, twice a day and more, and the names of postlogd; several rotations go by between two looks, and the
// modification times say the opposite.
func TestRotationByDate(t *testing.T) {
	for name, suffixes := range map[string][]string{
		"dateext":  {"-20261130", "-20261201", "-20270101"},
		"dateHour": {"-2026112123", "-2026112200", "-2026112201"},
		"postlogd": {".20261121-235959", ".20261122-000000", ".20261122-000001"},
	} {
		for _, away := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " away ", away), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "mail.log")
				appendTo(t, path, "first\n")
				src, got := stepped(t, path, Position{}, FileOptions{Options: Options{FromStart: true}})
				src.look(time.Now())
				soon := time.Now().Add(time.Second)
				want := []string{"first"}
				for i, s := range suffixes {
					at := soon.Add(-time.Duration(i) * time.Millisecond) // the wrong way round
					appendTo(t, path, fmt.Sprintf("line %d\n", i))
					want = append(want, fmt.Sprintf("line %d", i))
					if i == 1 { // the second is compressed at once
						data, err := os.ReadFile(path)
						if err != nil {
							t.Fatal(err)
						}
						var b bytes.Buffer
						z := gzip.NewWriter(&b)
						z.Write(data)
						z.Close()
						os.Remove(path)
						os.WriteFile(path+s+".gz", b.Bytes(), 0o600)
						os.Chtimes(path+s+".gz", at, at)
						continue
					}
					os.Rename(path, path+s)
					os.Chtimes(path+s, at, at)
				}
				appendTo(t, path, "last\n")
				want = append(want, "last")
				if away {
					p := src.Position()
					src.finish()
					before := *got
					src, got = stepped(t, path, p, FileOptions{})
					*got = before
				}
				src.look(time.Now())
				src.look(time.Now())
				if !slices.Equal(*got, want) {
					t.Fatalf("got %q, want %q", *got, want)
				}
				if st := src.Stats(); st.LostBytes != 0 || st.LagBytes != 0 {
					t.Fatalf("%+v", st)
				}
			})
		}
	}
}

// TestCopyInTheMaking: logrotate has copied the file and not truncated it yet when we see both.
func TestCopyInTheMaking(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mail.log")
	appendTo(t, path, "")
	src, got := stepped(t, path, Position{}, FileOptions{})
	src.look(time.Now())
	appendTo(t, path, "one\ntwo\n")
	appendTo(t, path+".1", "one\ntwo\n")
	src.look(time.Now())
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	src.look(time.Now())
	appendTo(t, path, "three\n")
	src.look(time.Now())
	if st := src.Stats(); strings.Join(*got, " ") != "one two three" || st.LostBytes != 0 {
		t.Fatalf("got %q, %+v", *got, st)
	}
}

// TestCompressionInTheMaking: half a compressed file lies beside the plain one.
func TestCompressionInTheMaking(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mail.log")
	appendTo(t, path, "one\n")
	src, _ := stepped(t, path, Position{}, FileOptions{Options: Options{FromStart: true}})
	src.look(time.Now())
	p := src.Position()
	src.finish()
	appendTo(t, path, "two\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte("one\ntwo\n"))
	z.Flush()
	appendTo(t, path+".1.gz", b.String())
	appendTo(t, path, "three\n")
	src, got := stepped(t, path, p, FileOptions{})
	src.look(time.Now())
	if st := src.Stats(); strings.Join(*got, " ") != "two three" || st.LostBytes != 0 || st.LastError != "" {
		t.Fatalf("got %q, %+v", *got, st)
	}
}

// TestOldDirs: what was rotated to a directory of its own is found if we are told of it.
func TestOldDirs(t *testing.T) {
	for _, told := range []bool{true, false} {
		dir, attic := t.TempDir(), t.TempDir()
		path := filepath.Join(dir, "mail.log")
		o := FileOptions{Options: Options{FromStart: true}}
		if told {
			o.OldDirs = []string{attic}
		}
		appendTo(t, path, "one\n")
		src, got := stepped(t, path, Position{}, o)
		src.look(time.Now())
		p := src.Position()
		src.finish()
		appendTo(t, path, "two\n")
		os.Rename(path, filepath.Join(attic, "mail.log.2"))
		appendTo(t, path, "three\n")
		os.Rename(path, filepath.Join(attic, "mail.log.1"))
		appendTo(t, path, "four\n")
		src, got = stepped(t, path, p, o)
		src.look(time.Now())
		want := "four"
		if told {
			want = "two three four"
		}
		if strings.Join(*got, " ") != want {
			t.Errorf("told %v: got %q", told, *got)
		}
	}
}

// TestEventsThatNeverCome: the logger writes through another name of the file, in a directory that nobody watches.
func TestEventsThatNeverCome(t *testing.T) {
	path, other := filepath.Join(t.TempDir(), "mail.log"), filepath.Join(t.TempDir(), "hidden")
	appendTo(t, path, "one\n")
	if err := os.Link(path, other); err != nil {
		t.Fatal(err)
	}
	lines, stop := running(t, NewFile(path, Position{}, FileOptions{Options: Options{FromStart: true}, Poll: 5 * time.Millisecond}))
	defer stop()
	for i, want := range []string{"one", "two", "three"} {
		if i > 0 {
			appendTo(t, other, want+"\n")
		}
		if l := next(t, lines); l != want {
			t.Fatalf("got %q", l)
		}
	}
}

// TestAsNobody is no test but the child of the tests below, without rights: it does what it reads from standard input, a word a line, and
// answers each with a line of JSON.
func TestAsNobody(t *testing.T) {
	dir := os.Getenv("SPAREMX_AS_NOBODY")
	if dir == "" {
		return
	}
	src := NewFile(filepath.Join(dir, "mail.log"), Position{}, FileOptions{})
	a := answer{}
	src.line = func(b []byte) { a.Lines = append(a.Lines, string(b)) }
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		a = answer{UID: os.Getuid()}
		word, rest, _ := strings.Cut(in.Text(), " ")
		switch word {
		case "look":
			src.look(time.Now())
			a.Stats = src.Stats()
		case "discover":
			p := Probe{Root: os.DirFS(dir), Journalctl: journalctlOf(rest == "journal")}
			maillog := ""
			if strings.HasPrefix(rest, "/") {
				maillog = rest
			}
			specs, err := Discover(t.Context(), maillog, p)
			for _, s := range specs {
				a.Lines = append(a.Lines, s.Name()+": "+s.Why)
			}
			if err != nil {
				a.Error = err.Error()
			}
		}
		if err := json.NewEncoder(os.Stdout).Encode(a); err != nil {
			t.Fatal(err)
		}
	}
	os.Exit(0)
}

type answer struct {
	UID   int
	Lines []string
	Stats SourceStats
	Error string
}

// asNobody starts this test binary without rights in dir and gives a way to ask it.
func asNobody(t *testing.T, dir string) (ask func(string) answer) {
	if os.Getuid() != 0 {
		if os.Getenv("SPAREMX_REQUIRE") != "" {
			t.Fatal("root is required, to drop its rights")
		}
		t.Skip("REQUIRE: root, to drop its rights")
	}
	// The test binary lies where only its owner may look.
	self, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(t.TempDir(), "child")
	if err := os.WriteFile(exe, self, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, filepath.Dir(dir), filepath.Dir(exe)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(exe, "-test.run=^TestAsNobody$")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "SPAREMX_AS_NOBODY="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Stderr = os.Stderr
	to, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	from, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		to.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the child: %v", err)
		}
	})
	d := json.NewDecoder(from)
	return func(word string) (a answer) {
		t.Helper()
		fmt.Fprintln(to, word)
		if err := d.Decode(&a); err != nil {
			t.Fatal(err)
		}
		if a.UID != 65534 {
			t.Fatalf("the child is user %d", a.UID)
		}
		return a
	}
}

func chmod(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// TestUnreadableThenReadable: what is written while we may not read is handed on when we may; what was there before is not.
func TestUnreadableThenReadable(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "mail.log")
	appendTo(t, path, "before\n")
	ask := asNobody(t, dir)
	a := ask("look")
	if len(a.Lines) != 0 || a.Stats.Readable != ReadableNo || !strings.Contains(a.Stats.LastError, "permission denied") || !strings.Contains(a.Stats.LastError, "chmod g+r "+path) {
		t.Fatalf("%+v", a)
	}
	appendTo(t, path, "meanwhile\n")
	chmod(t, path, 0o640)
	if a = ask("look"); !strings.Contains(a.Stats.LastError, "usermod -aG root sparemx") {
		t.Fatalf("%+v", a)
	}
	chmod(t, path, 0o644)
	if a = ask("look"); !slices.Equal(a.Lines, []string{"meanwhile"}) || a.Stats.Readable != ReadableYes || a.Stats.LastError != "" {
		t.Fatalf("%+v", a)
	}
	// Rotated, and the new file not for us at first: a mistake in logrotate's "create".
	appendTo(t, path, "last of the old\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	appendTo(t, path, "first of the new\n")
	if a = ask("look"); !slices.Equal(a.Lines, []string{"last of the old"}) || a.Stats.Readable != ReadableNo {
		t.Fatalf("%+v", a)
	}
	appendTo(t, path, "second of the new\n")
	chmod(t, path, 0o644)
	if a = ask("look"); !slices.Equal(a.Lines, []string{"first of the new", "second of the new"}) || a.Stats.Readable != ReadableYes || a.Stats.LostBytes != 0 {
		t.Fatalf("%+v", a)
	}
}

func TestDiscoverWithoutRights(t *testing.T) {
	dir := t.TempDir()
	logs := filepath.Join(dir, "var", "log")
	if err := os.MkdirAll(logs, 0o755); err != nil {
		t.Fatal(err)
	}
	appendTo(t, filepath.Join(logs, "mail.log"), "Nov 21 04:00:00 h postfix/smtp[1]: x\n")
	ask := asNobody(t, dir)
	if a := ask("discover"); !strings.Contains(a.Error, "the log /var/log/mail.log exists") || !strings.Contains(a.Error, "usermod -aG adm nobody") {
		t.Errorf("%+v", a)
	}
	if a := ask("discover journal"); !slices.Equal(a.Lines, []string{"journal: /var/log/mail.log may not be read"}) {
		t.Errorf("%+v", a)
	}
	if a := ask("discover /var/log/mail.log"); !strings.Contains(a.Error, "chmod g+r /var/log/mail.log") || !strings.Contains(a.Error, "maillog_file_permissions=0640") {
		t.Errorf("%+v", a)
	}
	chmod(t, filepath.Join(logs, "mail.log"), 0o644)
	if a := ask("discover"); !slices.Equal(a.Lines, []string{"file:/var/log/mail.log: it holds lines of Postfix"}) {
		t.Errorf("%+v", a)
	}
}
