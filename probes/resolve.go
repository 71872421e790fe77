package probes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sparemx/sparemx/internal/smtp"
)

// Resolver is what a probe asks of DNS. *net.Resolver satisfies it. Names are given with their final dot, so that no search list applies.
type Resolver interface {
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// target is one address to try.
type target struct {
	hop  NextHop
	host string // its name, or the address
	addr netip.AddrPort
}

// resolve finds the addresses of the next hops, in order, and a result for each hop that has none.
func (l *Ladder) resolve(ctx context.Context, hops []NextHop) (ts []target, failed []Result) {
	// Half of the time at most goes to names: a dead resolver must not eat the time of a hop that is an address.
	end, _ := ctx.Deadline()
	rctx, cancel := context.WithTimeout(ctx, time.Until(end)/2)
	defer cancel()
	for _, hop := range hops {
		hosts := []string{hop.Host}
		if _, err := netip.ParseAddr(hop.Host); err != nil && hop.MX {
			var bad *Result
			if hosts, bad = l.mx(rctx, hop); bad != nil {
				failed = append(failed, *bad)
				continue
			}
		}
		for _, host := range hosts {
			addrs, err := l.lookup(rctx, host)
			if err != nil {
				failed = append(failed, unresolved(hop, host, err))
			}
			for _, a := range addrs {
				t := target{hop, strings.TrimSuffix(host, "."), netip.AddrPortFrom(a, cmp.Or(hop.Port, 25))}
				if len(ts) < maxAddresses && !slices.ContainsFunc(ts, func(o target) bool { return o.addr == t.addr }) {
					ts = append(ts, t)
				}
			}
		}
	}
	return ts, failed
}

// unresolved is the result of a name without an address. A name that is not there is the primary's trouble: no mail would find it. A
// resolver that fails is ours, as far as we can tell.
func unresolved(hop NextHop, what string, err error) Result {
	r := Result{Stage: StageResolve, Hop: hop, Verdict: CantTell}
	if e, ok := errors.AsType[*net.DNSError](err); ok && e.IsNotFound {
		r.Verdict, r.Reason = Bad, fmt.Sprintf("%s has no address in DNS", smtp.Clean(what, 260))
		return r
	}
	r.Reason = fmt.Sprintf("looking up %s: %s", smtp.Clean(what, 260), smtp.Clean(err.Error(), 300))
	return r
}

// mx returns the MX hosts strictly better than ourselves, best first (RFC 5321 section 5.1; Postfix's smtp_addr.c compares addresses too).
func (l *Ladder) mx(ctx context.Context, hop NextHop) ([]string, *Result) {
	records, err := l.resolver().LookupMX(ctx, absolute(hop.Host))
	if e, ok := errors.AsType[*net.DNSError](err); ok && e.IsNotFound {
		return []string{hop.Host}, nil // the implicit MX, if it has an address
	}
	if err != nil && len(records) == 0 {
		r := unresolved(hop, "the MX of "+hop.Host, err)
		return nil, &r
	}
	bad := func(why string) ([]string, *Result) {
		return nil, &Result{Verdict: Bad, Stage: StageResolve, Hop: hop, Reason: smtp.Clean(hop.Host, 260) + " " + why}
	}
	if len(records) == 1 && strings.TrimSuffix(records[0].Host, ".") == "" {
		return bad("takes no mail: its MX is null (RFC 7505)")
	}
	records = slices.Clone(records)
	slices.SortStableFunc(records, func(a, b *net.MX) int { return cmp.Compare(a.Pref, b.Pref) })
	own := 1 << 17
	for _, m := range records {
		self := l.isSelf(m.Host)
		if !self && len(l.SelfAddrs) > 0 {
			addrs, _ := l.lookup(ctx, m.Host)
			self = slices.ContainsFunc(addrs, func(a netip.Addr) bool { return slices.Contains(l.SelfAddrs, a) })
		}
		if self {
			own = int(m.Pref)
			break // sorted: the best of ours
		}
	}
	var hosts []string
	for _, m := range records {
		if host := strings.TrimSuffix(m.Host, "."); int(m.Pref) < own && host != "" && len(hosts) < maxAddresses {
			hosts = append(hosts, host)
		}
	}
	if len(hosts) == 0 {
		return bad("has no MX better than ourselves: mail would loop")
	}
	return hosts, nil
}

func (l *Ladder) isSelf(host string) bool {
	return sameName(host, l.hostname()) || slices.ContainsFunc(l.SelfNames, func(n string) bool { return sameName(host, n) })
}

// lookup returns the addresses of a host, the families in turn: one dead family does not use up the attempts.
func (l *Ladder) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	found, err := l.resolver().LookupNetIP(ctx, "ip", absolute(host))
	if len(found) == 0 {
		if err == nil {
			err = &net.DNSError{Err: "no address", Name: host, IsNotFound: true}
		}
		return nil, err
	}
	var by [2][]netip.Addr
	for _, a := range found {
		a = a.Unmap()
		f := family(netip.AddrPortFrom(a, 0))
		by[f] = append(by[f], a)
	}
	first := family(netip.AddrPortFrom(found[0].Unmap(), 0)) // the system's preference (RFC 6724)
	var out []netip.Addr
	for i := range max(len(by[0]), len(by[1])) {
		for _, f := range [2]int{first, 1 - first} {
			if i < len(by[f]) {
				out = append(out, by[f][i])
			}
		}
	}
	return out, nil
}

func (l *Ladder) resolver() Resolver {
	if l.Resolver != nil {
		return l.Resolver
	}
	return net.DefaultResolver
}

// absolute ends a name of several labels with a dot; a single label may be meant for the search list or a hosts file.
func absolute(name string) string {
	if strings.Contains(strings.TrimSuffix(name, "."), ".") && !strings.HasSuffix(name, ".") {
		return name + "."
	}
	return name
}
