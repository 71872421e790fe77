package config

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

type silentDNS struct{}

func (silentDNS) LookupMX(ctx context.Context, _ string) ([]*net.MX, error) {
	<-ctx.Done()
	return nil, &net.DNSError{Err: "i/o timeout", IsTimeout: true}
}

func (silentDNS) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// A thousand domains and a dead name server: the start is delayed by seconds, not by hours.
func TestASilentResolverDoesNotDelayTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		d := &boundedDNS{resolver: silentDNS{}, each: 3 * time.Second}
		for range 1000 {
			if _, err := d.LookupMX(t.Context(), "example.org"); err == nil {
				t.Fatal("an answer")
			}
			if _, err := d.LookupNetIP(t.Context(), "ip", "mx1.example.org"); err == nil {
				t.Fatal("an answer")
			}
		}
		if took := time.Since(start); took != 6*time.Second {
			t.Errorf("took %v, want two questions of 3 s", took)
		}
	})
}
