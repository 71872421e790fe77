package logparse

import (
	"time"

	"github.com/sparemx/sparemx/queue"
)

// line is one line and what Postfix's manual and source say is in it: "" and 0 mean that the field is empty.
type corpusLine struct {
	tag, text                     string
	kind                          Kind
	id, from, to, origTo          string
	host, ip                      string
	port                          int
	delay                         time.Duration
	dsn                           string
	status                        Status
	reply                         string
	client, clientIP              string
	clientPort, code              int
	stage, verb, newID, msgID     string
	size                          int64
	nrcpt, rank                   int
	proto, helo, sasl, tls, trust string
	cause                         queue.Cause
}

const ms = time.Millisecond

var corpus = []corpusLine{
	// Delivery agents: src/global/log_adhoc.c.
	{tag: "postfix/smtp", text: "3E2F4A01B2: to=<u@example.org>, relay=mx.example.org[192.0.2.1]:25, delay=0.34, delays=0.01/0.02/0.1/0.21, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as D063CFA13A)",
		kind: Delivery, id: "3E2F4A01B2", to: "u@example.org", host: "mx.example.org", ip: "192.0.2.1", port: 25, delay: 340 * ms, dsn: "2.0.0", status: Sent, reply: "250 2.0.0 Ok: queued as D063CFA13A"},
	{tag: "postfix/relay/smtp", text: "4jWbLw5mF5z7hnS: to=<u@example.org>, orig_to=<root>, relay=mx[2001:db8::1]:2525, conn_use=3, delay=45613, delays=45610/0.02/1/2, tls=encrypt/(requiretls), dsn=4.2.2, status=deferred (host mx[2001:db8::1] said: 452 4.2.2 <u@example.org>: full (75%), status=sent (x), relay=y (in reply to RCPT TO command))",
		kind: Delivery, id: "4jWbLw5mF5z7hnS", to: "u@example.org", origTo: "root", host: "mx", ip: "2001:db8::1", port: 2525, delay: 45613 * time.Second, dsn: "4.2.2", status: Deferred,
		reply: "host mx[2001:db8::1] said: 452 4.2.2 <u@example.org>: full (75%), status=sent (x), relay=y (in reply to RCPT TO command)", cause: queue.CauseMailboxFull},
	{tag: "postfix/smtp", text: `3E2F4A01B2: to=<"a b, c>, relay=evil, status=sent (x"@example.org>, relay=none, delay=1, delays=0/1/0/0, dsn=4.4.1, status=deferred (connect to mx[192.0.2.1]:25: Connection timed out)`,
		kind: Delivery, id: "3E2F4A01B2", to: `"a b, c>, relay=evil, status=sent (x"@example.org`, host: "none", delay: time.Second, dsn: "4.4.1", status: Deferred, reply: "connect to mx[192.0.2.1]:25: Connection timed out", cause: queue.CauseTimeout},
	{tag: "postfix/smtp", text: `3E2F4A01B2: to=<a>, b@example.org>, relay=none, delay=1, delays=0/1/0/0, dsn=4.4.1, status=deferred (connect to mx[192.0.2.1]:25: No route to host)`, // unquoted, before 3.5
		kind: Delivery, id: "3E2F4A01B2", to: `a>, b@example.org`, host: "none", delay: time.Second, dsn: "4.4.1", status: Deferred, reply: "connect to mx[192.0.2.1]:25: No route to host", cause: queue.CauseUnreachable},
	{tag: "postfix/smtp", text: "3E2F4A01B2: to=<u@example.org>, relay=mx[192.0.2.1]:25,conn_use=2, delay=1, delays=0/1/0/0, dsn=5.1.1, status=bounced (host mx[192.0.2.1] said: 550 5.1.1 User unknown (in reply to RCPT TO command))",
		kind: Delivery, id: "3E2F4A01B2", to: "u@example.org", host: "mx", ip: "192.0.2.1", port: 25, delay: time.Second, dsn: "5.1.1", status: Bounced, reply: "host mx[192.0.2.1] said: 550 5.1.1 User unknown (in reply to RCPT TO command)", cause: queue.CauseUnknownUser},
	{tag: "postfix/error", text: "AAAAAA1: to=<u@example.org>, relay=none, delay=99, delays=99/0.01/0/0, dsn=4.4.1, status=deferred (delivery temporarily suspended: host mx[192.0.2.1] said: 550 5.7.1 no (in reply to MAIL FROM command))",
		kind: Delivery, id: "AAAAAA1", to: "u@example.org", host: "none", delay: 99 * time.Second, dsn: "4.4.1", status: Deferred, reply: "delivery temporarily suspended: host mx[192.0.2.1] said: 550 5.7.1 no (in reply to MAIL FROM command)", cause: queue.CauseSuspended},
	{tag: "postfix/retry", text: "AAAAAA1: to=<u@example.org>, relay=none, delay=0, delays=0/0/0/0, dsn=4.4.1, status=deferred (delivery temporarily suspended: connect to mx[192.0.2.1]:25: Connection refused)",
		kind: Delivery, id: "AAAAAA1", to: "u@example.org", host: "none", dsn: "4.4.1", status: Deferred, reply: "delivery temporarily suspended: connect to mx[192.0.2.1]:25: Connection refused", cause: queue.CauseSuspended},
	{tag: "postfix/qmgr", text: "AAAAAA1: to=<u@example.org>, relay=none, delay=2, delays=1/1/0/0, dsn=4.3.0, status=deferred (mail transport unavailable)",
		kind: Delivery, id: "AAAAAA1", to: "u@example.org", host: "none", delay: 2 * time.Second, dsn: "4.3.0", status: Deferred, reply: "mail transport unavailable", cause: queue.CauseLocal},
	{tag: "postfix/lmtp", text: "AAAAAA1: to=<u@example.org>, relay=mx2.example.net[private/dovecot-lmtp], delay=0.1, delays=0.1/0/0/0, dsn=2.0.0, status=sent (250 2.0.0 <u@example.org> Saved)",
		kind: Delivery, id: "AAAAAA1", to: "u@example.org", host: "mx2.example.net", ip: "private/dovecot-lmtp", delay: 100 * ms, dsn: "2.0.0", status: Sent, reply: "250 2.0.0 <u@example.org> Saved"},
	{tag: "postfix/local", text: `AAAAAA1: to=<u@local.test>, relay=local, delay=0.02, delays=0.01/0/0/0.01, dsn=5.1.1, status=bounced (unknown user: "u")`,
		kind: Delivery, id: "AAAAAA1", to: "u@local.test", host: "local", delay: 20 * ms, dsn: "5.1.1", status: Bounced, reply: `unknown user: "u"`, cause: queue.CauseUnknownUser},
	{tag: "postfix/pipe", text: "AAAAAA1: to=<u@piped.test>, relay=piper, delay=0.02, delays=0.01/0/0/0.01, dsn=4.3.0, status=deferred (temporary failure. Command output: oops (1) )",
		kind: Delivery, id: "AAAAAA1", to: "u@piped.test", host: "piper", delay: 20 * ms, dsn: "4.3.0", status: Deferred, reply: "temporary failure. Command output: oops (1) ", cause: queue.CauseLocal},
	{tag: "postfix/virtual", text: "AAAAAA1: to=<u@virtual.test>, relay=virtual, delay=0, delays=0/0/0/0, dsn=2.0.0, status=sent (delivered to maildir)",
		kind: Delivery, id: "AAAAAA1", to: "u@virtual.test", host: "virtual", dsn: "2.0.0", status: Sent, reply: "delivered to maildir"},
	{tag: "postfix/discard", text: "AAAAAA1: to=<u@gone.test>, relay=none, delay=0, delays=0/0/0/0, dsn=2.0.0, status=sent (silently)",
		kind: Delivery, id: "AAAAAA1", to: "u@gone.test", host: "none", dsn: "2.0.0", status: Sent, reply: "silently"},
	{tag: "postfix/smtp", text: "AAAAAA1: to=<u@example.org>, relay=mx[192.0.2.1]:25, delay=0, delays=0/0/0/0, dsn=5.1.1, status=undeliverable-but-not-cached (host mx[192.0.2.1] said: 550 5.1.1 no such user)",
		kind: Delivery, id: "AAAAAA1", to: "u@example.org", host: "mx", ip: "192.0.2.1", port: 25, dsn: "5.1.1", status: Undeliverable, reply: "host mx[192.0.2.1] said: 550 5.1.1 no such user", cause: queue.CauseUnknownUser},
	{tag: "postfix/smtp", text: "AAAAAA1: to=<u@example.org>, relay=mx[192.0.2.1]:25, delay=0, delays=0/0/0/0, dsn=4.7.0, status=SOFTBOUNCE (host mx[192.0.2.1] refused to talk to me: 421 4.7.0 try later)",
		kind: Delivery, id: "AAAAAA1", to: "u@example.org", host: "mx", ip: "192.0.2.1", port: 25, dsn: "4.7.0", status: Deferred, reply: "host mx[192.0.2.1] refused to talk to me: 421 4.7.0 try later", cause: queue.CauseUnavailable},
	{tag: "postfix/smtp", text: "connect to mx.example.org[2001:db8::1]:25: Network is unreachable",
		kind: ConnectFailed, host: "mx.example.org", ip: "2001:db8::1", port: 25, reply: "Network is unreachable", cause: queue.CauseUnreachable},
	{tag: "postfix/smtp", text: "AAAAAA1: host mx[192.0.2.1] said: 450 4.2.0 Greylisted (in reply to RCPT TO command)", kind: Ignored, id: "AAAAAA1"},
	{tag: "postfix/smtp", text: "Untrusted TLS connection established to mx[192.0.2.1]:25: TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange X25519",
		kind: TLS, host: "mx", ip: "192.0.2.1", port: 25, tls: "TLSv1.3", trust: "Untrusted"},
	{tag: "postfix/smtp", text: "warning: no MX host for example.org has a valid address record", kind: Warning},
	// Queue manager.
	{tag: "postfix/qmgr", text: "AAAAAA1: from=<>, size=365, nrcpt=1 (queue active)", kind: QueueActive, id: "AAAAAA1", size: 365, nrcpt: 1},
	{tag: "postfix/qmgr", text: `AAAAAA1: from=<"a>, size=9"@example.org>, size=12, requiretls=yes, nrcpt=3 (queue active)`, kind: QueueActive, id: "AAAAAA1", from: `"a>, size=9"@example.org`, size: 12, nrcpt: 3},
	{tag: "postfix-mx2/qmgr", text: "4jWbLw5mF5z7hnS: removed", kind: Removed, id: "4jWbLw5mF5z7hnS"},
	{tag: "postfix/qmgr", text: "AAAAAA1: from=<s@example.org>, status=expired, returned to sender", kind: ExpiredLine, id: "AAAAAA1", from: "s@example.org", status: StatusExpired, cause: queue.CauseExpired},
	{tag: "postfix/qmgr", text: "AAAAAA1: from=<s@example.org>, status=force-expired, returned to sender", kind: ExpiredLine, id: "AAAAAA1", from: "s@example.org", status: StatusExpired, cause: queue.CauseExpired},
	{tag: "postfix/qmgr", text: "AAAAAA1: skipped, still being delivered", kind: Ignored, id: "AAAAAA1"},
	{tag: "postfix/smtpd", text: "AAAAAA1: canceled", kind: Canceled, id: "AAAAAA1"},
	// smtpd.
	{tag: "postfix/smtpd", text: "connect from unknown[192.0.2.7]", kind: Connect, client: "unknown", clientIP: "192.0.2.7"},
	{tag: "postfix-out/edge/smtpd", text: "connect from mx.example.org[2001:db8::7]:4711", kind: Connect, client: "mx.example.org", clientIP: "2001:db8::7", clientPort: 4711},
	{tag: "postfix/smtpd", text: "disconnect from unknown[192.0.2.7] ehlo=1 mail=1 rcpt=0/1 quit=1 commands=3/4", kind: Disconnect, client: "unknown", clientIP: "192.0.2.7"},
	{tag: "postfix/submission/smtpd", text: "AAAAAA1: client=c.example.org[192.0.2.7], sasl_method=PLAIN, sasl_username=u@example.org", kind: Client, id: "AAAAAA1", client: "c.example.org", clientIP: "192.0.2.7", sasl: "PLAIN"},
	{tag: "postfix/smtpd", text: "NOQUEUE: reject: RCPT from unknown[192.0.2.7]: 450 4.1.1 <a@example.org>: Recipient address rejected: unverified address: connect to mx[192.0.2.1]:25: Connection refused; from=<s@example.net> to=<a@example.org> proto=ESMTP helo=<x>",
		kind: Reject, stage: "RCPT", client: "unknown", clientIP: "192.0.2.7", code: 450, dsn: "4.1.1", from: "s@example.net", to: "a@example.org", proto: "ESMTP", helo: "x",
		reply: "450 4.1.1 <a@example.org>: Recipient address rejected: unverified address: connect to mx[192.0.2.1]:25: Connection refused", cause: queue.CauseUnverified},
	{tag: "postfix/smtpd", text: `AAAAAA1: reject: RCPT from c[192.0.2.7]: 550 5.1.1 <"a; from=<x@y> to=<z> proto=ESMTP helo=<h>"@example.org>: Recipient address rejected: undeliverable address; from=<> to=<"a; from=<x@y> to=<z> proto=ESMTP helo=<h>"@example.org> proto=ESMTP helo=<x>`,
		kind: Reject, id: "AAAAAA1", stage: "RCPT", client: "c", clientIP: "192.0.2.7", code: 550, dsn: "5.1.1", to: `"a; from=<x@y> to=<z> proto=ESMTP helo=<h>"@example.org`, proto: "ESMTP", helo: "x",
		reply: `550 5.1.1 <"a; from=<x@y> to=<z> proto=ESMTP helo=<h>"@example.org>: Recipient address rejected: undeliverable address`, cause: queue.CauseUnknownUser},
	{tag: "postfix/smtpd", text: "NOQUEUE: reject: CONNECT from unknown[192.0.2.7]: 554 5.7.1 <unknown[192.0.2.7]>: Client host rejected: Access denied; proto=SMTP",
		kind: Reject, stage: "CONNECT", client: "unknown", clientIP: "192.0.2.7", code: 554, dsn: "5.7.1", proto: "SMTP", reply: "554 5.7.1 <unknown[192.0.2.7]>: Client host rejected: Access denied", cause: queue.CausePolicy},
	{tag: "postfix/smtpd", text: "AAAAAA1: milter-reject: END-OF-MESSAGE from c[192.0.2.7]: 5.7.1 Spam; from=<s@example.net> to=<a@example.org> proto=ESMTP helo=<x>",
		kind: MilterReject, id: "AAAAAA1", stage: "END-OF-MESSAGE", client: "c", clientIP: "192.0.2.7", dsn: "5.7.1", from: "s@example.net", to: "a@example.org", proto: "ESMTP", helo: "x", reply: "5.7.1 Spam", cause: queue.CausePolicy},
	{tag: "postfix/smtpd", text: "NOQUEUE: reject_warning: RCPT from c[192.0.2.7]: 554 5.7.1 no; from=<s@example.net> to=<a@example.org> proto=ESMTP helo=<x>",
		kind: Warn, stage: "RCPT", client: "c", clientIP: "192.0.2.7", code: 554, dsn: "5.7.1", from: "s@example.net", to: "a@example.org", proto: "ESMTP", helo: "x", reply: "554 5.7.1 no"},
	{tag: "postfix/smtpd", text: "NOQUEUE: filter: RCPT from c[192.0.2.7]: <s@example.net>: Sender address triggers FILTER smtp:x; from=<s@example.net> to=<a@example.org> proto=ESMTP helo=<x>",
		kind: Warn, stage: "RCPT", client: "c", clientIP: "192.0.2.7", from: "s@example.net", to: "a@example.org", proto: "ESMTP", helo: "x", reply: "<s@example.net>: Sender address triggers FILTER smtp:x"},
	{tag: "postfix/smtpd", text: "lost connection after DATA (16 bytes) from c[192.0.2.7]", kind: LostConnection, stage: "DATA", client: "c", clientIP: "192.0.2.7"},
	{tag: "postfix/smtpd", text: "timeout after END-OF-MESSAGE from c[192.0.2.7]", kind: TimeoutLine, stage: "END-OF-MESSAGE", client: "c", clientIP: "192.0.2.7"},
	{tag: "postfix/smtpd", text: `improper command pipelining after EHLO from c[192.0.2.7]: QUIT\r\n`, kind: Pipelining, stage: "EHLO", client: "c", clientIP: "192.0.2.7", reply: `QUIT\r\n`},
	{tag: "postfix/smtpd", text: "too many errors after RCPT from c[192.0.2.7]", kind: TooMany, stage: "RCPT", client: "c", clientIP: "192.0.2.7"},
	{tag: "postfix/smtpd", text: "Anonymous TLS connection established from c[192.0.2.7] to mx2.example.net: TLSv1.2 with cipher ECDHE-RSA-AES256-GCM-SHA384 (256/256 bits)", kind: TLS, client: "c", clientIP: "192.0.2.7", tls: "TLSv1.2", trust: "Anonymous"},
	{tag: "postfix/smtpd", text: "warning: c[192.0.2.7]: SASL LOGIN authentication failed: UGFzc3dvcmQ6, sasl_username=u", kind: SASLFailure, client: "c", clientIP: "192.0.2.7", sasl: "LOGIN", reply: "UGFzc3dvcmQ6, sasl_username=u"},
	{tag: "postfix/smtpd", text: "warning: hostname c.example.org does not resolve to address 192.0.2.7: Name or service not known", kind: NoPTR, client: "c.example.org", clientIP: "192.0.2.7", reply: "Name or service not known"},
	{tag: "postfix/smtpd", text: "warning: 192.0.2.7: hostname c.example.org verification failed: Name or service not known", kind: NoPTR, client: "c.example.org", clientIP: "192.0.2.7"},
	{tag: "postfix/smtpd", text: "warning: non-SMTP command from c[192.0.2.7]: GET / HTTP/1.1", kind: Warning},
	{tag: "postfix/smtpd", text: "fatal: no SASL authentication mechanisms", kind: Fatal},
	{tag: "postfix/smtpd", text: "panic: myfree: corrupt or unallocated memory block", kind: Panic},
	{tag: "postfix/smtpd", text: "error: open database /etc/postfix/x.db: No such file or directory", kind: Error},
	{tag: "postfix/smtpd", text: "something never seen", kind: Unparsed},
	{tag: "postfix/smtpd", text: "table hash:/etc/postfix/access(0,lock|fold_fix) has changed -- restarting", kind: Ignored},
	// cleanup, pickup, bounce, postsuper.
	{tag: "postfix/cleanup", text: "AAAAAA1: message-id=<1.2@example.org>", kind: MessageID, id: "AAAAAA1", msgID: "1.2@example.org"},
	{tag: "postfix/cleanup", text: "AAAAAA1: reject: header Subject: a; from=<no> from x[1.1.1.1]; from=<s@example.net> to=<a@example.org> proto=ESMTP helo=<x>: 5.7.1 not wanted",
		kind: Reject, id: "AAAAAA1", stage: "header", dsn: "5.7.1", from: "s@example.net", to: "a@example.org", proto: "ESMTP", helo: "x", reply: "5.7.1 not wanted", client: "x", clientIP: "1.1.1.1", cause: queue.CausePolicy},
	{tag: "postfix/pickup", text: "AAAAAA1: uid=0 from=<root>", kind: Pickup, id: "AAAAAA1", from: "root"},
	{tag: "postfix/pickup", text: "AAAAAA1: uid=104 from=<> orig_id=BBBBBB2", kind: Pickup, id: "AAAAAA1"},
	{tag: "postfix/bounce", text: "AAAAAA1: sender non-delivery notification: BBBBBB2", kind: BounceNotice, id: "AAAAAA1", newID: "BBBBBB2"},
	{tag: "postfix/bounce", text: "AAAAAA1: sender delay notification: BBBBBB2", kind: DelayNotice, id: "AAAAAA1", newID: "BBBBBB2"},
	{tag: "postfix/bounce", text: "AAAAAA1: sender delivery status notification: BBBBBB2", kind: SuccessNotice, id: "AAAAAA1", newID: "BBBBBB2"},
	{tag: "postfix/postsuper", text: "AAAAAA1: removed", kind: DeletedLine, id: "AAAAAA1"},
	{tag: "postfix/postsuper", text: "AAAAAA1: placed on hold", kind: HeldLine, id: "AAAAAA1"},
	{tag: "postfix/postsuper", text: "AAAAAA1: released from hold", kind: ReleasedLine, id: "AAAAAA1"},
	{tag: "postfix/postsuper", text: "AAAAAA1: requeued", kind: Requeued, id: "AAAAAA1"},
	{tag: "postfix/postsuper", text: "Deleted: 1 message", kind: Ignored},
	// postscreen.
	{tag: "postfix/postscreen", text: "CONNECT from [192.0.2.7]:4711 to [192.0.2.1]:25", kind: Screen, verb: "CONNECT", clientIP: "192.0.2.7", clientPort: 4711},
	{tag: "postfix/postscreen", text: "PASS NEW [2001:db8::7]:4711", kind: Screen, verb: "PASS NEW", clientIP: "2001:db8::7", clientPort: 4711},
	{tag: "postfix/postscreen", text: `PREGREET 11 after 0.12 from [192.0.2.7]:4711: EHLO from [x]\r\n`, kind: Screen, verb: "PREGREET", clientIP: "192.0.2.7", clientPort: 4711, reply: `EHLO from [x]\r\n`},
	{tag: "postfix/postscreen", text: "DNSBL rank 7 for [192.0.2.7]:4711", kind: Screen, verb: "DNSBL", rank: 7, clientIP: "192.0.2.7", clientPort: 4711},
	{tag: "postfix/postscreen", text: "HANGUP after 1.1 from [192.0.2.7]:4711 in tests after SMTP handshake", kind: Screen, verb: "HANGUP", clientIP: "192.0.2.7", clientPort: 4711},
	{tag: "postfix/postscreen", text: "COMMAND TIME LIMIT from [192.0.2.7]:4711 after EHLO", kind: Screen, verb: "COMMAND TIME LIMIT", stage: "EHLO", clientIP: "192.0.2.7", clientPort: 4711},
	{tag: "postfix/postscreen", text: "NOQUEUE: reject: RCPT from [192.0.2.7]:4711: 550 5.7.1 Service unavailable; client [192.0.2.7] blocked using bl.example.org; from=<s@example.net>, to=<a@example.org>, proto=ESMTP, helo=<x>",
		kind: Reject, stage: "RCPT", clientIP: "192.0.2.7", clientPort: 4711, code: 550, dsn: "5.7.1", from: "s@example.net", to: "a@example.org", proto: "ESMTP", helo: "x", reply: "550 5.7.1 Service unavailable; client [192.0.2.7] blocked using bl.example.org", cause: queue.CausePolicy},
	{tag: "postfix/postscreen", text: "NOQUEUE: reject: CONNECT from [192.0.2.7]:4711: too many connections", kind: Reject, stage: "CONNECT", clientIP: "192.0.2.7", clientPort: 4711, reply: "too many connections", cause: queue.CauseUnavailable},
	// The quiet ones.
	{tag: "postfix/anvil", text: "statistics: max connection rate 1/60s for (smtp:192.0.2.7) at Nov 21 02:16:00", kind: Ignored},
	{tag: "postfix/dnsblog", text: "addr 192.0.2.7 listed by domain bl.example.org as 127.0.0.2", kind: Ignored},
	{tag: "postfix/master", text: "daemon started -- version 3.7.11, configuration /etc/postfix", kind: Ignored},
	{tag: "postfix/master", text: "warning: process /usr/lib/postfix/sbin/smtpd pid 12 exit status 1", kind: Warning},
	{tag: "postfix/verify", text: "cache btree:/var/lib/postfix/verify_cache full cleanup: retained=3 dropped=0 entries", kind: Ignored},
	{tag: "postfix/tlsproxy", text: "CONNECT from [192.0.2.7]:4711", kind: Ignored},
	{tag: "postfix/policy-spf", text: "Pass; identity=mailfrom", kind: Unparsed},
}

var stamps = map[string]string{
	"RFC 3164":        "Nov 21 02:16:05 mx2 %s[4242]: ",
	"RFC 3164 + PRI":  "<22>Nov 21 02:16:05 mx2 %s[4242]: ",
	"ISO 8601":        "2026-11-21T02:16:05+00:00 mx2 %s[4242]: ",
	"ISO + fraction":  "2026-11-21T03:16:05.000000+01:00 mx2 %s[4242]: ",
	"ISO, no zone":    "2026-11-21T02:16:05 mx2 %s[4242]: ",
	"ISO, short zone": "2026-11-21T00:16:05-0200 mx2 %s[4242]: ",
	"RFC 5424":        "<22>1 2026-11-21T02:16:05.000Z mx2 %s 4242 - - ",
	"RFC 5424 + data": `<22>1 2026-11-21T02:16:05Z mx2 %s 4242 ID7 [a@1 b="x\"]y"][c@2] ` + "\xef\xbb\xbf",
	"journal":         `{"_PID":"1","MESSAGE":%q,"SYSLOG_IDENTIFIER":"%s","SYSLOG_PID":"4242","_HOSTNAME":"mx2","__REALTIME_TIMESTAMP":"1795227365000000","_X":["a","b"]}`,
	"journal, bytes":  `{"MESSAGE":[%s],"SYSLOG_IDENTIFIER":"%s","_PID":"4242","_HOSTNAME":"mx2","_SOURCE_REALTIME_TIMESTAMP":"1795227365000000","__REALTIME_TIMESTAMP":"1"}`,
}
