package rig

import (
	"bufio"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Held is one message as "postqueue -j" lists it.
type Held struct {
	Queue      string `json:"queue_name"`
	ID         string `json:"queue_id"`
	Arrived    int64  `json:"arrival_time"` // Unix seconds
	Size       int64  `json:"message_size"`
	Sender     string `json:"sender"`
	Recipients []struct {
		Address string `json:"address"`
		Reason  string `json:"delay_reason"`
	} `json:"recipients"`
}

// List runs "postqueue -j". It is the truth about what is held that the agent's numbers are compared with.
func (p *Postfix) List() []Held {
	p.t.Helper()
	out, err := run("postqueue", "-c", p.Config, "-j")
	if err != nil {
		p.t.Fatal(err)
	}
	var held []Held
	lines := bufio.NewScanner(strings.NewReader(out))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var h Held
		if err := json.Unmarshal(lines.Bytes(), &h); err != nil {
			p.t.Fatalf("postqueue -j: %v: %s", err, lines.Text())
		}
		held = append(held, h)
	}
	return held
}

// Count counts the queue files that lie in the named places ("incoming", "active", "deferred", "hold"); in all of these
// when none is named. It asks nobody, so it is exact when nothing moves.
func (p *Postfix) Count(places ...string) int {
	if len(places) == 0 {
		places = []string{"incoming", "active", "deferred", "hold"}
	}
	n := 0
	for _, place := range places {
		filepath.WalkDir(filepath.Join(p.Queue, place), func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				n++
			}
			return nil
		})
	}
	return n
}

// WaitHeld waits until exactly n messages lie in the deferred queue and none in another.
func (p *Postfix) WaitHeld(limit time.Duration, n int) {
	p.t.Helper()
	Eventually(p.t, limit, strconv.Itoa(n)+" messages deferred at "+p.Name+" and none elsewhere", func() bool {
		return p.Count("deferred") == n && p.Count("incoming", "active", "hold") == 0
	})
}

// WaitEmpty waits until nothing is held.
func (p *Postfix) WaitEmpty(limit time.Duration) {
	p.t.Helper()
	Eventually(p.t, limit, p.Name+"'s queue to be empty", func() bool { return p.Count() == 0 })
}

// Flush runs "postqueue -f".
func (p *Postfix) Flush() {
	p.t.Helper()
	if _, err := run("postqueue", "-c", p.Config, "-f"); err != nil {
		p.t.Fatal(err)
	}
}

// FlushSite runs "postqueue -s domain".
func (p *Postfix) FlushSite(domain string) error {
	_, err := run("postqueue", "-c", p.Config, "-s", domain)
	return err
}

// Postsuper runs postsuper(1): "-d ID", "-h ID", "-H ID", "-e ID".
func (p *Postfix) Postsuper(args ...string) {
	p.t.Helper()
	if _, err := run("postsuper", append([]string{"-c", p.Config}, args...)...); err != nil {
		p.t.Fatal(err)
	}
}

func listens(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	c.Close()
	return true
}
