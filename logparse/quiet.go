package logparse

import "bytes"

// quiet reads the lines of the daemons that say nothing about mail; what is not known there is Unparsed all the same.
func (ev *Event) quiet(msg []byte) Kind {
	known := false
	switch string(ev.Service) {
	case "anvil", "scache":
		known = hasPrefix(msg, "statistics: ")
	case "dnsblog":
		known = hasPrefix(msg, "addr ")
	case "master":
		known = hasPrefix(msg, "daemon started") || hasPrefix(msg, "reload ") || hasPrefix(msg, "terminating on signal")
	case "postfix-script":
		known = hasPrefix(msg, "starting ") || hasPrefix(msg, "stopping ") || hasPrefix(msg, "refreshing ") || hasPrefix(msg, "aborting ") ||
			hasPrefix(msg, "waiting ") || hasPrefix(msg, "the Postfix mail system is ") || hasPrefix(msg, "stopped ") || hasPrefix(msg, "rotat")
	case "verify":
		known = hasPrefix(msg, "cache ")
	case "tlsmgr":
		known = hasPrefix(msg, "open ") || bytes.Contains(msg, []byte("TLS cache"))
	case "postlogd":
		known = hasPrefix(msg, "open ") || hasPrefix(msg, "rotat")
	}
	if known {
		return Ignored
	}
	return Unparsed
}

// wellKnown are lines that any daemon can write (Postfix src/global/dict_*.c, src/util/dict_cache.c, src/tls).
func wellKnown(msg []byte) bool {
	switch {
	case hasPrefix(msg, "table "), hasPrefix(msg, "cache "), hasPrefix(msg, "database "):
		return bytes.HasSuffix(msg, []byte(" has changed -- restarting")) || bytes.Contains(msg, []byte(" cleanup: ")) ||
			bytes.HasSuffix(msg, []byte(" restarting"))
	case hasPrefix(msg, "using backwards-compatible default setting "), hasPrefix(msg, "Postfix is using backwards-compatible"),
		hasPrefix(msg, "To disable backwards compatibility"), hasPrefix(msg, "See http"):
		return true
	}
	return false
}
