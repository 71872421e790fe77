package logparse

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// AppendEventJSON appends one JSON object with the fields of ev that were found, without a line end. It is valid UTF-8 whatever the
// line held: bytes that are not become U+FFFD. Times are RFC 3339, delays seconds. A "from" of "" is the null sender. "message" is there
// for kinds whose text has no fields of its own.
func AppendEventJSON(dst []byte, ev *Event) []byte {
	dst = append(dst, '{')
	if !ev.Time.IsZero() {
		dst = append(dst, `"time":"`...)
		dst = ev.Time.AppendFormat(dst, time.RFC3339Nano)
		dst = append(dst, `",`...)
	}
	dst = append(dst, `"kind":"`...)
	dst = append(dst, ev.Kind.String()...)
	dst = append(dst, '"')
	dst = appendText(dst, "host", ev.Host)
	dst = appendText(dst, "instance", ev.Instance)
	dst = appendText(dst, "service", ev.Service)
	if len(ev.Path) != len(ev.Service) {
		dst = appendText(dst, "path", ev.Path)
	}
	dst = appendInt(dst, "pid", int64(ev.PID))
	dst = appendText(dst, "queue_id", ev.QueueID)
	if ev.HasFrom {
		dst = append(dst, `,"from":`...)
		dst = appendString(dst, ev.From)
	}
	dst = appendText(dst, "to", ev.To)
	dst = appendText(dst, "orig_to", ev.OrigTo)
	dst = appendPeer(dst, "relay", "host", ev.RelayHost, ev.RelayIP, ev.RelayPort)
	dst = appendInt(dst, "conn_use", int64(ev.ConnUse))
	if ev.Kind == Delivery {
		dst = append(dst, `,"delay":`...)
		dst = appendSeconds(dst, ev.Delay)
		dst = append(dst, `,"delays":[`...)
		for i, d := range ev.Delays {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendSeconds(dst, d)
		}
		dst = append(dst, ']')
	}
	if ev.DSN.Class != 0 {
		dst = append(dst, `,"dsn":"`...)
		dst = append(dst, '0'+ev.DSN.Class, '.')
		dst = strconv.AppendUint(dst, uint64(ev.DSN.Subject), 10)
		dst = append(dst, '.')
		dst = strconv.AppendUint(dst, uint64(ev.DSN.Detail), 10)
		dst = append(dst, '"')
	}
	if ev.Status != StatusNone {
		dst = append(dst, `,"status":"`...)
		dst = append(dst, ev.Status.String()...)
		dst = append(dst, '"')
	}
	dst = appendInt(dst, "code", int64(ev.Code))
	dst = appendText(dst, "reply", ev.Reply)
	if ev.Kind == Delivery && ev.Status != Sent && ev.Status != Deliverable || ev.Kind == ConnectFailed {
		dst = append(dst, `,"cause":"`...)
		dst = append(dst, CauseOf(ev).String()...)
		dst = append(dst, '"')
	}
	if ev.Kind == QueueActive {
		dst = append(dst, `,"size":`...)
		dst = strconv.AppendInt(dst, ev.Size, 10)
		dst = append(dst, `,"nrcpt":`...)
		dst = strconv.AppendInt(dst, int64(ev.NRcpt), 10)
	}
	dst = appendPeer(dst, "client", "name", ev.ClientName, ev.ClientIP, ev.ClientPort)
	dst = appendText(dst, "stage", ev.Stage)
	dst = appendText(dst, "verb", ev.Verb)
	dst = appendText(dst, "proto", ev.Proto)
	dst = appendText(dst, "helo", ev.Helo)
	dst = appendText(dst, "sasl_method", ev.SASLMethod)
	dst = appendText(dst, "new_id", ev.NewID)
	dst = appendText(dst, "orig_id", ev.OrigID)
	dst = appendText(dst, "message_id", ev.MsgID)
	if len(ev.TLSProto) > 0 {
		dst = append(dst, `,"tls":{"protocol":`...)
		dst = appendString(dst, ev.TLSProto)
		dst = appendText(dst, "cipher", ev.TLSCipher)
		dst = appendText(dst, "trust", ev.TLSTrust)
		dst = appendInt(dst, "secret_bits", int64(ev.TLSBits[0]))
		dst = appendInt(dst, "algorithm_bits", int64(ev.TLSBits[1]))
		dst = append(dst, '}')
	}
	dst = appendInt(dst, "rank", int64(ev.Rank))
	dst = appendInt(dst, "repeat", int64(ev.Repeat))
	switch ev.Kind {
	case Foreign, Unparsed, Ignored, Disconnect, Warn, HeldLine, Screen, SASLFailure, NoPTR, Warning, Error, Fatal, Panic:
		dst = appendText(dst, "message", ev.Message)
	}
	return append(dst, '}')
}

func appendText(dst []byte, key string, v []byte) []byte {
	if len(v) == 0 {
		return dst
	}
	dst = appendKey(dst, key)
	return appendString(dst, v)
}

func appendInt(dst []byte, key string, v int64) []byte {
	if v == 0 {
		return dst
	}
	return strconv.AppendInt(appendKey(dst, key), v, 10)
}

func appendKey(dst []byte, key string) []byte {
	dst = append(dst, ',', '"')
	dst = append(dst, key...)
	return append(dst, '"', ':')
}

func appendSeconds(dst []byte, d time.Duration) []byte {
	return strconv.AppendFloat(dst, d.Seconds(), 'f', -1, 64)
}

func appendPeer(dst []byte, key, nameKey string, name, ip []byte, port int) []byte {
	if len(name) == 0 && len(ip) == 0 {
		return dst
	}
	dst = append(appendKey(dst, key), '{', '"')
	dst = append(dst, nameKey...)
	dst = append(dst, '"', ':')
	dst = appendString(dst, name)
	dst = appendText(dst, "ip", ip)
	dst = appendInt(dst, "port", int64(port))
	return append(dst, '}')
}

// appendString appends v as a JSON string (RFC 8259 section 7).
func appendString(dst, v []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(v); {
		switch c := v[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
			i++
		case c < 0x20 || c == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			i++
		case c < utf8.RuneSelf:
			dst = append(dst, c)
			i++
		default:
			r, size := utf8.DecodeRune(v[i:])
			dst = utf8.AppendRune(dst, r) // RuneError is U+FFFD
			i += size
		}
	}
	return append(dst, '"')
}
