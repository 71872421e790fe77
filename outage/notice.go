package outage

import (
	"fmt"
	"time"

	"github.com/sparemx/sparemx/alert"
	"github.com/sparemx/sparemx/probes"
	"github.com/sparemx/sparemx/queue"
)

func downNotice(r *record, t probes.Transition) alert.Notice {
	n := alert.Notice{
		Kind: alert.PrimaryDown, Key: "primary_down/" + r.Primary, Severity: alert.Critical, At: t.At, Labels: labels(r.Primary),
		Title: fmt.Sprintf("%s does not take mail", r.Primary),
		Text:  "Mail is held here and will be delivered when it is back.",
		Facts: []alert.Fact{{Name: "Since", Value: r.from().UTC().Format(time.RFC3339)}, {Name: "Known after", Value: short(max(0, t.At.Sub(r.from())))}},
	}
	if r.Reason != "" {
		n.Facts = append(n.Facts, alert.Fact{Name: "Probe", Value: t.Result.Stage.String() + ": " + r.Reason})
	}
	return n
}

func recoveredNotice(rep *Report) alert.Notice {
	return alert.Notice{
		Kind: alert.Recovered, Key: "primary_down/" + rep.Primary, Severity: alert.Info, Resolved: true, At: rep.Closed, Labels: labels(rep.Primary),
		Title: rep.Title(), Text: rep.details(10), Facts: rep.Facts(),
	}
}

// backNotice ends the incident of a primary that is back while its mail takes long: who is only called when something begins or ends would hear
// of it an hour late, and be reminded meanwhile of an outage that is none any more. The report follows when the outage closes; the last
// notice of kind Recovered is the one that carries it.
func backNotice(r *record, timers Timers, now time.Time) alert.Notice {
	n := progressNotice(r, timers, now)
	n.Kind, n.Severity, n.Progress, n.Resolved = alert.Recovered, alert.Info, false, true
	n.Text = "It takes mail again. What was held for it is being delivered; the report follows."
	return n
}

func progressNotice(r *record, timers Timers, now time.Time) alert.Notice {
	rep := r.report(timers)
	n := alert.Notice{
		Kind: alert.PrimaryDown, Key: "primary_down/" + r.Primary, Severity: alert.Critical, Progress: true, At: now, Labels: labels(r.Primary),
		Title: rep.Title(),
		Facts: []alert.Fact{{Name: "Delivered", Value: thousands(rep.Delivered)}, {Name: "Still held", Value: thousands(rep.StillHeld)}},
	}
	if rep.Drain.Rate > 0 {
		n.Facts = append(n.Facts, alert.Fact{Name: "Rate", Value: fmt.Sprintf("%.1f/s", rep.Drain.Rate)})
	}
	if rep.Drain.ETA > 0 {
		n.Facts = append(n.Facts, alert.Fact{Name: "Ready in", Value: short(rep.Drain.ETA)})
	}
	return n
}

func stuckNotice(r *record, timers Timers, now time.Time) alert.Notice {
	rep := r.report(timers)
	return alert.Notice{
		Kind: alert.Stuck, Key: "stuck/" + r.Primary, Severity: alert.Warning, At: now, Labels: labels(r.Primary),
		Title: fmt.Sprintf("%s is up, but %s held for it does not move", r.Primary, plural(rep.StillHeld, "message")),
		Text:  rep.details(0),
		Facts: []alert.Fact{{Name: "Nothing moved for", Value: short(r.still(now))}, {Name: "Delivered before", Value: thousands(rep.Delivered)}},
	}
}

func unstuckNotice(primary string, now time.Time) alert.Notice {
	return alert.Notice{
		Kind: alert.Stuck, Key: "stuck/" + primary, Severity: alert.Warning, Resolved: true, At: now, Labels: labels(primary),
		Title: "Mail held for " + primary + " moves again",
	}
}

func lossNotice(rep *Report) alert.Notice {
	return alert.Notice{
		Kind: alert.Loss, Key: "loss/" + rep.Primary + "/" + rep.ID, Severity: alert.Warning, At: rep.Closed, Labels: labels(rep.Primary),
		Title: fmt.Sprintf("%s held for %s did not arrive", plural(rep.Counts.Lost(), "message"), rep.Primary), Text: rep.details(20),
		Facts: []alert.Fact{{Name: "Bounced", Value: thousands(rep.Bounced)}, {Name: "Expired", Value: thousands(rep.Expired)}, {Name: "Deleted", Value: thousands(rep.Deleted)}},
	}
}

func ageNotice(primary string, oldest time.Time, life time.Duration, now time.Time, held queue.Count) alert.Notice {
	return alert.Notice{
		Kind: alert.Age, Key: "age/" + primary, Severity: alert.Critical, At: now, Labels: labels(primary),
		Title: fmt.Sprintf("The oldest mail held for %s bounces in %s", primary, short(max(0, life-now.Sub(oldest)))),
		Facts: []alert.Fact{{Name: "Arrived", Value: oldest.UTC().Format(time.RFC3339)}, {Name: "Held", Value: plural(held.Messages, "message")}, {Name: "Lifetime", Value: short(life)}},
	}
}
