package logparse

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/sparemx/sparemx/queue"
)

// The form of a saved tracker: the magic, the number of messages, the messages (live ones, then ended ones, each the one not heard
// of for longest first), and the CRC-32C of all before it. Numbers are varints, texts have their length before them.
const saveMagic = "sparemx tracker 1\n"

const maxSavedText = 2048

// Save writes what the tracker knows, so that a restarted agent keeps arrivals and first attempts.
func (t *Tracker) Save(w io.Writer) error {
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	b := bufio.NewWriter(io.MultiWriter(w, sum))
	var buf []byte
	buf = append(buf, saveMagic...)
	buf = binary.AppendUvarint(buf, uint64(t.live.n+t.ended.n))
	for _, m := range []*tracked{t.live.first, t.ended.first} {
		for ; m != nil; m = m.next {
			buf = appendTracked(buf, m)
			if _, err := b.Write(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
	}
	if _, err := b.Write(buf); err != nil {
		return err
	}
	if err := b.Flush(); err != nil {
		return err
	}
	_, err := w.Write(binary.BigEndian.AppendUint32(nil, sum.Sum32()))
	return err
}

func appendTracked(b []byte, m *tracked) []byte {
	b = append(b, byte(m.flags))
	for _, s := range [...]string{m.key.instance, m.key.id, m.client} {
		b = appendSaved(b, s)
	}
	b = binary.AppendVarint(b, m.began)
	b = binary.AppendVarint(b, m.arrived)
	b = binary.AppendVarint(b, m.last)
	b = binary.AppendVarint(b, m.size)
	b = binary.AppendUvarint(b, uint64(len(m.recipients)))
	for _, r := range m.recipients {
		b = appendSaved(append(b, byte(r.state)), r.address)
	}
	return b
}

func appendSaved(b []byte, s string) []byte {
	s = s[:min(len(s), maxSavedText)]
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// Load replaces what the tracker knows by what Save wrote. After an error the tracker is as before. More messages than Max are
// cut at the end that was not heard of for longest.
func (t *Tracker) Load(r io.Reader) error {
	in := &savedReader{r: bufio.NewReader(r), table: crc32.MakeTable(crc32.Castagnoli)}
	magic := make([]byte, len(saveMagic))
	if in.full(magic); in.err == nil && string(magic) != saveMagic {
		return errors.New("not a saved tracker, or one of another version")
	}
	fresh := Tracker{Max: t.Max, MaxRecipients: t.MaxRecipients, book: make(map[trackKey]*tracked)}
	for n := in.uint(); n > 0 && in.err == nil; n-- {
		m := in.message(&fresh)
		if in.err != nil {
			break
		}
		if fresh.book[m.key] != nil {
			in.err = errors.New("one message twice")
			break
		}
		fresh.keep(m)
	}
	sum := in.sum
	var want [4]byte
	if in.full(want[:]); in.err == nil && binary.BigEndian.Uint32(want[:]) != sum {
		in.err = errors.New("wrong checksum")
	}
	if in.err != nil {
		if errors.Is(in.err, io.EOF) || errors.Is(in.err, io.ErrUnexpectedEOF) {
			in.err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("saved tracker is damaged: %w", in.err)
	}
	t.book, t.live, t.ended, t.names, t.rcpts = fresh.book, fresh.live, fresh.ended, fresh.names, fresh.rcpts
	t.stats.Evicted += fresh.stats.Evicted
	return nil
}

// keep puts a loaded message into the book.
func (t *Tracker) keep(m *tracked) {
	t.book[m.key] = m
	t.rcpts += len(m.recipients)
	if m.flags&flagEnded != 0 {
		t.ended.push(m)
		for t.ended.n > max(1, or(t.Max, defaultMax)/endedShare) {
			t.forget(t.ended.oldest())
		}
		return
	}
	t.live.push(m)
	for limit := or(t.Max, defaultMax); t.live.n > limit || t.rcpts > limit*recipientsPerMax && t.live.n > 1; {
		t.forget(t.live.oldest())
		t.stats.Evicted++
	}
}

// savedReader reads with a running checksum; after the first error everything is zero.
type savedReader struct {
	r     *bufio.Reader
	table *crc32.Table
	sum   uint32
	err   error
}

func (s *savedReader) full(b []byte) {
	if s.err == nil {
		if _, s.err = io.ReadFull(s.r, b); s.err == nil {
			s.sum = crc32.Update(s.sum, s.table, b)
		}
	}
}

// ReadByte makes it an io.ByteReader for encoding/binary.
func (s *savedReader) ReadByte() (byte, error) {
	var b [1]byte
	s.full(b[:])
	return b[0], s.err
}

func (s *savedReader) uint() uint64 {
	if s.err != nil {
		return 0
	}
	v, err := binary.ReadUvarint(s)
	if err != nil {
		s.err = err
	}
	return v
}

func (s *savedReader) int() int64 {
	if s.err != nil {
		return 0
	}
	v, err := binary.ReadVarint(s)
	if err != nil {
		s.err = err
	}
	return v
}

func (s *savedReader) text(most uint64) string {
	n := s.uint()
	if s.err == nil && n > most {
		s.err = fmt.Errorf("a text of %d bytes", n)
	}
	if s.err != nil {
		return ""
	}
	b := make([]byte, n)
	s.full(b)
	return string(b)
}

func (s *savedReader) message(t *Tracker) *tracked {
	m := &tracked{}
	flags, _ := s.ReadByte()
	m.flags = trackFlags(flags)
	m.key.instance = t.names.of([]byte(s.text(maxSavedText)))
	m.key.id = s.text(64)
	m.client = s.text(maxSavedText)
	m.began, m.arrived, m.last, m.size = s.int(), s.int(), s.int(), s.int()
	n := s.uint()
	if s.err == nil && (n > uint64(or(t.MaxRecipients, defaultMaxRecipients)) || n > 0 && m.flags&flagEnded != 0 || m.key.id == "") {
		s.err = fmt.Errorf("a message of %d recipients", n)
	}
	for ; n > 0 && s.err == nil; n-- {
		state, _ := s.ReadByte()
		m.recipients = append(m.recipients, recipient{state: queue.Result(state), address: s.text(maxAddress)})
	}
	return m
}
