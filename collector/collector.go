// Package collector holds every metric name. Nothing else knows Prometheus.
//
// What happens is told to it: [Collector.ObserveEvent] for each log line, ObserveOutcome, ObserveArrival, ObserveProbe and so on. What
// stands somewhere is read at each scrape through [Sources], which must answer at once: a scrape reads snapshots and never waits
// for Postfix, a disk or a network.
//
// Label values are bounded: configured domains, primaries, sources and channels, and lists of our own. What is in none of them
// is "other". An address, a queue ID, a client or a reply never becomes one. Series of an enumeration are there from the start,
// at 0, since a rate needs a value before the first event.
package collector

import (
	"errors"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sparemx/sparemx/alert"
	"github.com/sparemx/sparemx/logparse"
	"github.com/sparemx/sparemx/outage"
	"github.com/sparemx/sparemx/probes"
	"github.com/sparemx/sparemx/queue"
)

// Config is what is known when the agent starts. The zero Config is valid.
type Config struct {
	Primaries []probes.Primary // their domains are the label values; all other domains are "other"
	Version   string
	Revision  string
	Mode      string       // "postfix" or "relay"
	Start     time.Time    // of the agent; now if zero
	NoCompat  bool         // leave out the postfix_* families
	Runtime   bool         // add the go_* and process_* families
	Log       *slog.Logger // told when a scrape fails; nil: nobody
	Sources   Sources
}

// Sources are read at each scrape and must return at once. A nil one leaves its families out, or at 0.
type Sources struct {
	Primaries func() []probes.PrimaryStatus
	Blind     func() probes.BlindStatus
	Queue     func() *queue.Snapshot // may return nil: no scan has succeeded yet
	QueueName string                 // label "path" of the queue in postfix_up: "queue" if empty
	Scan      func() queue.ScanStatus
	Lifetime  func() time.Duration // how long mail is kept; 0: not known
	Logs      func() []Log
	Tracker   func() logparse.TrackerStats
	Outages   func() []*outage.Report // the open ones
	Alerts    func() alert.Status
}

// Log is one source of log lines.
type Log struct {
	Name    string // of the source, as configured: "file:/var/log/mail.log", "journal"
	Stats   logparse.SourceStats
	Stalled bool // silent although it should not be
}

// perPrimary is what is counted for one primary.
type perPrimary struct {
	up          bool // known to be up, since:
	since       time.Time
	stages      [probes.NumStages]*histogram
	verdicts    [3]uint64
	transitions [4]uint64
	outages     uint64
	fates       map[outage.Fate]uint64
}

func newPerPrimary() *perPrimary {
	p := &perPrimary{fates: map[outage.Fate]uint64{}}
	for s := range p.stages {
		p.stages[s] = newHistogram(probeBounds[:])
	}
	return p
}

// Collector counts and shows. Make it with [New]. All methods may be called from any goroutine.
type Collector struct {
	src      Sources
	log      *slog.Logger
	start    time.Time
	created  *timestamppb.Timestamp
	registry *prometheus.Registry
	runtime  *prometheus.Registry // what of it is not ours; nil: nothing
	help     map[string]string
	pages    pages
	shown    map[string]shown
	compat   bool
	build    []string

	mu         sync.Mutex // guards all below
	tally      tally
	names      []string // configured domains
	byName     map[string]int
	lastDomain string
	lastIndex  int
	primaries  []string
	byPrimary  map[string]int
	primaryOf  []int // by domain
	per        []*perPrimary
	flushes    [len(triggers)][2]uint64
	reloads    [2]uint64
	reloadGood bool
	reloadAt   time.Time
	stateFails uint64
	jumps      [2]uint64
}

var (
	delayBounds       = [...]float64{0.01, 0.1, 1, 10, 60, 300, 900, 3600, 14400, 86400, 432000}
	probeBounds       = [...]float64{0.001, 0.01, 0.1, 0.5, 1, 5, 15}
	compatDelayBounds = [...]float64{1e-3, 1e-2, 1e-1, 1, 10, 60, 3600, 86400, 172800}
	rcptBounds        = [...]float64{1, 2, 4, 8, 16, 32, 64, 128}
	sizeBounds        = [...]float64{1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9}
	rankBounds        = [...]float64{0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15}
)

func newDelays[A interface{ [9]float64 | [11]float64 }](bounds A) (d [4]*histogram) {
	var b []float64
	switch v := any(bounds).(type) {
	case [9]float64:
		b = v[:]
	case [11]float64:
		b = v[:]
	}
	for i := range d {
		d[i] = newHistogram(b)
	}
	return d
}

// New returns a Collector with everything at 0.
func New(cfg Config) *Collector {
	if cfg.Start.IsZero() {
		cfg.Start = time.Now()
	}
	c := &Collector{
		src: cfg.Sources, log: cfg.Log, start: cfg.Start, created: timestamppb.New(cfg.Start), registry: prometheus.NewRegistry(),
		shown: map[string]shown{}, help: map[string]string{}, compat: !cfg.NoCompat, build: []string{cfg.Version, cfg.Revision, runtime.Version(), cfg.Mode},
		reloadGood: true, reloadAt: cfg.Start,
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	list := families()
	t := &c.tally
	t.deferrals = make([]uint64, len(queue.Causes())+1)
	t.delay = newDelays(delayBounds)
	t.total = newHistogram(delayBounds[:])
	if c.compat {
		list = append(list, compatFamilies()...)
		k := &t.compat
		k.qmgrSize, k.qmgrRcpts, k.screenRank = newHistogram(sizeBounds[:]), newHistogram(rcptBounds[:]), newHistogram(rankBounds[:])
		k.smtpDelay, k.lmtpDelay = newDelays(compatDelayBounds), newDelays(compatDelayBounds)
		k.pipeDelay = map[string]*[4]*histogram{}
	}
	for _, f := range list {
		c.shown[f.name] = shown{prometheus.NewDesc(f.name, f.help, f.labels, nil), f.kind, slices.Sorted(slices.Values(f.labels)), f.labels}
		c.help[f.name] = f.help
	}
	c.SetPrimaries(cfg.Primaries)
	c.registry.MustRegister(c) // the names are ours and a test registers them: it cannot panic for what a user does
	if cfg.Runtime {
		c.runtime = prometheus.NewRegistry()
		for _, r := range []*prometheus.Registry{c.registry, c.runtime} {
			r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
		}
	}
	return c
}

// SetPrimaries tells which primaries and domains there are, at the start and after a reload. Counts of those that stay are kept.
func (c *Collector) SetPrimaries(ps []probes.Primary) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old, oldPrimaries, oldDomains, oldPer := c.tally.domains, c.byPrimary, c.byName, c.per
	c.primaries, c.byPrimary, c.names, c.byName, c.primaryOf, c.per = nil, map[string]int{}, nil, map[string]int{}, nil, nil
	c.tally.domains, c.lastDomain, c.lastIndex = nil, "", 0
	for _, p := range ps {
		if _, twice := c.byPrimary[p.Name]; twice {
			continue
		}
		i := len(c.primaries)
		c.primaries = append(c.primaries, p.Name)
		c.byPrimary[p.Name] = i
		if o, stays := oldPrimaries[p.Name]; stays {
			c.per = append(c.per, oldPer[o])
		} else {
			c.per = append(c.per, newPerPrimary())
		}
		for _, d := range p.Domains {
			d = strings.ToLower(d)
			if _, twice := c.byName[d]; twice || d == queue.OtherDomain {
				continue
			}
			c.byName[d] = len(c.names)
			c.names = append(c.names, d)
			c.primaryOf = append(c.primaryOf, i)
			var n domainCount
			if o, stays := oldDomains[d]; stays {
				n = old[o]
			}
			c.tally.domains = append(c.tally.domains, n)
		}
	}
	var other domainCount
	if len(old) > 0 {
		other = old[len(old)-1]
	}
	c.tally.domains = append(c.tally.domains, other)
}

// domainIndex returns the place of a domain in tally.domains. Outcomes come in runs for one domain, so the last one is remembered.
func (c *Collector) domainIndex(domain string) int {
	if domain == c.lastDomain && domain != "" {
		return c.lastIndex
	}
	i, known := c.byName[domain]
	if !known {
		i = len(c.tally.domains) - 1
	}
	c.lastDomain, c.lastIndex = domain, i
	return i
}

// ObserveProbe counts one probe. It is made for probes.Watcher.OnResult.
func (c *Collector) ObserveProbe(primary string, r probes.Result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, known := c.byPrimary[primary]
	if !known {
		return
	}
	c.per[i].verdicts[min(r.Verdict, probes.Bad)]++
	for s, d := range r.Timings {
		if d > 0 {
			c.per[i].stages[s].observe(d.Seconds())
		}
	}
}

// ObserveTransition counts one change of state. It is made for probes.Watcher.OnTransition.
func (c *Collector) ObserveTransition(primary string, t probes.Transition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, known := c.byPrimary[primary]
	if !known {
		return
	}
	c.per[i].transitions[min(t.To, probes.Recovering)]++
	if t.To == probes.Down && t.From != probes.Recovering { // else the same outage goes on
		c.per[i].outages++
	}
	c.per[i].up, c.per[i].since = t.To == probes.Up, t.At
}

// ObserveOutageEnd counts the account of an outage that has ended.
func (c *Collector) ObserveOutageEnd(r *outage.Report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i, known := c.byPrimary[r.Primary]; known {
		for _, f := range outage.Fates() {
			c.per[i].fates[f] += uint64(max(0, fateCount(r.Counts, f)))
		}
	}
}

func fateCount(n outage.Counts, f outage.Fate) int {
	switch f {
	case outage.Delivered:
		return n.Delivered
	case outage.Held:
		return n.StillHeld
	case outage.Unaccounted:
		return n.Unaccounted
	case outage.Deleted:
		return n.Deleted
	case outage.Bounced:
		return n.Bounced
	case outage.Expired:
		return n.Expired
	}
	return 0
}

// Trigger is who asked for a flush.
type Trigger uint8

const (
	ByDrain    Trigger = iota // the agent, because the primary is back
	ByOperator                // a person
)

var triggers = [...]string{"drain", "operator"}

// ObserveFlush counts a request for delivery put to the holder; err is what it answered.
func (c *Collector) ObserveFlush(by Trigger, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushes[min(by, ByOperator)][failed(err)]++
}

// ObserveReload counts a load of the configuration after the first.
func (c *Collector) ObserveReload(at time.Time, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reloads[failed(err)]++
	if c.reloadGood = err == nil; c.reloadGood {
		c.reloadAt = at
	}
}

// ObserveStateWriteFailure counts a write under the state directory that failed.
func (c *Collector) ObserveStateWriteFailure() {
	c.mu.Lock()
	c.stateFails++
	c.mu.Unlock()
}

// ObserveClockJump counts a jump of the wall clock; by is negative for one back.
func (c *Collector) ObserveClockJump(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if by < 0 {
		c.jumps[0]++
	} else {
		c.jumps[1]++
	}
}

// failed is the place of an error's result: succeeded, failed.
func failed(err error) int {
	if err != nil {
		return 1
	}
	return 0
}

// Handler answers /metrics: text or protobuf, as the scraper asks; protobuf carries the native histograms as well.
func (c *Collector) Handler() http.Handler {
	return c.textHandler(promhttp.HandlerFor(c.registry, promhttp.HandlerOpts{
		ErrorLog:            scrapeLog{c.log},
		ErrorHandling:       promhttp.ContinueOnError, // one broken family must not hide all others
		MaxRequestsInFlight: maxScrapes,
	}))
}

// Registry returns what Handler shows.
func (c *Collector) Registry() *prometheus.Registry { return c.registry }

type scrapeLog struct{ log *slog.Logger }

func (l scrapeLog) Println(v ...any) { l.log.Error("a scrape failed", "err", v) }

// Describe is for the registry.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, s := range c.shown {
		ch <- s.desc
	}
}

// scrape is one scrape under way.
type scrape struct {
	c    *Collector
	ch   chan<- prometheus.Metric // of the registry; nil where page is set
	page *page
	now  time.Time
}

// put shows one value. A name or a number of labels that the catalog does not have makes the scrape report an error.
func (s *scrape) put(name string, v float64, values ...string) {
	if s.page != nil {
		if !s.page.put(name, v, values) {
			s.c.log.Error("a scrape failed: not in the catalog", "name", name)
		}
		return
	}
	f, ok := s.c.shown[name]
	if !ok {
		s.ch <- prometheus.NewInvalidMetric(prometheus.NewDesc(name, "not in the catalog", nil, nil), errors.New("not in the catalog"))
		return
	}
	t := prometheus.GaugeValue
	switch f.kind {
	case counter:
		t = prometheus.CounterValue
	case untyped:
		t = prometheus.UntypedValue
	}
	m, err := prometheus.NewConstMetric(f.desc, t, v, values...)
	if err != nil {
		m = prometheus.NewInvalidMetric(f.desc, err)
	}
	s.ch <- m
}

func (s *scrape) count(name string, n uint64, values ...string) { s.put(name, float64(n), values...) }

func (s *scrape) time(name string, t time.Time, values ...string) {
	v := 0.0
	if !t.IsZero() {
		v = float64(t.UnixMilli()) / 1000
	}
	s.put(name, v, values...)
}

func (s *scrape) bool(name string, b bool, values ...string) {
	v := 0.0
	if b {
		v = 1
	}
	s.put(name, v, values...)
}

// histogram shows h; the labels are name, value, in the order of their names.
func (s *scrape) histogram(name string, h shape, pairs ...string) {
	if s.page != nil {
		if !s.page.histogram(name, h, pairs) {
			s.c.log.Error("a scrape failed: not in the catalog", "name", name)
		}
		return
	}
	m := &histogramMetric{desc: s.c.shown[name].desc, h: h.show(s.c)}
	for i := 0; i+1 < len(pairs); i += 2 {
		m.labels = append(m.labels, &dto.LabelPair{Name: proto.String(pairs[i]), Value: proto.String(pairs[i+1])})
	}
	s.ch <- m
}

// Collect is for the registry.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	c.collect(&scrape{c: c, ch: ch, now: time.Now()})
}

func (c *Collector) collect(s *scrape) {
	s.primaries()
	snap, scan := s.queue()
	logs := s.logs()
	s.outages()
	s.alerts()
	s.counted()
	if c.compat {
		s.compat(snap, scan, logs)
	}
}
