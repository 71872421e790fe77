package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/sparemx/sparemx/alert"
	"github.com/sparemx/sparemx/collector"
	"github.com/sparemx/sparemx/config"
	"github.com/sparemx/sparemx/logparse"
	"github.com/sparemx/sparemx/outage"
	"github.com/sparemx/sparemx/probes"
	"github.com/sparemx/sparemx/queue"
	"github.com/sparemx/sparemx/status"
)

func (c *cli) addRun(app *kingpin.Application) {
	cmd := app.Command("run", "Run the agent and exporter.").Default()
	cmd.Flag("web.listen-address", "Address of metrics and page; can be repeated; wins over the file.").PlaceHolder(":19154").StringsVar(&c.listen)
	cmd.Flag("web.config.file", "File with TLS and basic auth for the port, as all Prometheus exporters have it.").PlaceHolder("FILE").StringVar(&c.webConfig)
	cmd.Action(func(*kingpin.ParseContext) error {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		if os.Getenv("GOGC") == "" {
			// The agent is a guest on a mail server. Between scans it makes little garbage, so that memory is worth more than the CPU
			// that collecting more often takes.
			debug.SetGCPercent(20)
		}
		return c.runAgent(ctx)
	})
}

// house is what outlives a reload: the ports, the metrics, and the agent of the configuration in use.
type house struct {
	cli     *cli
	log     *slog.Logger
	metrics *collector.Collector
	started time.Time
	reloads chan chan error
	current atomic.Pointer[agent]
}

func (c *cli) runAgent(ctx context.Context) error {
	cfg, err := c.load()
	if err != nil {
		return err
	}
	h := &house{cli: c, log: c.logger(), started: time.Now(), reloads: make(chan chan error)}
	// Before the rest takes its time: a hangup that comes while we start is a reload, not the end.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	unlock, err := lockState(cfg.State)
	defer unlock()
	if errors.Is(err, errLocked) {
		return err
	} else if err != nil {
		h.log.Warn("nothing keeps a second agent out of the state directory", "err", err)
	}
	h.metrics = collector.New(collector.Config{
		Primaries: cfg.Primaries(), Version: version, Mode: string(config.Postfix), Start: h.started, NoCompat: !*cfg.Metrics.Compat,
		Runtime: true, Log: h.log, Sources: h.sources(),
	})
	first, err := newAgent(ctx, cfg, h.log, h.metrics)
	if err != nil {
		return err
	}
	h.current.Store(first)
	control, err := listenControl(cfg.Control)
	if err != nil {
		return err
	}
	defer os.Remove(cfg.Control)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var servers sync.WaitGroup
	servers.Go(func() { cancel(h.serveControl(ctx, control)) })
	web := &status.Server{
		Addresses: cfg.Web.Listen, WebConfig: cfg.Web.Config, Metrics: h.metrics.Handler(), Status: h.status, Ready: h.ready, Log: h.log,
	}
	servers.Go(func() { cancel(web.Serve(ctx)) })
	servers.Go(func() { h.reloadOnHangup(ctx, hup) })

	for _, p := range first.primaries {
		h.log.Info("primary", "name", p.Name, "domains", len(p.Domains))
	}
	h.log.Info("sparemx is running", "version", version, "listen", fmt.Sprint(cfg.Web.Listen), "control", cfg.Control)
	err = h.generations(ctx, first)
	if cause := context.Cause(ctx); err == nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	cancel(nil)
	servers.Wait()
	h.log.Info("sparemx has stopped", "err", err)
	return err
}

// generations runs one agent after the other: a reload ends one and begins the next. It returns when ctx ends or an agent fails.
func (h *house) generations(ctx context.Context, a *agent) error {
	for {
		gctx, end := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- a.run(gctx) }()
		next, err := h.untilReload(ctx, a, done)
		end()
		if next == nil {
			if err == nil {
				err = <-done
			}
			return err
		}
		if err := <-done; err != nil {
			h.log.Error("the agent of the old configuration", "err", err)
		}
		// The logs' positions were saved just now: open them again from there.
		if a, err = next(); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		h.current.Store(a)
	}
}

// untilReload waits for a reload that has a good configuration, and returns how to make its agent; or for the end, and returns nil.
func (h *house) untilReload(ctx context.Context, a *agent, done chan error) (func() (*agent, error), error) {
	for {
		select {
		case <-ctx.Done():
			return nil, nil
		case err := <-done:
			return nil, errors.Join(errors.New("the agent has ended"), err)
		case answer := <-h.reloads:
			cfg, err := h.cli.load()
			if err == nil {
				// Built whole, and thrown away, before anything changes: what it says is what the real one would.
				_, err = newAgent(ctx, cfg, slog.New(slog.DiscardHandler), collector.New(collector.Config{}))
			}
			h.metrics.ObserveReload(time.Now(), err)
			if err != nil {
				h.log.Error("reload: the old configuration stays", "err", err)
				answer <- err
				continue
			}
			h.log.Info("reloaded")
			answer <- nil
			return h.successor(ctx, cfg), nil
		case <-a.logFound:
			h.log.Info("a mail log was found")
			return h.successor(ctx, a.cfg), nil
		}
	}
}

// successor returns how to make the next agent when the one before has ended. What cannot be asked at that moment is asked again: to end
// here would be worse than to wait.
func (h *house) successor(ctx context.Context, known *config.Config) func() (*agent, error) {
	return func() (*agent, error) {
		for {
			cfg, err := h.cli.load()
			if err != nil {
				fresh := *known
				cfg = &fresh
			}
			a, err := newAgent(ctx, cfg, h.log, h.metrics)
			if err == nil || ctx.Err() != nil {
				return a, err
			}
			h.log.Error("the agent of the new configuration cannot begin; it is tried again", "err", err)
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(5 * time.Second):
			}
		}
	}
}

// reload asks for a reload and waits for what came of it.
func (h *house) reload(ctx context.Context) error {
	answer := make(chan error, 1)
	select {
	case h.reloads <- answer:
		return <-answer
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *house) reloadOnHangup(ctx context.Context, hup <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			h.reload(ctx) // it says in the log what came of it
		}
	}
}

// sources are what the metrics read at a scrape, of whichever agent is in use.
func (h *house) sources() collector.Sources {
	return collector.Sources{
		Primaries: func() []probes.PrimaryStatus { return h.current.Load().watcher.Snapshot() },
		Blind:     func() probes.BlindStatus { return h.current.Load().watcher.Blind() },
		Queue:     func() *queue.Snapshot { return h.current.Load().scanner.Latest() },
		QueueName: "postqueue",
		Scan:      func() queue.ScanStatus { return h.current.Load().scanner.Status() },
		Lifetime:  func() time.Duration { return h.current.Load().host.Lifetime() },
		Logs:      func() []collector.Log { return h.current.Load().logs() },
		Tracker:   func() logparse.TrackerStats { a := h.current.Load(); return a.shown.tracker.get(a.trackerStats) },
		Outages:   func() []*outage.Report { a := h.current.Load(); return a.shown.outages.get(a.outages.Open) },
		Alerts:    func() alert.Status { a := h.current.Load(); return a.shown.alerts.get(a.alerts.Status) },
	}
}

func (a *agent) logs() []collector.Log {
	var logs []collector.Log
	for _, src := range a.sources {
		logs = append(logs, collector.Log{Name: src.Name(), Stats: src.Stats(), Stalled: a.stalled.Load()})
	}
	if a.logErr != "" {
		logs = append(logs, collector.Log{Name: "none", Stalled: true, Stats: logparse.SourceStats{Readable: logparse.ReadableNo, LastError: a.logErr}})
	}
	return logs
}

func (a *agent) trackerStats() logparse.TrackerStats {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tracker.Stats()
}

func (h *house) serveControl(ctx context.Context, l net.Listener) error {
	srv := &http.Server{Handler: h.controlHandler(), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(h.log.Handler(), slog.LevelDebug)}
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		srv.Shutdown(grace)
	})
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control: %w", err)
	}
	return nil
}

func (h *house) controlHandler() http.Handler {
	mux := http.NewServeMux()
	refuse := func(w http.ResponseWriter, err error) { http.Error(w, err.Error(), http.StatusConflict) }
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) { writeJSON(w, h.status()) })
	mux.HandleFunc("GET /v1/outages", func(w http.ResponseWriter, r *http.Request) {
		a := h.current.Load()
		reports, err := a.outages.Store.List()
		if err != nil {
			h.log.Warn("outages", "err", err)
		}
		writeJSON(w, append(a.outages.Open(), reports...))
	})
	mux.HandleFunc("POST /v1/drain", func(w http.ResponseWriter, r *http.Request) {
		names, err := h.current.Load().drainOf(r.FormValue("of"))
		if err != nil {
			refuse(w, err)
			return
		}
		writeJSON(w, names)
	})
	mux.HandleFunc("GET /v1/drain", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, h.current.Load().drainViews(r.URL.Query()["of"]))
	})
	mux.HandleFunc("POST /v1/maintain", func(w http.ResponseWriter, r *http.Request) {
		length, err := time.ParseDuration(r.FormValue("for"))
		if err != nil || length < 0 {
			refuse(w, errors.New("maintain: for how long?"))
			return
		}
		writeJSON(w, h.current.Load().maintainFor(length))
	})
	mux.HandleFunc("POST /v1/reload", func(w http.ResponseWriter, r *http.Request) {
		if err := h.reload(r.Context()); err != nil {
			refuse(w, err)
		}
	})
	mux.HandleFunc("GET /-/healthy", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "sparemx runs.") })
	mux.HandleFunc("GET /-/ready", func(w http.ResponseWriter, r *http.Request) {
		if err := h.ready(); err != nil {
			http.Error(w, "Not ready: "+oneLine(err.Error()), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "sparemx is ready.")
	})
	return mux
}

// ready tells whether everything was looked at once.
func (h *house) ready() error {
	a := h.current.Load()
	if a.scanner.Status().Scans == 0 {
		return errors.New("the queue has not been looked at yet")
	}
	for _, p := range a.watcher.Snapshot() {
		if p.Last.At.IsZero() {
			return fmt.Errorf("%s has not been probed yet", p.Primary.Name)
		}
	}
	return nil
}

// status says where things stand now.
func (h *house) status() status.Status {
	a := h.current.Load()
	alerts := a.alerts.Status()
	in := status.Inputs{
		Now: time.Now(), Host: hostname(a.cfg), Version: version, Mode: string(config.Postfix), Started: h.started,
		Primaries: a.watcher.Snapshot(), Blind: a.watcher.Blind(), Queue: a.scanner.Latest(), Scan: a.scanner.Status(),
		Lifetime: a.host.Lifetime(), Open: a.outages.Open(), Last: a.lastOutage.Load(), Alerts: &alerts,
	}
	for _, l := range a.logs() {
		in.Logs = append(in.Logs, status.LogInput{Name: l.Name, Stats: l.Stats, Stalled: l.Stalled})
	}
	for i, n := range a.host.Notes {
		in.Findings = append(in.Findings, status.Finding{ID: fmt.Sprintf("start-%d", i+1), Level: status.Warning, Text: n})
	}
	in.Troubles = a.troubles()
	return status.Build(in)
}

// maintainFor begins planned work, or ends it at once for 0.
func (a *agent) maintainFor(length time.Duration) time.Time {
	until := time.Now().Add(length)
	if length == 0 {
		until = time.Time{}
	}
	a.alerts.Maintain(until)
	a.log.Info("maintenance", "until", until)
	return until
}
