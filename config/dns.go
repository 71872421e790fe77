package config

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"
)

// boundedDNS asks the resolver, but not for long: it is used at the start, where a dead name server must not keep the agent from its work.
// What it is for, recognising ourselves among next hops, is looked at again by each probe.
type boundedDNS struct {
	resolver interface {
		LookupMX(ctx context.Context, name string) ([]*net.MX, error)
		LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	}
	each     time.Duration // for one question
	timeouts int           // until no more is asked
}

const mostTimeouts = 2

var errResolverSilent = errors.New("the name server does not answer")

func (d *boundedDNS) LookupMX(ctx context.Context, name string) (mx []*net.MX, err error) {
	err = d.ask(ctx, func(ctx context.Context) (err error) { mx, err = d.resolver.LookupMX(ctx, name); return err })
	return mx, err
}

func (d *boundedDNS) LookupNetIP(ctx context.Context, network, host string) (addrs []netip.Addr, err error) {
	err = d.ask(ctx, func(ctx context.Context) (err error) {
		addrs, err = d.resolver.LookupNetIP(ctx, network, host)
		return err
	})
	return addrs, err
}

func (d *boundedDNS) ask(ctx context.Context, f func(context.Context) error) error {
	if d.timeouts >= mostTimeouts {
		return errResolverSilent
	}
	ctx, cancel := context.WithTimeout(ctx, d.each)
	defer cancel()
	err := f(ctx)
	var de *net.DNSError
	if errors.As(err, &de) && de.IsTimeout || errors.Is(err, context.DeadlineExceeded) {
		d.timeouts++
	}
	return err
}
