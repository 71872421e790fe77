package probes

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// Resolver is what a probe asks of DNS. *net.Resolver satisfies it.
type Resolver interface {
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Ladder is the Prober that holds an SMTP conversation up to RCPT. The zero Ladder works, with the host's name and resolver.
type Ladder struct {
	Hostname  string        // our own name, said in EHLO; "": os.Hostname
	SelfNames []string      // other names of ours: MX hosts of these names, or at SelfAddrs, are ourselves
	SelfAddrs []netip.Addr  // addresses of ours, those outside a NAT too
	Resolver  Resolver      // nil: net.DefaultResolver
	Bind4     netip.Addr    // local address for IPv4; zero: the system's choice
	Bind6     netip.Addr    // local address for IPv6
	Timeout   time.Duration // of a probe, 0: 15s; ctx may end it sooner
	Connect   time.Duration // of one connection attempt; 0: a third of Timeout
}

// Probe walks the ladder for each next hop in order until one is Good.
func (l *Ladder) Probe(ctx context.Context, p Primary) Result { return Result{} }
