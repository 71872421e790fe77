package logparse

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// This file finds the way from the file we were in to the one the name means now.

// again resumes from a saved position; false: what is there cannot be judged yet.
func (s *FileSource) again(now time.Time) bool {
	want := s.resume
	for range 10 {
		list := s.siblings()
		cur, curMatch, err := resumeIn(s.path, "", want.FilePosition, want.Offset)
		if curMatch == itself && want.Offset == 0 && !sameFile(cur, want.FilePosition) {
			// Nothing was read of ours, so nothing but the inode can tell; this is another file.
			cur.reset()
			curMatch = another
		}
		if err != nil {
			closeAll(cur)
			cur = nil
		}
		ours := -1
		var first *tail
		if curMatch != itself {
			ours, first = s.search(list, want.FilePosition, want.Offset, cur)
		}
		unknown := err != nil && ours < 0 // ours may be the one that cannot be opened
		if unknown {
			s.cannotOpen(err)
			if !errors.Is(err, fs.ErrNotExist) || !s.anyAfter(list, want.FilePosition) {
				return false
			}
		}
		if curMatch == another && cur == nil && err == nil {
			cur, err = openWhole(s.path, "")
			if err != nil {
				closeAll(first)
				continue
			}
		}
		var queue []*tail
		switch {
		case curMatch == itself:
			queue = []*tail{cur}
		case ours >= 0:
			queue = append(append([]*tail{first}, s.openAfter(list, ours, want.FilePosition, cur)...), some(cur)...)
		case curMatch == shorter: // cut at its end by somebody; go on from there
			queue = []*tail{cur}
		default:
			queue = append(s.openAfter(list, -1, want.FilePosition, cur), some(cur)...)
		}
		var older []*tail
		for _, o := range want.Older {
			if t := s.findOlder(list, o, queue); t != nil {
				older = append(older, t)
			}
		}
		if !sameListing(list, s.siblings()) || len(queue) == 0 {
			closeAll(queue...)
			closeAll(older...)
			continue
		}
		if curMatch != itself && ours < 0 {
			s.lose(want.Size-want.Offset, "the log at the saved position is gone", "saved_offset", want.Offset)
			if curMatch == shorter || sameFile(cur, want.FilePosition) {
				s.truncated()
			}
		} else if ours >= 0 && first.stream == nil {
			s.lose(want.Size-max(want.Offset, first.size.Load()), "the copy of the log is shorter than the log was", "copy", first.name)
			if sameFile(cur, want.FilePosition) {
				s.truncated()
			}
		}
		s.open(queue, now)
		s.mu.Lock()
		s.older = older
		s.mu.Unlock()
		for _, t := range older {
			t.grown = now
		}
		return true
	}
	return false // it keeps changing; the next look will tell
}

// anyAfter tells whether there are rotated files to read although the current one is not there.
func (s *FileSource) anyAfter(list []sibling, want FilePosition) bool {
	for _, x := range list {
		if x.rotated() && want.ModTime > 0 && x.fi.ModTime().UnixNano() > want.ModTime {
			return true
		}
	}
	return false
}

func some(t *tail) []*tail {
	if t == nil {
		return nil
	}
	return []*tail{t}
}

func sameFile(t *tail, want FilePosition) bool {
	return t != nil && t.dev == want.Device && t.ino == want.Inode
}

func closeAll(tails ...*tail) {
	for _, t := range tails {
		if t != nil {
			t.close()
		}
	}
}

// search finds the file of a position among the siblings: first by inode, then by what it holds, the youngest first. A file
// that begins as ours but is shorter is ours too, with nothing left to read. It returns -1 if it is not there.
func (s *FileSource) search(list []sibling, want FilePosition, at int64, not *tail) (int, *tail) {
	short, shortTail := -1, (*tail)(nil)
	try := func(i int) *tail {
		t, m, err := resumeIn(list[i].path, list[i].packed, want, at)
		switch {
		case err != nil && m == forbidden && list[i].rotated():
			s.trouble(ReadableYes, err.Error())
		case err != nil:
			closeAll(t)
			return nil
		case m == itself:
			return t
		case m == shorter && short < 0 && want.Head.Len > 0:
			short, shortTail = i, t
			return nil
		}
		closeAll(t)
		return nil
	}
	byInode := func(x sibling) bool { return x.ino == want.Inode && x.dev == want.Device }
	for i := len(list) - 1; i >= 0; i-- {
		if byInode(list[i]) {
			if t := try(i); t != nil {
				closeAll(shortTail)
				return i, t
			}
		}
	}
	if want.Head.Len > 0 { // without a fingerprint any file would do
		for i := len(list) - 1; i >= 0; i-- {
			if not != nil && list[i].ino == not.ino && list[i].dev == not.dev {
				continue
			}
			if byInode(list[i]) {
				continue
			}
			if t := try(i); t != nil {
				closeAll(shortTail)
				return i, t
			}
		}
	}
	return short, shortTail
}

// openAfter opens, to be read whole, the rotated files younger than the one at index ours of list; with ours < 0 those modified
// after want. not is the file that ends the queue.
func (s *FileSource) openAfter(list []sibling, ours int, want FilePosition, not *tail) []*tail {
	var queue []*tail
	for i, x := range list {
		if !x.rotated() || i == ours || not != nil && x.ino == not.ino && x.dev == not.dev || s.watched(x, want) {
			continue
		}
		if ours >= 0 && list[ours].rotated() {
			if i < ours {
				continue
			}
		} else if want.ModTime == 0 || x.fi.ModTime().UnixNano() <= want.ModTime {
			continue
		}
		t, err := openWhole(x.path, x.packed)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the list has changed; the caller sees that
		}
		if err != nil {
			s.trouble(ReadableYes, fmt.Sprintf("a rotated log was not read: %v", err))
			s.lose(x.fi.Size(), "a rotated log was not read", "file", x.path, "err", err)
			continue
		}
		queue = append(queue, t)
	}
	return queue
}

// watched tells whether a sibling is one of the rotated files that are open already, or a saved position tells of it.
func (s *FileSource) watched(x sibling, want FilePosition) bool {
	for _, t := range s.older {
		if t.ino == x.ino && t.dev == x.dev {
			return true
		}
	}
	if !s.begun {
		for _, o := range s.resume.Older {
			if o.Inode == x.ino && o.Device == x.dev {
				return true
			}
		}
	}
	return false
}

// findOlder opens a rotated file that was watched for late lines when the position was saved. If it is nowhere, nothing is missing but
// what came late after that.
func (s *FileSource) findOlder(list []sibling, want FilePosition, queue []*tail) *tail {
	i, t := s.search(list, want, want.Offset, nil)
	if i < 0 {
		s.lose(want.Size-want.Offset, "a rotated log is gone before its late lines were read", "saved_offset", want.Offset)
		return nil
	}
	for _, q := range queue {
		if q.dev == t.dev && q.ino == t.ino {
			t.close()
			return nil
		}
	}
	return t
}

// younger opens what was rotated after main, which is open and read to its end, and the current file.
func (s *FileSource) younger(main *tail) []*tail {
	here := s.raise(main.position())
	for range 10 {
		list := s.siblings()
		cur, err := openWhole(s.path, "")
		if err != nil {
			s.cannotOpen(err)
		}
		if cur != nil && cur.dev == main.dev && cur.ino == main.ino {
			cur.close()
			return nil // renamed back meanwhile
		}
		ours := -1
		for i, x := range list {
			if x.dev == main.dev && x.ino == main.ino {
				ours = i
			}
		}
		if ours < 0 { // removed, or compressed already
			var t *tail
			ours, t = s.search(list, here, here.Offset, cur)
			closeAll(t)
		}
		queue := append(s.openAfter(list, ours, here, cur), some(cur)...)
		if sameListing(list, s.siblings()) && s.stillNamed(cur) {
			return queue
		}
		closeAll(queue...)
	}
	return nil
}

// stillNamed tells whether the name still means the file opened as cur; true if there was none.
func (s *FileSource) stillNamed(cur *tail) bool {
	if cur == nil {
		return true
	}
	fi, err := os.Stat(s.path)
	if err != nil {
		return false
	}
	dev, ino := fileID(fi)
	return dev == cur.dev && ino == cur.ino
}

func (s *FileSource) truncated() {
	s.mu.Lock()
	s.stats.Truncations++
	s.mu.Unlock()
}

// rewritten follows main, which was truncated: what we had not read may be in a copy (copytruncate); then main from its start.
func (s *FileSource) rewritten(now time.Time) {
	t := s.main
	read, known := t.readTo(), t.size.Load()
	s.mu.Lock()
	want := s.raise(t.positionAt(read, t.cut))
	at := t.mark.Load() >> 1
	s.mu.Unlock()
	var queue []*tail
	found := false
	for range 10 {
		list := s.siblings()
		ours, copied := s.search(list, want, at, t)
		found = ours >= 0
		queue = some(copied)
		if found {
			queue = append(queue, s.openAfter(list, ours, want, t)...)
		} else {
			queue = s.openAfter(list, -1, want, t)
		}
		if sameListing(list, s.siblings()) {
			break
		}
		closeAll(queue...)
		queue, found = nil, false
	}
	s.truncated()
	switch {
	case !found:
		s.lose(known-read, "the log was truncated before it was read to its end", "read", read)
	case queue[0].stream == nil:
		s.lose(known-max(read, queue[0].size.Load()), "the log was truncated and its copy does not hold all that was there", "copy", queue[0].name)
	}
	// What was read of a half line is read again in a copy that has it all; else it is handed on as it is.
	if !found || queue[0].size.Load() < read && queue[0].readTo() < read {
		s.count(0, func(c *counts) { t.rest(s.line, &s.stop, c) })
	}
	s.lg.Debug("log truncated", "read", read, "copy_found", found)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop.Load() {
		closeAll(queue...) // the position still tells of the file as it was
		return
	}
	t.reset()
	t.grown = now
	queue = append(queue, t)
	s.main, s.next = queue[0], append(queue[1:], s.next...)
}
