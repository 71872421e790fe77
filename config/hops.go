package config

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sparemx/sparemx/probes"
)

// Hops is a list of next hops, written as one "host[:port]" or a list of them.
type Hops []probes.NextHop

// ParseHop reads "host", "host:port", "192.0.2.1", "[2001:db8::1]:25" or "2001:db8::1". The host is used as it is: its MX is not
// looked up.
func ParseHop(s string) (probes.NextHop, error) {
	hint := fmt.Errorf("%q is not a next hop: write host, host:port, or [IPv6]:port", s)
	host, port := s, ""
	switch addr, err := netip.ParseAddr(strings.Trim(s, "[]")); {
	case err == nil:
		return probes.NextHop{Host: addr.String()}, nil
	case strings.Contains(s, ":"):
		if host, port, err = net.SplitHostPort(s); err != nil {
			return probes.NextHop{}, hint
		}
	}
	hop := probes.NextHop{Host: strings.ToLower(strings.TrimSuffix(host, "."))}
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return probes.NextHop{}, fmt.Errorf("%q: port %q is not a number from 1 to 65535", s, port)
		}
		hop.Port = uint16(n)
	}
	if !validHost(hop.Host) {
		return probes.NextHop{}, hint
	}
	return hop, nil
}

// HopString writes a hop as ParseHop reads it; "mx:" stands before one whose MX is looked up.
func HopString(h probes.NextHop) string {
	s := h.Host
	if h.Port != 0 && h.Port != 25 {
		s = net.JoinHostPort(h.Host, strconv.Itoa(int(h.Port)))
	}
	if h.MX {
		return "mx:" + s
	}
	return s
}

func (h *Hops) UnmarshalYAML(n *yaml.Node) error {
	var words []string
	if n.Kind == yaml.ScalarNode {
		words = strings.FieldsFunc(n.Value, func(r rune) bool { return r == ' ' || r == ',' })
	} else if err := n.Decode(&words); err != nil {
		return fmt.Errorf("line %d: write one host[:port] or a list of them", n.Line)
	}
	*h = nil
	for _, w := range words {
		lookup := strings.HasPrefix(w, "mx:")
		hop, err := ParseHop(strings.TrimPrefix(w, "mx:"))
		if err != nil {
			return fmt.Errorf("line %d: %w", n.Line, err)
		}
		hop.MX = lookup
		*h = append(*h, hop)
	}
	return nil
}

func (h Hops) MarshalYAML() (any, error) {
	words := make([]string, len(h))
	for i, hop := range h {
		words[i] = HopString(hop)
	}
	if len(words) == 1 {
		return words[0], nil
	}
	return words, nil
}

// validHost accepts an address, or a name of letters, digits, hyphens and underscores in labels of at most 63
// (RFC 1123 section 2.1; the underscore is met in the field).
func validHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	if host == "" || len(host) > 253 {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
				return false
			}
		}
	}
	return true
}
