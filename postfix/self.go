package postfix

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// dnsLimit is how long one question to the DNS may take. Postfix itself waits longer; we must not hang on a dead resolver.
const dnsLimit = 5 * time.Second

// MX is one mail exchanger with its addresses.
type MX struct {
	Host  string
	Pref  uint16
	Addrs []netip.Addr
}

// MXResult is what is left of an MX list once we have looked for ourselves in it.
type MXResult uint8

const (
	MXUsable     MXResult = iota // hosts better than ourselves are left, or we are not in the list
	MXBestIsSelf                 // we are the best: "mail for X loops back to myself", 5.4.6
	MXNoBetter                   // better ones exist but none has an address: "unable to find primary relay", 4.4.4
	MXNoAddress                  // no host of the list has an address: "no MX host for X has a valid address record"
)

func (r MXResult) String() string {
	return [...]string{"usable", "best_is_self", "no_better", "no_address"}[min(r, MXNoAddress)]
}

// TruncateMX leaves the hosts strictly better than ourselves, sorted by preference, as smtp/smtp_addr.c does
// (smtp_domain_addr, smtp_find_self, smtp_truncate_self): our best preference is that of the first host with an address of
// ours, and it and all equal or worse hosts go. Hosts without an address are left out. mx is not changed.
//
// Postfix looks for itself only when the port is 25 (smtp/smtp_connect.c, LOOP_DETECT); for any other port pass no self.
func TruncateMX(mx []MX, self []netip.Addr) ([]MX, MXResult) {
	sorted := slices.SortedStableFunc(slices.Values(mx), func(a, b MX) int { return cmp.Compare(a.Pref, b.Pref) })
	found := slices.DeleteFunc(slices.Clone(sorted), func(m MX) bool { return len(m.Addrs) == 0 })
	if len(found) == 0 {
		return nil, MXNoAddress
	}
	me := slices.IndexFunc(found, func(m MX) bool {
		return slices.ContainsFunc(m.Addrs, func(a netip.Addr) bool { return contains(self, a) })
	})
	if me < 0 {
		return found, MXUsable
	}
	cut := slices.IndexFunc(found, func(m MX) bool { return m.Pref == found[me].Pref })
	switch {
	case cut > 0:
		return found[:cut], MXUsable
	case sorted[0].Pref != found[0].Pref: // best_pref != best_found
		return nil, MXNoBetter
	}
	return nil, MXBestIsSelf
}

func contains(set []netip.Addr, a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(set, func(b netip.Addr) bool { return b.Unmap().WithZone("") == a })
}

// Own returns the addresses by which Postfix recognises itself: those of inet_interfaces ("all", "loopback-only", names,
// addresses; global/own_inet_addr.c) and of proxy_interfaces, in the families of inet_protocols.
func (r *Resolver) Own(ctx context.Context) ([]netip.Addr, error) {
	var own []netip.Addr
	c := r.Config
	for _, parameter := range []string{"inet_interfaces", "proxy_interfaces"} {
		for _, w := range words(c.Get(parameter)) {
			addrs, err := r.interfaces(ctx, w)
			if err != nil {
				return nil, fmt.Errorf("%s: %w: postconf -e '%s = ...'", parameter, err, parameter)
			}
			own = append(own, addrs...)
		}
	}
	v4, v6 := c.families()
	own = slices.DeleteFunc(own, func(a netip.Addr) bool { return a.Is4() && !v4 || a.Is6() && !v6 })
	slices.SortFunc(own, netip.Addr.Compare)
	return slices.Compact(own), nil
}

func (r *Resolver) interfaces(ctx context.Context, word string) ([]netip.Addr, error) {
	if a, err := literal(word); err == nil {
		return []netip.Addr{a}, nil
	}
	if !strings.EqualFold(word, "all") && !strings.EqualFold(word, "loopback-only") {
		return r.addresses(ctx, word)
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var own []netip.Addr
	for _, x := range all {
		n, ok := x.(*net.IPNet)
		if !ok {
			continue
		}
		a, ok := netip.AddrFromSlice(n.IP)
		if a = a.Unmap(); ok && (strings.EqualFold(word, "all") || a.IsLoopback()) {
			own = append(own, a)
		}
	}
	return own, nil
}

// addresses looks up a host's addresses. Without a DNS there are none and no error.
func (r *Resolver) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	if r.DNS == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, dnsLimit)
	defer cancel()
	addrs, err := r.DNS.LookupNetIP(ctx, "ip", strings.TrimSuffix(host, "."))
	for i, a := range addrs {
		addrs[i] = a.Unmap()
	}
	return addrs, err
}

// families reads inet_protocols.
func (c *Config) families() (v4, v6 bool) {
	for _, w := range words(strings.ToLower(c.Get("inet_protocols"))) {
		v4 = v4 || w == "ipv4" || w == "all"
		v6 = v6 || w == "ipv6" || w == "all"
	}
	if !v4 && !v6 {
		return true, true
	}
	return v4, v6
}
