package logparse

import "bytes"

// qmgr reads the queue manager's lines (Postfix src/qmgr/qmgr_active.c, qmgr_message.c). A delivery line of its own is how it defers
// a recipient without asking an agent (src/qmgr/qmgr_defer.c).
func (ev *Event) qmgr(msg []byte) Kind {
	if ev.QueueID == nil {
		return Unparsed
	}
	switch {
	case hasPrefix(msg, "from=<"):
		return ev.qmgrFrom(msg[len("from=<"):])
	case string(msg) == "removed":
		return Removed
	case hasPrefix(msg, "to=<"):
		return ev.delivery(msg)
	case hasPrefix(msg, "skipped, still being delivered"):
		return Ignored
	}
	return Unparsed
}

// qmgrFrom reads `from=<>, size=, nrcpt= (queue active)` and `from=<>, status=expired, returned to sender`.
func (ev *Event) qmgrFrom(s []byte) Kind {
	address, rest, ok := ev.listed(s)
	if !ok {
		return Unparsed
	}
	ev.From, ev.HasFrom = address, true
	for {
		eq := bytes.IndexByte(rest, '=')
		if eq < 0 {
			return Unparsed
		}
		key, value := rest[:eq], rest[eq+1:]
		end := 0
		for end < len(value) && value[end] != ',' && value[end] != ' ' {
			end++
		}
		switch string(key) {
		case "size":
			ev.Size = int64(number(value[:end]))
		case "nrcpt":
			ev.NRcpt = number(value[:end])
		case "status":
			ev.Status = parseStatus(value[:end])
			if ev.Status == StatusExpired {
				return ExpiredLine
			}
			return Unparsed
		}
		if rest = value[end:]; hasPrefix(rest, ", ") {
			rest = rest[2:]
		} else if hasPrefix(rest, " (queue active)") {
			return QueueActive
		} else {
			return Unparsed
		}
	}
}
