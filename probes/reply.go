package probes

import (
	"crypto/tls"
	"strings"
	"time"

	"github.com/sparemx/sparemx/internal/smtp"
)

// aboutRecipient tells whether a refusal of RCPT is about the recipient alone and so proves that the primary takes mail for others: 5.1.1,
// 5.1.3, 5.1.6, 5.1.10 (no such mailbox), 5.2.1, 5.2.2 (disabled, full), or those words without a code. 5.1.2 (wrong host), 5.1.7, 5.1.8
// (the sender's address) and x.7.x (policy) are about us. No 4xx counts: who cannot tell now would not take a real message now either.
func aboutRecipient(r smtp.Reply) bool {
	if r.Code < 500 {
		return false
	}
	switch r.Enhanced {
	case "5.1.1", "5.1.3", "5.1.6", "5.1.10", "5.2.1", "5.2.2":
		return true
	case "", "5.0.0", "5.1.0":
	default:
		return false
	}
	return hasWord(r, "user unknown", "unknown user", "no such user", "unknown recipient", "recipient unknown", "mailbox unavailable", "mailbox not found",
		"no mailbox", "no such recipient", "unknown local part", "does not exist", "invalid recipient", "recipient not found", "user not found", "no such mailbox")
}

// greylisted tells whether a refusal is greylisting. It is Bad all the same. A primary that greylists its backup makes every held message late
// again after an outage, each with a triplet of its own, and somebody must be told; saying Good would hide what the promise is about. The
// probe's own triplet passes after some minutes, so the state mends itself.
func greylisted(r smtp.Reply) bool {
	return r.Code/100 == 4 && hasWord(r, "greylist", "graylist", "grey-list", "gray-list", "grey list", "gray list")
}

func hasWord(r smtp.Reply, words ...string) bool {
	text := strings.ToLower(r.Text())
	for _, w := range words {
		if strings.Contains(text, w) {
			return true
		}
	}
	return false
}

func sameName(a, b string) bool {
	return a != "" && strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
}

func nameOr(name, otherwise string) string {
	if name != "" {
		return name
	}
	return otherwise
}

func tlsName(v uint16) string { return strings.Replace(tls.VersionName(v), "TLS ", "TLSv", 1) }

func durationOr(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}
