package alert

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fake is a channel that remembers what it was told.
type fake struct {
	title string
	only  Filter
	can   traits
	fail  func(m message) error

	mu   sync.Mutex
	got  []message
	at   []time.Time
	refs int
}

func (f *fake) name() string    { return f.title }
func (f *fake) filter() *Filter { return &f.only }
func (f *fake) traits() traits  { return f.can }

func (f *fake) send(ctx context.Context, m message) (receipt, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		if err := f.fail(m); err != nil {
			return receipt{}, err
		}
	}
	f.got, f.at = append(f.got, m), append(f.at, time.Now())
	f.refs++
	return receipt{ref: fmt.Sprint("ref", f.refs)}, nil
}

// events is what came, in a form that reads well in a failure: "opened:title".
func (f *fake) events() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var words []string
	for _, m := range f.got {
		words = append(words, m.event+":"+m.notice.Title)
	}
	return strings.Join(words, " ")
}

// times is when each came.
func (f *fake) times() []time.Time {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.at)
}

func start(t *testing.T, dir string, channels ...channel) *Alerts {
	t.Helper()
	a, err := New(Config{}, dir, "mx2.example.net")
	if err != nil {
		t.Fatal(err)
	}
	a.use(channels)
	return a
}

// run runs a until the test's end.
func run(t *testing.T, a *Alerts) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		a.Run(ctx)
		close(done)
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return stop
}

func down(title string) Notice {
	return Notice{Kind: PrimaryDown, Key: "primary_down/mx1.example.org", Severity: Critical, Title: title}
}

func up(title string) Notice {
	return Notice{Kind: Recovered, Key: "primary_down/mx1.example.org", Resolved: true, Title: title}
}

func want(t *testing.T, f *fake, events string) {
	t.Helper()
	synctest.Wait()
	if got := f.events(); got != events {
		t.Fatalf("%s was told\n  %s\nwant\n  %s", f.title, got, events)
	}
}

func TestOneAlertPerIncidentResolvedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{title: "webhook"}
		a := start(t, "", f)
		run(t, a)
		a.Notify(down("down"))
		a.Notify(down("down"))
		time.Sleep(time.Minute)
		a.Notify(down("down, other words"))
		want(t, f, "opened:down")
		a.Notify(up("report"))
		a.Notify(up("report"))
		time.Sleep(time.Hour)
		want(t, f, "opened:down resolved:report")
		if f.got[0].incident != f.got[1].incident || f.got[0].id == f.got[1].id {
			t.Fatalf("ids %s %s", f.got[0].id, f.got[1].id)
		}
		// A new outage is a new incident.
		a.Notify(down("down 2"))
		want(t, f, "opened:down resolved:report opened:down 2")
		if f.got[2].incident == f.got[0].incident {
			t.Fatal("a new outage has the old incident's id")
		}
	})
}

func TestResolvedWithoutIncident(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{title: "webhook"}
		a := start(t, "", f)
		run(t, a)
		a.Notify(Notice{Kind: Stuck, Key: "stuck/a", Resolved: true, Title: "moves"})
		report := up("report alone")
		report.At = time.Now()
		a.Notify(report)
		time.Sleep(time.Hour)
		a.Notify(report) // told again by a restarted caller, long after the incident was forgotten
		time.Sleep(time.Hour)
		want(t, f, "resolved:report alone")
	})
}

func TestStaleOpeningAfterTheEndIsNotNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{title: "webhook"}
		a := start(t, "", f)
		run(t, a)
		n := down("down")
		n.At = time.Now()
		a.Notify(n)
		synctest.Wait()
		time.Sleep(time.Minute)
		a.Notify(up("up"))
		synctest.Wait()
		a.Notify(n)
		time.Sleep(time.Hour)
		a.Notify(n)
		time.Sleep(time.Hour)
		want(t, f, "opened:down resolved:up")
	})
}

func TestFlappingIsOneIncidentAndIsHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{title: "webhook"}
		a := start(t, "", f)
		run(t, a)
		for n := range 20 { // a primary that comes and goes every 20 s
			a.Notify(down(fmt.Sprint("down", n)))
			time.Sleep(10 * time.Second)
			a.Notify(up(fmt.Sprint("up", n)))
			time.Sleep(10 * time.Second)
		}
		time.Sleep(time.Hour)
		want(t, f, "opened:down0 resolved:up0 reopened:down1 resolved:up19")
		for _, m := range f.got {
			if m.incident != f.got[0].incident {
				t.Fatal("flapping made another incident")
			}
		}
	})
}

func TestRepeatWhileCriticalIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{title: "webhook"}
		a := start(t, "", f)
		run(t, a)
		a.Notify(down("down"))
		warning := down("old")
		warning.Key, warning.Severity, warning.Kind = "age/a", Warning, Age
		a.Notify(warning)
		time.Sleep(9 * time.Hour)
		want(t, f, "opened:down opened:old reminder:Still open: down reminder:Still open: down")
		if d := f.times()[2].Sub(f.times()[0]); d != 4*time.Hour {
			t.Fatalf("the first reminder came after %s", d)
		}
		never := Duration(0)
		if err := a.build(Config{Repeat: &never}); err != nil {
			t.Fatal(err)
		}
		a.use([]channel{f})
		time.Sleep(24 * time.Hour)
		want(t, f, "opened:down opened:old reminder:Still open: down reminder:Still open: down")
	})
}

func TestWorseIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{title: "webhook"}
		a := start(t, "", f)
		run(t, a)
		n := Notice{Kind: Age, Key: "age/a", Severity: Warning, Title: "75%"}
		a.Notify(n)
		synctest.Wait()
		n.Title, n.Severity = "90%", Critical
		a.Notify(n)
		synctest.Wait()
		n.Title, n.Severity = "80%", Warning
		a.Notify(n)
		want(t, f, "opened:75% raised:90%")
	})
}

func TestEventsAreGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{title: "webhook"}
		a := start(t, "", f)
		run(t, a)
		for n := range 50 {
			a.Notify(Notice{Kind: Loss, Key: "loss/a", Severity: Critical, Title: fmt.Sprint(n+1, " lost")})
			time.Sleep(time.Second)
		}
		time.Sleep(24 * time.Hour)
		want(t, f, "opened:1 lost more:50 lost")
		a.mu.Lock()
		defer a.mu.Unlock()
		if n := len(a.book.incidents); n != 0 {
			t.Fatalf("%d incidents kept of an event that is told", n)
		}
	})
}

func TestBackoffThenCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries []time.Time
		broken := true
		f := &fake{title: "webhook"}
		f.fail = func(message) error {
			tries = append(tries, time.Now())
			if broken {
				return &trouble{what: "no"}
			}
			return nil
		}
		other := &fake{title: "email"}
		a := start(t, "", f, other)
		run(t, a)
		began := time.Now()
		a.Notify(down("down"))
		time.Sleep(time.Hour)
		a.Notify(up("report"))
		time.Sleep(time.Hour)
		synctest.Wait()
		f.mu.Lock()
		seen := slices.Clone(tries)
		f.mu.Unlock()
		for n := 1; n < len(seen); n++ {
			gap, base := seen[n].Sub(seen[n-1]), min(time.Second<<min(n-1, 20), 5*time.Minute)
			if gap < base*3/4 && gap != time.Second || gap > 5*time.Minute || gap > base*5/4 {
				t.Fatalf("gap %d is %s, base %s", n, gap, base)
			}
		}
		if n := len(seen); n < 20 || n > 45 {
			t.Fatalf("%d attempts in %s", n, time.Since(began))
		}
		f.mu.Lock()
		broken = false
		f.mu.Unlock()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		want(t, f, "resolved:report") // both waited: one message, the end
		want(t, other, "opened:down resolved:report")
		if s := a.Status().Channels[0]; s.LastError != "" || s.Failures == 0 || s.Sent[Recovered] != 1 {
			t.Fatalf("status %+v", s)
		}
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		f := &fake{title: "slack", fail: func(message) error {
			if n++; n == 1 {
				return &trouble{what: "slow down", after: 7 * time.Minute}
			}
			return nil
		}}
		a := start(t, "", f)
		run(t, a)
		began := time.Now()
		a.Notify(down("down"))
		time.Sleep(time.Hour)
		want(t, f, "opened:down")
		if d := f.times()[0].Sub(began); d != 7*time.Minute {
			t.Fatalf("sent after %s", d)
		}
	})
}

func TestARefusedMessageDoesNotHoldUpOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{title: "slack", fail: func(m message) error {
			if m.notice.Title == "poison" {
				return &trouble{what: "invalid_blocks", refused: true}
			}
			return nil
		}}
		a := start(t, "", f)
		var results []Result
		a.OnResult = func(_ string, _ Kind, r Result) { results = append(results, r) }
		run(t, a)
		poison := down("poison")
		poison.Key, poison.Severity = "blind", Warning
		a.Notify(poison)
		synctest.Wait()
		began := time.Now()
		a.Notify(down("down"))
		synctest.Wait()
		if at := f.times(); len(at) != 1 || at[0].Sub(began) != 0 {
			t.Fatalf("told %v", at)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if got := fmt.Sprint(results[:7]); got != "[failed sent failed failed failed failed refused]" {
			t.Fatal(got)
		}
		if a.Status().Dropped[Refused] != 1 {
			t.Fatal("not counted")
		}
	})
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := true
		f := &fake{title: "webhook", fail: func(message) error {
			if broken {
				return &trouble{what: "no"}
			}
			return nil
		}}
		a := start(t, "", f)
		run(t, a)
		short := down("short")
		short.Expires = time.Now().Add(time.Hour)
		a.Notify(short)
		open := down("open for long")
		open.Key = "primary_down/b"
		a.Notify(open)
		a.Notify(up("report nobody heard of")) // of short: expires a day later
		lost := Notice{Kind: Loss, Key: "loss/a", Title: "1 lost"}
		a.Notify(lost)
		time.Sleep(25 * time.Hour)
		f.mu.Lock()
		broken = false
		f.mu.Unlock()
		time.Sleep(10 * time.Minute)
		want(t, f, "opened:open for long")
		if n := a.Status().Dropped[Expired]; n != 2 {
			t.Fatalf("%d expired", n)
		}
	})
}

func TestExpiredOpeningIsNotFollowedByItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{title: "webhook"}
		a := start(t, "", f)
		a.Maintain(time.Now().Add(2 * time.Hour)) // nothing goes out, and the news expires
		run(t, a)
		n := Notice{Kind: Stuck, Key: "stuck/a", Severity: Critical, Title: "stuck", Expires: time.Now().Add(time.Hour)}
		a.Notify(n)
		time.Sleep(3 * time.Hour)
		a.Notify(Notice{Kind: Stuck, Key: "stuck/a", Resolved: true, Title: "moves"})
		time.Sleep(time.Hour)
		want(t, f, "")
	})
}

func TestMaintenance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{title: "webhook"}
		dir := t.TempDir()
		a := start(t, dir, f)
		stop := run(t, a)
		before := down("before")
		before.Key = "primary_down/before"
		a.Notify(before)
		synctest.Wait()
		until := time.Now().Add(2 * time.Hour)
		a.Maintain(until)
		short := down("short")
		short.Key = "primary_down/short"
		a.Notify(short)
		a.Notify(down("long"))
		a.Notify(Notice{Kind: Recovered, Key: "primary_down/short", Resolved: true, Title: "short is over"})
		time.Sleep(time.Hour)
		a.Notify(Notice{Kind: Recovered, Key: "primary_down/before", Resolved: true, Title: "before is over"})
		want(t, f, "opened:before resolved:before is over")
		stop()

		// A restart in the middle keeps it.
		a = start(t, dir, f)
		if got := a.Status().Maintenance; !got.Equal(until) {
			t.Fatalf("maintenance until %s after the restart, want %s", got, until)
		}
		run(t, a)
		time.Sleep(59 * time.Minute)
		want(t, f, "opened:before resolved:before is over")
		time.Sleep(2 * time.Minute)
		want(t, f, "opened:before resolved:before is over opened:long")
		if d := f.times()[2].Sub(until); d < 0 || d > time.Second {
			t.Fatalf("told %s after the end of maintenance", d)
		}
	})
}

func TestEndOfMaintenanceByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{title: "webhook"}
		a := start(t, "", f)
		run(t, a)
		a.Maintain(time.Now().Add(100 * time.Hour))
		a.Notify(down("down"))
		want(t, f, "")
		a.Maintain(time.Time{})
		want(t, f, "opened:down")
	})
}

func TestProgressOnlyWhereAMessageCanBeUpdated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bot, hook := &fake{title: "slack", can: traits{updates: true}}, &fake{title: "webhook"}
		a := start(t, "", bot, hook)
		run(t, a)
		progress := func(title string) {
			n := down(title)
			n.Progress = true
			a.Notify(n)
		}
		progress("before it is open")
		a.Notify(down("down"))
		synctest.Wait()
		time.Sleep(time.Second / 2)
		for n := range 12 {
			progress(fmt.Sprint(n))
			time.Sleep(time.Second)
		}
		want(t, bot, "opened:down update:4 update:9")
		time.Sleep(time.Minute)
		want(t, bot, "opened:down update:4 update:9 update:11")
		a.Notify(up("report"))
		progress("after it is over")
		time.Sleep(time.Hour)
		want(t, bot, "opened:down update:4 update:9 update:11 resolved:report")
		want(t, hook, "opened:down resolved:report")
	})
}

func TestAReceiverThatForgetsIsReminded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{title: "alertmanager", can: traits{refresh: time.Minute}}
		a := start(t, "", f)
		run(t, a)
		a.Notify(down("down"))
		time.Sleep(10*time.Minute + time.Second)
		a.Maintain(time.Now().Add(time.Hour)) // goes on in maintenance: else the alert would look resolved
		time.Sleep(10 * time.Minute)
		a.Notify(up("up"))
		time.Sleep(time.Hour)
		want(t, f, "opened:down"+strings.Repeat(" refresh:down", 20)+" resolved:up")
	})
}

func TestFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		downs := &fake{title: "slack", only: Filter{Kinds: []Kind{PrimaryDown}}}
		bad := &fake{title: "email", only: Filter{Severity: Critical}}
		a := start(t, "", downs, bad)
		run(t, a)
		a.Notify(Notice{Kind: Age, Key: "age/a", Severity: Warning, Title: "age"})
		a.Notify(down("down"))
		synctest.Wait()
		a.Notify(up("up"))
		synctest.Wait()
		a.Notify(Notice{Kind: Age, Key: "age/a", Severity: Critical, Title: "age, worse"})
		want(t, downs, "opened:down resolved:up")
		want(t, bad, "opened:down resolved:up opened:age, worse")
	})
}

func TestTheOutboxIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := start(t, "", &fake{title: "webhook", fail: func(message) error { return &trouble{what: "no"} }})
		run(t, a)
		a.Notify(down("the one that matters"))
		p := down("progress")
		p.Progress = true
		a.Notify(p)
		for n := range 3000 {
			a.Notify(Notice{Kind: Stuck, Key: fmt.Sprint("stuck/", n), Severity: Warning, Title: "stuck", Text: strings.Repeat("x", n*3)})
			if n%3 == 0 {
				a.Notify(Notice{Kind: Stuck, Key: fmt.Sprint("stuck/", n), Resolved: true, Title: "moves"})
			}
		}
		size := 0
		for _, i := range a.book.incidents {
			size += i.size()
		}
		if len(a.book.incidents) > maxNotices || size > maxBytes {
			t.Fatalf("%d incidents, %d bytes", len(a.book.incidents), size)
		}
		i := a.book.find("primary_down/mx1.example.org")
		if i == nil || i.Progress != nil {
			t.Fatal("progress must go first, a critical incident that is open last")
		}
		if n := a.Status().Dropped[Dropped]; n < 2500 {
			t.Fatalf("%d counted as dropped", n)
		}
	})
}

func TestReloadKeepsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{title: "webhook", fail: func(message) error { return &trouble{what: "no"} }}
		a := start(t, "", f)
		run(t, a)
		a.Notify(down("down"))
		time.Sleep(time.Hour)
		if err := a.Reload(Config{}); err != nil {
			t.Fatal(err)
		}
		good := &fake{title: "webhook"}
		a.mu.Lock()
		a.use([]channel{good})
		a.mu.Unlock()
		want(t, good, "opened:down")
	})
}
