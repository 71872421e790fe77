package logparse

import "bytes"

// bounce reads "sender non-delivery notification: ID" and its kin (Postfix src/bounce/bounce_notify_service.c and neighbours).
func (ev *Event) bounce(msg []byte) Kind {
	if ev.QueueID == nil {
		return Unparsed
	}
	i := bytes.Index(msg, []byte(" notification: "))
	if i < 0 {
		return Unparsed
	}
	what, id := msg[:i], msg[i+len(" notification: "):]
	if queueID(id) {
		ev.NewID = id
	}
	switch string(what) {
	case "sender non-delivery", "postmaster non-delivery", "double-bounce non-delivery":
		return BounceNotice
	case "sender delay", "postmaster delay":
		return DelayNotice
	case "sender delivery status", "sender success", "postmaster delivery status":
		return SuccessNotice
	}
	return Unparsed
}
