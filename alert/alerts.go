package alert

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Alerts keeps the incidents and tells the channels. Set its exported fields before Run.
type Alerts struct {
	Log      *slog.Logger                                   // nil: silent
	Well     func() bool                                    // whether the agent is well; the heartbeat is sent only while it says so
	OnResult func(channel string, kind Kind, result Result) // after each attempt, and for news that is given up

	host   string
	outbox outbox

	mu       sync.Mutex
	book     book
	config   Config
	client   *http.Client
	channels []*line
	beat     *heartbeat
	changed  chan struct{} // closed and replaced at each change
	reloaded chan struct{} // has one when the channels were replaced
	dropped  map[Result]uint64
	running  bool
}

// channel is one way to tell people.
type channel interface {
	name() string
	filter() *Filter
	traits() traits
	// send tells one message. ref is what the channel wants to be given with the next message of the incident; it counts also beside an
	// error. An error is a *trouble.
	send(ctx context.Context, m message) (r receipt, err error)
}

type receipt struct {
	ref     string
	detail  string // what the receiver answered
	warning string // it was told, but not all of it was
}

// line is a channel with what is known of how it does.
type line struct {
	channel
	fails             int
	next              time.Time
	lastSent, lastTry time.Time
	lastError         string
	sent              map[Kind]uint64
	failures          uint64
}

// New makes Alerts from a checked Config. dir is the directory of the outbox, made if need be; "" keeps it in memory alone. host is our
// name, which messages show and Alertmanager gets as the label "instance". What an earlier process left in dir is taken up again; that it cannot be
// read or written is no error here but told by Status.
func New(c Config, dir, host string) (*Alerts, error) {
	a := &Alerts{host: Clean(host, 255), changed: make(chan struct{}), reloaded: make(chan struct{}, 1), dropped: map[Result]uint64{}}
	if err := a.build(c); err != nil {
		return nil, err
	}
	a.book = a.outbox.open(dir, time.Now())
	return a, nil
}

// build replaces the channels. Held counters stay with a channel of the same name.
func (a *Alerts) build(c Config) error {
	client, err := newClient(c.Proxy)
	if err != nil {
		return err
	}
	var channels []channel
	if s := c.Slack; s != nil && s.TokenFile != "" {
		channels = append(channels, &slackBot{config: *s, client: client})
	} else if s != nil {
		channels = append(channels, &slackHook{config: *s, client: client})
	}
	if c.Email != nil {
		channels = append(channels, &email{config: *c.Email})
	}
	if c.Webhook != nil {
		channels = append(channels, &webhook{config: *c.Webhook, client: client})
	}
	if c.Alertmanager != nil {
		channels = append(channels, &alertmanager{config: *c.Alertmanager, client: client})
	}
	var beat *heartbeat
	if c.Heartbeat != nil {
		beat = &heartbeat{config: *c.Heartbeat, client: client}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.use(channels)
	a.config, a.client, a.beat = c, client, beat
	return nil
}

func (a *Alerts) use(channels []channel) {
	lines := make([]*line, len(channels))
	for i, c := range channels {
		lines[i] = &line{channel: c, sent: map[Kind]uint64{}}
		if p := slices.IndexFunc(a.channels, func(l *line) bool { return l.name() == c.name() }); p >= 0 {
			old := a.channels[p]
			lines[i].sent, lines[i].failures, lines[i].lastSent = old.sent, old.failures, old.lastSent
		}
	}
	a.channels = lines
}

// Reload takes a new configuration; what waits is kept, and tried at once.
func (a *Alerts) Reload(c Config) error {
	if err := a.build(c); err != nil {
		return err
	}
	select {
	case a.reloaded <- struct{}{}:
	default:
	}
	return nil
}

// Notify takes a piece of news. It never fails; it returns when the news is in the outbox on disk, or after a second, or at once when
// the disk is known not to take it. Progress does not wait for the disk.
func (a *Alerts) Notify(n Notice) {
	var given []gift
	a.mu.Lock()
	now := time.Now()
	n = bound(n, now)
	i := a.book.apply(n, now, a.names(), func(channel string) { given = append(given, a.giveUp(channel, n.Kind, Suppressed)) })
	if i == nil {
		a.mu.Unlock()
		return
	}
	a.book.fit(i, func(victim *incident) {
		for _, l := range a.channels {
			if s := a.plan(l, victim, now); s.event != "" && s.event != refresh && s.event != reminder {
				given = append(given, a.giveUp(l.name(), victim.Last.Kind, Dropped))
			}
		}
	})
	gen := a.touch(i, !n.Progress)
	running := a.running
	a.mu.Unlock()
	a.report(given)
	switch {
	case n.Progress:
	case running:
		a.outbox.wait(context.Background(), gen)
	default:
		a.save()
	}
}

// Maintain holds back all calls until the given time: incidents are kept, and told afterwards if they are still open. Ends of
// incidents that were told go out all the same. A time that is past, as the zero time, ends maintenance.
func (a *Alerts) Maintain(until time.Time) {
	a.mu.Lock()
	a.book.muted = until.Round(0)
	gen := a.touch(nil, true)
	running := a.running
	a.mu.Unlock()
	if running {
		a.outbox.wait(context.Background(), gen)
	} else {
		a.save()
	}
}

// Run tells the channels until ctx is done, saves, and returns nil.
func (a *Alerts) Run(ctx context.Context) error {
	a.mu.Lock()
	if a.running {
		a.mu.Unlock()
		return errors.New("alert: Run is running already")
	}
	a.running = true
	a.mu.Unlock()
	var saver sync.WaitGroup
	saverCtx, stopSaver := context.WithCancel(context.WithoutCancel(ctx))
	saver.Go(func() { a.outbox.run(saverCtx, a.save) })
	defer func() {
		a.mu.Lock()
		a.running = false
		a.mu.Unlock()
		stopSaver()
		saver.Wait()
	}()
	for {
		var workers sync.WaitGroup
		wctx, stop := context.WithCancel(ctx)
		a.mu.Lock()
		for _, l := range a.channels {
			workers.Go(func() { a.deliver(wctx, l) })
		}
		if beat := a.beat; beat != nil {
			workers.Go(func() { beat.run(wctx, a) })
		}
		a.mu.Unlock()
		workers.Go(func() { a.sweep(wctx) })
		select {
		case <-ctx.Done():
		case <-a.reloaded:
		}
		stop()
		workers.Wait()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// sweep forgets what is over.
func (a *Alerts) sweep(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		a.mu.Lock()
		now := time.Now()
		if a.book.sweep(now, func(i *incident) bool { return len(a.waiting(i, now)) > 0 }) {
			a.touch(nil, false)
		}
		a.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// The rest is called with a.mu held.

// touch marks a change, wakes who waits for one, and returns what to wait for until it is on disk.
func (a *Alerts) touch(i *incident, urgent bool) uint64 {
	gen := a.outbox.touch(urgent)
	if i != nil && urgent {
		i.gen = gen
	}
	close(a.changed)
	a.changed = make(chan struct{})
	return gen
}

func (a *Alerts) names() []string {
	names := make([]string, len(a.channels))
	for i, l := range a.channels {
		names[i] = l.name()
	}
	return names
}

func (a *Alerts) plan(l *line, i *incident, now time.Time) step {
	return a.book.plan(i, l.name(), l.filter(), l.traits(), a.config.repeat(), now)
}

// waiting returns the channels that have to be told something else than a reminder.
func (a *Alerts) waiting(i *incident, now time.Time) []string {
	var names []string
	for _, l := range a.channels {
		if s := a.plan(l, i, now); s.drop != "" || s.event != "" && s.event != reminder && s.event != refresh {
			names = append(names, l.name())
		}
	}
	return names
}

// gift is news to be given to OnResult when a.mu is not held.
type gift struct {
	channel string
	kind    Kind
	result  Result
}

func (a *Alerts) giveUp(channel string, kind Kind, r Result) gift {
	a.dropped[r]++
	return gift{channel, kind, r}
}

// report is called without a.mu.
func (a *Alerts) report(given []gift) {
	for _, g := range given {
		if a.OnResult != nil {
			a.OnResult(g.channel, g.kind, g.result)
		}
		if g.result != Sent && g.result != Failed && a.Log != nil {
			a.Log.Warn("alert given up", "channel", g.channel, "kind", g.kind, "why", g.result)
		}
	}
}
