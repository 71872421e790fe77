package outage

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/sparemx/sparemx/internal/durable"
	"github.com/sparemx/sparemx/queue"
)

// The journal of an open outage is a text file of lines
//
//	CRC32C(payload), 8 hex digits, a blank, payload
//
// whose payload is one of
//
//	s JSON              what is known of the outage as a whole; the last one counts
//	r KEY ARRIVED TOUCHED RCPT FATE CAUSE DELAY    the state of one recipient of one message; the last one counts
//	m KEY ARRIVED KEY ARRIVED    a message goes on under another queue ID
//	l JSON              one line of the list of lost mail
//
// It is only appended to. The first line that is torn or wrong ends it: what follows was not synced when the machine or the agent died.
// After a write or a sync that failed the file is not trusted any more (fsync(2) does not say what reached the disk): the whole of it is
// written anew beside it and renamed over it.
const (
	journalFlushAt = 256 << 10 // bytes held back at most between syncs
	maxLine        = 1 << 20
	journalGrown   = 8 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendLine(b, payload []byte) []byte {
	sum := crc32.Checksum(payload, castagnoli)
	const hex = "0123456789abcdef"
	for shift := 28; shift >= 0; shift -= 4 {
		b = append(b, hex[sum>>shift&15])
	}
	b = append(b, ' ')
	b = append(b, payload...)
	return append(b, '\n')
}

func appendOp(b []byte, o op) []byte {
	b = append(b, "r "...)
	b = strconv.AppendUint(b, o.key, 16)
	for _, n := range [...]uint64{uint64(o.arrived), uint64(o.touched), uint64(o.rcpt.hash), uint64(o.rcpt.fate), uint64(o.rcpt.cause), uint64(o.rcpt.delay)} {
		b = append(b, ' ')
		b = strconv.AppendUint(b, n, 10)
	}
	return b
}

func appendMove(b []byte, v move) []byte {
	return fmt.Appendf(b, "m %x %d %x %d", v.key, v.arrived, v.to, v.toArrived)
}

func parseMove(b []byte) (v move, err error) {
	f := bytes.Fields(b)
	if len(f) != 4 {
		return v, errors.New("not 4 fields")
	}
	var n [4]uint64
	for i := range f {
		if n[i], err = strconv.ParseUint(string(f[i]), [...]int{16, 10}[i%2], [...]int{64, 32}[i%2]); err != nil {
			return v, err
		}
	}
	return move{key: n[0], arrived: uint32(n[1]), to: n[2], toArrived: uint32(n[3])}, nil
}

func parseOp(b []byte) (o op, err error) {
	f := bytes.Fields(b)
	if len(f) != 7 {
		return o, errors.New("not 7 fields")
	}
	if o.key, err = strconv.ParseUint(string(f[0]), 16, 64); err != nil {
		return o, err
	}
	var n [6]uint64
	for i, bits := range [...]int{32, 32, 32, 8, 8, 16} {
		if n[i], err = strconv.ParseUint(string(f[i+1]), 10, bits); err != nil {
			return o, err
		}
	}
	o.arrived, o.touched = uint32(n[0]), uint32(n[1])
	o.rcpt = rcpt{uint32(n[2]), uint16(n[5]), Fate(n[3]), queue.Cause(n[4])}
	if o.rcpt.fate == fateNone || o.rcpt.fate >= numFates {
		return o, fmt.Errorf("fate %d is not known", o.rcpt.fate)
	}
	return o, nil
}

// journal is the file of one open outage.
type journal struct {
	path    string
	f       *os.File
	pending []byte
	scratch []byte
	broken  error // the file cannot be trusted; it is to be written anew
	size    int64 // of the file
	whole   int64 // its size when it was last written anew
}

// errGrown has a journal written anew because most of it is past. It grows by a line a second at least while mail is refused or delivered,
// and an outage may last for weeks.
var errGrown = errors.New("most of it is past")

func (j *journal) add(payload []byte) {
	j.pending = appendLine(j.pending, payload)
	if len(j.pending) < journalFlushAt || j.broken != nil {
		if j.broken != nil {
			j.pending = j.pending[:0] // all of it comes again when the file is written anew
		}
		return
	}
	j.write()
}

func (j *journal) op(o op) {
	j.scratch = appendOp(j.scratch[:0], o)
	j.add(j.scratch)
}

func (j *journal) move(v move) {
	j.scratch = appendMove(j.scratch[:0], v)
	j.add(j.scratch)
}

func (j *journal) json(kind byte, v any) {
	data, err := json.Marshal(v)
	if err != nil { // cannot happen with our own types; not worth more than a note
		j.broken = err
		return
	}
	j.add(append([]byte{kind, ' '}, data...))
}

func (j *journal) write() {
	if len(j.pending) == 0 || j.broken != nil {
		return
	}
	if j.f == nil {
		j.broken = errors.New("not yet written")
		return
	}
	n, err := j.f.Write(j.pending)
	j.size += int64(n)
	if err != nil {
		j.broken = err
	}
	j.pending = j.pending[:0]
}

// errGone has a journal written anew because its file was removed or replaced under us.
var errGone = errors.New("the file is gone")

func (j *journal) gone() bool {
	if j.f == nil {
		return false
	}
	ours, err := j.f.Stat()
	if err != nil {
		return true
	}
	there, err := os.Stat(j.path)
	return errors.Is(err, os.ErrNotExist) || err == nil && !os.SameFile(ours, there)
}

// sync makes durable all that was added. whole writes the content of a file that has to be written anew.
func (j *journal) sync(whole func(add func(payload []byte))) error {
	dirty := len(j.pending) > 0
	j.write()
	if j.broken == nil && j.size > journalGrown && j.size > 4*j.whole {
		j.broken = errGrown
	}
	if j.broken == nil && j.gone() {
		j.broken = errGone
	}
	if j.broken == nil {
		if !dirty {
			return nil
		}
		if err := fdatasync(j.f); err != nil {
			j.broken = err
		} else {
			return nil
		}
	}
	var buf []byte
	whole(func(payload []byte) { buf = appendLine(buf, payload) })
	if j.f != nil {
		j.f.Close() // its content is not to be trusted; what it says does not matter
		j.f = nil
	}
	if err := os.MkdirAll(filepath.Dir(j.path), 0o700); err != nil {
		return err
	}
	if err := durable.WriteFile(j.path, buf, 0o600); err != nil {
		return err
	}
	f, err := os.OpenFile(j.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	j.f, j.broken = f, nil
	j.size, j.whole = int64(len(buf)), int64(len(buf))
	j.pending = j.pending[:0]
	return nil
}

// close ends the use of the file; remove also removes it.
func (j *journal) close(remove bool) error {
	var err error
	if j.f != nil {
		err = j.f.Close()
		j.f = nil
	}
	if remove {
		if e := os.Remove(j.path); e != nil && !errors.Is(e, os.ErrNotExist) {
			return errors.Join(err, e)
		}
		return errors.Join(err, durable.SyncDir(filepath.Dir(j.path)))
	}
	return err
}

// readJournal calls line for each payload, and returns how many bytes were good. A torn or wrong line is not an error: it is the end.
// Nor is a payload that line refuses.
func readJournal(r io.Reader, line func(payload []byte) error) (good int64, err error) {
	br := bufio.NewReaderSize(r, maxLine)
	for {
		raw, err := br.ReadSlice('\n')
		if err == io.EOF || errors.Is(err, bufio.ErrBufferFull) {
			return good, nil
		}
		if err != nil {
			return good, err
		}
		if len(raw) < 11 || raw[8] != ' ' {
			return good, nil
		}
		payload := raw[9 : len(raw)-1]
		sum, err := strconv.ParseUint(string(raw[:8]), 16, 32)
		if err != nil || uint32(sum) != crc32.Checksum(payload, castagnoli) {
			return good, nil
		}
		if err := line(payload); err != nil {
			return good, nil
		}
		good += int64(len(raw))
	}
}
