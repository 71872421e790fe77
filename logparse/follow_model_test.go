package logparse

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// model is a logger, a logrotate and an administrator with one log file, and a follower that is stepped by hand, on a clock of their own. It knows
// each line that was written; at the end the follower must have handed on each of them once, in the order of its file.
type model struct {
	t    testing.TB
	dir  string
	path string
	now  time.Time
	log  []string // what was done

	w         *os.File // the logger's
	appending bool
	half      string // what is missing of a half line at the end of w
	first     string // the half that is there
	gen       int    // of the file that w writes to: a new one after each reopen or truncation
	n         int
	want      map[string]int // line -> gen
	order     map[int][]string

	src   *FileSource
	got   []string
	saved []saved
}

type saved struct {
	pos Position
	got int
}

const modelQuiet = 30 * time.Second

func newModel(t testing.TB, appending bool) *model {
	m := &model{t: t, dir: t.TempDir(), now: time.Now().Add(-1000 * time.Hour), appending: appending,
		want: map[string]int{}, order: map[int][]string{}}
	m.path = filepath.Join(m.dir, "mail.log")
	m.reopen()
	m.start(Position{}, true)
	m.look() // what is rotated away before the first look of all is nobody's
	return m
}

func (m *model) check(err error) {
	if err != nil {
		m.t.Helper()
		m.t.Fatalf("%v after %v", err, m.log)
	}
}

func (m *model) tick(d time.Duration) { m.now = m.now.Add(d) }

func (m *model) touch(path string) {
	m.tick(time.Second / 2)
	m.check(os.Chtimes(path, m.now, m.now))
}

func (m *model) touchW() {
	// The logger's file may have any name now, or none.
	m.tick(time.Second / 2)
	m.check(os.Chtimes(fmt.Sprintf("/proc/self/fd/%d", m.w.Fd()), m.now, m.now))
}

func (m *model) expect(line string) {
	m.want[line] = m.gen
	m.order[m.gen] = append(m.order[m.gen], line)
}

func (m *model) put(s string) {
	_, err := m.w.WriteString(s)
	m.check(err)
	m.touchW()
}

func (m *model) write(k int) {
	for range k {
		if m.half != "" {
			m.expect(m.first + m.half)
			m.put(m.half + "\n")
			m.first, m.half = "", ""
			continue
		}
		m.n++
		line := fmt.Sprintf("Nov 21 04:00:00 mx2 line %06d %s", m.n, strings.Repeat("x", m.n*37%300))
		m.expect(line)
		m.put(line + "\n")
	}
}

func (m *model) writeHalf() {
	if m.half != "" {
		return
	}
	m.n++
	m.first, m.half = fmt.Sprintf("half %06d %s", m.n, strings.Repeat("y", m.n*7%50)), fmt.Sprintf("other half %06d", m.n)
	m.put(m.first)
}

// cutHalf: the file ends here for good; its half line stands alone, and so does the other half, wherever it goes.
func (m *model) cutHalf() {
	if m.first != "" {
		m.expect(m.first)
		m.first = ""
	}
	m.gen++
}

func (m *model) reopen() {
	m.cutHalf()
	if m.w != nil {
		m.w.Close()
	}
	flags := os.O_CREATE | os.O_WRONLY
	if m.appending {
		flags |= os.O_APPEND
	}
	var err error
	m.w, err = os.OpenFile(m.path, flags, 0o600)
	m.check(err)
	m.touch(m.path)
}

func (m *model) exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func (m *model) shift() {
	for _, dir := range []string{"", "old"} {
		entries, _ := os.ReadDir(filepath.Join(m.dir, dir))
		slices.SortFunc(entries, func(a, b os.DirEntry) int { return modelNumber(b.Name()) - modelNumber(a.Name()) })
		for _, e := range entries {
			if i := modelNumber(e.Name()); i > 0 {
				to := strings.Replace(e.Name(), fmt.Sprintf(".%d", i), fmt.Sprintf(".%d", i+1), 1)
				m.check(os.Rename(filepath.Join(m.dir, dir, e.Name()), filepath.Join(m.dir, dir, to)))
			}
		}
	}
}

func modelNumber(name string) (i int) {
	fmt.Sscanf(name, "mail.log.%d", &i)
	return i
}

func (m *model) rotated(i int) string { return m.path + fmt.Sprintf(".%d", i) }

// copyTruncate may have the follower look between the copy and the truncation.
func (m *model) copyTruncate(look bool) {
	if !m.exists(m.path) {
		return
	}
	m.shift()
	data, err := os.ReadFile(m.path)
	m.check(err)
	m.check(os.WriteFile(m.rotated(1), data, 0o600))
	m.touch(m.rotated(1))
	if look {
		m.look()
	}
	m.cutHalf()
	m.check(os.Truncate(m.path, 0))
	m.touch(m.path)
}

// compress may have the follower look when the compressed file is half written, and when both are there.
func (m *model) compress(i int, look bool) {
	data, err := os.ReadFile(m.rotated(i))
	if err != nil {
		return
	}
	fi, err := os.Stat(m.rotated(i))
	m.check(err)
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(data)
	z.Close()
	if look {
		m.check(os.WriteFile(m.rotated(i)+".gz", b.Bytes()[:b.Len()/2], 0o600))
		m.look()
	}
	m.check(os.WriteFile(m.rotated(i)+".gz", b.Bytes(), 0o600))
	m.check(os.Chtimes(m.rotated(i)+".gz", fi.ModTime(), fi.ModTime()))
	if look {
		m.look()
	}
	m.check(os.Remove(m.rotated(i)))
}

// delivered tells whether the file's lines are all handed on, so that it may go without loss.
func (m *model) delivered(path string) bool {
	data, err := os.ReadFile(path)
	if strings.HasSuffix(path, ".gz") && err == nil {
		z, zerr := gzip.NewReader(bytes.NewReader(data))
		m.check(zerr)
		data, err = io.ReadAll(z)
	}
	if err != nil {
		return false
	}
	for _, s := range m.saved { // nor may a crash want it again
		if !m.hasAll(data, m.got[:s.got]) {
			return false
		}
	}
	return m.hasAll(data, m.got)
}

func (m *model) hasAll(data []byte, got []string) bool {
	for l := range strings.SplitSeq(strings.Trim(string(data), "\x00"), "\n") {
		if l = strings.TrimLeft(l, "\x00"); l != "" && !slices.Contains(got, l) {
			return false
		}
	}
	return true
}

func (m *model) start(p Position, fromStart bool) {
	m.src = NewFile(m.path, p, FileOptions{Options: Options{FromStart: fromStart}, Quiet: modelQuiet})
	m.src.line = func(b []byte) { m.got = append(m.got, string(b)) }
}

func (m *model) look() {
	m.tick(time.Second / 2)
	m.src.look(m.now)
}

func (m *model) save() {
	m.saved = append(m.saved, saved{m.src.Position(), len(m.got)})
	if len(m.saved) > 3 {
		m.saved = m.saved[1:]
	}
}

func (m *model) restart() {
	p := m.src.Position()
	m.src.finish()
	if m.src.Position().FilePosition != p.FilePosition {
		m.t.Fatalf("Position changed at the end: %+v, %+v", p, m.src.Position())
	}
	m.start(p, true)
}

// crash starts again from an older position: what was handed on after it comes again.
func (m *model) crash(i int) {
	if len(m.saved) == 0 {
		return
	}
	i %= len(m.saved)
	s := m.saved[i]
	m.saved = m.saved[:i+1]
	m.src.finish()
	m.got = m.got[:s.got]
	m.start(s.pos, true)
}

const modelOps = 20

func (m *model) do(op, arg byte) {
	m.log = append(m.log, fmt.Sprintf("%d/%d", op%modelOps, arg))
	switch op % modelOps {
	case 0, 1, 2:
		m.write(1 + int(arg%7))
	case 3:
		m.writeHalf()
	case 4: // rename and create, with late lines between
		if !m.exists(m.path) {
			m.reopen()
			return
		}
		m.shift()
		m.check(os.Rename(m.path, m.rotated(1)))
		if arg&1 != 0 {
			m.write(1)
		}
		if arg&2 != 0 {
			m.look()
			m.write(1)
		}
		if arg&4 != 0 { // the new file is made by logrotate, the logger is told later
			m.check(os.WriteFile(m.path, nil, 0o600))
			m.touch(m.path)
			m.look()
			m.write(2)
		}
		if arg&8 != 0 { // late lines after the follower has seen the new file, and after a longer time
			m.tick(2 * modelQuiet)
			m.look()
			m.write(1)
		}
		m.reopen()
	case 5:
		if m.appending || arg&1 != 0 {
			m.copyTruncate(arg>>5 == 4)
		}
	case 6:
		m.compress(1+int(arg%3), arg>>5 == 2)
	case 7: // to another directory
		i := 1 + int(arg%3)
		old := filepath.Join(m.dir, "old")
		m.check(os.MkdirAll(old, 0o700))
		if m.exists(m.rotated(i)) && !m.exists(filepath.Join(old, filepath.Base(m.rotated(i)))) {
			m.check(os.Rename(m.rotated(i), filepath.Join(old, filepath.Base(m.rotated(i)))))
		}
	case 8: // removed, when nothing in it is missing
		for _, name := range []string{m.rotated(1 + int(arg%4)), m.rotated(1+int(arg%4)) + ".gz"} {
			if m.delivered(name) {
				m.check(os.Remove(name))
			}
		}
	case 9: // the current file removed under the follower, which has it open; the logger writes on and reopens later
		m.look()
		if m.half == "" && m.delivered(m.path) {
			m.check(os.Remove(m.path))
			if arg&1 != 0 {
				m.write(2)
				m.look()
				m.saved = nil // what was written to the removed file is gone for a crash
			}
			m.reopen()
		}
	case 10, 11, 12:
		m.look()
	case 13:
		m.save()
	case 14, 15:
		m.restart()
	case 16:
		m.crash(int(arg))
	case 17: // rotated several times at once
		for range 1 + arg%3 {
			if m.exists(m.path) {
				m.write(1 + int(arg%2))
				m.shift()
				m.check(os.Rename(m.path, m.rotated(1)))
				m.reopen()
			}
		}
	case 18:
		m.tick(2 * modelQuiet)
	case 19: // nothing left to read, then quiet, then removed while we are away; its inode is reused
		m.look()
		if m.half == "" && m.delivered(m.path) {
			p := m.src.Position()
			m.src.finish()
			m.check(os.Remove(m.path))
			m.w.Close()
			m.reopen()
			m.write(int(arg % 3))
			m.start(p, true)
		}
	}
}

// end brings the story to rest and returns what is wrong with what was handed on.
func (m *model) end() (wrong []string) {
	m.write(1)
	m.look()
	m.tick(2 * modelQuiet)
	m.write(1)
	m.look()
	m.tick(2 * modelQuiet)
	m.look()
	defer m.w.Close()
	defer m.src.finish()
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	seen := map[string]int{}
	byGen := map[int][]string{}
	for _, l := range m.got {
		seen[l]++
		gen, ok := m.want[l]
		if !ok {
			bad("line %q was never written", l)
		}
		byGen[gen] = append(byGen[gen], l)
	}
	for l, gen := range m.want {
		if seen[l] != 1 {
			bad("line %.60q of file %d came %d times", l, gen, seen[l])
		}
	}
	slices.Sort(wrong)
	for gen, lines := range m.order {
		if wrong == nil && !slices.Equal(lines, byGen[gen]) {
			bad("file %d: lines out of order", gen)
		}
	}
	if st := m.src.Stats(); st.LostBytes != 0 || st.LagBytes != 0 {
		bad("nothing was lost, but stats say %+v", st)
	}
	return wrong
}

func runScript(t testing.TB, script []byte) (wrong, log []string) {
	if len(script) == 0 {
		return nil, nil
	}
	m := newModel(t, script[0]&1 == 0)
	for i := 1; i+1 < len(script); i += 2 {
		m.do(script[i], script[i+1])
	}
	return m.end(), m.log
}

// demand runs a script, and if it goes wrong, the shortest part of it that does.
func demand(t testing.TB, script []byte) {
	wrong, log := runScript(t, script)
	if wrong == nil {
		return
	}
	for again := true; again; {
		again = false
		for i := 1; i+1 < len(script); i += 2 {
			less := slices.Delete(slices.Clone(script), i, i+2)
			if w, l := runScript(t, less); w != nil {
				script, wrong, log, again = less, w, l, true
				break
			}
		}
	}
	t.Fatalf("appending=%v, %v:\n%s", script[0]&1 == 0, log, strings.Join(wrong, "\n"))
}

// TestEachLineOnceWhateverIsDoneToTheFile runs some stories, or as many as SPAREMX_SCRIPTS says; the shortest part of one that goes wrong is shown.
func TestEachLineOnceWhateverIsDoneToTheFile(t *testing.T) {
	scripts := uint64(modelScripts)
	if s := os.Getenv("SPAREMX_SCRIPTS"); s != "" {
		var err error
		if scripts, err = strconv.ParseUint(s, 10, 32); err != nil {
			t.Fatalf("SPAREMX_SCRIPTS: %v", err)
		}
	}
	for seed := range scripts {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			script := make([]byte, 1+2*(5+r.IntN(60)))
			for i := range script {
				script[i] = byte(r.Uint32())
			}
			demand(t, script)
		})
	}
}

func FuzzFollow(f *testing.F) {
	f.Add([]byte{0, 0, 3, 10, 0, 4, 3, 10, 0, 5, 0, 14, 0})
	f.Add([]byte{1, 3, 0, 5, 1, 0, 2, 10, 0})
	// What went wrong once: a half line after NULs; a copy that was compressed, or begins with NULs like the file.
	f.Add([]byte{1, 3, 242, 5, 51, 17, 34, 6, 253})
	f.Add([]byte{0, 2, 78, 10, 143, 5, 55, 17, 203, 6, 154})
	f.Add([]byte{1, 2, 158, 5, 91, 3, 48, 10, 232, 15, 202, 5, 169})
	f.Add([]byte{1, 1, 237, 5, 7, 0, 115, 5, 115})
	f.Add([]byte{1, 2, 103, 5, 191, 9, 201, 0, 144, 5, 235, 4, 78})
	f.Add([]byte{1, 2, 3, 1, 50, 5, 181, 4, 181, 2, 12, 0, 129, 12, 23, 5, 67, 9, 95})
	f.Add([]byte{1, 2, 48, 5, 81, 3, 151, 5, 205})
	// Seen while it was copied: by a follower that had read nothing yet; with an empty file watched for late lines.
	f.Add([]byte{0, 14, 116, 2, 224, 5, 155})
	f.Add([]byte{0, 17, 50, 5, 73, 10, 18, 14, 218, 0, 238, 5, 156})
	f.Fuzz(func(t *testing.T, script []byte) {
		demand(t, script[:min(len(script), 121)])
	})
}
