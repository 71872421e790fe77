package logparse

// postsuper reads what the operator did to one message (Postfix src/postsuper/postsuper.c) and its summaries.
func (ev *Event) postsuper(msg []byte) Kind {
	if ev.QueueID != nil {
		switch string(msg) {
		case "removed":
			return DeletedLine
		case "placed on hold":
			return HeldLine
		case "released from hold":
			return ReleasedLine
		case "requeued":
			return Requeued
		case "expired": // only marked (-e, -f); qmgr gives it up later and says so
			return Ignored
		}
		return Unparsed
	}
	for _, prefix := range [...]string{"Deleted: ", "Placed on hold: ", "Released from hold: ", "Requeued: ", "Expired: ", "Renamed to match inode number: ",
		"Renamed: ", "Skipped: ", "Force-expired: "} {
		if hasPrefix(msg, prefix) {
			return Ignored
		}
	}
	return Unparsed
}
