package collector

import (
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"github.com/sparemx/sparemx/alert"
	"github.com/sparemx/sparemx/outage"
	"github.com/sparemx/sparemx/probes"
	"github.com/sparemx/sparemx/queue"
)

// primaries shows what the watcher knows, and takes from it since when which primary is up.
func (s *scrape) primaries() {
	known := map[string]probes.PrimaryStatus{}
	if s.c.src.Primaries != nil {
		for _, p := range s.c.src.Primaries() {
			known[p.Primary.Name] = p
		}
	}
	s.c.mu.Lock()
	for name, p := range known {
		if i, ok := s.c.byPrimary[name]; ok {
			s.c.per[i].up, s.c.per[i].since = p.State == probes.Up, p.Since
		}
	}
	names := slices.Clone(s.c.primaries)
	s.c.mu.Unlock()
	for _, name := range names {
		p := known[name] // the zero value: unknown
		s.bool("sparemx_primary_up", p.State == probes.Up, name)
		for _, st := range probes.States() {
			s.bool("sparemx_primary_state", p.State == st, name, st.String())
		}
		s.time("sparemx_primary_state_since_timestamp_seconds", p.Since, name)
		s.bool("sparemx_primary_state_stale", p.Stale, name)
		s.time("sparemx_primary_last_probe_timestamp_seconds", p.Last.At, name)
		s.time("sparemx_primary_last_good_timestamp_seconds", p.LastGood, name)
		if !p.Last.NotAfter.IsZero() {
			s.time("sparemx_primary_certificate_not_after_timestamp_seconds", p.Last.NotAfter, name)
		}
	}
	if s.c.src.Blind != nil {
		s.bool("sparemx_blind", s.c.src.Blind().Sight == probes.Blind)
	}
}

func (s *scrape) queue() (*queue.Snapshot, queue.ScanStatus) {
	var snap *queue.Snapshot
	var scan queue.ScanStatus
	if s.c.src.Queue != nil {
		snap = s.c.src.Queue()
	}
	if s.c.src.Scan != nil {
		scan = s.c.src.Scan()
		s.bool("sparemx_queue_scan_success", scan.Success)
		s.put("sparemx_queue_scan_duration_seconds", scan.Took.Seconds())
		s.time("sparemx_queue_scan_timestamp_seconds", scan.Last)
		s.count("sparemx_queue_scans_total", scan.Scans)
		for _, t := range queue.ScanTroubles() {
			s.bool("sparemx_queue_scan_trouble", scan.Trouble == t, t.String())
		}
	}
	var lifetime time.Duration
	if s.c.src.Lifetime != nil {
		lifetime = s.c.src.Lifetime()
	}
	if lifetime > 0 {
		s.put("sparemx_queue_lifetime_seconds", lifetime.Seconds())
	}
	if snap == nil { // nothing is known, which is not 0
		return nil, scan
	}
	s.c.mu.Lock()
	domains := append(slices.Clone(s.c.names), queue.OtherDomain)
	s.c.mu.Unlock()
	type cell struct {
		domain string
		place  queue.Place
	}
	cells := make(map[cell]queue.Count, len(snap.Cells))
	for k, n := range snap.Cells {
		if _, known := slices.BinarySearch(domains, k.Domain); !known && !slices.Contains(domains, k.Domain) {
			k.Domain = queue.OtherDomain // configured when it was scanned, and no longer
		}
		sum := cells[cell{k.Domain, k.Place}]
		sum.Messages += n.Messages
		sum.Bytes += n.Bytes
		cells[cell{k.Domain, k.Place}] = sum
	}
	for _, d := range domains {
		for _, p := range queue.Places() {
			n := cells[cell{d, p}]
			s.put("sparemx_queue_messages", float64(n.Messages), d, p.String())
			s.put("sparemx_queue_bytes", float64(n.Bytes), d, p.String())
		}
		age := time.Duration(0)
		if v := snap.Domains[d]; v != nil {
			age = v.OldestAge(s.now)
		}
		s.put("sparemx_queue_oldest_message_age_seconds", age.Seconds(), d)
		if lifetime > 0 {
			s.put("sparemx_queue_expiry_seconds", (lifetime - age).Seconds(), d)
		}
	}
	s.put("sparemx_queue_held_messages", float64(snap.Total.Messages))
	for _, cause := range append([]queue.Cause{queue.CauseNone}, queue.Causes()...) {
		s.put("sparemx_queue_cause_messages", float64(snap.Causes[cause]), cause.String())
	}
	s.histogram("sparemx_queue_message_age_seconds", held(snap.Ages))
	return snap, scan
}

// held is the histogram of a snapshot, which has classic buckets alone: it is made anew at each scan, and a native histogram
// that goes down reads as a reset of the counter at every scrape.
type held queue.Histogram

func (h held) classic() ([]float64, []uint64, uint64, float64) {
	return h.Bounds, h.Counts, h.Count, h.Sum
}

func (h held) show(*Collector) *dto.Histogram {
	d := &dto.Histogram{SampleCount: proto.Uint64(h.Count), SampleSum: proto.Float64(h.Sum)}
	var sum uint64
	for i, b := range h.Bounds {
		sum += h.Counts[i]
		d.Bucket = append(d.Bucket, &dto.Bucket{CumulativeCount: proto.Uint64(sum), UpperBound: proto.Float64(b)})
	}
	return d
}

func (s *scrape) logs() []Log {
	if s.c.src.Logs == nil {
		return nil
	}
	var logs []Log
	for _, l := range s.c.src.Logs() {
		if slices.ContainsFunc(logs, func(o Log) bool { return o.Name == l.Name }) {
			continue // a second series of the same name would fail the whole scrape
		}
		l.Name = strings.ToValidUTF8(l.Name, "?")
		logs = append(logs, l)
		st := l.Stats
		s.bool("sparemx_log_source_up", readable(l), l.Name)
		s.bool("sparemx_log_stalled", l.Stalled, l.Name)
		s.count("sparemx_log_source_lines_total", st.Lines, l.Name)
		if st.LagBytes >= 0 {
			s.put("sparemx_log_lag_bytes", float64(st.LagBytes), l.Name)
		}
		s.count("sparemx_log_lost_bytes_total", st.LostBytes, l.Name)
		s.count("sparemx_log_skipped_bytes_total", st.SkippedBytes, l.Name)
		s.count("sparemx_log_rotations_total", st.Rotations, l.Name)
		s.count("sparemx_log_truncations_total", st.Truncations, l.Name)
	}
	return logs
}

func (s *scrape) outages() {
	var open []*outage.Report
	if s.c.src.Outages != nil {
		open = s.c.src.Outages()
	}
	s.c.mu.Lock()
	names := slices.Clone(s.c.primaries)
	s.c.mu.Unlock()
	for _, name := range names {
		r := &outage.Report{}
		for _, o := range open {
			if o.Primary == name {
				r = o
			}
		}
		s.time("sparemx_outage_started_timestamp_seconds", r.From, name)
		for _, f := range outage.Fates() {
			s.put("sparemx_outage_open_messages", float64(fateCount(r.Counts, f)), name, f.String())
		}
		d := r.Drain
		active := d.State > queue.DrainIdle && d.State < queue.DrainDone
		s.bool("sparemx_drain_active", active, name)
		for st := queue.DrainIdle; st <= queue.DrainStopped; st++ {
			s.bool("sparemx_drain_state", d.State == st, name, st.String())
		}
		if !active {
			d = queue.Progress{}
		}
		s.put("sparemx_drain_remaining_messages", float64(d.Left), name)
		s.put("sparemx_drain_rate", d.Rate, name)
		s.put("sparemx_drain_window_messages", float64(d.Window), name)
		if active && d.ETA > 0 {
			s.put("sparemx_drain_eta_seconds", d.ETA.Seconds(), name)
		}
	}
}

func (s *scrape) alerts() {
	if s.c.src.Alerts == nil {
		return
	}
	a := s.c.src.Alerts()
	s.bool("sparemx_maintenance", a.Maintenance.After(s.now))
	s.time("sparemx_maintenance_until_timestamp_seconds", a.Maintenance)
	s.bool("sparemx_alert_outbox_durable", a.Storage == "")
	for _, r := range alert.Results() {
		if r != alert.Sent && r != alert.Failed {
			s.count("sparemx_alerts_dropped_total", a.Dropped[r], string(r))
		}
	}
	open := map[alert.Kind]int{}
	for _, i := range a.Incidents {
		if i.Resolved.IsZero() {
			open[i.Kind]++
		}
	}
	for _, k := range alert.Kinds() {
		s.put("sparemx_alert_incidents", float64(open[k]), string(k))
	}
	seen := map[string]bool{}
	for _, ch := range a.Channels {
		if seen[ch.Name] {
			continue
		}
		seen[ch.Name] = true
		var sent uint64
		for _, n := range ch.Sent {
			sent += n
		}
		s.count("sparemx_alerts_total", sent, ch.Name, string(alert.Sent))
		s.count("sparemx_alerts_total", ch.Failures, ch.Name, string(alert.Failed))
		s.put("sparemx_alert_outbox_messages", float64(ch.Queued), ch.Name)
		s.time("sparemx_alert_last_sent_timestamp_seconds", ch.LastSent, ch.Name)
	}
	if a.Heartbeat != nil {
		s.time("sparemx_heartbeat_last_success_timestamp_seconds", a.Heartbeat.LastSent)
	}
}

// counted shows what was counted since the start.
func (s *scrape) counted() {
	c := s.c
	if c.src.Tracker != nil {
		t := c.src.Tracker()
		s.put("sparemx_tracker_messages", float64(t.Tracked))
		s.count("sparemx_tracker_evictions_total", t.Evicted, "room")
		s.count("sparemx_tracker_evictions_total", t.Aged, "age")
		s.count("sparemx_tracker_evictions_total", t.Superseded, "superseded")
	}
	s.put("sparemx_build_info", 1, c.build...)
	s.time("sparemx_start_timestamp_seconds", c.start)

	c.mu.Lock()
	defer c.mu.Unlock()
	t := &c.tally
	s.bool("sparemx_config_last_reload_successful", c.reloadGood)
	s.time("sparemx_config_last_reload_success_timestamp_seconds", c.reloadAt)
	s.count("sparemx_config_reloads_total", c.reloads[0], "succeeded")
	s.count("sparemx_config_reloads_total", c.reloads[1], "failed")
	s.count("sparemx_state_write_failures_total", c.stateFails)
	s.count("sparemx_clock_jumps_total", c.jumps[0], "back")
	s.count("sparemx_clock_jumps_total", c.jumps[1], "forward")
	for i, name := range c.primaries {
		p := c.per[i]
		for v, n := range p.verdicts {
			s.count("sparemx_primary_probes_total", n, name, probes.Verdict(v).String())
		}
		for _, st := range probes.States() {
			s.count("sparemx_primary_transitions_total", p.transitions[st], name, st.String())
		}
		for st := range probes.NumStages {
			s.histogram("sparemx_primary_probe_duration_seconds", p.stages[st], "primary", name, "stage", st.String())
		}
		s.count("sparemx_outages_total", p.outages, name)
		for _, f := range outage.Fates() {
			s.count("sparemx_outage_messages_total", p.fates[f], name, f.String())
		}
	}
	for i, by := range triggers {
		s.count("sparemx_flushes_total", c.flushes[i][0], by, "succeeded")
		s.count("sparemx_flushes_total", c.flushes[i][1], by, "failed")
	}

	s.count("sparemx_arrivals_total", t.arrivals)
	s.put("sparemx_arrivals_bytes_total", float64(t.arrived))
	results := queue.Results()
	for _, svc := range deliverers {
		n := t.deliveries[svc]
		if svc == svcOther { // all services that are no delivery agents
			for i := range numServices {
				if !slices.Contains(deliverers[:], i) {
					for r := range n {
						n[r] += t.deliveries[i][r]
					}
				}
			}
		}
		for i, r := range results {
			s.count("sparemx_deliveries_total", n[i], serviceNames[svc], r.String())
		}
	}
	for i, n := range t.domains {
		name := queue.OtherDomain
		if i < len(c.names) {
			name = c.names[i]
		}
		for j, r := range results {
			s.count("sparemx_domain_deliveries_total", n.results[j], name, r.String())
		}
		if i < len(c.names) {
			s.count("sparemx_diverted_recipients_total", n.diverted, name)
		}
	}
	for _, cause := range queue.Causes() {
		s.count("sparemx_deferrals_total", t.deferrals[cause], cause.String())
	}
	for i, name := range subjects {
		s.count("sparemx_bounces_total", t.bounces[i], name)
	}
	for i, h := range t.delay {
		s.histogram("sparemx_delivery_delay_seconds", h, "stage", stageNames[i])
	}
	s.histogram("sparemx_delivery_age_seconds", t.total)

	var rejects [4][3]uint64
	for svc, n := range t.rejects {
		at := 3
		switch service(svc) {
		case svcSMTPD:
			at = 0
		case svcPostscreen:
			at = 1
		case svcCleanup:
			at = 2
		}
		for i := range n {
			rejects[at][i] += n[i]
		}
	}
	for i, svc := range [...]string{"smtpd", "postscreen", "cleanup", "other"} {
		for j, class := range [...]string{"4xx", "5xx", "other"} {
			s.count("sparemx_rejects_total", rejects[i][j], svc, class)
		}
	}
	s.count("sparemx_connections_total", t.connects[svcSMTPD], "smtpd")
	s.count("sparemx_connections_total", t.connects[svcPostscreen], "postscreen")
	s.count("sparemx_log_lines_total", t.lines)
	s.count("sparemx_log_foreign_lines_total", t.foreign)
	s.time("sparemx_log_last_line_timestamp_seconds", t.lastLine)
	for svc, n := range t.unparsed {
		s.count("sparemx_log_unparsed_lines_total", n, serviceNames[svc])
	}
	for svc, levels := range t.levels {
		for l, n := range levels {
			if l > 0 {
				s.count("sparemx_log_messages_total", n, serviceNames[svc], levelNames[l])
			}
		}
	}
}
