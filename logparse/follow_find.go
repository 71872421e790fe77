package logparse

import (
	"cmp"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Where rotated files go, beside the directory of the log itself.
var usualOldDirs = [...]string{"old", "olddir", "archive", "archived", "rotated"}

const maxSiblings = 4096 // names looked at; more is not a log directory

// sibling is a file that may be an older part of the log.
type sibling struct {
	path     string
	fi       fs.FileInfo
	dev, ino uint64
	packed   string // "" or the ending of a compressed file: ".gz"
	number   int    // of mail.log.3; -1: it has none
	date     string // digits of mail.log-20260131; "": it has none
}

// rotated: the name alone says that it is a rotated part of this log. Others are looked at only to find a file by what it holds.
func (s sibling) rotated() bool { return s.number >= 0 || s.date != "" }

// rotationName reads what a rotated file's name says, for the log file called base: mail.log.1, mail.log-20260131, mail.log.20260131-120000.gz
// (postlogd(8), maillog_file_rotate_suffix), mail-20260131.log (logrotate "extension"), mail.1.log.
func rotationName(base, name string) (number int, date, packed string, related bool) {
	number = -1
	for _, ext := range [...]string{".gz", ".bz2", ".xz", ".zst", ".lz4", ".Z"} {
		if rest, ok := strings.CutSuffix(name, ext); ok {
			name, packed = rest, ext
			break
		}
	}
	ext := filepath.Ext(base)
	stem := strings.TrimSuffix(base, ext)
	if stem == "" {
		stem, ext = base, ""
	}
	if !strings.HasPrefix(name, stem) {
		return -1, "", packed, false
	}
	mid, ok := strings.CutPrefix(name, base)
	if !ok {
		mid = strings.TrimPrefix(name, stem)
		if mid, ok = strings.CutSuffix(mid, ext); !ok {
			return -1, "", packed, true
		}
	}
	if len(mid) < 2 || !strings.ContainsRune(".-_", rune(mid[0])) {
		return -1, "", packed, true
	}
	var digits []byte
	plain := true
	for _, c := range []byte(mid[1:]) {
		switch {
		case c >= '0' && c <= '9':
			digits = append(digits, c)
		case strings.IndexByte("-_T:.", c) >= 0:
			plain = false
		default:
			return -1, "", packed, true
		}
	}
	switch {
	case len(digits) == 0:
	case plain && len(digits) <= 4:
		number = 0
		for _, c := range digits {
			number = number*10 + int(c-'0')
		}
	default:
		date = string(digits)
	}
	return number, date, packed, true
}

// siblings lists the regular files that may be older parts of the log, the oldest first. The files in not are left out. Where a file lies
// there both plain and compressed, the compressed one is left out: it may not be finished yet.
func (s *FileSource) siblings() []sibling {
	var all []sibling
	dirs := []string{filepath.Dir(s.path)}
	bases := []string{filepath.Base(s.path)}
	if real, err := filepath.EvalSymlinks(s.path); err == nil && real != s.path {
		if d := filepath.Dir(real); d != dirs[0] {
			dirs = append(dirs, d)
		}
		if b := filepath.Base(real); b != bases[0] {
			bases = append(bases, b)
		}
	}
	for _, old := range append(usualOldDirs[:], s.opt.OldDirs...) {
		if !filepath.IsAbs(old) {
			old = filepath.Join(dirs[0], old)
		}
		if !slices.Contains(dirs, old) {
			dirs = append(dirs, old)
		}
	}
	for _, dir := range dirs {
		entries, _ := os.ReadDir(dir) // what cannot be listed has nothing for us; entries read before an error count
		for _, e := range entries {
			if len(all) >= maxSiblings {
				break
			}
			var x sibling
			related := false
			for _, base := range bases {
				if n, d, p, ok := rotationName(base, e.Name()); ok && (!related || !x.rotated()) {
					x.number, x.date, x.packed, related = n, d, p, true
				}
			}
			if !related || !e.Type().IsRegular() {
				continue
			}
			fi, err := e.Info()
			if err != nil {
				continue
			}
			x.path, x.fi = filepath.Join(dir, e.Name()), fi
			x.dev, x.ino = fileID(fi)
			all = append(all, x)
		}
	}
	plain := map[string]bool{}
	for _, x := range all {
		if x.packed == "" {
			plain[x.path] = true
		}
	}
	all = slices.DeleteFunc(all, func(x sibling) bool {
		return x.packed != "" && plain[strings.TrimSuffix(x.path, x.packed)]
	})
	sortSiblings(all)
	return all
}

// sortSiblings puts the oldest first: by number or date where all rotated files have one, else by modification time.
func sortSiblings(all []sibling) {
	numbers, dates := true, true
	for _, x := range all {
		if x.rotated() {
			numbers = numbers && x.number >= 0
			dates = dates && x.date != ""
		}
	}
	byTime := func(a, b sibling) int {
		return cmp.Or(a.fi.ModTime().Compare(b.fi.ModTime()), cmp.Compare(a.path, b.path))
	}
	slices.SortFunc(all, func(a, b sibling) int {
		if a.rotated() != b.rotated() { // others first: they are never "younger than ours" by place
			if a.rotated() {
				return 1
			}
			return -1
		}
		switch {
		case !a.rotated():
			return byTime(a, b)
		case numbers:
			return cmp.Or(-cmp.Compare(a.number, b.number), byTime(a, b))
		case dates:
			return cmp.Or(cmp.Compare(a.date, b.date), byTime(a, b))
		default:
			return byTime(a, b)
		}
	})
}

func sameListing(a, b []sibling) bool {
	return slices.EqualFunc(a, b, func(x, y sibling) bool { return x.path == y.path && x.ino == y.ino && x.dev == y.dev })
}

// match is how a file answers to a position.
type match uint8

const (
	another   match = iota // not the file of the position
	shorter                // begins as that file did, but ends before the position
	itself                 // the bytes before the position are there
	forbidden              // it cannot be read
)

var errPacked = errors.New("no decompressor for it here")

// openLog opens a plain or compressed file for reading. stream is nil for a plain one.
func openLog(path, packed string) (f *os.File, stream io.Reader, fi os.FileInfo, err error) {
	// O_NONBLOCK: were it replaced by a FIFO at this moment, opening must not hang.
	f, err = os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, nil, err
	}
	if fi, err = f.Stat(); err == nil && !fi.Mode().IsRegular() {
		err = &fs.PathError{Op: "follow", Path: path, Err: errors.New("not a regular file; pipe it to standard input")}
	}
	if err == nil {
		switch packed {
		case "":
		case ".gz":
			stream, err = gzip.NewReader(f)
		case ".bz2":
			stream = bzip2.NewReader(f)
		default:
			err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("%s: %w; unpack it beside and restart", packed, errPacked)}
		}
	}
	if err != nil {
		f.Close()
		return nil, nil, nil, err
	}
	return f, stream, fi, nil
}

// resumeIn opens path and looks whether it is the file that want tells of; if itself, the tail stands at offset at (not beyond want.Offset).
// If shorter, it stands at its end.
func resumeIn(path, packed string, want FilePosition, at int64) (*tail, match, error) {
	f, stream, fi, err := openLog(path, packed)
	if err != nil {
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, errPacked) {
			return nil, forbidden, err
		}
		return nil, another, err
	}
	var t *tail
	var m match
	if stream == nil {
		t, m, err = resumePlain(path, f, fi, want, at)
	} else {
		t, m, err = resumeStream(path, f, stream, fi, want, at)
	}
	if t == nil {
		f.Close()
	}
	return t, m, err
}

func resumePlain(path string, f *os.File, fi os.FileInfo, want FilePosition, at int64) (*tail, match, error) {
	var b [fingerprintBytes]byte
	if n, err := f.ReadAt(b[:want.Head.Len], want.HeadAt); n < want.Head.Len {
		return nil, another, notEOF(err)
	}
	if fingerprint(b[:want.Head.Len]) != want.Head {
		return nil, another, nil
	}
	if fi.Size() < want.Offset {
		t, err := newTail(path, f, fi, fi.Size(), false)
		return t, shorter, err
	}
	if n, err := f.ReadAt(b[:want.Tail.Len], want.Offset-int64(want.Tail.Len)); n < want.Tail.Len {
		return nil, another, notEOF(err)
	}
	if fingerprint(b[:want.Tail.Len]) != want.Tail {
		return nil, another, nil
	}
	t, err := newTail(path, f, fi, at, want.Cut)
	return t, itself, err
}

func notEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func resumeStream(path string, f *os.File, stream io.Reader, fi os.FileInfo, want FilePosition, at int64) (*tail, match, error) {
	t := newStream(path, f, stream, fi)
	var own nobody
	if want.Offset == 0 {
		at = want.HeadAt // NULs are no lines
	}
	headEnd := want.HeadAt + int64(want.Head.Len)
	need := max(want.Offset, headEnd)
	sameHead := func() bool {
		return t.readTo() >= headEnd && t.lead == want.HeadAt && fingerprint(t.head[:want.Head.Len]) == want.Head
	}
	for t.readTo() < need {
		if got, _ := t.read(own); got != grew {
			break
		}
		if t.readTo() >= headEnd && !sameHead() {
			return nil, another, t.trouble
		}
		if t.readTo() >= need {
			break
		}
		t.p = int(min(t.readTo(), at) - t.base) // what is before at need not be kept
		t.scan = t.p
	}
	if !sameHead() {
		return nil, another, t.trouble
	}
	if t.readTo() < want.Offset {
		t.p, t.scan = t.w, t.w
		t.setMark()
		return t, shorter, t.trouble
	}
	// One read may have gone far beyond the position, but the history before it is kept; fingerprint and place it.
	end := int(want.Offset - t.base)
	if start := end - want.Tail.Len; start < 0 || fingerprint(t.buf[start:end]) != want.Tail {
		return nil, another, nil
	}
	if p := int(at - t.base); p >= 0 {
		t.p, t.scan, t.cut = p, p, want.Cut
		t.setMark()
		return t, itself, nil
	}
	return nil, another, nil
}

func newStream(path string, f *os.File, stream io.Reader, fi os.FileInfo) *tail {
	t := &tail{name: path, f: f, stream: stream, buf: make([]byte, bufBytes), head: make([]byte, 0, fingerprintBytes)}
	t.dev, t.ino = fileID(fi)
	t.packed = fi.ModTime().UnixNano()
	t.mtime.Store(t.packed - 1)
	return t
}

// openWhole opens a file to be read from its first byte.
func openWhole(path, packed string) (*tail, error) {
	f, stream, fi, err := openLog(path, packed)
	if err != nil {
		return nil, err
	}
	if stream != nil {
		return newStream(path, f, stream, fi), nil
	}
	t, err := newTail(path, f, fi, 0, false)
	if err != nil {
		f.Close()
	}
	return t, err
}

// nobody is a lock for a tail that nobody else sees yet.
type nobody struct{}

func (nobody) Lock()   {}
func (nobody) Unlock() {}
