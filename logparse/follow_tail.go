package logparse

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	readBytes = 256 << 10
	bufBytes  = fingerprintBytes + MaxLine + readBytes
)

// tail is one open file, read from some offset on.
//
// The buffer holds [history | not handed on]: at least the last fingerprintBytes before the next line stay, for the fingerprint of
// Position and for proving, after each read, that the file is still the one that was read. Position looks only at what lies
// before mark, and Run writes only behind it, except where it holds FileSource.mu.
type tail struct {
	name    string
	f       *os.File
	stream  io.Reader // decompresses f; nil for a plain file
	dev     uint64
	ino     uint64
	lead    int64  // NULs at its start
	head    []byte // the first bytes after them, up to fingerprintBytes, as far as read
	buf     []byte
	base    int64 // offset in the file of buf[0]
	w       int   // buf[:w] is read
	p       int   // buf[:p] is handed on
	scan    int   // buf[p:scan] has no newline
	cut     bool
	mark    atomic.Int64 // offset of p, times 2, plus 1 if cut
	size    atomic.Int64 // last size seen while it was surely the same file
	mtime   atomic.Int64 // of that moment, Unix nanoseconds
	packed  int64        // of a stream: the modification time of the compressed file
	ended   bool         // a stream that has given all
	grown   time.Time    // when it last grew
	trouble error        // why a stream ended early
}

func (t *tail) readTo() int64 { return t.base + int64(t.w) }

func (t *tail) setMark() {
	m := (t.base + int64(t.p)) << 1
	if t.cut {
		m |= 1
	}
	t.mark.Store(m)
}

func fileID(fi os.FileInfo) (dev, ino uint64) {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Dev), uint64(st.Ino)
	}
	return 0, 0
}

// newTail starts reading an open plain file at the offset at.
func newTail(name string, f *os.File, fi os.FileInfo, at int64, cut bool) (*tail, error) {
	t := &tail{name: name, f: f, buf: make([]byte, bufBytes), cut: cut}
	t.dev, t.ino = fileID(fi)
	t.size.Store(max(fi.Size(), at))
	t.mtime.Store(modTime(fi, at))
	if err := t.readHead(at); err != nil {
		return nil, err
	}
	n := int(min(at, fingerprintBytes))
	if _, err := f.ReadAt(t.buf[:n], at-int64(n)); n > 0 && err != nil {
		return nil, err
	}
	t.base, t.w, t.p, t.scan = at-int64(n), n, n, n
	t.setMark()
	return t, nil
}

// readHead finds where the text begins, before the offset at, and its first bytes.
func (t *tail) readHead(at int64) error {
	t.head = make([]byte, 0, fingerprintBytes)
	if at == 0 {
		return nil
	}
	t.lead = at
	data, err := t.f.Seek(0, unix.SEEK_DATA) // over a hole at once; ENXIO: there is nothing else
	if err != nil && !errors.Is(err, unix.ENXIO) {
		data = 0
	}
	for from := data; err == nil && from < at; from += int64(len(t.buf)) {
		b := t.buf[:min(int64(len(t.buf)), at-from)]
		if _, err := t.f.ReadAt(b, from); err != nil {
			return err
		}
		if nuls := len(b) - len(bytes.TrimLeft(b, "\x00")); nuls < len(b) {
			t.lead = from + int64(nuls)
			break
		}
	}
	t.head = t.head[:min(at-t.lead, fingerprintBytes)]
	_, err = t.f.ReadAt(t.head, t.lead)
	if len(t.head) == 0 {
		return nil
	}
	return err
}

// takeHead takes the head from what was read, b, if it goes on there.
func (t *tail) takeHead(b []byte) {
	if len(t.head) == 0 && t.readTo() == t.lead {
		text := bytes.TrimLeft(b, "\x00")
		t.lead += int64(len(b) - len(text))
		b = text
	} else if t.readTo() != t.lead+int64(len(t.head)) {
		return
	}
	t.head = append(t.head, b[:min(len(b), fingerprintBytes-len(t.head))]...)
}

// modTime is the time of the last modification that was read: just before the file's own if there is something and none of it was read.
func modTime(fi os.FileInfo, at int64) int64 {
	if at == 0 && fi.Size() > 0 {
		return fi.ModTime().UnixNano() - 1
	}
	return fi.ModTime().UnixNano()
}

// reset starts the same open file again from its first byte.
func (t *tail) reset() {
	t.lead, t.head = 0, t.head[:0]
	t.base, t.w, t.p, t.scan, t.cut = 0, 0, 0, 0, false
	t.size.Store(0)
	t.mtime.Store(0)
	t.setMark()
}

// position is the place before the next line. The caller holds FileSource.mu.
func (t *tail) position() FilePosition {
	m := t.mark.Load()
	return t.positionAt(m>>1, m&1 == 1)
}

func (t *tail) positionAt(off int64, cut bool) FilePosition {
	p := FilePosition{Device: t.dev, Inode: t.ino, Size: t.size.Load(), ModTime: t.mtime.Load(), HeadAt: t.lead}
	if off <= t.lead {
		// A half line, not handed on, is all that tells this file from others; NULs alone tell nothing.
		p.Head = fingerprint(t.head)
		return p
	}
	end := int(off - t.base)
	p.Offset, p.Cut = off, cut
	p.Head = fingerprint(t.head[:min(int64(len(t.head)), off-t.lead)])
	p.Tail = fingerprint(t.buf[max(0, end-fingerprintBytes):end])
	return p
}

// lag is how much is there and not handed on.
func (t *tail) lag() int64 {
	if t.stream != nil {
		return max(0, t.readTo()-t.mark.Load()>>1)
	}
	return max(0, t.size.Load()-t.mark.Load()>>1)
}

// same tells whether the bytes before the read offset are still those that were read.
func (t *tail) same() bool {
	var now [fingerprintBytes]byte
	n := min(t.w, fingerprintBytes)
	if _, err := t.f.ReadAt(now[:n], t.readTo()-int64(n)); n > 0 && err != nil {
		return false
	}
	return bytes.Equal(now[:n], t.buf[t.w-n:t.w])
}

// copyInTheMaking tells whether file, which may be nil, holds all of t at its start, by the fingerprints: it will be truncated, and was not yet.
func (t *tail) copyInTheMaking(file *tail) bool {
	if file == nil || t.stream != nil || file.stream != nil {
		return false
	}
	fi, err := t.f.Stat()
	if err != nil || fi.Size() == 0 {
		return false
	}
	all, err := newTail(t.name, t.f, fi, fi.Size(), false)
	if err != nil {
		return false
	}
	if fi, err = file.f.Stat(); err != nil {
		return false
	}
	_, m, err := resumePlain(file.name, file.f, fi, all.position(), 0)
	return m == itself && err == nil
}

// fresh is what a look at the file found.
type fresh uint8

const (
	nothingNew fresh = iota
	grew
	rewritten // it is shorter than what was read, or holds other bytes there
)

// read takes in what is new, as much as fits. lock guards what Position looks at.
func (t *tail) read(lock interface {
	Lock()
	Unlock()
}) (fresh, error) {
	if t.ended {
		return nothingNew, nil
	}
	var size, mtime int64
	if t.stream == nil {
		fi, err := t.f.Stat()
		if err != nil {
			return nothingNew, err
		}
		size, mtime = fi.Size(), fi.ModTime().UnixNano()
		switch {
		case size < t.readTo():
			return rewritten, nil
		case size == t.readTo():
			if mtime == t.mtime.Load() {
				return nothingNew, nil
			}
			if !t.same() {
				return rewritten, nil
			}
			t.size.Store(size)
			t.mtime.Store(mtime)
			return nothingNew, nil
		}
	}
	if len(t.buf)-t.w < readBytes/4 {
		lock.Lock()
		from := max(0, t.p-fingerprintBytes)
		copy(t.buf, t.buf[from:t.w])
		t.base += int64(from)
		t.w, t.p, t.scan = t.w-from, t.p-from, t.scan-from
		lock.Unlock()
	}
	var n int
	var err error
	if t.stream != nil {
		for err == nil && t.w+n < len(t.buf) {
			var m int
			m, err = t.stream.Read(t.buf[t.w+n:])
			n += m
		}
		t.ended = err != nil
		t.mtime.Store(t.packed)
		if err != nil && !errors.Is(err, io.EOF) {
			t.trouble = err
		}
	} else {
		n, err = t.f.ReadAt(t.buf[t.w:], t.readTo())
		if err != nil && !errors.Is(err, io.EOF) && n == 0 {
			return nothingNew, err
		}
		// The order matters: were the file truncated and written anew before or during the read, the bytes before it differ now.
		if !t.same() {
			return rewritten, nil
		}
		t.size.Store(max(size, t.readTo()+int64(n)))
		t.mtime.Store(mtime)
	}
	if n == 0 {
		return nothingNew, nil
	}
	lock.Lock()
	t.takeHead(t.buf[t.w : t.w+n])
	t.w += n
	lock.Unlock()
	return grew, nil
}

// counts are what hand adds up; they go into SourceStats once a chunk, to keep the path of a line short.
type counts struct{ lines, skipped, long, nuls uint64 }

// hand hands on the complete lines of the buffer. Stop makes it return early, between two lines.
func (t *tail) hand(line func([]byte), stop *atomic.Bool, c *counts) {
	for t.p < t.w && !stop.Load() {
		rest := t.buf[t.p:t.w]
		if t.cut {
			i := bytes.IndexByte(rest, '\n')
			if i < 0 {
				c.skipped += uint64(len(rest))
				t.p, t.scan = t.w, t.w
			} else {
				c.skipped += uint64(i)
				t.p += i + 1
				t.scan = t.p
				t.cut = false
			}
			t.setMark()
			continue
		}
		if rest[0] == 0 {
			n := len(rest) - len(bytes.TrimLeft(rest, "\x00"))
			c.nuls += uint64(n)
			t.p += n
			t.scan = max(t.scan, t.p)
			t.setMark()
			continue
		}
		i := bytes.IndexByte(t.buf[t.scan:t.w], '\n')
		end := t.scan + i
		if i < 0 {
			t.scan, end = t.w, t.w
		}
		if end-t.p > MaxLine {
			line(t.buf[t.p : t.p+MaxLine : t.p+MaxLine])
			c.lines++
			c.long++
			t.p += MaxLine
			t.scan = t.p
			t.cut = true
			t.setMark()
			continue
		}
		if i < 0 {
			return
		}
		line(t.buf[t.p:end:end])
		c.lines++
		t.p = end + 1
		t.scan = t.p
		t.setMark()
	}
}

// rest hands on the half line at the end of a file that is done with.
func (t *tail) rest(line func([]byte), stop *atomic.Bool, c *counts) {
	if t.p < t.w && !t.cut && !stop.Load() {
		line(t.buf[t.p:t.w:t.w])
		c.lines++
		t.p, t.scan = t.w, t.w
		t.setMark()
	}
}

func (t *tail) close() { t.f.Close() } // opened for reading: nothing can be lost here
