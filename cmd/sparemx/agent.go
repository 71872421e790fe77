package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"log/slog"
	"os"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sparemx/sparemx/alert"
	"github.com/sparemx/sparemx/collector"
	"github.com/sparemx/sparemx/config"
	"github.com/sparemx/sparemx/internal/durable"
	"github.com/sparemx/sparemx/logparse"
	"github.com/sparemx/sparemx/outage"
	"github.com/sparemx/sparemx/postfix"
	"github.com/sparemx/sparemx/probes"
	"github.com/sparemx/sparemx/queue"
)

// agent is one configuration at work: everything between its parts is wired here, and nowhere else. A reload makes another agent
// from the new configuration; what has to survive is in the state directory, and in the metrics, which both share.
type agent struct {
	cfg     *config.Config
	host    config.Host
	log     *slog.Logger
	metrics *collector.Collector

	queue   *postfix.Queue
	scanner *queue.Scanner
	watcher *probes.Watcher
	alerts  *alert.Alerts
	outages *outage.Watch
	sources []logparse.Source
	drains  drains

	logErr       string        // why no log is read, "" if one is
	logFound     chan struct{} // closed when one is found after all
	primaries    []probes.Primary
	primaryOf    map[string]string // by domain
	stalled      atomic.Bool
	newest       atomic.Int64 // arrival of the youngest held message of the last walk, Unix seconds
	stateTrouble atomic.Pointer[string]
	lastOutage   atomic.Pointer[outage.Report] // the last one that ended

	mu      sync.Mutex // of the tracker: lines of several sources come from several goroutines
	tracker *logparse.Tracker

	shown struct { // what a scrape reads from those who write to the disk under their locks
		tracker soon[logparse.TrackerStats]
		outages soon[[]*outage.Report]
		alerts  soon[alert.Status]
	}
	saved struct { // what savePositions saved last; it is called by one goroutine
		positions map[string]logparse.Position
		at        time.Time
		size      int // of the tracker, bytes
	}
}

// newAgent builds everything and starts nothing. The error says what to type; what is merely missing is logged and shown.
func newAgent(ctx context.Context, cfg *config.Config, log *slog.Logger, metrics *collector.Collector) (*agent, error) {
	host, notes, err := detect(ctx, cfg)
	if err != nil {
		return nil, err
	}
	for _, n := range notes {
		log.Warn(oneLine(n))
	}
	if err := os.MkdirAll(cfg.State, 0o750); err != nil {
		return nil, fmt.Errorf("state: %w: make the directory (install -d -o sparemx %s), or give another with --state", err, cfg.State)
	}
	a := &agent{cfg: cfg, host: host, log: log, metrics: metrics, primaries: cfg.Primaries(), primaryOf: map[string]string{}, logFound: make(chan struct{})}
	for _, p := range a.primaries {
		for _, d := range p.Domains {
			a.primaryOf[d] = p.Name
		}
	}
	a.queue = newQueue(cfg, host)
	a.alerts, err = alert.New(cfg.Alert, cfg.StatePath("alerts"), hostname(cfg))
	if err != nil {
		return nil, err
	}
	a.alerts.Log, a.alerts.Well = log, a.well

	a.watcher = &probes.Watcher{
		Config: probes.Config{
			Every: time.Duration(cfg.Probe.Every), Retry: time.Duration(cfg.Probe.Retry), Down: time.Duration(cfg.Probe.Down),
			Fall: cfg.Probe.Fall, Rise: cfg.Probe.Rise, Timeout: time.Duration(cfg.Probe.Timeout),
		},
		Prober: newLadder(cfg, host), Log: log, Controls: cfg.Probe.Control, StateFile: cfg.StatePath("primaries.json"),
		OnResult: metrics.ObserveProbe, OnTransition: a.onTransition, OnBlind: a.onBlind,
	}
	a.watcher.SetPrimaries(a.primaries)

	a.outages = &outage.Watch{
		Primaries: a.primaries, Store: &outage.Store{Dir: cfg.StatePath("outages"), Keep: cfg.Outages.Keep},
		Drain: a.newDrain, Notify: a.notify, Classify: classify, Shorten: a.shorten(),
		Planned: a.inMaintenance, Timers: timers(host.First()), Lifetime: host.Lifetime(), Stuck: time.Duration(cfg.Drain.Stuck), Pace: pace(cfg), Logger: log,
		Closed: a.onClosed,
	}
	if reports, err := a.outages.Store.List(); err != nil {
		log.Warn("a report of an outage cannot be read", "err", err)
	} else if len(reports) > 0 {
		a.lastOutage.Store(reports[0])
	}
	a.scanner = &queue.Scanner{
		Queue: a.queue, Every: time.Duration(cfg.Queue.Every), Timeout: time.Duration(cfg.Queue.Timeout), Known: a.known, Classify: classify,
		Logger: log, Walk: a.walk,
	}
	a.outages.Kick = a.scanner.Kick

	a.tracker = &logparse.Tracker{OnArrival: a.onArrival, OnOutcome: a.onOutcome, OnEnd: a.onEnd, OnRequeue: a.onRequeue}
	a.openLogs(ctx)
	metrics.SetPrimaries(a.primaries)
	return a, nil
}

func timers(s postfix.Settings) outage.Timers {
	return outage.Timers{MinBackoff: s.MinBackoff, MaxBackoff: s.MaxBackoff, RunDelay: s.RunDelay}
}

// pace is how the drains go; config.Check has refused what is not known.
func pace(cfg *config.Config) queue.Pace {
	p, _ := queue.ParsePace(cfg.Drain.Pace)
	return p
}

// openLogs takes up each log where it was left. A log that cannot be found is no reason not to start: it is shown, and said.
func (a *agent) openLogs(ctx context.Context) {
	specs, err := logSpecs(ctx, a.cfg, a.host)
	if err != nil {
		a.logErr = err.Error()
		a.log.Error("no mail log is read, so nothing of what Postfix does is counted", "err", err)
	}
	positions, err := logparse.LoadPositions(a.cfg.StatePath("positions.json"))
	if err != nil {
		a.log.Error("log positions", "err", err)
	}
	data, err := os.ReadFile(a.cfg.StatePath("tracker.bin"))
	if err == nil {
		err = a.tracker.Load(bytes.NewReader(data))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.log.Error("what was known of messages in the queue is lost; they are learned again", "file", a.cfg.StatePath("tracker.bin"), "err", err)
	}
	for _, s := range specs {
		a.sources = append(a.sources, s.Open(positions[s.Name()], logparse.Options{Log: a.log}))
		a.log.Info("reading the mail log", "log", s.Name(), "why", s.Why)
	}
}

// findLog looks for a log until there is one, if none was found at the start: a machine is set up in any order.
func (a *agent) findLog(ctx context.Context) error {
	if a.logErr == "" {
		return nil
	}
	tick := time.NewTicker(findLogEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if specs, err := logSpecs(ctx, a.cfg, a.host); err == nil && len(specs) > 0 {
			close(a.logFound)
			return nil
		}
	}
}

// findLogEvery is how often a log is looked for while none is known.
const findLogEvery = 10 * time.Second

// run works until ctx ends, and leaves the state directory as the next agent needs it.
func (a *agent) run(ctx context.Context) error {
	a.watcher.Restore()
	states := map[string]probes.State{}
	for _, p := range a.watcher.Snapshot() {
		states[p.Primary.Name] = p.State
	}
	if err := a.outages.Restore(states); err != nil {
		a.log.Error("outages", "err", err)
	}
	g, gctx := errgroup.WithContext(ctx)
	run := func(what string, f func(context.Context) error) {
		g.Go(func() error {
			if err := f(gctx); err != nil && ctx.Err() == nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			return nil
		})
	}
	for _, src := range a.sources {
		run(src.Name(), func(ctx context.Context) error {
			var ev logparse.Event
			parser := logparse.Parser{Instances: a.instanceNames()}
			return src.Run(ctx, func(line []byte) { a.onLine(src, &parser, line, &ev) })
		})
	}
	run("outages", a.outages.Run)
	run("probes", a.watcher.Run)
	run("queue", a.scanner.Run)
	run("alerts", a.alerts.Run)
	run("drains", a.drains.run)
	run("positions", a.keepPositions)
	run("watchdog", a.watchSelf)
	run("log", a.findLog)
	err := g.Wait()
	return errors.Join(err, a.savePositions())
}

// troubles are what the agent cannot keep on disk, each in a sentence that says what to type.
func (a *agent) troubles() []string {
	var texts []string
	if text := a.stateTrouble.Load(); text != nil {
		texts = append(texts, fmt.Sprintf("the state directory cannot be written, and a restart now would forget: %s: df -h %s; ls -ld %s", *text, a.cfg.State, a.cfg.State))
	} else if err := a.watcher.StateErr(); err != nil {
		texts = append(texts, fmt.Sprintf("the state of the primaries cannot be kept over a restart: %v: df -h %s; ls -ld %s", err, a.cfg.State, a.cfg.State))
	}
	return texts
}

func (a *agent) instanceNames() []string {
	var names []string
	for _, i := range a.host.Instances {
		names = append(names, i.Name)
	}
	return names
}

// onLine takes one line of the log. It is the hot path: half a million lines a second and more.
func (a *agent) onLine(src logparse.Source, parser *logparse.Parser, line []byte, ev *logparse.Event) {
	now := time.Now()
	kind := parser.Parse(line, now, ev)
	a.metrics.ObserveEvent(ev)
	if kind == logparse.Foreign {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tracker.Track(ev)
	if (kind == logparse.Reject || kind == logparse.MilterReject) && a.outages.Status().Open > 0 {
		a.outages.OnReject(outage.Reject{At: ev.Time, Domain: queue.AddressDomain(string(ev.To)), Key: lineKey(src, line)})
	}
}

// lineKey tells the line that src hands on at this moment from all others, also from its equals, and is the same when the line is read
// again after a restart: the position covers all lines before it.
func lineKey(src logparse.Source, line []byte) uint64 {
	p := src.Position()
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %d %d %s ", p.Device, p.Inode, p.Offset, p.Cursor)
	h.Write(line)
	return h.Sum64()
}

func (a *agent) onArrival(ar queue.Arrival) {
	a.metrics.ObserveArrival(ar)
	a.outages.OnArrival(ar)
}

// fresh is how old a log line may be to say something of this moment.
const fresh = time.Minute

func (a *agent) onOutcome(o queue.Outcome) {
	a.metrics.ObserveOutcome(o)
	a.outages.OnOutcome(o)
	a.drains.observe(o)
	primary, ours := a.primaryOf[o.Domain]
	if !ours || time.Since(o.At) > fresh {
		return
	}
	switch {
	case o.Result == queue.Delivered:
		a.watcher.Nudge(primary, probes.Good)
	case o.Result == queue.DeferredResult && o.Cause.OfPrimary():
		a.watcher.Nudge(primary, probes.Bad)
	}
}

func (a *agent) onEnd(e queue.End) {
	a.outages.OnEnd(e)
	a.drains.observeEnd(e)
}

func (a *agent) onRequeue(at time.Time, instance, oldID, newID string) {
	a.onEnd(queue.End{At: at, Instance: instance, ID: oldID, Kind: queue.Requeued, NewID: newID})
}

func (a *agent) onTransition(primary string, t probes.Transition) {
	a.metrics.ObserveTransition(primary, t)
	a.outages.OnTransition(primary, t)
}

func (a *agent) onClosed(r *outage.Report) {
	a.metrics.ObserveOutageEnd(r)
	a.lastOutage.Store(r)
	a.scanner.Kick() // so that what is shown as held is not what was held before the drain
	a.log.Info("the outage is over", "outage", r.ID, "report", oneLine(r.Title()))
}

func (a *agent) onBlind(b probes.BlindStatus) {
	n := alert.Notice{Kind: alert.Blind, Key: "blind", Severity: alert.Critical, At: b.Since, Resolved: b.Sight == probes.Sighted,
		Title: hostname(a.cfg) + " cannot see its primaries", Text: "Every primary and every control target fail together, so the fault is most likely on this host or its network. No outage is declared.\n" + b.Reason}
	if n.Resolved {
		n.Title, n.Text, n.At = hostname(a.cfg)+" sees its primaries again", "", time.Now()
	}
	a.log.Warn(n.Title, "reason", oneLine(b.Reason))
	a.notify(n)
}

func (a *agent) notify(n alert.Notice) { a.alerts.Notify(n) }

// shorten returns how addresses are shown to people.
func (a *agent) shorten() func(string) string {
	if a.cfg.Alert.Addresses == "full" {
		return func(s string) string { return s }
	}
	return alert.ShortAddress
}

func (a *agent) known(domain string) bool { _, ok := a.primaryOf[domain]; return ok }

// walk feeds one walk of the queue to the account, and remembers the youngest message: its arrival tells whether the log is still read.
func (a *agent) walk(at time.Time) queue.Walk {
	w := a.outages.Walk(at)
	visit, end := w.Visit, w.End
	newest := int64(0)
	w.Visit = func(m queue.Message) {
		newest = max(newest, m.Arrived.Unix())
		if visit != nil {
			visit(m)
		}
	}
	w.End = func(complete bool) {
		a.newest.Store(newest)
		if end != nil {
			end(complete)
		}
	}
	return w
}

func (a *agent) inMaintenance() bool { return time.Now().Before(a.alerts.Status().Maintenance) }

// well tells whether the agent does its work: the heartbeat is sent only then.
func (a *agent) well() bool {
	scan := a.scanner.Status()
	return a.logErr == "" && !a.stalled.Load() && scan.Failures < 3 && a.watcher.Blind().Sight == probes.Sighted
}

// keepPositions saves how far the logs were read, about each second while lines come.
func (a *agent) keepPositions(ctx context.Context) error {
	wait := time.Second
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		start := time.Now()
		if err := a.savePositions(); err != nil {
			a.metrics.ObserveStateWriteFailure()
			if text := err.Error(); a.stateTrouble.Swap(&text) == nil {
				a.log.Error("the state directory cannot be written; the agent goes on, but a restart would count lines again", "err", err)
			}
		} else if a.stateTrouble.Swap(nil) != nil {
			a.log.Info("the state directory can be written again")
		}
		wait = max(time.Second, 20*time.Since(start)) // a huge tracker is not written all the time
	}
}

// savedFor is how long nothing is written while no line comes: a disk that cannot be written is noticed then, too.
const savedFor = 10 * time.Second

// savePositions saves, in this order: the account of open outages, the tracker, the positions. Each covers at least all lines up to
// the positions saved after it, and telling it lines twice changes nothing; so a crash at any moment loses nothing.
func (a *agent) savePositions() error {
	a.mu.Lock()
	positions := map[string]logparse.Position{}
	for _, src := range a.sources {
		positions[src.Name()] = src.Position()
	}
	if reflect.DeepEqual(positions, a.saved.positions) && time.Since(a.saved.at) < savedFor {
		a.mu.Unlock() // no line has come, so the tracker is as it was, too
		return a.outages.Sync()
	}
	tracker := bytes.NewBuffer(make([]byte, 0, a.saved.size+a.saved.size/8)) // grown by doubling it would be twice as much garbage each second
	err := a.tracker.Save(tracker)
	a.mu.Unlock()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(a.cfg.State, 0o750); err != nil { // it may have been removed under us
		return err
	}
	if err := a.outages.Sync(); err != nil {
		return err
	}
	if err := durable.WriteFile(a.cfg.StatePath("tracker.bin"), tracker.Bytes(), 0o600); err != nil {
		return err
	}
	if err := logparse.SavePositions(a.cfg.StatePath("positions.json"), positions); err != nil {
		return err
	}
	a.saved.positions, a.saved.at, a.saved.size = positions, time.Now(), tracker.Len()
	return nil
}
