package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sparemx/sparemx/collector"
	"github.com/sparemx/sparemx/config"
	"github.com/sparemx/sparemx/probes"
	"github.com/sparemx/sparemx/queue"
)

// drains are those that a person asked for. The drain of an outage belongs to the outage.
type drains struct {
	mu      sync.Mutex
	ctx     context.Context // of run; nil before
	last    map[string]*queue.Drain
	running sync.WaitGroup
}

// run lets drains be started until ctx ends, and then waits for those under way to stop.
func (d *drains) run(ctx context.Context) error {
	d.mu.Lock()
	d.ctx = ctx
	d.mu.Unlock()
	<-ctx.Done()
	d.running.Wait()
	return nil
}

func (d *drains) observe(o queue.Outcome) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, drain := range d.last {
		drain.Observe(o)
	}
}

func (d *drains) observeEnd(e queue.End) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, drain := range d.last {
		drain.ObserveEnd(e)
	}
}

// start begins a drain, unless the last one towards the same primary is still under way.
func (d *drains) start(primary string, drain *queue.Drain) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx == nil || d.ctx.Err() != nil {
		return fmt.Errorf("the agent is starting or stopping: try again in a moment")
	}
	if last := d.last[primary]; last != nil && last.Progress().Ended.IsZero() {
		return nil
	}
	if d.last == nil {
		d.last = map[string]*queue.Drain{}
	}
	d.last[primary] = drain // known to observe before the first push
	ctx := d.ctx
	d.running.Go(func() { drain.Run(ctx) }) // what became of it is in its Progress
	return nil
}

// progress returns how the last drain towards primary went; nil: there was none.
func (d *drains) progress(primary string) *queue.Progress {
	d.mu.Lock()
	defer d.mu.Unlock()
	if drain := d.last[primary]; drain != nil {
		p := drain.Progress()
		return &p
	}
	return nil
}

// newDrain makes the drain of a primary that is back; it is made for outage.Watch.
func (a *agent) newDrain(p probes.Primary) *queue.Drain { return a.makeDrain(p, collector.ByDrain) }

func (a *agent) makeDrain(p probes.Primary, by collector.Trigger) *queue.Drain {
	return &queue.Drain{
		Queue: countedFlushes{a.queue, a.metrics, by}, Domains: p.Domains, Classify: classify, Logger: a.log,
		Config: queue.DrainConfig{Pace: pace(a.cfg), Window: a.cfg.Drain.Window, Stuck: time.Duration(a.cfg.Drain.Stuck)},
	}
}

// countedFlushes counts what is asked of the queue.
type countedFlushes struct {
	queue.Queue
	metrics *collector.Collector
	by      collector.Trigger
}

func (q countedFlushes) Flush(ctx context.Context, sel queue.Selection) error {
	err := q.Queue.Flush(ctx, sel)
	q.metrics.ObserveFlush(q.by, err)
	return err
}

// drainOf starts draining the primaries that name means (all if empty) and returns their names.
func (a *agent) drainOf(name string) ([]string, error) {
	list := a.primaries
	if name != "" {
		ours := *a.cfg
		var err error
		if list, err = choosePrimaries(&ours, name); err != nil {
			return nil, err
		}
	}
	var names []string
	for _, p := range list {
		if len(p.Domains) == 0 {
			return nil, fmt.Errorf("%s is no primary or domain of this host: it has %s", name, primaryNames(a.cfg))
		}
		for _, st := range a.watcher.Snapshot() {
			if st.Primary.Name == p.Name && st.State == probes.Down {
				return nil, fmt.Errorf("%s is down since %s (%s): nothing would be delivered; it is drained by itself when it is back",
					p.Name, st.Since.Local().Format("15:04:05"), oneLine(st.Last.Reason))
			}
		}
		if _, err := a.outages.Progress(p.Name); err != nil { // else the outage's own drain is under way
			if err := a.drains.start(p.Name, a.makeDrain(p, collector.ByOperator)); err != nil {
				return nil, err
			}
		}
		names = append(names, p.Name)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no primary is known: write domains: in the configuration file")
	}
	return names, nil
}

// drainViews tells how the drains towards the primaries named go.
func (a *agent) drainViews(names []string) []drainView {
	var views []drainView
	for _, name := range names {
		if p, err := a.outages.Progress(name); err == nil {
			views = append(views, drainView{1, name, p})
		} else if p := a.drains.progress(name); p != nil {
			views = append(views, drainView{1, name, *p})
		}
	}
	return views
}

func primaryNames(cfg *config.Config) string {
	text := ""
	for _, p := range cfg.Primaries() {
		if text != "" {
			text += ", "
		}
		text += p.Name
	}
	if text == "" {
		return "none"
	}
	return text
}
