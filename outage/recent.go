package outage

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/sparemx/sparemx/alert"
	"github.com/sparemx/sparemx/queue"
)

const (
	maxRecent    = 8192
	recentName   = "recent.log" // beside the journals, of the same lines; its payloads are o JSON
	recentLonger = time.Minute
)

// recent are the outcomes of the last minutes: an outage is known some seconds after it began, and mail that came in these seconds belongs to
// its account. They are kept in a file, so that an agent that is ended in these very seconds knows them too.
type recent struct {
	ring  []queue.Outcome
	next  int
	fresh int // so many of the youngest are not in the file's lines yet
	j     journal
}

// add is on the path of each line: what is put into words is only what is still in the ring at the next sync.
func (c *recent) add(o queue.Outcome) {
	if len(o.Reply) > maxReason { // text from strangers, kept up to maxRecent times
		o.Reply = strings.Clone(o.Reply[:maxReason])
	}
	c.put(o)
	c.fresh = min(c.fresh+1, len(c.ring))
}

// write puts the fresh ones into words.
func (c *recent) write() {
	skip := len(c.ring) - c.fresh
	c.fresh = 0
	if c.j.path == "" {
		return
	}
	c.each(func(o queue.Outcome) {
		if skip--; skip < 0 {
			o.Reply = alert.Clean(o.Reply, maxReason)
			c.j.json('o', o)
		}
	})
}

func (c *recent) put(o queue.Outcome) {
	if len(c.ring) < maxRecent {
		c.ring = append(c.ring, o)
		return
	}
	c.ring[c.next] = o
	c.next = (c.next + 1) % maxRecent
}

// each calls f for each outcome, in the order in which they were told.
func (c *recent) each(f func(queue.Outcome)) {
	for i := range c.ring {
		f(c.ring[(c.next+i)%len(c.ring)])
	}
}

// load reads what was kept. A file that is not there, or not whole, is no error.
func (c *recent) load() error {
	f, err := os.OpenFile(c.j.path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	good, err := readJournal(f, func(p []byte) error {
		var o queue.Outcome
		if len(p) < 2 || p[0] != 'o' || json.Unmarshal(p[2:], &o) != nil {
			return errors.New("not an outcome")
		}
		c.put(o)
		return nil
	})
	if err == nil {
		err = f.Truncate(good)
	}
	if err == nil {
		_, err = f.Seek(good, io.SeekStart)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	c.j.f, c.j.size = f, good
	return nil
}

// sync makes durable what was added. The file is written anew, without what is past, when it has grown.
func (c *recent) sync() error {
	c.write()
	if c.j.f == nil && len(c.j.pending) == 0 && c.j.broken == nil {
		return nil // nothing was ever told
	}
	if c.j.broken == nil && c.j.size > recentGrown && c.j.size > 2*c.j.whole {
		c.j.broken = errGrown
	}
	return c.j.sync(func(add func([]byte)) {
		var last time.Time
		c.each(func(o queue.Outcome) {
			if o.At.After(last) {
				last = o.At
			}
		})
		c.each(func(o queue.Outcome) {
			if last.Sub(o.At) > lookback+recentLonger {
				return
			}
			o.Reply = alert.Clean(o.Reply, maxReason)
			if data, err := json.Marshal(o); err == nil {
				add(append([]byte("o "), data...))
			}
		})
	})
}

const recentGrown = 1 << 20
