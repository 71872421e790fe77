package logparse

import "bytes"

// cleanup reads the lines of cleanup(8) (Postfix src/cleanup/cleanup_message.c, cleanup_milter.c).
func (ev *Event) cleanup(msg []byte) Kind {
	if ev.QueueID == nil {
		return Unparsed
	}
	switch {
	case hasPrefix(msg, "message-id="):
		return ev.messageID(msg[len("message-id="):])
	case hasPrefix(msg, "resent-message-id="):
		return ev.messageID(msg[len("resent-message-id="):])
	case hasPrefix(msg, "to=<"):
		return ev.delivery(msg) // bounced by cleanup itself
	}
	kind, rest := action(msg)
	if kind == Unparsed {
		return Unparsed
	}
	if hasPrefix(msg, "hold: ") || hasPrefix(msg, "milter-hold: ") || hasPrefix(msg, "milter-quarantine: ") {
		kind = HeldLine
	}
	if hasPrefix(rest, "header ") || hasPrefix(rest, "body ") || hasPrefix(rest, "mime-header ") || hasPrefix(rest, "nested-header ") {
		return ev.content(rest, kind)
	}
	if held := kind == HeldLine; ev.access(rest, kind) == Unparsed && !held {
		return Ignored
	}
	return kind
}

func (ev *Event) messageID(s []byte) Kind {
	if len(s) > 1 && s[0] == '<' && s[len(s)-1] == '>' {
		s = s[1 : len(s)-1]
	}
	ev.MsgID = s
	return MessageID
}

// content reads "header Subject: text from name[ip]; from=<> to=<> proto= helo=<>: 5.7.1 reply" (cleanup_act()).
func (ev *Event) content(s []byte, kind Kind) Kind {
	i := bytes.IndexByte(s, ' ')
	ev.Stage = s[:i]
	text, reply := ev.envelope(s)
	if i = bytes.LastIndex(text, []byte(" from ")); i >= 0 {
		ev.client(text[i+len(" from "):])
	}
	if hasPrefix(reply, ": ") {
		ev.reply(reply[2:])
	} else {
		ev.Reply = text
	}
	return kind
}

// pickup reads `uid=0 from=<root>` and, of a message put back by "postsuper -r", `uid=104 from=<> orig_id=OLD` (src/pickup/pickup.c).
func (ev *Event) pickup(msg []byte) Kind {
	if ev.QueueID == nil || !hasPrefix(msg, "uid=") {
		return Unparsed
	}
	i := bytes.Index(msg, []byte(" from=<"))
	if i < 0 {
		return Unparsed
	}
	address, rest, ok := inAngles(msg[i+len(" from=<"):])
	if !ok {
		return Unparsed
	}
	ev.From, ev.HasFrom = address, true
	if hasPrefix(rest, " orig_id=") {
		if id := rest[len(" orig_id="):]; queueID(id) {
			ev.OrigID = id
		}
	}
	return Pickup
}
