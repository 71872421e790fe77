package collector

import "github.com/prometheus/client_golang/prometheus"

// kind is the type of a family.
type kind uint8

const (
	gauge kind = iota
	counter
	histo
	untyped
)

// family is one metric family as it is shown.
type family struct {
	name   string
	kind   kind
	labels []string
	help   string
}

func labels(l ...string) []string { return l }

// families are all that this program shows under its own name.
func families() []family {
	return []family{
		{"sparemx_build_info", gauge, labels("version", "revision", "goversion", "mode"), "Constant 1; what runs is in the labels."},
		{"sparemx_start_timestamp_seconds", gauge, nil, "When the agent started, in seconds since 1970."},
		{"sparemx_config_last_reload_successful", gauge, nil, "1 if the last load of the configuration succeeded, else 0."},
		{"sparemx_config_last_reload_success_timestamp_seconds", gauge, nil, "When the configuration in use was loaded, in seconds since 1970."},
		{"sparemx_config_reloads_total", counter, labels("result"), "Loads of the configuration after the first, by result."},
		{"sparemx_maintenance", gauge, nil, "1 while maintenance is on and people are not called, else 0."},
		{"sparemx_maintenance_until_timestamp_seconds", gauge, nil, "When maintenance ends, in seconds since 1970; 0 when there is none."},
		{"sparemx_state_write_failures_total", counter, nil, "Writes under the state directory that failed."},
		{"sparemx_clock_jumps_total", counter, labels("direction"), "Times the wall clock moved against the monotonic one by more than a few seconds."},

		{"sparemx_primary_up", gauge, labels("primary"), "1 while the primary takes mail (state up), else 0; also 0 while that is not known, see sparemx_primary_state."},
		{"sparemx_primary_state", gauge, labels("primary", "state"), "1 for the state the primary is in, 0 for the others."},
		{"sparemx_primary_state_since_timestamp_seconds", gauge, labels("primary"), "When the present state began, in seconds since 1970; 0 when never probed."},
		{"sparemx_primary_state_stale", gauge, labels("primary"), "1 while the state was restored from an old file and no probe has confirmed it."},
		{"sparemx_primary_probes_total", counter, labels("primary", "verdict"), "Probes by verdict."},
		{"sparemx_primary_probe_duration_seconds", histo, labels("primary", "stage"), "Duration of each step of a probe that was reached, in seconds."},
		{"sparemx_primary_last_probe_timestamp_seconds", gauge, labels("primary"), "When the last probe ended, in seconds since 1970; 0 when there was none."},
		{"sparemx_primary_last_good_timestamp_seconds", gauge, labels("primary"), "When a probe last found that the primary takes mail, in seconds since 1970; 0 when never."},
		{"sparemx_primary_transitions_total", counter, labels("primary", "to"), "Changes of state by the new one."},
		{"sparemx_primary_certificate_not_after_timestamp_seconds", gauge, labels("primary"), "Expiry of the certificate the primary showed last, in seconds since 1970; absent when it showed none."},
		{"sparemx_blind", gauge, nil, "1 while every primary and every control target fail together: the fault is ours and no verdict counts."},

		{"sparemx_queue_messages", gauge, labels("domain", "place"), "Held messages by recipient domain and place at the last scan; one for several domains counts in each."},
		{"sparemx_queue_bytes", gauge, labels("domain", "place"), "Size of the held messages at the last scan, in bytes."},
		{"sparemx_queue_held_messages", gauge, nil, "Held messages at the last scan, each once."},
		{"sparemx_queue_cause_messages", gauge, labels("cause"), "Held messages by the cause of the last attempt; none: not tried yet."},
		{"sparemx_queue_oldest_message_age_seconds", gauge, labels("domain"), "Age of the oldest held message, in seconds; 0 when nothing is held."},
		{"sparemx_queue_message_age_seconds", histo, nil, "Ages of the held messages at the last scan, in seconds. It describes what is held now: do not take a rate of it."},
		{"sparemx_queue_expiry_seconds", gauge, labels("domain"), "Time until the oldest held message is returned to its sender, in seconds; the lifetime when nothing is held; absent when the lifetime is not known."},
		{"sparemx_queue_lifetime_seconds", gauge, nil, "How long mail is kept before it is returned, in seconds; absent when not known."},
		{"sparemx_queue_scan_duration_seconds", gauge, nil, "Duration of the last scan of the queue, whatever came of it, in seconds."},
		{"sparemx_queue_scan_success", gauge, nil, "1 if the last scan of the queue succeeded, else 0; 0 before the first."},
		{"sparemx_queue_scan_timestamp_seconds", gauge, nil, "When the last successful scan began, in seconds since 1970; 0 before the first."},
		{"sparemx_queue_scans_total", counter, nil, "Scans of the queue begun."},
		{"sparemx_queue_scan_trouble", gauge, labels("trouble"), "1 for what ails the last scan, 0 for everything else."},

		{"sparemx_arrivals_total", counter, nil, "Messages that entered the queue."},
		{"sparemx_arrivals_bytes_total", counter, nil, "Size of the messages that entered the queue, in bytes."},
		{"sparemx_deliveries_total", counter, labels("service", "result"), "Attempts by the service that made them and what they did for one recipient; error and retry (mail put off untried) included."},
		{"sparemx_domain_deliveries_total", counter, labels("domain", "result"), "Attempts by recipient domain and what they did for one recipient."},
		{"sparemx_deferrals_total", counter, labels("cause"), "Attempts that were put off, by cause."},
		{"sparemx_bounces_total", counter, labels("code"), "Recipients refused for good or given up on, by class and subject of the enhanced status code (RFC 3463)."},
		{"sparemx_delivery_delay_seconds", histo, labels("stage"), "Where delivered mail spent its time, in seconds a recipient."},
		{"sparemx_delivery_age_seconds", histo, nil, "Time from arrival to delivery, in seconds a recipient."},
		{"sparemx_diverted_recipients_total", counter, labels("domain"), "Recipients of messages that came to the backup while the primary was up."},
		{"sparemx_rejects_total", counter, labels("service", "code"), "Commands refused at the door, by service and class of the reply code."},
		{"sparemx_connections_total", counter, labels("service"), "Connections of clients."},

		{"sparemx_outages_total", counter, labels("primary"), "Outages that began."},
		{"sparemx_outage_started_timestamp_seconds", gauge, labels("primary"), "When the open outage began, in seconds since 1970; 0 when there is none."},
		{"sparemx_outage_open_messages", gauge, labels("primary", "fate"), "Messages of the open outage by what became of them so far."},
		{"sparemx_outage_messages_total", counter, labels("primary", "fate"), "Messages of ended outages by what became of them."},
		{"sparemx_drain_active", gauge, labels("primary"), "1 while held mail is being handed to the primary, else 0."},
		{"sparemx_drain_state", gauge, labels("primary", "state"), "1 for what the drain is doing, 0 for the others; idle when there is none."},
		{"sparemx_drain_remaining_messages", gauge, labels("primary"), "Messages the drain has still to hand over."},
		{"sparemx_drain_rate", gauge, labels("primary"), "Messages a second that leave the queue, over the last half minute."},
		{"sparemx_drain_eta_seconds", gauge, labels("primary"), "Time until the queue is empty at this rate, in seconds; absent when not known."},
		{"sparemx_drain_window_messages", gauge, labels("primary"), "Messages the drain lets be under way at once."},
		{"sparemx_flushes_total", counter, labels("trigger", "result"), "Requests for delivery put to the holder of the mail."},

		{"sparemx_log_lines_total", counter, nil, "Log lines read, those of other programs included."},
		{"sparemx_log_foreign_lines_total", counter, nil, "Log lines of other programs."},
		{"sparemx_log_unparsed_lines_total", counter, labels("service"), "Log lines of Postfix whose shape is not known."},
		{"sparemx_log_messages_total", counter, labels("service", "level"), "Log lines of Postfix that warn or tell of trouble, by level."},
		{"sparemx_log_last_line_timestamp_seconds", gauge, nil, "Time stamp of the newest line of Postfix, in seconds since 1970; 0 before the first."},
		{"sparemx_log_source_up", gauge, labels("source"), "1 if the source can be read, 0 if not or not known yet. A quiet log is up."},
		{"sparemx_log_source_lines_total", counter, labels("source"), "Lines handed on by the source."},
		{"sparemx_log_lag_bytes", gauge, labels("source"), "Bytes that are in the log and not read yet; absent where that cannot be told."},
		{"sparemx_log_lost_bytes_total", counter, labels("source"), "Bytes known to have been in the log and gone before they could be read."},
		{"sparemx_log_skipped_bytes_total", counter, labels("source"), "Bytes of lines beyond the longest that is read."},
		{"sparemx_log_rotations_total", counter, labels("source"), "Files begun because the one before was renamed, removed or replaced."},
		{"sparemx_log_truncations_total", counter, labels("source"), "Times the log became shorter or was written anew in place."},
		{"sparemx_log_stalled", gauge, labels("source"), "1 while the log is silent although it should not be, else 0."},
		{"sparemx_tracker_messages", gauge, nil, "Messages followed in the log now."},
		{"sparemx_tracker_evictions_total", counter, labels("reason"), "Messages no longer followed, by reason: no room, age, or the queue ID came again."},

		{"sparemx_alerts_total", counter, labels("channel", "result"), "Alerts sent and attempts that failed."},
		{"sparemx_alerts_dropped_total", counter, labels("reason"), "News that nobody was told, by reason."},
		{"sparemx_alert_incidents", gauge, labels("kind"), "Open incidents by kind."},
		{"sparemx_alert_outbox_messages", gauge, labels("channel"), "Incidents the channel still has to be told something about."},
		{"sparemx_alert_last_sent_timestamp_seconds", gauge, labels("channel"), "When the channel last took an alert, in seconds since 1970; 0 when never."},
		{"sparemx_alert_outbox_durable", gauge, nil, "1 if the outbox is on disk, 0 if it is only in memory."},
		{"sparemx_heartbeat_last_success_timestamp_seconds", gauge, nil, "When the heartbeat was last taken, in seconds since 1970; 0 when never; absent when there is none."},
	}
}

// compatFamilies are those of the exporters that people have dashboards for, with the same names and labels.
func compatFamilies() []family {
	tls := labels("trust", "protocol", "cipher", "secret_bits", "algorithm_bits")
	return []family{
		{"postfix_up", gauge, labels("path"), "1 if the source (a log, the queue) could be read at the last attempt, else 0. A quiet log is up."},
		{"postfix_unsupported_log_entries_total", counter, labels("service", "level"), "Log entries that could not be parsed, and warnings and worse by level."},
		{"postfix_bounce_non_delivery_notification_total", counter, nil, "Non-delivery notifications sent to senders."},
		{"postfix_cleanup_messages_processed_total", counter, nil, "Messages processed by cleanup."},
		{"postfix_cleanup_messages_rejected_total", counter, nil, "Messages rejected by cleanup."},
		{"postfix_cleanup_messages_not_accepted_total", counter, nil, "Messages not accepted by cleanup on behalf of a milter."},
		{"postfix_qmgr_messages_inserted_receipients", histo, nil, "Old misspelt name of postfix_qmgr_messages_inserted_recipients."},
		{"postfix_qmgr_messages_inserted_recipients", histo, nil, "Recipients a message that became active."},
		{"postfix_qmgr_messages_inserted_size_bytes", histo, nil, "Size of messages that became active, in bytes."},
		{"postfix_qmgr_messages_removed_total", counter, nil, "Messages removed from the queue."},
		{"postfix_qmgr_messages_expired_total", counter, nil, "Messages given up on by age."},
		{"postfix_smtp_delivery_delay_seconds", histo, labels("stage"), "Where mail handled by smtp spent its time, in seconds a recipient."},
		{"postfix_smtp_messages_processed_total", counter, labels("status"), "Recipients handled by smtp, by status; mail put off by error and retry is not among them."},
		{"postfix_smtp_deferred_messages_total", counter, nil, "Recipients deferred by smtp."},
		// The name lacks "_total"; OpenMetrics would change the name of a counter that does, so it has no type.
		{"postfix_smtp_status_deferred", untyped, nil, "Recipients deferred by smtp; old name, only ever grows."},
		{"postfix_smtp_deferred_messages_by_dsn_total", counter, labels("dsn"), "Recipients deferred by smtp, by enhanced status code; codes that are not registered count as other."},
		{"postfix_smtp_bounced_messages_by_dsn_total", counter, labels("dsn"), "Recipients bounced by smtp, by enhanced status code; codes that are not registered count as other."},
		{"postfix_smtp_connection_timed_out_total", counter, nil, "Connections of smtp that timed out."},
		{"postfix_smtp_tls_connections_total", counter, tls, "Outgoing TLS connections."},
		{"postfix_lmtp_delivery_delay_seconds", histo, labels("stage"), "Where mail handled by lmtp spent its time, in seconds a recipient."},
		{"postfix_pipe_delivery_delay_seconds", histo, labels("relay", "stage"), "Where mail handled by pipe spent its time, in seconds a recipient."},
		{"postfix_smtpd_connects_total", counter, nil, "Incoming connections."},
		{"postfix_smtpd_disconnects_total", counter, nil, "Incoming connections that ended."},
		{"postfix_smtpd_connections_lost_total", counter, labels("after_stage"), "Incoming connections lost, by the stage after which."},
		{"postfix_smtpd_messages_processed_total", counter, labels("sasl_method"), "Messages begun by smtpd, by SASL method."},
		{"postfix_smtpd_messages_rejected_total", counter, labels("code"), "Rejects by smtpd, by reply code."},
		{"postfix_smtpd_sasl_authentication_failures_total", counter, nil, "SASL authentications that failed."},
		{"postfix_smtpd_forward_confirmed_reverse_dns_errors_total", counter, nil, "Connections whose host name does not resolve to their address."},
		{"postfix_smtpd_tls_connections_total", counter, tls, "Incoming TLS connections."},
		{"postfix_virtual_delivered_total", counter, nil, "Recipients delivered to by virtual."},
		{"postfix_postscreen_connects_total", counter, nil, "Connections seen by postscreen."},
		{"postfix_postscreen_connects_rejected_total", counter, labels("reason"), "Connections postscreen had no room for, by reason."},
		{"postfix_postscreen_passes_total", counter, labels("type"), "Clients that passed postscreen, new or known."},
		{"postfix_postscreen_hangups_total", counter, nil, "Clients that hung up while postscreen tested them."},
		{"postfix_postscreen_messages_rejected_total", counter, labels("code"), "Rejects by postscreen, by reply code."},
		{"postfix_postscreen_tests_failed_total", counter, labels("test"), "Tests of postscreen that clients failed."},
		{"postfix_postscreen_access_list_matches_total", counter, labels("action"), "Clients on postscreen's access list."},
		{"postfix_postscreen_dnsbl_rank", histo, nil, "DNSBL rank of clients."},
		{"postfix_showq_message_size_bytes", histo, labels("queue"), "Size of the messages held, in bytes, at the last scan."},
		{"postfix_showq_message_age_seconds", histo, labels("queue"), "Age of the messages held, in seconds, at the last scan."},
		{"postfix_showq_queue_depth", gauge, labels("queue"), "Messages held at the last scan."},
	}
}

// Families returns the name of each metric family that a Collector can show, in the order of the documentation.
func Families() []string {
	var names []string
	for _, f := range append(families(), compatFamilies()...) {
		names = append(names, f.name)
	}
	return names
}

// shown is a family ready to be shown.
type shown struct {
	desc   *prometheus.Desc
	kind   kind
	labels []string // sorted
	asked  []string // the same in the order in which they are put
}
