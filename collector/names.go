package collector

import "github.com/sparemx/sparemx/queue"

// The label values that come out of log lines are looked up in the lists of this file, by position and without allocation. What
// is in no list counts as "other", the last of each list: a stranger, or a broken line, cannot make a series.

type service uint8

const (
	svcAnvil service = iota
	svcBounce
	svcCleanup
	svcDefer
	svcDiscard
	svcDNSBlog
	svcError
	svcFlush
	svcLMTP
	svcLocal
	svcMaster
	svcPickup
	svcPipe
	svcPostfixScript
	svcPostlog
	svcPostqueue
	svcPostscreen
	svcPostsuper
	svcProxymap
	svcQmgr
	svcRelay // the built-in one
	svcRetry
	svcScache
	svcSendmail
	svcSMTP
	svcSMTPD
	svcSpawn
	svcTLSMgr
	svcTLSProxy
	svcTrace
	svcTrivialRewrite
	svcVerify
	svcVirtual
	svcOther
	numServices
)

var serviceNames = [numServices]string{
	"anvil", "bounce", "cleanup", "defer", "discard", "dnsblog", "error", "flush", "lmtp", "local", "master", "pickup", "pipe",
	"postfix-script", "postlog", "postqueue", "postscreen", "postsuper", "proxymap", "qmgr", "relay", "retry", "scache", "sendmail",
	"smtp", "smtpd", "spawn", "tlsmgr", "tlsproxy", "trace", "trivial-rewrite", "verify", "virtual", "other",
}

// serviceOf finds the service by the last path element of its tag. The names are those of Debian's, Postfix's own and the
// distributions' master.cf; a switch on a string is a search in sorted constants, without a hash.
func serviceOf[T string | []byte](name T) service {
	switch string(name) {
	case "smtp":
		return svcSMTP
	case "smtpd":
		return svcSMTPD
	case "qmgr", "oqmgr":
		return svcQmgr
	case "cleanup":
		return svcCleanup
	case "error":
		return svcError
	case "retry":
		return svcRetry
	case "postscreen":
		return svcPostscreen
	case "bounce":
		return svcBounce
	case "lmtp":
		return svcLMTP
	case "local":
		return svcLocal
	case "virtual":
		return svcVirtual
	case "pipe":
		return svcPipe
	case "pickup":
		return svcPickup
	case "anvil":
		return svcAnvil
	case "defer":
		return svcDefer
	case "discard":
		return svcDiscard
	case "dnsblog":
		return svcDNSBlog
	case "flush":
		return svcFlush
	case "master":
		return svcMaster
	case "postfix-script":
		return svcPostfixScript
	case "postlog", "postlogd":
		return svcPostlog
	case "postqueue", "showq":
		return svcPostqueue
	case "postsuper":
		return svcPostsuper
	case "proxymap", "proxywrite":
		return svcProxymap
	case "relay":
		return svcRelay
	case "scache":
		return svcScache
	case "sendmail", "postdrop":
		return svcSendmail
	case "spawn":
		return svcSpawn
	case "tlsmgr":
		return svcTLSMgr
	case "tlsproxy":
		return svcTLSProxy
	case "trace":
		return svcTrace
	case "trivial-rewrite", "rewrite", "resolve":
		return svcTrivialRewrite
	case "verify":
		return svcVerify
	}
	return svcOther
}

// deliverers are the services that log deliveries.
var deliverers = [...]service{svcSMTP, svcLMTP, svcLocal, svcVirtual, svcPipe, svcError, svcRetry, svcDiscard, svcRelay, svcOther}

var stageNames = [4]string{"before_queue_manager", "queue_manager", "connection_setup", "transmission"}

// lostStages are the SMTP stages after which smtpd logs a lost connection (src/smtpd/smtpd.c: state->where).
var lostStages = [...]string{
	"CONNECT", "EHLO", "HELO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "END-OF-MESSAGE", "BDAT", "RSET", "NOOP", "VRFY", "ETRN",
	"QUIT", "XCLIENT", "XFORWARD", "UNKNOWN", "other",
}

func lostStageOf(b []byte) int {
	for i, s := range lostStages[:len(lostStages)-1] {
		if len(b) >= len(s) && string(b[:len(s)]) == s && (len(b) == len(s) || b[len(s)] == ' ' || b[len(s)] == '(') {
			return i
		}
	}
	return len(lostStages) - 1
}

// index returns the position of b in list, the last one if it is not in it. For lists of a few values.
func index(list []string, b []byte) int {
	for i, s := range list[:len(list)-1] {
		if string(b) == s {
			return i
		}
	}
	return len(list) - 1
}

var (
	saslMethods = [...]string{"NONE", "PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "GSSAPI", "NTLM", "XOAUTH2", "OAUTHBEARER", "EXTERNAL", "other"}
	levelNames  = [...]string{"", "warning", "error", "fatal", "panic"}
	statusNames = [...]string{"sent", "deferred", "bounced", "deliverable", "undeliverable", "expired"}

	tlsTrusts    = [...]string{"Anonymous", "Untrusted", "Trusted", "Verified", "other"}
	tlsProtocols = [...]string{"TLSv1.3", "TLSv1.2", "TLSv1.1", "TLSv1", "SSLv3", "SSLv2", "other"}

	screenTests  = [...]string{"PREGREET", "BARE NEWLINE", "COMMAND COUNT LIMIT", "COMMAND LENGTH LIMIT", "COMMAND PIPELINING", "COMMAND TIME LIMIT", "NON-SMTP COMMAND", "other"}
	screenAccess = [...]string{"ALLOWLISTED", "WHITELISTED", "DENYLISTED", "BLACKLISTED", "other"}
	screenBusy   = [...]string{"all server ports busy", "all screening ports busy", "too many connections", "other"}
)

// rejectCodes are the codes that exist from the start, at 0. Others of 400 to 599 come when they are seen; what is none of these is "other".
var rejectCodes = [...]int{421, 450, 451, 452, 454, 501, 503, 504, 550, 552, 553, 554}

type codes struct {
	n     [200]uint64 // 400 to 599
	other uint64
}

func (c *codes) add(code int) {
	if code >= 400 && code < 600 {
		c.n[code-400]++
	} else {
		c.other++
	}
}

// dsnDetails are the greatest details registered for each subject of enhanced status codes (IANA, "Simple Mail Transfer Protocol
// Enhanced Status Codes Registry"): 84 codes a class. The reply, and the code in it, comes from strangers.
var dsnDetails = [8]uint16{1, 10, 4, 6, 7, 6, 10, 30}

// dsns counts by enhanced code of one class.
type dsns struct {
	n     [8][31]uint64
	other uint64
}

func (d *dsns) add(c queue.Code, class uint8) {
	if c.Class == class && int(c.Subject) < len(dsnDetails) && c.Detail <= dsnDetails[c.Subject] {
		d.n[c.Subject][c.Detail]++
	} else {
		d.other++
	}
}

// tlsTable counts TLS connections by what was agreed. Rows are learned up to a bound; strangers choose their ciphers, though only of
// those the local library has, and lines can be forged.
type tlsTable struct {
	rows map[tlsKey]*uint64
	last tlsKey
	hot  *uint64
}

const (
	maxTLSRows   = 100
	maxCipherLen = 40
)

type tlsKey struct {
	trust, proto uint8
	cipherLen    uint8
	cipher       [maxCipherLen]byte
	bits         [2]uint16
}

func (t *tlsTable) add(trust, proto, cipher []byte, bits [2]int) {
	k := tlsKey{trust: uint8(index(tlsTrusts[:], trust)), proto: uint8(index(tlsProtocols[:], proto))}
	if sane(cipher) && bits[0] >= 0 && bits[0] <= 512 && bits[1] >= 0 && bits[1] <= 512 {
		k.cipherLen = uint8(copy(k.cipher[:], cipher))
		k.bits = [2]uint16{uint16(bits[0]), uint16(bits[1])}
	}
	if t.hot != nil && k == t.last {
		*t.hot++
		return
	}
	n := t.rows[k]
	if n == nil {
		if len(t.rows) >= maxTLSRows {
			k.cipherLen, k.cipher, k.bits = 0, [maxCipherLen]byte{}, [2]uint16{}
			n = t.rows[k] // at most one such row for each trust and protocol
		}
		if n == nil {
			if t.rows == nil {
				t.rows = make(map[tlsKey]*uint64)
			}
			n = new(uint64)
			t.rows[k] = n
		}
	}
	t.last, t.hot = k, n
	*n++
}

// sane tells whether b looks like the name of a cipher suite: "TLS_AES_256_GCM_SHA384", "ECDHE-RSA-AES128-SHA".
func sane(b []byte) bool {
	if len(b) == 0 || len(b) > maxCipherLen {
		return false
	}
	for _, c := range b {
		if !(c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

// plain tells whether b is a name as in master.cf: letters, digits, "-", "_", ".".
func plain(b []byte) bool {
	for _, c := range b {
		if !(c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	return len(b) > 0
}
