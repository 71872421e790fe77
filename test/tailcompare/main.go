// Command tailcompare runs the same rotations under two packages that follow files and under the follower of logparse, and prints how
// many lines each lost, gave twice, and how many descriptors it kept open.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"text/tabwriter"
	"time"

	hp "github.com/hpcloud/tail"
	nx "github.com/nxadm/tail"
	"github.com/sparemx/sparemx/logparse"
)

// follower starts following path from its start; stop ends it.
type follower struct {
	name  string
	start func(path string, line func(string)) (stop func())
}

var quietHP, quietNX = hp.DiscardingLogger, nx.DiscardingLogger

func followers() []follower {
	return []follower{
		{"hpcloud/tail", func(path string, line func(string)) func() {
			t, err := hp.TailFile(path, hp.Config{Follow: true, ReOpen: true, Logger: quietHP})
			if err != nil {
				panic(err)
			}
			go func() {
				for l := range t.Lines {
					line(l.Text)
				}
			}()
			return func() { t.Stop(); t.Cleanup() }
		}},
		{"nxadm/tail", func(path string, line func(string)) func() {
			t, err := nx.TailFile(path, nx.Config{Follow: true, ReOpen: true, Logger: quietNX})
			if err != nil {
				panic(err)
			}
			go func() {
				for l := range t.Lines {
					line(l.Text)
				}
			}()
			return func() { t.Stop(); t.Cleanup() }
		}},
		{"logparse", func(path string, line func(string)) func() {
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan struct{})
			src := logparse.NewFile(path, logparse.Position{}, logparse.FileOptions{Options: logparse.Options{FromStart: true}})
			go func() {
				defer close(done)
				src.Run(ctx, func(b []byte) { line(string(b)) })
			}()
			return func() { cancel(); <-done }
		}},
	}
}

// logger writes numbered lines to a file that it reopens when told.
type logger struct {
	path string
	f    *os.File
	n    int
}

func (l *logger) reopen() {
	if l.f != nil {
		l.f.Close()
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	l.f = f
}

func (l *logger) write(k int) {
	for range k {
		l.n++
		fmt.Fprintf(l.f, "line %d\n", l.n)
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

const rounds, lines, late = 10, 100, 20

var patterns = []struct {
	name  string
	round func(l *logger)
}{
	{"rename, create", func(l *logger) {
		l.write(lines)
		must(os.Rename(l.path, l.path+".1"))
		l.reopen()
	}},
	{"rename, late lines, create", func(l *logger) {
		l.write(lines)
		must(os.Rename(l.path, l.path+".1"))
		l.write(late)
		time.Sleep(50 * time.Millisecond)
		l.write(late)
		l.reopen()
	}},
	{"create at once, late lines to the old file", func(l *logger) {
		l.write(lines)
		must(os.Rename(l.path, l.path+".1"))
		old := l.f
		l.f = nil
		l.reopen()
		time.Sleep(50 * time.Millisecond)
		l.f, old = old, l.f
		l.write(late)
		l.f.Close()
		l.f = old
	}},
	{"copytruncate, all read before", func(l *logger) {
		l.write(lines)
		time.Sleep(300 * time.Millisecond)
		data, err := os.ReadFile(l.path)
		must(err)
		must(os.WriteFile(l.path+".1", data, 0o600))
		must(os.Truncate(l.path, 0))
	}},
	{"copytruncate at once", func(l *logger) {
		l.write(lines)
		data, err := os.ReadFile(l.path)
		must(err)
		must(os.WriteFile(l.path+".1", data, 0o600))
		must(os.Truncate(l.path, 0))
	}},
	{"removed, made again", func(l *logger) {
		l.write(lines)
		time.Sleep(50 * time.Millisecond)
		must(os.Remove(l.path))
		l.write(late)
		l.reopen()
	}},
}

func descriptors() int {
	e, err := os.ReadDir("/proc/self/fd")
	must(err)
	return len(e)
}

func main() {
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "pattern\tfollower\twritten\tlost\ttwice\tdescriptors kept")
	for _, p := range patterns {
		for _, f := range followers() {
			dir, err := os.MkdirTemp("", "tailcompare")
			must(err)
			l := &logger{path: filepath.Join(dir, "mail.log")}
			l.reopen()
			before := descriptors()
			var mu sync.Mutex
			got := map[string]int{}
			stop := f.start(l.path, func(s string) {
				mu.Lock()
				got[s]++
				mu.Unlock()
			})
			time.Sleep(300 * time.Millisecond)
			for range rounds {
				p.round(l)
				time.Sleep(100 * time.Millisecond)
			}
			l.write(1)
			time.Sleep(1500 * time.Millisecond)
			stop()
			time.Sleep(200 * time.Millisecond)
			mu.Lock()
			lost, twice := 0, 0
			for i := 1; i <= l.n; i++ {
				switch n := got[fmt.Sprintf("line %d", i)]; {
				case n == 0:
					lost++
				case n > 1:
					twice++
				}
			}
			mu.Unlock()
			fmt.Fprintf(out, "%s\t%s\t%d\t%d\t%d\t%d\n", p.name, f.name, l.n, lost, twice, descriptors()-before)
			out.Flush()
			l.f.Close()
			os.RemoveAll(dir)
		}
	}
}
