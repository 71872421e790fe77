package alert

import (
	"context"
	"log/slog"
	"time"
)

// Alerts keeps the incidents and tells the channels. Set its fields before Run.
type Alerts struct {
	Log      *slog.Logger                                   // nil: silent
	Well     func() bool                                    // whether the agent is well; the heartbeat is sent only when it says so
	OnResult func(channel string, kind Kind, result Result) // after each attempt, and for news that is given up
}

// New makes Alerts from a checked Config. dir is the directory of the outbox, made if need be; "" keeps it in memory alone. host is our
// name, which messages show and Alertmanager gets as the label "instance". What an earlier process left in dir is taken up again.
func New(c Config, dir, host string) (*Alerts, error) { return &Alerts{}, nil }

// Notify takes a piece of news. It never fails; it returns when the news is in the outbox on disk, or after a second.
func (a *Alerts) Notify(n Notice) {}

// Maintain holds back all calls until the given time: incidents are kept, and told afterwards if they are still open. A time that is past
// ends maintenance.
func (a *Alerts) Maintain(until time.Time) {}

// Reload takes a new configuration; what waits is kept.
func (a *Alerts) Reload(c Config) error { return nil }

// Run tells the channels until ctx is done. It returns nil.
func (a *Alerts) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Test sends a message on each channel now, past the outbox, and tells what happened. Run need not be running.
func (a *Alerts) Test(ctx context.Context) []TestResult { return nil }

// Status tells where things stand.
func (a *Alerts) Status() Status { return Status{} }
