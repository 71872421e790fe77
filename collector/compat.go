package collector

import (
	"strconv"

	"github.com/sparemx/sparemx/logparse"
	"github.com/sparemx/sparemx/queue"
)

// compat shows the families that the exporters before us publish: same names and labels, so that the dashboards made for them
// keep working, and right values. Where theirs are wrong, ours differ on purpose: the stages of the delays have their names, deferrals
// are counted, a quiet log is up, an empty queue reads 0, and what strangers write never makes a series.
func (s *scrape) compat(snap *queue.Snapshot, scan queue.ScanStatus, logs []Log) {
	name := s.c.src.QueueName
	if name == "" {
		name = "queue"
	}
	clash := false
	for _, l := range logs {
		clash = clash || l.Name == name
		s.bool("postfix_up", readable(l), l.Name)
	}
	if s.c.src.Scan != nil && !clash {
		s.bool("postfix_up", scan.Success, name)
	}
	if snap != nil {
		for _, p := range queue.Places() {
			v := snap.Places[p]
			if v == nil {
				v = &queue.PlaceView{Sizes: queue.NewHistogram(queue.CompatSizeBounds()), Ages: queue.NewHistogram(queue.CompatAgeBounds())}
			}
			s.put("postfix_showq_queue_depth", float64(v.Messages), p.String())
			s.histogram("postfix_showq_message_size_bytes", held(v.Sizes), "queue", p.String())
			s.histogram("postfix_showq_message_age_seconds", held(v.Ages), "queue", p.String())
		}
	}

	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &c.tally.compat
	for svc := range numServices {
		for l, level := range levelNames {
			// all of them would be 170 series; warnings of the services that people watch are there from the start
			if n := t.unsupported[svc][l]; n > 0 || l == 1 && (svc == svcSMTPD || svc == svcSMTP || svc == svcCleanup || svc == svcQmgr || svc == svcMaster) {
				s.count("postfix_unsupported_log_entries_total", n, serviceNames[svc], level)
			}
		}
	}
	s.count("postfix_bounce_non_delivery_notification_total", t.bounceNotices)
	s.count("postfix_cleanup_messages_processed_total", t.cleanupProcessed)
	s.count("postfix_cleanup_messages_rejected_total", t.cleanupRejected)
	s.count("postfix_cleanup_messages_not_accepted_total", t.cleanupNotAccepted)
	s.histogram("postfix_qmgr_messages_inserted_receipients", t.qmgrRcpts)
	s.histogram("postfix_qmgr_messages_inserted_recipients", t.qmgrRcpts)
	s.histogram("postfix_qmgr_messages_inserted_size_bytes", t.qmgrSize)
	s.count("postfix_qmgr_messages_removed_total", t.qmgrRemoved)
	s.count("postfix_qmgr_messages_expired_total", t.qmgrExpired)

	for i, stage := range stageNames {
		s.histogram("postfix_smtp_delivery_delay_seconds", t.smtpDelay[i], "stage", stage)
		s.histogram("postfix_lmtp_delivery_delay_seconds", t.lmtpDelay[i], "stage", stage)
		for relay, d := range t.pipeDelay {
			s.histogram("postfix_pipe_delivery_delay_seconds", d[i], "relay", relay, "stage", stage)
		}
	}
	for i, st := range statusNames {
		s.count("postfix_smtp_messages_processed_total", t.smtpStatus[i], st)
	}
	s.count("postfix_smtp_deferred_messages_total", t.smtpStatus[1])
	s.count("postfix_smtp_status_deferred", t.smtpStatus[1])
	s.dsns("postfix_smtp_deferred_messages_by_dsn_total", &t.smtpDeferred, 4)
	s.dsns("postfix_smtp_bounced_messages_by_dsn_total", &t.smtpBounced, 5)
	s.count("postfix_smtp_connection_timed_out_total", t.smtpTimedOut)
	s.tls("postfix_smtp_tls_connections_total", &t.smtpTLS)

	s.count("postfix_smtpd_connects_total", t.smtpdConnects)
	s.count("postfix_smtpd_disconnects_total", t.smtpdDisconn)
	for i, stage := range lostStages {
		s.count("postfix_smtpd_connections_lost_total", t.smtpdLost[i], stage)
	}
	for i, m := range saslMethods {
		s.count("postfix_smtpd_messages_processed_total", t.smtpdSASL[i], m)
	}
	s.codes("postfix_smtpd_messages_rejected_total", &t.smtpdRejects)
	s.count("postfix_smtpd_sasl_authentication_failures_total", t.smtpdSASLFail)
	s.count("postfix_smtpd_forward_confirmed_reverse_dns_errors_total", t.smtpdFCrDNS)
	s.tls("postfix_smtpd_tls_connections_total", &t.smtpdTLS)
	s.count("postfix_virtual_delivered_total", t.virtualSent)

	s.count("postfix_postscreen_connects_total", t.screenConnects)
	for i, reason := range screenBusy {
		s.count("postfix_postscreen_connects_rejected_total", t.screenBusy[i], reason)
	}
	s.count("postfix_postscreen_passes_total", t.screenPasses[0], "new")
	s.count("postfix_postscreen_passes_total", t.screenPasses[1], "old")
	s.count("postfix_postscreen_hangups_total", t.screenHangups)
	s.codes("postfix_postscreen_messages_rejected_total", &t.screenRejects)
	for i, test := range screenTests {
		s.count("postfix_postscreen_tests_failed_total", t.screenTest[i], test)
	}
	for i, action := range screenAccess {
		s.count("postfix_postscreen_access_list_matches_total", t.screenList[i], action)
	}
	s.histogram("postfix_postscreen_dnsbl_rank", t.screenRank)
}

func readable(l Log) bool { return l.Stats.Readable == logparse.ReadableYes }

func (s *scrape) dsns(name string, d *dsns, class uint8) {
	for subject, most := range dsnDetails {
		for detail := uint16(0); detail <= most; detail++ {
			// those that an outage or an unknown user brings are there from the start
			common := subject == 1 && detail == 1 || subject == 2 && detail == 2 || subject == 4 && detail <= 3 || subject == 7 && detail <= 1
			if n := d.n[subject][detail]; n > 0 || common {
				s.count(name, n, queue.Code{Class: class, Subject: uint16(subject), Detail: detail}.String())
			}
		}
	}
	s.count(name, d.other, "other")
}

func (s *scrape) codes(name string, c *codes) {
	for i, n := range c.n {
		code := i + 400
		common := false
		for _, r := range rejectCodes {
			common = common || r == code
		}
		if n > 0 || common {
			s.count(name, n, strconv.Itoa(code))
		}
	}
	s.count(name, c.other, "other")
}

func (s *scrape) tls(name string, t *tlsTable) {
	for k, n := range t.rows {
		cipher, secret, algorithm := "other", "other", "other"
		if k.cipherLen > 0 {
			cipher, secret, algorithm = string(k.cipher[:k.cipherLen]), strconv.Itoa(int(k.bits[0])), strconv.Itoa(int(k.bits[1]))
		}
		s.count(name, *n, tlsTrusts[k.trust], tlsProtocols[k.proto], cipher, secret, algorithm)
	}
}
