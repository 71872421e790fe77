package postfix

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Hop is one place a delivery agent would go to.
type Hop struct {
	Host string // name or address, without brackets; "" with Path
	Port uint16
	MX   bool   // the MX hosts of Host, or its addresses when it has none; else its addresses alone
	Path string // of a UNIX socket ("lmtp:unix:path")
}

func (h Hop) String() string {
	switch {
	case h.Path != "":
		return "unix:" + h.Path
	case h.MX && h.Port == 25:
		return h.Host
	case h.MX:
		return h.Host + ":" + strconv.Itoa(int(h.Port))
	case h.Port == 25:
		return "[" + h.Host + "]"
	}
	return "[" + h.Host + "]:" + strconv.Itoa(int(h.Port))
}

// parseHop reads one destination of smtp(8) or lmtp(8) (smtp/smtp_connect.c smtp_parse_destination, util/host_port.c): host, host:port,
// [host], [host]:port, [ipv6:addr]:port; a port may be a service's name. dns: unbracketed names have their MX looked up.
func parseHop(dest, service string, mx bool) (Hop, error) {
	bad := func(why string) (Hop, error) { return Hop{}, fmt.Errorf("next hop %q: %s", dest, why) }
	h := Hop{}
	port := service
	if rest, ok := strings.CutPrefix(dest, "["); ok {
		v6 := len(rest) >= 5 && strings.EqualFold(rest[:5], "ipv6:")
		if v6 {
			rest = rest[5:]
		}
		host, after, ok := strings.Cut(rest, "]")
		if !ok {
			return bad(`missing "]"`)
		}
		if after != "" && after[0] != ':' {
			return bad(`garbage after "]"`)
		}
		if p := strings.TrimPrefix(after, ":"); p != "" {
			port = p
		}
		if a, err := netip.ParseAddr(host); v6 && (err != nil || !a.Is6()) {
			return bad("malformed IPv6 address")
		}
		h.Host = host
	} else {
		h.Host, h.MX = dest, mx
		if i := strings.LastIndexByte(dest, ':'); i >= 0 {
			h.Host = dest[:i]
			if dest[i+1:] != "" {
				port = dest[i+1:]
			}
		}
	}
	if h.Host == "" {
		return bad("no host")
	}
	if !validHost(h.Host) {
		return bad("not a host name or address")
	}
	n, err := servicePort(port)
	if err != nil {
		return bad(err.Error())
	}
	h.Port = n
	return h, nil
}

// validHost is util/valid_hostname.c, or an address.
func validHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	if len(s) > 255 || strings.HasPrefix(s, ".") || strings.HasSuffix(s, ".") && strings.HasSuffix(s, "..") || strings.Contains(s, "..") {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			b := label[i]
			if !(b == '-' || b == '_' || b >= '0' && b <= '9' || b|0x20 >= 'a' && b|0x20 <= 'z' || b >= 0x80) {
				return false
			}
		}
	}
	return true
}

// servicePort reads a port or the name of a TCP service. The names of known_tcp_ports (Postfix 3.6) go before those of the system.
func servicePort(s string) (uint16, error) {
	switch s {
	case "smtp":
		return 25, nil
	case "lmtp":
		return 24, nil
	case "submission":
		return 587, nil
	case "smtps", "submissions":
		return 465, nil
	}
	if s != "" && strings.Trim(s, "0123456789") == "" {
		if n, err := strconv.ParseUint(s, 10, 16); err == nil && n > 0 {
			return uint16(n), nil
		}
		return 0, fmt.Errorf("port %s is not between 1 and 65535", s)
	}
	if s == "" || s[0] >= '0' && s[0] <= '9' {
		return 0, fmt.Errorf("garbage after numerical service")
	}
	n, err := net.LookupPort("tcp", s)
	if err != nil || n <= 0 || n > 65535 {
		return 0, fmt.Errorf("unknown service: %s/tcp: give its number", s)
	}
	return uint16(n), nil
}
