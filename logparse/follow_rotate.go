package logparse

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"
)

// This file finds the way from the file we were in to the one the name means now.

// again resumes from a saved position; false: what is there cannot be judged yet.
func (s *FileSource) again(now time.Time) bool {
	for range 10 { // the files may be renamed while we look
		list := s.siblings()
		queue, older, found, err := s.resumeAmong(list)
		if err != nil && !(errors.Is(err, fs.ErrNotExist) && len(queue) > 0) {
			closeAll(queue...)
			closeAll(older...)
			s.cannotOpen(err)
			return false
		}
		if !sameListing(list, s.siblings()) || len(queue) == 0 {
			closeAll(queue...)
			closeAll(older...)
			continue
		}
		want := s.resume.FilePosition
		switch known := queue[0].size.Load(); {
		case !found && want.Head.Len > 0:
			s.lose(want.Size-want.Offset, "the log at the saved position is gone", "saved_offset", want.Offset)
		case found && queue[0].stream == nil && known < want.Size:
			s.lose(want.Size-max(known, want.Offset), "the log is shorter than it was", "file", queue[0].name)
		}
		if last := queue[len(queue)-1]; want.Head.Len > 0 && sameFile(last, want) && (!found || len(queue) > 1) {
			s.truncated()
		}
		s.open(queue, now)
		s.age(older, now)
		s.mu.Lock()
		s.older = older
		s.mu.Unlock()
		return true
	}
	return false // it keeps changing; the next look will tell
}

// resumeAmong opens what is to be read from the saved position on: the file of the position at its place, and all younger ones. found tells
// whether the first is that file. An error is about the current file; queue may still hold what was rotated.
func (s *FileSource) resumeAmong(list []sibling) (queue, older []*tail, found bool, err error) {
	want := s.resume.FilePosition
	var cur *tail
	m := another
	if want.Head.Len > 0 {
		cur, m, err = resumeIn(s.path, "", want, want.Offset)
	}
	ours := -1
	var first *tail
	if want.Head.Len > 0 && m != itself {
		ours, first = s.search(list, want, want.Offset, cur)
	}
	if err != nil && ours < 0 && !errors.Is(err, fs.ErrNotExist) {
		closeAll(cur)
		return nil, nil, false, err // ours may be the one that cannot be opened
	}
	if cur == nil && err == nil {
		if cur, err = openWhole(s.path, ""); err == nil && want.Head.Len == 0 && sameFile(cur, want) {
			cur.mtime.Store(want.ModTime) // unseen will tell whether it was truncated meanwhile
		}
	}
	found = m == itself || ours >= 0 || m == shorter
	before := ours
	if before < 0 {
		before = len(list)
	}
	// Those that a fingerprint tells for sure come first, so that the others do not take them.
	known := slices.Clone(s.resume.Older)
	slices.SortStableFunc(known, func(a, b FilePosition) int { return cmp.Compare(min(b.Head.Len, 1), min(a.Head.Len, 1)) })
	for _, o := range known {
		older = append(older, s.findOlder(list[:before], o, append([]*tail{first, cur}, older...))...)
	}
	switch {
	case m == itself:
	case ours >= 0:
		queue = append([]*tail{first}, s.openAfter(list, ours, want, cur, older)...)
	case m == shorter: // its end was cut off by somebody; go on from there
	default:
		queue = s.openAfter(list, -1, want, cur, older)
	}
	if ours >= 0 && err != nil {
		err = nil // read what was rotated first; the current file's turn comes
	}
	if cur != nil {
		queue = append(queue, cur)
	}
	return queue, older, found, err
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
// after want. end is the file that ends the queue, older are those that are open already.
func (s *FileSource) openAfter(list []sibling, ours int, want FilePosition, end *tail, older []*tail) []*tail {
	var queue []*tail
	for i, x := range list {
		if !x.rotated() || i == ours || opened([]*tail{end}, x) || opened(older, x) {
			continue
		}
		if ours >= 0 && list[ours].rotated() {
			if i < ours {
				continue
			}
		} else if !after(x, want) && !(want.Head.Len == 0 && untouched(x, want)) {
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
		if t.copyInTheMaking(end) {
			t.close()
			continue
		}
		queue = append(queue, t)
	}
	return queue
}

// opened tells whether a sibling is one of tails.
func opened(tails []*tail, x sibling) bool {
	return slices.ContainsFunc(tails, func(t *tail) bool { return t != nil && t.ino == x.ino && t.dev == x.dev })
}

// untouched: x may be the file of a position that nothing was read of. An older time says that its inode was reused.
func untouched(x sibling, want FilePosition) bool {
	return x.ino == want.Inode && x.dev == want.Device && x.fi.ModTime().UnixNano() >= want.ModTime
}

func after(x sibling, want FilePosition) bool {
	return want.ModTime != 0 && x.fi.ModTime().UnixNano() > want.ModTime
}

// findOlder opens a rotated file that was watched for late lines when the position was saved. If nothing of it had been read, its
// inode may mean another file now: then all that was modified since is opened. What is in not is left out.
func (s *FileSource) findOlder(list []sibling, want FilePosition, not []*tail) (found []*tail) {
	if want.Head.Len > 0 {
		i, t := s.search(list, want, want.Offset, nil)
		switch {
		case i < 0:
			s.lose(want.Size-want.Offset, "a rotated log is gone before its late lines were read", "saved_offset", want.Offset)
		case opened(not, list[i]):
			t.close()
		default:
			found = append(found, t)
		}
		return found
	}
	for _, x := range list {
		if !x.rotated() || opened(not, x) || !untouched(x, want) && !after(x, want) {
			continue
		}
		t, err := openWhole(x.path, x.packed)
		if err != nil {
			continue
		}
		if slices.ContainsFunc(not, t.copyInTheMaking) {
			t.close()
			continue
		}
		found = append(found, t)
	}
	return found
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
		queue := s.openAfter(list, ours, here, cur, s.older)
		if cur != nil {
			queue = append(queue, cur)
		}
		if sameListing(list, s.siblings()) && s.stillNamed(cur) {
			return queue
		}
		closeAll(queue...)
	}
	return nil
}

// unseen looks, when main was empty and has changed, whether lines came and were copied away with a truncation in between; they are in
// a rotated file modified after we saw main empty. True: they are to be read first.
func (s *FileSource) unseen(now time.Time) bool {
	t := s.main
	if t.stream != nil || t.readTo() != 0 {
		return false
	}
	fi, err := t.f.Stat()
	if err != nil || fi.ModTime().UnixNano() == t.mtime.Load() || modTime(fi, 0) == t.mtime.Load() {
		return false
	}
	s.mu.Lock()
	want := s.raise(t.position())
	s.mu.Unlock()
	want.Inode = 0 // t itself, if it was renamed, is no copy
	for range 10 {
		list := s.siblings()
		queue := s.openAfter(s.before(list, t), -1, want, t, s.older) // a copy was made before t was renamed
		if !sameListing(list, s.siblings()) {
			closeAll(queue...)
			continue
		}
		t.mtime.Store(modTime(fi, 0))
		queue = slices.DeleteFunc(queue, func(q *tail) bool {
			if q.stream != nil || q.size.Load() > 0 {
				return false
			}
			q.close()
			return true
		})
		if len(queue) == 0 {
			return false
		}
		s.truncated()
		s.age(queue, now)
		queue = append(queue, t)
		s.mu.Lock()
		s.main, s.next = queue[0], append(queue[1:], s.next...)
		s.mu.Unlock()
		return true
	}
	return false
}

// before gives those of list that are older than t: all of them while the name still means t. Where t was removed, nobody can tell, and
// none is given.
func (s *FileSource) before(list []sibling, t *tail) []sibling {
	if s.stillNamed(t) {
		return list
	}
	for i, x := range list {
		if x.dev == t.dev && x.ino == t.ino {
			return list[:i]
		}
	}
	// Compressed since it was renamed: it is the one that holds what t holds.
	fi, err := t.f.Stat()
	if err != nil || fi.Size() == 0 {
		return nil
	}
	all, err := newTail(t.name, t.f, fi, fi.Size(), false)
	if err != nil {
		return nil
	}
	i, itself := s.search(list, all.position(), fi.Size(), nil)
	closeAll(itself)
	return list[:max(i, 0)]
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
		if between := s.before(list, t); ours < len(between) {
			queue = s.openAfter(between, ours, want, t, s.older)
		}
		if found {
			queue = slices.Insert(queue, 0, copied)
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
