package logparse

import (
	"bytes"
	"strconv"

	"github.com/sparemx/sparemx/queue"
)

// interned keeps one string for each short text that recurs: instances, services, domains, next hops. When it is full it starts over.
type interned struct {
	texts   map[string]string
	domains map[string]string // as written to lower case
	buf     []byte
}

const (
	maxInterned     = 16384
	maxInternedText = 300
)

func (n *interned) of(b []byte) string {
	if s, ok := n.texts[string(b)]; ok {
		return s
	}
	if len(b) > maxInternedText {
		return string(b)
	}
	if n.texts == nil || len(n.texts) >= maxInterned {
		n.texts = make(map[string]string)
	}
	s := string(b)
	n.texts[s] = s
	return s
}

// domain is queue.AddressDomain of an address.
func (n *interned) domain(address []byte) string {
	i := bytes.LastIndexByte(address, '@')
	if i < 0 {
		return ""
	}
	raw := address[i+1:]
	if s, ok := n.domains[string(raw)]; ok {
		return s
	}
	s := queue.AddressDomain(string(address))
	if len(raw) > maxInternedText {
		return s
	}
	if n.domains == nil || len(n.domains) >= maxInterned {
		n.domains = make(map[string]string)
	}
	n.domains[string(raw)] = s
	return s
}

// nextHop is "host:port" of the one that was asked; "" for relay=none, local and the like.
func (n *interned) nextHop(ev *Event) string {
	if len(ev.RelayIP) == 0 {
		return ""
	}
	n.buf = append(n.buf[:0], ev.RelayHost...)
	if ev.RelayPort != 0 {
		n.buf = strconv.AppendInt(append(n.buf, ':'), int64(ev.RelayPort), 10)
	}
	return n.of(n.buf)
}
