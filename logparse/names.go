package logparse

var kindNames = [numKinds]string{
	"foreign", "unparsed", "ignored", "delivery", "queue_active", "removed", "expired", "canceled", "deleted", "held", "released",
	"requeued", "bounce_notice", "delay_notice", "success_notice", "message_id", "client", "pickup", "connect", "disconnect",
	"reject", "milter_reject", "warn", "lost_connection", "timeout", "pipelining", "too_many", "tls", "sasl_failure", "no_ptr",
	"connect_failed", "screen", "warning", "error", "fatal", "panic",
}

func (k Kind) String() string {
	if k < numKinds {
		return kindNames[k]
	}
	return kindNames[Unparsed]
}

// Kinds are all kinds a line of Postfix can have, for metrics that start at 0.
func Kinds() []Kind {
	all := make([]Kind, 0, numKinds-1)
	for k := Unparsed; k < numKinds; k++ {
		all = append(all, k)
	}
	return all
}

var statusNames = [numStatuses]string{"", "sent", "deferred", "bounced", "deliverable", "undeliverable", "expired", "other"}

func (s Status) String() string {
	if s < numStatuses {
		return statusNames[s]
	}
	return statusNames[StatusOther]
}

// parseStatus reads the word after "status=". "SOFTBOUNCE" is what bounce(8) before 3.x logs under soft_bounce: the message stays
// queued (Postfix src/global/bounce.c, bounce_append()).
func parseStatus(word []byte) Status {
	switch string(word) {
	case "sent":
		return Sent
	case "deferred", "SOFTBOUNCE":
		return Deferred
	case "bounced":
		return Bounced
	case "deliverable":
		return Deliverable
	case "undeliverable", "undeliverable-but-not-cached":
		return Undeliverable
	case "expired", "force-expired":
		return StatusExpired
	}
	return StatusOther
}
