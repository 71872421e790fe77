package alert

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestCrashAtEveryWrite runs a story, keeps what is on disk after every step, and starts again from each of these states. Whatever the
// moment of the crash, each channel must be told all of it in order, and what is told twice must bear the same id.
func TestCrashAtEveryWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		var cuts [][]byte
		var toldBefore []int // messages that had gone out
		f := &fake{title: "webhook"}
		cut := func() {
			data, err := os.ReadFile(filepath.Join(dir, outboxName))
			if err != nil {
				t.Fatal(err)
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			cuts, toldBefore = append(cuts, data), append(toldBefore, len(f.got))
		}
		f.fail = func(message) error { // the crash after the write, before and after sending
			data, err := os.ReadFile(filepath.Join(dir, outboxName))
			if err != nil {
				return err
			}
			cuts, toldBefore = append(cuts, data, data), append(toldBefore, len(f.got), len(f.got)+1)
			return nil
		}
		a := start(t, dir, f)
		stop := run(t, a)
		steps := []Notice{down("down"), {Kind: Age, Key: "age/a", Severity: Warning, Title: "75%"}, {Kind: Age, Key: "age/a", Severity: Critical, Title: "90%"},
			up("report"), {Kind: Loss, Key: "loss/a", Title: "1 lost"}, {Kind: Age, Key: "age/a", Resolved: true, Title: "young again"}}
		for n := range steps {
			steps[n].At = time.Now().Add(time.Duration(n) * time.Second)
		}
		for _, n := range steps {
			a.Notify(n)
			cut()
			synctest.Wait()
			cut()
			time.Sleep(2 * time.Second)
		}
		stop()
		if len(cuts) < 20 {
			t.Fatalf("%d cuts only", len(cuts))
		}
		for n, data := range cuts {
			again := t.TempDir()
			if err := os.WriteFile(filepath.Join(again, outboxName), data, 0o600); err != nil {
				t.Fatal(err)
			}
			g := &fake{title: "webhook"}
			b := start(t, again, g)
			stop := run(t, b)
			for _, s := range steps { // the caller, too, says again how things stand
				if s.Resolved {
					b.Notify(s)
				}
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			stop()
			seen := map[string]string{}
			over := map[string]bool{}
			keys := map[string]bool{}
			for _, m := range append(append([]message{}, f.got[:toldBefore[n]]...), g.got...) {
				what := m.event + m.notice.Title
				if before, ok := seen[m.id]; ok {
					if before != what {
						t.Fatalf("cut %d: id %s stands for %q and %q", n, m.id, before, what)
					}
					continue
				}
				seen[m.id] = what
				if over[m.incident] {
					t.Fatalf("cut %d: %s after the end of the incident", n, what)
				}
				over[m.incident] = m.resolved
				keys[fmt.Sprint(m.notice.Key, m.resolved)] = true
			}
			if !keys["primary_down/mx1.example.orgtrue"] {
				t.Fatalf("cut %d: the end was never told: %v", n, keys)
			}
		}
	})
}

func TestNoticeIsOnDiskWhenNotifyReturns(t *testing.T) {
	for _, running := range []bool{false, true} {
		dir := t.TempDir()
		a := start(t, dir, &fake{title: "webhook"})
		if running {
			run(t, a)
			waitFor(t, func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.running })
		}
		a.Notify(down("down"))
		data, err := os.ReadFile(filepath.Join(dir, outboxName))
		if err != nil || !strings.Contains(string(data), "primary_down/mx1.example.org") {
			t.Fatal(string(data), err)
		}
	}
}

func TestADirectoryThatTakesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	f := &fake{title: "webhook"}
	a := start(t, dir, f)
	if err := errors.Join(os.Remove(dir), os.WriteFile(dir, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	run(t, a)
	began := time.Now()
	a.Notify(down("down"))
	waitFor(t, func() bool { return f.told() == 1 })
	if d := time.Since(began); d > patience {
		t.Fatalf("it took %s", d)
	}
	if s := a.Status().Storage; !strings.Contains(s, "in memory alone") {
		t.Fatalf("%q", s)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	a.Notify(up("up"))
	waitFor(t, func() bool { return a.Status().Storage == "" && f.told() == 2 })
}

func (f *fake) told() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.got)
}

func TestABrokenOutboxIsPutAside(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, outboxName)
	left := filepath.Join(dir, "."+outboxName+".tmp-123")
	for _, data := range []string{"", "{", `{"schema":9}`, strings.Repeat("x", maxFile+1)} {
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(left, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		a := start(t, dir, &fake{title: "webhook"})
		if s := a.Status().Storage; !strings.Contains(s, "put aside") {
			t.Fatalf("%q", s)
		}
		if _, err := os.Stat(path + ".bad"); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(left); err == nil {
			t.Fatal("a half-written file was left")
		}
		a.Notify(down("down"))
		if b := start(t, dir).book; len(b.incidents) != 1 {
			t.Fatalf("%d incidents after the restart", len(b.incidents))
		}
	}
}

func TestTheClockJumpedBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		data := fmt.Sprintf(`{"schema":1,"incidents":[{"id":"aa","first":{"kind":"primary_down","key":"k","severity":"critical","title":"t","at":%q},
			"last":{"kind":"primary_down","key":"k","severity":"critical","title":"t","at":%[1]q},"worst":"critical","changed":%[1]q,"turn":1,"version":1,
			"told":{"webhook":{"state":"open","turn":1,"version":1,"severity":"critical","at":%[1]q,"sent":1}}}]}`, now.Add(1000*time.Hour).Format(time.RFC3339))
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, outboxName), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		f := &fake{title: "webhook"}
		run(t, start(t, dir, f))
		time.Sleep(5 * time.Hour)
		want(t, f, "reminder:Still open: t")
	})
}
