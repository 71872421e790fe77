package postfix

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestRoute(t *testing.T) {
	f := &recorded{tables: map[string]map[string]string{
		"texthash:/etc/postfix/transport": {"a.test": "relay:[192.0.2.10]:2525", "user@a.test": ":[2001:db8::1]", ".b.test": "lmtp:unix:private/x", "*": "smtp:[smart.test]",
			"list.test": "relay:[m1.test], m2.test:587", "nul.test": ":", "bad.test": "nosuch:x"},
	}}
	c := config(t, f, map[string]string{"relay_domains": "a.test, list.test, bad.test, c.test", "disable_dns_lookups": "no"})
	r := Resolver{Config: c}
	for rcpt, want := range map[string]string{
		"x@a.test":        "relay relay [192.0.2.10]:2525 + [192.0.2.99]",
		"USER+ext@A.test": "relay relay [2001:db8::1] + [192.0.2.99]", // found without its extension
		"x@y.b.test":      "default lmtp unix:private/x",
		"x@list.test":     "relay relay [m1.test] m2.test:587 + [192.0.2.99]",
		"x@nul.test":      "default smtp nul.test",
		"x@c.test":        "relay smtp [smart.test]",
		"x@bad.test":      "error nosuch",
	} {
		rt, err := r.Route(t.Context(), rcpt)
		got := rt.Class.String() + " " + rt.Transport
		if err != nil {
			got = "error " + rt.Transport
			if !strings.Contains(err.Error(), "master.cf has no service") {
				t.Error(err)
			}
		}
		for _, h := range rt.Hops {
			got += " " + h.String()
		}
		for i, h := range rt.Fallback {
			if i == 0 {
				got += " +"
			}
			got += " " + h.String()
		}
		if got != want {
			t.Errorf("%s goes to %s, want %s", rcpt, got, want)
		}
	}
	if _, err := r.Route(t.Context(), "nodomain"); err == nil {
		t.Error("an address without a domain has a route")
	}
	// A table that cannot be asked is not a table without the key.
	f.broken = map[string]string{"texthash:/etc/postfix/transport": "postmap: warning: x\npostmap: fatal: open database /etc/postfix/transport: Permission denied"}
	if _, err := r.Route(t.Context(), "x@a.test"); !errors.Is(err, ErrLookup) || !strings.Contains(err.Error(), "Permission denied") {
		t.Errorf("a broken table: %v", err)
	}
}

func TestParseHop(t *testing.T) {
	for in, want := range map[string]Hop{
		"mx.test": {Host: "mx.test", Port: 25, MX: true}, "mx.test:": {Host: "mx.test", Port: 25, MX: true}, "mx.test:587": {Host: "mx.test", Port: 587, MX: true},
		"[mx.test]": {Host: "mx.test", Port: 25}, "[mx.test]:submission": {Host: "mx.test", Port: 587}, "[::1]:26": {Host: "::1", Port: 26},
		"[IPv6:2001:db8::1]": {Host: "2001:db8::1", Port: 25}, "[192.0.2.1]:": {Host: "192.0.2.1", Port: 25}, "192.0.2.1": {Host: "192.0.2.1", Port: 25, MX: true},
	} {
		if got, err := parseHop(in, "smtp", true); err != nil || got != want {
			t.Errorf("%q is %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "[mx.test", "[mx.test]x", "[ipv6:192.0.2.1]", ":25", "mx.test:0", "mx.test:70000", "mx.test:2x", "a b", "[mx.test]:nosuchservice", "-x.test", "a..b"} {
		if h, err := parseHop(in, "smtp", true); err == nil {
			t.Errorf("%q is %+v", in, h)
		}
	}
}

func addrs(s ...string) []netip.Addr {
	var a []netip.Addr
	for _, x := range s {
		a = append(a, netip.MustParseAddr(x))
	}
	return a
}

func TestTruncateMX(t *testing.T) {
	self := addrs("192.0.2.2", "2001:db8::2")
	p, me, o := addrs("192.0.2.1"), addrs("192.0.2.9", "192.0.2.2"), addrs("192.0.2.3")
	for name, test := range map[string]struct {
		in   []MX
		left string
		res  MXResult
	}{
		"we are second":             {[]MX{{"me", 20, me}, {"p", 10, p}, {"o", 30, o}}, "p", MXUsable},
		"equal ones go too":         {[]MX{{"p", 10, p}, {"o", 20, o}, {"me", 20, me}}, "p", MXUsable},
		"not in the list":           {[]MX{{"o", 30, o}, {"p", 10, p}}, "p o", MXUsable},
		"best":                      {[]MX{{"me", 10, me}, {"o", 20, o}}, "", MXBestIsSelf},
		"best with an equal":        {[]MX{{"o", 10, o}, {"me", 10, me}}, "", MXBestIsSelf},
		"better one has no address": {[]MX{{"p", 10, nil}, {"me", 20, me}}, "", MXNoBetter},
		"equal one has no address":  {[]MX{{"p", 20, nil}, {"me", 20, me}}, "", MXBestIsSelf},
		"by IPv6":                   {[]MX{{"p", 10, p}, {"me", 20, addrs("2001:db8::2")}}, "p", MXUsable},
		"mapped":                    {[]MX{{"p", 10, p}, {"me", 20, addrs("::ffff:192.0.2.2")}}, "p", MXUsable},
		"none has an address":       {[]MX{{"p", 10, nil}}, "", MXNoAddress},
		"empty":                     {nil, "", MXNoAddress},
		"twice":                     {[]MX{{"me", 5, me}, {"p", 10, p}, {"me", 20, me}}, "", MXBestIsSelf},
	} {
		before := slices.Clone(test.in)
		got, res := TruncateMX(test.in, self)
		var left []string
		for _, m := range got {
			left = append(left, m.Host)
		}
		if strings.Join(left, " ") != test.left || res != test.res {
			t.Errorf("%s: %v %v, want %q %v", name, left, res, test.left, test.res)
		}
		for i := range before {
			if before[i].Host != test.in[i].Host {
				t.Errorf("%s: the list was changed", name)
			}
		}
	}
}

type fakeDNS map[string][]netip.Addr

func (d fakeDNS) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	if name == "mx.test" {
		return []*net.MX{{Host: "p.test.", Pref: 10}, {Host: "me.test.", Pref: 20}}, nil
	}
	return []*net.MX{{Host: "me.test.", Pref: 10}}, nil
}

func (d fakeDNS) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if a, ok := d[host]; ok {
		return slices.Clone(a), nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func TestBackedUp(t *testing.T) {
	f := &recorded{tables: map[string]map[string]string{"inline:{inl.test=x}": {"inl.test": "x"}, "texthash:/etc/postfix/transport": {
		"good.test": "relay:[p.test]:2525", "selfip.test": "relay:[192.0.2.2]", "selfnat.test": "relay:[203.0.113.7]", "selfname.test": "relay:[MX2.example.net]",
		"err.test": "error:gone", "otherport.test": "relay:[192.0.2.2]:2525", "some.test": "relay:[p.test], [me.test]", "nosuch.test": "nosuch:x",
	}}}
	c := config(t, f, map[string]string{
		"relay_domains": "good.test, !out.test out.test mx.test selfmx.test selfip.test selfnat.test selfname.test err.test otherport.test some.test nosuch.test" +
			" local.test alias.test .sub.test regexp:/etc/postfix/re mysql:/etc/postfix/my.cf inline:{inl.test=x} $mydestination",
		"mydestination": "local.test", "virtual_alias_domains": "alias.test", "disable_dns_lookups": "no", "inet_interfaces": "192.0.2.2", "proxy_interfaces": "203.0.113.7",
		"smtpd_relay_restrictions": "permit_mynetworks, permit_mx_backup, reject",
	})
	f.broken = nil
	domains, findings := (&Resolver{Config: c, DNS: fakeDNS{"p.test": addrs("192.0.2.1"), "me.test": addrs("192.0.2.2")}}).BackedUp(t.Context())
	var got []string
	for _, d := range domains {
		got = append(got, d.Name)
	}
	if s := strings.Join(got, " "); s != "err.test good.test inl.test mx.test nosuch.test otherport.test selfip.test selfmx.test selfname.test selfnat.test some.test" {
		t.Error(s)
	}
	got = nil
	for _, f := range findings {
		if f.Text == "" || f.Remedy == "" || strings.Contains(f.String(), "\n") {
			t.Errorf("%+v", f)
		}
		got = append(got, strings.TrimSpace(f.ID+" "+f.Domain))
	}
	slices.Sort(got)
	want := []string{"no_next_hop err.test", "no_next_hop nosuch.test", "not_enumerable", "not_enumerable", "not_enumerable .sub.test", "permit_mx_backup", "self inl.test", "self selfip.test",
		"self selfmx.test", "self selfname.test", "self selfnat.test", "self_among some.test", "two_classes alias.test"}
	if !slices.Equal(got, want) {
		t.Errorf("findings\n%q, want\n%q", got, want)
	}
}

func TestEnumerateReadsNoMoreThanItMay(t *testing.T) {
	c := config(t, &recorded{}, nil)
	for in, want := range map[string]string{
		"inline:{a.test=x, b.test = y}": "a.test b.test", "inline:{ {c.test = x y} d.test=z }": "c.test d.test", "inline:{}": "",
	} {
		keys, ok, err := c.enumerate(t.Context(), in)
		if s := strings.Join(keys, " "); s != want || !ok || err != nil {
			t.Errorf("%s has %q %v %v", in, s, ok, err)
		}
	}
	for _, table := range []string{"mysql:x", "regexp:x", "pcre:x", "ldap:x", "proxy:pgsql:x", "socketmap:x", "static:x"} {
		if _, ok, _ := c.enumerate(t.Context(), table); ok {
			t.Errorf("%s is said to be enumerable", table)
		}
	}
}

// Many domains cost a few processes, not a few each.
func TestBackedUpAsksInBatches(t *testing.T) {
	var names []string
	table := map[string]string{}
	for i := range 3000 {
		n := fmt.Sprintf("d%d.test", i)
		names = append(names, n)
		table[n] = fmt.Sprintf("relay:[192.0.2.1]:%d", 2000+i)
	}
	f := &recorded{tables: map[string]map[string]string{"hash:/t": table, "hash:/d": {"d7.test": "x"}}}
	c := config(t, f, map[string]string{"relay_domains": "!hash:/d, " + strings.Join(names, " "), "transport_maps": "hash:/t"})
	f.asked = nil
	domains, findings := (&Resolver{Config: c}).BackedUp(t.Context())
	if len(domains) != 2999 || len(findings) != 0 || domains[2].Route.Hops[0].Port != 2010 {
		t.Errorf("%d domains, %v", len(domains), findings)
	}
	if len(f.asked) > 20 {
		t.Errorf("%d processes", len(f.asked))
	}
}
